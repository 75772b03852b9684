"""How Nipype runs the nodes: its configuration, local processes that survive a killed worker, and crashes.

:func:`ban_bids.preprocessing.run.set_environment` must precede the import of this module.
"""

from __future__ import annotations

import gc
import logging
import os
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import chdir, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from nipype import config
from nipype import logging as nipype_logging
from nipype.pipeline import plugins
from nipype.pipeline.engine import Workflow
from nipype.pipeline.engine.utils import topological_sort
from nipype.pipeline.plugins.base import PluginBase, SGELikeBatchManagerBase
from nipype.pipeline.plugins.multiproc import MultiProcPlugin
from nipype.pipeline.plugins.tools import report_crash

from ban_bids.errors import BanBidsError, DataError
from ban_bids.files.atomic import write_text
from ban_bids.files.memory import keep_little, taken, there_is
from ban_bids.files.processes import die_with_parent
from ban_bids.files.sharing import no_semaphores, worker_context
from ban_bids.preprocessing.checks import read_plugin_file, runs_here
from ban_bids.preprocessing.crashes import KILLED, Crashes, read_crashes
from ban_bids.settings import Compute

_LOG = logging.getLogger(__name__)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
LEAST_GB = 0.5
WORKER_GB = 0.3
"""Of a worker that waits, with its libraries."""
_SECONDS_BETWEEN_LOOKS = {"local": "0.2", "cluster": "2"}
_SECONDS_TO_SEE_RESULTS = "30"  # as long as clients of NFS may take the listing of a folder from their caches


def _start_worker(folder: str) -> None:
    """One thread per worker: as many nodes run at once as there are processors. It ends with who started it."""
    die_with_parent()
    keep_little()
    os.chdir(folder)
    os.environ.update(dict.fromkeys(_THREADS, "1"), NIPYPE_NO_ET="1")


class InThisProcess(PluginBase):
    """Nipype's Linear, which ends at the first crash that it cannot write down; here the other nodes go on."""

    def __init__(self) -> None:
        super().__init__()
        self.crashes = Crashes()

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run all nodes in order, but for those that depend on one that crashed.

        Raises
        ------
        RuntimeError
            A node crashed.
        """
        folder, crashed = Path.cwd(), []
        undone: set[Any] = set()
        for node in topological_sort(graph)[0]:
            if not undone.isdisjoint(graph.predecessors(node)):
                undone.add(node)
                continue
            try:
                node.run(updatehash=updatehash)
            except Exception as error:  # noqa: BLE001 -- as Nipype's plugins do: steps raise what they like
                lines = traceback.format_exception(error)
                self.crashes.report(node, lines, partial(report_crash, node, traceback=lines))
                crashed.append(node.fullname)
                undone.add(node)
                if config["execution"]["stop_on_first_crash"] == "true":
                    break
        os.chdir(folder)
        if crashed:
            raise RuntimeError(f"crashed: {', '.join(crashed)}")


class LocalProcesses(MultiProcPlugin):
    """Nipype's MultiProc, which waits for ever when a worker is killed or cannot say how a node ended.

    Here such nodes fail by name. A killed process breaks the pool: all nodes under way fail with :data:`KILLED`, a new
    pool takes the nodes of the other participants. Of a node that failed where the disk is full no result is left,
    which Nipype's worker does not survive.
    """

    def __init__(self, n_procs: int, memory_gb: float) -> None:
        # workers that wait hold their libraries
        n_procs = max(1, min(n_procs, int(memory_gb / WORKER_GB)))
        memory_gb = max(LEAST_GB, round(memory_gb - (n_procs - 1) * WORKER_GB, 2))
        super().__init__({"n_procs": n_procs, "memory_gb": memory_gb, "raise_insufficient": False})
        self.pool.shutdown()
        self.pool: ProcessPoolExecutor = self._new_pool()
        self.crashes = Crashes()

    def _new_pool(self) -> ProcessPoolExecutor:
        # no fork of this process, which would inherit the threads and locks of its libraries
        return ProcessPoolExecutor(self.processors, worker_context(), initializer=_start_worker, initargs=(self._cwd,))

    def _async_callback(self, args: Future[Any]) -> None:
        error = args.exception()
        if error is None:
            super()._async_callback(args)
            return
        killed = isinstance(error, BrokenProcessPool)
        text = [f"KilledError: {KILLED}\n"] if killed else traceback.format_exception(error)
        for number, future in list(self._task_obj.items()):
            if future is args:
                self._taskresult[number] = {"result": None, "traceback": text, "taskid": number}

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        try:
            number = int(super()._submit_job(node, updatehash))
        except BrokenProcessPool:
            self.pool.shutdown(wait=False)
            self.pool = self._new_pool()
            number = int(super()._submit_job(node, updatehash))
        if (future := self._task_obj[number]).done():  # perhaps before it was known under its number
            self._async_callback(future)
        return number

    def _report_crash(self, node: Any, result: Any = None) -> str:
        lines = [] if result is None else result["traceback"]
        return self.crashes.report(node, lines, partial(super()._report_crash, node, result))

    def kill(self) -> None:
        """Kill the workers; what they were at is done again."""
        for process in list((self.pool._processes or {}).values()):
            process.kill()

    def close(self) -> None:
        """End the processes; what waits is not begun."""
        self.pool.shutdown(cancel_futures=True)


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

    ``--use-plugin FILE`` comes first; else local processes with ``--nprocs`` and ``--mem``, or this one alone, also
    where the system lets processes share nothing.

    Returns
    -------
    plugin : str, InThisProcess or LocalProcesses
        What ``Workflow.run`` takes.
    arguments : dict

    Raises
    ------
    UsageError
        The file cannot be read, or names no plugin.
    """
    if compute.use_plugin is not None:
        return read_plugin_file(compute.use_plugin)
    if runs_here(compute):
        if compute.nprocs > 1:
            _LOG.warning(
                "%s: steps run one at a time; let it be written (docker run --tmpfs /dev/shm) for --nprocs",
                no_semaphores(),
            )
        return InThisProcess(), {}
    return LocalProcesses(compute.nprocs, memory_for_nodes(compute.mem_mb)), {}


def memory_for_nodes(mem_mb: int | None) -> float:
    """GB that nodes may take together: ``--mem``, or nine tenths of the machine's or job's, less our own."""
    total = mem_mb / 1024 if mem_mb else 0.9 * there_is() / 1024**3
    return max(LEAST_GB, round(total - taken() / 1024**3, 2))


def configure(crash_dir: Path, *, verbose: bool, stop_on_first_crash: bool) -> None:
    """Set Nipype up: hashes by content, crash files as text, and silence on stdout unless asked for."""
    # nipype writes every node's start and end to stdout, where the score table goes
    levels = dict.fromkeys(("workflow_level", "interface_level", "utils_level"), "INFO" if verbose else "WARNING")
    if not verbose:  # it prints every crash with its traceback, which is in the crash file; the line is ours
        levels["workflow_level"] = "CRITICAL"
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
    lines = ["[logging]", *(f"{name} = {level}" for name, level in levels.items()), ""]
    write_text(folder / "nipype.cfg", "\n".join(lines))


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
        # Nipype's plugin for PBS leaves files where it runs; not in crash_dir, whose new files are read as crashes
        here = nullcontext() if compute.use_plugin is None else chdir(crash_dir.parent)
        with _spared_from_collection(), here:
            wf.run(plugin=plugin, plugin_args=arguments)
    except RuntimeError as error:
        _LOG.debug("Nipype: %s", error)
        texts = plugin.crashes.texts if isinstance(plugin, (InThisProcess, LocalProcesses)) else []
        crashes = read_crashes(sorted(set(crash_dir.iterdir()) - before), texts)
        if not crashes:
            raise DataError(f"preprocessing failed without a crash file: {error}") from error
        return crashes
    except BaseException:  # a signal, Ctrl-C or a lost lock: nobody waits for the steps under way
        if isinstance(plugin, LocalProcesses):
            plugin.kill()
        raise
    finally:
        if isinstance(plugin, LocalProcesses):
            plugin.close()
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
