"""How Nipype runs the nodes: its configuration, local processes that survive a killed worker, and crashes.

:func:`ban_bids.preprocessing.run.set_environment` must precede the import of this module.
"""

from __future__ import annotations

import gc
import logging
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
from nipype import config
from nipype import logging as nipype_logging
from nipype.pipeline import plugins
from nipype.pipeline.engine import Workflow
from nipype.pipeline.plugins.base import SGELikeBatchManagerBase
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from ban_bids.errors import BanBidsError, DataError
from ban_bids.preprocessing.checks import read_plugin_file
from ban_bids.preprocessing.files import participant_of
from ban_bids.settings import Compute

_LOG = logging.getLogger(__name__)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_LEAST_GB = 0.5
_ERROR_LINE = re.compile(r"^\s*(?:[\w.]*\.)?(\w*(?:Error|Exception|NotComputable)\w*): (.*)$")
_JOB_WITHOUT_RESULT = re.compile(r"Job id \((\S+)\) finished or terminated, but results file does not exist")
KILLED = (
    "a worker process was killed, most likely for want of memory; give the run more memory, or --nprocs 1, "
    "and start it again (finished steps are kept)"
)
JOB_ENDED = (
    "job {} of the cluster ended without a result, most likely for want of time or memory; give the jobs more of it in "
    "the file of --use-plugin, and start the run again (finished steps are kept)"
)
_SECONDS_BETWEEN_LOOKS = {"local": "0.2", "cluster": "2"}
_SECONDS_TO_SEE_RESULTS = "30"  # as long as clients of NFS may take the listing of a folder from their caches


def _start_worker(folder: str) -> None:
    """One thread per worker: as many nodes run at once as there are processors."""
    os.chdir(folder)
    os.environ.update(dict.fromkeys(_THREADS, "1"), NIPYPE_NO_ET="1")


class LocalProcesses(MultiProcPlugin):
    """Nipype's MultiProc, which waits for ever when a worker is killed; here its nodes fail by name.

    A killed process breaks the pool: all nodes under way fail with :data:`KILLED`, a new pool takes the
    nodes of the other participants.
    """

    def __init__(self, n_procs: int, memory_gb: float) -> None:
        super().__init__({"n_procs": n_procs, "memory_gb": memory_gb, "raise_insufficient": False})
        self.pool.shutdown()
        self.pool: ProcessPoolExecutor = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        # forkserver: a fork of this process would inherit the threads and locks of its libraries
        return ProcessPoolExecutor(
            self.processors, get_context("forkserver"), initializer=_start_worker, initargs=(self._cwd,)
        )

    def _async_callback(self, args: Future[Any]) -> None:
        if not isinstance(args.exception(), BrokenProcessPool):
            super()._async_callback(args)
            return
        for number, future in list(self._task_obj.items()):
            if future is args:
                text = [f"KilledError: {KILLED}\n"]
                self._taskresult[number] = {"result": None, "traceback": text, "taskid": number}

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        try:
            return int(super()._submit_job(node, updatehash))
        except BrokenProcessPool:
            self.pool.shutdown(wait=False)
            self.pool = self._new_pool()
            return int(super()._submit_job(node, updatehash))


class _Told:
    """Of Nipype's batch plugins: a job that ends without a result fails its node, and not the whole run.

    They hand on the traceback of such a job as text; the report of a crash adds lines to a list.
    """

    def _report_crash(self, node: Any, result: Any = None) -> Any:
        if result is not None and isinstance(result["traceback"], str):
            result["traceback"] = result["traceback"].splitlines(keepends=True)
        return super()._report_crash(node, result)  # type: ignore[misc]


def _batch_plugin(name: str, arguments: dict[str, Any]) -> Any:
    """Plugin of a batch system that tells how jobs ended; the name of any other plugin, as it is."""
    kind = getattr(plugins, f"{name}Plugin", None)
    if not (isinstance(kind, type) and issubclass(kind, SGELikeBatchManagerBase)):
        return name
    return type(kind.__name__, (_Told, kind), {})(plugin_args=arguments)


def plugin_of(compute: Compute) -> tuple[Any, dict[str, Any]]:
    """Nipype plugin and its arguments.

    ``--use-plugin FILE`` comes first; else local processes with ``--nprocs`` and ``--mem``, or Linear for one process.

    Returns
    -------
    plugin : str or LocalProcesses
        What ``Workflow.run`` takes.
    arguments : dict

    Raises
    ------
    UsageError
        The file cannot be read, or names no plugin.
    """
    if compute.use_plugin is not None:
        return read_plugin_file(compute.use_plugin)
    if compute.nprocs <= 1:
        return "Linear", {}
    return LocalProcesses(compute.nprocs, memory_for_nodes(compute.mem_mb)), {}


def memory_for_nodes(mem_mb: int | None) -> float:
    """GB that nodes may take together: ``--mem``, or nine tenths of the machine's, less our own."""
    total = mem_mb / 1024 if mem_mb else 0.9 * psutil.virtual_memory().total / 1024**3
    return max(_LEAST_GB, round(total - psutil.Process().memory_info().rss / 1024**3, 2))


def configure(crash_dir: Path, *, verbose: bool, stop_on_first_crash: bool) -> None:
    """Set Nipype up: hashes by content, crash files as text, and silence on stdout unless asked for."""
    # nipype writes every node's start and end to stdout, where the score table goes
    levels = dict.fromkeys(("workflow_level", "interface_level", "utils_level"), "INFO" if verbose else "WARNING")
    config.update_config(
        {
            "execution": {
                "crashdump_dir": str(crash_dir),
                "crashfile_format": "txt",
                "hash_method": "content",
                "use_relative_paths": "true",
                "stop_on_first_crash": str(stop_on_first_crash).lower(),
                "remove_unnecessary_outputs": "false",
                "create_report": "false",
                "check_version": "false",
                "poll_sleep_duration": _SECONDS_BETWEEN_LOOKS["local"],
                "job_finished_timeout": _SECONDS_TO_SEE_RESULTS,
            },
            "logging": {"log_to_file": "false", **levels},
        }
    )
    nipype_logging.update_logging(config)
    # nodes run in processes of their own, which read their configuration from a file
    folder = Path(os.environ["NIPYPE_CONFIG_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["[logging]", *(f"{name} = {level}" for name, level in levels.items()), ""]
    (folder / "nipype.cfg").write_text("\n".join(lines), encoding="utf-8")


def run_workflow(wf: Workflow, compute: Compute, *, needed_gb: float, crash_dir: Path) -> dict[str, BanBidsError]:
    """Run all nodes; crashes by the name of the participant's workflow (``sub_<label>``).

    Parameters
    ----------
    wf : Workflow
    compute : Compute
    needed_gb : float
        What the largest step needs; where nodes may have less, it is said.
    crash_dir : Path
        As :func:`configure` was given it.

    Raises
    ------
    UsageError
        See :func:`plugin_of`.
    DataError
        Nipype failed without saying where.
    """
    before = set(crash_dir.iterdir())
    plugin, arguments = plugin_of(compute)
    _LOG.info("preprocessing with %s", plugin if isinstance(plugin, str) else type(plugin).__name__)
    if compute.use_plugin is not None:  # every look asks the scheduler of the cluster once a job
        config.set("execution", "poll_sleep_duration", _SECONDS_BETWEEN_LOOKS["cluster"])
        plugin = _batch_plugin(plugin, arguments)
    if isinstance(plugin, LocalProcesses) and needed_gb > plugin.memory_gb:
        _LOG.warning(
            "a run's steps need about %.1f GB and nodes may have %.1f; they run one at a time and may be "
            "killed: raise --mem, or lower the resolution with --res",
            needed_gb,
            plugin.memory_gb,
        )
    try:
        with _spared_from_collection():
            wf.run(plugin=plugin, plugin_args=arguments)
    except RuntimeError as error:
        _LOG.debug("Nipype: %s", error)
        crashes = read_crashes(sorted(set(crash_dir.iterdir()) - before))
        if not crashes:
            raise DataError(f"preprocessing failed without a crash file: {error}") from error
        return crashes
    return {}


@contextmanager
def _spared_from_collection() -> Iterator[None]:
    """Keep the collector of garbage away from what is there already.

    Nipype collects at every look at its processes; going through a million objects of torch and nilearn each time took
    a quarter of a second, in all longer than most steps.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def read_crashes(files: Sequence[Path]) -> dict[str, BanBidsError]:
    """First crash of each participant as one line: what is wrong, the step, the crash file."""
    crashes: dict[str, BanBidsError] = {}
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        node = re.search(r"^Node: (\S+)", text, re.MULTILINE)
        parts = node.group(1).split(".") if node else []
        name, step = (parts[1] if len(parts) > 1 else "unknown"), ".".join(parts[2:]) or "unknown"
        errors = [match for line in text.splitlines() if (match := _ERROR_LINE.match(line))]
        kind, message = errors[-1].groups() if errors else ("", "see the crash file")
        ended = _JOB_WITHOUT_RESULT.match(message)
        if ended:
            kind, message = "KilledError", f"{participant_of(name)}: {JOB_ENDED.format(ended.group(1))}"
        if kind not in ("DataError", "UsageError", "KilledError"):
            message = f"{participant_of(name)}: {kind} {message}"
        crashes.setdefault(name, DataError(f"{message} (step {step}; details in {path})"))
    return crashes
