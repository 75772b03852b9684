"""A training of two tasks that ``srun`` starts: the weights are those of two processes that Lightning starts itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from classes_of_music import write_classes
from safetensors import safe_open
from slurm_here import SlurmHere

from ban_bids.models.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow
FILE = Path(__file__).resolve().parents[2] / "bids_app" / "slurm" / "train.sbatch"
OPTIONS = ["--preset", "ban-small", "--split", "stratified", "--epochs", "6", "--plateau", "0", "--batch-size", "2"]
OPTIONS += ["--crop-seconds", "0.96", "--device", "cpu"]
TASKS = ("--ntasks-per-node=2", "--cpus-per-task=1", "--mem=4G")
TRAIN = [sys.executable, "-m", "ban_bids.cli.train"]
N_STEPS = 18  # 12 tracks train, 6 batches an epoch, every other one in each process


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sounds in ``data``, and ``local.safetensors`` that two processes trained."""
    root = tmp_path_factory.mktemp("training")
    write_classes(root / "data")
    words = [*TRAIN, "--data", str(root / "data"), "--out", str(root / "local.safetensors"), "--devices", "2"]
    done = subprocess.run([*words, "--strategy", "ddp", *OPTIONS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return root


def weights(path: Path) -> dict[str, bytes]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def metrics(path: Path) -> dict[str, object]:
    card = load_checkpoint(path)[1]
    assert card is not None
    return card.metrics


def trained(slurm: SlurmHere, root: Path, out: Path, command: str) -> tuple[dict[str, list[str]], str]:
    log = out.with_suffix(".log")
    cache = {"BAN_BIDS_CACHE": os.environ["BAN_BIDS_CACHE"], "BAN_BIDS_TRAIN": command}
    job = slurm.submit(*TASKS, f"--output={log}", FILE, root / "data", out, *OPTIONS, **cache)
    return slurm.wait(job), log.read_text()


def test_two_tasks_of_srun_train_the_same_weights(slurm: SlurmHere, local: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    told, log = trained(slurm, local, out, " ".join(TRAIN))
    assert told["JobState"] == ["COMPLETED"], log
    assert log.count("INFO training ") == 1 and log.splitlines()[-1] == str(out), log  # one of them speaks
    assert metrics(out)["steps"] == N_STEPS
    assert weights(out) == weights(local / "local.safetensors")


def test_a_training_that_is_requeued_goes_on_to_the_same_weights(slurm: SlurmHere, local: Path, tmp_path: Path) -> None:
    out, script = tmp_path / "w.safetensors", Path(__file__).with_name("disturbed_training.py")
    told, log = trained(slurm, local, out, f"{sys.executable} {script}")
    assert told["JobState"] == ["COMPLETED"] and told["Restarts"] == ["1"], log
    assert metrics(out)["resumed_after_steps"] == [5]
    assert weights(out) == weights(local / "local.safetensors")
