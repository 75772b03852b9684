"""Clips of audio files as waveforms, and the content hashes by which tracks are distinguished."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from ban_bids.audio.excerpts import BLOCK_SECONDS, Piece, excerpt_blocks, in_pieces
from ban_bids.constants import SAMPLING_RATE
from ban_bids.errors import DataError
from ban_bids.files.reading import opened
from ban_bids.files.sounds import open_sound
from ban_bids.inputs.types import Clip

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class HeardClip:
    """A clip as models are given it: which excerpt of which file it is, and what it sounds like.

    Parameters
    ----------
    clip : Clip or None
        Identity: file, start and duration. None for sound that is in no file, such as silence.
    sampling_rate : int
        Of the waveform, Hz.
    sound : ndarray, (n_samples,), optional
        Mono; where it is not given, the clip is rendered when its waveform is first asked for.
    """

    clip: Clip | None
    sampling_rate: int
    sound: np.ndarray | None = None

    @classmethod
    def silence(cls, seconds: float, sampling_rate: int) -> Self:
        """Nothing but zeros."""
        return cls(None, sampling_rate, np.zeros(int(seconds * sampling_rate), dtype=np.float32))

    @cached_property
    def waveform(self) -> np.ndarray:
        """Float32, (n_samples,).

        Raises
        ------
        DataError
            As :func:`render_clip`.
        """
        if self.sound is not None:
            return np.asarray(self.sound, dtype=np.float32)
        if self.clip is None:
            raise ValueError("a HeardClip needs a clip or a sound")
        return render_clip(self.clip, self.sampling_rate)

    @property
    def n_samples(self) -> int:
        """Length of the waveform, known before it is rendered."""
        if self.sound is not None or self.clip is None:
            return len(self.waveform)
        return round(self.clip.duration * self.sampling_rate)

    @property
    def seconds(self) -> float:
        """Duration of the waveform."""
        return self.n_samples / self.sampling_rate

    def pieces(self, length: int, before: int, after: int) -> Iterator[Piece]:
        """Parts of the waveform that follow each other, with their surroundings, rendered as they are asked for.

        Parameters
        ----------
        length, before, after : int
            Of a part and of its context, samples.
        """
        if self.sound is not None or self.clip is None:
            blocks: Iterable[np.ndarray] = [self.waveform]
        else:
            blocks = rendered_blocks(self.clip, self.sampling_rate)
        return in_pieces(blocks, self.n_samples, length, before, after)

    def __str__(self) -> str:
        """File and excerpt, for messages."""
        if self.clip is None:
            return "sound of no file"
        return f"{self.clip.audio}, {self.clip.start:g} to {self.clip.start + self.clip.duration:g} s"


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises
    ------
    DataError
        When the file cannot be read.
    """
    with opened(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


HASH_VERSION = 2
"""Of :func:`audio_hash`; 1 took samples as 16-bit integers, which are nearly all zero in files of floats."""


def audio_hash(path: Path, version: int = HASH_VERSION) -> str:
    """SHA-256 of a file's decoded samples and sampling rate: the same for one track as .wav and as .au.

    Samples enter as 32-bit floats between -1 and 1, frame by frame: integers of up to 24 bits and floats of the same
    values agree.

    Parameters
    ----------
    path : Path
    version : int
        1 for hashes as cards of older versions hold them.

    Raises
    ------
    DataError
        When the file cannot be decoded.
    """
    path = Path(path)
    digest = hashlib.sha256()
    with open_sound(path) as file:
        digest.update(f"{file.samplerate} {file.channels} ".encode())
        for block in file.blocks(blocksize=1 << 18, dtype="int16" if version == 1 else "float32", always_2d=True):
            digest.update((block + block.dtype.type(0)).tobytes())  # a negative zero is a zero
    return digest.hexdigest()


def decoded(path: Path) -> tuple[np.ndarray, int]:
    """Whatever can be decoded of a file, however much its header promises.

    Parameters
    ----------
    path : Path

    Returns
    -------
    mono : ndarray of float32, (n_samples,)
        Mean of the channels; samples that are not numbers are zero.
    sampling_rate : int
        Hz.

    Raises
    ------
    DataError
        When nothing can be.
    """
    with open_sound(path) as file:
        mono, done = np.zeros(file.frames, np.float32), 0
        for block in file.blocks(blocksize=1 << 18, dtype="float32", always_2d=True):
            mono[done : done + len(block)] = block.mean(axis=1)
            done += len(block)
        return np.nan_to_num(mono[:done], copy=False, nan=0.0, posinf=0.0, neginf=0.0), int(file.samplerate)


def load_waveform(
    path: Path, start: float = 0.0, duration: float | None = None, sampling_rate: int = SAMPLING_RATE
) -> np.ndarray:
    """Read an excerpt of an audio file as a mono waveform.

    Channels are averaged, then the excerpt is resampled (:func:`ban_bids.audio.resampling.resampled`). An
    excerpt that reaches at most :data:`~ban_bids.audio.excerpts.MAX_PADDING` seconds past the file's end is padded
    with silence, and logged.

    Parameters
    ----------
    path : Path
        Anything that libsndfile decodes: .wav, .au, .flac, .mp3, .ogg.
    start, duration : float
        Excerpt, seconds; ``duration=None`` reads to the end.
    sampling_rate : int
        Of the result, Hz.

    Returns
    -------
    ndarray of float32, (n_samples,)
        Exactly ``round(duration · sampling_rate)`` samples where a duration was given.

    Raises
    ------
    DataError
        When the file is missing, empty, truncated, of zero length or not audio, or the excerpt lies
        outside it.
    """
    return _joined(excerpt_blocks(path, start, duration, sampling_rate))


def check_audio(path: Path) -> None:
    """Decode a whole file, so that what :func:`load_waveform` would refuse is known beforehand.

    Raises
    ------
    DataError
        As :func:`load_waveform`.
    """
    for _ in excerpt_blocks(path):
        pass


def sine_fade(n_samples: int, n_fade: int, first: int = 0, count: int | None = None) -> np.ndarray:
    """Gain of a clip with raised-sine ramps, sin²(π/2 · (k + ½)/n_fade), at both ends.

    Parameters
    ----------
    n_samples, n_fade : int
        Length of the clip and of each ramp, samples; ramps that would overlap are cut to half the clip.
    first, count : int, optional
        Part of the clip for which the gain is wanted; all of it otherwise.

    Returns
    -------
    ndarray of float32, (n_samples,) or (count,)
    """
    end = n_samples if count is None else first + count
    gain = np.ones(end - first, dtype=np.float32)
    n_fade = min(n_fade, n_samples // 2)
    if n_fade > 0 and (first < n_fade or end > n_samples - n_fade):
        place = np.arange(first, end)
        ramp = np.minimum(place, n_samples - 1 - place)
        in_ramp = ramp < n_fade
        gain[in_ramp] = np.sin(0.5 * np.pi * (ramp[in_ramp] + 0.5) / n_fade) ** 2
    return gain


def render_clip(clip: Clip, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """Render the waveform that was played: excerpt, then fades, then scaling to the clip's RMS, then silence.

    The order is ds003720's (Nakai et al. 2021: 2-s fade-in and fade-out, then overall normalisation of the
    root mean square), so the RMS is that of the faded clip.

    Parameters
    ----------
    clip : Clip
    sampling_rate : int
        Hz.

    Returns
    -------
    ndarray of float32, (round(duration · sampling_rate),)

    Raises
    ------
    DataError
        As :func:`load_waveform`, and when a silent excerpt is to be scaled to an RMS.
    """
    return _joined(rendered_blocks(clip, sampling_rate))


def rendered_blocks(clip: Clip, sampling_rate: int) -> Iterator[np.ndarray]:
    """Render a clip block by block, see :func:`render_clip`; a long one that is scaled is decoded twice.

    Yields
    ------
    ndarray of float32, (n_samples,)
    """
    blocks: Iterable[np.ndarray] = _faded(clip, sampling_rate)
    gain = None
    if clip.rms is not None:
        if clip.duration <= BLOCK_SECONDS:
            blocks = list(blocks)
        gain = _gain(clip, clip.rms, blocks, sampling_rate)
        if not isinstance(blocks, list):
            blocks = _faded(clip, sampling_rate)
    done, silent = 0, True
    for block in blocks:
        done += len(block)
        silent = silent and not block.any()
        yield block if gain is None else block * gain
    if silent:
        _LOG.warning("%s: silent from %.2f s for %.2f s", clip.audio, clip.start, clip.duration)
    if clip.silence and (after := round(clip.duration * sampling_rate) - done) > 0:
        yield np.zeros(after, np.float32)


def _gain(clip: Clip, rms: float, blocks: Iterable[np.ndarray], sampling_rate: int) -> np.float32:
    """What scales the faded excerpt to an RMS."""
    power = sum(float(np.sum(np.square(block, dtype=np.float64))) for block in blocks)
    own = float(np.sqrt(power / round((clip.duration - clip.silence) * sampling_rate)))
    if own == 0.0:
        raise DataError(
            f"{clip.audio}: silent from {clip.start:.2f} s for {clip.duration:.2f} s, so it cannot be "
            f"scaled to an RMS of {rms:.4f}; replace the audio file"
        )
    return np.float32(rms / own)


def _faded(clip: Clip, sampling_rate: int) -> Iterator[np.ndarray]:
    """The excerpt in blocks, not yet scaled."""
    seconds = clip.duration - clip.silence
    total, done = round(seconds * sampling_rate), 0
    for block in excerpt_blocks(clip.audio, clip.start, seconds, sampling_rate):
        if clip.fade:
            block = block * sine_fade(total, round(clip.fade * sampling_rate), done, len(block))
        done += len(block)
        yield block


def _joined(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """One array of them, which is theirs where there is one only."""
    all_blocks = list(blocks)
    return all_blocks[0] if len(all_blocks) == 1 else np.concatenate(all_blocks)
