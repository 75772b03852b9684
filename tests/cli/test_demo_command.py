"""The demo's command: what it leaves of its work folder."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from ban_bids.cli import demo
from ban_bids.demo.countdown import Countdown


@pytest.mark.parametrize(("keep", "status", "left"), [(False, 0, False), (True, 0, True), (False, 1, True)])
def test_the_work_folder_goes_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool, status: int, left: bool
) -> None:
    work = tmp_path / "work"
    (work / "audio").mkdir(parents=True)  # the demo's own cache lies in it before ban-bids runs
    monkeypatch.setattr(demo, "_logged", lambda command, log, countdown: status)
    options = argparse.Namespace(seed=0, nprocs=1, keep_work=keep)
    assert demo._run_app(tmp_path, ["01"], options, Countdown([])) == status
    assert work.exists() == left
