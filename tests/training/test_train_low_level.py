"""Low-level read-outs go through ``ban-bids-train`` and are used again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ban_bids.audio.waveforms import HeardClip
from ban_bids.cli.train import main
from ban_bids.models.low_level import load_low_level
from ban_bids.models.presets import LOW_LEVEL
from ban_bids.training import lock
from ban_bids.training.lock import train_once
from ban_bids.training.settings import TrainingSettings

RATE = 22_050


@pytest.fixture(scope="module")
def genres(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise pulsed 4 or 12 times a second, six tracks of 1.5 s each."""
    root = tmp_path_factory.mktemp("genres")
    rng = np.random.default_rng(0)
    time = np.arange(round(1.5 * RATE)) / RATE
    for genre, rate in (("fast", 12.0), ("slow", 4.0)):
        (root / genre).mkdir()
        for k in range(6):
            pulses = 1 + np.sin(2 * np.pi * (rate * rng.uniform(0.9, 1.1) * time + rng.uniform()))
            sound = 0.1 * rng.normal(size=len(time)) * pulses
            soundfile.write(root / genre / f"{genre}.{k:05d}.wav", sound.clip(-1, 1), RATE, subtype="PCM_16")
    return root


@pytest.mark.parametrize("name", LOW_LEVEL)
def test_fitted_by_the_command_line(tmp_path: Path, genres: Path, name: str) -> None:
    out = tmp_path / "w.safetensors"
    exclude = genres / "slow" / "slow.00001.wav"
    (tmp_path / "exclude.txt").write_text(f"{exclude}\n")
    data = tmp_path / "data"
    shutil.copytree(genres, data)
    (data / "slow" / "broken.wav").write_bytes(b"no audio")
    options = ["--data", str(data), "--out", str(out), "--preset", name, "--split", "stratified"]
    assert main([*options, "--exclude-stimuli", str(tmp_path / "exclude.txt"), "-q"]) == 0
    model = load_low_level(out)
    assert model.name == name
    card = model.card
    assert card is not None
    assert card.genres == ("fast", "slow")
    assert card.settings["C"] == 1.0
    assert list(card.excluded) == ["slow.00001"]
    assert card.unreadable == ("slow/broken.wav",)
    assert (card.metrics["n_unreadable"], card.metrics["n_excluded"]) == (1, 1)
    assert "files that cannot be decoded and were skipped: 1" in card.notes
    assert len(card.training_hashes) + len(card.validation_hashes) == 11
    sounds = {
        name: soundfile.read(genres / name[:4] / f"{name}.wav", dtype="float32")[0] for name in card.validation_hashes
    }
    heard = [HeardClip(None, model.sampling_rate, sound) for sound in sounds.values()]
    answers = model.genre_probabilities(heard).argmax(axis=1)
    right = np.mean([card.genres[a] == n[:4] for a, n in zip(answers, sounds)])
    assert card.metrics["track_accuracy"] == round(float(right), 4)
    if name == "modulation":  # the genres differ in rate alone
        assert right == 1.0


def test_fitted_once(tmp_path: Path, genres: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainingSettings(preset="logmel", split="stratified")
    out = train_once(genres, tmp_path / "w.safetensors", settings=settings, progress=False)

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(lock, "train_collection", never)
    assert train_once(genres, out, settings=settings, progress=False) == out
