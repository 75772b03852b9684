"""Every conventional network goes through the one training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ban_bids.models.conventional import PRESETS
from ban_bids.models.presets import build
from ban_bids.models.registry import load_model
from ban_bids.training.datasets import read_collection
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.train import train_collection

RATE = 22_050


@pytest.fixture(scope="module")
def genres(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two genres that differ in pitch, four tracks of a second each."""
    root = tmp_path_factory.mktemp("genres")
    rng = np.random.default_rng(0)
    for genre, pitch in (("high", 3000.0), ("low", 300.0)):
        (root / genre).mkdir()
        for k in range(4):
            sound = 0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * np.arange(RATE) / RATE)
            soundfile.write(root / genre / f"{genre}.{k:05d}.wav", sound, RATE, subtype="PCM_16")
    return root


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_training_moves_every_weight(tmp_path: Path, genres: Path, preset: str) -> None:
    settings = TrainingSettings(preset=preset, seed=1, epochs=2, crop_seconds=0.64, batch_size=4)
    out = train_collection(read_collection(genres), tmp_path / "w.safetensors", settings, device="cpu", progress=False)
    model = load_model(preset, out)
    assert model.card is not None
    assert model.card.settings["preset"] == preset
    assert model.genres == ("high", "low")
    fresh = build(PRESETS[preset], 2, seed=1)
    for (name, before), (_, after) in zip(fresh.named_parameters(), model.network.named_parameters()):  # type: ignore[attr-defined]
        assert torch.isfinite(after).all(), name
        assert not torch.equal(before, after), name
