"""A job a participant and then the group, as submitted by our files: the results are those of one local call."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from slurm_here import SlurmHere
from small_study import options, same

pytestmark = pytest.mark.slow
FILES = Path(__file__).resolve().parents[2] / "bids_app" / "slurm"
BAN_BIDS = f"{sys.executable} -m ban_bids"
ONE = ("--cpus-per-task=1", "--mem=2G")


def test_array_of_participants_and_a_group_that_depends_on_it(slurm: SlurmHere, study: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", f"--output={tmp_path}/%A_%a.log"
    submitted = [log, *ONE, FILES / "participants.sbatch", study / "bids", out, *options(study)]
    people = slurm.submit("--array=1-2%50", *submitted, BAN_BIDS=BAN_BIDS)
    # submitted while the participants wait or run, as the three lines of the page do
    gathered = slurm.submit(
        f"--output={tmp_path}/group.log", f"--dependency=afterok:{people}", *ONE,
        "--wrap", f"{BAN_BIDS} {study / 'bids'} {out} group",
    )  # fmt: skip
    told = slurm.wait(gathered)
    logs = "\n".join(path.read_text() for path in sorted(tmp_path.glob("*.log")))
    assert told["JobState"] == ["COMPLETED"], logs
    assert len(list(tmp_path.glob("*_[12].log"))) == 2
    assert (out / "group_bas.tsv").exists()
    same(out, study / "local")


def test_a_task_beyond_the_participants_is_one_line(slurm: SlurmHere, study: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    file = FILES / "participants.sbatch"
    job = slurm.submit("--array=3", f"--output={log}", *ONE, file, study / "bids", tmp_path / "out", BAN_BIDS=BAN_BIDS)
    assert slurm.wait(job)["ExitCode"] == ["2:0"]
    assert "has 2 participants; submit with --array=1-2" in log.read_text()


def test_a_participant_that_fails_holds_the_group_back(slurm: SlurmHere, study: Path, tmp_path: Path) -> None:
    file, where = FILES / "participants.sbatch", f"--output={tmp_path}/%a.log"
    people = slurm.submit("--array=1-2", where, *ONE, file, study / "bids", tmp_path / "out", BAN_BIDS="false")
    held = slurm.submit(f"--dependency=afterok:{people}", "--kill-on-invalid-dep=yes", *ONE, "--wrap", "true")
    assert slurm.wait(people)["JobState"] == ["FAILED", "FAILED"]
    assert slurm.wait(held)["JobState"] == ["CANCELLED"]


def test_stopped_at_its_time_preempted_and_requeued_it_ends_with_the_same(
    slurm: SlurmHere, study: Path, tmp_path: Path
) -> None:
    out, lives = tmp_path / "out", tmp_path / "lives"
    log = f"--output={tmp_path}/%A_%a.log"
    job = slurm.submit(
        "--array=1-2", log, *ONE, FILES / "participants.sbatch", study / "bids", out, *options(study),
        BAN_BIDS=f"{sys.executable} {Path(__file__).with_name('disturbed.py')}", LIVES=str(lives),
    )  # fmt: skip
    told = slurm.wait(job)
    logs = "\n".join(path.read_text() for path in sorted(tmp_path.glob("*_2.log")))
    assert set(told["JobState"]) == {"COMPLETED"}, logs
    # the last task has the number of the whole array: it alone went back
    assert sorted(lives.read_text().splitlines()) == ["1 0", "2 0", "2 1", "2 2", "2 3"], logs
    same(out, study / "local", "sub-02/")
