"""The submit files of the three schedulers, run by the shell with the variables that those set."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[2] / "bids_app"
VARIABLES = {
    "slurm/participants.sbatch": {
        "SLURM_ARRAY_TASK_ID": "2", "SLURM_CPUS_PER_TASK": "3", "SLURM_MEM_PER_NODE": "10000",
    },
    "sge/participants.sge": {"SGE_TASK_ID": "2", "NSLOTS": "3", "BAN_BIDS_MEM": "8000"},
    "pbs/participants.pbs": {"PBS_ARRAY_INDEX": "2", "NCPUS": "3", "BAN_BIDS_MEM": "8000"},
}  # fmt: skip
INDEX = ("SLURM_ARRAY_TASK_ID", "SGE_TASK_ID", "PBS_ARRAY_INDEX")


def run(root: Path, file: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run a submit file for a dataset of three people with ``--model logmel``."""
    bids = root / "bids"
    for label in ("a", "b2", "c"):
        (bids / f"sub-{label}").mkdir(parents=True, exist_ok=True)
    names = {"BIDS_DIR": str(bids), "OUTPUT_DIR": "out", "OPTIONS": "--model logmel", "PBS_O_WORKDIR": str(root)}
    words = [] if "pbs" in file else [bids, "out", "--model", "logmel"]
    environment = {**os.environ, "BAN_BIDS": "echo", **names, **VARIABLES[file], **changed}
    command = ["bash", FILES / file, *words]
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("file", VARIABLES)
def test_a_task_is_a_participant_with_its_share_of_the_job(file: str, tmp_path: Path) -> None:
    done = run(tmp_path, file)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"{tmp_path / 'bids'} out participant --participant-label b2 --nprocs 3 --omp-nthreads 3 --mem 8000 "
        "--model logmel\n"
    )


@pytest.mark.parametrize("file", VARIABLES)
@pytest.mark.parametrize("index", ["0", "4", "undefined"])
def test_a_task_that_is_no_participant_is_refused(file: str, index: str, tmp_path: Path) -> None:
    if index == "undefined" and "sge" not in file:
        index = "0"
    done = run(tmp_path, file, **dict.fromkeys(INDEX, index))
    assert done.returncode == (100 if "sge" in file else 2)
    assert "has 3 participants; submit with" in done.stderr and "1-3" in done.stderr and not done.stdout


@pytest.mark.parametrize("file", VARIABLES)
def test_a_failure_keeps_the_group_waiting(file: str, tmp_path: Path) -> None:
    # SGE's -hold_jid looks at 100 alone, afterok of the others at any status but 0
    assert run(tmp_path, file, BAN_BIDS="false").returncode == (100 if "sge" in file else 1)


def test_grid_engines_warning_queues_the_task_again(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.write_text("#!/bin/sh\nkill -USR2 $PPID\nexec sleep 60\n")
    app.chmod(0o755)
    assert run(tmp_path, "sge/participants.sge", BAN_BIDS=str(app)).returncode == 99


def test_slurms_files_outlive_a_signal_that_ban_bids_answers(tmp_path: Path) -> None:
    app = tmp_path / "app"
    # as ban-bids: SIGTERM ends it, in its own time and with a status of its own
    app.write_text("#!/bin/bash\ntrap 'exit 7' TERM\nkill -TERM $PPID\nkill -TERM $$\nexit 0\n")
    app.chmod(0o755)
    # bash lost the status of one in three when a trap of the shell answered the signal
    assert {run(tmp_path, "slurm/participants.sbatch", BAN_BIDS=str(app)).returncode for _ in range(8)} == {7}


def test_slurm_memory_per_processor_and_none_at_all(tmp_path: Path) -> None:
    file = "slurm/participants.sbatch"
    per_cpu = run(tmp_path, file, SLURM_MEM_PER_NODE="", SLURM_MEM_PER_CPU="5000")
    assert "--mem 12000 " in per_cpu.stdout
    assert "--mem" not in run(tmp_path, file, SLURM_MEM_PER_NODE="0").stdout  # sbatch --mem=0: all of the node
