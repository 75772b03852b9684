"""Folders of genres: where the tracks lie, which can be read, what they hold."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ban_bids.audio.clips import audio_hash, load_waveform
from ban_bids.errors import DataError
from ban_bids.models.front_end import FrontEnd
from ban_bids.progress import progress

_LOG = logging.getLogger(__name__)

LAYOUTS = ("genres", "genres_original", "Data/genres_original", ".")
"""Where GTZAN's copies keep the folders of genres; ``.``: the folder itself."""

SUFFIXES = (".wav", ".au", ".flac", ".mp3")


@dataclass(frozen=True)
class Track:
    """A readable track.

    Parameters
    ----------
    path : Path
        Audio file.
    name : str
        Unique in its collection: the stem, or genre/stem where stems repeat.
    genre : str
        Its folder.
    digest : str
        :func:`ban_bids.audio.clips.audio_hash`.
    """

    path: Path
    name: str
    genre: str
    digest: str


@dataclass(frozen=True)
class Collection:
    """The tracks of a folder of genres.

    Parameters
    ----------
    tracks : tuple of Track
        Sorted by name, without exact replicas and without excluded tracks.
    genres : tuple of str
        Sorted.
    excluded : tuple of Track
        Left out on request.
    replicas : tuple of str
        Names of tracks that repeat another one sample for sample; left out.
    unreadable : tuple of str
        Files that cannot be decoded, and why.
    """

    tracks: tuple[Track, ...]
    genres: tuple[str, ...]
    excluded: tuple[Track, ...] = ()
    replicas: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def read_collection(data_dir: Path, exclude: Iterable[Path] = ()) -> Collection:
    """List a folder of genres, in any of GTZAN's usual layouts.

    Parameters
    ----------
    data_dir : Path
        Holds one of :data:`LAYOUTS`, with a folder a genre.
    exclude : iterable of Path
        Audio files whose content must not be among the tracks, under whatever name or container.

    Returns
    -------
    Collection

    Raises
    ------
    DataError
        When there is no folder of genres, fewer than two genres are left, or an excluded file cannot be
        decoded (a track that cannot be compared cannot be kept out).
    """
    files = _find(Path(data_dir))
    stems = Counter(file.stem for file in files)
    banned = {audio_hash(path): path for path in sorted(set(exclude))}
    tracks: list[Track] = []
    excluded: list[Track] = []
    replicas: list[str] = []
    unreadable: list[str] = []
    seen: set[str] = set()
    for file in progress(files, "reading tracks"):
        genre = file.parent.name
        name = file.stem if stems[file.stem] == 1 else f"{genre}/{file.name}"
        digest = _digest(file)
        if digest is None:
            unreadable.append(f"{genre}/{file.name}")
            continue
        track = Track(file, name, genre, digest)
        if digest in banned:
            excluded.append(track)
        elif digest in seen:
            _LOG.warning("%s: repeats another track sample for sample; left out", file)
            replicas.append(name)
        else:
            seen.add(digest)
            tracks.append(track)
    genres = tuple(sorted({track.genre for track in tracks}))
    if len(genres) < 2:
        raise DataError(
            f"{data_dir}: tracks of {len(genres)} genre(s) are left without {len(excluded)} excluded, "
            f"{len(replicas)} repeated and {len(unreadable)} unreadable ones; training needs at least two"
        )
    return Collection(tuple(tracks), genres, tuple(excluded), tuple(replicas), tuple(unreadable))


def log_mel_frames(tracks: Iterable[Track], front_end: FrontEnd) -> list[np.ndarray]:
    """Log-mel frames of whole tracks, kept in memory so that no epoch decodes anything.

    Parameters
    ----------
    tracks : iterable of Track
    front_end : FrontEnd
        Its settings; frames are not standardised yet.

    Returns
    -------
    list of ndarray of float16, (n_mels, n_frames)
        Half precision: log power lies within ±16, so the error stays under 0.01.
    """
    frames = []
    for track in progress(list(tracks), "spectrograms"):
        waveform = load_waveform(track.path, sampling_rate=front_end.config.sampling_rate)
        with torch.no_grad():
            log_mel = front_end.log_mel(torch.from_numpy(waveform)[None])[0]
        frames.append(log_mel.numpy().astype(np.float16))
    return frames


def _digest(file: Path) -> str | None:
    """Hash of a track, or None, logged, where it cannot be decoded."""
    try:
        return audio_hash(file)
    except DataError as err:
        _LOG.warning("skipped: %s", err)
        return None


def _find(data_dir: Path) -> list[Path]:
    """Audio files of the first layout that has at least two folders of them."""
    if not data_dir.is_dir():
        raise DataError(f"{data_dir}: no such folder; give one that holds a folder a genre")
    for layout in LAYOUTS:
        folder = data_dir / layout
        if not folder.is_dir():
            continue
        files = sorted(
            file
            for file in folder.glob("*/*")
            if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith(".")
        )
        if len({file.parent for file in files}) >= 2:
            return files
    raise DataError(
        f"{data_dir}: no folders of genres with {', '.join(SUFFIXES)} files in it or in "
        f"{', '.join(LAYOUTS[:-1])}; check --data or --gtzan-dir"
    )
