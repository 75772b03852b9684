"""One run's settings: frozen dataclasses, made by the command line, passed down, never changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ban_bids.constants import ATLASES, DEFAULT_SEED

Level = Literal["participant", "group"]


@dataclass(frozen=True)
class EncodingSettings:
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
        best one of each voxel. By default equal weights and all multiples of 1/3.
    high_pass : float
        Cut-off period of the cosine drift model, seconds, one for all runs.
    n_permutations : int
        Block permutations for every p value.
    min_training_rows : int
        With fewer rows left after the leak rule, folds are made by groups of tracks.
    slab : int
        Voxels fitted at a time.
    n_bootstrap : int
        Bootstrap draws of confidence intervals.
    ev_floor : float
        Single-repeat explainable variance under which CCnorm is ``n/a``.
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


@dataclass(frozen=True)
class Settings:
    """Everything that one call of ``ban-bids`` was asked for.

    Paths are absolute. Empty tuples mean "all". ``atlas`` is one of :data:`ATLASES` or a user's label image.
    See ``ban-bids --help`` for each option.
    """

    bids_dir: Path
    output_dir: Path
    level: Level
    participant_labels: tuple[str, ...] = ()
    session_ids: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = ()
    bids_filter_file: Path | None = None
    derivatives: tuple[tuple[str, Path], ...] = ()
    space: str = "MNI152NLin2009cAsym"
    res: str = "native"
    ignore: tuple[str, ...] = ()
    dummy_scans: int | None = None
    use_syn_sdc: bool = False
    confounds: str = "motion12"
    work_dir: Path = Path("work")
    nprocs: int = 1
    omp_nthreads: int = 1
    mem_mb: int | None = None
    bids_database_dir: Path | None = None
    skip_bids_validation: bool = False
    stop_on_first_crash: bool = False
    use_plugin: Path | None = None
    reports_only: bool = False
    dry_run: bool = False
    random_seed: int = DEFAULT_SEED
    verbosity: int = 0
    model: str = "ban"
    weights: Path | None = None
    gtzan_dir: Path | None = None
    stimuli_dir: Path | None = None
    test_tasks: tuple[str, ...] = ()
    test_runs: tuple[str, ...] = ()
    behavior: Path | None = None
    atlas: str | Path = ATLASES[0]
    controls: Literal["basic", "full"] = "basic"
    allow_overlap: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    solver: Literal["auto", "closed-form", "himalaya"] = "auto"
    encoding: EncodingSettings = field(default_factory=EncodingSettings)
