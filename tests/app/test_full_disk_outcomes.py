"""A full disk ends one participant or one model, in one line; the table and the others' results come all the same."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from ban_bids.app import outcome as outcomes
from ban_bids.app import participant as level
from ban_bids.app.outcome import Outcome, failure_logged
from ban_bids.cli import demo
from ban_bids.cli import run as cli
from ban_bids.errors import DataError, DiskFull
from ban_bids.files.room import disk_full
from ban_bids.preprocessing import run as preprocessing

NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


def test_a_crash_that_cannot_be_written_down_is_told_and_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise disk_full(path)

    with failure_logged(tmp_path, "sub-01", stop=False) as kept:
        raise ValueError("shapes differ")
    monkeypatch.setattr(outcomes, "write_text", full)
    with failure_logged(tmp_path, "sub-02", stop=False) as lost:
        raise ValueError("shapes differ")
    assert kept[0].endswith(f"(see {tmp_path / 'sub-01_crash.txt'})")
    assert lost[0].startswith("ValueError: shapes differ (its traceback cannot be kept: ")
    assert "bytes" in lost[0]


def test_who_cannot_be_written_down_as_done_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def status(root: Path, participant: str, *_: object, **__: object) -> None:
        if participant == "01":
            raise disk_full(root / "logs")

    monkeypatch.setattr(level, "write_status", status)
    first, second, third = level._write_statuses(
        tmp_path, [Outcome("01", "ban"), Outcome("02", "ban"), Outcome("01", failure="no run")]
    )
    assert first.failure is not None and "the disk is full" in first.failure
    assert second.failure is None
    assert third.failure == "no run"


def test_one_participants_full_disk_is_its_own(tmp_path: Path) -> None:
    def publish(label: str) -> str:
        if label == "01":
            raise NO_ROOM
        if label == "02":
            raise DataError("sub-02: damaged")
        return "published"

    given = {label: label for label in ("01", "02", "03")}
    done: dict[str, Any] = preprocessing._each(given, publish, folders=(tmp_path,))
    assert isinstance(done["01"], DiskFull) and str(tmp_path) in str(done["01"])
    assert not isinstance(done["02"], DiskFull)
    assert done["03"] == "published"


@pytest.mark.parametrize("deed", ["full", "other"])
def test_the_call_ends_in_one_line_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], deed: str
) -> None:
    def work(*_: object) -> int:
        if deed == "full":
            raise NO_ROOM
        raise DataError("nobody to make a group of")

    monkeypatch.setattr(cli, "_run_level", work)
    monkeypatch.setattr(cli, "set_environment", lambda *_: ())
    (tmp_path / "bids").mkdir()
    status = cli.main([str(tmp_path / "bids"), str(tmp_path / "out"), "group"])
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert status == (1 if deed == "full" else 65)
    assert ("the disk is full" in told and "bytes" in told and str(tmp_path) in told) == (deed == "full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_the_demo_goes_on_without_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    class Steps:
        def begin(self, stage: str) -> None:
            raise AssertionError(stage)

    code = (
        "for n in range(3000): print('a line of the app that is longer than a pipe would keep', n)\nraise SystemExit(3)"
    )
    status = demo._logged([demo.sys.executable, "-c", code], Path("/dev/full"), Steps())  # type: ignore[arg-type]
    assert status == 3
    assert capsys.readouterr().out.count("a line of the app") == 3000
