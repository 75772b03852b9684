"""The process environment: every cache in the work folder, threads bounded, no telemetry.

Set before numpy, torch, nipype or ants is imported, as these read it once.
"""

from __future__ import annotations

import errno
import getpass
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ban_bids.constants import WORK_MARK
from ban_bids.errors import BanBidsError, DataError, UsageError, one_reason
from ban_bids.files.atomic import TEMPORARY_PREFIX
from ban_bids.files.shown import LogFormatter, one_line
from ban_bids.settings import Output

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
    "TORCHINDUCTOR_CACHE_DIR": "cache/inductor",
    "TRITON_CACHE_DIR": "cache/triton",
    "CUDA_CACHE_PATH": "cache/cuda",
    "NILEARN_DATA": "data/nilearn",
    "JOBLIB_TEMP_FOLDER": "tmp",
}
"""Not TORCH_HOME: weights that a user fetched are read from there."""

_HUB = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME")
"""Where huggingface's hub keeps what a user fetched; the first one that is set counts."""

_FONTS = "fontlist-*.json"
_MARKED = "ban-bids made this folder; ban-bids --clean-workdir may empty it.\n"
_QUIET = {
    "NO_ET": "1",
    "NIPYPE_NO_ET": "1",
    "MPLBACKEND": "Agg",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}


_NO_HOME = "/nonexistent"
"""Where Debian's users without a home have it: nothing is there, and nobody can make it."""

_LONGEST_WORK_DIR = 3500
"""Bytes; a system's longest path has 4096, and what is made in a work folder needs some hundred."""


def complete_environment() -> None:
    """Give a home and a name to a user without, as containers have: libraries end in a traceback where they ask."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = _NO_HOME
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ["LOGNAME"] = "ban-bids"


@contextmanager
def temporary_folder(near: Sequence[Path]) -> Iterator[None]:
    """Where a system has no folder for temporary files that can be written, make one beside what is written anyway.

    Parameters
    ----------
    near : sequence of Path
        Folders that exist or are to be made; the first that can be written holds it. It goes at the end.

    Raises
    ------
    UsageError
        There is none; the message names the variable to set.
    """
    if _has_temporary_folder():
        yield
        return
    places = [next(place for place in (folder, *folder.parents) if place.is_dir()) for folder in near]
    place = next((place for place in places if os.access(place, os.W_OK | os.X_OK)), None)
    if place is None:
        raise UsageError("no folder for temporary files can be written; let TMPDIR name one")
    saved = {name: os.environ.pop(name, None) for name in ("TMPDIR", "MPLCONFIGDIR")}
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=place, ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = None  # it remembers the folder of its first call
        os.environ.update(dict.fromkeys(saved, folder))
        try:
            yield
        finally:
            tempfile.tempdir = None
            for name, value in saved.items():
                del os.environ[name]
                os.environ.update({} if value is None else {name: value})


def _has_temporary_folder() -> bool:
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return False
    return True


def available_cpus(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Processors that this process may use, by affinity and by a container's quota.

    Parameters
    ----------
    quota : Path
        The control group's limit: microseconds of processor time a period, or ``max``.

    Returns
    -------
    int
        At least 1.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = quota.read_text().split()
        return max(1, min(count, round(int(share) / int(period))))
    except (OSError, ValueError):  # no control groups, or no limit
        return count


def is_of_the_place(error: OSError) -> bool:
    """Whether an error is about rights, a system that is read-only or a path too long, and no fault."""
    return error.filename is not None and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


def exit_status(program: str, work: Callable[[], int], left_behind: Callable[[], str] | None = None) -> int:
    """Status of a command line's work; errors of ours and interruptions become one line and their own status.

    Parameters
    ----------
    program : str
    work : callable
        Returns the status where nothing goes wrong.
    left_behind : callable, optional
        What the line about an interruption says besides.

    Returns
    -------
    int
    """
    complete_environment()
    try:
        return work()
    except BanBidsError as error:
        print(one_line(f"{program}: error: {error}"), file=sys.stderr)
        return error.exit_status
    except OSError as error:
        if not is_of_the_place(error):
            raise
        print(one_line(f"{program}: error: {one_reason(error)}"), file=sys.stderr)
        return DataError.exit_status
    except KeyboardInterrupt:
        print(f"{program}: interrupted" + ("" if left_behind is None else f"; {left_behind()}"), file=sys.stderr)
        return 130


def environment(work_dir: Path, omp_nthreads: int) -> Mapping[str, str]:
    """Variables of a run: caches and temporary files under the work folder, threads, no telemetry.

    Models that the user fetched beforehand are found where they lie.

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
    return {**caches, **_fetched(), **_QUIET, **dict.fromkeys(_THREADS, str(omp_nthreads))}


def _fetched() -> dict[str, str]:
    """Where this user's models of huggingface's hub and of torch lie: read there although HOME and caches are others.

    Without a folder of torch's the variable is left alone: what a factory fetches then lies in the work folder, and
    homes may be read-only.
    """
    caches, found = _users_caches(), {}
    if not any(os.environ.get(name) for name in _HUB):
        found[_HUB[0]] = str(caches / "huggingface" / "hub")
    if not os.environ.get("TORCH_HOME") and (caches / "torch").is_dir():
        found["TORCH_HOME"] = str(caches / "torch")
    return found


def _users_caches() -> Path:
    """The user's folder of caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", "/")) / ".cache")


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove those of the folders in which nothing lies but a list of fonts or the mark, in the order given."""
    for folder in folders:
        needless = [*folder.glob(_FONTS), *folder.glob(WORK_MARK)]
        if folder.is_dir() and len(needless) == sum(1 for _ in folder.iterdir()):
            for path in needless:
                path.unlink(missing_ok=True)
        with suppress(OSError):  # something lies in it, or it is gone
            folder.rmdir()


def set_environment(work_dir: Path, omp_nthreads: int) -> tuple[Path, ...]:
    """Make the work folder's cache folders and point this process and its children to them.

    Parameters
    ----------
    work_dir : Path
        Work folder.
    omp_nthreads : int
        Threads of numerical libraries.

    Returns
    -------
    tuple of Path
        Folders that were not there before, the deepest first: a call that fails takes back those still empty.

    Raises
    ------
    UsageError
        A folder cannot be made.
    """
    fonts = _known_fonts()
    caches = [work_dir / name for name in _CACHES.values()]
    missing = {place for cache in caches for place in (cache, *cache.parents) if not place.exists()}
    ours = not work_dir.exists() or (work_dir.is_dir() and not any(work_dir.iterdir()))
    deepest_first = tuple(sorted(missing, reverse=True))
    try:
        for cache in caches:
            cache.mkdir(parents=True, exist_ok=True)
        if ours:
            (work_dir / WORK_MARK).write_text(_MARKED)
    except OSError as error:
        remove_empty(deepest_first)
        raise UsageError(f"--work-dir {work_dir}: {error.strerror}; change its rights or the path") from error
    os.environ.update(environment(work_dir, omp_nthreads))
    for path in fonts:  # a list of all fonts takes seconds to make; it is the same for every work folder
        with suppress(OSError):
            shutil.copy(path, work_dir / _CACHES["MPLCONFIGDIR"])
    # tempfile remembers the folder of its first call
    tempfile.tempdir = None
    return deepest_first


def _known_fonts() -> list[Path]:
    """Lists of fonts that matplotlib made for this user, or for all users of a container."""
    folder = Path(os.environ.get("MPLCONFIGDIR") or _users_caches() / "matplotlib")
    return sorted(folder.glob(_FONTS))


def set_logging(verbosity: int) -> None:
    """Log to stderr: ours from INFO (``-v``: from DEBUG), libraries from WARNING (``-vv``: from DEBUG).

    Parameters
    ----------
    verbosity : int
        Number of ``-v``.
    """
    handler: logging.Handler = logging.StreamHandler()
    text = "%(asctime)s %(levelname)s %(message)s"
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, markup=False)
        text = "%(message)s"
    handler.setFormatter(LogFormatter(text, datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if verbosity > 1 else logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("ban_bids").setLevel(logging.DEBUG if verbosity else logging.INFO)
    logging.captureWarnings(True)
    # libraries' deprecation notes are for developers
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbosity else logging.ERROR)


def check_writable(folder: Path, option: str) -> None:
    """Check that a folder, or the nearest one above it that exists, can be written.

    Parameters
    ----------
    folder : Path
        Absolute; need not exist. Nothing is created.
    option : str
        Named in the message.

    Raises
    ------
    UsageError
        It is a file, or this user may not write there.
    """
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if not place.is_dir():
        raise UsageError(f"{option} {folder}: {place} is not a folder; choose another path")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {folder}: uid {os.getuid()} cannot write in {place}; change its rights or the path")


def _check_outside(folder: Path, bids_dir: Path, option: str) -> None:
    derivatives = bids_dir / "derivatives"
    if folder == bids_dir or (bids_dir in folder.parents and derivatives not in folder.parents):
        raise UsageError(
            f"{option} {folder} lies in the dataset {bids_dir}; choose one elsewhere or under {derivatives}"
        )


def check_folders(bids_dir: Path, work_dir: Path, output: Output) -> None:
    """Check that output and work folders are apart from the input and can be written.

    Parameters
    ----------
    bids_dir, work_dir : Path
        Absolute.
    output : Output
        Its folder, and whether anything is written at all.

    Raises
    ------
    UsageError
        Names the option, the path and, for rights, the user.
    """
    for option, folder in (("OUTPUT_DIR", output.output_dir), ("--work-dir", work_dir)):
        _check_outside(folder, bids_dir, option)
        if not output.dry_run:
            check_writable(folder, option)


def check_length(work_dir: Path) -> None:
    """Check that the paths of what preprocessing makes in the work folder fit into what the system takes.

    Raises
    ------
    UsageError
        They do not.
    """
    length = len(os.fsencode(work_dir))
    if length > _LONGEST_WORK_DIR:
        raise UsageError(
            f"--work-dir: a path of {length} bytes leaves too little of the system's 4096 for what is made in it; "
            f"give one of at most {_LONGEST_WORK_DIR}"
        )
