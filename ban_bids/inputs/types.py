"""What a dataset of music listening holds: clips, presentations, runs, participants.

These types are what every later stage works on; ``read_dataset`` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ban_bids.errors import UsageError

if TYPE_CHECKING:
    from ban_bids.inputs.people import HumanChoices
    from ban_bids.settings import Settings


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
    """

    audio: Path
    start: float
    duration: float
    track: str = field(compare=False)
    genre: str | None = field(default=None, compare=False)
    fade: float = 0.0
    rms: float | None = None


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


@dataclass(frozen=True)
class Run:
    """One BOLD run with what was played in it.

    Parameters
    ----------
    participant : str
        Label without ``sub-``.
    session, task, run : str or None
        Labels as spelled in the file name (``run="01"``); the task is always there.
    entities : tuple of (str, str)
        Every entity of the file name in order: ``(("sub", "01"), ("task", "Test"), ("run", "01"))``.
    bold, events : Path
        Image and table of events.
    repetition_time : float
        Seconds.
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
    """

    participant: str
    session: str | None
    task: str
    run: str | None
    entities: tuple[tuple[str, str], ...]
    bold: Path
    events: Path
    repetition_time: float
    n_volumes: int
    slice_timing: tuple[float, ...] | None
    slice_encoding_direction: str
    start_time: float | None
    presentations: tuple[Presentation, ...]
    acquisition_time: float | None = None
    first_volume: float = 0.0
    phase_encoding: str | None = None

    @property
    def name(self) -> str:
        """Entities after the participant: ``task-Test_run-01``, ``ses-1_task-x_run-1``."""
        return "_".join(f"{key}-{value}" for key, value in self.entities if key != "sub")

    @property
    def duration(self) -> float:
        """End of the run on its clock, seconds."""
        return self.first_volume + self.n_volumes * self.repetition_time

    @property
    def reference_time(self) -> float:
        """Time that the first volume's samples refer to, seconds on the run's clock.

        With slice times the middle of their range, fMRIPrep's reference; else the image's ``StartTime``;
        else the middle of the time in which the volume was taken.
        """
        if self.slice_timing:
            return self.first_volume + 0.5 * (min(self.slice_timing) + max(self.slice_timing))
        if self.start_time is not None:
            return self.start_time
        return self.first_volume + 0.5 * (self.acquisition_time or self.repetition_time)

    @property
    def clips(self) -> tuple[Clip, ...]:
        """The run's distinct clips in order of their first onset, lead-ins included."""
        return tuple(dict.fromkeys(item.clip for item in self.presentations))


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
    """

    label: str
    t1w: tuple[Path, ...]
    runs: tuple[Run, ...]
    failure: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def sessions(self) -> tuple[str, ...]:
        """Labels of the sessions that the runs are of, sorted; scores pool them."""
        return tuple(sorted({run.session for run in self.runs if run.session is not None}))


@dataclass(frozen=True)
class Dataset:
    """A dataset as this call of ban-bids sees it.

    Parameters
    ----------
    root : Path
        The BIDS folder.
    name : str
        ``Name`` of the dataset description, or the folder's name.
    doi : str or None
        ``DatasetDOI``.
    profile : str or None
        Name of the stimulus profile in use.
    participants : tuple of Participant
        Those asked for, sorted by label.
    notes : tuple of str
        What was left out or assumed, one line each.
    files : tuple of Path
        Exactly the files that are used, sorted.
    choices : HumanChoices or None
        Human genre choices, where the dataset holds any.
    """

    root: Path
    name: str
    doi: str | None
    profile: str | None
    participants: tuple[Participant, ...]
    notes: tuple[str, ...]
    files: tuple[Path, ...]
    choices: HumanChoices | None

    def files_of(self, label: str) -> tuple[Path, ...]:
        """Files."""
        return self.files

    @property
    def usable(self) -> tuple[Participant, ...]:
        """Participants without a failure."""
        return tuple(person for person in self.participants if person.failure is None)


def read_dataset(settings: Settings) -> Dataset:
    """Read the chosen participants, their runs, clips and choices.

    Parameters
    ----------
    settings : Settings
        What the command line asked for.

    Returns
    -------
    Dataset
        A participant that cannot be used carries its ``failure``.

    Raises
    ------
    UsageError
        The dataset is missing or empty, or an option names something that is not there.
    DataError
        Something that concerns every participant cannot be used.
    """
    if not settings.selection.bids_dir.is_dir():
        raise UsageError(
            f"BIDS_DIR {settings.selection.bids_dir}: no such folder; give the top folder of a BIDS dataset"
        )
    from ban_bids.inputs.read import read  # pybids and pandas take seconds to import

    return read(settings)
