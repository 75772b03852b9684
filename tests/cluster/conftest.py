"""A cluster for all tests of this folder; where SLURM is not installed or does not start, they are skipped."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_here import CannotStart, SlurmHere
from small_study import options, write_fmriprep_study


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmHere]:
    """SLURM on this machine; ``BAN_BIDS_NEEDS_SLURM=1`` makes its absence an error."""
    # sockets lie in this folder, and their paths must be short
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        cluster = SlurmHere(Path(folder))
        try:
            cluster.start()
        except CannotStart as reason:
            cluster.stop()
            if os.environ.get("BAN_BIDS_NEEDS_SLURM"):
                pytest.fail(f"no SLURM: {reason}")
            pytest.skip(f"no SLURM: {reason}")
        try:
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two people, and in ``local`` what one call and the group make of it."""
    root = tmp_path_factory.mktemp("study")
    write_fmriprep_study(root)
    given = [root / "bids", root / "local"]
    for words in (["participant", *options(root), "--nprocs", "1", "--omp-nthreads", "1"], ["group"]):
        command = [sys.executable, "-m", "ban_bids", *map(str, given), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return root
