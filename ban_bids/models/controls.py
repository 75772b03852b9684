"""Control models beside every score: untrained networks, permuted weights, log-mel."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy

import torch

from ban_bids.models.candidate import Candidate
from ban_bids.models.low_level import LogMelModel
from ban_bids.models.network import AuditoryNetwork, NetworkModel, measure_normalisation
from ban_bids.models.presets import build

_LOG = logging.getLogger(__name__)


def untrained_model(
    network: AuditoryNetwork,
    seed: int,
    genres: Sequence[str] = (),
    *,
    name: str | None = None,
    device: str = "cpu",
) -> NetworkModel:
    """Return a network of the same architecture and front end with random weights.

    Its normalisation is calibrated (see :func:`calibrate`), so that activations neither vanish nor explode.

    Parameters
    ----------
    network : AuditoryNetwork
        Gives configuration and front-end statistics; it is not changed.
    seed : int
        Of the weights.
    genres : sequence of str
        Names of the read-out's classes, if it is to be used.
    name : str, optional
        Of the model; the configuration's name followed by ``untrained`` otherwise.
    device : str
        As for :class:`NetworkModel`.
    """
    fresh = build(network.config, network.readout.out_features, seed)
    fresh.front_end.load_state_dict(network.front_end.state_dict())
    calibrate(fresh)
    return NetworkModel(fresh, genres, name=name or f"{network.config.name}untrained", device=device)


def calibrate(network: AuditoryNetwork, seed: int = 0) -> None:
    """Set the running statistics of every normalisation from standard log-mel noise.

    The noise has zero mean, unit variance and an autocorrelation over 80 ms and three mel bands, like the
    standardised frames of music that the first area hears; no audio is involved, so nothing can leak.
    """
    generator = torch.Generator().manual_seed(seed)
    mels = network.config.front_end.n_mels
    noise = torch.randn(8, 1, mels + 2, 512 + 3, generator=generator)
    noise = torch.nn.functional.avg_pool2d(noise, (3, 4), stride=1)
    noise = noise / noise.std()
    measure_normalisation(network, [noise.to(network.readout.weight.device)])


def permuted_model(
    network: AuditoryNetwork, seed: int, *, name: str | None = None, device: str = "cpu"
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
    return NetworkModel(shuffled, name=name or f"{network.config.name}permuted", device=device)


def control_models(model: Candidate, seed: int, n_untrained: int = 5) -> list[Candidate]:
    """Return the controls of a model.

    Parameters
    ----------
    model : Candidate
        The model that is scored.
    seed : int
        Of the first untrained network and of the permutation.
    n_untrained : int
        Untrained networks of different seeds.

    Returns
    -------
    list of Candidate
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
    controls: list[Candidate] = [
        untrained_model(network, seed + k, name=f"{model.name}untrained{k}", device=device)
        for k in range(1, n_untrained + 1)
    ]
    return [
        *controls,
        permuted_model(network, seed, name=f"{model.name}permuted", device=device),
        LogMelModel(network.config.front_end),
    ]
