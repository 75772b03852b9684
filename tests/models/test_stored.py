"""Features from files: the right file for each clip, the right frames of it, and every fault in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

from ban_bids.audio.sameness import identify
from ban_bids.audio.waveforms import HeardClip
from ban_bids.encoding.features import FeatureCache
from ban_bids.errors import BanBidsError, DataError, NotComputable, UsageError
from ban_bids.files.npz import write_arrays
from ban_bids.inputs.types import Clip
from ban_bids.models.checkpoint import check_no_overlap
from ban_bids.models.registry import load_model
from ban_bids.models.stored import StoredFeatures

RATE = 8000
FAST, SLOW = 50.0, 12.5
LAYERS = [{"name": "conv/1", "frame_rate": FAST}, {"name": "file", "frame_rate": SLOW}]


def _describe(folder: Path, **more: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.json").write_text(json.dumps({"name": "theirs", "layers": LAYERS, **more}))


def _frames(start: float, seconds: float, rate: float, dims: int) -> np.ndarray:
    """Frame k of second t holds t and a number per dim: what is read tells where it lies in the recording."""
    n = round(seconds * rate)
    return (start + np.arange(n) / rate)[:, None] + 1000.0 * np.arange(dims)


def _arrays(start: float, seconds: float) -> dict[str, np.ndarray]:
    return {"conv/1": _frames(start, seconds, FAST, 3), "file": _frames(start, seconds, SLOW, 2)}


def _write(path: Path, start: float = 0.0, seconds: float = 6.0, **changed: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = _arrays(start, seconds) | changed
    if path.suffix == ".npz":
        write_arrays(path, arrays)
    else:
        with h5py.File(path, "w") as stored:
            for name, values in arrays.items():
                stored[name] = values
    return path


def _audio(path: Path, seconds: float = 6.0, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE)), RATE)
    return path


def _clip(audio: Path, start: float = 0.0, duration: float = 6.0) -> Clip:
    return Clip(audio, start, duration, audio.stem)


def _read(model: Any, *clips: Clip) -> list[dict[str, np.ndarray]]:
    return model.features([HeardClip(clip, model.sampling_rate) for clip in clips])


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    return _audio(tmp_path / "stimuli" / "rock" / "a.song.wav")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _describe(tmp_path / "features")
    return tmp_path / "features"


def _load(folder: Path) -> StoredFeatures:
    model = load_model(f"features:{folder}", None)
    assert isinstance(model, StoredFeatures)
    return model


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_each_clip_gets_its_own_file(audio: Path, folder: Path, suffix: str) -> None:
    _describe(folder, mapping={"file": "PB"}, references=["Doe 2020"])
    _write(folder / f"a.song{suffix}", 0, 2)
    _write(folder / f"a.song_start-2.5{suffix}", 2.5, 3)
    model = _load(folder)
    assert (model.name, model.layers) == ("theirs", ("conv/1", "file"))
    assert model.frame_rate == {"conv/1": FAST, "file": SLOW}
    assert model.mapping == {"file": "PB"}
    assert not hasattr(model, "module")
    clips = [_clip(audio, 0, 2), _clip(audio, 2.5, 3)]
    assert len(model.check(clips)) == 1
    for features, clip in zip(_read(model, *clips), clips):
        for layer, expected in _arrays(clip.start, clip.duration).items():
            assert features[layer].dtype == np.float32
            np.testing.assert_array_equal(features[layer], expected.astype(np.float32))
    with pytest.raises(NotComputable, match="no read-out"):
        model.genre_probabilities([])


def test_a_recordings_file_serves_its_excerpts(audio: Path, folder: Path) -> None:
    _write(folder / "a.song.npz")
    model = _load(folder)
    whole, part, odd, last = _read(
        model, _clip(audio), _clip(audio, 2.0, 1.5), _clip(audio, 1.03, 2.0), _clip(audio, 5.0, 1.08)
    )
    assert whole["conv/1"].shape == (300, 3)
    np.testing.assert_allclose(part["conv/1"][:, 0], 2.0 + np.arange(75) / FAST, atol=1e-6)
    np.testing.assert_allclose(part["file"][:, 1], 1002.0 + np.arange(19) / SLOW, atol=1e-4)  # 18.75 frames
    # the nearest frame: at most half of one away
    assert abs(odd["conv/1"][0, 0] - 1.03) <= 0.5 / FAST + 1e-6
    assert abs(odd["file"][0, 0] - 1.03) <= 0.5 / SLOW + 1e-6
    assert last["conv/1"][-1, 0] == pytest.approx(5.98)  # an excerpt may reach 0.1 s past its file; the last is held


def test_folders_tell_files_of_one_name_apart(tmp_path: Path, audio: Path, folder: Path) -> None:
    other = _audio(tmp_path / "stimuli" / "pop" / "a.song.wav", seed=1)
    top = _audio(tmp_path / "stimuli" / "a.song.wav", seed=2)
    _write(folder / "rock" / "a.song.npz", 0)
    _write(folder / "pop" / "a.song.npz", 100)
    _write(folder / "a.song.npz", 200)
    model = _load(folder)
    model.check([_clip(audio), _clip(other), _clip(top)])
    first = [features["file"][0, 0] for features in _read(model, _clip(audio), _clip(other), _clip(top))]
    assert first == [0, 100, 200]
    # without folders nobody knows whose they are; also where the second is another participant's
    (folder / "rock" / "a.song.npz").unlink()
    (folder / "pop" / "a.song.npz").unlink()
    with pytest.raises(DataError, match=r"a\.song\.npz: may hold the features of .*rock.* or of .*pop.*; put it"):
        _load(folder).check([_clip(audio)], [_clip(other)])
    model = _load(folder)
    _read(model, _clip(audio))
    with pytest.raises(DataError, match="may hold the features of"):
        _read(model, _clip(other))
    # the same recording in two places is no riddle
    copy = tmp_path / "copy" / "a.song.wav"
    copy.parent.mkdir()
    copy.write_bytes(audio.read_bytes())
    _load(folder).check([_clip(audio), _clip(copy)])


def test_two_files_for_one_clip_are_refused(audio: Path, folder: Path) -> None:
    _write(folder / "a.song.npz")
    _write(folder / "a.song.h5")
    with pytest.raises(DataError, match=r"a\.song\.npz: stands for the same sound as .*a\.song\.h5; remove one"):
        _load(folder)


def test_audio_files_may_end_as_names_of_features_do(tmp_path: Path, folder: Path) -> None:
    cut = _audio(tmp_path / "stimuli" / "b_start-3.wav")
    _write(folder / "b_start-3.npz")
    assert _read(_load(folder), _clip(cut))[0]["file"][0, 0] == 0


def test_a_table_names_files(tmp_path: Path, audio: Path, folder: Path) -> None:
    mp3 = _audio(audio.with_suffix(".flac"), seed=3)
    for name, start, seconds in (("x/1.npz", 0, 2), ("2.h5", 0, 4), ("3.npz", 4, 2), ("4.npz", 0, 6)):
        _write(folder / name, start, seconds)
    rows = [
        "a.song.wav\t0\t2\tx/1.npz",
        "a.song.wav\t0\t4\t2.h5",
        "a.song.wav\t4\tn/a\t3.npz",
        "a.song.flac\t\t\t4.npz",
    ]
    table = folder / "clips.tsv"
    table.write_text("\n".join(["file\tstart\tduration\tfeatures", *rows]))
    model = _load(folder)
    clips = [_clip(audio, 0, 2), _clip(audio, 0, 4), _clip(audio, 4, 2), _clip(audio, 2.4, 1.6), _clip(mp3, 3, 3)]
    model.check(clips)
    expected = [(0, 100), (0, 200), (4, 100), (2.4, 80), (3, 150)]
    got = [(f["conv/1"][0, 0], len(f["conv/1"])) for f in _read(model, *clips)]
    assert got == [(pytest.approx(start), n) for start, n in expected]
    with pytest.raises(DataError, match=r"both .*1\.npz and .*2\.h5 may hold its features"):
        _read(model, _clip(audio, 0.5, 1))
    with pytest.raises(DataError, match=r"a\.song\.wav, 3 to 5 s: no features; looked for a row of .*clips\.tsv"):
        _read(model, _clip(audio, 3, 2))
    for text, message in (
        ("file\tstart\na\t0\n", "lacks the column 'features'"),
        ("file\tfeatures\na.wav\t../x.npz\n", r"line 2: '../x\.npz' is no .npz or .h5 inside"),
        ("file\tfeatures\na.wav\tnone.npz\n", "line 2: 'none.npz' is no"),
        ("file\tstart\tfeatures\na.wav\tsoon\t4.npz\n", "line 2: start is 'soon'"),
        ("file\tduration\tfeatures\na.wav\t0\t4.npz\n", "line 2: duration is 0"),
        ("file\tfeatures\n\t4.npz\n", "line 2: names no audio file"),
        ("file\tfeatures\n", "holds no features"),
    ):
        table.write_text(text)
        with pytest.raises(DataError, match=message):
            _load(folder)


def test_missing_files_are_named_and_counted(audio: Path, folder: Path) -> None:
    _write(folder / "a.song_start-1.npz", 1, 2)
    model = _load(folder)
    clips = [_clip(audio, start, 2) for start in (1, 2.5, 3, 4)]
    with pytest.raises(DataError) as caught:
        model.check(clips)
    message = str(caught.value)
    assert "rock/a.song.wav, 2.5 to 4.5 s: no features (one of 3 of 4 clips without)" in message
    assert f"looked for a.song_start-2.5.npz or a.song.npz (or .h5) in {folder}" in message
    assert "\n" not in message
    assert [model.has(clip) for clip in clips] == [True, False, False, False]


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: _write(f, file=np.zeros((75, 2, 1))), r"'file' is float64 of shape \(75, 2, 1\); it must be numbers"),
    (lambda f: _write(f, file=np.zeros((75, 0))), r"shape \(75, 0\)"),
    (lambda f: _write(f, file=np.full((75, 2), "x")), "'file' is <U1 of shape"),
    (lambda f: _write(f, file=np.full((75, 2), 1j)), "'file' is complex128"),
    (lambda f: np.savez(f, **{"conv/1": np.full((300, 3), {})}), "'conv/1' holds objects, which are not unpickled"),
    (lambda f: _write(f, file=np.full((75, 2), np.nan)), "features of 'file' are not finite"),
    (lambda f: _write(f, file=np.full((75, 2), 1e300)), "features of 'file' are not finite"),
    (lambda f: _write(f, seconds=5.8), r"290 frames of 'conv/1' last 5.800 s at 50 Hz, their sound 6.000 s"),
    (lambda f: _write(f, file=np.zeros((77, 2))), "77 frames of 'file' last 6.160 s"),
    (lambda f: _write(f, file=np.zeros((73, 2))), "73 frames of 'file'"),
    (lambda f: np.savez(f, other=np.zeros(3)), r"has no array 'conv/1' \(it has other\)"),
    (lambda f: f.write_bytes(b"nothing"), "cannot be read .*; make the file anew"),
    (lambda f: f.write_bytes(_write(f).read_bytes()[:-200]), "cannot be read"),
]


@pytest.mark.parametrize(("write", "message"), FAULTS, ids=range(len(FAULTS)))
def test_a_files_fault_is_one_line(audio: Path, folder: Path, write: Callable[[Path], object], message: str) -> None:
    write(folder / "a.song.npz")
    with pytest.raises(DataError, match=message) as caught:
        _read(_load(folder), _clip(audio))
    assert str(folder / "a.song.npz") in str(caught.value)


@pytest.mark.parametrize("missing", [-1, 0, 1])
def test_one_frame_more_or_less_passes(audio: Path, folder: Path, missing: int) -> None:
    _write(folder / "a.song.npz", file=np.zeros((75 - missing, 2)))
    assert len(_read(_load(folder), _clip(audio))[0]["file"]) == min(75, 75 - missing)


def test_a_stated_tolerance_counts(audio: Path, folder: Path) -> None:
    _write(folder / "a.song.npz", file=np.zeros((72, 2)))
    _describe(folder, tolerance=3)
    _read(_load(folder), _clip(audio))
    _describe(folder, tolerance=2)
    with pytest.raises(DataError, match="72 frames"):
        _read(_load(folder), _clip(audio))


def test_a_wrong_frame_rate_is_noticed(audio: Path, folder: Path) -> None:
    # a file of the clip alone, described at half its rate, seems twice as long; it is no longer than the recording
    _write(folder / "a.song_start-1.npz", 1, 2)
    _describe(folder, layers=[{"name": "conv/1", "frame_rate": 25}, LAYERS[1]])
    with pytest.raises(DataError, match=r"100 frames of 'conv/1' last 4.000 s at 25 Hz, their sound 2.000 or 5.000 s"):
        _load(folder).check([_clip(audio, 1, 2)])


def test_dims_agree_between_files(audio: Path, folder: Path) -> None:
    _write(folder / "a.song_start-1.npz", 1, 2)
    _write(folder / "a.song_start-3.npz", 3, 2, file=np.zeros((25, 4)))
    clips = [_clip(audio, 1, 2), _clip(audio, 3, 2)]
    with pytest.raises(DataError, match=r"a.song_start-3.npz: 'file' has 4 dims, but 2 in .*a.song_start-1.npz"):
        _load(folder).check(clips)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "Theirs"}, "name 'Theirs' enters file names"),
        ({"name": 3}, "name must be a text"),
        ({"layers": []}, "layers must be a list such as"),
        ({"layers": {"a": 50}}, "layers must be a list such as"),
        ({"layers": [{"name": "a", "frame_rate": "50"}]}, "is no layer"),
        ({"layers": [{"name": "a", "frame_rate": 0}]}, "is no layer"),
        ({"layers": [{"name": "a", "frame_rate": float("nan")}]}, "is no layer"),
        ({"layers": [{"name": "a", "frame_rate": True}]}, "is no layer"),
        ({"layers": [{"name": "a"}]}, "is no layer"),
        ({"layers": [{"name": "a", "frame_rate": 1, "rate": 2}]}, "is no layer"),
        ({"layers": [LAYERS[1], LAYERS[1]]}, "layer 'file' is there twice"),
        ({"layers": [LAYERS[1], {"name": "fi-le", "frame_rate": 1}]}, "would both be named file"),
        ({"mapping": {"file": "STG"}}, "'STG' is no region"),
        ({"mapping": {"other": "A1"}}, "no layer 'other'"),
        ({"mapping": ["file"]}, "mapping must be an object of texts"),
        ({"references": "Doe 2020"}, "references must be a list of texts"),
        ({"training": 3}, "training must be a text"),
        ({"training": {"hashes": [1]}}, "hashes must be an object of texts"),
        ({"training": {"tracks": {}}}, "unknown key 'tracks' in training"),
        ({"sampling": 16000}, "sampling must be a text"),
        ({"tolerance": 0.5}, "tolerance must be a number of whole frames"),
        ({"mappings": {}}, "unknown key 'mappings'; the keys are layers, mapping, name"),
    ],
)
def test_a_wrong_description_is_refused(folder: Path, changed: dict[str, Any], message: str) -> None:
    _write(folder / "a.npz")
    _describe(folder, **changed)
    with pytest.raises(DataError, match=message) as caught:
        _load(folder)
    assert str(folder / "features.json") in str(caught.value)


def test_what_is_no_folder_of_features_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="no such folder; write features:FOLDER"):
        load_model(f"features:{tmp_path / 'nowhere'}", None)
    with pytest.raises(UsageError, match="no such folder"):
        load_model("features:", None)
    with pytest.raises(UsageError, match="need no weights; drop"):
        load_model(f"features:{folder}", Path("w.safetensors"))
    with pytest.raises(DataError, match="holds no features"):
        load_model(f"features:{folder}", None)
    (folder / "features.json").unlink()
    with pytest.raises(DataError, match=r"features\.json: not there"):
        load_model(f"features:{folder}", None)


def test_silence_is_given_or_zero(tmp_path: Path, audio: Path, folder: Path) -> None:
    _write(folder / "a.song.npz")
    model = _load(folder)
    assert model.check([_clip(audio)]) == (
        "theirs: the features have no silence.npz, so the response to silence is 0 in every layer",
    )
    cache = FeatureCache(model, tmp_path / "cache")
    cache.compute([_clip(audio)])
    np.testing.assert_array_equal(cache.silence("conv/1"), np.zeros(3))
    np.testing.assert_array_equal(cache.load(_clip(audio), "file"), _read(model, _clip(audio))[0]["file"])
    # a frame will do: nothing is heard, however long
    _write(folder / "silence.npz", **{"conv/1": np.full((1, 3), 7.0), "file": np.full((1, 2), 8.0)})
    model = _load(folder)
    assert model.check([_clip(audio)]) == ()
    cache = FeatureCache(model, tmp_path / "cache")
    cache.compute([])
    np.testing.assert_array_equal(cache.silence("conv/1"), np.full(3, 7.0))
    np.testing.assert_array_equal(cache.silence("file"), np.full(2, 8.0))
    with pytest.raises(DataError, match="read from files, and sound of no file has none"):
        model.features([HeardClip(None, model.sampling_rate, np.ones(100))])


@pytest.mark.parametrize("missing", [0, 1])
def test_after_a_recordings_end_there_is_silence(tmp_path: Path, audio: Path, folder: Path, missing: int) -> None:
    # a row of 9 s on 6 s of sound, as a rule's pad allows: as of a model that hears, 3 s of silence
    longer = Clip(audio, 0.0, 9.0, audio.stem, file_end=6.0)
    whole = _arrays(0.0, 6.0)
    _write(folder / "a.song.npz", **{layer: frames[: len(frames) - missing] for layer, frames in whole.items()})
    for silence in (0.0, 7.0):
        if silence:
            _write(folder / "silence.npz", **{"conv/1": np.full((1, 3), 7.0), "file": np.full((1, 2), 7.0)})
        cache = FeatureCache(_load(folder), tmp_path / "cache")
        cache.compute([longer])
        for layer, dims in (("conv/1", 3), ("file", 2)):
            frames, rate = cache.load(longer, layer), cache.frame_rate(layer)
            own, after = np.split(frames, [round(6 * rate)])
            assert (own[:, 1] >= 1000).all()  # the recording's
            np.testing.assert_array_equal(after, np.full((int(np.ceil(9 * rate)) - len(own), dims), silence))
    # features of the clip as it was played are taken as they are
    played = _arrays(0.0, 9.0)
    _write(folder / "a.song.npz", **played)
    read = _read(_load(folder), longer)[0]["file"]
    np.testing.assert_allclose(read[: len(played["file"])], played["file"], rtol=1e-6)


def test_a_changed_file_changes_the_key_or_is_noticed(tmp_path: Path, audio: Path, folder: Path) -> None:
    path = _write(folder / "a.song.npz")
    model = _load(folder)
    before = model.fingerprint
    assert _load(folder).fingerprint == before
    moved = folder.rename(tmp_path / "elsewhere")
    assert _load(moved).fingerprint == before
    folder = moved.rename(folder)
    stamp = path.stat()
    _write(path, file=np.ones((75, 2)))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the same size and time of change
    with pytest.raises(DataError, match="changed while it was in use"):
        _read(model, _clip(audio))
    changed = _load(folder).fingerprint
    assert changed != before
    _describe(folder, mapping={"file": "A1"})
    assert _load(folder).fingerprint not in (before, changed)


def test_overlap_is_known_only_where_training_is_told(audio: Path, folder: Path) -> None:
    _write(folder / "a.song.npz")

    def overlap(**more: Any) -> str:
        _describe(folder, **more)
        return str(check_no_overlap(_load(folder).card, [audio]))

    assert overlap() == "unknown"
    assert overlap(references=["Doe 2020"]) == "unknown"
    assert overlap(training="AudioSet") == "unknown"
    assert overlap(training={"split": "nothing is trained", "hashes": {}}) == "none"
    me = identify(audio)
    told = {"hashes": {"song": me.digest}, "fingerprints": {"song": str(me.fingerprint)}}
    with pytest.raises(BanBidsError, match="trained or validated on 1 tracks"):
        overlap(training=told)
