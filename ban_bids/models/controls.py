"""Control models that stand beside every score: untrained, permuted weights, log-mel."""

from __future__ import annotations

import logging
from copy import deepcopy

import torch

from ban_bids.models.candidate import AudioModel, NetworkModel, calibrate, untrained_model
from ban_bids.models.low_level import LogMelModel
from ban_bids.models.network import AuditoryNetwork

_LOG = logging.getLogger(__name__)


def permuted_model(network: AuditoryNetwork, seed: int, name: str | None = None, device: str = "cpu") -> NetworkModel:
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
        only ``logmel``, and a warning is logged: random weights need the model's own architecture. The
        log-mel model itself has none.
    """
    if isinstance(model, LogMelModel):
        return []
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
