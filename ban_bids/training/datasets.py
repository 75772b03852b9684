"""Folders of genres: where the tracks lie, which can be read, what they hold."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torchaudio.datasets.gtzan import filtered_test, filtered_train, filtered_valid

from ban_bids.audio.waveforms import load_waveform
from ban_bids.errors import DataError
from ban_bids.models.front_end import FrontEnd
from ban_bids.training.cache import AudioCache

_LOG = logging.getLogger(__name__)

LAYOUTS = ("genres", "genres_original", "Data/genres_original", ".")
"""Where GTZAN's copies keep the folders of genres; ``.``: the folder itself."""

SUFFIXES = (".wav", ".au", ".flac", ".mp3")
"""Containers, the one that is preferred first."""

_LISTED = frozenset((*filtered_train, *filtered_valid, *filtered_test))


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
        :func:`ban_bids.audio.waveforms.audio_hash`.
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
        Sorted by genre and name, without replicas and without excluded tracks.
    genres : tuple of str
        Sorted.
    excluded : tuple of Track
        Left out on request.
    replicas : tuple of str
        Tracks that repeat another one, sample for sample or as the same name in another container; left out.
    unreadable : tuple of str
        Files that cannot be decoded; left out.
    cache : AudioCache
        Where the audio is kept once it is decoded.
    """

    tracks: tuple[Track, ...]
    genres: tuple[str, ...]
    excluded: tuple[Track, ...] = ()
    replicas: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    cache: AudioCache = field(default_factory=AudioCache, compare=False, repr=False)

    def labels(self, tracks: Iterable[Track]) -> list[int]:
        """Numbers of the tracks' genres."""
        return [self.genres.index(track.genre) for track in tracks]


def read_collection(data_dir: Path, exclude: Iterable[Path] = (), cache: AudioCache | None = None) -> Collection:
    """List a folder of genres, in any of GTZAN's usual layouts.

    Files of one genre that differ in their suffix alone are one track; the first readable one of
    :data:`SUFFIXES` is taken, and the track is excluded if any of them is. Of tracks that are equal sample
    for sample the first by path is taken, except that a track of GTZAN's fault-filtered lists, which hold one
    of each, goes before one that is in none. Hidden files and folders are passed over, links are followed.

    Parameters
    ----------
    data_dir : Path
        Holds one of :data:`LAYOUTS`, with one folder per genre.
    exclude : iterable of Path
        Audio files whose content must not be among the tracks, under whatever name or container. The content
        is that of the samples: a lossy copy of a track is another content.
    cache : AudioCache, optional
        Where content hashes are kept; by default that of the user.

    Returns
    -------
    Collection

    Raises
    ------
    DataError
        When there is no folder of genres, fewer than two genres are left, or an excluded file cannot be
        decoded (a track that cannot be compared cannot be kept out).
    """
    cache = AudioCache() if cache is None else cache
    files = find_audio(Path(data_dir))
    barred = sorted(set(exclude))
    digests = cache.digests([*files, *barred])
    if faults := [digest for path in barred if isinstance(digest := digests[path], DataError)]:
        raise faults[0]
    banned = {digests[path] for path in barred}
    tracks: dict[str, Track] = {}
    excluded: list[Track] = []
    replicas: list[str] = []
    unreadable: list[Path] = []
    for name, copies in _named(files):
        readable = {file: digest for file in copies if isinstance(digest := digests[file], str)}
        unreadable += [file for file in copies if file not in readable]
        if not readable:
            continue
        file, digest = next(iter(readable.items()))
        replicas += [_short(copy) for copy in readable if copy != file]
        barred_digest = next((d for d in readable.values() if d in banned), None)
        if barred_digest is not None:
            excluded.append(Track(file, name, file.parent.name, barred_digest))
        elif digest in tracks:
            _LOG.warning("%s: repeats %s sample for sample; left out", file, tracks[digest].path)
            replicas.append(name)
        else:
            tracks[digest] = Track(file, name, file.parent.name, digest)
    for file in unreadable:
        _LOG.warning("skipped: %s", digests[file])
    genres = tuple(sorted({track.genre for track in tracks.values()}))
    if len(genres) < 2:
        raise DataError(
            f"{data_dir}: tracks of {len(genres)} genre(s) are left without {len(excluded)} excluded, {len(replicas)} "
            f"repeated and {len(unreadable)} unreadable ones; training needs at least two genres"
        )
    return Collection(
        tuple(sorted(tracks.values(), key=lambda track: track.path)),
        genres,
        excluded=tuple(excluded),
        replicas=tuple(replicas),
        unreadable=tuple(map(_short, unreadable)),
        cache=cache,
    )


def _named(files: Sequence[Path]) -> list[tuple[str, list[Path]]]:
    """Names of tracks and the files of each, best container first; tracks of GTZAN's lists before others."""
    stems = Counter({(file.parent, file.stem): file.stem for file in files}.values())
    groups = [list(group) for _, group in groupby(sorted(files, key=_rank), key=lambda f: (f.parent, f.stem))]
    groups.sort(key=lambda copies: copies[0].stem not in _LISTED)
    return [(first.stem if stems[first.stem] == 1 else _short(first), [first, *rest]) for first, *rest in groups]


def _short(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def log_mel_frames(tracks: Iterable[Track], front_end: FrontEnd, cache: AudioCache | None = None) -> list[np.ndarray]:
    """Log-mel frames of whole tracks, decoded once and memory-mapped from then on.

    Parameters
    ----------
    tracks : iterable of Track
    front_end : FrontEnd
        Its settings; frames are not standardised yet.
    cache : AudioCache, optional
        By default that of the user.

    Returns
    -------
    list of ndarray of float16, (n_mels, n_frames)
        Half precision: log power lies within ±16, so the error stays under 0.01.
    """
    tracks = list(tracks)

    def make(k: int) -> np.ndarray:
        waveform = load_waveform(tracks[k].path, sampling_rate=front_end.config.sampling_rate)
        with torch.no_grad():
            return front_end.log_mel(torch.from_numpy(waveform)[None])[0].numpy()

    cache = AudioCache() if cache is None else cache
    return cache.frames([track.digest for track in tracks], front_end, make)


def find_audio(data_dir: Path) -> list[Path]:
    """Audio files of the first layout that has at least two folders of them.

    Raises
    ------
    DataError
        When there is none.
    """
    if not data_dir.is_dir():
        raise DataError(f"{data_dir}: no such folder; give one that holds one folder per genre")
    for layout in LAYOUTS:
        files = sorted(file for file in (data_dir / layout).glob("*/*") if _is_audio(file, data_dir))
        if len({file.parent for file in files}) >= 2:
            return files
    raise DataError(f"{data_dir}: {_why_none(data_dir)}; check --data or --gtzan-dir")


def _is_audio(file: Path, data_dir: Path) -> bool:
    """Also links that lead nowhere: an annexed file that was not fetched is to be reported."""
    hidden = any(part.startswith(".") for part in file.relative_to(data_dir).parts)
    broken = file.is_symlink() and not file.exists()
    return file.suffix.lower() in SUFFIXES and not hidden and (file.is_file() or broken)


def _why_none(data_dir: Path) -> str:
    """What is wrong with a folder without two folders of audio."""
    depths = ("*", "*/*", "*/*/*", "*/*/*/*")
    audio = sorted(file for depth in depths for file in data_dir.glob(depth) if _is_audio(file, data_dir))
    folders = sorted({file.parent for file in audio})
    if not audio:
        return f"no folders of genres with {', '.join(SUFFIXES)} files in it or in {', '.join(LAYOUTS[:-1])}"
    if folders == [data_dir]:
        return "audio lies in it and not in folders of genres; give the folder above, or make one folder per genre"
    if len(folders) == 1:
        return f"there is one genre ({folders[0].name}), and training needs at least two"
    return (
        f"no folders of genres directly in it or in {', '.join(LAYOUTS[:-1])}; audio lies elsewhere "
        f"({audio[0].relative_to(data_dir)}): give the folder that holds one folder per genre"
    )


def _rank(file: Path) -> tuple[Path, str, int, str]:
    return file.parent, file.stem, SUFFIXES.index(file.suffix.lower()), file.name
