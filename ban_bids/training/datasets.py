"""Folders of genres: where the tracks lie, which can be read, what they hold."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import torch
from torchaudio.datasets.gtzan import filtered_test, filtered_train, filtered_valid

from ban_bids.audio.sameness import Fingerprint, Identity
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
    fingerprint : Fingerprint
        By which the same recording is known again in another form.
    others : tuple of str
        Names of tracks that are the same recording and were left out.
    """

    path: Path
    name: str
    genre: str
    digest: str
    fingerprint: Fingerprint = Fingerprint()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Collection:
    """The tracks of a folder of genres.

    Parameters
    ----------
    tracks : tuple of Track
        Sorted by genre and name, one of each recording, without excluded tracks.
    genres : tuple of str
        Sorted.
    excluded : tuple of Track
        Left out on request.
    replicas : tuple of str
        Tracks that repeat another one, sample for sample or as the same name in another container; left out.
    versions : tuple of str
        Tracks that are the same recording as another one, by their sound and not sample for sample; left out.
    unreadable : tuple of str
        Files that cannot be decoded; left out.
    cache : AudioCache
        Where the audio is kept once it is decoded.
    """

    tracks: tuple[Track, ...]
    genres: tuple[str, ...]
    excluded: tuple[Track, ...] = ()
    replicas: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    cache: AudioCache = field(default_factory=AudioCache, compare=False, repr=False)

    def labels(self, tracks: Iterable[Track]) -> list[int]:
        """Numbers of the tracks' genres."""
        return [self.genres.index(track.genre) for track in tracks]


def read_collection(data_dir: Path, exclude: Iterable[Path] = (), cache: AudioCache | None = None) -> Collection:
    """List a folder of genres, in any of GTZAN's usual layouts.

    Files of one genre that differ in their suffix alone are one track; the first readable one of
    :data:`SUFFIXES` is taken, and the track is excluded if any of them is. Of tracks that are the same recording
    (:mod:`ban_bids.audio.sameness`) the first by path is taken, except that a track of GTZAN's fault-filtered lists
    goes before one that is in none; so no recording can be on both sides of a split. Hidden files and folders are
    passed over, links are followed.

    Parameters
    ----------
    data_dir : Path
        Holds one of :data:`LAYOUTS`, with one folder per genre.
    exclude : iterable of Path
        Audio files whose recordings must not be among the tracks, under whatever name and in whatever form.
    cache : AudioCache, optional
        Where hashes and fingerprints are kept; by default that of the user.

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
    identities = cache.identities([*files, *barred])
    if faults := [fault for path in barred if isinstance(fault := identities[path], DataError)]:
        raise faults[0]
    known = {file: identity for file, identity in identities.items() if isinstance(identity, Identity)}
    unreadable = [file for file in files if file not in known]
    for file in unreadable:
        _LOG.warning("skipped: %s", identities[file])
    named = [(name, [file for file in copies if file in known]) for name, copies in _named(files)]
    collection = _sorted_out(named, known, barred, _recordings([copies for _, copies in named], known, barred, cache))
    if len(collection.genres) < 2:
        repeated = len(collection.replicas) + len(collection.versions)
        raise DataError(
            f"{data_dir}: tracks of {len(collection.genres)} genre(s) are left without {len(collection.excluded)} "
            f"excluded, {repeated} repeated and {len(unreadable)} unreadable ones; training needs at least two genres"
        )
    return replace(collection, unreadable=tuple(map(_short, unreadable)), cache=cache)


def _sorted_out(
    named: Sequence[tuple[str, list[Path]]],
    known: Mapping[Path, Identity],
    barred: Sequence[Path],
    group: Mapping[Path, int],
) -> Collection:
    """One track of each recording that is not barred, and what became of the others."""
    banned, heard = {group[path] for path in barred}, {known[path].digest for path in barred}
    tracks: dict[int, Track] = {}
    excluded: list[Track] = []
    replicas: list[str] = []
    versions: list[str] = []
    for name, copies in named:
        if not copies:
            continue
        file, recording = copies[0], group[copies[0]]
        identity = next((known[copy] for copy in copies if known[copy].digest in heard), known[file])
        track = Track(file, name, file.parent.name, identity.digest, identity.fingerprint)
        replicas += [_short(copy) for copy in copies[1:]]
        if recording in banned:
            excluded.append(track)
        elif (kept := tracks.get(recording)) is None:
            tracks[recording] = track
        else:
            equal = kept.digest == track.digest
            how = "repeats %s sample for sample" if equal else "is the same recording as %s"
            _LOG.warning(f"%s: {how}; left out", file, kept.path)
            (replicas if equal else versions).append(name)
            tracks[recording] = replace(kept, others=(*kept.others, name))
    return Collection(
        tuple(sorted(tracks.values(), key=lambda track: track.path)),
        tuple(sorted({track.genre for track in tracks.values()})),
        excluded=tuple(excluded),
        replicas=tuple(replicas),
        versions=tuple(versions),
    )


def _recordings(
    copies: Sequence[Sequence[Path]], known: Mapping[Path, Identity], barred: Sequence[Path], cache: AudioCache
) -> dict[Path, int]:
    """File -> number of its recording; the files of one name count as one, whatever they hold."""
    files = list(dict.fromkeys([*chain.from_iterable(copies), *barred]))
    place = {file: k for k, file in enumerate(files)}
    links = [(place[first], place[copy]) for first, *rest in filter(None, copies) for copy in rest]
    return dict(zip(files, cache.groups([known[file] for file in files], links), strict=True))


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
