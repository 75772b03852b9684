"""From any sampling rate to any other, the same on the encoding path and inside a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil, gcd

import numpy as np
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


def resampled_blocks(blocks: Iterable[np.ndarray], rate: int, target: int) -> Iterator[np.ndarray]:
    """Resample a sound that comes in blocks, as :func:`resampled` does the whole: no block has edges of its own.

    Parameters
    ----------
    blocks : iterable of ndarray, (n_samples,)
        One after the other, float32, in any lengths.
    rate, target : int
        Sampling rates before and after, Hz.

    Yields
    ------
    ndarray, (n_samples,)
        In all, ``ceil(samples · target / rate)``.
    """
    factor = gcd(rate, target)
    n_in, n_out = rate // factor, target // factor
    reach = ceil((_WIDTH / _ROLLOFF * rate / min(rate, target) + 2) / n_in) * n_in
    held, heard = np.zeros(0, np.float32), 0  # samples that are at hand, and how many of them have been resampled
    for block in blocks:
        if len(held):
            ready = heard + max(0, len(held) - heard - reach) // n_in * n_in
            if ready > heard:
                yield _resampled_part(held[: ready + reach], rate, target, slice(heard // n_in, ready // n_in), n_out)
            begin = max(0, ready - reach)
            held, heard = held[begin:], ready - begin
        held = np.concatenate([held, block]) if len(held) else block
    if len(held):
        yield _resampled_part(held, rate, target, slice(heard // n_in, None), n_out)


def _resampled_part(sound: np.ndarray, rate: int, target: int, steps: slice, n_out: int) -> np.ndarray:
    """Of a resampled sound, some steps of ``n_out`` samples."""
    end = None if steps.stop is None else steps.stop * n_out
    return resampled(torch.from_numpy(sound), rate, target)[steps.start * n_out : end].numpy()


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
