from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ban_bids.app import work_folder
from ban_bids.app.work_folder import clean_work_folder, held, output_lock, participant_lock
from ban_bids.constants import WORK_MARK
from ban_bids.errors import StaleLock
from ban_bids.files.locks import all_free, file_lock

HOLDER = """
import sys
from pathlib import Path
from ban_bids.files.locks import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def filled(work: Path) -> Path:
    for name in ("nipype/sub_01/t1w.nii", "features/a.npz", "cache/matplotlib/fontlist.json", "tmp/x"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("")
    (work / WORK_MARK).write_text("")
    lock = participant_lock(work, "01")
    lock.parent.mkdir()
    lock.write_text("")
    return lock


def test_what_we_made_goes_and_the_folder_with_it(tmp_path: Path) -> None:
    filled(tmp_path / "work")
    clean_work_folder(tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_what_others_put_there_stays(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "thesis.tex").write_text("mine")
    clean_work_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_was_somebodys_before_stays_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path)
    (tmp_path / WORK_MARK).unlink()
    before = sorted(tmp_path.rglob("*"))
    clean_work_folder(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert "not made by ban-bids" in caplog.text


def test_nothing_goes_while_another_call_is_at_work(tmp_path: Path) -> None:
    lock = filled(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline()
    try:
        clean_work_folder(tmp_path)
        assert sorted(tmp_path.rglob("*")) == before
    finally:
        holder.communicate()
    clean_work_folder(tmp_path)
    assert not tmp_path.exists()


def test_who_holds_participants_keeps_calls_with_another_work_folder_away(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    with held(["02", "01"], work, out) as refused:
        assert not refused
        with all_free([output_lock(out, "01")]) as free:
            assert not free
        with all_free([participant_lock(work, "02")]) as free:
            assert not free
    assert not list((out / "logs").iterdir())
    with all_free([participant_lock(work, "02"), output_lock(out, "01")]) as free:
        assert free


def refuse_to_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the file is another user's."""
    opened = os.open

    def refuse(name: str, *args: int, **more: int) -> int:
        if str(name) == str(path):
            raise PermissionError(errno.EACCES, "Permission denied", name)
        return opened(name, *args, **more)

    monkeypatch.setattr(os, "open", refuse)


def test_another_users_lock_leaves_the_other_participants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    refuse_to_open(participant_lock(work, "01"), monkeypatch)
    with held(["01", "02"], work, out) as refused:
        assert list(refused) == ["01"]
        assert "sub-01.lock: cannot be locked (Permission denied)" in refused["01"]
        with all_free([participant_lock(work, "02")]) as free:
            assert not free


def test_a_lock_that_cannot_be_removed_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    removed, out = Path.unlink, tmp_path / "out"

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == output_lock(out, "01"):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        removed(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with held(["01", "02"], tmp_path / "work", out) as refused:
        assert not refused
    assert ".sub-01.lock: cannot be removed (Read-only file system); it does no harm" in caplog.text
    assert [path.name for path in (out / "logs").iterdir()] == [".sub-01.lock"]


def test_a_work_folder_that_cannot_be_cleaned_is_told_when_all_else_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_to_open(filled(tmp_path), monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    clean_work_folder(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert "sub-01.lock: cannot be locked (Permission denied)" in caplog.text


def test_one_participants_stale_lock_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, out = tmp_path / "work", tmp_path / "out"

    @contextmanager
    def lock(path: Path) -> Iterator[None]:
        if "01" in path.name:
            raise StaleLock(f"{path}.lease: left by process 7 on node7")
        with file_lock(path):
            yield

    monkeypatch.setattr(work_folder, "file_lock", lock)
    with held(["01", "02"], work, out) as refused:
        assert list(refused) == ["01"]
        # both files are told at once
        assert refused["01"].count("left by process 7 on node7") == 2
        with all_free([output_lock(out, "02")]) as free:
            assert not free
