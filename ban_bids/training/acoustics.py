"""Background noise and rooms, on log-mel frames: how a sound changes before it reaches a listener.

No waveform is made: powers of independent sounds add, band by band, and the tail that a room adds to a sound is its
power, smeared over time (the phases of a diffuse field are random).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_FLUCTUATION = 0.5
"""Standard deviation of the log power of noise in a band and frame, as that of a band with several independent bins."""

_60_DB = 6.0 * np.log(10.0)


def in_room(crops: Tensor, decay: Tensor) -> Tensor:
    """Crops with a tail that follows each sound: as much power again, spread over time by an exponential decay.

    Parameters
    ----------
    crops : Tensor, (n, n_mels, n_frames)
        Log power.
    decay : Tensor, (n,)
        Frames in which the tail falls by 60 dB; 0 for no room.

    Returns
    -------
    Tensor, (n, n_mels, n_frames)
    """
    longest = min(int(torch.ceil(decay.max())), crops.shape[2] - 1)
    if longest < 1:
        return crops
    frames = torch.arange(1, longest + 1, device=crops.device)
    tail = torch.exp(-_60_DB * frames / decay.clamp(min=1e-6)[:, None])
    tail = tail / tail.sum(dim=1, keepdim=True).clamp(min=1e-12)
    response = torch.cat([torch.ones_like(tail[:, :1]), tail * (decay > 0)[:, None]], dim=1)
    power = F.pad(crops.exp().transpose(0, 1), (longest, 0))  # bands, crops, frames
    return F.conv1d(power, response.flip(1)[:, None], groups=len(crops)).transpose(0, 1).log()


def in_noise(crops: Tensor, snr: Tensor, tilt: Tensor, generator: torch.Generator) -> Tensor:
    """Crops with stationary coloured noise beside them.

    Parameters
    ----------
    crops : Tensor, (n, n_mels, n_frames)
        Log power.
    snr : Tensor, (n,)
        Power of the crop to that of its noise, both meant over bands and frames, dB; infinite for no noise.
    tilt : Tensor, (n,)
        Natural log of power by which the highest band's noise exceeds the lowest's.
    generator : torch.Generator
        Of the noise's fluctuation, on the CPU.

    Returns
    -------
    Tensor, (n, n_mels, n_frames)
    """
    bands = torch.linspace(0, 1, crops.shape[1], device=crops.device)
    fluctuation = torch.randn(crops.shape, generator=generator).to(crops.device)
    noise = torch.exp(tilt[:, None, None] * bands[:, None] + _FLUCTUATION * fluctuation)
    power = crops.exp()
    wanted = power.mean(dim=(1, 2), keepdim=True) * torch.pow(10.0, -snr / 10.0)[:, None, None]
    return (power + noise * (wanted / noise.mean(dim=(1, 2), keepdim=True))).log()
