"""Sound in containers of chunks (.wav, .aiff, .au and the like): how many bytes of samples are told, and are there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_BEHIND_ODD = (b"data", b"fmt ", b"fact", b"LIST")
"""Chunks that are looked for where the byte should be that makes one of an odd size even: some programs forget it."""
_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"


@dataclass(frozen=True)
class Payload:
    """The bytes of samples in a file.

    Parameters
    ----------
    start : int
        First byte.
    told : int or None
        How many the container says there are; None where it says that it does not know.
    size_at : int
        Place of the number that says so.
    size_bytes, byteorder
        How that is written.
    """

    start: int
    told: int | None
    size_at: int
    size_bytes: int = 4
    byteorder: str = "little"

    def size(self, n_bytes: int) -> bytes:
        """Another number as it would be written."""
        return n_bytes.to_bytes(self.size_bytes, "big" if self.byteorder == "big" else "little")


def unknown_size(size: int) -> bool:
    """Whether a 32-bit size is what programs write into pipes, or before they know it.

    0 and 0xffffffff; SoX, espeak and arecord take the largest that is even or a power of two (0x7ffff000,
    0x80000000), others count the header in (0xffffffff − 36).
    """
    return size == 0 or 0x7FFFF000 <= size <= 0x80000024 or size >= 0xFFFF0000


def payload(stream: BinaryIO, file_size: int) -> Payload | None:
    """Find the samples; None in other files than RIFF, RF64, W64, AIFF and AU, or where there are none."""
    stream.seek(0)
    head = stream.read(40)
    form = head[8:12]
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and form == b"WAVE":
        return _riff(stream, file_size)
    if head[:4] == b"RIFX" and form == b"WAVE":
        return _chunked(stream, file_size, b"data", 0, "big")
    if head[:4] == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _chunked(stream, file_size, b"SSND", 8, "big")
    if head[:16] == _W64_RIFF:
        return _w64(stream, file_size)
    if head[:4] == b".snd" and len(head) >= 24:
        start, size = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
        return Payload(start, None if unknown_size(size) else size, 8, byteorder="big")
    return None


def _chunks(stream: BinaryIO, file_size: int, byteorder: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and size of the chunks of a RIFF or IFF file."""
    place = 12
    while place + 8 <= file_size:
        stream.seek(place)
        head = stream.read(8)
        size = int.from_bytes(head[4:], "big" if byteorder == "big" else "little")
        yield head[:4], place + 8, size
        place += 8 + size
        if size % 2:
            stream.seek(place)
            place += stream.read(4) not in _BEHIND_ODD


def even_header(stream: BinaryIO, file_size: int, n_bytes: int) -> bytes | None:
    """The shortest header for samples of a .wav that has a chunk of an odd size without the byte that makes it even.

    Parameters
    ----------
    stream : binary file
    file_size : int
    n_bytes : int
        Of the samples.

    Returns
    -------
    bytes or None
        All that comes before the samples; None where every chunk begins at an even place.
    """
    form, odd = b"", False
    for name, start, size in _chunks(stream, file_size, "little"):
        odd = odd or start % 2 == 1
        if name == b"fmt ":
            stream.seek(start)
            form = stream.read(size)
        if name == b"data":
            break
    if not odd or not form:
        return None
    body = b"WAVEfmt " + len(form).to_bytes(4, "little") + form + bytes(len(form) % 2)
    body += b"data" + n_bytes.to_bytes(4, "little")
    return b"RIFF" + (len(body) + n_bytes).to_bytes(4, "little") + body


def _chunked(stream: BinaryIO, file_size: int, wanted: bytes, inner: int, byteorder: str) -> Payload | None:
    """Samples of a chunk, which begins with so many bytes of something else."""
    for name, start, size in _chunks(stream, file_size, byteorder):
        if name == wanted:
            told = None if unknown_size(size) else max(0, size - inner)
            return Payload(start + inner, told, start - 4, byteorder=byteorder)
    return None


def _riff(stream: BinaryIO, file_size: int) -> Payload | None:
    found = _chunked(stream, file_size, b"data", 0, "little")
    if found is None or found.told is not None:
        return found
    for name, start, _ in _chunks(stream, file_size, "little"):
        if name == b"ds64":  # of RF64: 64-bit sizes, that of the samples is the second
            stream.seek(start + 8)
            size = int.from_bytes(stream.read(8), "little")
            return Payload(found.start, size if 0 < size < 1 << 62 else None, start + 8, 8)
    return found


def _w64(stream: BinaryIO, file_size: int) -> Payload | None:
    """Sony's: names of 16 bytes, sizes of 8 that count themselves, everything on multiples of 8."""
    place = 40
    while place + 24 <= file_size:
        stream.seek(place)
        head = stream.read(24)
        size = int.from_bytes(head[16:], "little")
        if head[:16] == _W64_DATA:
            told = size - 24 if 24 < size < 1 << 62 else None
            return Payload(place + 24, told, place + 16, 8)
        if size < 24:
            return None
        place += size + -size % 8
    return None
