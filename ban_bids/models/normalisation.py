"""Running statistics of a module's normalisations: measured on sounds, copied, set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn


def measure_normalisation(
    module: nn.Module, batches: Iterable[Any], forward: Callable[[Any], object] | None = None
) -> None:
    """Set the running statistics of every normalisation to the plain average over batches; then it evaluates.

    Parameters
    ----------
    module : nn.Module
        Any; its weights stay as they are.
    batches : iterable
        Inputs; standardised log-mel frames, (batch, 1, mels, frames), for
        :meth:`AuditoryNetwork.from_frames <ban_bids.models.network.AuditoryNetwork.from_frames>`.
    forward : callable, optional
        What hears a batch; the module itself when None.
    """
    norms = _norms(module).values()
    momenta = [norm.momentum for norm in norms]
    module.eval()  # nothing but the normalisations learns or is random
    with ExitStack() as hooks, torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # plain average over the batches seen
            norm.train()
            if isinstance(norm, nn.modules.instancenorm._InstanceNorm):
                hooks.callback(norm.register_forward_pre_hook(_count).remove)
        for batch in batches:
            (forward or module)(batch)
        if not all(norm.training for norm in norms):
            raise RuntimeError("the forward pass puts the module into evaluation mode: nothing could be measured")
    module.eval()
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum


def _count(norm: Any, inputs: object) -> None:
    """Weigh the next batch as a plain average does, which torch does for batch normalisations only."""
    norm.num_batches_tracked += 1
    norm.momentum = 1.0 / int(norm.num_batches_tracked)


def normalisation(module: nn.Module) -> dict[str, Tensor]:
    """Copies of the running statistics of every normalisation that has them, by their names in the module's state."""
    return {
        f"{name}.{buffer}": value.detach().cpu().clone()
        for name, norm in _norms(module).items()
        for buffer, value in norm.named_buffers()
    }


def set_normalisation(module: nn.Module, statistics: Mapping[str, Tensor]) -> None:
    """Set what :func:`normalisation` returned for a module of the same architecture; the module then evaluates.

    Raises
    ------
    ValueError
        For statistics of another architecture.
    """
    own = {name: value.shape for name, value in normalisation(module).items()}
    if own != {name: value.shape for name, value in statistics.items()}:
        raise ValueError("the statistics are those of another architecture's normalisations")
    module.load_state_dict(statistics, strict=False)
    module.eval()


def _norms(module: nn.Module) -> dict[str, nn.modules.batchnorm._NormBase]:
    """Batch and instance normalisations that have running statistics."""
    base = nn.modules.batchnorm._NormBase
    return {name: norm for name, norm in module.named_modules() if isinstance(norm, base) and norm.track_running_stats}
