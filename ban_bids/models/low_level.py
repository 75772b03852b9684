"""Low-level models: the spectrogram itself, and its modulations, with a linear read-out where one was fitted.

They answer what a score owes to the sound alone. For encoding each gives one area by frames; its read-out
(:class:`LinearReadout`) hears statistics of those frames over a whole clip.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.fft import dct
from scipy.special import softmax

from ban_bids.errors import CheckpointError, NotComputable
from ban_bids.models.checkpoint import ModelCard, load_tensors, save_tensors
from ban_bids.models.config import FrontEndConfig
from ban_bids.models.front_end import FrontEnd
from ban_bids.models.modulation import ModulationBank, ModulationConfig

LOGMEL_AREA = "Logmel"
MODULATION_AREA = "Modulation"
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


class LowLevelModel(ABC):
    """A model without trained layers; see :class:`ban_bids.models.base.AudioModel` for its attributes.

    Parameters
    ----------
    config : FrontEndConfig or ModulationConfig, optional
    readout : LinearReadout, optional
        None: there are no genre probabilities.
    card : ModelCard, optional
        Of the read-out's training.
    """

    name: str
    area: str
    config: Any

    def __init__(
        self, rate: float, readout: LinearReadout | None = None, card: ModelCard | None = None
    ) -> None:
        self.areas: tuple[str, ...] = (self.area,)
        self.frame_rate = {self.area: rate}
        self.readout = readout
        self.card = card
        self.genres: tuple[str, ...] = card.genres if card is not None and readout is not None else ()
        settings = json.dumps([self.name, asdict(self.config)], sort_keys=True)
        digest = hashlib.sha256(settings.encode())
        for array in () if readout is None else asdict(readout).values():
            digest.update(np.ascontiguousarray(array).tobytes())
        self.fingerprint = digest.hexdigest()

    @classmethod
    @abstractmethod
    def config_from_dict(cls, values: Mapping[str, Any]) -> Any:
        """Configuration from a card's plain values; TypeError where they are not those of this version."""

    @abstractmethod
    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """(n_samples,) at 22 050 Hz -> float32, (n_frames, n_features)."""

    @abstractmethod
    def summary(self, waveform: np.ndarray) -> np.ndarray:
        """Statistics of a whole clip that the read-out hears, (n_statistics,)."""

    def features(self, waveforms: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Per waveform (mono, 22 050 Hz): ``{area: (n_frames, n_features)}``."""
        return [{self.area: self.frames(np.asarray(w, np.float32))} for w in waveforms]

    def genre_probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """(n_waveforms, n_genres).

        Raises
        ------
        NotComputable
            Without a read-out.
        """
        if self.readout is None:
            raise NotComputable(f"the {self.name} model has no read-out; fit one with ban-bids-train")
        summaries = [self.summary(np.asarray(w, np.float32)) for w in waveforms]
        return self.readout.probabilities(np.stack(summaries))


class LogMelModel(LowLevelModel):
    """BAN's own log-mel frames as one area, ``Logmel``; the read-out hears their statistics and MFCCs'."""

    name = "logmel"
    area = LOGMEL_AREA

    def __init__(
        self,
        config: FrontEndConfig | None = None,
        readout: LinearReadout | None = None,
        card: ModelCard | None = None,
    ) -> None:
        self.config = FrontEndConfig() if config is None else config
        super().__init__(self.config.frame_rate, readout, card)
        self._front_end = FrontEnd(self.config, time_stride=1)

    @classmethod
    def config_from_dict(cls, values: Mapping[str, Any]) -> FrontEndConfig:
        """Log-mel settings from a card."""
        return FrontEndConfig(**values)

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Log-mel frames, (n_frames, n_mels)."""
        with torch.no_grad():
            return self._front_end.log_mel(torch.from_numpy(waveform)[None])[0].T.numpy()

    def summary(self, waveform: np.ndarray) -> np.ndarray:
        """See :func:`log_mel_statistics`."""
        return log_mel_statistics(self.frames(waveform))


class ModulationModel(LowLevelModel):
    """Energies of a spectro-temporal modulation filter bank as one area, ``Modulation``."""

    name = "modulation"
    area = MODULATION_AREA

    def __init__(
        self,
        config: ModulationConfig | None = None,
        readout: LinearReadout | None = None,
        card: ModelCard | None = None,
    ) -> None:
        self.config = ModulationConfig() if config is None else config
        super().__init__(self.config.frame_rate, readout, card)
        self.bank = ModulationBank(self.config)

    @classmethod
    def config_from_dict(cls, values: Mapping[str, Any]) -> ModulationConfig:
        """Filter bank's settings from a card."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return ModulationConfig(**plain)

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Log energy of every channel, (n_frames, n_channels)."""
        n_frames = ceil(len(waveform) / self.config.sampling_rate * self.config.frame_rate - 1e-6)
        return self.bank(waveform)[:n_frames]

    def summary(self, waveform: np.ndarray) -> np.ndarray:
        """Mean and standard deviation of every channel over the clip."""
        frames = self.frames(waveform).astype(np.float64)
        return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])


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
    return np.concatenate(
        [
            coefficients.mean(axis=0),
            coefficients.std(axis=0),
            np.diff(coefficients, axis=0).std(axis=0),
            bands.mean(axis=0),
            bands.std(axis=0),
        ]
    )


def save_low_level(path: Path, model: LowLevelModel) -> Path:
    """Write a read-out and its card as one safetensors file; see ``checkpoint.save_checkpoint``."""
    if model.readout is None or model.card is None:
        raise ValueError("only a fitted read-out with its card is worth a file")
    state = {f"readout.{key}": torch.from_numpy(value) for key, value in asdict(model.readout).items()}
    return save_tensors(path, state, model.name, model.card)


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
    names = LinearReadout.__dataclass_fields__
    arrays = {key.removeprefix("readout."): value.numpy() for key, value in state.items()}
    readout = LinearReadout(**arrays) if set(arrays) == set(names) else None
    if readout is None or not readout.fits or len(readout.intercept) != len(card.genres):
        raise CheckpointError(f"{path}: the read-out is damaged; fit it again with ban-bids-train")
    kind = MODELS[architecture]
    try:
        model = kind(kind.config_from_dict(card.config), readout, card)  # type: ignore[call-arg]
    except (TypeError, ValueError) as err:
        raise CheckpointError(
            f"{path}: its configuration is not one of this version ({err}); fit it again with ban-bids-train"
        ) from err
    return model
