"""Decoded audio is kept: it is what would be made, made once, by several processes too; damage is noticed."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ban_bids.audio.waveforms import audio_hash
from ban_bids.cli.train import main
from ban_bids.files.atomic import TEMPORARY_PREFIX
from ban_bids.models.config import FrontEndConfig
from ban_bids.models.front_end import FrontEnd
from ban_bids.training import cache as module
from ban_bids.training import datasets
from ban_bids.training.cache import AudioCache, default_folder, front_end_key
from ban_bids.training.datasets import log_mel_frames, read_collection

RATE = 22_050
FRONT_END = FrontEnd(FrontEndConfig(), 4)


@pytest.fixture
def genres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_SETTLED", -1.0)  # the files below are young, and do not change
    for k, genre in enumerate(("blues", "rock")):
        for n in range(3):
            _write(tmp_path / "d" / genre / f"{genre}.{n:05d}.wav", 10 * k + n)
    return tmp_path / "d"


def _write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = np.random.default_rng(seed).normal(0, 0.1, RATE // 4 + 500 * seed)
    soundfile.write(path, sound, RATE, subtype="PCM_16")


def _frames(genres: Path, cache: AudioCache) -> list[np.ndarray]:
    return log_mel_frames(read_collection(genres, cache=cache).tracks, FRONT_END, cache)


def _no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise AssertionError(f"{path} is decoded again")

    monkeypatch.setattr(module, "identify", refuse)
    monkeypatch.setattr(module, "check_audio", refuse)
    monkeypatch.setattr(module, "groups", lambda identities, _: refuse(Path("a comparison")))
    monkeypatch.setattr(datasets, "load_waveform", refuse)


def _uncached(genres: Path, tmp_path: Path) -> list[np.ndarray]:
    (tmp_path / "file").write_text("no folder")
    return _frames(genres, AudioCache(tmp_path / "file" / "below"))


def test_what_is_kept_is_what_is_made(
    genres: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        plain = _uncached(genres, tmp_path)
    assert caplog.text.count("cannot be kept") == 1
    first = _frames(genres, AudioCache(tmp_path / "c"))
    _no_decoding(monkeypatch)
    second = _frames(genres, AudioCache(tmp_path / "c"))
    for a, b, c in zip(plain, first, second, strict=True):
        assert a.dtype == b.dtype == c.dtype == np.float16
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
        assert not c.flags.writeable
    collection = read_collection(genres, cache=AudioCache(tmp_path / "c"))
    assert len(list((tmp_path / "c").rglob("*.npy"))) == 6
    monkeypatch.undo()
    assert [t.digest for t in collection.tracks] == [audio_hash(t.path) for t in collection.tracks]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux says what is mapped and open")
def test_frames_are_mapped_and_their_files_not_kept_open(tmp_path: Path) -> None:
    cache = AudioCache(tmp_path / "c")
    digests = [f"{k:064x}" for k in range(100)]
    n_open = len(list(Path("/proc/self/fd").iterdir()))
    first = cache.frames(digests, FRONT_END, lambda k: np.full((64, 10), k))
    again = AudioCache(tmp_path / "c").frames(digests, FRONT_END, lambda k: np.full((64, 10), -1))
    assert [float(frames[0, 0]) for frames in (*first, *again)] == [*range(100), *range(100)]
    assert (
        len(list(Path("/proc/self/fd").iterdir())) == n_open
    )  # GTZAN has nearly as many tracks as a process may open files
    maps = Path("/proc/self/maps").read_text()
    assert all(str(file) in maps for file in (tmp_path / "c").rglob("*.npy"))


def test_a_file_that_changed_is_read_anew_even_with_its_old_time(genres: Path, tmp_path: Path) -> None:
    cache = AudioCache(tmp_path / "c")
    before = read_collection(genres, cache=cache).tracks
    one, two = before[0].path, before[1].path
    times = one.stat()
    # same size, same time of change: a track of the same archive in its place
    samples, _ = soundfile.read(one, dtype="int16")
    soundfile.write(one, samples[::-1], RATE, subtype="PCM_16")
    os.utime(one, ns=(times.st_atime_ns, times.st_mtime_ns))
    two.touch()
    after = read_collection(genres, cache=cache).tracks
    assert after[0].digest == audio_hash(one) != before[0].digest
    assert [t.digest for t in after[1:]] == [t.digest for t in before[1:]]


def test_a_file_that_was_written_just_now_is_not_kept(
    genres: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SETTLED", 3600.0)
    read_collection(genres, cache=AudioCache(tmp_path / "c"))
    assert not (tmp_path / "c" / "3" / "identities").exists()


def test_other_tracks_are_added(genres: Path, tmp_path: Path) -> None:
    cache = AudioCache(tmp_path / "c")
    tracks = read_collection(genres, cache=cache).tracks
    early = log_mel_frames(tracks[:2], FRONT_END, cache)
    copies = [np.array(frames) for frames in early]
    everything = log_mel_frames(tracks, FRONT_END, cache)
    assert len(list((tmp_path / "c").rglob("*.npy"))) == 6
    for a, b, c in zip(copies, early, everything):
        np.testing.assert_array_equal(a, b)  # still mapped, still the same
        np.testing.assert_array_equal(a, c)


def test_other_front_ends_have_other_frames(genres: Path, tmp_path: Path) -> None:
    keys = {
        front_end_key(FrontEnd(config, stride))
        for config, stride in (
            (FrontEndConfig(), 4),
            (FrontEndConfig(), 8),  # pads to other lengths
            (replace(FrontEndConfig(), n_mels=32), 4),
            (replace(FrontEndConfig(), floor=1e-3), 4),
        )
    }
    assert len(keys) == 4
    assert front_end_key(FRONT_END) == front_end_key(FrontEnd(FrontEndConfig(), 4))

    class Louder(FrontEnd):
        def log_mel(self, waveform: torch.Tensor) -> torch.Tensor:
            return super().log_mel(waveform) + 0.2

    assert front_end_key(Louder(FrontEndConfig(), 4)) not in keys  # the same settings, another code


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "empty", "header", "other numbers", "no array"])
def test_damage_is_noticed_and_mended(
    genres: Path,
    tmp_path: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = AudioCache(tmp_path / "c")
    good = [np.array(frames) for frames in _frames(genres, cache)]
    data = sorted((tmp_path / "c").rglob("*.npy"))[2]
    whole = data.read_bytes()
    content = bytearray(whole)
    if damage == "flip":
        content[-100] ^= 1
        data.write_bytes(content)
    elif damage == "cut":
        data.write_bytes(content[:-2])
    elif damage == "gone":
        data.unlink()
    elif damage == "empty":
        data.write_bytes(b"")
    elif damage == "header":
        data.write_bytes(content[:40])
    elif damage == "other numbers":
        np.save(data, np.load(data).astype(np.float64))
    else:
        data.write_text("[]")
    with caplog.at_level(logging.WARNING):
        mended = _frames(genres, cache)
    assert ("made anew" in caplog.text) == (damage != "gone")
    assert data.read_bytes() == whole
    _no_decoding(monkeypatch)
    for frames in (mended, _frames(genres, AudioCache(tmp_path / "c"))):
        for a, b in zip(good, frames, strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_a_killed_process_left_half_written_does_no_harm(genres: Path, tmp_path: Path) -> None:
    cache = AudioCache(tmp_path / "c")
    tracks = read_collection(genres, cache=cache).tracks
    log_mel_frames(tracks[:3], FRONT_END, cache)
    data = next((tmp_path / "c").rglob("*.npy"))
    data.with_name(f"{TEMPORARY_PREFIX}1-abc-{data.name}").write_bytes(data.read_bytes()[:200])
    for a, b in zip(log_mel_frames(tracks, FRONT_END, cache), _uncached(genres, tmp_path), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_killed_process_loses_little(genres: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = AudioCache(tmp_path / "c")
    tracks = read_collection(genres, cache=cache).tracks
    made = []

    def make(k: int) -> np.ndarray:
        if k == 5:
            raise KeyboardInterrupt
        made.append(k)
        return np.full((64, 10 + k), k, np.float32)

    digests = [track.digest for track in tracks]
    with pytest.raises(KeyboardInterrupt):
        cache.frames(digests, FRONT_END, make)
    kept = cache.frames(digests[:5], FRONT_END, make)
    assert made == [0, 1, 2, 3, 4]
    assert [(f.shape, float(f[0, 0])) for f in kept] == [((64, 10 + k), k) for k in range(5)]


def test_the_command_line_chooses_the_folder(genres: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caches: list[AudioCache] = []

    def train(data: Path, out: Path, *_: object, cache: AudioCache, **__: object) -> Path:
        caches.append(cache)
        return out

    monkeypatch.setattr("ban_bids.training.train.train_model", train)
    words = ["--data", str(genres), "--out", str(tmp_path / "w.safetensors"), "-q"]
    assert main([*words, "--cache-dir", str(tmp_path / "c")]) == 0
    assert main(words) == 0
    assert [cache.folder for cache in caches] == [tmp_path / "c" / "3", default_folder() / "3"]


@pytest.mark.parametrize("content", [b"", b"half", b"\xff" * 64, b"a" * 64, b"a" * 64 + b" 0:", b"a" * 64 + b" 1:?"])
def test_damaged_identities_are_made_anew(
    genres: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    cache = AudioCache(tmp_path / "c")
    before = read_collection(genres, cache=cache)
    entry = next((tmp_path / "c" / "3" / "identities").iterdir())
    whole = entry.read_bytes()
    entry.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert read_collection(genres, cache=cache) == before
    assert "made anew" in caplog.text
    assert entry.read_bytes() == whole


@pytest.mark.parametrize("content", ["", "0 1 2", "0 1 2 3 4 9", "0 1 2 3 4 x"])
def test_damaged_groups_are_made_anew(genres: Path, tmp_path: Path, content: str) -> None:
    cache = AudioCache(tmp_path / "c")
    before = read_collection(genres, cache=cache)
    (entry,) = (tmp_path / "c" / "3" / "groups").iterdir()
    assert entry.read_text() == "0 1 2 3 4 5"
    entry.write_text(content)
    assert read_collection(genres, cache=cache) == before
    assert entry.read_text() == "0 1 2 3 4 5"
    (genres / "rock" / "rock.00002.wav").unlink()
    assert len(read_collection(genres, cache=cache).tracks) == 5


def test_a_folder_that_cannot_be_written_is_still_read(
    genres: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = _frames(genres, AudioCache(tmp_path / "c"))

    def refuse(path: Path) -> None:  # file modes would not keep root from writing
        raise PermissionError(errno.EACCES, "not yours", str(path))

    monkeypatch.setattr(module, "atomic_path", refuse)
    monkeypatch.setattr(module, "write_text", lambda path, text: refuse(path))
    with caplog.at_level(logging.WARNING):
        _write(genres / "rock" / "rock.00009.wav", 5)
        assert len(_frames(genres, AudioCache(tmp_path / "c"))) == 7
    assert caplog.text.count("cannot be kept") == 1
    (genres / "rock" / "rock.00009.wav").unlink()
    _no_decoding(monkeypatch)
    for a, b in zip(good, _frames(genres, AudioCache(tmp_path / "c")), strict=True):
        np.testing.assert_array_equal(a, b)


def _worker(genres: str, folder: str, barrier: object, first: int) -> None:
    torch.set_num_threads(1)  # threads do not survive a fork
    cache = AudioCache(Path(folder))
    tracks = read_collection(Path(genres), cache=cache).tracks
    barrier.wait()  # type: ignore[attr-defined]
    for k in range(len(tracks)):  # one at a time, so that the processes write in turns
        log_mel_frames([tracks[(first + k) % len(tracks)]], FRONT_END, cache)


def test_processes_that_write_at_once_keep_everything(
    genres: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    workers = [context.Process(target=_worker, args=(str(genres), str(tmp_path / "c"), barrier, k)) for k in (0, 2, 4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    plain = _uncached(genres, tmp_path)
    _no_decoding(monkeypatch)
    for a, b in zip(plain, _frames(genres, AudioCache(tmp_path / "c")), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(list((tmp_path / "c").rglob("*.npy"))) == len(list((tmp_path / "c" / "3" / "identities").iterdir())) == 6
    assert not [p for p in (tmp_path / "c").rglob(".*")]  # no temporary files


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BAN_BIDS_CACHE", str(tmp_path / "a"))
    assert default_folder() == tmp_path / "a"
    monkeypatch.delenv("BAN_BIDS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert default_folder() == tmp_path / "b" / "ban-bids"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder().parent.parent in (tmp_path, tmp_path / "Library")
