"""A model's features of clips, computed once a clip and kept on disk."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.audio.clips import content_hash, render_clip
from ban_bids.inputs.dataset import Clip
from ban_bids.models.base import AudioModel
from ban_bids.progress import progress

SAMPLING_RATE = 22050
_SILENCE_SECONDS = 4.0
_BATCH = 8

Features = dict[str, np.ndarray]


class FeatureCache:
    """Features of one model, by clip.

    Parameters
    ----------
    model : AudioModel
        Its ``fingerprint`` (weights and front-end settings) is part of every key.
    folder : Path
        Where features are kept; made if missing.
    """

    def __init__(self, model: AudioModel, folder: Path) -> None:
        self.model = model
        self.folder = folder
        self._content: dict[Path, str] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, clip: Clip | None) -> Path:
        """Return the file of a clip's features (None: silence), named by everything they depend on."""
        parts: list[object] = [self.model.fingerprint, SAMPLING_RATE]
        if clip is None:
            parts += ["silence", _SILENCE_SECONDS]
        else:
            if clip.audio not in self._content:
                self._content[clip.audio] = content_hash(clip.audio)
            parts += [self._content[clip.audio], clip.start, clip.duration, clip.fade, clip.rms]
        return self.folder / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.npz"

    def compute(self, clips: Sequence[Clip]) -> None:
        """Compute the features of those clips, and of silence, that are not on disk yet.

        Parameters
        ----------
        clips : sequence of Clip
            Repeated and known ones cost nothing.
        """
        if not self._path(None).exists():
            still = np.zeros(int(_SILENCE_SECONDS * SAMPLING_RATE), dtype=np.float32)
            _write(self._path(None), self.model.features([still])[0])
        missing = {self._path(clip): clip for clip in clips if not self._path(clip).exists()}
        paths = list(missing)
        batches = [paths[first : first + _BATCH] for first in range(0, len(paths), _BATCH)]
        for batch in progress(batches, f"features of {self.model.name}"):
            waves = [render_clip(missing[path], SAMPLING_RATE) for path in batch]
            for path, features in zip(batch, self.model.features(waves)):
                _write(path, features)

    def load(self, clip: Clip, area: str) -> np.ndarray:
        """Return a computed clip's features of one area: (n_frames, n_features), float32."""
        with np.load(self._path(clip)) as stored:
            return stored[area]

    def silence(self, area: str) -> np.ndarray:
        """Return the response to silence of one area, (n_features,): the mean of the last second of four."""
        with np.load(self._path(None)) as stored:
            frames = stored[area]
        last = max(1, int(round(self.model.frame_rate[area])))
        return frames[-last:].mean(axis=0)


def _write(path: Path, features: Features) -> None:
    """Write features so that a reader, or another process, only ever sees a whole file."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {area: np.asarray(array, dtype=np.float32) for area, array in features.items()}
    np.savez(buffer, **arrays)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "wb") as stream:
        stream.write(buffer.getbuffer())
    Path(name).replace(path)
