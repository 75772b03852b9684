"""The process environment: every cache in the work folder, threads bounded, no telemetry.

Set before numpy, torch, nipype or ants is imported, as these read it once.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ban_bids.errors import UsageError

_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_CACHES = {
    "TMPDIR": "tmp",
    "HOME": "home",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "MPLCONFIGDIR": "cache/matplotlib",
    "NUMBA_CACHE_DIR": "cache/numba",
    "TORCH_HOME": "cache/torch",
    "TORCHINDUCTOR_CACHE_DIR": "cache/inductor",
    "TRITON_CACHE_DIR": "cache/triton",
    "CUDA_CACHE_PATH": "cache/cuda",
    "NILEARN_DATA": "data/nilearn",
    "JOBLIB_TEMP_FOLDER": "tmp",
}
_QUIET = {
    "NO_ET": "1",
    "NIPYPE_NO_ET": "1",
    "MPLBACKEND": "Agg",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}


def environment(work_dir: Path, omp_nthreads: int) -> Mapping[str, str]:
    """Variables of a run: caches and temporary files under the work folder, threads, no telemetry.

    Parameters
    ----------
    work_dir : Path
        Work folder.
    omp_nthreads : int
        Threads of numerical libraries.

    Returns
    -------
    Mapping
        Variable to value.
    """
    caches = {name: str(work_dir / folder) for name, folder in _CACHES.items()}
    return {**caches, **_QUIET, **dict.fromkeys(_THREADS, str(omp_nthreads))}


def set_environment(work_dir: Path, omp_nthreads: int) -> None:
    """Make the work folder's cache folders and point this process and its children to them.

    Raises
    ------
    UsageError
        A folder cannot be made.
    """
    try:
        for folder in _CACHES.values():
            (work_dir / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--work-dir {work_dir}: {error.strerror}; change its rights or the path") from error
    os.environ.update(environment(work_dir, omp_nthreads))
    # tempfile remembers the folder of its first call
    tempfile.tempdir = None


def set_logging(verbosity: int) -> None:
    """Log to stderr: ours from INFO (``-v``: from DEBUG), libraries from WARNING (``-vv``: from DEBUG).

    Parameters
    ----------
    verbosity : int
        Number of ``-v``.
    """
    handler: logging.Handler = logging.StreamHandler()
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, markup=False)
        handler.setFormatter(logging.Formatter("%(message)s", datefmt="%H:%M:%S"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(
        level=logging.DEBUG if verbosity > 1 else logging.WARNING, handlers=[handler], force=True
    )
    logging.getLogger("ban_bids").setLevel(logging.DEBUG if verbosity else logging.INFO)
    logging.captureWarnings(True)
    # libraries' deprecation notes are for developers
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbosity else logging.ERROR)
