"""Excerpts of sound files in blocks: an hour is decoded, averaged over channels and resampled in little memory."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ban_bids.audio.resampling import resampled_blocks
from ban_bids.errors import DataError
from ban_bids.files.sounds import OpenSound, open_sound

_LOG = logging.getLogger(__name__)

MAX_PADDING = 0.1
"""Seconds that an excerpt may reach past its file's end: some GTZAN files last 29.98 s of their 30 s."""

_LOUD, _LOUDEST = 10.0, 1e10
"""Samples of floats beyond which it is told, and beyond which it is no sound: 24-bit integers reach 8e6, 32-bit 2e9."""

BLOCK_SECONDS = 60.0
"""Length of the blocks; what is not longer is one, and decoded and resampled as a whole."""

_HELD_OVER = 12 * 1152
"""Samples of an .mp3 before a block that are decoded as well: parts of its first frame may lie some frames before."""


@dataclass(frozen=True)
class Piece:
    """Part of a clip, with what comes before and after it.

    Parameters
    ----------
    sound : ndarray, (n_samples,)
    first : int
        Sample of the clip with which ``sound`` begins.
    start, end : int
        Samples of the clip between which the part lies; what else is in ``sound`` is context.
    is_last : bool
        Whether the clip ends with it.
    """

    sound: np.ndarray
    first: int
    start: int
    end: int
    is_last: bool


def excerpt_blocks(
    path: Path, start: float = 0.0, duration: float | None = None, sampling_rate: int | None = None
) -> Iterator[np.ndarray]:
    """Read an excerpt of an audio file as mono blocks, see :func:`ban_bids.audio.waveforms.load_waveform`.

    Parameters
    ----------
    path : Path
    start, duration : float
        Excerpt, seconds; ``duration=None`` reads to the end.
    sampling_rate : int, optional
        Of the result, Hz; the file's own when None.

    Yields
    ------
    ndarray of float32, (n_samples,)
        In all, exactly ``round(duration · sampling_rate)`` samples where a duration was given.

    Raises
    ------
    DataError
        When the file cannot be decoded, or the excerpt lies outside it.
    """
    if start < 0 or (duration is not None and duration <= 0):
        raise DataError(
            f"{path}: an excerpt from {start} s lasting {duration} s is impossible; correct the events file"
        )
    with open_sound(path) as file:
        rate = int(file.samplerate)
        target = rate if sampling_rate is None else sampling_rate
        first, wanted = _samples(path, file, start, duration)
        blocks = resampled_blocks(_mono(path, file, first, wanted), rate, target)
        yield from blocks if duration is None else _of_length(blocks, round(duration * target))


def _samples(path: Path, file: OpenSound, start: float, duration: float | None) -> tuple[int, int]:
    """First sample of an excerpt and their number, at the file's own rate; DataError for one outside the file."""
    rate = int(file.samplerate)
    length = file.frames / rate
    end = length if duration is None else start + duration
    if start >= length or end > length + MAX_PADDING + 0.5 / rate:
        raise DataError(
            f"{path}: the excerpt {start:.2f}-{end:.2f} s lies outside the file, which lasts "
            f"{length:.2f} s; correct the events file or replace a truncated audio file"
        )
    first = round(start * rate)
    return first, (file.frames if duration is None else round(end * rate)) - first


@lru_cache(maxsize=2**12)  # a file is heard in many excerpts, by many models
def _tell_loud(path: Path) -> None:
    """Say once of a file that it holds integers, as it seems, written as floats."""
    _LOG.warning("%s: samples beyond %g, where 1 is the loudest: integers written as floats?", path, _LOUD)


def _mono(path: Path, file: OpenSound, first: int, wanted: int) -> Iterator[np.ndarray]:
    """Mean of the channels at the file's own rate; silence for at most MAX_PADDING behind its end."""
    rate = int(file.samplerate)
    size = max(1, round(BLOCK_SECONDS * rate))
    available = min(wanted, file.frames - first)
    missing = wanted - available
    if missing:
        _LOG.warning("%s: excerpt ends %.3f s after the file; padded with silence", path, missing / rate)
    file.seek(first)
    done = 0
    while done < available:
        samples = _read(file, first + done, min(size, available - done))
        # the header's count, before anything is padded: a file cut short must not pass as silence
        if len(samples) < min(size, available - done):
            raise DataError(
                f"{path}: stimulus is truncated: the header promises {available} samples here, "
                f"{done + len(samples)} can be decoded; fetch the original file again"
            )
        mono = samples.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            at = (first + done + int(np.flatnonzero(~np.isfinite(mono))[0])) / rate
            raise DataError(
                f"{path}: holds samples that are not numbers (the first at {at:.2f} s); decode the original again"
            )
        loudest = float(np.abs(mono).max(initial=0.0))
        if loudest > _LOUD:
            _tell_loud(path)
        if loudest > _LOUDEST:
            raise DataError(
                f"{path}: holds samples up to {loudest:.3g}, where 1 is the loudest; decode the original again"
            )
        done += len(samples)
        yield np.pad(mono, (0, missing)) if missing and done == available else mono
    if missing and not available:
        yield np.zeros(missing, np.float32)


def _read(file: OpenSound, place: int, count: int) -> np.ndarray:
    """Samples from a place on, where the file stands already, (n_samples, n_channels)."""
    before = min(place, _HELD_OVER) if file.format in ("MP3", "MPEG") else 0
    if before:  # soundfile seeks after every read, too: in one read, or the decoder begins anew
        file.seek(place - before)
    return np.asarray(file.read(before + count, dtype="float32", always_2d=True)[before:])


def _of_length(blocks: Iterable[np.ndarray], total: int) -> Iterator[np.ndarray]:
    """So many samples of them, or zeros behind their end: resampling rounds otherwise."""
    left = total
    for block in blocks:
        if left > 0:
            yield block[:left]
        left -= len(block)
    if left > 0:
        yield np.zeros(left, np.float32)


def in_pieces(blocks: Iterable[np.ndarray], total: int, length: int, before: int, after: int) -> Iterator[Piece]:
    """Cut a clip into parts that follow each other, each with its surroundings.

    Parameters
    ----------
    blocks : iterable of ndarray, (n_samples,)
        The clip, in any blocks.
    total : int
        Its samples.
    length, before, after : int
        Of a part and of its context, samples; there is less context at the clip's ends.

    Yields
    ------
    Piece
    """
    coming = iter(blocks)
    held, first = np.zeros(0, np.float32), 0
    for start in range(0, total, length):
        end = min(total, start + length)
        begin, stop = max(0, start - before), min(total, end + after)
        parts = [held[begin - first :]]
        n_held = len(parts[0])
        while begin + n_held < stop:
            parts.append(next(coming))
            n_held += len(parts[-1])
        held, first = np.concatenate(parts) if len(parts) > 1 else parts[0], begin
        yield Piece(held[: stop - begin], begin, start, end, end == total)
