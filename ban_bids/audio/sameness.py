"""Whether two recordings hold the same passage, decided by their sound, whatever their names and formats.

A recording's *fingerprint* says, ten times a second and in 16 neighbouring pairs of bands between 250 and 3500 Hz,
whether the level of the one band rose clearly against that of the other, fell, or did neither: the differences over
time and band of Haitsma and Kalker (2002, "A highly robust audio fingerprinting system", ISMIR), in three steps
instead of two and on a coarse grid. It follows neither level nor stationary filtering, sampling rate or codec. Four
bytes a frame, signs of differences over 0.3 s, hold nothing from which sound could be rebuilt.

Two fingerprints are compared at every lag and at three speeds. Where they overlap, with n cells that are not zero
(geometric mean of both), their normalised correlation r has to reach 0.4 + 2.5/√n. ``benchmarks/sameness.py`` has hits
and false alarms.

Sounds that change too little or are too short for 100 such cells (tones, steady noise, silence, most sounds under 2 s)
have no telling fingerprint: they are the same where all decoded samples are equal.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ban_bids.audio.waveforms import audio_hash, decoded

_VERSION = "1"
_HOP, _WINDOW = 0.1, 0.4
"""Seconds between frames, and that a frame lasts: half a frame of misalignment costs little."""
_EDGES = np.geomspace(250.0, 3500.0, 18)
"""Hz; what telephones, 8 kHz and codecs keep. A speed of 1 % moves nothing by more than a fifteenth of a band."""
_BACK = 3
"""Frames over which levels rise or fall."""
_CLEAR = 0.7
"""Change of the natural logarithm of a power ratio (3 dB) that is no longer zero."""
_NEAR, _FAR = 1e-4, 1e-6
"""Floors of a band's power, relative to that of the second around it and of the whole recording."""
_CELLS = 100
_CORRELATION, _SPREAD = 0.4, 2.5
_SPEEDS = (0.993, 1.0, 1.007)
_BLOCK = 320
"""Frames that are compared at once, 32 s: longer ones would run apart at another speed. Blocks overlap by half."""
_LAGS = 2 * _BLOCK
_SETTLED = 2.0
"""Seconds since its last change after which a file's times tell it from every later version."""
_BATCH, _ROWS = 256, 24
"""Frames and references, and queries, that are worked on at once."""


@dataclass(frozen=True)
class Fingerprint:
    """What a recording is known by.

    Parameters
    ----------
    packed : bytes
        Four a frame: which of 16 differences rose, then which fell.
    """

    packed: bytes = b""

    @property
    def cells(self) -> np.ndarray:
        """Float32, (n_frames, 16): 1 where the level of a band rose against that of the next one, -1 where it fell."""
        bits = np.unpackbits(np.frombuffer(self.packed, np.uint8).reshape(-1, 4), axis=1).astype(np.float32)
        return bits[:, :16] - bits[:, 16:]

    @property
    def is_telling(self) -> bool:
        """Whether there is enough in it to be told from others; else decoded samples decide."""
        return int.from_bytes(self.packed).bit_count() >= _CELLS

    def __str__(self) -> str:
        """Text for a card: version and base64."""
        return f"{_VERSION}:{base64.b64encode(self.packed).decode('ascii')}"

    @classmethod
    def of(cls, text: str) -> Self:
        """Back from text; ValueError where it is none, or of another version."""
        version, _, packed = text.partition(":")
        try:
            frames = base64.b64decode(packed, validate=True)
        except binascii.Error as err:
            raise ValueError(f"not a fingerprint: {text[:20]!r}") from err
        if version != _VERSION or len(frames) % 4:
            raise ValueError(f"a fingerprint of version {version!r}, not {_VERSION!r}")
        return cls(frames)


@dataclass(frozen=True)
class Identity:
    """By what a recording is known again.

    Parameters
    ----------
    digest : str
        :func:`ban_bids.audio.waveforms.audio_hash`.
    fingerprint : Fingerprint
    """

    digest: str
    fingerprint: Fingerprint


def fingerprint(waveform: np.ndarray, sampling_rate: int) -> Fingerprint:
    """Fingerprint of a mono waveform.

    Parameters
    ----------
    waveform : ndarray, (n_samples,)
    sampling_rate : int
        Hz; 7 kHz or more, or the upper bands stay empty.

    Returns
    -------
    Fingerprint
        Of (seconds − 0.4)/0.1 − 2 frames; empty for what is shorter or silent.
    """
    peak = float(max(waveform.max(initial=0.0), -waveform.min(initial=0.0)))
    width = round(_WINDOW * sampling_rate)
    n_frames = int((len(waveform) - width) / (_HOP * sampling_rate)) + 1
    if peak == 0.0 or len(waveform) < width or n_frames <= _BACK:
        return Fingerprint()
    sound = torch.from_numpy(np.asarray(waveform, np.float32))
    window = torch.hann_window(width)
    frequency = np.arange(width // 2 + 1) * sampling_rate / width
    within = (frequency[:, None] >= _EDGES[:-1]) & (frequency[:, None] < _EDGES[1:])
    bands = torch.from_numpy(within.astype(np.float32))
    starts = torch.from_numpy(np.round(np.arange(n_frames) * _HOP * sampling_rate).astype(np.int64))
    parts = (sound[first[:, None] + torch.arange(width)] / peak * window for first in starts.split(_BATCH))
    power = torch.cat([torch.fft.rfft(part).abs().square() @ bands for part in parts]).double().numpy()
    mean = power.mean(axis=1)
    floor = _NEAR * uniform_filter1d(mean, 9, mode="nearest") + _FAR * mean.mean() + 1e-30
    level = np.log(power + floor[:, None])
    change = np.diff(level[_BACK:] - level[:-_BACK], axis=1)
    return Fingerprint(np.packbits(np.hstack([change > _CLEAR, change < -_CLEAR]), axis=1).tobytes())


def identify(path: Path) -> Identity:
    """Hash and fingerprint of a file; kept for the rest of the process until the file changes.

    Raises
    ------
    DataError
        When it cannot be decoded.
    """
    path = Path(path)
    try:
        status = path.stat()
    except OSError:
        return _identified.__wrapped__(path, ())  # it says what is wrong
    # a file that changed just now may change again within the resolution of its times: these are used once
    fresh = time.time() - max(status.st_mtime, status.st_ctime) < _SETTLED
    stamps = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, time.monotonic_ns() if fresh else 0)
    return _identified(path.resolve(), stamps)


@lru_cache(maxsize=1 << 16)
def _identified(path: Path, _stamps: tuple[int, ...]) -> Identity:
    return Identity(audio_hash(path), fingerprint(*decoded(path)))


def same(one: Identity, other: Identity) -> bool:
    """Whether two recordings are equal sample for sample or hold the same passage."""
    return one.digest == other.digest or bool(Index([one.fingerprint]).matches([other.fingerprint]))


def groups(identities: Sequence[Identity], links: Iterable[tuple[int, int]] = ()) -> list[int]:
    """Groups of recordings that are the same, directly or through others.

    Parameters
    ----------
    identities : sequence of Identity
    links : iterable of (int, int)
        Places of recordings that are known to be the same.

    Returns
    -------
    list of int
        For each, the place of the first of its group.
    """
    first_with: dict[str, int] = {}
    pairs = [*links]
    pairs += [(k, first_with.setdefault(identity.digest, k)) for k, identity in enumerate(identities)]
    distinct = sorted(first_with.values())
    index = Index([identities[k].fingerprint for k in distinct])
    pairs += [(distinct[a], distinct[b]) for a, b in index.pairs()]
    # 32 bits: with 64 older versions of scipy print an error and return labels all the same, any
    ends = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    graph = coo_array((np.ones(ends.shape[1], bool), tuple(ends)), shape=(len(identities),) * 2)
    labels = connected_components(graph, directed=False)[1]
    firsts = {label: k for k, label in reversed(list(enumerate(labels)))}
    return [firsts[label] for label in labels]


def recordings(paths: Sequence[Path]) -> dict[Path, Path]:
    """Which files are the same recording.

    Parameters
    ----------
    paths : sequence of Path

    Returns
    -------
    dict of Path to Path
        Each file -> the first (in the order of names) of those that are the same recording, directly or through others.

    Raises
    ------
    DataError
        When one cannot be decoded.
    """
    files = sorted(set(paths))
    return {file: files[first] for file, first in zip(files, groups([identify(file) for file in files]), strict=True)}


class Index:
    """Fingerprints in which others are looked up.

    Parameters
    ----------
    fingerprints : sequence of Fingerprint
        Those that are not telling are never found.
    """

    def __init__(self, fingerprints: Sequence[Fingerprint]) -> None:
        self.fingerprints = tuple(fingerprints)

    def matches(self, queries: Sequence[Fingerprint]) -> list[tuple[int, int]]:
        """Pairs (place in ``queries``, place in the index) of fingerprints that hold the same passage; sorted."""
        return list(_matching(tuple(queries), self.fingerprints))

    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of places in the index that hold the same passage, the smaller place first; sorted."""
        return list(_matching(self.fingerprints, None))


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Stretches of fingerprints at one or several speeds: cells (n, frames, 16) padded by zeros, lengths and owners."""

    cells: Tensor
    length: Tensor
    owner: Tensor

    @classmethod
    def of(cls, fingerprints: Sequence[Fingerprint], speeds: Sequence[float]) -> Self:
        """Cut; blocks of one fingerprint follow each other."""
        cut: list[tuple[int, np.ndarray]] = []
        for k, one in enumerate(fingerprints):
            cells = one.cells if one.is_telling else np.zeros((0, 16), np.float32)
            for speed in speeds:
                frames = np.rint(np.arange(int(len(cells) / speed)) * speed).astype(int).clip(max=len(cells) - 1)
                starts = range(0, max(1, len(frames) - _BLOCK // 2), _BLOCK // 2) if len(frames) else ()
                cut += [(k, cells[frames[start : start + _BLOCK]]) for start in starts]
        padded = np.zeros((len(cut), _BLOCK, 16), np.float32)
        for row, (_, block) in zip(padded, cut):
            row[: len(block)] = block
        return cls(
            torch.from_numpy(padded),
            torch.tensor([len(block) for _, block in cut], dtype=torch.long),
            torch.tensor([k for k, _ in cut], dtype=torch.long),
        )

    def parts(self, size: int) -> list[_Blocks]:
        """So many blocks at once."""
        parts = zip(*(x.split(size) for x in (self.cells, self.length, self.owner)))
        return [_Blocks(*part) for part in parts] if len(self.owner) else []

    def until(self) -> Tensor:
        """Cells that are not zero before each frame, (frames + 1, n)."""
        return torch.nn.functional.pad(self.cells.abs().sum(dim=2).cumsum(dim=1), (1, 0)).T.contiguous()


@lru_cache(maxsize=8)  # every model of a comparison asks the same
def _matching(
    queries: tuple[Fingerprint, ...], references: tuple[Fingerprint, ...] | None
) -> tuple[tuple[int, int], ...]:
    """Sorted pairs of places that match; without references those of the queries with later ones."""
    found: set[tuple[int, int]] = set()
    parts = _Blocks.of(queries, _SPEEDS).parts(_ROWS)
    for those in _Blocks.of(queries if references is None else references, (1.0,)).parts(_BATCH):
        spectra = torch.fft.rfft(those.cells, _LAGS, dim=1).permute(1, 2, 0).contiguous()
        for these in parts:
            if references is not None or these.owner[0] < those.owner[-1]:
                agree = _agreement(these, those, spectra).nonzero()
                found.update(zip(these.owner[agree[:, 0]].tolist(), those.owner[agree[:, 1]].tolist()))
    return tuple(sorted((a, b) for a, b in found if references is not None or a < b))


def _agreement(these: _Blocks, those: _Blocks, spectra: Tensor) -> Tensor:
    """Whether blocks agree at any lag, (n_these, n_those)."""
    product, n = _products(these, those, spectra)
    return ((n >= _CELLS) & (product >= _CORRELATION * n + _SPREAD * n.sqrt())).any(dim=0)


def _products(these: _Blocks, those: _Blocks, spectra: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of products of cells, and their number n, where blocks overlap, each (lags, n_these, n_those).

    ``spectra`` are those of the latter, (frequencies, 16, n).
    """
    own = torch.fft.rfft(these.cells, _LAGS, dim=1).conj().permute(1, 0, 2).contiguous()
    product = torch.fft.irfft(own @ spectra, _LAGS, dim=0)  # (lags, n_these, n_those)
    lag = torch.arange(_LAGS)
    lag = torch.where(lag < _BLOCK, lag, lag - _LAGS)[:, None]  # of the latter against the former
    a, b = these.until(), those.until()
    n_there = b[(lag + these.length).clamp(0, _BLOCK)] - b[lag.clamp(min=0)]
    n_here = a[(those.length - lag).clamp(0, _BLOCK)] - a[(-lag).clamp(min=0)]
    return product, n_there.mul_(n_here.transpose(1, 2)).sqrt_()
