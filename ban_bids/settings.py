"""What ``ban-bids`` was asked for: a frozen dataclass for each concern, passed down, never changed.

A function takes the part that it needs, not the whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

from ban_bids.constants import ATLASES, DEFAULT_SEED
from ban_bids.errors import UsageError

Level = Literal["participant", "group"]

_FOLDERS = ("hf:", "features:")
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Selection:
    """Which dataset, and what of it.

    Parameters
    ----------
    bids_dir : Path
        The BIDS folder.
    participant_labels, session_ids, task_ids : tuple of str
        Labels without ``sub-``, ``ses-``, ``task-``; empty for all.
    bids_filter_file : Path or None
        fMRIPrep's JSON file of queries.
    bids_database_dir : Path or None
        Folder of a pybids index.
    skip_bids_validation : bool
        Whether a dataset without a complete description is read.
    stimuli_dir : Path or None
        Audio files, where they do not lie in the dataset's ``stimuli/``.
    rules : Path or None
        How events become clips, instead of the dataset's own rules.
    behavior : Path or None
        Table of people's genre choices, instead of the dataset's own.
    test_tasks, test_runs : tuple of str
        Which runs are held out; empty for the dataset's own plan.
    """

    bids_dir: Path
    participant_labels: tuple[str, ...] = ()
    session_ids: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = ()
    bids_filter_file: Path | None = None
    bids_database_dir: Path | None = None
    skip_bids_validation: bool = False
    stimuli_dir: Path | None = None
    rules: Path | None = None
    behavior: Path | None = None
    test_tasks: tuple[str, ...] = ()
    test_runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preprocessing:
    """How images are made, or whose are taken.

    Parameters
    ----------
    derivatives : tuple of (str, Path)
        Names and folders given by ``-d``.
    space, res : str
        Output space, and voxel size in millimetres or ``native``.
    ignore : tuple of str
        Steps to leave out: ``slicetiming``, ``fieldmaps``.
    dummy_scans : int or None
        Non-steady volumes; None finds them.
    use_syn_sdc : bool
        Whether distortion is estimated without a field map.
    sloppy : bool
        Whether the last, finest level of the registration to the template is left out.
    confounds : str
        One of :data:`ban_bids.constants.CONFOUNDS`.
    atlas : str or Path
        One of :data:`ban_bids.constants.ATLASES`, or a label image.
    """

    derivatives: tuple[tuple[str, Path], ...] = ()
    space: str = "MNI152NLin2009cAsym"
    res: str = "native"
    ignore: tuple[str, ...] = ()
    dummy_scans: int | None = None
    use_syn_sdc: bool = False
    sloppy: bool = False
    confounds: str = "motion12"
    atlas: str | Path = ATLASES[0]


@dataclass(frozen=True)
class ModelRequest:
    """One model that was asked for: ``--model NAME[=WEIGHTS]``.

    Parameters
    ----------
    name : str
        See :func:`ban_bids.models.registry.load_model`.
    weights : Path or None
        Its weights file; None where the name has a folder in it (``hf:FOLDER``, ``features:FOLDER``).
    """

    name: str = "ban"
    weights: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME``, ``NAME=WEIGHTS``, ``hf:FOLDER`` or ``features:FOLDER``; paths become absolute.

        A ``=`` in a folder's name belongs to it. ``hf:OWNER/NAME`` stays as it is where there is no such folder: it may
        name a repository in the cache of the hub.

        Raises
        ------
        UsageError
            Nothing stands before or after the ``=``, or after the prefix.
        """
        if prefix := next((prefix for prefix in _FOLDERS if text.startswith(prefix)), None):
            return cls(prefix + _folder(prefix, text.removeprefix(prefix)))
        name, equals, weights = text.partition("=")
        if not name or (equals and not weights):
            raise UsageError(f"--model {text}: write NAME or NAME=WEIGHTS, e.g. ban=ban.safetensors")
        return cls(name, Path(weights).expanduser().resolve() if weights else None)


def _folder(prefix: str, text: str) -> str:
    """Absolute path of a model's folder, or the name of a repository of the hub as it is."""
    if not text:
        raise UsageError(f"--model {prefix}: write {prefix}FOLDER")
    path = Path(text).expanduser()
    if prefix == "hf:" and _REPOSITORY.fullmatch(text) and not path.exists():
        return text
    return str(path.resolve())


@dataclass(frozen=True)
class Models:
    """Which models are scored, and where their weights come from.

    Parameters
    ----------
    requests : tuple of ModelRequest
        In the order in which they are scored.
    gtzan_dir : Path or None
        Music to train on.
    controls : {"low-level", "basic", "full"}
        ``low-level`` leaves out those of random weights; ``full`` trains control networks as well.
    allow_overlap : bool
        Whether a model that knows held-out recordings is scored, and marked, instead of refused.
    """

    requests: tuple[ModelRequest, ...] = (ModelRequest(),)
    gtzan_dir: Path | None = None
    controls: Literal["low-level", "basic", "full"] = "basic"
    allow_overlap: bool = False


@dataclass(frozen=True)
class Encoding:
    """How features are laid on the run's time line and how voxels are fitted.

    Parameters
    ----------
    lag_max : float
        Longest finite-impulse-response lag, seconds.
    lag_step : float
        Largest step between lags, seconds; the step used is ``min(TR, lag_step)``.
    n_components : int
        Equal PCA dimension of every area; 0: no PCA, all features of an area as a linear kernel.
    alphas : tuple of float
        Ridge penalties tried, on trace-normalised kernels.
    n_band_weights : int
        Points of the band-weight grid on the simplex for the joint model, before it is refined around the
        best one of each voxel. By default, with four layers, equal weights and all multiples of 1/3.
    high_pass : float
        Cut-off period of the cosine drift model, seconds, one for all runs.
    n_permutations : int
        Arrangements that every p value tries.
    min_training_rows : int
        With fewer rows left after the leak rule, folds are made by groups of tracks.
    slab : int
        Voxels fitted at a time.
    n_bootstrap : int
        Bootstrap draws of confidence intervals.
    solver : {"auto", "closed-form", "himalaya"}
        ``auto`` is the closed form.
    ev_floor : float
        Single-repeat explainable variance under which CCnorm is ``n/a``.
    voxels : {"cortex", "auditory"}
        Where layers that a model maps to regions are fitted: in all of cortex, or in the auditory regions. Other
        layers, and those of controls, are fitted in the auditory regions.
    joint : bool
        Whether all layers of a scored model are fitted together too, whatever their number; without it that is done
        with up to six mapped layers, in the auditory regions.
    """

    lag_max: float = 9.0
    lag_step: float = 2.0
    n_components: int = 64
    alphas: tuple[float, ...] = tuple(10.0**e for e in range(-4, 6))
    n_band_weights: int = 21
    high_pass: float = 200.0
    n_permutations: int = 10_000
    min_training_rows: int = 30
    slab: int = 32_768
    n_bootstrap: int = 1000
    ev_floor: float = 0.01
    solver: Literal["auto", "closed-form", "himalaya"] = "auto"
    voxels: Literal["cortex", "auditory"] = "cortex"
    joint: bool = False


@dataclass(frozen=True)
class Compute:
    """Where and with what the work is done.

    Parameters
    ----------
    work_dir : Path
        Scratch folder, kept for resuming.
    nprocs, omp_nthreads : int
        Processes, and threads of each.
    mem_mb : int or None
        Most memory, MB.
    use_plugin : Path or None
        Nipype's plugin file.
    stop_on_first_crash : bool
        Whether the first failure of a participant ends the call.
    random_seed : int
        Every random choice follows from it.
    device : {"auto", "cpu", "cuda"}
        Where networks and ridge regression run.
    clean_workdir : bool
        Remove what lies in the scratch folder once everything is finished.
    """

    work_dir: Path = Path("work")
    nprocs: int = 1
    omp_nthreads: int = 1
    mem_mb: int | None = None
    use_plugin: Path | None = None
    stop_on_first_crash: bool = False
    random_seed: int = DEFAULT_SEED
    device: Literal["auto", "cpu", "cuda"] = "auto"
    clean_workdir: bool = False


@dataclass(frozen=True)
class Output:
    """Where results go, and which.

    Parameters
    ----------
    output_dir : Path
        The derivatives folder.
    reports_only : bool
        Make the reports anew from the derivatives.
    dry_run : bool
        Only print which files would be used.
    verbosity : int
        Of the log.
    """

    output_dir: Path
    reports_only: bool = False
    dry_run: bool = False
    verbosity: int = 0


@dataclass(frozen=True)
class Settings:
    """Everything that ``ban-bids`` was asked for. Paths are absolute.

    Parameters
    ----------
    level : {"participant", "group"}
    selection : Selection
    preprocessing : Preprocessing
    models : Models
    encoding : Encoding
    compute : Compute
    output : Output
    """

    level: Level
    selection: Selection
    output: Output
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    models: Models = field(default_factory=Models)
    encoding: Encoding = field(default_factory=Encoding)
    compute: Compute = field(default_factory=Compute)

    @classmethod
    def of(cls, bids_dir: Path, output_dir: Path, level: Level, **options: Any) -> Self:
        """Make settings from options by their names, whichever part they belong to.

        Parameters
        ----------
        bids_dir, output_dir : Path
        level : {"participant", "group"}
        **options
            Fields of the parts; ``encoding`` may be given whole.

        Returns
        -------
        Settings

        Raises
        ------
        TypeError
            An option is no field of any part.
        """
        return cls(level, Selection(bids_dir), Output(output_dir)).changed(**options)

    def changed(self, **options: Any) -> Self:
        """Return the same settings with some options changed, named as for :meth:`of`."""
        parts = {name: options.pop(name) for name in list(options) if name in _PARTS}
        for name, value in options.items():
            part = next((part for part, names in _PARTS.items() if name in names), None)
            if part is None:
                raise TypeError(f"{name}: no such setting")
            parts[part] = replace(parts.get(part, getattr(self, part)), **{name: value})
        return replace(self, **parts)


_PARTS: Mapping[str, frozenset[str]] = {
    name: frozenset(item.name for item in fields(part))
    for name, part in get_type_hints(Settings).items()
    if is_dataclass(part)
}
