"""How Nipype runs the nodes: local processes that survive a killed worker, or a plugin from a file."""

from __future__ import annotations

import os
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import psutil
from nipype.pipeline.plugins.multiproc import MultiProcPlugin

from ban_bids.preprocessing.plugin_file import read_plugin_file
from ban_bids.settings import Settings

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_LEAST_GB = 0.5
KILLED = (
    "a worker process was killed, most likely for want of memory; give the run more memory, or --nprocs 1, "
    "and start it again (finished steps are kept)"
)


def _start_worker(folder: str) -> None:
    """One thread a worker: as many nodes run at once as there are processors."""
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


def plugin_of(settings: Settings) -> tuple[Any, dict[str, Any]]:
    """Nipype plugin and its arguments.

    ``--use-plugin FILE`` (YAML, JSON or TOML with ``plugin`` and ``plugin_args``, as for fMRIPrep) comes
    first; else local processes with ``--nprocs`` and ``--mem``, or Linear for one process.

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
    if settings.compute.use_plugin is not None:
        return read_plugin_file(settings.compute.use_plugin)
    if settings.compute.nprocs <= 1:
        return "Linear", {}
    return LocalProcesses(settings.compute.nprocs, memory_for_nodes(settings.compute.mem_mb)), {}


def memory_for_nodes(mem_mb: int | None) -> float:
    """GB that nodes may take together: ``--mem``, or nine tenths of the machine's, less our own."""
    total = mem_mb / 1024 if mem_mb else 0.9 * psutil.virtual_memory().total / 1024**3
    return max(_LEAST_GB, round(total - psutil.Process().memory_info().rss / 1024**3, 2))
