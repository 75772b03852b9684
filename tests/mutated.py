"""Damaged files for fuzzing: real ones with bytes set, cut, put in, doubled, left out or moved."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from ban_bids.errors import BanBidsError

_MORE = int(os.environ.get("BAN_BIDS_FUZZ", "1"))
"""Times as many cases, and other ones at each call."""
_MEMORY = 2**30
_SECONDS = 5

_WORDS = (
    b"\0", b"\xff", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0" * 64, b"\t", b"\n", b"\r", b'"',
    b"'",
    b"[", b"]", b"{", b"}", b"[" * 2000, b"9" * 5000, b"1e999", b"NaN", b"null", b"true", b"-1", b"\xef\xbb\xbf",
    b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b[2J", b"..", b"/", b"a." * 200, b"= ", b"\n[[rule]]\n",
    b"&a [*a]", b": ", b"- ", b"!!timestamp ", b"{x:099d}", b"n/a", b"0x", b"\\u0000", b"\\ud800",
)  # fmt: skip
_STEPS = ("set", "cut", "insert", "double", "leave out", "move", "flip")


def fuzzed(cases: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Settings of a fuzzing test: its number of cases; each within 5 s."""
    return settings(
        max_examples=cases * _MORE,
        deadline=timedelta(seconds=_SECONDS),
        derandomize=_MORE == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def damaged(originals: Sequence[bytes], words: Sequence[bytes] = _WORDS) -> st.SearchStrategy[bytes]:
    """One of some files after one to four changes."""
    piece = st.one_of(st.sampled_from(words), st.binary(min_size=1, max_size=8))
    # near the beginning, where headers are, as often as anywhere
    place = st.one_of(st.integers(0, 400), st.integers(0, 2**16))
    change = st.tuples(st.sampled_from(_STEPS), place, piece)
    return st.builds(_changed, st.sampled_from(list(originals)), st.lists(change, min_size=1, max_size=4))


def _changed(raw: bytes, changes: Sequence[tuple[str, int, bytes]]) -> bytes:
    for step, place, piece in changes:
        at, n = place % (len(raw) + 1), len(piece)
        raw = {
            "set": raw[:at] + piece + raw[at + n :],
            "cut": raw[:at],
            "insert": raw[:at] + piece + raw[at:],
            "double": raw[:at] + raw[max(0, at - 10 * n) :],
            "leave out": raw[:at] + raw[at + n :],
            "move": raw[at:] + raw[:at],
            "flip": raw[:at] + bytes(byte ^ 1 << (n % 8) for byte in raw[at : at + 1]) + raw[at + 1 :],
        }[step]
    return raw


def real(pattern: str, most: int = 3) -> tuple[bytes, ...]:
    """Content of some small files of the real data, where these are."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BAN_BIDS_TEST_DATA", default))
    small = (path for path in sorted(folder.glob(pattern)) if path.stat().st_size < 2**16)
    return tuple(path.read_bytes() for path in islice(small, most))


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Of what cases ask for, 1 GiB is given."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def told(read: Callable[[], Any]) -> Any:
    """What was read, or None where it was refused in one line of ours; anything else is the caller's failure."""
    try:
        return read()
    except BanBidsError as error:
        text = str(error)
        assert text and "\n" not in text and len(text) <= 4000, text
        return None
