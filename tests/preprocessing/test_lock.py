"""Two processes on one participant take turns; on two participants they do not."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from ban_bids.preprocessing.lock import participants_locked


def test_a_held_participant_is_refused_to_others_and_freed_afterwards(tmp_path: Path) -> None:
    with participants_locked(["02", "01"], tmp_path):
        for label in ("01", "02"):
            with (
                (tmp_path / f"sub-{label}.lock").open("w") as other,
                pytest.raises(BlockingIOError),
            ):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with participants_locked(["03"], tmp_path):
            pass
    with (tmp_path / "sub-01.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
