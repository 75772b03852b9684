"""Statistics of the comparison against scipy and brute force; jobs are kept and not done again."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import comparison_jobs as jobs
import numpy as np
import pytest
import torch
from compare_models import changed, main
from comparison_cost import model_cost, multiply_adds
from comparison_jobs import Job, Outcome, Plan
from comparison_summary import compare, pool, sign_flip_p
from scipy.stats import binomtest
from torch import nn

from ban_bids.models.presets import build, preset
from ban_bids.training.datasets import Collection, Track
from ban_bids.training.scores import Answers
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import split_tracks

GENRES = ("a", "b", "c")


def _answers(right: np.ndarray, truth: np.ndarray) -> Answers:
    """Three alike segments a track, surely right or surely wrong."""
    told = np.where(right, truth, (truth + 1) % 3)
    return Answers(truth, [np.tile(np.eye(3)[t] * 0.7 + 0.1, (3, 1)) for t in told])


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (3, 0), (7, 2), (5, 5), (1, 12)])
def test_one_seed_is_mcnemars_exact_test(better: int, worse: int) -> None:
    found = sign_flip_p(np.array([1] * better + [-1] * worse + [0] * 9))
    n = better + worse
    assert found == pytest.approx(binomtest(better, n).pvalue if n else 1.0)


def test_several_seeds_by_all_arrangements() -> None:
    differences = np.array([3, -1, 2, 2, 0, 1, -2])
    signs = itertools.product([1, -1], repeat=len(differences))
    sums = np.array([abs(np.dot(s, differences)) for s in signs])
    assert sign_flip_p(differences) == pytest.approx((sums >= abs(differences.sum())).mean())


def test_differences_are_paired_and_corrected() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    base = rng.random(60) < 0.6
    up = base.copy()
    up[np.flatnonzero(~base)[:10]] = True  # right wherever the reference is, and ten times more
    models = {"ban": [_answers(base, truth)], "up": [_answers(up, truth)], "same": [_answers(base, truth)]}
    result = compare(models, "ban")
    difference = result["up"]["difference"]
    assert difference["value"] == pytest.approx(10 / 60, abs=1e-4)
    assert (difference["better"], difference["worse"]) == (10, 0)
    half = 1.96 * np.sqrt(10 / 60 * 50 / 60 / 60)
    assert difference["ci95"] == pytest.approx([10 / 60 - half, 10 / 60 + half], abs=0.015)
    assert result["same"]["difference"]["ci95"] == [0.0, 0.0]  # the same draws for both
    assert difference["p_holm"] == pytest.approx(2 * difference["p"], abs=1e-4)
    assert result["same"]["difference"]["p_holm"] == 1.0
    # accuracy's own interval is that of a share
    share = base.mean()
    half = 1.96 * np.sqrt(share * (1 - share) / 60)
    assert result["ban"]["track_accuracy"]["ci95"] == pytest.approx([share - half, share + half], abs=0.02)


def test_folds_are_joined_by_track() -> None:
    one = Outcome(["t3", "t1"], ["c", "a"], [np.eye(3)[[2]], np.eye(3)[[0]]], 1.0, 5, "x")
    two = Outcome(["t2"], ["b"], [np.eye(3)[[1]]], 1.0, 5, "x")
    names, answers = pool([one, two], GENRES)
    assert names == ["t1", "t2", "t3"]
    assert answers.truth.tolist() == answers.tracks.argmax(axis=1).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="two folds"):
        pool([one, one], GENRES)


def _plan(folder: Path, settings: TrainingSettings) -> Plan:
    tracks = tuple(Track(Path(f"{g}{k}.wav"), f"{g}{k}", g, f"digest {g}{k}") for g in GENRES for k in range(4))
    return Plan(Collection(tracks, GENRES), 2, settings, folder)


def test_a_result_belongs_to_its_settings_and_tracks(tmp_path: Path) -> None:
    settings = TrainingSettings(max_minutes=1.0)
    plan, job = _plan(tmp_path, settings), Job("ban", 0, 1)
    assert plan.settings_of(job).split == "kfold-1-of-2"
    assert plan.settings_of(replace(job, model="ban-untrained")).preset == "ban"
    assert plan.file_of(job) == _plan(tmp_path, settings).file_of(job)
    files = {
        plan.file_of(job),
        plan.file_of(replace(job, seed=1)),
        _plan(tmp_path, changed(settings, ["ema=0.5"])).file_of(job),
        _plan(tmp_path, changed(settings, ["augmentation.mixup=0"])).file_of(job),
        replace(plan, collection=replace(plan.collection, tracks=plan.collection.tracks[1:])).file_of(job),
    }
    assert len(files) == 5


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--set emma=1"):
        changed(TrainingSettings(), ["emma=1"])
    with pytest.raises(SystemExit, match="--models bann"):
        main(["--data", str(tmp_path), "--out", str(tmp_path / "r.json"), "--models", "bann"])


def test_multiply_adds_by_hand() -> None:
    """The first layer of the feedforward BAN: every output of a convolution costs kernel size times inputs."""
    network = build(preset("ban-feedforward"), 10).eval()
    front = network.config.front_end
    n_frames = 10 * front.frame_rate
    expected = front.n_mels * (front.n_fft // 2 + 1) * n_frames
    sizes = {}

    def note(module: nn.Conv2d, inputs: tuple, output: torch.Tensor) -> None:
        sizes[module] = output[0].numel()

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    with torch.no_grad():
        network(torch.zeros(1, 10 * front.sampling_rate))
    for module, n_outputs in sizes.items():
        expected += n_outputs * module.weight[0].numel()
    expected += network.readout.weight.numel()
    assert multiply_adds(network, front.sampling_rate) == pytest.approx(expected / 10, rel=1e-6)
    cost = model_cost("ban-feedforward-untrained", 10)
    assert cost["parameters"] == sum(p.numel() for p in network.parameters())


def test_logistic_read_out_chooses_its_penalty_by_track() -> None:
    """Segments of a track share noise: folds that split tracks would choose the weakest penalty."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 10)
    tracks = rng.normal(size=(30, 40)) + 2.0 * np.eye(3, 40)[labels]
    segments = [t + rng.normal(0, 0.05, size=(5, 40)) for t in tracks]
    model = jobs.fit_logistic(segments, labels)
    fresh = rng.normal(size=(90, 40)) + 2.0 * np.eye(3, 40)[np.repeat([0, 1, 2], 30)]
    assert (model.predict(fresh) == np.repeat([0, 1, 2], 30)).mean() > 0.6
    assert model.best_score_ < 0.99


def test_logistic_read_out_chooses_its_penalty_by_group() -> None:
    """Tracks of a speaker are alike: folds that divide speakers would find each track's class in its neighbours."""
    rng = np.random.default_rng(0)
    speakers, labels = np.repeat(np.arange(12), 5), rng.integers(3, size=12).repeat(5)
    labels[:15] = np.repeat([0, 1, 2], 5)
    tracks = rng.normal(size=(12, 40))[speakers] + rng.normal(0, 0.05, (60, 40))
    segments = [track[None] for track in tracks]
    assert jobs.fit_logistic(segments, labels).best_score_ > 0.95
    whole = jobs.fit_logistic(segments, labels, [f"speaker {k}" for k in speakers])
    assert whole.best_score_ < 0.8


def test_folds_keep_groups_whole(tmp_path: Path) -> None:
    plan = _plan(tmp_path, TrainingSettings(max_minutes=1.0))
    tracks = tuple(replace(t, group=f"speaker {t.name[-1]}") for t in plan.collection.tracks)
    grouped = replace(plan, collection=replace(plan.collection, tracks=tracks, group="speaker"), n_folds=4)
    assert grouped.file_of(Job("ban", 0, 1)) != replace(plan, n_folds=4).file_of(Job("ban", 0, 1))
    settings = grouped.settings_of(Job("ban", 0, 2))
    assert {t.group for t in split_tracks(tracks, settings.split, settings.seed).validation} == {"speaker 2"}
