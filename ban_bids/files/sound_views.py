"""A sound file as libsndfile is given it: with a header of the right length, where its own tells another or none."""

from __future__ import annotations

import io
import mmap
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ban_bids.errors import DataError
from ban_bids.files.flac import LENGTH_AT, counted_samples, told_samples, with_samples
from ban_bids.files.mpeg import Stream, count_frames, ends_with_tags, stream_at
from ban_bids.files.sound_headers import even_header, payload

_MISCOUNTED = 2
"""Frames of MPEG, 0.05 s, by which headers may be wrong in whole files."""

_LARGEST_FRAME = 1 << 18
"""Bytes at the end of a .flac among which its last frame lies."""


@dataclass
class View:
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
        """To be read by libsndfile."""
        return _Changed(self)


class _Changed(io.RawIOBase):
    """The file of a view, for libsndfile to read."""

    def __init__(self, view: View) -> None:
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


def view_of(path: Path, raw: BinaryIO) -> View:
    """The file, or with a header that tells its length; DataError where samples that it promises are missing."""
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
        return View(raw, size, note=_ogg_note(path, raw, size))
    return View(raw, size)


def _contained(path: Path, raw: BinaryIO, size: int) -> View:
    """Chunks: the one of samples decides, not what the first header says of the whole file."""
    samples = payload(raw, size)
    if samples is None:
        return View(raw, size)
    there = size - samples.start
    if samples.told is None and not _ends_with_chunk(raw, samples.start, size):
        note = f"{path.name}: its header does not tell its length (written into a pipe?); it was taken to its end"
        told = {samples.size_at: samples.size(there)} if there > 0 else {}
        return View(raw, size, {**_form(raw), **told}, changed=bool(told), note=note)
    if samples.told is None:
        return View(raw, size)  # there are none, but other chunks
    # one byte of padding is commonly left out, or counted
    if samples.told > there + 1:
        raise DataError(
            f"{path}: stimulus is truncated: the header promises {samples.told} bytes of samples, the file has "
            f"{max(0, there)}; fetch the original file again"
        )
    return _told(path, raw, size, start=samples.start, told=samples.told)


def _told(path: Path, raw: BinaryIO, size: int, *, start: int, told: int) -> View:
    """A file with all samples that it tells of, with what is odd about the rest."""
    raw.seek(0)
    head = raw.read(8)
    whole = int.from_bytes(head[4:], "little") + 8
    note = ""
    if head[:4] == b"RIFF" and whole > size + 1:
        note = f"{path.name}: its header promises {whole} bytes, the file has {size}; all of its samples are there"
    elif head[:4] == b"RIFF" and _is_no_chunk(raw, start + told, size):
        note = f"{path.name}: its header promises {told} bytes of samples, {size - start} are there; it is believed"
    if head[:4] == b"RIFF" and (header := even_header(raw, size, told)) is not None:
        end = start + told
        return View(raw, end, before=header, skip=start, changed=True, note=note)
    if form := _form(raw):
        return View(raw, size, form, changed=True, note=note)
    if head[:4] == b"riff":  # libsndfile takes what comes behind the samples for more of them
        return View(raw, start + told, changed=True, note=note)
    return View(raw, size, note=note)


def _form(raw: BinaryIO) -> dict[int, bytes]:
    """The name of RF64 for BW64, its successor, which libsndfile does not know: for samples they are the same."""
    raw.seek(0)
    return {0: b"RF64"} if raw.read(4) == b"BW64" else {}


def _ends_with_chunk(raw: BinaryIO, place: int, size: int) -> bool:
    """Whether what begins here is one chunk, to the end of the file."""
    raw.seek(place)
    head = raw.read(8)
    length = int.from_bytes(head[4:], "little")
    return bool(re.match(rb"[ -~]{4}", head)) and 0 <= size - (place + 8 + length) <= 1


def _is_no_chunk(raw: BinaryIO, end: int, size: int) -> bool:
    """Whether something else than chunks, or zeros, comes behind the samples."""
    raw.seek(end + end % 2)
    head = raw.read(8)
    return end + 8 < size and any(head) and not re.match(rb"[ -~]{4}", head)


def _flac(path: Path, raw: BinaryIO, head: bytes, size: int) -> View:
    """A stream that does not tell its length, which libsndfile cannot read, with that of its last frame."""
    if told_samples(head):
        return View(raw, size)
    raw.seek(max(0, size - _LARGEST_FRAME))
    samples = counted_samples(head, raw.read())
    if samples is None:
        raise DataError(
            f"{path}: stimulus does not tell its length and does not end with a whole frame (cut short while it was "
            f"written?); fetch the original file again, or write it anew: ffmpeg -i "
            + shlex.join((path.name, f"{path.stem}.wav"))
        )
    note = f"{path.name}: its header does not tell its length (written into a pipe?); its last frame does"
    return View(raw, size, {LENGTH_AT: with_samples(head, samples)}, changed=True, note=note)


def _mpeg(path: Path, raw: BinaryIO, size: int) -> View:
    """MPEG: frames are counted unless a header tells their number and the file is as long as it says."""
    with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
        stream = stream_at(data)
        if stream is None:
            return View(raw, size)
        first = stream.first
        if stream.told_frames and stream.told_bytes and ends_with_tags(data, first.place + stream.told_bytes):
            return View(raw, size)
        frames = count_frames(data, first)
        header = bytes(data[first.place : first.place + first.size])
    if stream.tag is not None:
        frames -= 1  # that of the header holds no sound
    # some encoders count the frame of the header
    if stream.told_frames and frames < stream.told_frames - _MISCOUNTED:
        told = stream.told_bytes or 0
        raise DataError(
            f"{path}: stimulus is truncated: the header promises {stream.told_frames} frames"
            + (f" in {told} bytes" if told else "")
            + f", the file has {frames} in {size - first.place}; fetch the original file again"
        )
    if first.layer != 3 or frames == stream.told_frames or frames <= 0:
        return View(raw, size)
    return _with_count(path, raw, size, stream, frames, header)


def _with_count(path: Path, raw: BinaryIO, size: int, stream: Stream, frames: int, header: bytes) -> View:
    """With a Xing header that tells the number of frames, in place of a wrong one or before the first."""
    first, count = stream.first, frames.to_bytes(4, "big")
    note = f"{path.name}: its header does not tell its length; its {frames} frames were counted"
    if stream.tag is not None and stream.told_frames is not None:
        return View(raw, size, {stream.tag + 8: count}, changed=True, note=note)
    tag = stream.tag if stream.tag is not None else first.tag
    made = bytearray(len(header))
    made[:4] = bytes([header[0], header[1] | 1, *header[2:4]])  # without a checksum
    place = tag - first.place
    made[place : place + 12] = b"Xing" + (1).to_bytes(4, "big") + count
    if place + 12 > len(header):
        return View(raw, size)
    skip = first.place + (first.size if stream.tag is not None else 0)
    return View(raw, size, before=bytes(made), skip=skip, changed=True, note=note)


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
