"""Music-like sound for tests: chords, a bass and drums, in one tempo and scale whatever the seed."""

from __future__ import annotations

import numpy as np

SCALE = 220.0 * 2 ** (np.array([0, 2, 3, 5, 7, 8, 10, 12, 14, 15]) / 12)


def music(seed: int, seconds: float, rate: int = 22_050) -> np.ndarray:
    """A piece at 120 beats per minute, float32; pieces of other seeds have other notes and other drum patterns."""
    rng = np.random.default_rng(seed)
    sound = rng.normal(0, 1e-3, round(seconds * rate))
    time = np.arange(rate) / rate
    for start in np.arange(0, seconds, 0.25):
        first = round((start + rng.uniform(0, 0.03)) * rate)
        room = len(sound) - first
        for pitch in rng.choice(SCALE, rng.integers(0, 4)) * rng.choice([0.5, 1, 2]):
            overtones = sum(np.sin(2 * np.pi * pitch * h * time) / h for h in range(1, 8))
            sound[first : first + rate] += (0.1 * overtones * np.exp(-time * rng.uniform(2, 8)))[:room]
        if rng.random() < 0.5:
            drum = rng.normal(0, 0.1, rate) * np.exp(-time * rng.uniform(10, 60))
            sound[first : first + rate] += drum[:room]
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)
