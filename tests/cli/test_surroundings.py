"""Users without a name or a home, systems that are read-only, no shared memory: all works, or ends in one line.

``benchmarks/faults/surroundings.py`` runs whole commands in the same surroundings.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.surroundings import SURROUNDINGS, UID, Place, argv_of
from inputs.small_datasets import make_toy

from ban_bids.cli.environment import check_length, complete_environment, exit_status, temporary_folder
from ban_bids.errors import UsageError

NAMED = {one.name: one for one in SURROUNDINGS}


def _may_mount() -> str | None:
    """Why surroundings cannot be made here; None where they can."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return "needs root, unshare, setpriv and mount"
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "mount", "-t", "tmpfs", "-o", "ro", "none", "/mnt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f"mounts are not allowed here ({tried.stderr.strip()})" if tried.returncode else None


@pytest.fixture
def place() -> Iterator[Place]:
    """A folder of the unknown user; pytest's own are closed to others."""
    if why := _may_mount():
        pytest.skip(why)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_toy(root / "bids")
        for path in (root, *root.rglob("*")):
            os.chown(path, UID, UID)
        yield Place(root, root / "bids", root / "genres", root / "ban.safetensors", root / "work")


def run_in(place: Place, name: str, python: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv_of(place, NAMED[name], python), capture_output=True, text=True, check=False)


def test_without_a_name_a_home_and_the_right_to_one_participant_the_other_is_used(place: Place) -> None:
    folder = place.bids / "sub-02" / "func"
    folder.chmod(0o000)
    try:
        ran = run_in(place, "func unreadable", f"-m ban_bids {place.bids} {place.out} participant --dry-run")
    finally:
        folder.chmod(0o755)
    assert ran.returncode == 0, ran.stderr
    assert "Participants that can be used: 1 of 2" in ran.stdout
    assert "sub-02/func (cannot be listed: Permission denied)" in ran.stdout
    assert "Traceback" not in ran.stderr


def test_a_read_only_system_has_a_temporary_folder_beside_what_is_written(place: Place) -> None:
    (place.root / "try.py").write_text(
        "import sys, tempfile\n"
        "from pathlib import Path\n"
        "from ban_bids.cli.environment import complete_environment, temporary_folder\n"
        "complete_environment()\n"
        "with temporary_folder([Path(sys.argv[1]) / 'deep' / 'out']):\n"
        "    import matplotlib.pyplot\n"
        "    with tempfile.NamedTemporaryFile() as file:\n"
        "        print(file.name)\n"
    )
    ran = run_in(place, "the same, uid unknown", f"{place.root}/try.py {place.root}")
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()).parents[1] == place.root and not Path(ran.stdout.strip()).parent.exists()


def test_without_shared_memory_steps_run_one_at_a_time(place: Place) -> None:
    (place.root / "try.py").write_text(
        "from ban_bids.files.sharing import no_semaphores\n"
        "from ban_bids.demo.networks import workers\n"
        "if __name__ == '__main__':\n"
        "    print(no_semaphores())\n"
        "    with workers(2) as pool:\n"
        "        print(pool.submit(max, 3, 4).result(), list(pool.map(abs, [-1, -2])))\n"
    )
    for name, why in (("/dev/shm read-only", "Read-only file system"), ("/dev/shm of others", "Permission denied")):
        ran = run_in(place, name, f"{place.root}/try.py")
        assert ran.stdout == f"/dev/shm: no semaphores can be made there ({why})\n4 [1, 2]\n", ran.stderr
    assert run_in(place, "plain", f"{place.root}/try.py").stdout == "None\n4 [1, 2]\n"


def test_who_has_no_name_and_no_home_is_given_both(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    complete_environment()
    assert Path.home() == Path("/nonexistent")
    assert getpass.getuser() == "ban-bids"


def test_a_home_and_a_folder_for_temporary_files_that_are_there_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    complete_environment()
    assert Path.home() == tmp_path
    before = tempfile.gettempdir()
    with temporary_folder([tmp_path]):
        assert tempfile.gettempdir() == before
    with pytest.raises(FileNotFoundError, match="ours"), temporary_folder([tmp_path]):
        raise FileNotFoundError("ours")


def test_where_nothing_can_be_written_the_variable_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(UsageError, match="let TMPDIR name one"), temporary_folder([]):
        pass


def test_rights_are_told_in_one_line_and_faults_are_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> int:
        raise PermissionError(13, "Permission denied", "/data/x.tsv")

    def fault() -> int:
        raise OSError(5, "Input/output error", "/data/x.tsv")

    assert exit_status("ban-bids", refused) == 65
    assert capsys.readouterr().err == (
        f"ban-bids: error: /data/x.tsv: Permission denied; user {os.getuid()} has no right to it; give the right, or "
        "another path\n"
    )
    with pytest.raises(OSError, match="Input/output"):
        exit_status("ban-bids", fault)


@pytest.mark.parametrize(("length", "fits"), [(3000, True), (3900, False)])
def test_a_work_path_too_long_for_what_is_made_in_it_is_refused(tmp_path: Path, length: int, fits: bool) -> None:
    work = tmp_path.joinpath(*["w" * 99] * ((length - len(str(tmp_path))) // 100))
    if fits:
        check_length(work)
    else:
        with pytest.raises(UsageError, match=r"--work-dir: a path of 3\d+ bytes .*at most 3500"):
            check_length(work)


def test_the_interpreter_is_the_same_in_the_surroundings(place: Place) -> None:
    ran = run_in(place, "uid unknown, no HOME", '-c "import os, sys; print(os.getuid(), sys.version)"')
    assert ran.stdout.strip() == f"{UID} {sys.version}", ran.stderr
