"""Several processes: each sees its share, all hold the same weights, one speaks and writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ban_bids.errors import UsageError
from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.training import settings
from ban_bids.training.settings import Parallel, check_hardware, reason_not_to_compile


def test_two_processes_share_the_crops_and_write_once(genres: Path, tmp_path: Path) -> None:
    out, seen = tmp_path / "out" / "w.safetensors", tmp_path / "seen"
    seen.mkdir()
    words = ["--data", genres, "--out", out, "--split", "stratified", "--preset", "ban-small"]
    words += ["--epochs", "2", "--batch-size", "2", "--crop-seconds", "0.96", "--max-minutes", "60"]
    words += ["--early-stopping", "9", "--device", "cpu", "--devices", "2", "--strategy", "ddp"]
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("two_processes.py"), seen, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert done.stderr.count("INFO training ") == 1
    assert sorted(path.name for path in out.parent.iterdir()) == ["w.json", "w.safetensors"]
    assert (seen / "0.safetensors").read_bytes() == (seen / "1.safetensors").read_bytes()
    parts = [(seen / f"{rank}.txt").read_text().splitlines() for rank in (0, 1)]
    # 12 tracks train, 3 judge for early stopping: 6 batches per epoch
    assert sorted(parts[0] + parts[1]) == sorted(f"{epoch} {k}" for epoch in (0, 1) for k in range(6))
    card = load_checkpoint(out)[1]
    assert card is not None
    assert card.metrics["steps"] == len(parts[0]) == len(parts[1]) == 6


@pytest.mark.parametrize(
    ("device", "parallel", "words"),
    [
        ("cpu", Parallel(devices=0), "--devices and --num-nodes must be above zero"),
        ("cpu", Parallel(strategy="fsdp"), "--strategy fsdp"),
        ("cuda", Parallel(devices=1000), "--dev"),
    ],
)
def test_hardware_that_is_not_there(device: str, parallel: Parallel, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_hardware(device, parallel)


def test_compilation_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CUDA" in str(reason_not_to_compile("cpu"))
    monkeypatch.setattr(settings, "resolve_device", lambda device: torch.device("cuda"))
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    assert "triton" in str(reason_not_to_compile("cuda"))
    monkeypatch.setattr(settings, "find_spec", lambda name: object())
    monkeypatch.setattr(settings.shutil, "which", lambda name: None)
    assert "C compiler" in str(reason_not_to_compile("cuda"))
    monkeypatch.setattr(settings.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert reason_not_to_compile("cuda") is None
