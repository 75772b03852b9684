"""Conventional networks that BAN is compared with: a residual CNN, AlexNet-, VGG-style, and a CRNN.

All hear BAN's log-mel frames and have BAN's read-out; what lies between follows their papers, with three
changes that are the same for all: inputs are 64 bands by any number of frames, time is strided so that the
last stage keeps at least 6 frames per second, and every convolution is followed by batch normalisation.

None is causal: convolutions are centred in time, so frame k of a stage covers the seconds [k, k + 1) / rate
on average only (its receptive field is centred there to within half a frame, and reaches to either side).
The GRU of the CRNN hears all earlier frames and, through the convolutions below it, a little of the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ban_bids.constants import AREAS
from ban_bids.models.config import NetworkConfig
from ban_bids.models.network import AuditoryNetwork


@dataclass(frozen=True)
class DeepCNNConfig(NetworkConfig):
    """ResNet-18 (He et al. 2016): stages conv2_x to conv5_x are A1, Belt, PB, T2T3.

    Parameters
    ----------
    name, front_end, dropout
        As for every network.
    widths : tuple of int
        Channels of the four stages; the stem before the first has as many as it.
    blocks : int
        Residual blocks of two convolutions per stage.
    """

    name: str = "deepcnn"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    blocks: int = 2

    strides = (2, 2, 2, 1)
    """25, 12.5, 6.25 and 6.25 frames per second."""


@dataclass(frozen=True)
class AlexNetConfig(NetworkConfig):
    """AlexNet (Krizhevsky et al. 2012; widths of Krizhevsky 2014) with narrower fully connected layers.

    conv1 with pool1 is A1, conv2 with pool2 Belt, conv3 to conv5 with pool5 PB, fc6 and fc7 T2T3. fc6 joins
    the frequencies of one frame; both run on every frame, so that T2T3 keeps a time axis.

    Parameters
    ----------
    name, front_end, dropout
        As for every network.
    widths : tuple of int
        Channels of conv1 to conv5.
    units : int
        Of fc6 and fc7.
    """

    name: str = "alexnet"
    widths: tuple[int, ...] = (64, 192, 384, 256, 256)
    units: int = 1024

    strides = (4, 1, 2, 1)
    """12.5, 12.5, 6.25 and 6.25 frames per second."""


@dataclass(frozen=True)
class VGGConfig(NetworkConfig):
    """VGG (Simonyan & Zisserman 2015) in the four blocks of VGGish (Hershey et al. 2017).

    Parameters
    ----------
    name, front_end, dropout
        As for every network.
    widths : tuple of int
        Channels of the four blocks, A1 to T2T3.
    depths : tuple of int
        3 × 3 convolutions of each block, before its pooling.
    """

    name: str = "vgg"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (1, 1, 2, 2)

    strides = (2, 2, 2, 1)
    """25, 12.5, 6.25 and 6.25 frames per second."""


@dataclass(frozen=True)
class CRNNConfig(NetworkConfig):
    """Convolutional recurrent network for music (Choi et al. 2017): four convolutions, two GRU layers.

    conv1 is A1, conv2 Belt, conv3 and conv4 PB, the second GRU layer T2T3. Pooling leaves one frequency
    bin before the GRU; time is pooled less than in the paper.

    Parameters
    ----------
    name, front_end, dropout
        As for every network.
    widths : tuple of int
        Channels of the four convolutions.
    units : int
        Of each GRU layer.
    """

    name: str = "crnn"
    widths: tuple[int, ...] = (64, 128, 128, 128)
    units: int = 128

    strides = (2, 2, 1, 1)
    """25, 12.5, 12.5 and 12.5 frames per second."""


class ConventionalNetwork(AuditoryNetwork):
    """Four stages one after the other, each an area."""

    def from_frames(self, frames: Tensor) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Logits and the stages' activations, one step each; see the base class."""
        history: dict[str, list[Tensor]] = {}
        state = frames
        for label, stage in self.areas.items():
            state = stage(state)
            history[label] = [state]
        return self.read_out(state), history

    def reset_weights(self, seed: int) -> None:
        """Draw all weights anew, recurrent layers as torch does: uniform within ±1/√units."""
        super().reset_weights(seed)
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.RNNBase):
                bound = module.hidden_size**-0.5
                for weight in module.parameters():
                    nn.init.uniform_(weight, -bound, bound, generator=generator)


class DeepCNN(ConventionalNetwork):
    """Residual network of ResNet-18's depth and widths; see :class:`DeepCNNConfig`."""

    architecture = "deepcnn"
    config: DeepCNNConfig

    def make_areas(self) -> tuple[list[nn.Module], int]:
        """Stem and the four residual stages."""
        first = self.config.widths[0]
        # the stem halves both axes; its pooling only frequency, where ResNet has many more points than here
        stem = [*_convolution(1, first, (7, 7), (2, 2)), nn.MaxPool2d((3, 3), (2, 1), (1, 1))]
        stages: list[nn.Module] = []
        n_below = first
        # the stem has taken the first stage's stride already
        strides = [(1, 1), *((2, time) for time in self.config.time_strides[1:])]
        for width, stride in zip(self.config.widths, strides, strict=True):
            blocks = [ResidualBlock(n_below, width, stride)]
            blocks += [ResidualBlock(width, width) for _ in range(self.config.blocks - 1)]
            stages.append(nn.Sequential(*([] if stages else stem), *blocks))
            n_below = width
        return stages, n_below


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut, which is a 1 × 1 convolution where the shape changes."""

    def __init__(self, n_in: int, n_out: int, stride: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.path = nn.Sequential(
            *_convolution(n_in, n_out, (3, 3), stride),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if n_in != n_out or stride != (1, 1):
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, n_in, frequency, frames) -> (batch, n_out, frequency / stride, frames / stride)."""
        return F.relu(self.path(x) + self.shortcut(x))


class AlexNet(ConventionalNetwork):
    """Five convolutions and two fully connected layers; see :class:`AlexNetConfig`."""

    architecture = "alexnet"
    config: AlexNetConfig

    def make_areas(self) -> tuple[list[nn.Module], int]:
        """conv1; conv2; conv3 to conv5; fc6 and fc7."""
        c1, c2, c3, c4, c5 = self.config.widths
        bins, units = self.config.front_end.n_mels // 16, self.config.units
        return [
            nn.Sequential(*_convolution(1, c1, (11, 11), (2, 2)), _pool(3, (2, 2))),
            nn.Sequential(*_convolution(c1, c2, (5, 5)), _pool(3, (2, 1))),
            nn.Sequential(
                *_convolution(c2, c3, (3, 3)),
                *_convolution(c3, c4, (3, 3)),
                *_convolution(c4, c5, (3, 3)),
                _pool(3, (2, 2)),
            ),
            nn.Sequential(
                nn.Conv2d(c5, units, (bins, 1), bias=False),
                nn.BatchNorm2d(units),
                nn.ReLU(),
                *_convolution(units, units, (1, 1)),
            ),
        ], units


class VGG(ConventionalNetwork):
    """Blocks of 3 × 3 convolutions, each ending in 2 × 2 pooling; see :class:`VGGConfig`."""

    architecture = "vgg"
    config: VGGConfig

    def make_areas(self) -> tuple[list[nn.Module], int]:
        """The four blocks."""
        stages: list[nn.Module] = []
        n_below = 1
        for width, depth, time in zip(self.config.widths, self.config.depths, self.config.time_strides, strict=True):
            layers: list[nn.Module] = []
            for _ in range(depth):
                layers += _convolution(n_below, width, (3, 3))
                n_below = width
            stages.append(nn.Sequential(*layers, nn.MaxPool2d((2, time))))
        return stages, n_below


class CRNN(ConventionalNetwork):
    """Convolutions that pool frequency away, then a gated recurrent unit; see :class:`CRNNConfig`."""

    architecture = "crnn"
    config: CRNNConfig

    def make_areas(self) -> tuple[list[nn.Module], int]:
        """conv1; conv2; conv3 and conv4; two GRU layers."""
        c1, c2, c3, c4 = self.config.widths
        last = self.config.front_end.n_mels // 16
        return [
            nn.Sequential(*_convolution(1, c1, (3, 3)), nn.MaxPool2d((2, 2))),
            nn.Sequential(*_convolution(c1, c2, (3, 3)), nn.MaxPool2d((2, 2))),
            nn.Sequential(
                *_convolution(c2, c3, (3, 3)),
                nn.MaxPool2d((4, 1)),
                *_convolution(c3, c4, (3, 3)),
                nn.MaxPool2d((last, 1)),
            ),
            RecurrentStage(c4, self.config.units),
        ], self.config.units

    def local(self, frames: Tensor) -> dict[str, Tensor]:
        """The convolutions; see the base class."""
        history: dict[str, Tensor] = {}
        for label in AREAS[:-1]:
            frames = history[label] = self.areas[label](frames)
        return history

    def remembering(self, local: Mapping[str, Tensor], memory: Any) -> tuple[dict[str, Tensor], Any]:
        """The recurrent units, from where they were; see the base class."""
        stage = cast(RecurrentStage, self.areas[AREAS[-1]])
        states, memory = stage.go_on(local[AREAS[-2]], memory)
        return {AREAS[-1]: states}, memory


class RecurrentStage(nn.Module):
    """Two GRU layers over the frames of one frequency bin."""

    def __init__(self, n_in: int, units: int) -> None:
        super().__init__()
        self.gru = nn.GRU(n_in, units, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, n_in, 1, frames) -> (batch, units, 1, frames)."""
        return self.go_on(x, None)[0]

    def go_on(self, x: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """The same for the next frames of a sound, and the state after them; None is the state before any."""
        states, memory = self.gru(x.squeeze(2).mT, memory)
        return states.mT.unsqueeze(2), memory


def _convolution(n_in: int, n_out: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)) -> list[nn.Module]:
    """Centred convolution, normalisation, rectification."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    return [
        nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(),
    ]


def _pool(size: int, stride: tuple[int, int]) -> nn.MaxPool2d:
    """Overlapping maximum; the size is odd, so that lengths divide exactly."""
    return nn.MaxPool2d(size, stride, size // 2)


PRESETS: dict[str, NetworkConfig] = {
    "deepcnn": DeepCNNConfig(),
    "alexnet": AlexNetConfig(),
    "vgg": VGGConfig(),
    "crnn": CRNNConfig(),
}
"""Configurations by the name that ``--preset`` and ``--model`` take."""
