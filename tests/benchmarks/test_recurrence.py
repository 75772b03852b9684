"""Arms of the recurrence study: equal parameters, equal steps; its page follows the numbers."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import recurrence
import recurrence_page
from comparison_jobs import Plan
from recurrence_variants import UNROLLINGS, step_cost, unrolling_name, variants

from ban_bids.models.presets import build, preset
from ban_bids.training.datasets import Collection, Track
from ban_bids.training.settings import TrainingSettings


def _parameters(name: str) -> int:
    return sum(p.numel() for p in build(preset(name), 10).parameters())


def test_the_wide_network_has_as_many_parameters() -> None:
    assert _parameters("ban-wide") == pytest.approx(_parameters("ban"), rel=0.02)
    assert not variants()["ban-wide"].recurrence
    assert _parameters("ban-feedforward") < 0.5 * _parameters("ban")


def test_unrollings_differ_in_their_steps_only() -> None:
    for steps in UNROLLINGS:
        config = preset(unrolling_name(steps))
        assert config.steps == steps  # type: ignore[attr-defined]
        assert config.frame_rates == preset("ban").frame_rates
        # a step has a normalisation of its own (weight and bias per channel), and nothing else
        less = sum(2 * n * (3 - s) for n, s in zip((16, 32, 64, 128), steps))
        assert _parameters(unrolling_name(steps)) == _parameters("ban") - less


def test_step_cost_of_fewer_steps_is_less() -> None:
    cost = step_cost("ban-feedforward", repeats=1)
    assert set(cost) == {"forward_ms", "backward_ms"} and min(cost.values()) > 0


def test_epochs_make_at_least_the_steps(tmp_path: Path) -> None:
    tracks = tuple(Track(Path(f"{g}{k}.wav"), f"{g}{k}", g, f"{g}{k}") for g in "abc" for k in range(10))
    plan = Plan(Collection(tracks, tuple("abc")), 3, TrainingSettings(batch_size=8), tmp_path)
    # 20 tracks train: two batches of 8 in an epoch
    assert recurrence.epochs_for(100, plan) == 50
    assert recurrence.epochs_for(101, plan) == 51


def test_regimes_have_results_of_their_own(tmp_path: Path, genres_of_noise: Path) -> None:
    options = Namespace(
        data=genres_of_noise, names="", group="", out=tmp_path / "r.json", work=None, folds=2, set=[], keep=False,
            device="cpu",
        steps=12, cpu_minutes=1.0, plateau_minutes=3.0, regimes=["steps", "time"], unrollings_in="steps", seeds=1,
    )  # fmt: skip
    plans = recurrence.plans_of(options)
    assert list(plans) == ["steps", "time"]
    assert plans["steps"].settings.max_minutes is None and plans["time"].settings.max_minutes == 1.0
    # neither may end on a plateau
    assert plans["steps"].settings.plateau is plans["time"].settings.plateau is None
    third = recurrence.plans_of(Namespace(**{**vars(options), "regimes": ["plateau"]}))["plateau"].settings
    assert third.plateau is not None and third.max_minutes == 3.0
    todo = [(regime, job) for regime in plans for job in recurrence._jobs(options, regime)]
    files = {plans[regime].file_of(job) for regime, job in todo}
    assert len(files) == len(todo) == 2 * (3 + len(UNROLLINGS) + 1) + 2 * 3


@pytest.fixture
def genres_of_noise(tmp_path: Path) -> Path:
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    for genre in "ab":
        (tmp_path / "data" / genre).mkdir(parents=True)
        for k in range(4):
            soundfile.write(tmp_path / "data" / genre / f"{genre}{k}.wav", rng.normal(0, 0.1, 8000), 8000)
    return tmp_path / "data"


def _figure(value: float, difference: float | None = None, half: float = 0.02) -> dict[str, Any]:
    figure: dict[str, Any] = {"value": value, "ci95": [value - half, value + half], "seeds": [value]}
    if difference is not None:
        figure["difference"] = {
            "value": difference, "ci95": [difference - half, difference + half],
            "ci95_seeds": [difference - 2 * half, difference + 2 * half],
        }  # fmt: skip
    return figure


def _model(value: float, difference: float | None) -> dict[str, Any]:
    figure = _figure(value, difference)
    return {
        "track_accuracy": _figure(value), **({"difference": figure["difference"]} if difference is not None else {}),
        "heard": {"noise": figure, "pieces": figure}, "measures": {"dimension": None},
        "steps": 1500, "training_cpu_seconds": 90.0, "training": {"ended": {}, "curve": []},
    }  # fmt: skip


@pytest.fixture
def study() -> dict[str, Any]:
    changed = {"harder": {"gained": 90, "lost": 20}, "easier": {"gained": 10, "lost": 12}}
    course = {
        "accuracy": {"quiet": [0.7, 0.8, 0.9], "0 dB": [0.2, 0.3, 0.6]},
        "gain": {"quiet": _figure(0.2), "0 dB": _figure(0.4)},
        "harder": _figure(0.2), "ease": _figure(0.2), "changed": changed,
    }  # fmt: skip
    cost = {"parameters": 307786, "multiply_adds": 7e7, "audio_seconds_per_cpu_second": 400.0}
    cost |= {"forward_ms": 80.0, "backward_ms": 170.0, "unrolling": [3, 3, 3, 3]}
    return {
        "about": "Sounds", "n_tracks": 70, "folds": 5, "seeds": 5, "command": "python benchmarks/recurrence.py",
        "regimes": {"steps": "1500 steps each"}, "unrollings_in": "steps", "choices": None,
        "models": {"steps": {
            "ban": _model(0.9, None), "ban-feedforward": _model(0.8, -0.1), "ban-wide": _model(0.89, -0.01),
            "ban-steps-1223": _model(0.9, 0.0),
        }},
        "cost": dict.fromkeys(("ban", "ban-feedforward", "ban-wide", "ban-steps-1223"), cost),
        "time_course": {"steps": {"probe": course, "readout": {**course, "ease": None, "why_no_ease": "too few"}}},
    }  # fmt: skip


def test_the_section_follows_the_numbers(study: dict[str, Any]) -> None:
    text = "\n\n".join(recurrence_page.recurrence_section(study))
    # BAN less the other: signs are turned
    assert "| track accuracy | 0.900 [0.880, 0.920] | 0.800 [0.780, 0.820] | 0.890 [0.870, 0.910] |" in text
    assert "+0.100 [+0.060, +0.140] | +0.010 [-0.030, +0.050] |" in text
    assert "track accuracy higher than without recurrence;" in text
    assert "as many parameters" in text and "higher than without recurrence, as many" not in text
    assert "later steps add more in noise" in text and "later steps add more for harder pieces." in text
    assert "harder half 90 gained, 20 lost" in text
    assert "n/a, too few" in text
    assert "| 1500" not in text and "1 500" in text
    assert "trainings that a plateau ended" not in text
    study["models"]["steps"]["ban"]["training"]["ended"] = {"plateau": 20, "time": 5}
    text = "\n\n".join(recurrence_page.recurrence_section(study))
    assert "| trainings that a plateau ended | 20 of 25 | 0 of 0 | 0 of 0 |  |  |" in text
    study["models"]["steps"]["ban-feedforward"] = _model(0.9, 0.0)
    assert "No difference is told apart" in "\n\n".join(recurrence_page.recurrence_section(study))
