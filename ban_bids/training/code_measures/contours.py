"""Pitch and loudness over time, which probes read from a layer."""

from __future__ import annotations

import numpy as np
from scipy import fft
from scipy.signal.windows import hann

LOWEST, HIGHEST = 75.0, 600.0
"""Range of pitch, Hz."""

PERIODICITY = 0.45
"""Least height of the autocorrelation's peak at which a sound counts as periodic."""

AUDIBLE = 0.03
"""Least peak of the waveform in a window, relative to the peak of the sound, at which it counts as periodic."""

POWER_FLOOR = 1e-8
"""Added to power (full scale: 1) before its logarithm."""

_HOP = 0.01
_OCTAVE_COST = 0.01


def pitch_contour(waveform: np.ndarray, sampling_rate: int, n_frames: int, frame_rate: float) -> np.ndarray:
    """Pitch, in octaves, where a sound is periodic.

    The highest peak of the autocorrelation of windows of three of the longest periods every 10 ms, divided by that of
    the window [1]_, with thresholds and costs of the defaults of Praat. There is no search for a smooth path.

    Parameters
    ----------
    waveform : ndarray, (n_samples,)
    sampling_rate : int
        Hz.
    n_frames : int
    frame_rate : float
        Per second.

    Returns
    -------
    ndarray, (n_frames,)
        log2 of the median frequency (Hz) of a frame's windows that are periodic: NaN unless these are half of them.

    References
    ----------
    .. [1] Boersma P (1993). Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio
       of a sampled sound. Proceedings of the Institute of Phonetic Sciences Amsterdam 17, 97-110.
    """
    length = round(3 / LOWEST * sampling_rate)
    hops = max(1, round(1 / frame_rate / _HOP))
    starts = ((np.arange(n_frames * hops) + 0.5) / (hops * frame_rate) * sampling_rate - length / 2).round().astype(int)
    padded = np.pad(np.asarray(waveform, np.float32), length)
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)[np.clip(starts + length, 0, len(waveform))]
    periodic = _pitch_of(windows, sampling_rate, AUDIBLE * float(np.abs(waveform).max(initial=0.0)))
    of_frame = periodic.reshape(n_frames, hops)
    enough = 2 * np.isfinite(of_frame).sum(axis=1) >= hops
    contour = np.full(n_frames, np.nan)
    contour[enough] = np.nanmedian(of_frame[enough], axis=1)
    return contour


def _pitch_of(windows: np.ndarray, sampling_rate: int, least_peak: float) -> np.ndarray:
    """log2 Hz of each of (n, n_samples); NaN where it is not periodic."""
    taper = hann(windows.shape[1], sym=False).astype(np.float32)
    first, last = int(sampling_rate / HIGHEST), int(np.ceil(sampling_rate / LOWEST))
    height = _autocorrelation((windows - windows.mean(axis=1, keepdims=True)) * taper, last + 2)
    height = height / _autocorrelation(taper[None], last + 2)
    inner = height[:, first : last + 1]
    is_peak = (inner > height[:, first - 1 : last]) & (inner >= height[:, first + 1 : last + 2])
    cost = _OCTAVE_COST * np.log2(LOWEST * np.arange(first, last + 1) / sampling_rate)
    best = np.where(is_peak, inner - cost, -np.inf).argmax(axis=1)
    row = np.arange(len(windows))
    left, top, right = (height[row, first + best + step] for step in (-1, 0, 1))
    bend = left - 2 * top + right
    lag = first + best + np.divide(0.5 * (left - right), bend, out=np.zeros_like(top), where=bend < 0)
    heard = is_peak[row, best] & (top >= PERIODICITY) & (np.abs(windows).max(axis=1) > least_peak)
    return np.where(heard, np.log2(sampling_rate / np.where(heard, lag, 1.0)), np.nan)


def _autocorrelation(windows: np.ndarray, n_lags: int) -> np.ndarray:
    """Autocorrelation relative to that at lag 0, (n, n_lags); 0 for silence."""
    size = fft.next_fast_len(windows.shape[1] + n_lags, real=True)
    spectrum = fft.rfft(windows, size, axis=1)
    products = fft.irfft(spectrum.real**2 + spectrum.imag**2, size, axis=1)[:, :n_lags]
    return np.divide(products, products[:, :1], out=np.zeros_like(products), where=products[:, :1] > 0)


def loudness_contour(waveform: np.ndarray, sampling_rate: int, n_frames: int, frame_rate: float) -> np.ndarray:
    """A-weighted level, dB of full scale.

    Parameters
    ----------
    waveform : ndarray, (n_samples,)
    sampling_rate : int
        Hz.
    n_frames : int
    frame_rate : float
        Per second.

    Returns
    -------
    ndarray, (n_frames,)
        10 log10 of the mean square of a frame, after weighting by IEC 61672-1's curve A, plus :data:`POWER_FLOOR`.
    """
    frequency = fft.rfftfreq(len(waveform), 1 / sampling_rate)
    weighted = fft.irfft(fft.rfft(np.asarray(waveform, np.float64)) * a_weighting(frequency), len(waveform))
    power = np.concatenate([[0.0], np.cumsum(weighted**2)])
    edges = np.minimum((np.arange(n_frames + 1) / frame_rate * sampling_rate).round().astype(int), len(waveform))
    return 10 * np.log10(np.diff(power[edges]) / np.diff(edges) + POWER_FLOOR)


def a_weighting(frequency: np.ndarray) -> np.ndarray:
    """Gain of the weighting A (IEC 61672-1), 1 at 1 kHz."""

    def gain(f: np.ndarray) -> np.ndarray:
        low = np.sqrt((f**2 + 107.7**2) * (f**2 + 737.9**2))
        return 12194.0**2 * f**4 / ((f**2 + 20.6**2) * low * (f**2 + 12194.0**2))

    return gain(np.asarray(frequency, np.float64)) / gain(np.array(1000.0))
