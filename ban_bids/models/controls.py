"""Control models that stand beside every score: untrained, permuted weights, log-mel."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch

from ban_bids.errors import NotComputable
from ban_bids.models.base import AudioModel, NetworkModel, calibrate, untrained_model
from ban_bids.models.checkpoint import ModelCard
from ban_bids.models.config import FrontEndConfig
from ban_bids.models.front_end import FrontEnd
from ban_bids.models.network import AuditoryNetwork

_LOG = logging.getLogger(__name__)

LOGMEL_AREA = "Logmel"


class LogMelModel:
    """The spectrogram itself as a model with one area, ``Logmel``; the low-level baseline.

    Parameters
    ----------
    config : FrontEndConfig
        Log-mel settings, BAN's own by default.
    """

    def __init__(self, config: FrontEndConfig | None = None) -> None:
        self.config = FrontEndConfig() if config is None else config
        self.name = "logmel"
        self.areas: tuple[str, ...] = (LOGMEL_AREA,)
        self.frame_rate = {LOGMEL_AREA: self.config.frame_rate}
        self.genres: tuple[str, ...] = ()
        self.card: ModelCard | None = None
        settings = json.dumps([self.name, vars(self.config)], sort_keys=True)
        self.fingerprint = hashlib.sha256(settings.encode()).hexdigest()
        self._front_end = FrontEnd(self.config, time_stride=1)

    def features(self, waveforms: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Per waveform: ``{"Logmel": (n_frames, n_mels)}``."""
        with torch.no_grad():
            return [
                {
                    LOGMEL_AREA: self._front_end.log_mel(torch.from_numpy(np.asarray(w, np.float32))[None])[
                        0
                    ].T.numpy()
                }
                for w in waveforms
            ]

    def genre_probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Raise NotComputable: there is no read-out."""
        raise NotComputable("the log-mel baseline has no read-out")


def permuted_model(
    network: AuditoryNetwork, seed: int, name: str | None = None, device: str = "cpu"
) -> NetworkModel:
    """Return a copy whose weights are shuffled within each tensor: trained values, no learned structure.

    Normalisations are calibrated anew, since their statistics belonged to the unshuffled weights.
    """
    shuffled = deepcopy(network).cpu()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in shuffled.modules():
            # every layer's own tensors, whatever the layer; the front end has none
            for weight in module.parameters(recurse=False):
                order = torch.randperm(weight.numel(), generator=generator)
                weight.copy_(weight.flatten()[order].view_as(weight))
    calibrate(shuffled)
    return NetworkModel(shuffled, (), None, name or f"{network.config.name}permuted", device)


def control_models(model: AudioModel, seed: int, n_untrained: int = 5) -> list[AudioModel]:
    """Return the controls of a model.

    Parameters
    ----------
    model : AudioModel
        The model that is scored.
    seed : int
        Of the first untrained network and of the permutation.
    n_untrained : int
        Untrained networks of different seeds.

    Returns
    -------
    list of AudioModel
        ``<name>untrained1`` …, ``<name>permuted``, ``logmel``. For any other model than our networks
        only ``logmel``, and a warning is logged: random weights need the model's own architecture.
    """
    if not isinstance(model, NetworkModel):
        _LOG.warning("model %s is not a network of ours: untrained and permuted controls are n/a", model.name)
        return [LogMelModel()]
    network, device = model.network, str(model.device)
    controls: list[AudioModel] = [
        untrained_model(network, seed + k, name=f"{model.name}untrained{k}", device=device)
        for k in range(1, n_untrained + 1)
    ]
    return [
        *controls,
        permuted_model(network, seed, f"{model.name}permuted", device),
        LogMelModel(network.config.front_end),
    ]
