"""Several tasks at once: each head learns what was planted for it, and only from recordings that know it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from made_music import music
from short_trainings import QUICK, Kill, train

from ban_bids.audio.sameness import groups, identify
from ban_bids.audio.waveforms import audio_hash
from ban_bids.cli import train as command
from ban_bids.cli.train import main
from ban_bids.errors import DataError
from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.models.presets import build, preset
from ban_bids.training.auxiliary import task_loss
from ban_bids.training.crops import PLAIN, CropBatches
from ban_bids.training.datasets import Data, Source, read_collection
from ban_bids.training.evaluate import fitted_crops, segment_frames, segment_probabilities
from ban_bids.training.fit import BANTraining
from ban_bids.training.records import training_fingerprint
from ban_bids.training.settings import Objective
from ban_bids.training.splits import split_tracks
from ban_bids.training.tracks import Task
from ban_bids.training.train import train_collection

RATE = 8000
PITCHES = {"do": 400.0, "mi": 1000.0, "so": 2500.0}
PULSES = {"slow": 4.0, "fast": 20.0}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second each at 8 kHz: three pitches are the classes, two rates of pulses the speakers."""
    root = tmp_path_factory.mktemp("words")
    rng = np.random.default_rng(1)
    time = np.arange(RATE // 2) / RATE
    for name, pitch in PITCHES.items():
        (root / name).mkdir()
        for speaker, rate in PULSES.items():
            for k in range(5):
                sound = 0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.95, 1.05) * time)
                sound *= np.sin(2 * np.pi * rate * time + rng.uniform(0, 6)) > 0
                sound += rng.normal(0, 0.003, len(time))
                soundfile.write(root / name / f"{name}_{speaker}_{k}.wav", sound, RATE, subtype="PCM_16")
    return root


def _data(genres: Path, words: Path, **rest: object) -> Data:
    sources = (Source(genres, "music"), Source(words, "word", "{word_}_{speaker}_{take}"))
    return Data(sources, **{"heads": ("speaker",), **rest})  # type: ignore[arg-type]


def test_tasks_and_targets(genres: Path, words: Path) -> None:
    collection = read_collection(_data(genres, words))
    music_, word, speaker = collection.tasks
    assert music_ == Task("music", ("high", "low", "pulsed"))
    assert word == Task("word", ("do", "mi", "so"))
    assert speaker == Task("speaker", ("fast", "slow"))
    assert collection.genres == music_.classes
    assert len(collection.tracks) == 18 + 30
    targets = collection.targets(collection.tracks)
    assert targets.dtype == np.float32 and targets.shape == (48, 8)
    for track, row in zip(collection.tracks, targets):
        known = [name for on, name in zip(row, sum((list(t.classes) for t in collection.tasks), [])) if on]
        assert known == ([track.genre] if not track.home else [track.genre, track.path.stem.split("_")[1]])
    assert [len(pool) for pool in collection.pools(collection.tracks)] == [18, 30]
    assert {track.name for track in collection.tracks if track.home} == {f"word:{f.stem}" for f in words.glob("*/*")}
    plain = read_collection(genres)
    assert plain.tracks == tuple(replace(t) for t in collection.tracks if not t.home)
    assert np.array_equal(plain.targets(plain.tracks), np.eye(3)[plain.labels(plain.tracks)])


@pytest.fixture(scope="module")
def trained(genres: Path, words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "w.safetensors"
    settings = replace(QUICK, split="stratified", epochs=60, batch_size=8, crop_seconds=0.48)
    exclude = [words / "do" / "do_slow_0.wav"]
    return train_collection(read_collection(_data(genres, words), exclude), out, settings, device="cpu")


def test_every_head_learns_what_was_planted(trained: Path) -> None:
    network, card = load_checkpoint(trained)
    assert card is not None
    assert card.genres == ("high", "low", "pulsed")
    assert network.readout.out_features == 3  # the others are left behind
    assert card.metrics["track_accuracy"] == 1.0
    assert card.metrics["n_tracks"] == 3  # of the main task alone
    tasks = card.metrics["tasks"]
    assert tasks["word"]["track_accuracy"] == 1.0
    assert tasks["word"]["n_tracks"] == tasks["speaker"]["n_tracks"] == 6
    assert tasks["speaker"]["track_accuracy"] == 1.0
    assert tasks["speaker"]["classes"] == ["fast", "slow"]


def test_what_trained_is_on_the_card_whatever_its_folder(trained: Path, genres: Path, words: Path) -> None:
    _, card = load_checkpoint(trained)
    assert card is not None
    files = [*genres.glob("*/*.wav"), *words.glob("*/*.wav")]
    barred = audio_hash(words / "do" / "do_slow_0.wav")
    expected = {audio_hash(file) for file in files} - {barred}
    assert set(card.hashes.values()) == expected and len(card.hashes) == 47
    assert card.fingerprints.keys() == card.hashes.keys()
    assert not card.training_hashes.keys() & card.validation_hashes.keys()
    assert list(card.excluded.values()) == [barred]
    assert {name for name in card.validation_hashes if name.startswith("word:")}


def test_held_out_speakers_have_no_accuracy_of_their_own(genres: Path, words: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, split="kfold-0-of-2", epochs=1, crop_seconds=0.48)
    collection = read_collection(_data(genres, words, group="speaker"))
    out = train_collection(collection, tmp_path / "w.safetensors", settings, device="cpu")
    _, card = load_checkpoint(out)
    assert card is not None
    tasks = card.metrics["tasks"]
    assert tasks["word"]["n_tracks"] == 15 and tasks["word"]["track_accuracy"] is not None
    assert tasks["speaker"] == {
        "classes": ["fast", "slow"], "n_training": 15, "n_validation": 15, "n_tracks": 0, "track_accuracy": None,
        "reason": "no class of its validation tracks trained",
    }  # fmt: skip
    held = {name for name in card.validation_hashes if name.startswith("word:")}
    assert {name.split("_")[1] for name in held} == {"fast"} and len(held) == 15


def test_a_killed_training_of_several_tasks_goes_on(genres: Path, words: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, split="stratified", epochs=4, crop_seconds=0.48, patience=3)
    data, whole, out = _data(genres, words), tmp_path / "whole.safetensors", tmp_path / "w.safetensors"
    train(data, whole, settings)
    train(data, out, settings, Kill(8))
    train(data, out, settings)
    cards = [load_checkpoint(path)[1] for path in (whole, out)]
    assert cards[0] is not None and cards[1] is not None
    assert cards[1].metrics["resumed_after_steps"] == [6]
    assert cards[0].metrics["tasks"] == cards[1].metrics["tasks"]
    assert all(
        torch.equal(a, b) for a, b in zip(*(load_checkpoint(path)[0].state_dict().values() for path in (whole, out)))
    )


def test_loss_against_torch() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(12, 4)))
    targets = torch.from_numpy(rng.dirichlet(np.ones(4), 12))
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
        torch.testing.assert_close(task_loss(logits, targets, smoothing), expected)
        # rows that know nothing change nothing; a row that knows half counts half
        known = torch.tensor([1.0] * 6 + [0.5] * 3 + [0.0] * 3, dtype=torch.float64)
        each = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        expected = (each * known).sum() / known.sum()
        torch.testing.assert_close(task_loss(logits, targets * known[:, None], smoothing), expected)
    assert float(task_loss(logits, torch.zeros_like(targets), 0.1)) == 0.0


def test_a_task_that_no_crop_knows_leaves_its_head_alone() -> None:
    tasks = (Task("a", ("x", "y", "z")), Task("b", ("u", "v")))
    alone = replace(QUICK, objective=Objective(prediction=0.0, dimension=0.0))  # nothing else moves the network
    module = BANTraining(build(preset("ban-small"), 3, 1), alone, 10, tasks=tasks)
    crops = torch.randn(4, module.network.config.front_end.n_mels, 48)
    targets = torch.zeros(4, 5)
    targets[:, 0] = 1
    module.training_step((crops, targets), 0).backward()
    head = module.heads[0]
    assert head.weight.grad is not None and not head.weight.grad.any()
    assert module.network.readout.weight.grad is not None and module.network.readout.weight.grad.any()
    module.zero_grad()
    module.training_step((crops, targets.roll(3, dims=1)), 0).backward()
    assert head.weight.grad.any() and not module.network.readout.weight.grad.any()
    assert module.network.areas["A1"].bottom_up.conv.weight.grad.any()  # and the network learns from it


def test_the_same_recording_in_two_folders_is_one_track(tmp_path: Path) -> None:
    for k in range(6):
        for root, genre in (("one", "ab"[k % 2]), ("two", "cd"[k // 3])):
            (tmp_path / root / genre).mkdir(parents=True, exist_ok=True)
            if root == "one" or k < 4:
                soundfile.write(tmp_path / root / genre / f"{root}{k}.wav", music(k, 12.0), 22_050, subtype="PCM_16")
    piece = 0.4 * music(1, 12.0)[22_050:200_000]  # an excerpt of a recording of the first folder, quieter
    soundfile.write(tmp_path / "two" / "d" / "excerpt.wav", piece, 22_050)
    for k in (20, 21):
        soundfile.write(tmp_path / "two" / "d" / f"new{k}.wav", music(k, 12.0), 22_050)
    collection = read_collection(Data((Source(tmp_path / "one"), Source(tmp_path / "two"))))
    assert [t.name for t in collection.tracks] == [
        "one0",
        "one2",
        "one4",
        "one1",
        "one3",
        "one5",
        "two:new20",
        "two:new21",
    ]
    assert {t.name: dict(t.answers) for t in collection.tracks if not t.home} == {
        "one0": {"two": "c"}, "one1": {"two": "c"}, "one2": {"two": "c"}, "one3": {"two": "d"}, "one4": {}, "one5": {}
    }  # fmt: skip
    assert collection.shared == ("two:two0", "two:two1", "two:two2", "two:two3")
    assert collection.versions == ("two:excerpt",)
    assert [pool.tolist() for pool in collection.pools(collection.tracks)] == [[0, 1, 2, 3, 4, 5], [0, 1, 3, 4, 6, 7]]
    split = split_tracks(collection.tracks, "stratified", seed=0)
    digests = [{t.digest for t in side} for side in (split.training, split.validation)]
    assert not digests[0] & digests[1]
    # what was heard is kept out of both
    heard = tmp_path / "heard.wav"
    soundfile.write(heard, 0.7 * music(0, 12.0)[:180_000], 22_050)
    collection = read_collection(Data((Source(tmp_path / "one"), Source(tmp_path / "two"))), [heard])
    assert {t.name for t in collection.excluded} == {"one0", "two:two0"}


def test_fields_that_contradict_each_other_are_refused(words: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(words, other)
    table = tmp_path / "t.tsv"
    lines = [f"{file.stem}\t{file.stem.split('_')[1].upper()}" for file in sorted(other.glob("*/*.wav"))]
    table.write_text("\n".join(["file\tspeaker", *lines]))
    data = Data((Source(words, "one", "{w}_{speaker}_{k}"), Source(other, "two", table=table)))
    with pytest.raises(DataError, match=r"do_fast_0.*sample for sample, but its speaker is FAST and not fast"):
        read_collection(data)


def test_pools_give_alike_many_crops_and_go_round() -> None:
    frames = [np.full((4, 6), k, np.float16) for k in range(13)]
    pools = [[0, 1, 2], [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]
    batches = CropBatches(
        frames, np.eye(13), n_frames=6, batch_size=2, augmentation=PLAIN, seed=5, pools=pools, crops_per_track=2
    )
    assert len(batches) == 6  # three tracks of the first pool, twice, beside as many of the other
    heard = [[int(track) for k in range(6) for track in batches[epoch, k][1].argmax(dim=1)] for epoch in range(5)]
    for epoch in heard:
        assert sorted(epoch[::2]) == [0, 0, 1, 1, 2, 2]  # each batch holds one of either
        assert sorted(epoch[0:6:2]) == [0, 1, 2]
        assert all(track in pools[1] for track in epoch[1::2])
    others = [track for epoch in heard for track in epoch[1::2]]
    assert len(others) == 30
    for turn in range(3):  # every track of the other pool once, before any comes again
        assert sorted(others[10 * turn : 10 * turn + 10]) == pools[1]
    assert others[:10] != others[10:20]


def test_one_pool_of_all_is_the_default() -> None:
    frames = [np.random.default_rng(k).normal(size=(4, 9)).astype(np.float16) for k in range(5)]
    one, two = (
        CropBatches(frames, np.eye(5), n_frames=6, batch_size=2, augmentation=PLAIN, seed=5, pools=pools)
        for pools in (None, [range(5)])
    )
    assert all(torch.equal(a, b) for k in range(2) for a, b in zip(one[3, k], two[3, k]))


def test_a_short_recording_is_heard_as_it_trained() -> None:
    """One segment, repeated from its beginning: a crop of the training that starts there, bit for bit."""
    frames = np.random.default_rng(0).normal(size=(64, 23)).astype(np.float16)
    (segment,) = segment_frames(frames, 40)
    crops = CropBatches([frames], np.eye(1), n_frames=40, batch_size=1, augmentation=PLAIN, seed=0)
    starts = [int(crops.draws(k).start[0]) for k in range(200)]
    np.testing.assert_array_equal(segment, crops[starts.index(0), 0][0][0])
    network = build(preset("ban-small"), 3, 1).eval()
    whole = np.concatenate([frames, frames], axis=1)[:, :40]
    assert np.array_equal(segment_probabilities(network, frames, 40), segment_probabilities(network, whole, 40))


def test_crops_are_no_longer_than_recordings() -> None:
    network = build(preset("ban-small"), 3, 1)
    rate, stride = network.front_end.config.frame_rate, network.config.time_stride
    short = [np.zeros((64, n), np.float16) for n in [21] * 96 + [400] * 4]
    long = [np.zeros((64, 1500), np.float16)] * 3
    settings = replace(QUICK, crop_seconds=5.12, augmentation=replace(QUICK.augmentation, time_mask=25))
    fitted, n_frames = fitted_crops(settings, network, short, [range(100)])
    assert n_frames == 24 == stride * 6
    assert fitted.crop_seconds == pytest.approx(24 / rate)
    assert fitted.augmentation.time_mask == 2  # 25 of 256 frames, in proportion
    assert fitted_crops(settings, network, [*short, *long], [range(100), range(100, 103)]) == (settings, 256)
    # folders are told apart: few long recordings must not be cut for many short ones
    assert fitted_crops(settings, network, [*short * 3, *long], [range(303)])[1] == 24


@pytest.mark.parametrize(
    ("extra", "words_"),
    [
        (["--names", "{w}_{speaker}_{k}"], "say of which --data, as in --names word={w}_{speaker}_{k}"),
        (["--names", "word={w}_{speaker}", "--heads", "speaker"], "fits in several ways"),
        (["--names", "word={w}-{speaker}"], "does not fit"),
        (["--heads", "speaker"], "no collection has this field; there is none: give --names or --table"),
        (["--names", "word={w}_{s}_{k}", "--group", "speaker"], "there are k, s, w"),
        (["--names", "word={w}_{s}_{k}", "word={w}"], "--names: is given twice for word"),
        (["--names", "word={w}_{s}_{k}", "--table", "word=t.tsv"], "--names and --table both"),
        (["--table", "word=none.tsv"], "--table none.tsv: cannot be read"),
        (["--names", "word={w}_{s}_{k}", "--heads", "word"], "--heads word: another task has this name"),
        (["--preset", "logmel"], "--preset logmel: answers one task"),
    ],
)
def test_mistakes_in_several_folders(
    genres: Path, words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], words_: str
) -> None:
    out = tmp_path / "w.safetensors"
    status = main(["--data", f"music={genres}", f"word={words}", "--out", str(out), "-q", "--device", "cpu", *extra])
    captured = capsys.readouterr().err
    assert status in (2, 65) and captured.count("\n") == 1
    assert words_ in captured


def test_two_collections_of_one_name_and_options_of_evaluation(
    genres: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", f"a={genres}", f"a={genres}", "--out", "w.safetensors"]) == 2
    assert "two collections are called a" in capsys.readouterr().err
    assert main(["--data", str(genres), str(genres), "--evaluate", "w.safetensors"]) == 2
    assert "give one --data" in capsys.readouterr().err
    assert main(["--data", str(genres), "--evaluate", "w.safetensors", "--group", "x"]) == 2
    assert "--group has no effect with --evaluate" in capsys.readouterr().err


def test_a_path_with_an_equals_sign_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a=b").mkdir()
    monkeypatch.chdir(tmp_path)
    parse = command._parser().parse_args
    first = ["--out", "w.safetensors", "--data"]
    sources = command._data(parse([*first, "a=b", "c=d=e", "plain", "./x=y"])).sources
    assert [(s.name, str(s.folder)) for s in sources] == [
        ("a=b", "a=b"),
        ("c", "d=e"),
        ("plain", "plain"),
        ("x=y", "x=y"),
    ]
    one = command._data(parse([*first, "digits=d", "--names", "a={b}"]))
    assert one.sources[0].template == "a={b}"  # one folder: what stands before the sign is no name of it
    one = command._data(parse([*first, "digits=d", "--names", "digits={b}", "--heads", "b", "--group", "b"]))
    assert (one.sources[0].template, one.heads, one.group) == ("{b}", ("b",), "b")


def test_the_command_trains_on_several_folders(
    genres: Path, words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "w.safetensors"
    words_ = ["--data", f"music={genres}", f"word={words}", "--names", "word={w}_{speaker}_{k}", "--heads", "speaker",
              "--group", "speaker", "--preset", "ban-small", "--epochs", "1", "--split", "stratified"]  # fmt: skip
    assert main([*words_, "--out", str(out), "-q", "--device", "cpu"]) == 0
    tasks = json.loads(out.with_suffix(".json").read_text())["metrics"]["tasks"]
    assert list(tasks) == ["word", "speaker"]
    assert main(["--data", str(genres), "--evaluate", str(out), "-q", "--device", "cpu"]) == 0
    result = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert result["unseen"] is None and result["validated"]["n_tracks"] == 3


def test_classes_groups_and_tasks_are_what_a_training_is_known_by(genres: Path, words: Path) -> None:
    marks = {
        training_fingerprint(read_collection(data), QUICK)
        for data in (
            Data((Source(genres, "music"),)),
            _data(genres, words),
            _data(genres, words, heads=()),
            _data(genres, words, group="speaker"),
        )
    }
    assert len(marks) == 4


def test_spoken_digits_are_different_recordings(shared_data: Path) -> None:
    """Takes of one digit by one speaker, and digits of one speaker, are not taken for each other."""
    files = sorted((shared_data / "fsdd" / "digits").glob("[01]/*_[0-4].wav"))
    if not files:
        pytest.skip(f"no spoken digits in {shared_data}")
    assert len(files) == 60
    assert groups([identify(file) for file in files]) == list(range(60))
