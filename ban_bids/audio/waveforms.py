"""Clips of audio files as waveforms, and the content hashes by which tracks are distinguished."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
import torch

from ban_bids.audio.resampling import resampled
from ban_bids.constants import SAMPLING_RATE
from ban_bids.errors import DataError
from ban_bids.inputs.types import Clip

_LOG = logging.getLogger(__name__)

MAX_PADDING = 0.1
"""Seconds that an excerpt may reach past its file's end: some GTZAN files last 29.98 s of their 30 s."""


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
    def seconds(self) -> float:
        """Duration of the waveform."""
        return len(self.waveform) / self.sampling_rate

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
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror}); check the path and its permissions") from err


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
    with _opened(path) as file:
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
    with _opened(Path(path)) as file:
        blocks = [b.mean(axis=1) for b in file.blocks(blocksize=1 << 18, dtype="float32", always_2d=True)]
        return np.nan_to_num(np.concatenate(blocks), posinf=0.0, neginf=0.0), int(file.samplerate)


def load_waveform(
    path: Path, start: float = 0.0, duration: float | None = None, sampling_rate: int = SAMPLING_RATE
) -> np.ndarray:
    """Read an excerpt of an audio file as a mono waveform.

    Channels are averaged, then the excerpt is resampled (:func:`ban_bids.audio.resampling.resampled`). An
    excerpt that reaches at most :data:`MAX_PADDING` seconds past the file's end is padded with silence,
    and logged.

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
    path = Path(path)
    if start < 0 or (duration is not None and duration <= 0):
        raise DataError(
            f"{path}: an excerpt from {start} s lasting {duration} s is impossible; correct the events file"
        )
    mono, rate = _mono(path, start, duration)
    mono = resampled(torch.from_numpy(mono), rate, sampling_rate).numpy()
    if duration is None:
        return mono
    wanted = round(duration * sampling_rate)
    return np.pad(mono[:wanted], (0, max(0, wanted - len(mono))))


def check_audio(path: Path) -> None:
    """Decode a whole file, so that what :func:`load_waveform` would refuse is known beforehand.

    Raises
    ------
    DataError
        As :func:`load_waveform`.
    """
    _mono(Path(path), 0.0, None)


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open an audio file that holds samples; every way of not being one is a DataError."""
    if not path.is_file():
        raise DataError(f"{path}: no such audio file; put it there or point --stimuli-dir at its folder")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the audio file is empty (0 bytes); fetch it again")
    try:
        _refuse_cut_wav(path)
        with soundfile.SoundFile(path) as file:
            if file.frames == 0:
                raise DataError(f"{path}: the audio file holds no samples; fetch it again")
            yield file
    except soundfile.SoundFileError as err:
        raise DataError(
            f"{path}: not audio that libsndfile can decode ({err}); fetch it again or convert it to .wav"
        ) from err
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror}); check its permissions") from err


def _refuse_cut_wav(path: Path) -> None:
    """Compare with the header: libsndfile reads a .wav that was cut short as if it were a shorter one."""
    with path.open("rb") as file:
        head = file.read(12)
    size = int.from_bytes(head[4:8], "little")
    promised = size + 8
    streamed = size == 0 or size >= 0x7FFFF000  # written by a program that could not know the length
    if head[:4] == b"RIFF" and head[8:] == b"WAVE" and not streamed and promised > path.stat().st_size + 1:
        raise DataError(
            f"{path}: truncated: the header promises {promised} bytes, the file has {path.stat().st_size}; "
            "fetch the file again"
        )


def _mono(path: Path, start: float, duration: float | None) -> tuple[np.ndarray, int]:
    """Mean of the excerpt's channels at the file's own rate, padded by at most MAX_PADDING."""
    with _opened(path) as file:
        rate = int(file.samplerate)
        length = file.frames / rate
        end = length if duration is None else start + duration
        if start >= length or end > length + MAX_PADDING + 0.5 / rate:
            raise DataError(
                f"{path}: the excerpt {start:.2f}-{end:.2f} s lies outside the file, which lasts "
                f"{length:.2f} s; correct the events file or replace a truncated audio file"
            )
        first = round(start * rate)
        wanted = (file.frames if duration is None else round(end * rate)) - first
        available = min(wanted, file.frames - first)
        file.seek(first)
        samples = file.read(available, dtype="float32", always_2d=True)
    # the header's count, before anything is padded: a file cut short must not pass as silence
    if len(samples) < available:
        raise DataError(
            f"{path}: truncated: the header promises {available} samples here, {len(samples)} can be "
            "decoded; fetch the file again"
        )
    mono = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise DataError(f"{path}: holds samples that are not numbers; decode the original again")
    if missing := wanted - available:
        _LOG.warning("%s: excerpt ends %.3f s after the file; padded with silence", path, missing / rate)
    return np.pad(mono, (0, missing)), rate


def sine_fade(n_samples: int, n_fade: int) -> np.ndarray:
    """Gain of a clip with raised-sine ramps, sin²(π/2 · (k + ½)/n_fade), at both ends.

    Parameters
    ----------
    n_samples, n_fade : int
        Length of the clip and of each ramp, samples; ramps that would overlap are cut to half the clip.

    Returns
    -------
    ndarray of float32, (n_samples,)
    """
    gain = np.ones(n_samples, dtype=np.float32)
    n_fade = min(n_fade, n_samples // 2)
    if n_fade > 0:
        ramp = np.sin(0.5 * np.pi * (np.arange(n_fade) + 0.5) / n_fade) ** 2
        gain[:n_fade] = ramp
        gain[-n_fade:] = ramp[::-1]
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
    waveform = load_waveform(clip.audio, clip.start, clip.duration - clip.silence, sampling_rate)
    if clip.fade:
        waveform = waveform * sine_fade(len(waveform), round(clip.fade * sampling_rate))
    if clip.rms is not None:
        rms = float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
        if rms == 0.0:
            raise DataError(
                f"{clip.audio}: silent from {clip.start:.2f} s for {clip.duration:.2f} s, so it cannot be "
                f"scaled to an RMS of {clip.rms:.4f}; replace the audio file"
            )
        waveform = waveform * np.float32(clip.rms / rms)
    silent = round(clip.duration * sampling_rate) - len(waveform) if clip.silence else 0
    return np.pad(waveform.astype(np.float32, copy=False), (0, max(0, silent)))
