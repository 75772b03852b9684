"""Training learns what can be learnt, leaves out what must be left out, and happens once."""

from __future__ import annotations

import json
import multiprocessing
import signal
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from short_trainings import QUICK

from ban_bids.audio.waveforms import audio_hash
from ban_bids.cli.train import main
from ban_bids.errors import LeakError, UsageError
from ban_bids.models.ban import BAN
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import check_no_overlap, load_checkpoint, save_checkpoint
from ban_bids.models.controls import control_models, control_networks
from ban_bids.models.network import CONTROLS, NetworkModel, fingerprint
from ban_bids.models.normalisation import normalisation
from ban_bids.models.presets import preset
from ban_bids.training import train as module
from ban_bids.training.crops import PLAIN, CropBatches
from ban_bids.training.datasets import Collection, read_collection
from ban_bids.training.fit import BANTraining
from ban_bids.training.records import state_path
from ban_bids.training.settings import CLOCKS, TrainingSettings
from ban_bids.training.train import train_collection, train_model, train_once


@pytest.fixture(scope="module")
def trained(genres: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "ban.safetensors"
    exclude = [genres / "low" / "low.00002.wav"]
    return train_collection(read_collection(genres, exclude), out, QUICK, device="cpu")


def test_separable_genres_are_learnt(trained: Path) -> None:
    _, card = load_checkpoint(trained)
    assert card is not None
    assert card.genres == ("high", "low", "pulsed")
    assert card.metrics["track_accuracy"] == 1.0
    assert card.metrics["n_tracks"] == 3
    assert np.trace(card.metrics["confusion"]) == 3
    assert card.settings["epochs"] == QUICK.epochs
    assert card.versions["torch"] == torch.__version__.split("+")[0]


def test_network_and_controls_are_normalised_on_the_same_training_crops() -> None:
    """Plain averages of batch statistics, by hand; the controls hear the first of the network's four epochs."""
    rng = np.random.default_rng(0)
    frames = [rng.normal(-3, 2, (64, 90)).astype(np.float32) for _ in range(70)]
    network = BAN(preset("ban-small"), n_genres=3, seed=2)
    module.set_statistics(network, frames)
    module._measure(network, frames, replace(QUICK, seed=10), n_frames=48)
    crops = CropBatches(frames, np.zeros((70, 1)), n_frames=48, batch_size=32, augmentation=PLAIN, seed=11)
    heard = [[network.front_end.standardise(x) for x, _ in crops.epoch(k)] for k in range(4)]
    assert len(heard[0]) > 1
    first = "areas.A1.norms.0"
    expected = {"itself": (network, sum(heard, [])), **{c: (n, heard[0]) for c, n in control_networks(network)}}
    for name, (one, batches) in expected.items():
        with torch.no_grad():
            inputs = [one.areas["A1"].hear(batch)[0] for batch in batches]
        found = normalisation(one) if name == "itself" else network.control_statistics[name]
        for statistic, mean in (
            ("running_mean", torch.stack([x.mean(dim=(0, 2, 3)) for x in inputs]).mean(dim=0)),
            ("running_var", torch.stack([x.transpose(0, 1).flatten(1).var(dim=1) for x in inputs]).mean(dim=0)),
        ):
            torch.testing.assert_close(found[f"{first}.{statistic}"], mean, rtol=1e-4, atol=1e-5)


def test_statistics_of_the_controls_lie_beside_the_weights(trained: Path) -> None:
    network, _ = load_checkpoint(trained)
    assert tuple(network.control_statistics) == CONTROLS
    controls = control_models(NetworkModel(network))
    assert len(controls.models) == 8 and not controls.notes


def test_excluded_track_neither_trains_nor_validates(trained: Path, genres: Path) -> None:
    _, card = load_checkpoint(trained)
    assert card is not None
    digest = audio_hash(genres / "low" / "low.00002.wav")
    assert card.excluded == {"low.00002": digest}
    assert digest not in {*card.training_hashes.values(), *card.validation_hashes.values()}
    assert len(card.training_hashes) + len(card.validation_hashes) == 17
    assert check_no_overlap(card, [genres / "low" / "low.00002.wav"]).tracks == ()
    for path in (genres / "low" / "low.00001.wav", *(genres / "high").iterdir()):
        with pytest.raises(LeakError):
            check_no_overlap(card, [path])


def test_statistics_are_those_of_the_training_tracks(trained: Path, genres: Path) -> None:
    network, card = load_checkpoint(trained)
    assert card is not None
    raw = BAN(network.config).front_end
    frames = []
    for name in card.training_hashes:
        samples, _ = soundfile.read(genres / name.split(".")[0] / f"{name}.wav", dtype="float32")
        frames.append(raw.log_mel(torch.from_numpy(samples)[None])[0].numpy())
    everything = np.concatenate(frames, axis=1)
    np.testing.assert_allclose(network.front_end.mean[:, 0], everything.mean(axis=1), atol=0.01)
    np.testing.assert_allclose(network.front_end.scale[:, 0], np.maximum(everything.std(axis=1), 0.5), atol=0.01)


def test_same_seed_same_weights(genres: Path, tmp_path: Path) -> None:
    short = replace(QUICK, epochs=2)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    marks = set()
    for k in range(2):
        out = train_collection(read_collection(genres), tmp_path / f"{k}.safetensors", short, device="cpu")
        marks.add(fingerprint(load_checkpoint(out)[0]))
    assert len(marks) == 1
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's random numbers are touched
    other = train_collection(read_collection(genres), tmp_path / "o.safetensors", replace(short, seed=2), device="cpu")
    assert fingerprint(load_checkpoint(other)[0]) not in marks


def test_nothing_is_written_beside_the_checkpoint(
    genres: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    train_collection(read_collection(genres), tmp_path / "out" / "w.safetensors", replace(QUICK, epochs=1))
    assert list((tmp_path / "cwd").iterdir()) == []
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["w.json", "w.safetensors"]


def test_time_budget_ends_training_and_is_noted(genres: Path, tmp_path: Path) -> None:
    settings = TrainingSettings(preset="ban-small", max_minutes=0.01, epochs=10_000)
    out = train_model(genres, tmp_path / "w.safetensors", settings, device="cpu")
    _, card = load_checkpoint(out)
    assert card is not None
    assert card.metrics["steps"] < 10_000
    assert any("time budget" in note for note in card.notes)


@pytest.mark.parametrize(("clock", "ends_early"), [("cpu", True), ("wall", False)])
def test_budget_is_measured_by_the_clock_that_was_chosen(
    genres: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str, ends_early: bool
) -> None:
    seconds = count(0.0, 1.0)  # the processor's time passes, the wall clock stands still
    monkeypatch.setitem(CLOCKS, "cpu", lambda: next(seconds))
    monkeypatch.setitem(CLOCKS, "wall", lambda: 0.0)
    settings = replace(QUICK, epochs=5, max_minutes=0.1, budget_clock=clock)
    out = train_collection(read_collection(genres), tmp_path / "w.safetensors", settings, device="cpu")
    _, card = load_checkpoint(out)
    assert card is not None
    assert (card.metrics["steps"] < 15) == ends_early
    assert any("0.1 processor minutes ended" in note for note in card.notes) == ends_early


def test_unknown_budget_clock(genres: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--budget-clock sun: unknown; choose one of wall, cpu"):
        train_collection(read_collection(genres), tmp_path / "w.safetensors", replace(QUICK, budget_clock="sun"))


@pytest.mark.parametrize("values", [{"epochs": 0}, {"max_minutes": 0.0}])
def test_impossible_budgets(genres: Path, tmp_path: Path, values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="above zero"):
        train_collection(read_collection(genres), tmp_path / "w.safetensors", replace(QUICK, **values))


def _worker(genres: str, out: str, barrier: object) -> None:
    def train(collection: Collection, path: Path, settings: TrainingSettings, **rest: object) -> Path:
        with Path(out).with_suffix(".log").open("a") as log:
            log.write("trained\n")
        network = BAN(preset("ban-small"), n_genres=len(collection.genres))
        extra = rest["extra"]
        assert isinstance(extra, dict)
        card = ModelCard(network.config.to_dict(), collection.genres, settings=extra)
        return save_checkpoint(path, network, card)

    barrier.wait()  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        # only who trains and who waits matters here
        patch.setattr(module, "train_collection", train)
        train_once(Path(genres), Path(out), settings=QUICK)


def test_two_processes_train_once(genres: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=_worker, args=(str(genres), str(out), barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert out.with_suffix(".log").read_text() == "trained\n"


def test_other_exclusions_or_settings_train_anew(genres: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    short = replace(QUICK, epochs=1)
    calls = []
    for settings, exclude in (
        (short, []),
        (short, []),
        (replace(short, seed=5), []),
        (replace(short, seed=5), [genres / "low" / "low.00000.wav"]),
    ):
        train_once(genres, out, settings, exclude=exclude, device="cpu")
        calls.append(out.read_bytes())
    assert calls[0] == calls[1]
    assert calls[1] != calls[2] != calls[3]
    out.write_bytes(b"damaged")
    train_once(genres, out, settings=short, device="cpu")
    assert load_checkpoint(out)[1] is not None


def test_command_line_trains_and_evaluates(genres: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "w.safetensors"
    stimuli = tmp_path / "heard.txt"
    stimuli.write_text(f"# tracks of the held-out runs\n{genres / 'low' / 'low.00000.wav'}\n")
    words = ["--data", str(genres), "--device", "cpu", "-q"]
    train = [*words, "--preset", "ban-small", "--epochs", "1", "--exclude-stimuli", str(stimuli)]
    assert main([*train, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert main([*words, "--evaluate", str(out)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["unseen"]["n_tracks"] == 1
    assert result["validated"]["n_tracks"] == 3
    assert result["trained"]["n_tracks"] == 14


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (["--preset", "bann"], 2, "--preset bann"),
        (["--split", "odd"], 2, "--split odd"),
        (["--data", "nowhere"], 65, "nowhere"),
        (["--out", "w.pt"], 2, "safetensors"),
        (["--exclude-stimuli", "nowhere"], 2, "--exclude-stimuli nowhere"),
        (["--batch-size", "1"], 2, "--batch-size 1"),
        (["--crop-seconds", "nan"], 2, "--crop-seconds nan"),
        (["--learning-rate", "-1"], 2, "--learning-rate -1"),
        (["--early-stopping", "0"], 2, "--early-stopping 0"),
        (["--seed", "-1"], 2, "--seed -1"),
        (["--devices", "0"], 2, "--devices"),
        (["--strategy", "nosuch"], 2, "--strategy nosuch"),
        (["--omp-nthreads", "0"], 2, "--omp-nthreads 0"),
        (["--report", "folder"], 2, "--report has no effect without --evaluate"),
        (["--test-runs", "1"], 2, "--test-runs have no effect unless"),
        (["--preset", "logmel"], 2, "--epochs has no effect with --preset logmel"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_status(
    genres: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    change: list[str], status: int, words: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    base = ["--data", str(genres), "--out", "w.safetensors", "--epochs", "1", "-q", "--device", "cpu"]
    assert main([*base, *change]) == status
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--epochs", "3"], "--epochs has no effect with --evaluate"),
        (["--early-stopping", "3"], "--early-stopping has no effect with --evaluate"),
        (["--compile"], "--compile has no effect with --evaluate"),
    ],
)
def test_nothing_is_passed_over_in_silence(change: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", "genres", "--evaluate", "w.safetensors", *change]) == 2
    assert words in capsys.readouterr().err


def test_interruption_says_that_the_training_can_go_on(
    genres: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(training: BANTraining, *_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "w.safetensors"
    words = ["--data", str(genres), "--out", str(out), "--preset", "ban-small", "--device", "cpu", "-q"]
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(BANTraining, "training_step", interrupted)
        assert main(words) == 130
    assert capsys.readouterr().err.endswith("interrupted; nothing was written\n")
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is handler  # Lightning ignores the signal from then on
    state_path(out).write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(BANTraining, "training_step", interrupted)
        assert main(words) == 130
    assert capsys.readouterr().err.endswith(f"interrupted; the same command goes on from {state_path(out)}\n")
