"""Spectro-temporal modulations of a sound: energies of ripples by rate, scale and direction.

After Chi, Ru & Shamma (2005), J. Acoust. Soc. Am. 118, 887: a log-frequency spectrogram is filtered in two
dimensions, time (rate, Hz) and log frequency (scale, cycles an octave). Each filter passes one quadrant, so
upward and downward ripples are apart. Different from the paper: the spectrogram is a Fourier one, and
filters have zero phase (only their energies are used) and the same shape along both axes, that of the
Mexican hat which the paper uses along frequency, H(u) = u² exp(1 − u²) at u times the filter's centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy import fft
from scipy.signal.windows import tukey


@dataclass(frozen=True)
class ModulationConfig:
    """Spectrogram and filter bank.

    Parameters
    ----------
    sampling_rate, n_fft, hop : int
        Of the waveform, Hz; window and step, samples: 90 frames a second.
    f_min : float
        Lowest band, Hz.
    octaves : float
        Range of the bands.
    bands_per_octave : int
    floor : float
        Added to power before the logarithm.
    rates : tuple of float
        Centres of the temporal filters, Hz.
    scales : tuple of float
        Centres of the spectral filters, cycles an octave.
    pool : int
        Spectrogram frames a frame of the energies.
    energy_floor : float
        Added to energies (squared nepers of power) before their logarithm.
    """

    sampling_rate: int = 22_050
    n_fft: int = 1024
    hop: int = 245
    f_min: float = 180.0
    octaves: float = 5.5
    bands_per_octave: int = 24
    floor: float = 1e-4
    rates: tuple[float, ...] = (2.0, 4.0, 8.0, 16.0, 32.0)
    scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    pool: int = 6
    energy_floor: float = 1e-3

    @property
    def spectrogram_rate(self) -> float:
        """Spectrogram frames a second."""
        return self.sampling_rate / self.hop

    @property
    def frame_rate(self) -> float:
        """Frames of the energies a second."""
        return self.spectrogram_rate / self.pool

    @property
    def channels(self) -> tuple[tuple[float, float, str], ...]:
        """(rate, scale, direction) of every channel in order."""
        return tuple(product(self.rates, self.scales, ("down", "up")))


class ModulationBank:
    """Waveforms to log energies by channel."""

    def __init__(self, config: ModulationConfig) -> None:
        self.config = config
        self.n_bands = round(config.octaves * config.bands_per_octave)
        centres = config.f_min * 2 ** (np.arange(self.n_bands) / config.bands_per_octave)
        self.filters = _bands(centres, config)
        self.taper = tukey(self.n_bands, 0.25)[:, None]

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """(n_samples,) -> float32, (n_frames, n_channels); frame k covers [k, k + 1) / ``frame_rate``."""
        energies = self.energies(self.spectrogram(waveform))
        pooled = energies.reshape(len(energies), -1, self.config.pool).mean(axis=2)
        return np.log(pooled + self.config.energy_floor).T.astype(np.float32)

    def spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """Log power by band, (n_bands, n_frames), whole frames of the energies; windows are centred."""
        c = self.config
        left = (c.n_fft - c.hop) // 2
        short = -len(waveform) % (c.hop * c.pool)
        padded = np.pad(np.asarray(waveform, np.float32), (left, short + c.n_fft - c.hop - left))
        spectrum = torch.stft(
            torch.from_numpy(padded),
            c.n_fft,
            c.hop,
            window=torch.hann_window(c.n_fft),
            center=False,
            return_complex=True,
        ).numpy()
        return np.log(self.filters @ (spectrum.real**2 + spectrum.imag**2) + c.floor)

    def energies(self, spectrogram: np.ndarray) -> np.ndarray:
        """Energy of every channel in every frame, averaged over bands.

        A ripple of amplitude A at a channel's centre has the energy A², less the taper of the bands' ends.

        Parameters
        ----------
        spectrogram : ndarray, (n_bands, n_frames)
            Log power.

        Returns
        -------
        ndarray, (n_channels, n_frames)
        """
        c, (n_bands, n_frames) = self.config, spectrogram.shape
        # what stands still is no ripple: without it the ends of the clip are no steps
        moving = (spectrogram - spectrogram.mean(axis=1, keepdims=True)) * self.taper
        margin = round(c.spectrogram_rate / min(c.rates))
        shape = fft.next_fast_len(2 * n_bands), fft.next_fast_len(n_frames + margin)
        both = fft.fft2(moving.astype(np.float32), shape)
        rate = fft.fftfreq(shape[1], 1 / c.spectrogram_rate)
        scale = fft.fftfreq(shape[0], 1 / c.bands_per_octave)
        # falling ripples, cos 2π(ωt + Ωx), have both frequencies of one sign; scales beside their direction
        spectral = np.stack(
            [_response(sign * scale / centre) ** 2 for centre in c.scales for sign in (1.0, -1.0)]
        )
        out = []
        for centre in c.rates:
            ripples = fft.ifft(both * (2.0 * _response(rate / centre)).astype(np.float32), axis=1)
            power = ripples[:, :n_frames].real ** 2 + ripples[:, :n_frames].imag ** 2
            # the sum over bands is one over scales (Parseval): no way back along that axis
            out.append(spectral @ power / (n_bands * shape[0]))
        return np.concatenate(out)


def _response(u: np.ndarray) -> np.ndarray:
    """One-sided Mexican hat over frequency in units of its centre."""
    return np.where(u > 0, u**2 * np.exp(1.0 - u**2), 0.0)


def _bands(centres: np.ndarray, config: ModulationConfig) -> np.ndarray:
    """Triangular bands over the bins' power, (n_bands, n_bins), each at least two bins wide; sums are 1."""
    bins = np.arange(config.n_fft // 2 + 1) * config.sampling_rate / config.n_fft
    half = np.maximum(centres * (2 ** (1 / config.bands_per_octave) - 1), bins[1])
    weights = np.maximum(0.0, 1.0 - np.abs(bins - centres[:, None]) / half[:, None])
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
