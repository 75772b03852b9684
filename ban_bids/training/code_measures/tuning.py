"""How a layer answers to time and frequency: the graded profile along a model's layers."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import fft
from scipy.stats import kurtosis

from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import NotComputable
from ban_bids.models.candidate import Candidate
from ban_bids.models.network import AuditoryNetwork
from ban_bids.models.pieces import time_reach
from ban_bids.training.code_measures.ridge import cross_validated
from ban_bids.training.code_measures.sounds import HeldOutSounds

MAX_LAG = 4.0
"""Seconds of the autocorrelation."""

MAX_FEATURES = 128
"""Features of a layer, drawn by the seed, of which linear models are fitted."""

LEAST_R2 = 0.05
"""Features that modulations predict worse have no best rate."""

TONES = 100.0 * 2 ** (np.arange(37) / 6)
"""Frequencies of the tones, Hz: 100 Hz to 6.4 kHz in sixths of an octave."""

_TONE_SECONDS = 0.5
_TONE_AMPLITUDE = 0.1


class Timescale:
    """Autocorrelation of a layer's features over time, from sounds that come one by one.

    Parameters
    ----------
    frame_rate : float
        Of the layer, per second.
    """

    def __init__(self, frame_rate: float) -> None:
        self.frame_rate = frame_rate
        self.total = np.zeros(int(MAX_LAG * frame_rate) + 1)
        self.weight = np.zeros_like(self.total)

    def add(self, frames: np.ndarray) -> None:
        """Count a sound in, (n_frames, n_features): at lags up to half of its length, weighted by its length."""
        n = len(frames)
        n_lags = min(len(self.total), n // 2 + 1)
        values = frames.T - frames.T.mean(axis=1, keepdims=True, dtype=np.float64)
        power = (values**2).sum(axis=1)
        values = values[power > n * np.square(1e-6 * np.abs(frames).max(axis=0, initial=0.0))]
        if n_lags < 2 or not len(values):
            return
        size = fft.next_fast_len(n + n_lags, real=True)
        spectrum = fft.rfft(values.astype(np.float32), size, axis=1)
        products = fft.irfft(spectrum.real**2 + spectrum.imag**2, size, axis=1)[:, :n_lags]
        mean = (products / products[:, :1]).mean(axis=0, dtype=np.float64) * n / (n - np.arange(n_lags))
        self.total[:n_lags] += n * mean
        self.weight[:n_lags] += n

    @property
    def seconds(self) -> float:
        """Lag at which the mean autocorrelation falls below 1/e, between two frames by interpolation [1]_.

        Every feature is centred and scaled within each sound, and counts the same.

        Raises
        ------
        NotComputable
            It does not fall so far, or nothing varies.

        References
        ----------
        .. [1] Murray JD et al. (2014). A hierarchy of intrinsic timescales across primate cortex. Nature Neuroscience
           17, 1661-1663.
        """
        known = self.weight > 0
        if known.sum() < 2:
            raise NotComputable("the layer is constant within sounds, or these are shorter than two of its frames")
        curve = self.total[known] / self.weight[known]
        below = np.flatnonzero(curve < np.exp(-1))
        if not len(below):
            raise NotComputable(f"the autocorrelation stays above 1/e up to {(len(curve) - 1) / self.frame_rate:.2f} s")
        last = below[0] - 1
        return float((last + (curve[last] - np.exp(-1)) / (curve[last] - curve[last + 1])) / self.frame_rate)


def receptive_field(model: Candidate, layer: str) -> float:
    """Seconds of sound on which one frame of a layer depends, window of the front end included.

    Measured and not derived, see :func:`ban_bids.models.pieces.time_reach`.

    Raises
    ------
    NotComputable
        The model is no network of ours, or the layer remembers without end.
    """
    given: Any = getattr(model, "network", None)
    if not isinstance(given, AuditoryNetwork):
        raise NotComputable("measured for networks of this package only")
    network = deepcopy(given).cpu()  # libraries of GPUs may spread what is no number further than it is heard
    front_end = network.config.front_end

    def hear(frames: torch.Tensor) -> dict[str, torch.Tensor]:
        local = network.local(frames)
        return {layer: local[layer]} if layer in local else {}

    if not hear(torch.zeros(1, 1, front_end.n_mels, network.config.time_stride)):
        raise NotComputable("the layer remembers without end")
    reach = time_reach(hear, front_end.n_mels, network.config.time_stride)
    if reach is None:
        raise NotComputable("the layer hears without end")
    own = round(front_end.frame_rate / network.frame_rates[layer])
    return ((sum(reach) + own) * front_end.hop + front_end.n_fft - front_end.hop) / front_end.sampling_rate


def tone_responses(model: Candidate) -> dict[str, np.ndarray]:
    """Mean response of every feature to pure tones, less that to silence: layer -> (n_tones, n_features).

    Tones last 0.5 s at an amplitude of 0.1; those above 0.45 times the model's sampling rate are left out.
    """
    rate = model.sampling_rate
    tones = TONES[rate * 0.45 >= TONES]
    time = np.arange(round(_TONE_SECONDS * rate)) / rate
    sounds = [np.zeros_like(time), *(_TONE_AMPLITUDE * np.sin(2 * np.pi * tone * time) for tone in tones)]
    heard = model.features([HeardClip(None, rate, sound.astype(np.float32)) for sound in sounds])
    means = {layer: np.stack([one[layer].mean(axis=0, dtype=np.float64) for one in heard]) for layer in model.layers}
    return {layer: of_layer[1:] - of_layer[0] for layer, of_layer in means.items()}


def tuning_width(responses: np.ndarray) -> float:
    """Median over features of the width of tuning to pure tones, octaves.

    Parameters
    ----------
    responses : ndarray, (n_tones, n_features)
        Less those to silence, see :func:`tone_responses`.

    Returns
    -------
    float
        (Σ r²)² / Σ r⁴ over tones, times their distance of 1/6 octave. For tuning in the form of a Gaussian that is
        2.5 of its standard deviations, about its width at half height, as is measured in cortex [1]_.

    Raises
    ------
    NotComputable
        No feature responds.

    References
    ----------
    .. [1] Recanzone GH, Guard DC, Phan ML (2000). Frequency and intensity response properties of single neurons in the
       auditory cortex of the behaving macaque monkey. Journal of Neurophysiology 83, 2315-2331.
    """
    largest = np.abs(responses).max(axis=0)
    responds = largest > 1e-6 * max(1e-6, float(largest.max()))
    if not responds.any():
        raise NotComputable("no feature responds to tones")
    squares = (responses[:, responds] / largest[responds]) ** 2
    step = float(np.log2(TONES[1] / TONES[0]))
    return float(np.median(squares.sum(axis=0) ** 2 / (squares**2).sum(axis=0))) * step


@dataclass(frozen=True)
class Linear:
    """How far features follow the sound linearly, and to which rate.

    Parameters
    ----------
    spectral_r2 : float
        Mean over features of the out-of-sample R² of their prediction from log-mel, up to 0.2 s back: the share that a
        linear spectro-temporal receptive field explains, which falls along the auditory pathway [1]_.
    best_rate : float
        Geometric mean, Hz, over features that modulations predict, of the rate whose weights have the largest sum of
        squares [2]_; missing where there are none.

    References
    ----------
    .. [1] Atencio CA, Sharpee TO, Schreiner CE (2009). Hierarchical computation in the canonical auditory cortical
       circuit. PNAS 106, 21894-21899.
    .. [2] Santoro R et al. (2014). Encoding of natural sounds at multiple spectral and temporal resolutions in the
       human auditory cortex. PLoS Computational Biology 10, e1003412.
    """

    spectral_r2: float
    best_rate: float


def linear_tuning(frames: np.ndarray, held_out: HeldOutSounds) -> Linear:
    """Predict a layer's features from the sound, on recordings that took no part.

    Parameters
    ----------
    frames : ndarray, (n_rows, n_features)
        The layer in the common frames that were drawn; at most :data:`MAX_FEATURES` of those that vary are taken.
    held_out : HeldOutSounds

    Raises
    ------
    NotComputable
        Too few recordings or frames, or the layer is constant.
    """
    varying = np.flatnonzero(frames.std(axis=0) > 0)
    chosen = np.sort(np.random.default_rng(held_out.seed).permutation(varying)[:MAX_FEATURES])
    features = frames[:, chosen].astype(np.float64)
    recordings, seed = held_out.row_recordings, held_out.seed
    if not len(chosen):
        raise NotComputable("the layer is constant")
    spectral = cross_validated(held_out.targets["spectrum"], features, recordings, seed=seed)
    modulations = cross_validated(held_out.targets["modulation"], features, recordings, seed=seed)
    rates = np.unique(held_out.modulation_rates)
    energy = np.stack([(modulations.weights[held_out.modulation_rates == rate] ** 2).sum(axis=0) for rate in rates])
    follows = np.nan_to_num(modulations.r2, nan=-1.0) >= LEAST_R2
    best = rates[energy.argmax(axis=0)][follows]
    best_rate = float(np.exp(np.log(best).mean())) if len(best) else np.nan
    return Linear(spectral.mean_r2(seed).value, best_rate)


def sparseness(frames: np.ndarray) -> float:
    """Lifetime sparseness: median over features of the excess kurtosis over frames, 0 for a normal distribution [1]_.

    Neither the mean nor the sign of a feature matters, so layers of any nonlinearity can be compared.

    Raises
    ------
    NotComputable
        The layer is constant.

    References
    ----------
    .. [1] Willmore B, Tolhurst DJ (2001). Characterizing the sparseness of neural codes. Network: Computation in Neural
       Systems 12, 255-270.
    """
    values = frames.astype(np.float64)
    varying = values.std(axis=0) > 1e-6 * np.abs(values).max(axis=0, initial=0.0)
    if not varying.any():
        raise NotComputable("the layer is constant")
    return float(np.median(kurtosis(values[:, varying], axis=0)))
