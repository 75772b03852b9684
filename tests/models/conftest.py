"""Fixtures of the models' tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from ban_bids.inputs.types import Clip

RATE = 22_050


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Clips of six short files: chords with an envelope, of different lengths."""
    folder = tmp_path_factory.mktemp("music")
    clips = []
    for k in range(6):
        rng = np.random.default_rng(k)
        seconds = 2.0 + 0.5 * k
        t = np.arange(round(seconds * RATE)) / RATE
        tones = sum(np.sin(2 * np.pi * f * t) for f in rng.uniform(100, 4000, 5))
        sound = 0.05 * tones * (1 + np.sin(2 * np.pi * rng.uniform(1, 5) * t)) + 0.01 * rng.standard_normal(len(t))
        path = Path(folder / f"tune{k}.wav")
        soundfile.write(path, sound, RATE)
        clips.append(Clip(path, 0.25, seconds - 0.25, path.stem))
    return clips
