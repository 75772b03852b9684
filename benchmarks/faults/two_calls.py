"""Two calls on one output directory, of a file system without locks: ``python benchmarks/faults/two_calls.py PRIMED``.

PRIMED is the folder ``primed`` that ``surroundings.py`` leaves in its scratch folder, beside which DEMO's dataset is
given by ``--bids``. Every lock of the system is refused (ENOLCK), as where NFS is mounted without. The calls have work
folders of their own. In the first round both run to their end; in the second the first is killed (SIGKILL) as soon as
the other waits for it. Prints how both ended, who waited for whom, and whether the results are those of one call alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from surroundings import _QUICK

_REFUSE = """
import errno, fcntl


def refuse(*args):
    raise OSError(errno.ENOLCK, "No locks available")


fcntl.flock = refuse
"""


def _started(bids: Path, place: Path, name: str) -> subprocess.Popen[str]:
    """One call, with a work folder of its own; its log is read from its standard error."""
    arguments = f"-m ban_bids {bids} {place / 'out'} participant --participant-label 01 {_QUICK} -w {place / name}"
    path = os.pathsep.join((str(place / "patch"), os.environ.get("PYTHONPATH", "")))
    return subprocess.Popen(
        [sys.executable, *arguments.split()], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip


def _until(call: subprocess.Popen[str], word: str) -> str:
    """First line of a call's log with this word; empty where it ended before."""
    assert call.stderr is not None
    return next((line.strip() for line in call.stderr if word in line), "")


def _round(bids: Path, primed: Path, place: Path, *, kill: bool) -> None:
    shutil.rmtree(place, ignore_errors=True)
    (place / "patch").mkdir(parents=True)
    (place / "patch" / "sitecustomize.py").write_text(_REFUSE)
    for name in ("one", "two"):
        shutil.copytree(primed / "work", place / name, ignore=shutil.ignore_patterns("locks"))
    first = _started(bids, place, "one")
    begun = _until(first, "INFO preprocessing ...")
    second = _started(bids, place, "two")
    print(f"{begun}\nthe second: {_until(second, 'waiting for it')}")
    if kill:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        print(f"killed at {time.strftime('%H:%M:%S')}; the second: {_until(second, 'INFO preprocessing ...')}")
    statuses = [(call.communicate(), call.returncode)[1] for call in (first, second)]
    tables = [sorted(folder.rglob("*_bas.tsv"))[0].read_bytes() for folder in (place / "out", primed / "out")]
    left = [path.name for path in (place / "out" / "logs").glob(".*")]
    print(f"statuses {statuses}; table as of one call alone: {tables[0] == tables[1]}; locks left: {left or 'none'}\n")
    shutil.rmtree(place)


def main() -> None:
    """Run both rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("primed", type=Path)
    parser.add_argument("--bids", type=Path, required=True)
    options = parser.parse_args()
    primed = options.primed.absolute()
    for kill in (False, True):
        print("the first is killed" if kill else "both run to their end")
        _round(options.bids.absolute(), primed, primed.parent / "two_calls", kill=kill)


if __name__ == "__main__":
    main()
