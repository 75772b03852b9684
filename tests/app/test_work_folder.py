from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ban_bids.app.work_folder import clean_work_folder, participant_lock
from ban_bids.constants import WORK_MARK

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
