"""Sound files: whatever libsndfile decodes, as long as it truly is, or one line that says why it cannot be had.

Headers are believed where the bytes that they tell of are there. Where they are wrong or say nothing (pipes of SoX and
ffmpeg, programs that were stopped, MPEG of changing bitrate), libsndfile is given the file with a right one.
"""

from __future__ import annotations

import io
import mmap
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import soundfile

from ban_bids.errors import DataError
from ban_bids.files.mpeg import Stream, count_frames, ends_with_tags, stream_at
from ban_bids.files.sound_headers import payload

_CONVERT = "convert it to .wav or .flac (ffmpeg -i {name} {made}) and name that file in the events"
_FETCH = "datalad get or git annex get"
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"(?s).{4}ftypM4A", "AAC or ALAC in an .m4a"),
    (rb"(?s).{4}ftyp", "an MPEG-4 file (.mp4, .m4a, .mov)"),
    (rb"(?s)\xff[\xf0\xf1\xf8\xf9]|ADIF", "AAC"),
    (rb"(?s)\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (.wma, .wmv)"),
    (rb"(?s)\x1a\x45\xdf\xa3", "Matroska or WebM (.mkv, .webm)"),
    (rb"(?s)RIFF.{4}AVI ", "a film (.avi)"),
    (rb"(?s)RIFF.{4}WAVE", "a .wav with a codec of its own"),
    (rb"(?s)OggS", "an Ogg stream of another codec"),
    (rb"(?s)#!AMR|#!SILK|wvpk|MAC |TTA1|FLV|MPCK|MP\+", "a sound format"),
)
"""How other programs' sounds begin, and what they are."""
_PICTURES = re.compile(rb"(?s)\x89PNG|\xff\xd8\xff|GIF8|BM.{4}\0\0\0\0|RIFF.{4}WEBP|%PDF|PK\x03\x04")
_PAGE = re.compile(rb"(?is)\s*(\xef\xbb\xbf)?\s*(<!doctype|<html|<\?xml|<head|\{\s*\")")


@dataclass(frozen=True)
class SoundInfo:
    """How long a sound is.

    Parameters
    ----------
    frames : int
        Samples per channel.
    sampling_rate : int
        Hz.
    channels : int
    note : str
        What is odd about the file, with its name; empty where nothing is.
    """

    frames: int
    sampling_rate: int
    channels: int
    note: str = ""

    @property
    def seconds(self) -> float:
        """Length."""
        return self.frames / self.sampling_rate


def sound_info(path: Path) -> SoundInfo:
    """Length of a sound, decoding nothing where that is not needed.

    Parameters
    ----------
    path : Path
        Anything that libsndfile decodes: .wav, .au, .aiff, .flac, .mp3, .ogg.

    Returns
    -------
    SoundInfo

    Raises
    ------
    DataError
        The file is missing, empty, cut short, without samples or not sound; what would help is in the message.
    """
    with open_sound(path) as file:
        return SoundInfo(file.frames, file.samplerate, file.channels, file.note)


def audio_seconds(path: Path) -> float:
    """Length of a sound, seconds; see :func:`sound_info`."""
    return sound_info(path).seconds


class OpenSound(soundfile.SoundFile):  # type: ignore[misc]
    """A :class:`soundfile.SoundFile` of the right length, with what was odd about its file."""

    note: str = ""


@contextmanager
def open_sound(path: Path) -> Iterator[OpenSound]:
    """Open a sound to be decoded; ``frames`` of it are those that are there.

    Raises
    ------
    DataError
        As :func:`sound_info`, also for what goes wrong while it is used.
    """
    path = Path(path)
    _check_file(path)
    try:
        with path.open("rb") as raw:
            view = _view(path, raw)
            with OpenSound(view.file if view.changed else path) as file:
                file.note = view.note
                _check_opened(path, file)
                yield file
    except soundfile.SoundFileError as error:
        raise _not_decoded(path, error) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def _check_file(path: Path) -> None:
    """Refuse what is no file, and pointers that git-annex and git-lfs leave in its place."""
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: stimulus cannot be read, a link to a file that is not there; fetch it ({_FETCH})")
    if not path.is_file():
        raise DataError(f"{path}: no such audio file; put it there or point --stimuli-dir at its folder")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise DataError(f"{path}: stimulus cannot be read ({error.strerror}); check its permissions") from error
    if size == 0:
        raise DataError(f"{path}: stimulus is an empty file (0 bytes); fetch the original file again")
    if head.startswith(b"version https://git-lfs"):
        raise DataError(
            f"{path}: stimulus is not audio but a git-lfs pointer, the sound itself was not fetched; run git lfs pull"
        )
    if size < 32768 and (head.startswith((b"/annex/objects/", b".git/annex")) or b"/annex/objects/" in head[:300]):
        raise DataError(
            f"{path}: stimulus is not audio but a git-annex pointer, the sound itself was not fetched; run {_FETCH}"
        )
    if _PAGE.match(head):
        raise DataError(
            f"{path}: stimulus is not audio but a web page or text (it begins {_begins(head)}): the download failed; "
            "fetch the original file again"
        )


def _begins(head: bytes) -> str:
    return repr(head[:24].decode("ascii", "replace").strip())


def _check_opened(path: Path, file: OpenSound) -> None:
    if file.frames <= 0 or file.samplerate <= 0:
        raise DataError(f"{path}: stimulus has zero length, it holds no samples; fetch the original file again")
    if file.format != "FLAC":
        return
    try:
        file.seek(file.frames - 1)
        whole = len(file.read(1)) == 1
    except soundfile.SoundFileError:
        whole = False
    if not whole:
        raise DataError(
            f"{path}: stimulus is truncated: the header promises {file.frames} samples, but the last of them is not in its "
            f"{path.stat().st_size} bytes; fetch the original file again"
        )
    file.seek(0)


def _not_decoded(path: Path, error: Exception) -> DataError:
    """What a file is instead of sound, and what helps."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
    made = path.with_suffix(".flac" if path.suffix.lower() == ".wav" else ".wav")
    convert = _CONVERT.format(name=path.name, made=made.name)
    if _PICTURES.match(head):
        return DataError(f"{path}: stimulus is not audio but a picture or document; correct the events file")
    for pattern, kind in _OTHERS:
        if re.match(pattern, head):
            return DataError(f"{path}: stimulus is not audio that libsndfile can decode, but {kind}; {convert}")
    reason = "too few bytes" if size < 44 else str(getattr(error, "error_string", error)).rstrip(".")
    return DataError(
        f"{path}: stimulus is not audio that libsndfile can decode ({reason}); fetch the original file again, or "
        f"{convert}"
    )


# --- what libsndfile is given


@dataclass
class _View:
    """A file as libsndfile should see it.

    Parameters
    ----------
    raw : file
    size : int
        Where it ends.
    patches : mapping of int to bytes
        Other bytes at some places.
    before : bytes
        Put in front of what begins at ``skip``.
    changed : bool
        Whether it is another than the file on disk.
    note : str
    """

    raw: BinaryIO
    size: int
    patches: Mapping[int, bytes] = field(default_factory=dict)
    before: bytes = b""
    skip: int = 0
    changed: bool = False
    note: str = ""

    @property
    def file(self) -> Any:
        return _Changed(self)


class _Changed(io.RawIOBase):
    """The file of a view, for libsndfile to read."""

    def __init__(self, view: _View) -> None:
        self._view, self._place = view, 0
        self._end = len(view.before) + view.size - view.skip

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = max(0, offset + (0, self._place, self._end)[whence])
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from here on."""
        view, wanted = self._view, max(0, min(len(buffer), self._end - self._place))
        front = view.before[self._place : self._place + wanted]
        first = max(view.skip, self._place - len(view.before) + view.skip)
        view.raw.seek(first)
        data = bytearray(view.raw.read(wanted - len(front)))
        for place, patch in view.patches.items():
            low, high = max(first, place), min(first + len(data), place + len(patch))
            if low < high:
                data[low - first : high - first] = patch[low - place : high - place]
        read = len(front) + len(data)
        memoryview(buffer).cast("B")[:read] = front + bytes(data)
        self._place += read
        return read


def _view(path: Path, raw: BinaryIO) -> _View:
    """The file, or with a header that tells its length; DataError where samples that it tells of are missing."""
    size = path.stat().st_size
    raw.seek(0)
    head = raw.read(42)
    if head[:4] == b"fLaC":
        return _flac(path, raw, head, size)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"FORM", b".snd"):
        return _contained(path, raw, size)
    if head[:3] == b"ID3" or (head[0] == 0xFF and len(head) > 1 and head[1] & 0xE6):
        return _mpeg(path, raw, size)
    if head[:4] == b"OggS":
        return _View(raw, size, note=_ogg_note(path, raw, size))
    return _View(raw, size)


def _contained(path: Path, raw: BinaryIO, size: int) -> _View:
    """Chunks: the one of samples decides, not what the first header says of the whole file."""
    samples = payload(raw, size)
    if samples is None:
        return _View(raw, size)
    there = size - samples.start
    if samples.told is None:
        note = f"{path.name}: its header does not tell its length (written into a pipe?); it was taken to its end"
        told = {samples.size_at: samples.size(there)} if there > 0 else {}
        return _View(raw, size, told, changed=bool(told), note=note)
    # one byte of padding is commonly left out, or counted
    if samples.told > there + 1:
        raise DataError(
            f"{path}: stimulus is truncated: the header promises {samples.told} bytes of samples, the file has {max(0, there)}; "
            "fetch the original file again"
        )
    raw.seek(0)
    head = raw.read(8)
    whole = int.from_bytes(head[4:], "little") + 8
    note = ""
    if head[:4] == b"RIFF" and whole > size + 1:
        note = f"{path.name}: its header promises {whole} bytes, the file has {size}; all of its samples are there"
    elif head[:4] == b"RIFF" and _is_no_chunk(raw, samples.start + samples.told, size):
        note = f"{path.name}: its header tells of {samples.told} bytes of samples, {there} are there; it is believed"
    if head[:4] == b"riff":  # libsndfile takes what comes behind the samples for more of them
        return _View(raw, samples.start + samples.told, changed=True, note=note)
    return _View(raw, size, note=note)


def _is_no_chunk(raw: BinaryIO, end: int, size: int) -> bool:
    """Whether something else than chunks, or zeros, comes behind the samples."""
    raw.seek(end + end % 2)
    head = raw.read(8)
    return end + 8 < size and any(head) and not re.match(rb"[ -~]{4}", head)


def _flac(path: Path, raw: BinaryIO, head: bytes, size: int) -> _View:
    """Refuse a stream whose header does not tell its length: libsndfile cannot read it."""
    if int.from_bytes(head[18:26], "big") & ((1 << 36) - 1) == 0:
        raise DataError(
            f"{path}: its header does not tell its length (written into a pipe?); write it anew: "
            f"ffmpeg -i {path.name} {path.stem}-whole.flac, in its place"
        )
    return _View(raw, size)


def _mpeg(path: Path, raw: BinaryIO, size: int) -> _View:
    """MPEG: frames are counted unless a header tells their number and the file is as long as it says."""
    with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
        stream = stream_at(data)
        if stream is None:
            return _View(raw, size)
        first = stream.first
        if stream.told_frames and stream.told_bytes and ends_with_tags(data, first.place + stream.told_bytes):
            return _View(raw, size)
        frames, _ = count_frames(data, first)
        header = bytes(data[first.place : first.place + first.size])
    if stream.tag is not None:
        frames -= 1  # that of the header holds no sound
    if stream.told_frames and frames < stream.told_frames:
        told = stream.told_bytes or 0
        raise DataError(
            f"{path}: stimulus is truncated: the header promises {stream.told_frames} frames"
            + (f" in {told} bytes" if told else "")
            + f", the file has {frames} in {size - first.place}; fetch the original file again"
        )
    if first.layer != 3 or frames == stream.told_frames or frames <= 0:
        return _View(raw, size)
    return _with_count(path, raw, size, stream, frames, header)


def _with_count(path: Path, raw: BinaryIO, size: int, stream: Stream, frames: int, header: bytes) -> _View:
    """With a Xing header that tells the number of frames, in place of a wrong one or before the first."""
    first, count = stream.first, frames.to_bytes(4, "big")
    note = f"{path.name}: its header does not tell its length; its {frames} frames were counted"
    if stream.tag is not None and stream.told_frames is not None:
        return _View(raw, size, {stream.tag + 8: count}, changed=True, note=note)
    tag = stream.tag if stream.tag is not None else first.tag
    made = bytearray(len(header))
    made[:4] = bytes([header[0], header[1] | 1, *header[2:4]])  # without a checksum
    place = tag - first.place
    made[place : place + 12] = b"Xing" + (1).to_bytes(4, "big") + count
    if place + 12 > len(header):
        return _View(raw, size)
    skip = first.place + (first.size if stream.tag is not None else 0)
    return _View(raw, size, before=bytes(made), skip=skip, changed=True, note=note)


def _ogg_note(path: Path, raw: BinaryIO, size: int) -> str:
    """Ogg tells no length: what can be decoded counts. Its last page says that it is the last."""
    raw.seek(max(0, size - (1 << 16)))
    end = raw.read()
    last = end.rfind(b"OggS")
    whole = last >= 0 and len(end) > last + 26 and end[last + 5] & 4
    if whole:
        table = end[last + 27 : last + 27 + end[last + 26]]
        whole = len(end) >= last + 27 + len(table) + sum(table)
    return "" if whole else f"{path.name}: its last page is missing: it may have been cut short"
