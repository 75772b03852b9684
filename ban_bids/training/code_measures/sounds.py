"""Held-out sounds, and the common frames at which the layers of any model and what is read from them meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import DataError
from ban_bids.files.progress import progress
from ban_bids.inputs.types import Clip
from ban_bids.models.low_level import LogMelModel, ModulationModel
from ban_bids.training.code_measures.contours import loudness_contour, pitch_contour

FRAME_RATE = 10.0
"""Common frames per second, unless another rate is asked for; features of layers are averaged over each."""

MAX_ROWS = 4000
"""Common frames that probes are fitted and tested on, at most: every sound gives the same share, drawn by the seed."""

SPECTRUM_LAGS = 3
"""Common frames of log-mel, the present one and those before it, that the linear spectral model hears."""


@dataclass(frozen=True)
class Sound:
    """A held-out sound.

    Parameters
    ----------
    clip : Clip
        Where it is.
    recording : str
        Sounds of one recording are never on both sides of a fold. Any group may be given, such as the speaker.
    labels : mapping of str to str
        What it is, by task: ``{"genre": "blues"}``, ``{"digit": "3", "speaker": "lucas"}``.
    """

    clip: Clip
    recording: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, eq=False)
class HeldOutSounds:
    """Held-out sounds with what probes read, computed once for all models.

    Parameters
    ----------
    sounds : tuple of Sound
    frames : tuple of ndarray of int, (n_frames,)
        Common frames of each sound that were drawn.
    targets : dict of ndarray, (n_rows, n_targets)
        Of the drawn frames, sound after sound: ``modulation`` (log energies), ``loudness`` (dB), ``pitch`` (octaves,
        missing where there is none) and ``spectrum`` (log-mel of the present and the frames before).
    modulation_rates : ndarray, (n_targets,)
        Temporal rate of each modulation target, Hz.
    seed : int
        Of the frames and of all folds.
    frame_rate : float
        Common frames per second.
    """

    sounds: tuple[Sound, ...]
    frames: tuple[np.ndarray, ...]
    targets: dict[str, np.ndarray]
    modulation_rates: np.ndarray
    seed: int
    frame_rate: float

    def common(self, frames: np.ndarray, frame_rate: float, seconds: float) -> np.ndarray:
        """Frames of a layer's, at its own rate, averaged over the common frames of a sound of so many seconds."""
        return common_frames(frames, frame_rate, n_common(seconds, self.frame_rate), self.frame_rate)

    @property
    def recordings(self) -> np.ndarray:
        """Number of each sound's recording, (n_sounds,)."""
        return np.unique([sound.recording for sound in self.sounds], return_inverse=True)[1]

    @property
    def row_recordings(self) -> np.ndarray:
        """Number of each row's recording, (n_rows,)."""
        return np.repeat(self.recordings, [len(frames) for frames in self.frames])


def held_out(
    sounds: Sequence[Sound], *, seed: int, max_rows: int = MAX_ROWS, frame_rate: float = FRAME_RATE
) -> HeldOutSounds:
    """Compute what is read from the layers of models that hear these sounds.

    Parameters
    ----------
    sounds : sequence of Sound
        None of them may have trained a model that is to be measured.
    seed : int
        Of the frames that are drawn and of all folds.
    max_rows : int
        See :data:`MAX_ROWS`.
    frame_rate : float
        Common frames per second.

    Returns
    -------
    HeldOutSounds

    Raises
    ------
    DataError
        Without any sound, or when one cannot be decoded.
    """
    if not sounds:
        raise DataError("there is no held-out sound on which a code could be measured")
    rng = np.random.default_rng(seed)
    modulation, log_mel = ModulationModel(), LogMelModel()
    share = max(1, max_rows // len(sounds))
    drawn, parts = [], []
    for sound in progress(list(sounds), "what probes read"):
        clip = HeardClip(sound.clip, modulation.sampling_rate)
        n_frames = n_common(clip.seconds, frame_rate)
        frames = np.sort(rng.permutation(n_frames)[:share])
        drawn.append(frames)
        heard = [
            common_frames(model.features([clip])[0][model.layer], model.config.frame_rate, n_frames, frame_rate)
            for model in (modulation, log_mel)
        ]
        before = [np.maximum(frames - lag, 0) for lag in range(SPECTRUM_LAGS)]
        parts.append({
            "modulation": heard[0][frames],
            "loudness": loudness_contour(clip.waveform, clip.sampling_rate, n_frames, frame_rate)[frames, None],
            "pitch": pitch_contour(clip.waveform, clip.sampling_rate, n_frames, frame_rate)[frames, None],
            "spectrum": np.hstack([heard[1][lagged] for lagged in before]),
        })  # fmt: skip
    targets = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rates = np.array([rate for rate, _, _ in modulation.config.channels])
    return HeldOutSounds(tuple(sounds), tuple(drawn), targets, rates, seed, frame_rate)


def n_common(seconds: float, rate: float) -> int:
    """Whole common frames of a sound."""
    return int(seconds * rate + 1e-6)


def common_frames(frames: np.ndarray, frame_rate: float, n_frames: int, rate: float) -> np.ndarray:
    """Average the frames of a layer over each common frame, a frame that lies in two by its share of each.

    Parameters
    ----------
    frames : ndarray, (n, n_features)
        Frame k covers the seconds [k, k + 1) / ``frame_rate``; behind the last one it is repeated.
    frame_rate : float
        Per second.
    n_frames : int
        Common frames.
    rate : float
        Common frames per second.

    Returns
    -------
    ndarray of float64, (n_frames, n_features)
    """
    edges = np.arange(n_frames + 1) / rate * frame_rate
    missing = max(0, int(np.ceil(edges[-1] - 1e-9)) - len(frames))
    values = np.pad(frames, ((0, missing), (0, 0)), mode="edge").astype(np.float64)
    total = np.vstack([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    whole = np.minimum((edges + 1e-9).astype(int), len(values) - 1)
    until = total[whole] + (edges - whole)[:, None] * values[whole]
    return np.diff(until, axis=0) / np.diff(edges)[:, None]
