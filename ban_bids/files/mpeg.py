"""Frames of MPEG audio (.mp3, .mp2), counted: an estimate from the first one's bitrate is wrong where that varies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

_BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s by (version, layer); version 2 is MPEG-2 and 2.5."""

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"3DI")
_SEARCHED = 1 << 16
_MOST_TRIED = 10**6
"""False beginnings of frames after which a file is none of MPEG."""


@dataclass(frozen=True)
class Frame:
    """One header.

    Parameters
    ----------
    place, size : int
        First byte of the frame in the file, and how many it has.
    version, layer : int
        1 or 2 (also for MPEG-2.5); 1 to 3.
    rate, channels, samples : int
        Hz; samples per channel that the frame decodes to.
    """

    place: int
    size: int
    version: int
    layer: int
    rate: int
    channels: int
    samples: int

    @property
    def tag(self) -> int:
        """Where a Xing header would stand in a frame of layer 3."""
        side = {(1, 2): 32, (1, 1): 17, (2, 2): 17, (2, 1): 9}[self.version, self.channels]
        return self.place + 4 + side


@dataclass(frozen=True)
class Stream:
    """What an MPEG file holds.

    Parameters
    ----------
    first : Frame
        That of the header of Xing or LAME, where there is one.
    tag : int or None
        Place of that header.
    told_frames, told_bytes : int or None
        What it says.
    """

    first: Frame
    tag: int | None = None
    told_frames: int | None = None
    told_bytes: int | None = None


def frame_at(data: bytes | memoryview, place: int) -> Frame | None:
    """Frame whose header stands at a byte, or None where there is no valid one."""
    head = bytes(data[place : place + 4])
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    generation, hz = (1 if version == 3 else 2), _RATES[version][rate]
    bits = 1000 * _BITRATES[generation, layer][bitrate - 1]
    if layer == 1:
        samples, size = 384, (12 * bits // hz + padding) * 4
    else:
        samples = 576 if (generation, layer) == (2, 3) else 1152
        size = samples // 8 * bits // hz + padding
    return Frame(place, size, generation, layer, hz, 1 if head[3] >> 6 == 3 else 2, samples)


def stream_at(data: bytes | memoryview) -> Stream | None:
    """Find the first frame behind ID3 tags, and what a header of Xing or LAME in it says; None where there is none."""
    place = _behind_tags(data)
    for first in range(place, min(place + _SEARCHED, len(data))):
        frame = frame_at(data, first) if data[first] == 0xFF else None
        if frame is None or not _follows(data, frame):
            continue
        second = frame_at(data, first + frame.size)
        if second is not None and not _follows(data, second):  # two headers in a row may be chance
            continue
        if frame.layer != 3 or bytes(data[frame.tag : frame.tag + 4]) not in (b"Xing", b"Info"):
            return Stream(frame)
        flags = _number(data, frame.tag + 4)
        told = iter(range(frame.tag + 8, frame.tag + 16, 4))
        frames = _number(data, next(told)) if flags & 1 else None
        size = _number(data, next(told)) if flags & 2 else None
        return Stream(frame, frame.tag, frames, size)
    return None


def ends_with_tags(data: bytes | memoryview, end: int) -> bool:
    """Whether nothing but tags, or zeros, stands behind a byte."""
    rest = bytes(data[end : end + 16])
    return end == len(data) or (end < len(data) and (rest.startswith(_TAGS) or not any(rest)))


def count_frames(data: bytes | memoryview, first: Frame) -> int:
    """Walk from header to header.

    Parameters
    ----------
    data : bytes-like
        The whole file.
    first : Frame
        Where to begin; it counts.

    Returns
    -------
    int
        Whole frames of the first one's kind; damaged stretches between them are passed over, as a decoder does.
    """
    return sum(frame.place + frame.size <= len(data) for frame in _walk(data, first))


def _walk(data: bytes | memoryview, first: Frame) -> Iterator[Frame]:
    kind = (first.version, first.layer, first.rate)
    place = first.place
    while place + 4 <= len(data):
        frame = frame_at(data, place)
        if frame is not None and (frame.version, frame.layer, frame.rate) == kind:
            yield frame
            place += frame.size
            continue
        found = _next(data, place, kind)
        if found is None:
            return
        place = found


def _next(data: bytes | memoryview, place: int, kind: tuple[int, int, int]) -> int | None:
    """Place of the next two frames of this kind in a row, behind something else."""
    header = _headers(kind)
    for _ in range(_MOST_TRIED):
        # a regular expression passes over megabytes of something else in no time
        found = header.search(data, place, max(place, len(data) - 1))
        if found is None:
            return None
        place = found.start()
        frame = frame_at(data, place)
        if frame is not None and _follows(data, frame):
            return place
        place += 1
    return None


@cache
def _headers(kind: tuple[int, int, int]) -> re.Pattern[bytes]:
    """What the first three bytes of frames of a kind are."""
    fitting = [
        (second, third)
        for second in range(256)
        for third in range(256)
        if (frame := frame_at(bytes([0xFF, second, third, 0]), 0)) is not None
        and (frame.version, frame.layer, frame.rate) == kind
    ]
    classes = (re.escape(bytes(sorted(set(values)))) for values in zip(*fitting))
    return re.compile(b"\xff" + b"".join(b"[" + each + b"]" for each in classes))


def _follows(data: bytes | memoryview, frame: Frame) -> bool:
    """Whether the file, or tags, or a frame of the same kind come behind a frame."""
    end = frame.place + frame.size
    after = frame_at(data, end)
    if after is None:
        return end >= len(data) or ends_with_tags(data, end)
    return (after.version, after.layer, after.rate) == (frame.version, frame.layer, frame.rate)


def _behind_tags(data: bytes | memoryview) -> int:
    """First byte behind ID3v2 tags."""
    place = 0
    while bytes(data[place : place + 3]) == b"ID3" and len(data) >= place + 10:
        size = 0
        for byte in data[place + 6 : place + 10]:
            size = size << 7 | byte & 0x7F
        footer = 10 if data[place + 5] & 0x10 else 0
        place += 10 + size + footer
    return place


def _number(data: bytes | memoryview, place: int) -> int:
    return int.from_bytes(data[place : place + 4], "big")
