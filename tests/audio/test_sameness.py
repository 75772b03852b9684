"""The same recording is known again in other forms, and other recordings are not taken for it."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from made_music import music

from ban_bids.audio import sameness as module
from ban_bids.audio.resampling import resampled
from ban_bids.audio.sameness import Fingerprint, Index, fingerprint, groups, identify, recordings, same

RATE = 22_050
SEEDS = (1, 2, 3)
"""Of pieces in one tempo and scale."""


def _at(sound: np.ndarray, rate: int, target: int) -> np.ndarray:
    return resampled(torch.from_numpy(np.ascontiguousarray(sound)), rate, target).numpy()


def _excerpt(sound: np.ndarray, start: float, seconds: float) -> np.ndarray:
    part = sound[round(start * RATE) : round((start + seconds) * RATE)].copy()
    ramp = np.sin(0.5 * np.pi * np.linspace(0, 1, RATE // 2)) ** 2
    part[: len(ramp)] *= ramp
    part[-len(ramp) :] *= ramp[::-1]
    return part


def _stereo(sound: np.ndarray) -> np.ndarray:
    return np.stack([sound, 0.3 * np.roll(sound, 10)], axis=1)


def _everything(sound: np.ndarray) -> np.ndarray:
    return _stereo(0.1 * _at(_at(_excerpt(sound, 4.321, 10.0), 22_270, RATE), RATE, 8000))


_MP3 = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.6}
_OGG = {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.3}
FORMS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int, dict[str, object]]] = {
    "excerpt of 10 s": (lambda x: _excerpt(x, 7.777, 10.0), RATE, {}),
    "excerpt of 4 s": (lambda x: _excerpt(x, 3.14, 4.0), RATE, {}),
    "level": (lambda x: 0.01 * x, RATE, {"subtype": "PCM_16"}),
    "stereo": (_stereo, RATE, {}),
    "8 kHz": (lambda x: _at(x, RATE, 8000), 8000, {}),
    "48 kHz, 24 bit": (lambda x: _at(x, RATE, 48_000), 48_000, {"subtype": "PCM_24"}),
    "float": (lambda x: x, RATE, {"subtype": "FLOAT"}),
    "mp3": (lambda x: x, RATE, _MP3),
    "ogg": (lambda x: x, RATE, _OGG),
    "1 % faster": (lambda x: _at(x, 22_270, RATE), RATE, {}),
    "1 % slower": (lambda x: _at(x, 21_830, RATE), RATE, {}),
    "everything": (_everything, 8000, _MP3),
}


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pieces")
    for seed in SEEDS:
        soundfile.write(folder / f"{seed}.wav", music(seed, 20.0), RATE, subtype="PCM_16")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_a_recording_is_known_in_every_form(pieces: list[Path], tmp_path: Path, form: str) -> None:
    change, rate, options = FORMS[form]
    whole = [identify(path) for path in pieces]
    for k, seed in enumerate(SEEDS):
        soundfile.write(tmp_path / f"{seed}", change(music(seed, 20.0)), rate, **{"format": "WAV", **options})
        heard = identify(tmp_path / f"{seed}")
        assert [same(heard, one) for one in whole] == [j == k for j in range(len(whole))]
        assert [same(one, heard) for one in whole] == [j == k for j in range(len(whole))]


def test_excerpts_that_overlap_are_the_same_and_those_that_do_not_are_not() -> None:
    sound = music(4, 20.0)
    early, late, last = (fingerprint(sound[a * RATE : b * RATE], RATE) for a, b in ((0, 9), (5, 14), (10, 20)))
    assert Index([early, late, last]).pairs() == [(0, 1), (1, 2)]


def test_a_passage_of_a_long_recording() -> None:
    sound = music(5, 100.0)
    parts = [fingerprint(sound[round(s * RATE) : round((s + 8) * RATE)], RATE) for s in (1.0, 29.0, 45.5, 91.0)]
    others = [fingerprint(music(seed, 40.0), RATE) for seed in (6, 7)]
    index = Index([others[0], fingerprint(sound, RATE), others[1]])
    assert index.matches(parts) == [(k, 1) for k in range(4)]


def _by_hand(one: np.ndarray, other: np.ndarray) -> bool:
    for speed in module._SPEEDS:
        frames = np.rint(np.arange(int(len(one) / speed)) * speed).astype(int).clip(max=len(one) - 1)
        warped = one[frames]
        for lag in range(1 - len(warped), len(other)):
            first, last = max(0, -lag), min(len(warped), len(other) - lag)
            a, b = warped[first:last], other[first + lag : last + lag]
            n = np.sqrt(np.abs(a).sum() * np.abs(b).sum())
            if n >= 100 and (a * b).sum() / n >= 0.4 + 2.5 / np.sqrt(n):
                return True
    return False


def test_all_lags_are_compared_as_by_hand() -> None:
    rng = np.random.default_rng(0)

    def packed(cells: np.ndarray) -> Fingerprint:
        return Fingerprint(np.packbits(np.hstack([cells > 0, cells < 0]), axis=1).tobytes())

    whole = rng.choice([-1, 0, 1], (60, 16), p=[0.3, 0.4, 0.3])
    cut = []
    for share in np.linspace(0.2, 0.9, 25):  # of cells that are another's: on both sides of the border
        part = whole[rng.integers(0, 40) :][: rng.integers(8, 40)].copy()
        changed = rng.random(part.shape) < share
        part[changed] = rng.choice([-1, 0, 1], changed.sum(), p=[0.3, 0.4, 0.3])
        cut.append(part)
    expected = [(k, 0) for k, part in enumerate(cut) if _by_hand(part, whole)]
    assert 5 < len(expected) < 20
    assert Index([packed(whole)]).matches([packed(part) for part in cut]) == expected


def _clicks(per_minute: float, pitch: float) -> np.ndarray:
    time = np.arange(RATE // 10) / RATE
    click = np.sin(2 * np.pi * pitch * time) * np.exp(-time / 0.03)
    track = np.zeros(15 * RATE)
    for second in np.arange(0, 14.8, 60 / per_minute):
        track[round(second * RATE) :][: len(click)] += click
    return (0.3 * track).astype(np.float32)


def test_click_tracks_differ_in_tempo_and_sound() -> None:
    tracks = [fingerprint(_clicks(*how), RATE) for how in ((120, 1000), (100, 1000), (60, 1000), (120, 2000))]
    assert all(one.is_telling for one in tracks)
    assert Index(tracks).pairs() == []
    copy = fingerprint(_at(0.2 * _clicks(120, 1000), RATE, 16_000), 16_000)
    assert Index(tracks).matches([copy]) == [(0, 0)]


@pytest.mark.parametrize("make", [
    lambda k: np.sin(2 * np.pi * (400 + 100 * k) * np.arange(5 * RATE) / RATE),
    lambda k: music(k, 0.8),
    lambda k: np.zeros(5 * RATE + k),
])  # fmt: skip
def test_what_has_no_telling_fingerprint_is_known_by_its_samples(
    tmp_path: Path, make: Callable[[int], np.ndarray]
) -> None:
    for k in range(3):
        soundfile.write(tmp_path / f"{k}.wav", 0.5 * make(k), RATE, subtype="PCM_16")
    samples, _ = soundfile.read(tmp_path / "1.wav")
    soundfile.write(tmp_path / "3.au", samples, RATE, subtype="FLOAT")
    assert not any(identify(path).fingerprint.is_telling for path in tmp_path.iterdir())
    found = {path.name: first.name for path, first in recordings(list(tmp_path.iterdir())).items()}
    assert found == {"0.wav": "0.wav", "1.wav": "1.wav", "2.wav": "2.wav", "3.au": "1.wav"}


def test_groups_are_closed_and_named_by_their_first(pieces: list[Path], tmp_path: Path) -> None:
    sound = music(1, 20.0)
    for name, part in {"c": sound[: 9 * RATE], "b": sound[5 * RATE : 14 * RATE], "d": sound[10 * RATE :]}.items():
        soundfile.write(tmp_path / f"{name}.wav", part, RATE)
    shutil.copy(pieces[1], tmp_path / "a.wav")
    shutil.copy(pieces[1], tmp_path / "e.wav")
    found = {path.name: first.name for path, first in recordings(list(tmp_path.iterdir())).items()}
    assert found == {"a.wav": "a.wav", "b.wav": "b.wav", "c.wav": "b.wav", "d.wav": "b.wav", "e.wav": "a.wav"}
    assert groups([]) == []
    assert recordings([]) == {}


def test_text_of_a_fingerprint() -> None:
    one = fingerprint(music(1, 30.0), RATE)
    assert Fingerprint.of(str(one)) == one
    assert len(str(one)) < 1600
    assert one.cells.shape == (294, 16)
    assert set(np.unique(one.cells)) == {-1, 0, 1}
    for text in ("", "0:", "1:???", "1:" + base64.b64encode(b"abc").decode(), str(one)[2:]):
        with pytest.raises(ValueError, match="fingerprint"):
            Fingerprint.of(text)


def test_a_file_that_changed_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    found = []
    for seed in (1, 2, 1):
        soundfile.write(path, music(seed, 3.0), RATE)
        found.append(identify(path))
    assert found[0] == found[2] != found[1]


def test_real_tracks_are_different_and_known_by_their_excerpts(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "gtzan_mini").rglob("*.wav"))
    assert len(files) == 70
    index = Index([identify(path).fingerprint for path in files])
    assert index.pairs() == []
    parts = []
    for path in files[::5]:
        sound, rate = soundfile.read(path, dtype="float32")
        soundfile.write(tmp_path / path.name, 0.2 * sound[11 * rate : 26 * rate], rate, **_MP3)
        parts.append(identify(tmp_path / path.name).fingerprint)
    assert index.matches(parts) == [(k, 5 * k) for k in range(14)]


def test_real_digits_differ(shared_data: Path) -> None:
    files = sorted((shared_data / "fsdd" / "digits").rglob("*.wav"))[::10]
    found = recordings(files)
    assert len(files) == 300
    assert [path for path, first in found.items() if path != first] == []
    assert all(identify(a).digest != identify(b).digest for a, b in combinations(files[:20], 2))
