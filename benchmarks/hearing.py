"""Sounds that are harder to hear than a whole track in quiet, the same for every model: in noise, and in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from ban_bids.constants import SAMPLING_RATE

SNRS = (20, 10, 5, 0, -5)
"""Signal-to-noise ratios, dB: mean power of the whole track over that of the noise."""

PIECES = (0.5, 1.0, 2.0, 5.0)
"""Lengths of pieces, seconds."""

N_PIECES = 8
"""Of each length from each track, their starts spread evenly from its beginning to its end."""

QUIET = "quiet"
IN_NOISE = tuple(f"{snr} dB" for snr in SNRS)
IN_PIECES = tuple(f"{seconds:g} s" for seconds in PIECES)
"""Names of the conditions."""

_LOWEST = 20.0
"""Hz; pink noise has no power below."""


@lru_cache(maxsize=1)
def pink_noise(n_samples: int, digest: str, rate: int = SAMPLING_RATE) -> np.ndarray:
    """Stationary Gaussian noise with equal power in every octave, mean power 1.

    Parameters
    ----------
    n_samples : int
    digest : str
        Of the track's content; seeds the noise: a track hears the same one at every level, with every model and seed.
    rate : int
        Hz.

    Returns
    -------
    ndarray of float64, (n_samples,)
        That of the last track is kept for its other levels.
    """
    rng = np.random.default_rng(int(hashlib.sha256(digest.encode()).hexdigest(), 16))
    frequency = np.fft.rfftfreq(n_samples, 1 / rate)
    gain = np.where(frequency >= _LOWEST, 1 / np.sqrt(np.maximum(frequency, _LOWEST)), 0.0)
    noise = np.fft.irfft(gain * np.fft.rfft(rng.normal(size=n_samples)), n_samples)
    noise /= np.sqrt(np.mean(noise**2))
    noise.flags.writeable = False
    return noise


def in_noise(sound: np.ndarray, snr: float, digest: str) -> np.ndarray:
    """A sound in pink noise; its own level is not changed.

    Parameters
    ----------
    sound : ndarray, (n_samples,)
        Not silent.
    snr : float
        dB, over the whole sound.
    digest : str
        See :func:`pink_noise`.

    Returns
    -------
    ndarray of float32, (n_samples,)
    """
    level = np.sqrt(np.mean(np.square(sound, dtype=np.float64)) / 10 ** (snr / 10))
    return (sound + level * pink_noise(len(sound), digest)).astype(np.float32)


def pieces(sound: np.ndarray, seconds: float, rate: int = SAMPLING_RATE) -> list[np.ndarray] | None:
    """:data:`N_PIECES` pieces of a sound; None where the sound is shorter than one."""
    length = round(seconds * rate)
    if len(sound) < length:
        return None
    starts = np.linspace(0, len(sound) - length, N_PIECES).round().astype(int)
    return [sound[first : first + length] for first in starts]


def conditions(sound: np.ndarray, digest: str) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Name and sounds of every condition; lengths of which a track has no piece are left out."""
    yield QUIET, [sound]
    for name, snr in zip(IN_NOISE, SNRS):
        yield name, [in_noise(sound, snr, digest)]
    for name, seconds in zip(IN_PIECES, PIECES):
        if (parts := pieces(sound, seconds)) is not None:
            yield name, parts
