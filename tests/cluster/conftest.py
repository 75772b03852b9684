"""A cluster for all tests of this folder; where SLURM is not installed or does not start, they are skipped."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_here import CannotStart, SlurmHere


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
