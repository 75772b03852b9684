"""From any sampling rate to any other, the same on the encoding path and inside a network."""

from __future__ import annotations

from math import ceil, gcd

import torch
import torchaudio.functional
from torch import Tensor

from ban_bids.errors import DataError

_WIDTH = 6
_ROLLOFF = 0.99
_LARGEST_BANK = 1 << 22
_BLOCK = 1 << 16


def resampled(waveform: Tensor, rate: int, target: int) -> Tensor:
    """Resample by a Hann-windowed sinc: six zero crossings on either side, 1 % under the lower Nyquist frequency.

    That is ``torchaudio.functional.resample`` with its default filter. It holds the filter at every phase,
    gigabytes for rates without a large common factor (22 051 Hz); there the same sum is evaluated directly.

    Parameters
    ----------
    waveform : Tensor, (..., samples)
    rate, target : int
        Sampling rates before and after, Hz.

    Returns
    -------
    Tensor, (..., ceil(samples · target / rate))

    Raises
    ------
    DataError
        For a rate that is not a whole number of 1 Hz or more.
    """
    if rate != int(rate) or rate < 1:
        raise DataError(f"a sampling rate of {rate} Hz: give a whole number of 1 Hz or more")
    if rate == target:
        return waveform
    factor = gcd(int(rate), target)
    if (rate // factor) * (target // factor) <= _LARGEST_BANK:
        return torchaudio.functional.resample(
            waveform, int(rate), target, lowpass_filter_width=_WIDTH, rolloff=_ROLLOFF
        )
    return _directly(waveform, int(rate), target)


def _directly(waveform: Tensor, rate: int, target: int) -> Tensor:
    """The same sum, the filter evaluated at the times of the output samples."""
    cutoff = _ROLLOFF * min(rate, target) / rate  # in half cycles per sample
    reach = ceil(_WIDTH / cutoff) + 1
    padded = torch.nn.functional.pad(waveform, (reach, reach))
    taps = torch.arange(-reach, reach + 1, device=waveform.device)
    blocks = []
    for k in torch.arange(-(-waveform.shape[-1] * target // rate), device=waveform.device).split(_BLOCK):
        moment = k * rate  # in samples · target, an exact integer
        centre = moment // target
        distance = taps + (centre - moment.double() / target)[:, None]
        phase = (distance * cutoff).clamp(-_WIDTH, _WIDTH)
        weight = cutoff * torch.sinc(phase) * torch.cos(phase * torch.pi / (2 * _WIDTH)).square()
        around = padded[..., centre[:, None] + taps + reach]
        blocks.append((around * weight.to(waveform.dtype)).sum(dim=-1))
    return torch.cat(blocks, dim=-1)
