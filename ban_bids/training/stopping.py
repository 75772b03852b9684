"""Early stopping: when a training has come to its end by tracks that it does not train on, and with which weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ban_bids.models.network import AuditoryNetwork
from ban_bids.training.evaluate import genre_logits

_LOOKS_WITHIN_PATIENCE = 10


class EarlyStopping(nn.Module):
    """Keep the averaged weights with the lowest loss on an inner part of the training tracks.

    The tracks whose accuracy is reported play no part: weights chosen on them would make it too high. It is a
    module so that its weights and numbers are saved and loaded with the rest of the training's state.

    Parameters
    ----------
    network : AuditoryNetwork
        Gives the shapes; it is copied.
    batches : sequence of (Tensor, Tensor)
        Fixed crops of the inner tracks, (batch, n_mels, n_frames), and their targets.
    steps_between : int
        Steps between two looks at the loss.
    patience : int
        Steps without a lower loss after which training stops.
    """

    best_loss: Tensor
    best_step: Tensor

    def __init__(
        self, network: AuditoryNetwork, batches: Sequence[tuple[Tensor, ...]], *, steps_between: int, patience: int
    ) -> None:
        super().__init__()
        self.best = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("best_loss", torch.tensor(torch.inf, dtype=torch.float64))
        self.register_buffer("best_step", torch.tensor(0))
        self.steps_between = steps_between
        self.patience = patience
        self._batches = batches

    @classmethod
    def within(cls, network: AuditoryNetwork, batches: Sequence[tuple[Tensor, ...]], patience: int) -> EarlyStopping:
        """One that looks some ten times within its patience, of at least one step."""
        patience = max(1, patience)
        return cls(network, batches, steps_between=max(1, patience // _LOOKS_WITHIN_PATIENCE), patience=patience)

    def is_due(self, step: int) -> bool:
        """Whether to look after this step."""
        return step % self.steps_between == 0

    def loss(self, network: AuditoryNetwork, running: nn.Module) -> float:
        """Mean cross-entropy on the inner tracks.

        Parameters
        ----------
        network : AuditoryNetwork
            With averaged weights.
        running : Module
            The network that is trained: its running normalisation stands in for the one of the averaged
            weights, which is measured at the end only.
        """
        for name, buffer in running.named_buffers():
            network.get_buffer(name).copy_(buffer)
        network.eval()
        losses = []
        with torch.no_grad():
            for crops, targets in self._batches:
                logits = genre_logits(network, crops.to(self.best_loss.device)).double()
                targets = targets.to(logits.device).double()
                losses.append(nn.functional.cross_entropy(logits, targets, reduction="sum"))
        return float(torch.stack(losses).sum()) / sum(len(targets) for _, targets in self._batches)

    def look(self, network: AuditoryNetwork, loss: float, step: int) -> bool:
        """Take over weights that are better; True when patience is at an end."""
        if loss < float(self.best_loss):
            self.best_loss.fill_(loss)
            self.best_step.fill_(step)
            self.best.load_state_dict(network.state_dict())
        return step - int(self.best_step) >= self.patience
