"""Data on which a network learns within seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_music import music

from ban_bids.inputs.types import Clip
from ban_bids.training.code_measures.sounds import HeldOutSounds, Sound, held_out

RATE = 22_050
GENRES = {"high": 3000.0, "low": 300.0, "pulsed": 900.0}


@pytest.fixture(scope="session")
def genres(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three genres that differ in pitch and pulse: 6 tracks of 2 s each."""
    root = tmp_path_factory.mktemp("genres")
    rng = np.random.default_rng(0)
    time = np.arange(2 * RATE) / RATE
    for genre, pitch in GENRES.items():
        (root / genre).mkdir()
        for k in range(6):
            sound = 0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * time)
            if genre == "pulsed":
                sound *= np.sin(2 * np.pi * 4 * time) > 0
            sound += rng.normal(0, 0.01, len(time))
            soundfile.write(root / genre / f"{genre}.{k:05d}.wav", sound, RATE, subtype="PCM_16")
    return root


@pytest.fixture(scope="session")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> HeldOutSounds:
    """Fifteen pieces of music in three classes, which are levels."""
    root, sounds = tmp_path_factory.mktemp("pieces"), []
    for k in range(15):
        path = root / f"piece{k}.wav"
        soundfile.write(path, music(k, 3.0, RATE) * 10 ** (-(k % 3) / 2), RATE, subtype="PCM_16")
        sounds.append(Sound(Clip(path, 0.0, 3.0, path.stem), path.stem, {"loudness class": "abc"[k % 3]}))
    return held_out(sounds, seed=0, max_rows=300)
