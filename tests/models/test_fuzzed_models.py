"""Fuzzing the readers of weights, features and arrays: whatever the bytes, arrays or one line of ours."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from mutated import bounded_memory, damaged, fuzzed, told
from safetensors.torch import save

from ban_bids.audio.waveforms import HeardClip
from ban_bids.files.npz import read_arrays
from ban_bids.models.checkpoint import load_checkpoint, load_tensors
from ban_bids.models.stored import StoredFeatures

_CARD = {
    "format": "ban-bids-checkpoint-1",
    "architecture": "x",
    "card": {"config": {"name": "x"}, "genres": ["a"], "split": "none"},
}
_TENSORS = {"a.weight": torch.arange(12.0).reshape(3, 4), "readout.weight": torch.ones(2, 3)}
_WEIGHTS = (save(_TENSORS), save(_TENSORS, {"ban_bids": json.dumps(_CARD)}))
_FRAMES = np.arange(30, dtype="f4").reshape(10, 3)


def _npz(compressed: bool) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, one=_FRAMES, two=_FRAMES.astype("f8"))
    return out.getvalue()


def _npy_inside(raw: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("one.npy", raw)
        archive.writestr("two.npy", raw)
    return out.getvalue()


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, _FRAMES)
    return out.getvalue()


def _h5(**options: object) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.create_dataset("one", data=_FRAMES, **options)
        file.create_dataset("deep/two", data=_FRAMES)
        file["two"] = file["deep/two"]
    return out.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("fuzzed")
    layers = [{"name": "one", "frame_rate": 10.0}, {"name": "two", "frame_rate": 10.0}]
    (folder / "features.json").write_text(json.dumps({"name": "m", "layers": layers}))
    with bounded_memory():
        yield folder


@fuzzed(500)
@given(raw=damaged(_WEIGHTS))
def test_weights(folder: Path, raw: bytes) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(raw)
    told(lambda: load_tensors(path))
    told(lambda: load_checkpoint(path))


def _features(folder: Path, raw: bytes, suffix: str) -> None:
    for old in folder.glob("silence.*"):
        old.unlink()
    (folder / f"silence{suffix}").write_bytes(raw)
    (folder / "clip.npz").write_bytes(_npz(False))
    model = told(lambda: StoredFeatures(folder))
    if model is not None:
        told(lambda: model.features([HeardClip.silence(1.0, 22050)]))


@fuzzed(400)
@given(raw=damaged((_npz(False), _npz(True))))
def test_features_in_archives(folder: Path, raw: bytes) -> None:
    _features(folder, raw, ".npz")


@fuzzed(300)
@given(raw=damaged((_npy(),)))
def test_features_in_sound_archives(folder: Path, raw: bytes) -> None:
    _features(folder, _npy_inside(raw), ".npz")


@fuzzed(400)
@given(raw=damaged((_h5(), _h5(compression="gzip", chunks=(5, 3)))))
def test_features_in_hdf5(folder: Path, raw: bytes) -> None:
    _features(folder, raw, ".h5")


@fuzzed(300)
@given(raw=damaged((_npz(False), _npz(True))))
def test_own_arrays(folder: Path, raw: bytes) -> None:
    path = folder / "own" / "cache.npz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw)
    found = told(lambda: read_arrays(path))
    assert (found is None) == (not path.exists())  # what is damaged is removed, to be made anew
