"""Models without trained layers: log-mel frames, and spectro-temporal modulations; a linear read-out for each.

Modulations are energies of ripples by rate, scale and direction, after Chi, Ru & Shamma (2005), J. Acoust. Soc. Am.
118, 887: a log-frequency spectrogram is filtered in two dimensions, time (rate, Hz) and log frequency (scale, cycles
per octave). Each filter passes one quadrant, so upward and downward ripples are apart. Different from the paper: the
spectrogram is a Fourier one, and filters have zero phase (only their energies are used) and the same shape along both
axes, that of the Mexican hat which the paper uses along frequency, H(u) = u² exp(1 − u²) at u times the filter's
centre.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import fft
from scipy.fft import dct
from scipy.signal.windows import tukey
from scipy.special import softmax

from ban_bids.audio.waveforms import HeardClip
from ban_bids.constants import SAMPLING_RATE
from ban_bids.errors import CheckpointError, NotComputable
from ban_bids.models.candidate import ModelCard, waveforms
from ban_bids.models.checkpoint import load_tensors, save_tensors
from ban_bids.models.config import FrontEndConfig, with_tuples
from ban_bids.models.front_end import FrontEnd, power_spectrum
from ban_bids.models.pieces import Plan, in_pieces, joined, own_frames


@dataclass(frozen=True)
class ModulationConfig:
    """Spectrogram and filter bank.

    Parameters
    ----------
    sampling_rate, n_fft, hop : int
        Of the waveform, Hz; window and step, samples: 90 frames per second.
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
        Centres of the spectral filters, cycles per octave.
    pool : int
        Spectrogram frames per frame of the energies.
    energy_floor : float
        Added to energies (squared nepers of power) before their logarithm.
    """

    sampling_rate: int = SAMPLING_RATE
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
        """Spectrogram frames per second."""
        return self.sampling_rate / self.hop

    @property
    def frame_rate(self) -> float:
        """Frames of the energies per second."""
        return self.spectrogram_rate / self.pool

    @property
    def channels(self) -> tuple[tuple[float, float, str], ...]:
        """(rate, scale, direction) of every channel in order."""
        return tuple(product(self.rates, self.scales, ("down", "up")))


_AT_ONCE = 1 << 22
"""Points in frequency and time that are filtered at once."""


class ModulationBank:
    """Waveforms to log energies by channel."""

    def __init__(self, config: ModulationConfig) -> None:
        self.config = config
        self.n_bands = round(config.octaves * config.bands_per_octave)
        centres = config.f_min * 2 ** (np.arange(self.n_bands) / config.bands_per_octave)
        self.filters = _bands(centres, config)
        self.taper = tukey(self.n_bands, 0.25)[:, None].astype(np.float32)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """(n_samples,) -> float32, (n_frames, n_channels); frame k covers [k, k + 1) / ``frame_rate``."""
        return self.log_energies(self.spectrogram(waveform))

    def log_energies(self, spectrogram: np.ndarray) -> np.ndarray:
        """Log power (n_bands, n_frames) -> float32, (n_frames / pool, n_channels)."""
        return np.log(self.energies(spectrogram, self.config.pool) + self.config.energy_floor).T.astype(np.float32)

    def spectrogram(self, waveform: np.ndarray) -> np.ndarray:
        """Log power by band, (n_bands, n_frames), whole frames of the energies; windows are centred."""
        c = self.config
        left = (c.n_fft - c.hop) // 2
        short = -len(waveform) % (c.hop * c.pool)
        padded = np.pad(np.asarray(waveform, np.float32), (left, short + c.n_fft - c.hop - left))
        power = power_spectrum(torch.from_numpy(padded), c.hop, torch.hann_window(c.n_fft)).numpy()
        return np.log(self.filters @ power + c.floor)

    def energies(self, spectrogram: np.ndarray, pool: int = 1) -> np.ndarray:
        """Energy of every channel in every frame, averaged over bands.

        A ripple of amplitude A at a channel's centre has the energy A², less the taper of the bands' ends.

        Parameters
        ----------
        spectrogram : ndarray, (n_bands, n_frames)
            Log power.
        pool : int
            So many neighbouring frames are averaged; they divide the number of frames.

        Returns
        -------
        ndarray, (n_channels, n_frames / pool)
        """
        c, (n_bands, n_frames) = self.config, spectrogram.shape
        # what stands still is no ripple: without it the ends of the clip are no steps
        moving = np.asarray(spectrogram - spectrogram.mean(axis=1, keepdims=True), np.float32)
        moving *= self.taper
        margin = round(c.spectrogram_rate / min(c.rates))
        shape = fft.next_fast_len(2 * n_bands), fft.next_fast_len(n_frames + margin)
        rate = fft.fftfreq(shape[1], 1 / c.spectrogram_rate)
        scale = fft.fftfreq(shape[0], 1 / c.bands_per_octave)
        # falling ripples, cos 2π(ωt + Ωx), have both frequencies of one sign; scales beside their direction
        spectral = np.stack([_response(sign * scale / centre) ** 2 for centre in c.scales for sign in (1.0, -1.0)])
        temporal = [(2.0 * _response(rate / centre)).astype(np.float32) for centre in c.rates]
        turns = 2 * np.pi * np.outer(np.arange(shape[0]), np.arange(n_bands)) / shape[0]
        cosines, sines = np.cos(turns).astype(np.float32), np.sin(turns).astype(np.float32)
        energies = np.zeros((len(c.rates), len(spectral), n_frames // pool))
        # a few spectral frequencies at a time: all of an hour's would take gigabytes
        for rows in np.array_split(np.arange(shape[0]), max(1, shape[0] * shape[1] // _AT_ONCE)):
            both = fft.fft(cosines[rows] @ moving - 1j * (sines[rows] @ moving), shape[1], axis=1)
            for by_rate, response in zip(energies, temporal):
                ripples = fft.ifft(both * response, axis=1)[:, :n_frames]
                power = (ripples.real**2 + ripples.imag**2).reshape(len(rows), -1, pool).mean(axis=2)
                # the sum over bands is one over scales (Parseval): no way back along that axis
                by_rate += spectral[:, rows] @ power / (n_bands * shape[0])
        return energies.reshape(-1, n_frames // pool)


def _response(u: np.ndarray) -> np.ndarray:
    """One-sided Mexican hat over frequency in units of its centre."""
    return np.where(u > 0, u**2 * np.exp(1.0 - u**2), 0.0)


def _bands(centres: np.ndarray, config: ModulationConfig) -> np.ndarray:
    """Triangular bands over the bins' power, (n_bands, n_bins), each at least two bins wide; sums are 1."""
    bins = np.arange(config.n_fft // 2 + 1) * config.sampling_rate / config.n_fft
    half = np.maximum(centres * (2 ** (1 / config.bands_per_octave) - 1), bins[1])
    weights = np.maximum(0.0, 1.0 - np.abs(bins - centres[:, None]) / half[:, None])
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


N_MFCC = 20


@dataclass(frozen=True, eq=False)
class LinearReadout:
    """Standardisation and multinomial logistic regression, as scikit-learn fitted them.

    Parameters
    ----------
    mean, scale : ndarray, (n_features,)
        Of ``StandardScaler``.
    coef : ndarray, (n_genres, n_features)
    intercept : ndarray, (n_genres,)
        Of ``LogisticRegression``; for two genres the first row is 0.
    """

    mean: np.ndarray
    scale: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(n, n_features) -> (n, n_genres), rows sum to 1."""
        return softmax((features - self.mean) / self.scale @ self.coef.T + self.intercept, axis=1)

    @property
    def fits(self) -> bool:
        """The shapes belong together."""
        n = self.mean.shape
        one = len(n) == 1 and self.intercept.ndim == 1
        return one and self.scale.shape == n and self.coef.shape == (*self.intercept.shape, *n)

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Arrays as files hold them."""
        return {f"readout.{key}": torch.from_numpy(value) for key, value in asdict(self).items()}

    @classmethod
    def of(cls, path: Path, tensors: Mapping[str, torch.Tensor], card: ModelCard) -> LinearReadout:
        """Back from the tensors of a file; CheckpointError where they are no read-out of the card's genres."""
        arrays = {key.removeprefix("readout."): value.numpy() for key, value in tensors.items()}
        readout = cls(**arrays) if set(arrays) == set(cls.__dataclass_fields__) else None
        if readout is None or not readout.fits or len(readout.intercept) != len(card.genres):
            raise CheckpointError(f"{path}: the read-out is damaged; fit it again with ban-bids-train")
        return readout


class LowLevelModel(ABC):
    """A model without trained layers, a :class:`~ban_bids.models.candidate.Candidate` of one layer.

    Parameters
    ----------
    config : FrontEndConfig or ModulationConfig, optional
        The defaults of ``config_type`` otherwise.
    readout : LinearReadout, optional
        None: there are no genre probabilities.
    card : ModelCard, optional
        Of the read-out's training.
    """

    name: str
    layer: ClassVar[str]
    config_type: ClassVar[type[FrontEndConfig] | type[ModulationConfig]]

    def __init__(self, config: Any = None, readout: LinearReadout | None = None, card: ModelCard | None = None) -> None:
        self.config: Any = self.config_type() if config is None else config
        self.layers: tuple[str, ...] = (self.layer,)
        self.frame_rate: Mapping[str, float] = {self.layer: self.config.frame_rate}
        self.sampling_rate: int = self.config.sampling_rate
        self.mapping: Mapping[str, str] | None = None
        self.readout = readout
        self.card = card
        self.genres: tuple[str, ...] = card.genres if card is not None and readout is not None else ()
        settings = json.dumps([self.name, asdict(self.config)], sort_keys=True)
        digest = hashlib.sha256(settings.encode())
        for array in () if readout is None else asdict(readout).values():
            digest.update(np.ascontiguousarray(array).tobytes())
        self.fingerprint = digest.hexdigest()

    @abstractmethod
    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """(n_samples,) at the model's sampling rate -> float32, (n_frames, n_features)."""

    @abstractmethod
    def summary(self, waveform: np.ndarray) -> np.ndarray:
        """Statistics of a whole clip that the read-out hears, (n_statistics,)."""

    def features(self, clips: Sequence[HeardClip]) -> list[dict[str, np.ndarray]]:
        """Layer -> (n_frames, n_features), of each clip."""
        features = []
        for clip in clips:
            parts = in_pieces(self, clip)
            whole = {self.layer: self.frames(waveforms([clip], self.sampling_rate)[0])} if parts is None else {}
            features.append(whole if parts is None else joined(parts))
        return features

    @abstractmethod
    def features_in_pieces(self, clip: HeardClip) -> Iterator[dict[str, np.ndarray]]:
        """Features of a long clip from pieces of its sound: those of the whole, except for rounding."""

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        """(n_clips, n_genres).

        Raises
        ------
        NotComputable
            Without a read-out.
        """
        if self.readout is None:
            raise NotComputable(f"the {self.name} model has no read-out; fit one with ban-bids-train")
        summaries = [self.summary(waveform) for waveform in waveforms(clips, self.sampling_rate)]
        return self.readout.probabilities(np.stack(summaries))


class LogMelModel(LowLevelModel):
    """BAN's own log-mel frames as one layer, ``Logmel``; the read-out hears their statistics and MFCCs'."""

    name = "logmel"
    layer = "Logmel"
    config_type = FrontEndConfig

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Log-mel frames, (n_frames, n_mels)."""
        with torch.no_grad():
            return self._front_end.log_mel(torch.from_numpy(waveform)[None])[0].T.numpy()

    def features_in_pieces(self, clip: HeardClip) -> Iterator[dict[str, np.ndarray]]:
        """As the base class; a frame hears no more than its window."""
        hop = self.config.hop
        for piece in Plan.of(hop, self.config.n_fft - hop, 0, self.sampling_rate).pieces(clip):
            yield {self.layer: self.frames(piece.sound)[own_frames(piece, hop)]}

    @cached_property
    def _front_end(self) -> FrontEnd:
        return FrontEnd(self.config, time_stride=1)

    def summary(self, waveform: np.ndarray) -> np.ndarray:
        """See :func:`log_mel_statistics`."""
        return log_mel_statistics(self.frames(waveform))


class ModulationModel(LowLevelModel):
    """Energies of a spectro-temporal modulation filter bank as one layer, ``Modulation``."""

    name = "modulation"
    layer = "Modulation"
    config_type = ModulationConfig

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Log energy of every channel, (n_frames, n_channels)."""
        return self._bank(waveform)[: self._n_frames(len(waveform))]

    def _n_frames(self, n_samples: int) -> int:
        return ceil(n_samples / self.config.sampling_rate * self.config.frame_rate - 1e-6)

    def features_in_pieces(self, clip: HeardClip) -> Iterator[dict[str, np.ndarray]]:
        """As the base class: the spectrogram comes in pieces; the filters hear all of it, and give all at once."""
        c = self.config
        spectrogram = np.empty((self._bank.n_bands, -(-clip.n_samples // (c.hop * c.pool)) * c.pool), np.float32)
        for piece in Plan.of(c.hop * c.pool, c.n_fft, c.n_fft, self.sampling_rate).pieces(clip):
            own = own_frames(piece, c.hop * c.pool)
            first = piece.start // c.hop
            part = self._bank.spectrogram(piece.sound)[:, own.start * c.pool : own.stop * c.pool]
            spectrogram[:, first : first + part.shape[1]] = part
        frames = self._bank.log_energies(spectrogram)
        yield {self.layer: frames[: self._n_frames(clip.n_samples)]}

    @cached_property
    def _bank(self) -> ModulationBank:
        return ModulationBank(self.config)

    def summary(self, waveform: np.ndarray) -> np.ndarray:
        """Mean and standard deviation of every channel over the clip."""
        return moments(self.frames(waveform).astype(np.float64))


MODELS: dict[str, type[LowLevelModel]] = {m.name: m for m in (LogMelModel, ModulationModel)}
"""Low-level models by the name that ``--model`` and ``--preset`` take."""


def mfcc(log_mel: np.ndarray, n: int = N_MFCC) -> np.ndarray:
    """Mel-frequency cepstral coefficients (Davis & Mermelstein 1980): orthonormal DCT-II over the bands.

    Parameters
    ----------
    log_mel : ndarray, (n_frames, n_mels)
    n : int
        Coefficients, from the zeroth.

    Returns
    -------
    ndarray, (n_frames, n)
    """
    return dct(np.asarray(log_mel, dtype=np.float64), type=2, norm="ortho", axis=1)[:, :n]


def log_mel_statistics(log_mel: np.ndarray) -> np.ndarray:
    """Statistics of a clip over time: 20 MFCC and the log-mel bands.

    Parameters
    ----------
    log_mel : ndarray, (n_frames, n_mels)
        At least two frames.

    Returns
    -------
    ndarray, (60 + 2 · n_mels,)
        Mean, standard deviation and standard deviation of first differences of the MFCC; mean and standard
        deviation of the bands.
    """
    bands = np.asarray(log_mel, dtype=np.float64)
    coefficients = mfcc(bands)
    change = np.diff(coefficients, axis=0).std(axis=0)
    return np.concatenate([moments(coefficients), change, moments(bands)])


def moments(frames: np.ndarray) -> np.ndarray:
    """Mean of every feature over frames (n_frames, n_features), then their standard deviations: (2 · n_features,)."""
    return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


def save_low_level(path: Path, model: LowLevelModel) -> Path:
    """Write a read-out and its card as one safetensors file; see ``checkpoint.save_checkpoint``."""
    if model.readout is None or model.card is None:
        raise ValueError("only a fitted read-out with its card is worth a file")
    return save_tensors(path, model.readout.tensors, model.name, model.card)


def load_low_level(path: Path) -> LowLevelModel:
    """Read what :func:`save_low_level` wrote.

    Raises
    ------
    CheckpointError
        For a missing file, a pickle, a damaged file, or weights of anything but a low-level model.
    """
    state, architecture, card = load_tensors(path)
    if card is None or architecture not in MODELS:
        raise CheckpointError(
            f"{path}: holds {architecture or 'bare weights'}, not a low-level model ({', '.join(MODELS)}); "
            "give a file that ban-bids-train --preset logmel or modulation wrote, or drop --weights"
        )
    readout = LinearReadout.of(path, state, card)
    model = MODELS[architecture]
    try:
        return model(model.config_type(**with_tuples(card.config)), readout, card)
    except (TypeError, ValueError) as err:
        raise CheckpointError(
            f"{path}: its configuration is not one of this version ({err}); fit it again with ban-bids-train"
        ) from err
