"""A demo that was interrupted goes on with the same command; another one is not mixed with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ban_bids.cli.demo import _prepare
from ban_bids.errors import UsageError


def test_only_the_same_command_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    _prepare(folder, False, "small None 1\n")
    (folder / "bids").mkdir()
    (folder / "bids" / "made").touch()
    _prepare(folder, False, "small None 1\n")
    assert (folder / "bids" / "made").exists()
    with pytest.raises(UsageError, match="--force"):
        _prepare(folder, False, "full None 1\n")
    _prepare(folder, True, "full None 1\n")
    assert not (folder / "bids").exists()


def test_a_finished_one_is_not_taken_up(tmp_path: Path) -> None:
    _prepare(tmp_path, False, "small None 1\n")
    (tmp_path / "bids").mkdir()
    (tmp_path / ".unfinished").unlink()
    with pytest.raises(UsageError, match="already there"):
        _prepare(tmp_path, False, "small None 1\n")
