"""Length of a FLAC stream whose header does not tell it (one that was written into a pipe): that of its last frame."""

from __future__ import annotations

from collections.abc import Sequence

LENGTH_AT = 18
"""Byte of a .flac at which 8 begin, the last 36 bits of which are the number of samples."""

_BLOCKS = {1: 192, **{k: 144 << k for k in range(2, 6)}, **{k: 1 << k for k in range(8, 16)}}
"""Samples of a frame by their code; 6 and 7 say that they stand behind its number."""


_LONGEST_HEADER = 16
_MOST_TRIED = 32
"""Headers of frames, checked by 8 bits, behind which the file does not end: one in 256 is by chance."""


def told_samples(head: bytes) -> int:
    """Samples that the first 26 bytes of a file tell; 0 where they do not."""
    return int.from_bytes(head[LENGTH_AT : LENGTH_AT + 8], "big") & ((1 << 36) - 1)


def with_samples(head: bytes, n_samples: int) -> bytes:
    """The 8 bytes at :data:`LENGTH_AT` that tell a number of samples."""
    told = int.from_bytes(head[LENGTH_AT : LENGTH_AT + 8], "big")
    return (told >> 36 << 36 | n_samples).to_bytes(8, "big")


def counted_samples(head: bytes, tail: bytes) -> int | None:
    """Samples per channel, by the frame that ends with the file.

    Parameters
    ----------
    head : bytes
        The first 26.
    tail : bytes
        The end of the file, with a whole frame at least.

    Returns
    -------
    int or None
        None where no frame ends there: something was cut off, or comes behind.
    """
    size = int.from_bytes(head[8:10], "big")
    place, tried = len(tail), 0
    while tried < _MOST_TRIED and (place := tail.rfind(b"\xff", 0, place)) >= 0:
        end = _end_of_frame(tail[place : place + _LONGEST_HEADER], size)
        if end is not None and _crc(tail[place:], _CRC16, 16) == 0:
            return end
        tried += end is not None
    return None


def _end_of_frame(frame: bytes, size: int) -> int | None:
    """Samples to the end of a frame, or None where there is none."""
    if len(frame) < _LONGEST_HEADER or frame[1] & 0xFE != 0xF8 or frame[3] & 1:
        return None
    code, rate = frame[2] >> 4, frame[2] & 15
    # as UTF-8 writes a character: as many leading ones as bytes, if there are several
    n_more = 7 - (frame[4] ^ 0xFF).bit_length() if frame[4] & 0x80 else 0
    number = frame[4] & (0x7F >> n_more + 1 if n_more else 0x7F)
    for byte in frame[5 : 5 + n_more]:
        number = number << 6 | byte & 0x3F
    if any(byte >> 6 != 2 for byte in frame[5 : 5 + n_more]):
        return None
    place = 5 + n_more
    n_size = {6: 1, 7: 2}.get(code, 0)
    samples = int.from_bytes(frame[place : place + n_size], "big") + 1 if n_size else _BLOCKS.get(code)
    place += n_size + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if samples is None or _crc(frame[: place + 1], _CRC8, 8) != 0:
        return None
    return (number if frame[1] & 1 else number * size) + samples


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> bits - 1 else 0)) & ((1 << bits) - 1)
        table.append(value)
    return tuple(table)


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


def _crc(data: bytes, table: Sequence[int], bits: int) -> int:
    """Remainder; 0 for data with its checksum behind it."""
    value, mask = 0, (1 << bits) - 1
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> bits - 8 ^ byte]
    return value
