"""Folders of genres in every layout; exclusion by content; what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from made_music import music
from torchaudio.datasets.gtzan import filtered_test, filtered_train, filtered_valid

from ban_bids.errors import DataError
from ban_bids.models.ban import BAN
from ban_bids.training.datasets import log_mel_frames, read_collection

RATE = 22_050


def _track(path: Path, seed: int, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).clip(-1, 1)
    soundfile.write(path, samples, RATE, subtype=None if path.suffix == ".mp3" else "PCM_16")
    return path


@pytest.mark.parametrize("layout", ["genres", "genres_original", "Data/genres_original", "."])
@pytest.mark.parametrize("suffix", [".wav", ".au", ".flac", ".mp3"])
def test_every_usual_layout_and_suffix(tmp_path: Path, layout: str, suffix: str) -> None:
    for k, genre in enumerate(("blues", "rock")):
        for n in range(2):
            _track(tmp_path / layout / genre / f"{genre}.{n:05d}{suffix}", 10 * k + n)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("not audio")
    collection = read_collection(tmp_path)
    assert collection.genres == ("blues", "rock")
    assert [t.name for t in collection.tracks] == ["blues.00000", "blues.00001", "rock.00000", "rock.00001"]


def test_exclusion_is_by_content_whatever_name_or_container(tmp_path: Path) -> None:
    for k, genre in enumerate(("blues", "rock")):
        for n in range(3):
            _track(tmp_path / "d" / genre / f"{genre}.{n:05d}.wav", 10 * k + n)
    stimulus = _track(tmp_path / "stimuli" / "heard.au", 11)  # rock.00001 under another name
    stranger = _track(tmp_path / "stimuli" / "blues.00000.wav", 99)  # a known name, other music
    collection = read_collection(tmp_path / "d", exclude=[stimulus, stranger])
    assert [t.name for t in collection.excluded] == ["rock.00001"]
    assert len(collection.tracks) == 5
    (tmp_path / "stimuli" / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="broken.wav"):
        read_collection(tmp_path / "d", exclude=[tmp_path / "stimuli" / "broken.wav"])


def test_unreadable_tracks_and_replicas_are_listed_and_left_out(tmp_path: Path) -> None:
    for k, genre in enumerate(("blues", "rock")):
        for n in range(2):
            _track(tmp_path / genre / f"{genre}.{n:05d}.wav", 10 * k + n)
    (tmp_path / "rock" / "rock.00007.wav").write_bytes(b"")
    (tmp_path / "rock" / "rock.00008.wav").write_text("jazz.00054 in spirit")
    _track(tmp_path / "rock" / "rock.00009.wav", 1)  # the same samples as blues.00001
    collection = read_collection(tmp_path)
    assert collection.unreadable == ("rock/rock.00007.wav", "rock/rock.00008.wav")
    assert collection.replicas == ("rock.00009",)
    assert len(collection.tracks) == 4


def _music(path: Path, sound: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, RATE, **options)
    return path


def test_recordings_are_kept_out_in_whatever_form(tmp_path: Path) -> None:
    for k, genre in enumerate(("blues", "rock")):
        for n in range(2):
            _music(tmp_path / "d" / genre / f"{genre}.{n:05d}.wav", music(10 * k + n, 12.0), subtype="PCM_16")
    heard = _music(tmp_path / "heard.mp3", 0.1 * music(11, 12.0)[40_000:200_000])
    stranger = _music(tmp_path / "rock.00000.wav", music(99, 12.0))
    collection = read_collection(tmp_path / "d", exclude=[heard, stranger])
    assert [t.name for t in collection.excluded] == ["rock.00001"]
    assert [t.name for t in collection.tracks] == ["blues.00000", "blues.00001", "rock.00000"]


def test_one_track_of_each_recording_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listed, unlisted = "disco.00002", "disco.00050"  # of a recording that is in GTZAN's fault-filtered lists once
    assert listed in {*filtered_train, *filtered_valid}
    assert unlisted not in {*filtered_train, *filtered_valid, *filtered_test}
    piece = music(1, 12.0)
    _music(tmp_path / "blues" / "blues.copy.wav", 0.5 * piece[: 8 * RATE])
    _music(tmp_path / "disco" / f"{listed}.wav", piece)
    _music(tmp_path / "disco" / f"{unlisted}.mp3", piece)
    for k in range(2):
        _music(tmp_path / "rock" / f"rock.{k}.wav", music(10 + k, 12.0))
    _music(tmp_path / "blues" / "blues.0.wav", music(12, 12.0))
    collection = read_collection(tmp_path)
    assert {t.name: t.others for t in collection.tracks} == {
        "blues.0": (), "rock.0": (), "rock.1": (), listed: ("blues.copy", unlisted)
    }  # fmt: skip
    assert collection.versions == ("blues.copy", unlisted)
    assert collection.replicas == ()
    assert caplog.text.count("is the same recording as") == 2
    # what was heard is the one that would be left out: none of them trains
    collection = read_collection(tmp_path, exclude=[tmp_path / "disco" / f"{unlisted}.mp3"])
    assert [t.name for t in collection.tracks] == ["blues.0", "rock.0", "rock.1"]
    assert {t.name for t in collection.excluded} == {"blues.copy", listed, unlisted}


def test_stems_that_repeat_are_told_apart(tmp_path: Path) -> None:
    _track(tmp_path / "blues" / "1.wav", 1)
    _track(tmp_path / "rock" / "1.wav", 2)
    assert [t.name for t in read_collection(tmp_path).tracks] == ["blues/1.wav", "rock/1.wav"]


def test_what_is_no_folder_of_genres(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_collection(tmp_path / "none")
    with pytest.raises(DataError, match="no folders of genres"):
        read_collection(tmp_path)
    tracks = [_track(tmp_path / genre / f"{genre}.wav", k) for k, genre in enumerate(("blues", "rock"))]
    with pytest.raises(DataError, match="1 genre.*1 excluded"):
        read_collection(tmp_path, exclude=tracks[:1])


def test_kept_frames_are_the_front_ends(tmp_path: Path) -> None:
    for k, genre in enumerate(("blues", "rock")):
        _track(tmp_path / genre / f"{genre}.wav", k, seconds=1.0)
    tracks = read_collection(tmp_path).tracks
    front_end = BAN().front_end
    for track, frames in zip(tracks, log_mel_frames(tracks, front_end)):
        samples, _ = soundfile.read(track.path, dtype="float32")
        expected = front_end.log_mel(torch.from_numpy(samples)[None])[0].numpy()
        np.testing.assert_allclose(frames, expected, atol=0.01)
