"""What a network is asked for beside its read-out's answer, so that its areas keep a rich code of sound.

A network that is trained on classes alone may keep little but the classes in its last area (Papyan, Han & Donoho 2020,
PNAS, doi:10.1073/pnas.2015509117). Each loss here has a weight in :class:`ban_bids.training.settings.Objective`; what
they have of parameters is left behind when the training ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ban_bids.constants import AREAS
from ban_bids.models.network import AuditoryNetwork
from ban_bids.training.settings import Objective

_BANDS = 32
"""Bands, each the mean of its mel bands, that are predicted."""

_NO_VARIANCE = 1e-12
_TEMPERATURE = 0.2
_PROJECTION = 64


class CodeLosses(nn.Module):
    """The losses of an objective, with their parameters.

    Parameters
    ----------
    network : AuditoryNetwork
        Gives the shapes; it is not kept.
    objective : Objective
    n_classes : int
        Width of the targets that auxiliary read-outs answer.
    seed : int
        Of the parameters.
    """

    def __init__(self, network: AuditoryNetwork, objective: Objective, *, n_classes: int, seed: int) -> None:
        super().__init__()
        self.objective = objective
        shapes = _shapes(network)
        n_mels, stride = network.config.front_end.n_mels, network.config.time_stride
        bands = min(_BANDS, n_mels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            width = shapes[AREAS[-1]][0] * shapes[AREAS[-1]][1]
            self.prediction = nn.Linear(width, bands * stride * (1 + objective.ahead)) if objective.prediction else None
            self.auxiliary = nn.ModuleDict(
                {area: nn.Linear(2 * shapes[area][0], n_classes) for area in AREAS[:-1] if objective.auxiliary}
            )
            self.projection = nn.Linear(2 * shapes[AREAS[-1]][0], _PROJECTION) if objective.contrast else None

    def forward(
        self, network: AuditoryNetwork, history: Mapping[str, Sequence[Tensor]], frames: Tensor, targets: Tensor
    ) -> dict[str, Tensor]:
        """Every loss of the objective, times its weight.

        Parameters
        ----------
        network : AuditoryNetwork
            The one that is trained.
        history : mapping of str to sequence of Tensor, (batch, channels, frequency, frames)
            What it did, see :meth:`AuditoryNetwork.from_frames`.
        frames : Tensor, (batch, n_mels, frames)
            Standardised log-mel frames, without the noise in which they were heard.
        targets : Tensor, (batch, n_classes)
        """
        o, top = self.objective, history[AREAS[-1]][-1].float()
        losses = {}
        if self.prediction is not None:
            losses["prediction"] = o.prediction * prediction_loss(self.prediction, top, frames, o.ahead)
        if o.dimension:
            losses["dimension"] = -o.dimension * log_dimension(top)
        if self.projection is not None:
            losses["contrast"] = o.contrast * contrast_loss(network, self.projection, top)
        for area, head in self.auxiliary.items():
            pooled = network.dropout(network.pooled(history[area][-1].float()))
            losses[f"auxiliary_{area}"] = o.auxiliary * F.cross_entropy(head(pooled), targets)
        return losses


def _shapes(network: AuditoryNetwork) -> dict[str, tuple[int, int]]:
    """Channels and frequency bins of every area."""
    stride, n_mels = network.config.time_stride, network.config.front_end.n_mels
    training = network.training
    with torch.no_grad():
        history = network.eval().from_frames(torch.zeros(1, 1, n_mels, 16 * stride))[1]
    network.train(training)
    return {area: (states[-1].shape[1], states[-1].shape[2]) for area, states in history.items()}


def flattened(activation: Tensor) -> Tensor:
    """(batch, channels, frequency, frames) -> (batch, frames, channels · frequency)."""
    return activation.permute(0, 3, 1, 2).flatten(2)


def prediction_loss(head: nn.Module, top: Tensor, frames: Tensor, ahead: int) -> Tensor:
    """Mean squared error of a linear prediction of the sound, now and ahead, from each frame of the last area.

    After contrastive predictive coding (van den Oord et al. 2018, arXiv:1807.03748) and autoregressive predictive
    coding (Chung et al. 2019, Interspeech, doi:10.21437/Interspeech.2019-1473), with a linear head and log-mel frames
    as what is predicted. The network hears masked and noisy frames, so it must also fill in and clean.

    Parameters
    ----------
    head : Module
        Linear, from (channels · frequency) to (1 + ahead) · bands · log-mel frames per frame of the area.
    top : Tensor, (batch, channels, frequency, area's frames)
    frames : Tensor, (batch, n_mels, frames)
        Standardised: a prediction by the mean has an error of about 1.
    ahead : int
        Frames of the area after the present one that are predicted too.
    """
    n, n_mels, n_frames = frames.shape
    n_places = top.shape[3]
    bands = min(_BANDS, n_mels)
    coarse = frames.view(n, bands, n_mels // bands, n_frames).mean(dim=2)
    sound = coarse.view(n, bands, n_places, n_frames // n_places).permute(0, 2, 1, 3).flatten(2)
    predicted = head(flattened(top)).view(n, n_places, 1 + ahead, -1)
    errors = [F.mse_loss(predicted[:, : n_places - k, k], sound[:, k:]) for k in range(1 + ahead)]
    return torch.stack(errors).mean()


def log_dimension(activation: Tensor) -> Tensor:
    """Natural logarithm of the participation ratio (tr C)² / tr(C²) of a batch's covariance C over crops and frames.

    To raise it is the aim of the variance and covariance terms of VICReg (Bardes, Ponce & LeCun 2022, ICLR,
    arXiv:2105.04906), whatever the activations' scale.

    Parameters
    ----------
    activation : Tensor, (batch, channels, frequency, frames)
    """
    rows = flattened(activation).flatten(0, 1)
    rows = rows - rows.mean(dim=0)
    # tr(C²) is the same for the smaller of the two products
    product = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    # a batch of silence has no variance: a dimension of one, and no gradient, instead of no number
    return 2 * (rows.square().sum() + _NO_VARIANCE).log() - (product.square().sum() + _NO_VARIANCE**2).log()


def contrast_loss(network: AuditoryNetwork, projection: nn.Module, top: Tensor) -> Tensor:
    """How badly the second half of a crop is told, by the first, from those of the other crops (InfoNCE).

    After Saeed, Grangier & Zeghidour (2021), ICASSP, arXiv:2010.10915: two excerpts of one recording belong together.

    Parameters
    ----------
    network : AuditoryNetwork
        Pools the halves as for its read-out.
    projection : Module
        Linear.
    top : Tensor, (batch, channels, frequency, frames)
    """
    half = top.shape[3] // 2
    first, second = (
        F.normalize(projection(network.pooled(part)), dim=1) for part in (top[..., :half], top[..., half:])
    )
    alike = first @ second.T / _TEMPERATURE
    own = torch.arange(len(alike), device=alike.device)
    return (F.cross_entropy(alike, own) + F.cross_entropy(alike.T, own)) / 2
