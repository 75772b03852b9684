"""What every trainable network shares: the front end inside, named areas, a read-out of the last one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from ban_bids.constants import AREAS
from ban_bids.models.config import NetworkConfig
from ban_bids.models.front_end import FrontEnd


class AuditoryNetwork(nn.Module, ABC):
    """A network from waveforms to genres whose four stages are compared with cortical areas.

    Subclasses set ``architecture``, make ``readout`` in their constructor, and define :meth:`from_frames`.

    Parameters
    ----------
    config : NetworkConfig
        Fixes the architecture; kept as ``config``.

    Attributes
    ----------
    architecture : str
        Enters checkpoints; two networks of one architecture differ in their configuration only.
    front_end : FrontEnd
        Waveform to standardised log-mel frames.
    readout : nn.Linear
        Pooled activation of the last area to genres.
    """

    architecture: ClassVar[str]
    config: NetworkConfig
    readout: nn.Linear

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end = FrontEnd(config.front_end, config.time_stride)
        self.dropout = nn.Dropout(config.dropout)

    @abstractmethod
    def from_frames(self, frames: Tensor) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Logits and every area's activation at every step from standardised log-mel frames.

        Parameters
        ----------
        frames : Tensor, (batch, 1, mels, frames)
            Output of the front end; a whole number of frames of the slowest area.

        Returns
        -------
        logits : Tensor, (batch, n_genres)
        history : dict of list of Tensor, (batch, channels, frequency, frames)
            Area -> its activation after each of its steps (one step without recurrence).
        """

    @property
    def frame_rates(self) -> dict[str, float]:
        """Frames a second of every area."""
        return self.config.frame_rates

    def make_readout(self, channels: int, n_genres: int) -> nn.Linear:
        """Linear read-out for a last area with that many channels, see :meth:`read_out`."""
        return nn.Linear(2 * channels, n_genres)

    def read_out(self, top: Tensor) -> Tensor:
        """Logits from the last area: mean and maximum of every channel over frequency and time, then linear.

        Parameters
        ----------
        top : Tensor, (batch, channels, frequency, frames)
        """
        pooled = torch.cat([top.mean(dim=(2, 3)), top.amax(dim=(2, 3))], dim=1)
        return self.readout(self.dropout(pooled))

    def reset_weights(self, seed: int) -> None:
        """Draw all weights anew (He et al. 2015), leaving the front end's statistics as they are."""
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # the draw goes into a tensor of its own: its order must not depend on the memory format
                fresh = torch.empty(module.weight.shape)
                nn.init.kaiming_normal_(fresh, nonlinearity="relu", generator=generator)
                with torch.no_grad():
                    module.weight.copy_(fresh)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self,
        waveform: Tensor,
        return_areas: bool = False,
        every_step: bool = False,
        sampling_rate: int | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Genre logits, and on request what every area did.

        Parameters
        ----------
        waveform : Tensor, (batch, samples) or (batch, channels, samples)
            Sound of any length, see :meth:`FrontEnd.mono <ban_bids.models.front_end.FrontEnd.mono>`.
        return_areas : bool
            Also return the areas' activations at the last step.
        every_step : bool
            Return them at every step instead, with the steps as second dimension.
        sampling_rate : int, optional
            Of the waveform, Hz; the front end's own when None.

        Returns
        -------
        logits : Tensor, (batch, n_genres)
        areas : dict of Tensor, (batch, channels, frequency, frames) or (batch, steps, channels, …)
            Only with ``return_areas`` or ``every_step``. Frame k of an area covers the seconds
            [k, k + 1) / ``frame_rates[area]``; frames that reach past the end hear silence there.

        Raises
        ------
        DataError
            For sound that cannot be used.
        """
        logits, history = self.from_frames(self.front_end(waveform, sampling_rate))
        if every_step:
            return logits, {label: torch.stack(history[label], dim=1) for label in AREAS}
        if return_areas:
            return logits, {label: history[label][-1] for label in AREAS}
        return logits
