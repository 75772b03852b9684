"""Memory of all processes, of a job's control group, and pages of arrays on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from ban_bids.files.hashing import digest
from ban_bids.files.memory import forget_pages, taken, there_is

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="smaps_rollup and control groups are Linux's")


def test_processes_below_count() -> None:
    code = "import sys; x = bytearray(b'x') * (200 * 2**20); print('ready', flush=True); sys.stdin.read()"
    before = taken()
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        grown = taken() - before
        child.communicate()
    assert 190 * 2**20 < grown < 230 * 2**20


def test_a_job_has_what_its_control_groups_leave_it(tmp_path: Path) -> None:
    own, groups, all_of_it = tmp_path / "own", tmp_path / "groups", psutil.virtual_memory().total
    for kinds, mount, file in (("", "", "memory.max"), ("memory", "memory", "memory.limit_in_bytes")):
        job = groups / mount / "slurm" / "job_1"
        job.mkdir(parents=True)
        own.write_text(f"7:cpu,cpuacct:/other\n4:{kinds}:/slurm/job_1\n")
        assert there_is(groups, own) == all_of_it
        (job / file).write_text("max\n" if not kinds else "9223372036854771712\n")
        assert there_is(groups, own) == all_of_it
        (job.parent / file).write_text(f"{2**30}\n")  # of a group above it
        assert there_is(groups, own) == 2**30
        (job / file).write_text(f"{2**29}\n")
        assert there_is(groups, own) == 2**29
    assert there_is(groups, tmp_path / "none") == all_of_it


def test_an_array_on_disk_leaves_memory_and_stays_as_it_is(tmp_path: Path) -> None:
    array = np.memmap(tmp_path / "x", np.float32, "w+", shape=(50, 2**18))
    array[:] = np.arange(50, dtype=np.float32)[:, None]
    full = taken()
    forget_pages(array)
    assert full - taken() > 40 * 2**20
    assert (array[:, ::1000] == np.arange(50)[:, None]).all()
    empty = taken()
    assert digest(array) == digest(np.array(array))  # hashed whole, and not kept
    assert taken() - empty < 25 * 2**20
    forget_pages(np.zeros(3))  # nothing is on disk
