"""What a dataset of music listening holds: clips, presentations, runs, participants.

These types are what every later stage works on; ``ban_bids.inputs.read.read_dataset`` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ban_bids.bids.fmriprep import RunFiles
from ban_bids.inputs.missing import MissingFile
from ban_bids.settings import Selection


@dataclass(frozen=True)
class Clip:
    """An excerpt of an audio file; equal clips are the same stimulus, whatever label a row gives them.

    Parameters
    ----------
    audio : Path
        Existing audio file.
    start, duration : float
        Excerpt in the file, seconds.
    track : str
        Name of the track: the audio file's stem (``blues.00005``).
    genre : str or None
        True genre, where the dataset or the file's folder tells it.
    fade : float
        Length of the sine fade in and fade out, seconds; 0 for none.
    rms : float or None
        Root mean square to which the excerpt is scaled; None leaves it as it is.
    file_end : float or None
        Length of the file, seconds, where the clip goes on after it: from there on it is silence. None where the
        excerpt lies in its file.
    """

    audio: Path
    start: float
    duration: float
    track: str = field(compare=False)
    genre: str | None = field(default=None, compare=False)
    fade: float = 0.0
    rms: float | None = None
    file_end: float | None = field(default=None, compare=False)

    @property
    def silence(self) -> float:
        """Seconds of silence at the clip's end, after its file."""
        return 0.0 if self.file_end is None else max(0.0, self.start + self.duration - self.file_end)


@dataclass(frozen=True)
class Presentation:
    """A clip played in a run.

    Parameters
    ----------
    clip : Clip
        What was played.
    onset : float
        Seconds from the start of the run's first volume.
    lead_in : bool
        A clip that only fills the run's start: features are kept for later lags, its rows are not used.
    """

    clip: Clip
    onset: float
    lead_in: bool = False

    @property
    def end(self) -> float:
        """Seconds from the start of the run's first volume to the clip's end."""
        return self.onset + self.clip.duration


class _Played:
    presentations: tuple[Presentation, ...]

    @property
    def clips(self) -> tuple[Clip, ...]:
        """The run's distinct clips in order of their first onset, lead-ins included."""
        return tuple(dict.fromkeys(item.clip for item in self.presentations))


@dataclass(frozen=True)
class Listening(_Played):
    """Which run it was and what was played in it: all that decides what is held out.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    session, task, run : str or None
        Labels as spelled in the file name (``run="01"``); the task is always there.
    entities : tuple of (str, str)
        Every entity of the file name in order: ``(("sub", "01"), ("task", "Test"), ("run", "01"))``.
    bold : Path
        Image.
    events : Path or None
        Table of events; None where the rule needs none.
    derivative : RunFiles or None
        fMRIPrep's files that are taken instead of the image, which then need not be there.
    no_derivative : str or None
        Why there are none, where they were looked for.
    row_notes : tuple of str
        One sentence per kind, with a count, on rows that were passed over (no sound), padded (the clip ends after
        its file) or dropped (after the image's end): ``"12 rows name no sound (cross.png, ...): passed over"``.
    """

    participant: str
    session: str | None
    task: str
    run: str | None
    entities: tuple[tuple[str, str], ...]
    bold: Path
    events: Path | None
    derivative: RunFiles | None = field(default=None, kw_only=True)
    no_derivative: str | None = field(default=None, kw_only=True)
    row_notes: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def played_by(self) -> Path:
        """What says what was played: the table of events, or the image by its name where no table is needed."""
        return self.events or self.bold

    @property
    def name(self) -> str:
        """Entities after the participant: ``task-Test_run-01``, ``ses-1_task-x_run-1``."""
        return "_".join(f"{key}-{label}" for key, label in self.entities if key != "sub")


@dataclass(frozen=True)
class HeardRun(Listening):
    """A run as its events describe it, before its image is opened."""

    presentations: tuple[Presentation, ...]


def middle_of_slices(slice_timing: Sequence[float]) -> float:
    """Time within a volume to which slices are shifted: the middle of their range, fMRIPrep's reference."""
    return 0.5 * (min(slice_timing) + max(slice_timing))


@dataclass(frozen=True)
class Run(Listening):
    """One BOLD run with what was played in it; the first seven fields are those of :class:`Listening`.

    Parameters
    ----------
    repetition_time : float
        Seconds between the starts of volumes; where intervals differ, those within a cluster of volumes.
    n_volumes : int
        Volumes in the image.
    slice_timing : tuple of float or None
        Acquisition time of every slice, seconds; None where slice timing is not corrected.
    slice_encoding_direction : str
        BIDS ``SliceEncodingDirection`` (``k`` unless the sidecar says otherwise).
    start_time : float or None
        BIDS ``StartTime``, seconds.
    presentations : tuple of Presentation
        In order of onset.
    acquisition_time : float or None
        Seconds from a volume's start until it is taken (sparse sampling); None: the repetition time.
    first_volume : float
        Start of the first volume, seconds on the run's clock.
    phase_encoding : str or None
        BIDS ``PhaseEncodingDirection``.
    volume_times : tuple of float or None
        Start of every volume, seconds on the run's clock, where intervals differ (clustered sparse sampling). None:
        one every ``repetition_time`` from ``first_volume`` on.
    """

    repetition_time: float
    n_volumes: int
    slice_timing: tuple[float, ...] | None
    slice_encoding_direction: str
    start_time: float | None
    presentations: tuple[Presentation, ...]
    acquisition_time: float | None = None
    first_volume: float = 0.0
    phase_encoding: str | None = None
    volume_times: tuple[float, ...] | None = None

    @property
    def since_first(self) -> np.ndarray:
        """Seconds from the start of the first volume to that of every volume, (n_volumes,) float64."""
        if self.volume_times is None:
            return np.arange(self.n_volumes, dtype=np.float64) * self.repetition_time
        return np.array(self.volume_times, dtype=np.float64) - self.volume_times[0]

    @property
    def mean_interval(self) -> float:
        """Mean seconds between the starts of volumes: the repetition time where intervals do not differ."""
        if self.volume_times is None:
            return self.repetition_time
        return float(self.since_first[-1]) / (self.n_volumes - 1)

    @property
    def duration(self) -> float:
        """End of the run on its clock, seconds: one repetition time after the start of the last volume."""
        if self.volume_times is None:
            return self.first_volume + self.n_volumes * self.repetition_time
        return self.volume_times[-1] + self.repetition_time

    @property
    def reference_time(self) -> float:
        """Time that the first volume's samples refer to, seconds on the run's clock.

        With slice times the middle of their range, fMRIPrep's reference; else the image's ``StartTime``;
        else the middle of the time in which the volume was taken.
        """
        if self.slice_timing:
            return self.first_volume + middle_of_slices(self.slice_timing)
        if self.start_time is not None:
            return self.start_time
        return self.first_volume + 0.5 * (self.acquisition_time or self.repetition_time)

    def reference_time_of(self, sidecar: Mapping[str, Any]) -> float:
        """Reference time of a derivative of this run: what its sidecar states, else as for the run itself."""
        if sidecar.get("StartTime") is not None:
            return self.first_volume + float(sidecar["StartTime"])
        corrected = sidecar.get("SliceTimingCorrected", self.slice_timing is not None)
        return (self if corrected else replace(self, slice_timing=None)).reference_time


@dataclass(frozen=True)
class Listener:
    """What one participant of the dataset heard, chosen or not.

    Parameters
    ----------
    label : str
        Without ``sub-``.
    runs : tuple of HeardRun
        As of a :class:`Participant`.
    failure : str or None
        Why the events cannot be read, naming file and remedy.
    notes : tuple of str
        What was left out or assumed on the way.
    missing : tuple of MissingFile
        Tables and sounds that are not there; clips of such sounds stand in ``runs`` as the events tell them.
    """

    label: str
    runs: tuple[HeardRun, ...]
    failure: str | None = None
    notes: tuple[str, ...] = ()
    missing: tuple[MissingFile, ...] = ()


@dataclass(frozen=True)
class Participant:
    """One participant's images and runs.

    Parameters
    ----------
    label : str
        Without ``sub-``.
    t1w : tuple of Path
        T1-weighted images.
    runs : tuple of Run
        Sorted by session, task and run.
    failure : str or None
        Why this participant cannot be used, naming file and remedy; the others go on.
    notes : tuple of str
        What was left out or assumed for this participant.
    files : tuple of Path
        The participant's own files that are used: images, sidecars, events, audio of the clips.
    missing : tuple of MissingFile
        Files that are not there; the participant then has a failure.
    """

    label: str
    t1w: tuple[Path, ...]
    runs: tuple[Run, ...]
    failure: str | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    missing: tuple[MissingFile, ...] = ()

    @property
    def sessions(self) -> tuple[str, ...]:
        """Labels of the sessions that the runs are of, sorted; scores pool them."""
        return tuple(sorted({run.session for run in self.runs if run.session is not None}))


COLUMNS = ("participant", "audio", "start", "duration", "track", "true_genre", "response")
"""Columns of ``HumanChoices.table``."""


@dataclass(frozen=True, eq=False)
class HumanChoices:
    """Genre choices of people, one row per choice.

    Parameters
    ----------
    table : DataFrame
        Columns ``COLUMNS``; ``audio`` is a path as text, start and duration are seconds.
    source : str
        The files it was read from.
    clips : tuple of Clip
        The distinct clips in order of their first row.
    files : tuple of Path
        The tables that were read.
    """

    table: pd.DataFrame
    source: str
    clips: tuple[Clip, ...]
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A dataset as this call of ban-bids sees it.

    Parameters
    ----------
    selection : Selection
        What it was read with.
    name : str
        ``Name`` of the dataset description, or the folder's name.
    doi : str or None
        ``DatasetDOI``.
    profile : str or None
        Name of the rules in use; None for those of BIDS (``stim_file``, ``stim_id``).
    participants : tuple of Participant
        Those asked for, sorted by label.
    listeners : tuple of Listener
        Everyone in the dataset, sorted by label: what they heard decides what a model must not know.
    notes : tuple of str
        What was left out or assumed for everybody; what concerns one participant is in ``Participant.notes``.
    shared_files : tuple of Path
        Files that are used for every participant: description, rules, people's choices and what they judged.
    choices : HumanChoices or None
        Human genre choices, where the dataset holds any.
    held_out : Mapping of str to tuple of str, or None
        Entities with globs of the runs that the rules hold out.
    missing : tuple of MissingFile
        Files that are not there, for the participants asked for and for people's choices.
    """

    selection: Selection
    name: str
    doi: str | None
    profile: str | None
    participants: tuple[Participant, ...]
    listeners: tuple[Listener, ...]
    notes: tuple[str, ...]
    shared_files: tuple[Path, ...]
    choices: HumanChoices | None
    held_out: Mapping[str, tuple[str, ...]] | None = None
    missing: tuple[MissingFile, ...] = ()

    @property
    def root(self) -> Path:
        """The BIDS folder."""
        return self.selection.bids_dir

    @property
    def usable(self) -> tuple[Participant, ...]:
        """Participants without a failure."""
        return tuple(person for person in self.participants if person.failure is None)

    @property
    def files(self) -> tuple[Path, ...]:
        """Exactly the files that are used for the participants asked for, sorted."""
        return tuple(sorted({*self.shared_files}.union(*(person.files for person in self.participants))))

    def files_of(self, label: str) -> tuple[Path, ...]:
        """Exactly the files that are used for one participant, sorted."""
        files = {path for person in self.participants if person.label == label for path in person.files}
        return tuple(sorted(files.union(self.shared_files)))
