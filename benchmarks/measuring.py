"""Seconds and peak memory of one piece of work, each in a fresh process; and the machine in words."""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil

Found = dict[str, Any]
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Watch:
    """Wall and processor seconds of a ``with`` block."""

    def __enter__(self) -> Watch:
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = time.process_time() - self.cpu, time.perf_counter() - self.wall

    def found(self, prefix: str = "") -> Found:
        return {f"{prefix}wall_s": round(self.wall, 3), f"{prefix}cpu_s": round(self.cpu, 3)}


def peak_mb() -> int:
    """Most memory that this process has held, MB (Linux: VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def in_child(work: Callable[..., Found], *args: Any, threads: int = 2, seconds: float | None = None) -> Found:
    """Call a function of a module in a fresh interpreter, for ``seconds`` at most.

    Returns what it returns with ``peak_mb``; ``{"failed": why}`` where it took longer or died.
    """
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))  # read when the child loads its libraries
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_report, args=(there, work, args))
    child.start()
    there.close()
    try:
        found: Found = here.recv() if here.poll(seconds) else {"failed": f"stopped after {seconds:.0f} s"}
    except EOFError:
        found = {"failed": "the process died"}
    if "failed" in found:
        child.kill()
    child.join()
    return found


def _report(out: Connection, work: Callable[..., Found], args: tuple[Any, ...]) -> None:
    with OwnMemory() as own:
        found = work(*args)
    out.send({**found, "peak_mb": peak_mb(), "own_peak_mb": own.peak // 2**20})
    out.close()


class OwnMemory:
    """Most memory without pages of files in a ``with`` block, looked at 50 times a second.

    Of BOLD that lies on disk the system may take pages back at any time: ``--mem`` does not count them, while
    `peak_mb` does.
    """

    def __enter__(self) -> OwnMemory:
        self.peak, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        process = psutil.Process()
        while True:
            used = process.memory_info()
            self.peak = max(self.peak, used.rss - used.shared)
            if self._done.wait(0.02):
                return


_SAMPLED = 0.5
"""Seconds between samples of a process tree."""


@dataclass(frozen=True)
class Sample:
    """Memory of all processes (shared pages once), and their processor seconds so far, at a `time.monotonic`."""

    time: float
    gib: float
    cpu_s: float
    anonymous_gib: float = 0.0


class ProcessTree:
    """Memory and processor seconds of a process and its descendants in a ``with`` block, twice a second or so.

    Memory is the proportional set size: a page that n processes share counts 1/n in each.

    Parameters
    ----------
    pid : int
        Of the topmost process.
    every : float
        Seconds between two looks.
    """

    def __init__(self, pid: int, every: float = _SAMPLED) -> None:
        self._every = every
        self.samples: list[Sample] = []
        self._spent: dict[psutil.Process, float] = {}
        self._pid, self._done = pid, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> ProcessTree:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def peak_gib(self, start: float = 0, end: float = math.inf) -> float:
        """Most memory between two times of `time.monotonic`, samples beside them included; NaN where there is none."""
        near = (one.gib for one in self.samples if start - _SAMPLED <= one.time <= end + _SAMPLED)
        return max(near, default=math.nan)

    def cpu_s(self, start: float, end: float) -> float:
        """Processor seconds between two times; of a process that ended, those up to its last sample."""
        times = [one.time for one in self.samples]
        seconds = [one.cpu_s for one in self.samples]
        return float(np.interp(end, times, seconds) - np.interp(start, times, seconds)) if times else math.nan

    def _look(self) -> None:
        try:
            top = psutil.Process(self._pid)
            done = False
            while not done:
                self.samples.append(self._sample([top, *top.children(recursive=True)]))
                done = self._done.wait(self._every)
        except psutil.NoSuchProcess:
            return

    def _sample(self, processes: Iterable[psutil.Process]) -> Sample:
        """Look at processes; those seen before keep their seconds, for not every parent waits for its children."""
        gib = anonymous = 0.0
        for process in processes:
            try:
                sizes = _rollup(process.pid)
                gib += sizes["Pss"] / 2**30
                anonymous += sizes.get("Pss_Anon", sizes["Pss"]) / 2**30
                self._spent[process] = sum(process.cpu_times()[:2])
            except (psutil.Error, OSError, KeyError):  # it ended meanwhile
                continue
        return Sample(time.monotonic(), gib, sum(self._spent.values()), anonymous)


def _rollup(pid: int) -> dict[str, int]:
    """Bytes by kind, summed by the kernel over all mappings of a process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines}


def least(measure: Callable[[], Found], repeats: int, long: float = 30) -> Found:
    """Measure several times and return the quickest; once where that takes longer than ``long`` seconds."""
    found = [measure()]
    while len(found) < repeats and found[0].get("wall_s", long) < long:
        found.append(measure())
    timed = [one for one in found if "wall_s" in one]
    return {**min(timed or found, key=lambda one: one.get("wall_s", 0)), "repeats": len(found)}


def hardware(threads: int, backend: str = "numpy") -> Found:
    """Processor, threads and versions: what a reader needs, and no names of machines."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    names = ("numpy", "scipy", "torch", "himalaya", "scikit-learn")
    found: Found = {
        "processor": model or platform.machine(),
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in names},
    }
    if backend == "torch_cuda":
        import torch  # only to name the device

        found["gpu"] = torch.cuda.get_device_name()
    return found


def parser(description: str | None, numbers: Mapping[str, int]) -> argparse.ArgumentParser:
    """Options of a benchmark: whole numbers with their defaults, a folder for data, a JSON for results."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    for name, value in numbers.items():
        made.add_argument(f"--{name}", type=int, default=value)
    made.add_argument("--scratch", type=Path, help="folder for simulated data, 2 GB at full size")
    made.add_argument("--out", type=Path, help="JSON to put the results into")
    return made


@contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """A folder for data that is gone after the ``with`` block; its parent is made where it is missing."""
    if parent:
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)
