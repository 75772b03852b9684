"""Folders of classes for tests, and a model that hears how they differ in one of its two layers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from made_music import music

from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import NotComputable

RATE = 8000
CLASSES = ("bright", "dark", "plain")


def write_track(path: Path, seed: int, tilt: float, seconds: float = 2.5) -> Path:
    """Music whose spectrum rises (tilt above 0) or falls."""
    sound = music(seed, seconds, RATE).astype(float)
    spectrum = np.fft.rfft(sound)
    shaped = np.fft.irfft(spectrum * np.linspace(0.01, 1.0, len(spectrum)) ** tilt, len(sound))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * shaped / np.abs(shaped).max(), RATE, subtype="PCM_16")
    return path


def write_classes(root: Path, per_class: int = 5, step: float = 0.5, first: int = 0) -> Path:
    """One folder per class; spectra of neighbouring classes differ by about ``step`` of tilt, and overlap."""
    rng = np.random.default_rng(first)
    tilts = dict(zip(CLASSES, (step, -step, 0.0), strict=True))
    for number, (name, tilt) in enumerate(tilts.items()):
        for k in range(per_class):
            write_track(root / name / f"{name}.{k:05d}.wav", first + 100 * number + k, tilt + rng.normal(0, 0.2))
    return root


class TwoLayers:
    """Features of what is heard: random numbers in the layer ``Noise``, log energies of bands in ``Bands``."""

    name = "two"
    layers = ("Noise", "Bands")
    frame_rate = {"Noise": 10.0, "Bands": 10.0}
    sampling_rate = RATE
    mapping = None
    card = None
    fingerprint = "two-1"

    def __init__(self, genres: tuple[str, ...] = ()) -> None:
        self.genres = genres
        self.n_heard = 0

    def features(self, clips: Sequence[HeardClip]) -> list[dict[str, np.ndarray]]:
        self.n_heard += len(clips)
        return [self._features(clip.waveform) for clip in clips]

    def _features(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
        frames = waveform[: len(waveform) // 800 * 800].reshape(-1, 800)
        power = np.abs(np.fft.rfft(frames, axis=1))[:, 1:].reshape(len(frames), 8, 50).mean(axis=2)
        seed = int(hashlib.sha256(waveform.tobytes()).hexdigest()[:8], 16)
        noise = np.random.default_rng(seed).normal(size=(len(frames), 8))
        return {"Noise": noise.astype(np.float32), "Bands": np.log(power + 1e-3).astype(np.float32)}

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        if not self.genres:
            raise NotComputable("no read-out")
        return np.random.default_rng(3).dirichlet(np.ones(len(self.genres)), len(clips))
