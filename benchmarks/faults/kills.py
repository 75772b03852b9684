"""Killed at random moments and started again: is the result that of a run that nobody disturbed?

    PYTHONPATH=benchmarks python benchmarks/faults/kills.py FOLDER [--sigkill 20] [--sigterm 5] [--seed 1]

Simulates a small raw participant (two Training and two Test runs of 130 volumes, 6 mm), runs ``ban-bids`` on it
undisturbed (Nipype's preprocessing in two processes, two models), and then again and again into new folders: after a
random time the run is killed, by SIGKILL (the process that was started alone: nobody may be left of the others) or by
SIGTERM, and started again with the same command until it ends by itself; the next kills hit it anew. Every finished
output is compared with the undisturbed one, byte by byte: all files but logs and pages, which tell times. Printed: a
line for each kill with what the run was at, the seconds until all its processes had ended and its exit status; and for
each output the number of files and those that differ. The exit status is 1 where anything is not as it should be.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from simulated_dataset import Design, make_dataset, make_weights

from ban_bids.demo.phantom import Scan

DESIGN = Design(Scan((32, 32, 24), 6.0, n_volumes=130, multiband=4), training=2, test=2)
OPTIONS = "--nprocs 2 --omp-nthreads 1 --mem 4G --sloppy --controls low-level --n-permutations 500"
TELLS_TIMES = ("logs/", "work/", ".html")
MOST_SECONDS = 10.0


@dataclass(frozen=True)
class Kill:
    """One kill: by what, after how many seconds, what the log's last line was; how long the end took; what was left."""

    signal: str
    after_s: float
    at: str
    ended_s: float
    status: int
    left: int
    says_how: bool


def main() -> int:
    """Simulate, run, kill, compare, print."""
    given = _parsed()
    folder = given.folder
    make_dataset(folder / "raw", DESIGN)
    weights = make_weights(folder / "weights", ["ban"])["ban"]
    options = [*OPTIONS.split(), "--model", f"ban={weights}", "modulation"]
    start = time.monotonic()
    run_until(folder, "undisturbed", options, None, "")
    lasts = given.within or time.monotonic() - start
    whole = contents(folder / "undisturbed")
    print(f"undisturbed: {time.monotonic() - start:.0f} s, {len(whole)} files", flush=True)
    rng = np.random.default_rng(given.seed)
    waiting = list(rng.permutation(["SIGKILL"] * given.sigkill + ["SIGTERM"] * given.sigterm))
    kills: list[Kill] = []
    differ: list[str] = []
    outputs = 0
    while waiting:
        outputs += 1
        name = f"disturbed-{outputs}"
        kills += disturbed(folder, name, options, waiting, moments=lambda: float(rng.uniform(0, lasts)))
        now = contents(folder / name)
        others = sorted(path for path in whole.keys() | now.keys() if whole.get(path) != now.get(path))
        differ += [f"{name}/{path}" for path in others]
        print(f"{name}: {len(now)} files, {len(others)} differ: {', '.join(others) or 'none'}", flush=True)
        if not others:
            shutil.rmtree(folder / name)
    ends = pd.DataFrame(kills).groupby("signal")["ended_s"].agg(["size", "median", "max"])
    print(f"\n{ends.round(2).to_string()}\noutputs {outputs}, files that differ {len(differ)}")
    return int(bool(differ) or any(map(_wrong, kills)))


def disturbed(
    folder: Path, name: str, options: Sequence[str], waiting: list[str], *, moments: Callable[[], float]
) -> list[Kill]:
    """Run until it ends by itself, killed meanwhile by what waits; those kills."""
    kills: list[Kill] = []
    while found := run_until(folder, name, options, moments() if waiting else None, waiting[0] if waiting else ""):
        waiting.pop(0)
        kills.append(found)
        print(pd.DataFrame([found]).to_string(index=False, header=len(kills) == 1), flush=True)
    return kills


def _wrong(kill: Kill) -> bool:
    expected = -signal.SIGKILL if kill.signal == "SIGKILL" else 128 + signal.SIGTERM
    told = kill.says_how or kill.signal == "SIGKILL"
    return kill.status != expected or kill.left > 0 or kill.ended_s > MOST_SECONDS or not told


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the dataset, weights and outputs")
    parser.add_argument("--sigkill", type=int, default=20)
    parser.add_argument("--sigterm", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--within", type=float, help="most seconds from a start to the next kill (as a run lasts)")
    return parser.parse_args()


def run_until(folder: Path, name: str, options: Sequence[str], after: float | None, how: str) -> Kill | None:
    """Run the participant level and kill it after some seconds; None where it ends by itself before.

    Raises
    ------
    SystemExit
        It ends by itself with another status than 0.
    """
    out, log = folder / name, folder / f"{name}.log"
    command = [sys.executable, "-m", "ban_bids", str(folder / "raw"), str(out), "participant", *options]
    with log.open("ab") as stream:
        app = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        try:
            status = app.wait(after)
        except subprocess.TimeoutExpired:
            return _killed(app, log, float(after or 0), how)
    if status:
        raise SystemExit(f"{name} ended with status {status}: see {log.name}")
    return None


def _killed(app: subprocess.Popen[bytes], log: Path, after: float, how: str) -> Kill:
    processes = psutil.Process(app.pid).children(recursive=True)
    lines = log.read_text(errors="replace").splitlines()
    start = time.monotonic()
    app.send_signal(getattr(signal, how))
    status = app.wait()
    _, alive = psutil.wait_procs(processes, timeout=MOST_SECONDS)
    alive = [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    says = "the same command goes on" in "".join(log.read_text(errors="replace").splitlines()[len(lines) :])
    at = lines[-1][9:60] if lines else ""
    ended = time.monotonic() - start
    for one in alive:
        one.kill()
    return Kill(how, round(after, 1), at, round(ended, 2), status, len(alive), says)


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file but those that tell times, by its path."""
    paths = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in paths.items()
        if not name.startswith(TELLS_TIMES) and not name.endswith(TELLS_TIMES)
    }


if __name__ == "__main__":
    sys.exit(main())
