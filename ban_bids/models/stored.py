"""Features from files, one per clip or recording: ``features:FOLDER``.

``FOLDER/features.json`` describes the model (:class:`~ban_bids.models.stored_description.Description`); every other
file holds an array (frames, dims) per layer, in ``.npz`` or ``.h5``. Which file belongs to which clip is said by its
name, or by a table ``FOLDER/clips.tsv``:

* ``song.npz`` belongs to ``song.wav`` (or ``.mp3``, …), from its start on; ``song_start-30.npz`` from second 30 on;
* ``rock/song.npz`` belongs to ``song.wav`` in a folder ``rock`` only; the longest path that fits counts;
* ``clips.tsv`` has the columns ``file`` (with its suffix), ``start``, ``duration`` (``n/a``: to the end) and
  ``features``, a path inside FOLDER.

A file of a whole recording, or of a row's excerpt, also serves clips that lie within it: cut at the nearest frame.
``silence.npz`` is the response to silence; without it that is zero in every layer, and a note says so.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from math import ceil, floor, prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ban_bids.audio.waveforms import HeardClip, audio_hash, content_hash
from ban_bids.constants import SAMPLING_RATE
from ban_bids.errors import DataError, NotComputable, UsageError
from ban_bids.files.fetched import absence
from ban_bids.files.hashing import json_digest
from ban_bids.files.npz import UNREADABLE
from ban_bids.files.reading import check_ordinary
from ban_bids.files.sounds import audio_seconds
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import Candidate, check_mapping, layer_labels
from ban_bids.models.stored_description import Description
from ban_bids.models.stored_entries import SILENCES, Entry, entries_by_name, entries_of_table

_EDGE = 1e-6
_LARGEST = 2**32
"""Bytes of one array."""


class StoredFeatures:
    """Features from files as a :class:`~ban_bids.models.candidate.Candidate`; it has no read-out.

    Parameters
    ----------
    folder : Path
        As the module describes.

    Raises
    ------
    DataError
        The folder holds no features, ``features.json`` or ``clips.tsv`` cannot be used, or two files stand for one
        sound.
    """

    sampling_rate = SAMPLING_RATE
    """Of the clips that it is given; their sound is not listened to."""

    genres: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = Description.read(folder / "features.json")
        self.name = about.name
        self.layers = tuple(about.layers)
        self.frame_rate: Mapping[str, float] = about.layers
        self.mapping: Mapping[str, str] | None = about.mapping or None
        self.card = about.card
        self._tolerance = about.tolerance
        table = folder / "clips.tsv"
        self._by_table = absence(table) != "absent"
        entries = entries_of_table(table) if self._by_table else entries_by_name(folder)
        if not entries:
            raise DataError(f"{folder}: holds no features; write one .npz or .h5 per clip")
        self._entries: dict[str, list[Entry]] = {}
        for entry in entries:
            self._entries.setdefault(entry.audio[-1], []).append(entry)
        self._silence = next((path for path in map(folder.joinpath, SILENCES) if absence(path) != "absent"), None)
        self._files = sorted({entry.path for entry in entries})
        self._stamps: dict[Path, tuple[int, ...]] = {}
        self._audio: dict[Path, Path] = {}
        self._dims: dict[str, tuple[int, Path]] = {}
        try:
            layer_labels(self.layers)
            check_mapping(self.mapping, self.layers)
        except UsageError as fault:
            raise DataError(f"{folder / 'features.json'}: {fault}") from fault

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the description and of every file's bytes, read when it is first asked for.

        A file that changes afterwards is refused when it is read.
        """
        hashes = {}
        beside = [self.folder / "features.json", self.folder / "clips.tsv", self._silence]
        for path in (*(path for path in beside if path and path.is_file()), *self._files):
            self._stamps[path] = _stamp(path)
            hashes[str(path.relative_to(self.folder))] = content_hash(path)
        return json_digest(hashes)

    def check(self, clips: Iterable[Clip], others: Iterable[Clip] = ()) -> tuple[str, ...]:
        """Refuse now what could not be served later: every file is found, and the shapes of its arrays are looked at.

        Parameters
        ----------
        clips : iterable of Clip
            Whose features will be asked for.
        others : iterable of Clip
            Further clips of the dataset: a file of features may not stand for two sounds, whoever hears them.

        Returns
        -------
        tuple of str
            What a reader of the scores should know.

        Raises
        ------
        DataError
            As :meth:`features`; a message about missing files counts them all.
        """
        wanted = sorted(set(clips), key=lambda clip: (str(clip.audio), clip.start, clip.duration))
        found = {clip: self._entry(clip) for clip in wanted}
        for clip in others:
            self._entry(clip)
        if missing := [clip for clip, entry in found.items() if entry is None]:
            raise self._missing(missing[0], f" (one of {len(missing)} of {len(wanted)} clips without)")
        for clip, entry in found.items():
            if entry is not None:
                self._rows(clip, entry, self._shapes(entry.path))
        if self._silence is not None:
            self._shapes(self._silence)
            return ()
        return (f"{self.name}: the features have no silence.npz, so the response to silence is 0 in every layer",)

    def has(self, clip: Clip) -> bool:
        """Whether there is a file for a clip."""
        return self._entry(clip) is not None

    def features(self, clips: Sequence[HeardClip]) -> list[dict[str, np.ndarray]]:
        """Read the features of clips.

        Parameters
        ----------
        clips : sequence of HeardClip
            Those of no file must be silence.

        Returns
        -------
        list of dict
            Layer -> float32 array, (n_frames, n_features).

        Raises
        ------
        DataError
            There is no file for a clip or more than one, it stands for two sounds, it cannot be read or changed since
            it was hashed, it lacks a layer, an array is not (frames, dims) of finite numbers, has another number of
            frames than the sound lasts, or other dims than in other files.
        """
        return [self._features(clip) for clip in clips]

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        """Raise NotComputable: files have no read-out."""
        raise NotComputable(f"model {self.name} has no read-out of genres")

    def _features(self, heard: HeardClip) -> dict[str, np.ndarray]:
        if heard.clip is None:
            if heard.waveform.any():
                raise DataError(f"model {self.name}: its features are read from files, and {heard} has none")
            return self._silent(heard.seconds)
        entry = self._entry(heard.clip)
        if entry is None:
            raise self._missing(heard.clip)
        arrays = self._read(entry.path, self._rows(heard.clip, entry, self._shapes(entry.path)))
        return self._then_silence(heard.clip, arrays) if heard.clip.silence else arrays

    def _then_silence(self, clip: Clip, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Frames of a clip that goes on after its recording, filled up with the response to silence."""
        filled = {}
        for layer, silence in self._silent(1.0).items():
            rate, frames = self.frame_rate[layer], arrays[layer]
            heard, wanted = (ceil(s * rate - _EDGE) for s in (clip.duration - clip.silence, clip.duration))
            held = np.repeat(frames[-1:], max(0, heard - len(frames)), axis=0)
            response = silence[-max(1, round(rate)) :].mean(axis=0, keepdims=True)
            after = np.repeat(response, max(0, wanted - len(frames) - len(held)), axis=0)
            filled[layer] = np.concatenate([frames, held, after])
        return filled

    def _silent(self, seconds: float) -> dict[str, np.ndarray]:
        """The given response to silence, whatever it lasts, or zeros."""
        if self._silence is not None:
            shapes = self._shapes(self._silence)
            return self._read(self._silence, {layer: slice(None) for layer in shapes})
        shapes = self._shapes(self._files[0])
        return {
            layer: np.zeros((max(1, ceil(seconds * self.frame_rate[layer] - _EDGE)), dims), dtype=np.float32)
            for layer, (_, dims) in shapes.items()
        }

    def _entry(self, clip: Clip) -> Entry | None:
        """The file of a clip, or the one that it is an excerpt of."""
        parts = clip.audio.parts if self._by_table else (*clip.audio.parts[:-1], clip.audio.stem)
        named = [entry for entry in self._entries.get(parts[-1], []) if entry.audio == parts[-len(entry.audio) :]]
        longest = max((len(entry.audio) for entry in named), default=0)
        named = [entry for entry in named if len(entry.audio) == longest]
        fitting = [entry for entry in named if entry.is_of(clip)] or [entry for entry in named if entry.contains(clip)]
        if len({entry.path for entry in fitting}) > 1:
            first, second = fitting[:2]
            raise DataError(
                f"{HeardClip(clip, 1)}: both {first.path} and {second.path} may hold its features; remove one, or "
                "list every clip in clips.tsv"
            )
        if not fitting:
            return None
        self._refuse_second_sound(fitting[0].path, clip.audio)
        return fitting[0]

    def _refuse_second_sound(self, path: Path, audio: Path) -> None:
        first = self._audio.setdefault(path, audio)
        if first == audio or audio_hash(first) == audio_hash(audio):
            return
        raise DataError(
            f"{path}: may hold the features of {first} or of {audio}; put it into a folder of the same name as the "
            "audio file's, or list every clip in clips.tsv"
        )

    def _missing(self, clip: Clip, count: str = "") -> DataError:
        if self._by_table:
            looked = f"a row of {self.folder / 'clips.tsv'} with it or a longer excerpt"
        else:
            stem = clip.audio.stem
            own = f"{stem}_start-{clip.start:g}.npz or " if clip.start else ""
            looked = f"{own}{stem}.npz (or .h5) in {self.folder}, or there in a folder {clip.audio.parent.name}"
        return DataError(f"{HeardClip(clip, 1)}: no features{count}; looked for {looked}")

    def _rows(self, clip: Clip, entry: Entry, shapes: Mapping[str, tuple[int, int]]) -> dict[str, slice]:
        """Frames of a clip in its file, by layer; the file must last as long as what it stands for."""
        rows = {}
        for layer, (n_frames, _) in shapes.items():
            rate = self.frame_rate[layer]
            if not any(self._lasts(n_frames, seconds * rate) for seconds in _sounds(entry, clip)):
                told = " or ".join(dict.fromkeys(f"{seconds:.3f}" for seconds in _sounds(entry, clip)))
                raise DataError(
                    f"{entry.path}: {n_frames} frames of {layer!r} last {n_frames / rate:.3f} s at {rate:g} Hz, "
                    f"their sound {told} s ({HeardClip(clip, 1)}); correct frame_rate, or make the file anew"
                )
            first = round((clip.start - entry.start) * rate)
            first = min(max(0, first), n_frames - 1)
            rows[layer] = slice(first, first + max(1, ceil(clip.duration * rate - _EDGE)))
        return rows

    def _lasts(self, n_frames: int, wanted: float) -> bool:
        return floor(wanted + _EDGE) - self._tolerance <= n_frames <= ceil(wanted - _EDGE) + self._tolerance

    def _shapes(self, path: Path) -> dict[str, tuple[int, int]]:
        """Frames and dims of every layer; the arrays themselves are not read."""
        with _readable(path):
            headers = _npz_headers(path) if path.suffix == ".npz" else _h5_headers(path)
        shapes = {}
        for layer in self.layers:
            if layer not in headers:
                raise DataError(f"{path}: has no array {layer!r} (it has {', '.join(headers) or 'none'})")
            shape, dtype = headers[layer]
            if dtype.hasobject:
                raise DataError(f"{path}: {layer!r} holds objects, which are not unpickled; save an array of numbers")
            if dtype.kind not in "fiub" or len(shape) != 2 or 0 in shape:
                raise DataError(f"{path}: {layer!r} is {dtype} of shape {shape}; it must be numbers (frames, dims)")
            if (size := prod(shape) * dtype.itemsize) > _LARGEST:
                raise DataError(f"{path}: {layer!r} has {size} bytes, and at most {_LARGEST} are read; split the file")
            dims, first = self._dims.setdefault(layer, (shape[1], path))
            if shape[1] != dims:
                raise DataError(f"{path}: {layer!r} has {shape[1]} dims, but {dims} in {first}; make one of them anew")
            shapes[layer] = (shape[0], shape[1])
        return shapes

    def _read(self, path: Path, rows: Mapping[str, slice]) -> dict[str, np.ndarray]:
        with _readable(path):
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as stored:
                    arrays = {layer: stored[layer][cut] for layer, cut in rows.items()}
            else:
                with h5py.File(path) as stored:
                    arrays = {layer: stored[layer][cut] for layer, cut in rows.items()}
        with np.errstate(over="ignore"):
            arrays = {layer: values.astype(np.float32) for layer, values in arrays.items()}
        if broken := [layer for layer, values in arrays.items() if not np.isfinite(values).all()]:
            raise DataError(f"{path}: features of {broken[0]!r} are not finite; make the file anew")
        if path in self._stamps and _stamp(path) != self._stamps[path]:
            raise DataError(f"{path}: changed while it was in use; run the same command again")
        return arrays


def load_stored(name: str, weights: Path | None, device: str, seed: int) -> Candidate:
    """Load ``features:FOLDER``.

    Parameters
    ----------
    name, weights, device, seed
        As :func:`ban_bids.models.registry.load_model`; nothing is computed, so only the name counts.

    Raises
    ------
    UsageError
        There is no such folder, or weights are given.
    DataError
        As :class:`StoredFeatures`.
    """
    if weights is not None:
        raise UsageError(f"--model {name}: features from files need no weights; drop {weights}")
    folder = Path(name.partition(":")[2]).expanduser().resolve()
    if name.endswith(":") or not folder.is_dir():
        raise UsageError(f"--model {name}: no such folder; write features:FOLDER")
    return StoredFeatures(folder)


def _sounds(entry: Entry, clip: Clip) -> Iterator[float]:
    """Seconds that a file may last; the recording is opened only if the clip's own duration does not do."""
    if entry.duration is not None:
        yield entry.duration
        return
    if entry.is_of(clip):
        yield clip.duration
    yield audio_seconds(clip.audio) - entry.start


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn all that is wrong with a file into one line."""
    check_ordinary(path, "make the file anew")
    try:
        yield
    except (*UNREADABLE, MemoryError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())}); make the file anew") from error


def _npz_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of every array of an archive."""
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(stream)
                if not dtype.hasobject and prod(shape) * dtype.itemsize > archive.getinfo(member).file_size:
                    raise ValueError(f"{member} holds less than its header promises")
                headers[member.removesuffix(".npy")] = (shape, dtype)
    return headers


def _h5_headers(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of every dataset of a file, by its path."""
    headers = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            headers[name] = (item.shape or (), item.dtype)

    with h5py.File(path) as stored:
        stored.visititems(add)
    return headers


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore it") from error
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
