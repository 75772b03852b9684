"""A model's features of clips, computed once per clip and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ban_bids import __version__
from ban_bids.audio.waveforms import HeardClip, content_hash
from ban_bids.errors import DataError
from ban_bids.files.locks import file_lock
from ban_bids.files.npz import GrowingRows, read_arrays, write_arrays
from ban_bids.files.progress import progress
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import Candidate
from ban_bids.models.controls import Control
from ban_bids.models.pieces import in_pieces

LEAST_RATE = 10.0
"""Frames per second that are kept of every layer: neighbouring frames are averaged as long as so many are left.

They are averaged over volumes later on. At a network's own rates seven networks (one model and its controls) with 540
clips of 15 s would take 13 GB.
"""

_SILENCE_SECONDS = 4.0
_BATCH, _BATCH_SECONDS = 8, 60.0
"""Clips that a model hears at a time: so many, and so much sound of more than one, at most.

What a large network holds of eight clips of 15 s is another gigabyte beside its weights and its control's.
"""

_IN_MEMORY = 1 << 24
"""Bytes of a long clip's features, per layer, that wait in memory until all are there."""


class FeatureCache:
    """Features of one model, by clip.

    Parameters
    ----------
    model : Candidate
        Its ``fingerprint`` (weights and front-end settings) is part of every key, and so are its sampling rate
        and the device that it runs on.
    folder : Path
        Where features are kept; made if missing.
    """

    def __init__(self, model: Candidate, folder: Path) -> None:
        self.model = model
        self.folder = folder
        self._content: dict[Path, str] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def frame_rate(self, layer: str) -> float:
        """Frames per second of what is kept of a layer."""
        return self.model.frame_rate[layer] / self._averaged(layer)

    def _averaged(self, layer: str) -> int:
        """How many of the model's frames are one frame here."""
        return max(1, int(self.model.frame_rate[layer] / LEAST_RATE + 1e-9))

    def _path(self, clip: Clip | None) -> Path:
        """Return the file of a clip's features (None: silence), named by everything they depend on."""
        device = str(getattr(self.model, "device", ""))  # a GPU rounds otherwise
        parts: list[object] = [__version__, self.model.fingerprint, device, self.model.sampling_rate, LEAST_RATE]
        if clip is None:
            parts += ["silence", _SILENCE_SECONDS]
        else:
            if clip.audio not in self._content:
                self._content[clip.audio] = content_hash(clip.audio)
            parts += [self._content[clip.audio], clip.start, clip.duration, clip.fade, clip.rms]
        return self.folder / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.npz"

    def compute(self, clips: Sequence[Clip]) -> None:
        """Compute the features of those clips, and of silence, that are not on disk yet.

        Processes that share the folder wait for each other, so that nothing is computed twice.

        Parameters
        ----------
        clips : sequence of Clip
            Repeated and known ones cost nothing.
        """
        wanted = {self._path(clip): clip for clip in (None, *clips)}
        if all(path.exists() for path in wanted):
            return
        with file_lock(self._path(None).with_suffix(".lock")):
            missing = [path for path in wanted if not path.exists()]
            batches = _batches(
                [(path, clip.duration if (clip := wanted[path]) else _SILENCE_SECONDS) for path in missing]
            )
            try:
                for batch in progress(batches, f"features of {self.model.name}"):
                    self._compute({path: wanted[path] for path in batch})
            finally:
                self._release()

    def _compute(self, clips: Mapping[Path, Clip | None]) -> None:
        """Compute and write some clips (None: silence), even where there is a file already."""
        rate = self.model.sampling_rate
        heard = {
            path: HeardClip(clip, rate) if clip else HeardClip.silence(_SILENCE_SECONDS, rate)
            for path, clip in clips.items()
        }
        whole = []
        for path, clip in heard.items():
            parts = in_pieces(self.model, clip)
            if parts is None:
                whole.append(path)
            else:
                write_arrays(path, self._kept(parts, clip))
        if whole:
            for path, features in zip(whole, self.model.features([heard[path] for path in whole])):
                write_arrays(path, self._kept([features], heard[path]))

    def _kept(self, parts: Iterable[Mapping[str, np.ndarray]], clip: HeardClip) -> dict[str, np.ndarray]:
        """What is kept of a clip's features, which may come piece by piece."""
        kept: dict[str, _Averaging] = {}
        for part in parts:
            arrays = {layer: np.asarray(a, dtype=np.float32) for layer, a in part.items()}
            broken = [layer for layer, values in arrays.items() if not np.isfinite(values).all()]
            if broken:
                raise DataError(
                    f"model {self.model.name}: features of {broken[0]} are not finite ({clip}); check its weights"
                )
            for layer, values in arrays.items():
                if layer not in kept:
                    kept[layer] = _Averaging(self._averaged(layer), self.folder)
                kept[layer].add(values)
        return {layer: averaging.all() for layer, averaging in kept.items()}

    def _release(self) -> None:
        """Let a control that makes its module for this give the memory back."""
        if isinstance(self.model, Control):
            self.model.release()

    def bytes_per_second(self) -> float:
        """Bytes on disk that a second of sound takes, all layers together; silence is computed for it and kept."""
        self.compute(())
        return self._path(None).stat().st_size / _SILENCE_SECONDS

    def silence(self, layer: str) -> np.ndarray:
        """Return the response to silence of one layer, (n_features,): the mean of the last second of four."""
        last = max(1, int(round(self.frame_rate(layer))))
        return self.load(None, layer)[-last:].mean(axis=0)

    def load(self, clip: Clip | None, layer: str) -> np.ndarray:
        """Return a computed clip's (None: silence's) features of one layer: (n_frames, n_features), float32.

        A damaged file is logged and computed anew; its checksum says so.
        """
        path = self._path(clip)
        arrays = read_arrays(path, layer)
        if arrays is None:
            self._compute({path: clip})
            self._release()
            arrays = read_arrays(path, layer)
        if arrays is None:
            raise DataError(f"{path}: damaged as soon as it is written; check the disk or give another -w")
        return arrays[layer]


class _Averaging:
    """Means of neighbouring frames of one layer that comes in parts; what is large waits in a file."""

    def __init__(self, count: int, folder: Path) -> None:
        self._count = count
        self._means = GrowingRows(folder, _IN_MEMORY)
        self._left: np.ndarray | None = None

    def add(self, frames: np.ndarray) -> None:
        """The next frames, (n_frames, n_features)."""
        if self._left is not None and len(self._left):
            frames = np.concatenate([self._left, frames])
        whole = len(frames) // self._count * self._count
        self._means.add(averaged(frames[:whole], self._count))
        self._left = frames[whole:]

    def all(self) -> np.ndarray:
        """The means of all that were added, the last one of those that are left."""
        if self._left is not None and len(self._left):
            self._means.add(averaged(self._left, self._count))
        return self._means.all()


def _batches(clips: Sequence[tuple[Path, float]]) -> list[list[Path]]:
    """Group paths of clips and their seconds, in order."""
    batches: list[list[Path]] = []
    total = 0.0
    for path, seconds in clips:
        if not batches or len(batches[-1]) == _BATCH or total + seconds > _BATCH_SECONDS:
            batches.append([])
            total = 0.0
        batches[-1].append(path)
        total += seconds
    return batches


def averaged(frames: np.ndarray, count: int) -> np.ndarray:
    """Return means of ``count`` neighbouring frames (n_frames, n_features), the last one of those that are left."""
    if not len(frames):
        return frames
    first = np.arange(0, len(frames), count)
    sums = np.add.reduceat(frames, first, axis=0, dtype=np.float64)
    return (sums / np.minimum(count, len(frames) - first)[:, None]).astype(np.float32)
