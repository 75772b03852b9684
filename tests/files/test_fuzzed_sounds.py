"""Fuzzing the reader of sounds: whatever the bytes, samples or one line of ours."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from mutated import bounded_memory, damaged, fuzzed, real, told

from ban_bids.files.sounds import MOST_CHANNELS, MOST_PER_SECOND, open_sound, sound_info

_KINDS = (
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"),
    ("AU", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "IMA_ADPCM"),
)  # fmt: skip


def _encoded(kind: str, subtype: str) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (4000, 2))
    soundfile.write(out, noise, 8000, format=kind, subtype=subtype)
    return out.getvalue()


_SOUNDS = (*(_encoded(*kind) for kind in _KINDS), *real("fsdd/**/*.wav"))
_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".au", ".aiff", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with bounded_memory():
        yield tmp_path_factory.mktemp("fuzzed")


def _decode(path: Path) -> None:
    with open_sound(path) as file:
        for number, block in enumerate(file.blocks(blocksize=1 << 14, dtype="float32", always_2d=True)):
            assert block.shape[1] == file.channels
            if number > 20:
                break


@fuzzed(1800)
@given(raw=damaged(_SOUNDS), suffix=st.sampled_from(_SUFFIXES))
def test_sounds(folder: Path, raw: bytes, suffix: str) -> None:
    path = folder / f"sound{suffix}"
    path.write_bytes(raw)
    info = told(lambda: sound_info(path))
    if info is not None:
        assert info.frames > 0 and 0 < info.channels <= MOST_CHANNELS and 0 < info.sampling_rate <= MOST_PER_SECOND
        told(lambda: _decode(path))
