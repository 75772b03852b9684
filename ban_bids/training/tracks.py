"""What is trained on, in words: folders, what is asked of them, and the tracks that were found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np

from ban_bids.audio.sameness import Fingerprint
from ban_bids.errors import UsageError
from ban_bids.training.cache import AudioCache


@dataclass(frozen=True)
class Source:
    """A folder of classes, and from where the fields of its recordings are known.

    Parameters
    ----------
    folder : Path
        Holds one of :data:`ban_bids.training.folders.LAYOUTS`, with one folder per class.
    name : str
        Of the task that its classes make; by default that of the folder.
    template : str
        Of the names, see :func:`ban_bids.training.fields.fields_of_name`.
    table : Path, optional
        See :func:`ban_bids.training.fields.read_table`.

    Raises
    ------
    UsageError
        For a template beside a table.
    """

    folder: Path
    name: str = ""
    template: str = ""
    table: Path | None = None

    def __post_init__(self) -> None:
        if self.template and self.table is not None:
            raise UsageError(f"--names and --table both give fields of {self.folder}; drop one of them")
        if not self.name:
            object.__setattr__(self, "name", self.folder.resolve().name)


@dataclass(frozen=True)
class Data:
    """On what is trained: the folders, the main one first.

    Parameters
    ----------
    sources : tuple of Source
    heads : tuple of str
        Fields that become tasks of their own.
    group : str
        Field whose values are never divided by a split.

    Raises
    ------
    UsageError
        When two tasks have one name.
    """

    sources: tuple[Source, ...]
    heads: tuple[str, ...] = ()
    group: str = ""

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(f"--data: two collections are called {twice}; give one of them another NAME=DIR")
        for head in self.heads:
            if head in names or self.heads.count(head) > 1:
                raise UsageError(f"--heads {head}: another task has this name; rename the field, or --data NAME=DIR")


@dataclass(frozen=True)
class Task:
    """What a read-out answers.

    Parameters
    ----------
    name : str
    classes : tuple of str
        Sorted.
    """

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Track:
    """A readable track.

    Parameters
    ----------
    path : Path
        Audio file.
    name : str
        Unique among all tracks of a training: the stem, or genre/stem where stems repeat; after ``home:``, but for the
        main collection.
    genre : str
        Its folder.
    digest : str
        :func:`ban_bids.audio.waveforms.audio_hash`.
    fingerprint : Fingerprint
        By which the same recording is known again in another form.
    others : tuple of str
        Names of tracks that are the same recording and were left out.
    home : str
        Collection that it comes from; empty for the main one.
    answers : mapping
        Every task beside the main one that knows it -> its class there.
    fields : mapping
        What is known from its name or a table.
    group : str
        What a split must not divide, field and value; empty without.
    """

    path: Path
    name: str
    genre: str
    digest: str
    fingerprint: Fingerprint = Fingerprint()
    others: tuple[str, ...] = ()
    home: str = ""
    answers: Mapping[str, str] = field(default_factory=dict, hash=False)
    fields: Mapping[str, str] = field(default_factory=dict, hash=False)
    group: str = ""


@dataclass(frozen=True)
class Collection:
    """The tracks of one or several folders of classes.

    Parameters
    ----------
    tracks : tuple of Track
        One of each recording, without excluded tracks; those of the main folder first, of each sorted by genre and
        name.
    genres : tuple of str
        Classes of the main task, sorted.
    excluded : tuple of Track
        Left out on request.
    replicas : tuple of str
        Tracks that repeat another one, sample for sample or as the same name in another container; left out.
    versions : tuple of str
        Tracks that are the same recording as another one, by their sound and not sample for sample; left out.
    shared : tuple of str
        Tracks that another folder holds too, sample for sample: one track answers the tasks of both.
    unreadable : tuple of str
        Files that cannot be decoded; left out.
    name : str
        Of the main task.
    further : tuple of Task
        Those of the other folders, then those of fields.
    group : str
        Field of which the tracks' groups are.
    cache : AudioCache
        Where the audio is kept once it is decoded.
    """

    tracks: tuple[Track, ...]
    genres: tuple[str, ...]
    excluded: tuple[Track, ...] = ()
    replicas: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    name: str = "genre"
    further: tuple[Task, ...] = ()
    group: str = ""
    cache: AudioCache = field(default_factory=AudioCache, compare=False, repr=False)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, the main one first."""
        return (Task(self.name, self.genres), *self.further)

    def labels(self, tracks: Iterable[Track]) -> list[int]:
        """Numbers of the tracks' genres."""
        return [self.genres.index(track.genre) for track in tracks]

    def targets(self, tracks: Sequence[Track]) -> np.ndarray:
        """What the read-outs are to answer.

        Returns
        -------
        ndarray of float32, (n_tracks, n_classes of all tasks)
            One-hot within each task that knows the track, zero within the others.
        """
        main, *others = zip(self.tasks, task_slices(self.tasks))
        rows = np.zeros((len(tracks), main[1].stop if not others else others[-1][1].stop), np.float32)
        for row, track in zip(rows, tracks):
            if not track.home:
                row[self.genres.index(track.genre)] = 1
            for task, where in others:
                if (answer := track.answers.get(task.name)) is not None:
                    row[where.start + task.classes.index(answer)] = 1
        return rows

    def pools(self, tracks: Sequence[Track]) -> list[np.ndarray]:
        """Places of the tracks that each folder holds, the main one first."""
        homes = dict.fromkeys(track.home for track in tracks)
        return [np.array([k for k, t in enumerate(tracks) if home in (t.home, *t.answers)]) for home in homes]


def task_slices(tasks: Sequence[Task]) -> list[slice]:
    """Where each task's classes lie when those of all stand side by side."""
    ends = list(accumulate(len(task.classes) for task in tasks))
    return [slice(end - len(task.classes), end) for task, end in zip(tasks, ends)]
