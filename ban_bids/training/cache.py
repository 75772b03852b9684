"""Decoded audio kept between trainings: content hashes of files, and log-mel frames in memory-mapped files.

Below the folder of the cache:

``digests.json``
    Path -> size, times of the last change of content and inode, :func:`ban_bids.audio.waveforms.audio_hash`.
``<key>/index.json``
    Content hash of a track -> place, number of frames and checksum; ``<key>`` stands for a front end.
``<key>/<name>.f16``
    The frames of all those tracks, band by band, half precision; the index names the file.

Frames belong to the content of a track, so one file serves every collection, split and fold. Processes that
write take turns; those that read need no lock, because an index is replaced in one piece, what it speaks of
is written before it, and nothing that it speaks of is ever overwritten.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ban_bids.audio.waveforms import audio_hash, check_audio
from ban_bids.errors import BanBidsError, DataError
from ban_bids.files.json import read_json, write_json
from ban_bids.files.locks import file_lock
from ban_bids.files.progress import progress
from ban_bids.models.front_end import FrontEnd

_LOG = logging.getLogger(__name__)

_VERSION = "1"
"""Of the layout and of the hash; another one starts an empty cache."""

_SETTLED = 2.0
"""Seconds since its last change after which a file's time stamps tell it from every later version."""


_ALIGNMENT = 64
"""Bytes."""

_CHUNK = 200
"""Files after which what was made is written, so that little is lost with a killed process."""


def default_folder() -> Path:
    """``BAN_BIDS_CACHE``, or ``ban-bids`` in the user's folder of caches."""
    if chosen := os.environ.get("BAN_BIDS_CACHE"):
        return Path(chosen)
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "ban-bids"
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as containers have
        return Path(tempfile.gettempdir()) / f"ban-bids-{os.getuid()}"
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "ban-bids"


class AudioCache:
    """Content hashes and log-mel frames, from disk where they are known and put there where they are not.

    A folder that cannot be written is read; what it lacks is computed each time, and a warning says so once.

    Parameters
    ----------
    folder : Path, optional
        Default: :func:`default_folder`. It may be deleted whenever nothing is training.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (default_folder() if folder is None else Path(folder)) / _VERSION
        self._warned = False

    def digests(self, files: Iterable[Path]) -> dict[Path, str | DataError]:
        """Content hash of every file, or the reason why there is none.

        Parameters
        ----------
        files : iterable of Path
            Files that are read in full, and whose samples are checked, unless they are known.

        Returns
        -------
        dict
            File -> :func:`ban_bids.audio.waveforms.audio_hash`, or the error.
        """
        known = _read_json(self.folder / "digests.json")
        result: dict[Path, str | DataError] = {}
        new: dict[str, list[Any]] = {}
        for file in progress(list(files), "reading tracks"):
            mark = _mark(file)
            entry = known.get(str(file.resolve()))
            if mark is not None and isinstance(entry, list) and entry[:-1] == mark:
                result[file] = str(entry[-1])
                continue
            result[file] = digest = _digest(file)
            if isinstance(digest, str) and mark == _mark(file) and mark is not None and _settled(mark):
                new[str(file.resolve())] = [*mark, digest]
            if len(new) == _CHUNK:
                self._write("digests", partial(_merge, self.folder / "digests.json", new))
                new = {}
        if new:
            self._write("digests", partial(_merge, self.folder / "digests.json", new))
        return result

    def frames(
        self, digests: Sequence[str], front_end: FrontEnd, make: Callable[[int], np.ndarray]
    ) -> list[np.ndarray]:
        """Log-mel frames of tracks.

        Parameters
        ----------
        digests : sequence of str
            Content hashes of the tracks.
        front_end : FrontEnd
            Whose frames they are.
        make : callable
            Makes the frames of the track at a place in ``digests``: ndarray, (n_mels, n_frames).

        Returns
        -------
        list of ndarray of float16, (n_mels, n_frames)
            Memory-mapped, read only, where they could be stored.
        """
        store = _FrameStore(self.folder / front_end_key(front_end), front_end.config.n_mels)
        found = store.read(digests)
        missing = {digest: k for k, digest in enumerate(digests) if digest not in found}
        made: dict[str, np.ndarray] = {}
        for digest, k in progress(missing.items(), "spectrograms") if missing else ():
            made[digest] = make(k).astype(np.float16)
            if len(made) == _CHUNK or len(found) + len(made) == len(set(digests)):
                self._write("frames", partial(store.add, made))
                found |= made
                found |= store.read(list(made), quiet=True)
                made = {}
        return [found[digest] for digest in digests]

    def _write(self, what: str, write: Callable[[], None]) -> None:
        """Write under the lock, or say why not and go on without."""
        try:
            with file_lock(self.folder / "lock"):
                write()
        except (OSError, BanBidsError) as err:
            if not self._warned:
                self._warned = True
                _LOG.warning(
                    "%s: %s cannot be kept (%s); decoding is repeated next time, unless BAN_BIDS_CACHE "
                    "names a folder that can be written", self.folder.parent, what, err,
                )  # fmt: skip


class _FrameStore:
    """One front end's index and the file it names."""

    def __init__(self, folder: Path, n_mels: int) -> None:
        self.folder = folder
        self.n_mels = n_mels
        self._damaged: set[str] = set()

    def read(self, digests: Iterable[str], *, quiet: bool = False) -> dict[str, np.ndarray]:
        """Frames of those tracks that are there undamaged."""
        index = _read_json(self.folder / "index.json")
        wanted = [digest for digest in digests if digest in index.get("tracks", {})]
        if not wanted:
            return {}
        try:
            data = np.memmap(self.folder / index["file"], dtype=np.float16, mode="r")
            return {digest: self._checked(data, index["tracks"][digest]) for digest in wanted}
        except (OSError, KeyError, ValueError, TypeError) as err:
            self._damaged.add(str(index.get("file")))
            if not quiet:
                _LOG.warning("%s: damaged (%s); its frames are made anew", self.folder, err)
            return {}

    def add(self, made: Mapping[str, np.ndarray]) -> None:
        """Put frames behind what is there, or into a new file where that is damaged."""
        self.folder.mkdir(exist_ok=True)
        index = _read_json(self.folder / "index.json")
        old = index.get("file")
        if not self._usable(index):
            # others may still have the old file mapped: it is never changed, only removed
            index = {"file": f"{uuid.uuid4().hex}.f16", "tracks": {}}
        tracks = dict(index["tracks"])
        with (self.folder / index["file"]).open("ab") as file:
            for digest, frames in made.items():
                if digest not in tracks:
                    # also past what a killed process left half written
                    file.write(b"\0" * (-file.tell() % _ALIGNMENT))
                    tracks[digest] = [file.tell() // 2, frames.shape[1], zlib.crc32(frames.tobytes())]
                    file.write(frames.tobytes())
            file.flush()
            os.fsync(file.fileno())
        write_json(self.folder / "index.json", {"file": index["file"], "tracks": tracks})
        if old and old != index["file"]:
            (self.folder / old).unlink(missing_ok=True)

    def _usable(self, index: Mapping[str, Any]) -> bool:
        """Whether frames may be put behind those of an index; checksums are seen to in reading."""
        try:
            if index["file"] in self._damaged:
                return False
            end = max((start + self.n_mels * n for start, n, _ in index["tracks"].values()), default=0)
            return (self.folder / index["file"]).stat().st_size >= 2 * end
        except (OSError, KeyError, ValueError, TypeError, AttributeError):
            return False  # read has said what is wrong

    def _checked(self, data: np.ndarray, entry: Sequence[int]) -> np.ndarray:
        start, n_frames, checksum = entry
        part = data[start : start + self.n_mels * n_frames]
        if part.size != self.n_mels * n_frames or zlib.crc32(part.tobytes()) != checksum:
            raise ValueError("a checksum differs")
        return part.reshape(self.n_mels, n_frames)


def front_end_key(front_end: FrontEnd) -> str:
    """Name of a front end's frames: its settings, and what it makes of a probe.

    The probe, half a second of noise, tells apart versions of the code. Its log power is rounded to tenths,
    so that the last bits, which differ between processors, do not.
    """
    probe = np.random.default_rng(0).normal(0, 0.1, front_end.config.sampling_rate // 2).astype(np.float32)
    device = front_end.window.device
    with torch.no_grad():
        heard = front_end.log_mel(torch.from_numpy(probe)[None].to(device))[0].cpu().numpy()
    settings = json.dumps([asdict(front_end.config), front_end.block], sort_keys=True)
    return hashlib.sha256(settings.encode() + np.rint(10 * heard).astype(np.int16).tobytes()).hexdigest()[:16]


def _digest(file: Path) -> str | DataError:
    try:
        check_audio(file)
        return audio_hash(file)
    except DataError as err:
        return err


def _mark(file: Path) -> list[int] | None:
    """By what a file is known again; tracks of one archive often share size and mtime, hence the third."""
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _settled(mark: Sequence[int]) -> bool:
    return time.time() - max(mark[1:]) / 1e9 > _SETTLED


def _merge(path: Path, new: Mapping[str, Any]) -> None:
    write_json(path, {**_read_json(path), **new})


def _read_json(path: Path) -> dict[str, Any]:
    """A file's object; empty where there is none, and, logged, where it is damaged."""
    try:
        return read_json(path, remedy="made anew") if path.exists() else {}
    except (OSError, DataError) as err:
        _LOG.warning("%s", err)
        return {}
