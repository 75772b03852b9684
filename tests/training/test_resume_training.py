"""A training that was killed goes on to the same weights; the state of another one is left alone."""

from __future__ import annotations

import os
import pickle
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import safe_open
from short_trainings import QUICK, Kill, train

from ban_bids.errors import DiskFull
from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.models.presets import PRESETS, build, preset
from ban_bids.training import fit, records
from ban_bids.training.datasets import read_collection
from ban_bids.training.fit import BANTraining
from ban_bids.training.records import ResumeState, state_path, training_fingerprint
from ban_bids.training.train import train_collection

_STRAYING = replace(QUICK.augmentation, mixup=0.2, noise=0.5, reverberation=0.5)
SETTINGS = replace(QUICK, epochs=8, augmentation=_STRAYING)
N_STEPS = 24  # 15 training tracks, 3 batches of 4 an epoch
STEPS = sorted(np.random.default_rng(20).choice(np.arange(3, N_STEPS), size=3, replace=False).tolist())


def _weights(path: Path) -> dict[str, bytes]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def _resumed(path: Path) -> list[int]:
    card = load_checkpoint(path)[1]
    assert card is not None
    return card.metrics["resumed_after_steps"]


def _card(path: Path) -> dict:
    card = load_checkpoint(path)[1]
    assert card is not None
    metrics = {k: v for k, v in card.metrics.items() if "minutes" not in k and k != "resumed_after_steps"}
    return {**vars(card), "metrics": metrics}


@pytest.fixture(scope="module")
def uninterrupted(genres: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "w.safetensors"
    train(genres, out, SETTINGS)
    return out


@pytest.mark.parametrize(
    "kills",
    [
        [Kill(step) for step in STEPS],
        [Kill(7, "on_train_batch_end"), Kill(12, "write"), Kill(N_STEPS - 1, "optimizer_step")],
    ],
    ids=str,
)
def test_killed_training_ends_with_the_same_weights(
    uninterrupted: Path, genres: Path, tmp_path: Path, kills: list[Kill]
) -> None:
    out = tmp_path / "w.safetensors"
    for kill in kills:
        train(genres, out, SETTINGS, kill)
        assert not out.exists()
        assert state_path(out).exists()
    train(genres, out, SETTINGS)
    # a state every third step; the one that was being written is lost
    assert _resumed(out) == [(kill.step - (kill.where == "write")) // 3 * 3 for kill in kills]
    assert _weights(out) == _weights(uninterrupted)
    assert _card(out) == _card(uninterrupted)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.json", "w.safetensors"]


def test_sigterm_keeps_the_state_of_the_very_step(uninterrupted: Path, genres: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    train(genres, out, SETTINGS, Kill(7, by=signal.SIGTERM))
    assert not out.exists() and state_path(out).exists()
    train(genres, out, SETTINGS)
    assert _resumed(out) == [8]  # states else lie three steps apart
    assert _weights(out) == _weights(uninterrupted)


def test_early_stopping_goes_on_too(genres: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, patience=3, learning_rate=0.02)
    whole, out = tmp_path / "whole.safetensors", tmp_path / "w.safetensors"
    train(genres, whole, settings)
    train(genres, out, settings, Kill(8))
    train(genres, out, settings)
    assert _resumed(out) == [6]
    assert _weights(out) == _weights(whole)
    assert _card(out) == _card(whole)
    assert any("early stopping held out 3 of the training tracks" in note for note in _card(out)["notes"])


def test_time_used_before_a_kill_counts(genres: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=1000, max_minutes=1.0)  # the clock shows a second more a reading
    whole, out = tmp_path / "whole.safetensors", tmp_path / "w.safetensors"
    train(genres, whole, settings)
    train(genres, out, settings, Kill(13))
    train(genres, out, settings)
    steps, expected = (_card(path)["metrics"]["steps"] for path in (out, whole))
    assert expected > 20
    # the time of the step after the last state (12) is taken twice, and the state reads the clock
    assert expected - 8 <= steps <= expected
    notes = " ".join(_card(out)["notes"])
    assert "taken up again after step 12" in notes
    assert "1.0 wall-clock minutes ended the training" in notes


def test_clock_goes_on_from_what_was_used() -> None:
    module = BANTraining(build(preset("ban-small"), 3), replace(SETTINGS, budget_clock="cpu"), N_STEPS)
    stored = {"steps_done": 3, "resumed": [], "used": 100.0, "schedule": module.schedule.state()}
    module.on_load_checkpoint({"training": stored})
    module.on_fit_start()
    assert 100.0 <= module.seconds_used() < 101.0


def test_state_of_another_training_is_left_alone(
    genres: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, fresh = tmp_path / "w.safetensors", tmp_path / "fresh.safetensors"
    train(genres, out, SETTINGS, Kill(10))
    other = replace(SETTINGS, epochs=2)
    collection = read_collection(genres)
    for path in (out, fresh):
        train_collection(collection, path, other, device="cpu", progress=False)
    assert "starts anew" in caplog.text
    assert "other settings" in caplog.text
    assert _weights(out) == _weights(fresh)
    assert not state_path(out).exists()


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("damage", ["half", "pickle", "empty"])
def test_damaged_state_is_not_used_and_runs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    state = ResumeState(tmp_path / "w.safetensors", "a", 1)
    content = {
        "half": b"PK\x03\x04 half of it",
        "pickle": pickle.dumps(_Trap(tmp_path / "trap")),
        "empty": b"",
    }
    state.path.write_bytes(content[damage])
    assert state.find() is None
    assert "damaged" in caplog.text
    assert not (tmp_path / "trap").exists()


def test_state_belongs_to_data_settings_network_and_processes(
    genres: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = read_collection(genres)
    less = read_collection(genres, [genres / "low" / "low.00002.wav"])
    marks = [training_fingerprint(one, SETTINGS), training_fingerprint(less, SETTINGS)]
    marks.append(training_fingerprint(one, replace(SETTINGS, seed=5)))
    states = [ResumeState(tmp_path / "w", mark, n).fingerprint for mark in marks for n in (1, 2)]
    assert len(set(states)) == 6
    assert training_fingerprint(one, replace(SETTINGS)) == marks[0]
    changed = replace(PRESETS["ban-small"], dropout=0.123)
    monkeypatch.setitem(PRESETS, "ban-small", changed)
    assert training_fingerprint(one, SETTINGS) not in marks


def test_a_full_disk_costs_the_state_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def save(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fit, "SECONDS_BETWEEN_STATES", 0.0)
    state = ResumeState(tmp_path / "w.safetensors", "of a training", 1)
    trainer = SimpleNamespace(
        global_step=fit.STEPS_BETWEEN_LOOKS, should_stop=False, strategy=SimpleNamespace(broadcast=lambda due: due),
        save_checkpoint=save, is_global_zero=True, world_size=1, received_sigterm=False,
    )  # fmt: skip
    step = (None, None, None, 0)  # the module and what it heard and said
    fit.KeepState(state).on_train_batch_end(trainer, *step)  # type: ignore[arg-type]
    assert "the disk is full" in caplog.text and "training goes on" in caplog.text
    assert not list(tmp_path.iterdir())
    trainer.world_size = 2
    with pytest.raises(DiskFull, match="w.safetensors.resume"):
        fit.KeepState(state).on_train_batch_end(trainer, *step)  # type: ignore[arg-type]


def test_a_training_that_will_not_fit_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ResumeState(tmp_path / "w.safetensors", "of a training", 1)
    network = build(PRESETS["ban-small"], 3, 0)
    state.check_room(network)
    monkeypatch.setattr(records, "free_bytes", lambda path: 1000)
    with pytest.raises(DiskFull, match="w.safetensors.resume: the disk is full .*will not fit; .* wanted"):
        state.check_room(network)
    state.path.write_bytes(b"0" * sum(tensor.nbytes for tensor in network.state_dict().values()))
    state.check_room(network)  # what it replaces makes room
