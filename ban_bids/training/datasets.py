"""The recordings of one or several folders of classes: which can be read, what they hold, what is asked of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from ban_bids.audio.sameness import Identity
from ban_bids.audio.waveforms import load_waveform
from ban_bids.errors import DataError, UsageError
from ban_bids.models.front_end import FrontEnd
from ban_bids.training.cache import AudioCache
from ban_bids.training.fields import FieldReader, field_reader
from ban_bids.training.folders import find_audio, named_copies, short_name
from ban_bids.training.tracks import Collection, Data, Source, Task, Track, task_slices

__all__ = ["Collection", "Data", "Source", "Task", "Track", "log_mel_frames", "read_collection", "task_slices"]

_LOG = logging.getLogger(__name__)


def read_collection(data: Path | Data, exclude: Iterable[Path] = (), cache: AudioCache | None = None) -> Collection:
    """List folders of classes, each in any of GTZAN's usual layouts.

    Files of one genre that differ in their suffix alone are one track; the first readable one of
    :data:`ban_bids.training.folders.SUFFIXES` is taken, and the track is excluded if any of them is. Of tracks that
    are the same recording (:mod:`ban_bids.audio.sameness`) the first by path is taken, except that a track of GTZAN's
    fault-filtered lists goes before one that is in none; so no recording can be on both sides of a split. A recording
    that two folders hold sample for sample is one track that answers the tasks of both; of other forms of it the one
    in the folder that was named first is taken. Hidden files and folders are passed over, links are followed.

    Parameters
    ----------
    data : Path or Data
        A folder, or several with what is asked of them.
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
        When there is no folder of genres, fewer than two genres are left in one, an excluded file cannot be decoded
        (a track that cannot be compared cannot be kept out), or a field is missing.
    UsageError
        For a field that no folder has.
    """
    cache = AudioCache() if cache is None else cache
    data = data if isinstance(data, Data) else Data((Source(Path(data)),))
    found = [find_audio(source.folder) for source in data.sources]
    barred = sorted(set(exclude))
    identities = cache.identities(dict.fromkeys([*chain(*found), *barred]))
    if faults := [fault for path in barred if isinstance(fault := identities[path], DataError)]:
        raise faults[0]
    known = {file: identity for file, identity in identities.items() if isinstance(identity, Identity)}
    unreadable = [file for file in dict.fromkeys(chain(*found)) if file not in known]
    for file in unreadable:
        _LOG.warning("skipped: %s", identities[file])
    named = list(chain(*(_named(source, files, known) for source, files in zip(data.sources, found))))
    named = [replace(one, home="" if one.home == data.sources[0].name else one.home) for one in named]
    collection = _sorted_out(named, known, barred, _recordings([one.copies for one in named], known, barred, cache))
    collection = replace(collection, unreadable=tuple(map(short_name, unreadable)), name=data.sources[0].name)
    for source in data.sources:
        _check_classes(source, collection)
    return _asked(replace(collection, cache=cache), data)


@dataclass(frozen=True)
class _Named:
    """A track's name, its readable files, its folder's task, and how its fields are found."""

    name: str
    copies: tuple[Path, ...]
    home: str
    fields: FieldReader


def _named(source: Source, files: Sequence[Path], known: Mapping[Path, Identity]) -> list[_Named]:
    """The tracks of a folder that can be read."""
    fields = field_reader(source.folder, files, source.template, source.table)
    readable = ((name, tuple(file for file in copies if file in known)) for name, copies in named_copies(files))
    return [_Named(name, copies, source.name, fields) for name, copies in readable if copies]


def _sorted_out(
    named: Sequence[_Named],
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
    shared: list[str] = []
    for one in named:
        file, recording = one.copies[0], group[one.copies[0]]
        identity = next((known[copy] for copy in one.copies if known[copy].digest in heard), known[file])
        track = _track(one, identity)
        replicas += [short_name(copy) for copy in one.copies[1:]]
        if recording in banned:
            excluded.append(track)
            continue
        track = replace(track, fields=one.fields(file))
        if (kept := tracks.get(recording)) is None:
            tracks[recording] = track
            continue
        equal = kept.digest == track.digest
        if equal and track.home not in (kept.home, *kept.answers):
            tracks[recording] = _joined(kept, track)
            shared.append(track.name)
            continue
        how = "repeats %s sample for sample" if equal else "is the same recording as %s"
        _LOG.warning(f"%s: {how}; left out", file, kept.path)
        (replicas if equal else versions).append(track.name)
        tracks[recording] = replace(kept, others=(*kept.others, track.name))
    homes = list(dict.fromkeys(one.home for one in named))
    return Collection(
        tuple(sorted(tracks.values(), key=lambda track: (homes.index(track.home), track.path))),
        tuple(sorted({track.genre for track in tracks.values() if not track.home})),
        excluded=tuple(excluded),
        replicas=tuple(replicas),
        versions=tuple(versions),
        shared=tuple(shared),
    )


def _track(one: _Named, identity: Identity) -> Track:
    file, genre = one.copies[0], one.copies[0].parent.name
    name, answers = (f"{one.home}:{one.name}", {one.home: genre}) if one.home else (one.name, {})
    return Track(file, name, genre, identity.digest, identity.fingerprint, home=one.home, answers=answers)


def _joined(kept: Track, other: Track) -> Track:
    """A track with what another folder that holds it too says of it."""
    for name in kept.fields.keys() & other.fields.keys():
        if kept.fields[name] != other.fields[name]:
            raise DataError(
                f"{other.path}: is {kept.path} sample for sample, but its {name} is {other.fields[name]} and not "
                f"{kept.fields[name]}; correct one of them"
            )
    answers, fields = {**other.answers, **kept.answers}, {**other.fields, **kept.fields}
    return replace(kept, others=(*kept.others, other.name), answers=answers, fields=fields)


def _check_classes(source: Source, collection: Collection) -> None:
    """Refuse a folder of which fewer than two classes are left."""
    if source.name == collection.name:
        left = set(collection.genres)
    else:
        left = {track.answers[source.name] for track in collection.tracks if source.name in track.answers}
    if len(left) < 2:
        repeated = len(collection.replicas) + len(collection.versions)
        raise DataError(
            f"{source.folder}: tracks of {len(left)} genre(s) are left without {len(collection.excluded)} "
            f"excluded, {repeated} repeated and {len(collection.unreadable)} unreadable ones; training needs at least "
            "two genres"
        )


def _asked(collection: Collection, data: Data) -> Collection:
    """The collection with its tasks and groups."""
    fields = sorted({name for track in collection.tracks for name in track.fields})
    for option, name in (*(("--heads", head) for head in data.heads), ("--group", data.group)):
        if name and name not in fields:
            known = f"there are {', '.join(fields)}" if fields else "there is none: give --names or --table"
            raise UsageError(f"{option} {name}: no collection has this field; {known}")
    answers = {t.name: {**t.answers, **_parts(t.fields, data.heads)} for t in collection.tracks}
    names = [*(source.name for source in data.sources[1:]), *data.heads]
    classes = {name: sorted({known[name] for known in answers.values() if name in known}) for name in names}
    if single := next((name for name in names if len(classes[name]) < 2), None):
        raise UsageError(f"--heads {single}: has one value, {classes[single][0]}; a task needs two, so drop it")
    if missing := _ungrouped(collection.tracks, data.group):
        raise DataError(
            f"{missing.path}: its {data.group} is not known, so --group {data.group} cannot keep it on one side; "
            "add it to the table, or take the file away"
        )
    if len(answers) < len(collection.tracks):
        raise DataError("--data: names of tracks repeat between the collections; give another NAME=DIR")
    tracks = tuple(replace(t, answers=answers[t.name], group=_group(t, data.group)) for t in collection.tracks)
    further = tuple(Task(name, tuple(classes[name])) for name in names)
    return replace(collection, tracks=tracks, further=further, group=data.group)


def _parts(fields: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: fields[name] for name in names if name in fields}


def _group(track: Track, name: str) -> str:
    return f"{name} {track.fields[name]}" if name in track.fields else ""


def _ungrouped(tracks: Sequence[Track], name: str) -> Track | None:
    """A track without a group in a folder that knows those of others by itself."""
    grouped = {track.home for track in tracks if name in track.fields and not track.answers.keys() - {track.home}}
    return next((track for track in tracks if name not in track.fields and track.home in grouped), None)


def _recordings(
    copies: Sequence[Sequence[Path]], known: Mapping[Path, Identity], barred: Sequence[Path], cache: AudioCache
) -> dict[Path, int]:
    """File -> number of its recording; the files of one name count as one, whatever they hold."""
    files = list(dict.fromkeys([*chain.from_iterable(copies), *barred]))
    place = {file: k for k, file in enumerate(files)}
    links = [(place[first], place[copy]) for first, *rest in filter(None, copies) for copy in rest]
    return dict(zip(files, cache.groups([known[file] for file in files], links), strict=True))


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
