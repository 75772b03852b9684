"""A tree with GTZAN's names and counts and the faults of its copies, and trees that are no such thing."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torchaudio.datasets.gtzan import filtered_test, filtered_train, filtered_valid

from ban_bids.audio.waveforms import audio_hash
from ban_bids.errors import DataError
from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.training.crops import PLAIN
from ban_bids.training.datasets import Collection, read_collection
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import FMRI_TWINS, fmri_tracks, split_tracks
from ban_bids.training.train import train_collection

RATE = 22_050
GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
LISTED = {*filtered_train, *filtered_valid, *filtered_test}
REPLICA = next(f"disco.{k:05d}" for k in range(100) if f"disco.{k:05d}" not in LISTED)
"""A track that the lists leave out; here it repeats one that they keep and that comes after it."""
KEPT = max(name for name in filtered_train if name.startswith("disco"))


def _write(path: Path, seed: int, seconds: float = 0.02) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).clip(-1, 1)
    soundfile.write(path, samples, RATE, subtype=None if path.suffix == ".mp3" else "PCM_16")
    return path


@pytest.fixture(scope="module")
def gtzan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1000 tracks as Kaggle's archive holds them, and what people's disks add."""
    root = tmp_path_factory.mktemp("gtzan")
    folder = root / "Data" / "genres_original"
    for g, genre in enumerate(GENRES):
        for k in range(100):
            suffix = ".WAV" if genre == "metal" else ".wav"
            _write(folder / genre / f"{genre}.{k:05d}{suffix}", 100 * g + k)
    (folder / "jazz" / "jazz.00054.wav").write_bytes(b"\x00" * 1000)
    (folder / "disco" / f"{REPLICA}.wav").write_bytes((folder / "disco" / f"{KEPT}.wav").read_bytes())
    # hidden files, pictures, copies in other containers
    (folder / "blues" / "._blues.00000.wav").write_bytes(b"Mac OS X")
    (folder / "blues" / ".DS_Store").write_bytes(b"Mac OS X")
    _write(folder / ".ipynb_checkpoints" / "blues.00000.wav", 12345)
    (root / "Data" / "images_original" / "blues").mkdir(parents=True)
    (root / "Data" / "images_original" / "blues" / "blues00000.png").write_bytes(b"picture")
    _write(folder / "rock" / "rock.00003.flac", 903)
    _write(folder / "rock" / "rock.00004.mp3", 904, 0.2)
    # links
    (folder / "pop").rename(root / "elsewhere")
    (folder / "pop").symlink_to(root / "elsewhere")
    (folder / "country" / "country.00000.wav").rename(root / "country.00000.wav")
    (folder / "country" / "country.00000.wav").symlink_to(root / "country.00000.wav")
    return root


@pytest.fixture(scope="module")
def collection(gtzan: Path) -> Collection:
    return read_collection(gtzan)


def test_every_track_is_found_once(collection: Collection) -> None:
    assert collection.genres == GENRES
    assert collection.unreadable == ("jazz/jazz.00054.wav",)
    assert set(collection.replicas) == {REPLICA, "rock/rock.00003.flac", "rock/rock.00004.mp3"}
    names = [t.name for t in collection.tracks]
    assert len(names) == len(set(names)) == 998
    assert set(names) == {f"{g}.{k:05d}" for g in GENRES for k in range(100)} - {"jazz.00054", REPLICA}
    assert names == sorted(names)


def test_the_splits_of_a_copy_with_the_corrupt_track(collection: Collection) -> None:
    counts = {}
    for name in ("fault-filtered", "fmri-safe"):
        split = split_tracks(collection.tracks, name, 0, excluded=collection.excluded)
        assert split.name == name
        counts[name] = len(split.training), len(split.validation)
    # jazz.00054 is in the training list
    assert counts == {"fault-filtered": (442, 197), "fmri-safe": (414, 181)}


def test_all_415_training_tracks_remain_where_every_file_is_whole(gtzan: Path, tmp_path: Path) -> None:
    genres = tmp_path / "genres"
    genres.mkdir()
    for genre in GENRES:
        (genres / genre).mkdir()
        for file in (gtzan / "Data" / "genres_original" / genre).iterdir():
            if not file.name.startswith("."):
                (genres / genre / file.name).symlink_to(file)
    (genres / "jazz" / "jazz.00054.wav").unlink()
    _write(genres / "jazz" / "jazz.00054.wav", 554)
    split = split_tracks(read_collection(tmp_path).tracks, "fmri-safe", 0)
    assert (len(split.training), len(split.validation)) == (415, 181)
    assert not {t.name for t in (*split.training, *split.validation)} & (fmri_tracks() | FMRI_TWINS.keys())


def test_excluded_stimuli_leave_the_lists_by_content(gtzan: Path, tmp_path: Path) -> None:
    heard = sorted(filtered_train)[:3]
    stimuli = []
    for k, name in enumerate(heard):
        samples, rate = soundfile.read(
            gtzan / "Data" / "genres_original" / name.split(".")[0] / f"{name}.wav", dtype="int16"
        )
        stimuli.append(tmp_path / f"clip{k}.au")
        soundfile.write(stimuli[-1], samples, rate, subtype="PCM_16")
    collection = read_collection(gtzan, stimuli)
    assert [t.name for t in collection.excluded] == heard
    split = split_tracks(collection.tracks, "fault-filtered", 0, excluded=collection.excluded)
    assert not {t.name for t in split.training} & set(heard)
    assert len(split.training) == 439


def test_a_track_is_excluded_with_all_its_copies(tmp_path: Path) -> None:
    for genre in ("blues", "rock"):
        for k in range(2):
            _write(tmp_path / genre / f"{genre}.{k:05d}.wav", len(genre) + 10 * k, 0.2)
            _write(tmp_path / genre / f"{genre}.{k:05d}.mp3", len(genre) + 10 * k, 0.2)
    for suffix in (".wav", ".mp3"):  # whichever was heard
        collection = read_collection(tmp_path, [tmp_path / "rock" / f"rock.00001{suffix}"])
        assert [t.name for t in collection.tracks] == ["blues.00000", "blues.00001", "rock.00000"]
        assert [t.name for t in collection.excluded] == ["rock.00001"]
        assert collection.excluded[0].digest == audio_hash(tmp_path / "rock" / f"rock.00001{suffix}")
    (tmp_path / "blues" / "blues.00000.wav").write_bytes(b"")
    collection = read_collection(tmp_path)
    assert collection.tracks[0].path.name == "blues.00000.mp3"  # the copy that can be decoded
    assert collection.unreadable == ("blues/blues.00000.wav",)


def test_what_cannot_be_decoded_is_listed_and_counted_on_the_card(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for g, genre in enumerate(("jazz", "rock")):
        for k in range(3):
            _write(tmp_path / "d" / genre / f"{genre}.{k:05d}.wav", 10 * g + k, 1.0)
    jazz = tmp_path / "d" / "jazz"
    (jazz / "jazz.00054.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVEjunk")
    soundfile.write(jazz / "jazz.00055.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    cut = _write(jazz / "jazz.00056.flac", 7, 1.0)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (jazz / "jazz.00057.wav").symlink_to(tmp_path / "not fetched")
    names = tuple(f"jazz/jazz.000{k}" for k in ("54.wav", "55.wav", "56.flac", "57.wav"))
    settings = TrainingSettings(preset="ban-small", epochs=1, crop_seconds=0.5, augmentation=PLAIN)
    with caplog.at_level(logging.WARNING):
        collection = read_collection(tmp_path / "d")
    assert collection.unreadable == names
    for name in names:
        assert name in caplog.text
    out = train_collection(collection, tmp_path / "w.safetensors", settings, device="cpu")
    _, card = load_checkpoint(out)
    assert card is not None
    assert card.unreadable == names
    assert card.metrics["n_unreadable"] == 4
    assert "files that cannot be decoded and were skipped: 4" in card.notes


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["blues/a.wav", "blues/b.wav"], "one genre .blues., and training needs at least two"),
        (["a.wav", "b.wav"], "lies in it and not in folders of genres"),
        (
            ["gtzan/genres/blues/a.wav", "gtzan/genres/rock/b.wav"],
            "gtzan/genres/blues/a.wav.: give the folder",
        ),
        (["genres/blues/cd1/a.wav", "genres/rock/cd2/b.wav"], "genres/blues/cd1/a.wav.: give the folder"),
        (["blues/a.ogg", "rock/b.m4a"], "no folders of genres with .wav, .au, .flac, .mp3 files"),
        ([".blues/a.wav", ".rock/b.wav"], "no folders of genres with"),
    ],
)
def test_trees_of_another_kind_are_refused_with_the_reason(tmp_path: Path, files: list[str], words: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"audio or not, it is not opened")
    with pytest.raises(DataError, match=words) as caught:
        read_collection(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert "\n" not in str(caught.value)
