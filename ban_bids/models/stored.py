"""Features from files, one per clip or recording: ``features:FOLDER``.

``FOLDER/features.json`` describes the model (:class:`Description`); every other file holds an array (frames, dims) per
layer, in ``.npz`` or ``.h5``. Which file belongs to which clip is said by its name, or by a table ``FOLDER/clips.tsv``:

* ``song.npz`` belongs to ``song.wav`` (or ``.mp3``, …), from its start on; ``song_start-30.npz`` from second 30 on;
* ``rock/song.npz`` belongs to ``song.wav`` in a folder ``rock`` only; the longest path that fits counts;
* ``clips.tsv`` has the columns ``file`` (with its suffix), ``start``, ``duration`` (``n/a``: to the end) and
  ``features``, a path inside FOLDER.

A file of a whole recording, or of a row's excerpt, also serves clips that lie within it: cut at the nearest frame.
``silence.npz`` is the response to silence; without it that is zero in every layer, and a note says so.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, isfinite, prod
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import h5py
import numpy as np

from ban_bids.audio.waveforms import HeardClip, audio_hash, content_hash
from ban_bids.constants import NOT_AVAILABLE, SAMPLING_RATE
from ban_bids.errors import DataError, NotComputable, UsageError
from ban_bids.files.hashing import json_digest
from ban_bids.files.json import read_json
from ban_bids.files.npz import UNREADABLE
from ban_bids.files.reading import as_number, check_ordinary
from ban_bids.files.sounds import audio_seconds
from ban_bids.files.tsv import read_frame
from ban_bids.inputs.stimuli import SAME_DURATION
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import Candidate, ModelCard, check_mapping, layer_labels

_SUFFIXES = (".npz", ".h5", ".hdf5")
_SILENCES = tuple(f"silence{suffix}" for suffix in _SUFFIXES)
_START = re.compile(r"(.+)_start-(\d+(?:\.\d+)?)")
_SAME_START = 1e-3
_EDGE = 1e-6
_LONGEST = 64
"""Letters of names that enter file names, of which file systems take 255."""
_LARGEST = 2**32
"""Bytes of one array."""


@dataclass(frozen=True)
class Description:
    """What ``features.json`` says.

    Parameters
    ----------
    name : str
        ``[a-z][a-z0-9]*``; enters file names.
    layers : dict of str to float
        Layer -> frames per second, in order from the sound on. In the file a list of objects with ``name`` and
        ``frame_rate``: objects of JSON have no order.
    mapping : dict of str to str
        Layer -> region that it stands for.
    references : tuple of str
        Publications that describe the model.
    training : str or dict
        What trained the model. In words; or an object with ``split`` (words), ``hashes`` and ``fingerprints``
        (track -> text, see :class:`~ban_bids.models.candidate.ModelCard`), with which the overlap with the stimuli is
        known. ``{"hashes": {}}``: nothing did.
    sampling : str
        How the features were made, for readers.
    tolerance : int
        Whole frames by which a file may be shorter or longer than its sound.
    """

    name: str
    layers: dict[str, float]
    mapping: dict[str, str]
    references: tuple[str, ...]
    training: str | dict[str, Any] | None
    sampling: str
    tolerance: int

    @classmethod
    def read(cls, path: Path) -> Description:
        """Read and check the file.

        Raises
        ------
        DataError
            It is missing or no JSON; a key is missing, unknown or of another type.
        """
        if not path.is_file():
            raise DataError(f"{path}: not there; it names the model and its layers with their frame rates")
        content = read_json(path)
        known = {"name", "layers", "mapping", "references", "training", "sampling", "tolerance"}
        if unknown := sorted(content.keys() - known):
            raise DataError(f"{path}: unknown key {unknown[0]!r}; the keys are {', '.join(sorted(known))}")
        training = content.get("training")
        if isinstance(training, dict):
            _check_training(path, training)
        elif training is not None:
            _text(path, content, "training")
        tolerance = content.get("tolerance", 1)
        if not isinstance(tolerance, int) or isinstance(tolerance, bool) or tolerance < 0:
            raise DataError(f"{path}: tolerance must be a number of whole frames, not {tolerance!r}")
        references = content.get("references", [])
        if not isinstance(references, list) or not all(isinstance(one, str) for one in references):
            raise DataError(f"{path}: references must be a list of texts")
        return cls(
            name=_name(path, content),
            layers=_layers(path, content.get("layers")),
            mapping=_texts(path, content, "mapping"),
            references=tuple(references),
            training=training,
            sampling=_text(path, content, "sampling") if "sampling" in content else "",
            tolerance=tolerance,
        )

    @property
    def card(self) -> ModelCard | None:
        """What is known of the weights; None without references and training."""
        if self.training is None and not self.references:
            return None
        told: dict[str, Any] = (
            self.training if isinstance(self.training, dict) else {"split": self.training or "unknown"}
        )
        return ModelCard(
            {"name": self.name},
            (),
            split=told.get("split", "unknown"),
            training_hashes=told.get("hashes", {}),
            fingerprints=told.get("fingerprints", {}),
            references=self.references,
            notes=(self.sampling,) if self.sampling else (),
            training_known="hashes" in told,
        )


def _text(path: Path, content: Mapping[str, Any], key: str) -> str:
    if not isinstance(content.get(key), str) or not content[key].strip():
        raise DataError(f"{path}: {key} must be a text, not {content.get(key)!r}")
    return str(content[key])


def _name(path: Path, content: Mapping[str, Any]) -> str:
    name = _text(path, content, "name")
    if not re.fullmatch(rf"[a-z][a-z0-9]{{0,{_LONGEST - 1}}}", name):
        raise DataError(
            f"{path}: name {name[:80]!r} enters file names; write lower-case letters and digits, at most {_LONGEST}"
        )
    return name


def _texts(path: Path, content: Mapping[str, Any], key: str) -> dict[str, str]:
    values = content.get(key, {})
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise DataError(f"{path}: {key} must be an object of texts")
    return values


def _check_training(path: Path, training: Mapping[str, Any]) -> None:
    if unknown := sorted(training.keys() - {"split", "hashes", "fingerprints"}):
        raise DataError(f"{path}: unknown key {unknown[0]!r} in training; the keys are split, hashes, fingerprints")
    if "split" in training:
        _text(path, training, "split")
    for key in ("hashes", "fingerprints"):
        _texts(path, training, key)


def _layers(path: Path, layers: Any) -> dict[str, float]:
    remedy = 'layers must be a list such as [{"name": "conv1", "frame_rate": 50.0}, …], in order from the sound on'
    if not isinstance(layers, list) or not layers or not all(isinstance(one, dict) for one in layers):
        raise DataError(f"{path}: {remedy}")
    rates: dict[str, float] = {}
    for layer in layers:
        name, rate = layer.get("name"), layer.get("frame_rate")
        if layer.keys() != {"name", "frame_rate"} or not isinstance(name, str) or (as_number(rate) or 0.0) <= 0:
            raise DataError(f"{path}: {layer!r} is no layer; {remedy}")
        if len(name) > _LONGEST:
            raise DataError(f"{path}: layer {name[:40]!r}… enters file names; write at most {_LONGEST} letters")
        if name in rates:
            raise DataError(f"{path}: layer {name!r} is there twice; rename one")
        rates[name] = float(rate)
    return rates


class Entry(NamedTuple):
    """A file of features, and the sound that it stands for.

    Parameters
    ----------
    path : Path
    audio : tuple of str
        End of the audio file's path: with suffix where a table says so, else without.
    start : float
        Seconds.
    duration : float or None
        Seconds; None: a clip that starts there, or to the recording's end.
    """

    path: Path
    audio: tuple[str, ...]
    start: float
    duration: float | None

    def is_of(self, clip: Clip) -> bool:
        """Whether it was made of this very clip."""
        same_end = self.duration is None or abs(self.duration - clip.duration) <= SAME_DURATION
        return abs(self.start - clip.start) <= _SAME_START and same_end

    def contains(self, clip: Clip) -> bool:
        """Whether the clip is an excerpt of it: of a whole recording, or of what a table says."""
        if self.duration is None:
            return self.start == 0
        late = clip.start + clip.duration - self.start - self.duration
        return clip.start >= self.start - _SAME_START and late <= SAME_DURATION


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
        self._by_table = table.is_file()
        entries = _read_table(table) if self._by_table else _named(folder)
        if not entries:
            raise DataError(f"{folder}: holds no features; write one .npz or .h5 per clip")
        self._entries: dict[str, list[Entry]] = {}
        for entry in entries:
            self._entries.setdefault(entry.audio[-1], []).append(entry)
        self._silence = next((path for path in map(folder.joinpath, _SILENCES) if path.is_file()), None)
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
        return self._read(entry.path, self._rows(heard.clip, entry, self._shapes(entry.path)))

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


def _files(folder: Path) -> Iterator[Path]:
    """Files of features of a folder and its subfolders, sorted; hidden ones are none."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in _SUFFIXES and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _sounds(entry: Entry, clip: Clip) -> Iterator[float]:
    """Seconds that a file may last; the recording is opened only if the clip's own duration does not do."""
    if entry.duration is not None:
        yield entry.duration
        return
    if entry.is_of(clip):
        yield clip.duration
    yield audio_seconds(clip.audio) - entry.start


def _named(folder: Path) -> list[Entry]:
    """Files by their names; one that ends in ``_start-N`` may also belong to an audio file of that very name."""
    entries: dict[tuple[tuple[str, ...], float], Entry] = {}
    for path in _files(folder):
        inner = path.relative_to(folder).with_suffix("").parts
        if path.name in _SILENCES and len(inner) == 1:
            continue
        keys = [(inner, 0.0)]
        if match := _START.fullmatch(inner[-1]):
            keys.append(((*inner[:-1], match[1]), float(match[2])))
        for key in keys:
            if key in entries:
                raise DataError(f"{path}: stands for the same sound as {entries[key].path}; remove one")
            entries[key] = Entry(path, *key, None)
    return list(entries.values())


def _read_table(path: Path) -> list[Entry]:
    """Files as ``clips.tsv`` lists them."""
    table = read_frame(path, "write tabs between its columns", dtype=str, keep_default_na=False)
    if lacks := [column for column in ("file", "features") if column not in table]:
        raise DataError(f"{path}: lacks the column {lacks[0]!r}; write file, features and, if need be, start, duration")
    return [_entry_of(path, number, row) for number, row in enumerate(table.to_dict("records"), 2)]


def _entry_of(table: Path, line: int, row: Mapping[Any, str]) -> Entry:
    inner = PurePosixPath(row["features"].strip())
    path = table.parent / inner
    if inner.is_absolute() or ".." in inner.parts or path.suffix not in _SUFFIXES or not path.is_file():
        raise DataError(f"{table}, line {line}: {row['features']!r} is no .npz or .h5 inside {table.parent}")
    audio = PurePosixPath(row["file"].strip()).parts
    if not audio:
        raise DataError(f"{table}, line {line}: names no audio file; write its name with its suffix")
    start, duration = (_seconds(table, line, row, column) for column in ("start", "duration"))
    if duration == 0:
        raise DataError(f"{table}, line {line}: duration is 0; write seconds, or n/a for the rest of the recording")
    return Entry(path, audio, start or 0.0, duration)


def _seconds(table: Path, line: int, row: Mapping[Any, str], column: str) -> float | None:
    text = row.get(column, "").strip()
    if text in ("", NOT_AVAILABLE):
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not isfinite(value) or value < 0:
        raise DataError(f"{table}, line {line}: {column} is {text!r}; write seconds, or n/a")
    return value


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
