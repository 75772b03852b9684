"""Decoded audio kept between trainings: hashes and fingerprints of files, and log-mel frames, memory-mapped.

Below the folder of the cache, one file per audio file and per track:

``identities/<key>``
    :func:`ban_bids.audio.sameness.identify` of an audio file; ``<key>`` stands for its path, size and times of the
    last change of content and inode, so a file that has changed is another one.
``groups/<key>``
    :func:`ban_bids.audio.sameness.groups` of recordings; ``<key>`` stands for their hashes.
``<front end>/<content hash>-<checksum>.npy``
    Log-mel frames of a track in half precision. They belong to the track's content, so they serve every
    collection, split and fold. The checksum is of the samples in the file.

Every file is written whole or not at all and is never changed afterwards, so no process waits for another; those
that make the same frames at the same time write the same file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ban_bids.audio.sameness import Fingerprint, Identity, groups, identify
from ban_bids.audio.waveforms import check_audio
from ban_bids.errors import DataError, DiskFull, UsageError
from ban_bids.files.atomic import atomic_path, write_text
from ban_bids.files.hashing import json_digest
from ban_bids.files.progress import progress
from ban_bids.models.front_end import FrontEnd

_LOG = logging.getLogger(__name__)

_VERSION = "3"
"""Of the layout, hash and fingerprint; another one starts an empty cache."""

_SETTLED = 2.0
"""Seconds since its last change after which a file's time stamps tell it from every later version."""

_IDENTITY = re.compile(r"([0-9a-f]{64}) (\S+)")


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
    """Identities and log-mel frames of tracks, from disk where they are known and put there where they are not.

    A folder that cannot be written is read; what it lacks is computed each time, and a warning says so once.

    Parameters
    ----------
    folder : Path, optional
        Default: :func:`default_folder`. It may be deleted whenever nothing is training.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (default_folder() if folder is None else Path(folder)) / _VERSION
        self._warned = False

    def identities(self, files: Iterable[Path]) -> dict[Path, Identity | DataError]:
        """Hash and fingerprint of every file, or the reason why there are none.

        Parameters
        ----------
        files : iterable of Path
            Files that are read in full, and whose samples are checked, unless they are known.

        Returns
        -------
        dict
            File -> :func:`ban_bids.audio.sameness.identify`, or the error.
        """
        return {file: self._identity(file) for file in progress(list(files), "reading tracks")}

    def groups(self, identities: Sequence[Identity], links: Sequence[tuple[int, int]]) -> list[int]:
        """:func:`ban_bids.audio.sameness.groups`, which takes a minute for GTZAN and the stimuli of a dataset."""
        key = json_digest([[identity.digest for identity in identities], links])
        entry = self.folder / "groups" / key
        if (known := _known_groups(entry, len(identities))) is not None:
            return known
        made = groups(identities, links)
        with self._writing("groups of recordings"):
            write_text(entry, " ".join(map(str, made)))
        return made

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
        folder = self.folder / front_end_key(front_end)
        stored = {file.name.partition("-")[0]: file for file in folder.glob("*.npy")}
        known = {digest: _undamaged(stored[digest]) for digest in set(digests) & set(stored)}
        frames = {digest: array for digest, array in known.items() if array is not None}
        missing = {digest: k for k, digest in enumerate(digests) if digest not in frames}
        for digest, k in progress(missing.items(), "spectrograms") if missing else ():
            frames[digest] = self._stored(folder, digest, make(k).astype(np.float16))
        return [frames[digest] for digest in digests]

    def _identity(self, file: Path) -> Identity | DataError:
        stamps = _stamps(file)
        entry = self.folder / "identities" / hashlib.sha256(f"{file.resolve()} {stamps}".encode()).hexdigest()
        if stamps is not None and (known := _known_identity(entry)) is not None:
            return known
        try:
            check_audio(file)
            identity = identify(file)
        except DataError as err:
            return err
        if stamps is not None and stamps == _stamps(file) and time.time() - max(stamps[1:]) / 1e9 > _SETTLED:
            with self._writing("hashes and fingerprints"):
                write_text(entry, f"{identity.digest} {identity.fingerprint}")
        return identity

    def _stored(self, folder: Path, digest: str, frames: np.ndarray) -> np.ndarray:
        """The frames as they lie in their new file, or in memory where it cannot be written."""
        path = folder / f"{digest}-{_checksum(frames)}.npy"
        with self._writing("frames"):
            with atomic_path(path) as temporary:
                np.save(temporary, np.ascontiguousarray(frames))
            return _mapped(path)
        return frames

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """Say why something cannot be written, and go on without."""
        try:
            yield
        except (OSError, UsageError, DiskFull) as err:
            if not self._warned:
                self._warned = True
                remedy = "decoding is repeated next time, unless BAN_BIDS_CACHE names a folder that can be written"
                _LOG.warning("%s: %s cannot be kept (%s); %s", self.folder.parent, what, err, remedy)


def front_end_key(front_end: FrontEnd) -> str:
    """Name of a front end's frames: its settings, and what it makes of a probe.

    The probe, half a second of noise, tells apart versions of the code. Its log power is rounded to tenths,
    so that the last bits, which differ between processors, do not.
    """
    probe = np.random.default_rng(0).normal(0, 0.1, front_end.config.sampling_rate // 2).astype(np.float32)
    device = front_end.window.device
    with torch.no_grad():
        log_mel = front_end.log_mel(torch.from_numpy(probe)[None].to(device))[0].cpu().numpy()
    settings = json.dumps([asdict(front_end.config), front_end.block], sort_keys=True)
    return hashlib.sha256(settings.encode() + np.rint(10 * log_mel).astype(np.int16).tobytes()).hexdigest()[:16]


def _checksum(frames: np.ndarray) -> str:
    return f"{zlib.crc32(frames.tobytes()):08x}"


def _mapped(path: Path) -> np.ndarray:
    """Array of an .npy file, memory-mapped by torch: numpy would keep the files of all tracks open at once."""
    stored = np.load(path, mmap_mode="r")
    content = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8).numpy()
    array = content[stored.offset :].view(stored.dtype).reshape(stored.shape)
    array.flags.writeable = False
    return array


def _undamaged(path: Path) -> np.ndarray | None:
    """Frames of a file, memory-mapped; None, logged and the file removed, where it is damaged."""
    try:
        frames = _mapped(path)
        if frames.dtype != np.float16 or _checksum(frames) != path.stem.partition("-")[2]:
            raise ValueError("its checksum differs")
    except (OSError, EOFError, ValueError, TypeError, RuntimeError) as err:
        _LOG.warning("%s: damaged (%s); made anew", path, err)
        with suppress(OSError):
            path.unlink()
        return None
    return frames


def _known_identity(entry: Path) -> Identity | None:
    try:
        text = entry.read_bytes().decode("ascii", "replace")
        if parts := _IDENTITY.fullmatch(text):
            return Identity(parts[1], Fingerprint.of(parts[2]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        text = str(err)
    _LOG.warning("%s: cannot be read (%.40s); made anew", entry, text or "empty")
    return None


def _known_groups(entry: Path, n: int) -> list[int] | None:
    try:
        known = [int(word) for word in entry.read_text("ascii").split()]
        if len(known) == n and all(0 <= first <= k for k, first in enumerate(known)):
            return known
        fault = "other recordings"
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        fault = str(err)
    _LOG.warning("%s: cannot be read (%.40s); made anew", entry, fault)
    return None


def _stamps(file: Path) -> list[int] | None:
    """By what a file is known again; tracks of one archive often share size and mtime, hence the third."""
    try:
        status = file.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
