"""The cache of features: nothing twice, shared by content, safe with several processes, damage noticed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel

from ban_bids.audio import waveforms as waveforms_module
from ban_bids.audio.waveforms import HeardClip
from ban_bids.encoding import features as features_module
from ban_bids.encoding.features import LEAST_RATE, FeatureCache, averaged
from ban_bids.errors import DataError
from ban_bids.inputs.types import Clip

ONE = Clip(Path("one.wav"), 1.0, 2.0, "one")


@pytest.fixture(autouse=True)
def no_audio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waveforms_module, "render_clip", lambda clip, rate: np.full(rate // 100, clip.start))
    monkeypatch.setattr(features_module, "content_hash", lambda path: path.stem)


class CountingModel(ToyModel):
    """Counts the clips that it is given; its features are their waveforms' mean and length."""

    sampling_rate = 22_050
    mapping = None

    def features(self, clips: list[HeardClip]) -> list[dict[str, np.ndarray]]:
        self.calls += len(clips)
        waves = [clip.waveform for clip in clips]
        return [{layer: np.full((40, 2), [w.mean(), len(w)], np.float32) for layer in self.layers} for w in waves]


def test_each_clip_is_computed_once(tmp_path: Path) -> None:
    one = ONE
    clips = [one, replace(one, start=3.0), one, replace(one, audio=Path("two.wav"))]
    model = CountingModel()
    store = FeatureCache(model, tmp_path)
    store.compute(clips)
    assert model.calls == 1 + 3  # silence, and three distinct clips
    FeatureCache(model, tmp_path).compute(clips)
    assert model.calls == 4
    assert np.all(store.load(clips[1], "Belt")[:, 0] == 3.0)
    assert store.silence("A1").tolist() == [0.0, 4 * 22050]
    # what the features depend on makes another entry; what they do not does not
    for other, new in (
        (replace(one, genre="jazz", track="x"), 0),
        (replace(one, fade=2.0), 1),
        (replace(one, rms=0.1), 1),
        (replace(one, duration=2.5), 1),
    ):
        before = model.calls
        store.compute([other])
        assert model.calls - before == new
    again = CountingModel(fingerprint="other weights")
    FeatureCache(again, tmp_path).compute(clips)
    assert again.calls == 4
    elsewhere = CountingModel()
    elsewhere.device = "cuda"  # type: ignore[attr-defined]
    FeatureCache(elsewhere, tmp_path).compute(clips)
    assert elsewhere.calls == 4
    slower = CountingModel()
    slower.sampling_rate = 16_000
    store = FeatureCache(slower, tmp_path)
    store.compute(clips)
    assert slower.calls == 4
    assert store.load(one, "A1")[0].tolist() == [1.0, 160]  # rendered at the model's own rate
    assert store.silence("A1").tolist() == [0.0, 4 * 16_000]
    assert not list(tmp_path.glob("*.part"))


def test_a_batch_holds_eight_clips_or_a_minute(tmp_path: Path) -> None:
    batches = []

    class Batched(CountingModel):
        def features(self, clips: list[HeardClip]) -> list[dict[str, np.ndarray]]:
            batches.append(len(clips))
            return super().features(clips)

    def computed(seconds: list[float], folder: str) -> list[int]:
        batches.clear()
        clips = [replace(ONE, start=float(k), duration=each) for k, each in enumerate(seconds)]
        FeatureCache(Batched(), tmp_path / folder).compute(clips)
        return list(batches)

    assert computed([3.0] * 10, "short") == [8, 3]  # silence is the first of all
    assert computed([15.0] * 8, "long") == [4, 4, 1]
    assert computed([300.0, 300.0, 2.0], "stories") == [1, 1, 1, 1]


def test_a_model_of_features_in_files_needs_no_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FromFiles(CountingModel):
        """Knows clips by file and start; silence is no file's."""

        def features(self, clips: list[HeardClip]) -> list[dict[str, np.ndarray]]:
            starts = [0.0 if heard.clip is None else heard.clip.start for heard in clips]
            return [{layer: np.full((40, 2), start, np.float32) for layer in self.layers} for start in starts]

    def refuse(clip: Clip, rate: int) -> np.ndarray:
        raise AssertionError("decoded")

    monkeypatch.setattr(waveforms_module, "render_clip", refuse)
    store = FeatureCache(FromFiles(), tmp_path)
    store.compute([ONE])
    assert np.all(store.load(ONE, "PB") == 1.0)
    assert np.all(store.silence("PB") == 0.0)


def test_the_file_counts_not_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"a.wav": "same", "b.wav": "same", "c.wav": "other"}
    monkeypatch.setattr(features_module, "content_hash", lambda path: content[path.name])
    model = CountingModel()
    for name, calls in (("a", 2), ("b", 2), ("c", 3)):
        FeatureCache(model, tmp_path).compute([replace(ONE, audio=Path(f"{name}.wav"), track=name)])
        assert model.calls == calls


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "text", "gone"])
def test_a_damaged_file_is_noticed_and_made_anew(how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = CountingModel()
    store = FeatureCache(model, tmp_path)
    store.compute([ONE])
    expected, quiet = store.load(ONE, "PB"), store.silence("PB")
    for path in tmp_path.glob("*.npz"):
        whole = bytearray(path.read_bytes())
        at = whole.index(b"PB.npy") + 200  # among the numbers of this layer
        whole[at] ^= 1
        damaged = {"cut": whole[: len(whole) // 2], "flipped": whole, "empty": b"", "text": b"no archive"}
        path.unlink() if how == "gone" else path.write_bytes(damaged[how])
    fresh = FeatureCache(model, tmp_path)
    np.testing.assert_array_equal(fresh.load(ONE, "PB"), expected)
    np.testing.assert_array_equal(fresh.silence("PB"), quiet)
    assert model.calls == 4
    assert how == "gone" or caplog.text.count(": damaged (") == 2


def test_a_disk_that_damages_everything_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "write_arrays", lambda path, arrays: path.write_bytes(b"?"))
    with pytest.raises(DataError, match="check the disk"):
        FeatureCache(CountingModel(), tmp_path).load(ONE, "A1")


def compute(folder: Path, clips: list[Clip], start: object, total: Synchronized) -> None:
    model = CountingModel()
    start.wait()  # type: ignore[attr-defined]
    FeatureCache(model, folder).compute(clips)
    with total.get_lock():
        total.value += model.calls


def test_two_processes_compute_nothing_twice(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    clips = [replace(ONE, start=float(k)) for k in range(60)]
    start, total = fork.Barrier(2), fork.Value("i", 0)
    both = [fork.Process(target=compute, args=(tmp_path, clips, start, total)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert total.value == 61
    store = FeatureCache(CountingModel(), tmp_path)
    assert all(np.all(store.load(clip, "A1")[:, 0] == clip.start) for clip in clips)


def test_features_that_are_not_finite_are_named_and_not_kept(tmp_path: Path) -> None:
    class Broken(CountingModel):
        def features(self, clips: list[HeardClip]) -> list[dict[str, np.ndarray]]:
            made = super().features(clips)
            made[-1]["PB"][3, 0] = np.nan
            return made

    with pytest.raises(DataError, match=r"model toy: features of PB are not finite \(one.wav, 1 to 3 s\)"):
        FeatureCache(Broken(), tmp_path).compute([ONE])
    model = CountingModel()
    FeatureCache(model, tmp_path).compute([ONE])
    assert model.calls == 1  # silence was sound


def test_what_a_killed_process_left_half_written_is_no_entry(tmp_path: Path) -> None:
    (tmp_path / "half.part").write_bytes(b"PK")
    model = CountingModel()
    FeatureCache(model, tmp_path).compute([ONE])
    assert model.calls == 2


@pytest.mark.parametrize(("rate", "kept"), [(50.0, 10.0), (86.2, 86.2 / 8), (19.9, 19.9), (4.0, 4.0), (20.0, 10.0)])
def test_ten_frames_a_second_are_kept_and_a_volume_of_whole_frames_is_the_same(
    rate: float, kept: float, tmp_path: Path
) -> None:
    frames = np.random.default_rng(0).standard_normal((41, 3)).astype(np.float32)

    class Moving(CountingModel):
        def features(self, clips: list[HeardClip]) -> list[dict[str, np.ndarray]]:
            return [{"A1": frames} for _ in clips]

    store = FeatureCache(Moving(layers=("A1",), frame_rate={"A1": rate}), tmp_path)
    store.compute([ONE])
    count = round(rate / kept)
    assert store.frame_rate("A1") == pytest.approx(kept) and (kept >= LEAST_RATE or count == 1)
    expected = [frames[k : k + count].mean(axis=0) for k in range(0, 41, count)]
    np.testing.assert_allclose(store.load(ONE, "A1"), expected, atol=1e-6)
    # a volume that begins and ends between kept frames has the same mean
    np.testing.assert_allclose(
        averaged(frames, count)[1:4].mean(axis=0), frames[count : 4 * count].mean(axis=0), atol=1e-6
    )


def test_a_long_clip_comes_in_pieces_and_is_kept_as_if_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(0).standard_normal((1003, 3)).astype(np.float32)
    cuts = [7, 8, 100, 101, 640]  # none is a multiple of the five frames that are averaged

    class InPieces(CountingModel):
        def features_in_pieces(self, clip: HeardClip) -> Iterator[dict[str, np.ndarray]]:
            yield from ({"A1": part} for part in np.split(frames, cuts))

    monkeypatch.setattr(features_module, "_IN_MEMORY", 500)  # bytes: the rest waits in a file
    store = FeatureCache(InPieces(layers=("A1",), frame_rate={"A1": 50.0}), tmp_path)
    long = replace(ONE, duration=1200.0)
    store.compute([ONE, long])
    assert store.model.calls == 2  # type: ignore[attr-defined]  # silence and the short clip
    expected = [frames[k : k + 5].mean(axis=0) for k in range(0, 1003, 5)]
    np.testing.assert_allclose(store.load(long, "A1"), expected, atol=1e-6)
    next(path for path in tmp_path.glob("*.npz") if path == store._path(long)).unlink()
    np.testing.assert_allclose(store.load(long, "A1"), expected, atol=1e-6)  # made anew, in pieces too
    frames[-1, 0] = np.inf
    store._path(long).unlink()
    with pytest.raises(DataError, match="features of A1 are not finite"):
        store.compute([long])
    assert not store._path(long).exists()
