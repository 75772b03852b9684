"""Statistics of the comparison against scipy and brute force; jobs are kept and not done again."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import comparison_jobs as jobs
import listeners
import numpy as np
import pytest
import torch
from classes_of_music import write_classes
from compare_models import changed, figures_of, main
from comparison_cost import model_cost, multiply_adds
from comparison_jobs import Job, Outcome, Plan
from comparison_summary import compare, conditions, figure, measures, over_trainings, pool, sign_flip_p, trainings
from hearing import IN_NOISE, IN_PIECES
from scipy.stats import binomtest, ttest_1samp
from torch import nn

from ban_bids.models.presets import build, preset
from ban_bids.training.datasets import Collection, Track, read_collection
from ban_bids.training.scores import Answers, draw_tracks
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


def _heard(names: list[str], right: np.ndarray, **more: object) -> Outcome:
    """An outcome whose sounds (n_tracks, n_sounds) in every condition are recognised or not; all are of genre a."""
    answers = np.where(right[..., None], np.eye(3)[0], np.eye(3)[1])
    heard = dict.fromkeys((*IN_NOISE, *IN_PIECES), answers)
    return Outcome(names, ["a"] * len(names), [np.eye(3)[[0]]] * len(names), 1.0, 5, "x", heard=heard, **more)  # type: ignore[arg-type]


def test_planted_difference_in_noise_has_its_paired_interval() -> None:
    """Of 80 tracks, 16 more are recognised; the two seeds have their folds in another order."""
    rng = np.random.default_rng(1)
    names = [f"t{k:02d}" for k in range(80)]
    base = np.repeat(rng.random(80) < 0.5, 2).reshape(80, 2)
    up = base.copy()
    up[np.flatnonzero(~base[:, 0])[:16]] = True

    def model(right: np.ndarray) -> list[list[Outcome]]:
        first = [_heard(names[:40], right[:40]), _heard(names[40:], right[40:])]
        return [first, [_heard([*names[40:], *names[:40]], np.vstack([right[40:], right[:40]]))]]

    result = conditions({"ban": model(base), "up": model(up), "same": model(base)}, "ban", GENRES)
    for condition in ("0 dB", "noise", "0.5 s", "pieces"):
        difference = result["up"][condition]["difference"]
        assert difference["value"] == pytest.approx(0.2)
        half = 1.96 * np.sqrt(0.2 * 0.8 / 80)
        for kind in ("ci95", "ci95_seeds"):  # the seeds agree, so they add nothing
            assert difference[kind] == pytest.approx([0.2 - half, 0.2 + half], abs=0.015)
        assert result["same"][condition]["difference"]["ci95"] == [0.0, 0.0]
        assert "difference" not in result["ban"][condition]


def test_seeds_that_differ_widen_the_interval() -> None:
    scores = np.vstack([np.ones(50), np.zeros(50)])
    found = figure(scores, draw_tracks(50, 5000, 0))
    assert found["ci95"] == [0.5, 0.5]
    assert found["ci95_seeds"] == [0.0, 1.0]
    assert "ci95_seeds" not in figure(scores[:1], draw_tracks(50, 100, 0))


def test_groups_are_drawn_whole() -> None:
    """Ten tracks of each of six speakers, alike within a speaker: six are what there is."""
    groups = np.repeat([f"speaker {k}" for k in range(6)], 10).tolist()
    right = np.repeat([True, True, True, False, False, True], 10)
    truth = np.zeros(60, int)
    models = {"ban": [_answers(np.zeros(60, bool), truth)], "up": [_answers(right, truth)]}
    whole, apart = compare(models, "ban", groups)["up"], compare(models, "ban")["up"]
    assert whole["difference"]["value"] == apart["difference"]["value"] == pytest.approx(4 / 6, abs=1e-4)
    assert whole["difference"]["p"] == pytest.approx(2 / 2**4) and apart["difference"]["p"] < 1e-6
    width, narrow = (np.ptp(m["difference"]["ci95"]) for m in (whole, apart))
    assert width == pytest.approx(narrow * 10**0.5, rel=0.2)


def test_a_condition_that_one_job_lacks_is_left_out() -> None:
    names = [f"t{k}" for k in range(6)]
    whole, part = _heard(names[:3], np.ones((3, 2), bool)), _heard(names[3:], np.ones((3, 2), bool))
    del part.heard["5 s"]
    found = conditions({"ban": [[whole, part]]}, "ban", GENRES)["ban"]
    assert "5 s" not in found and "pieces" not in found
    assert found["2 s"]["value"] == found["noise"]["value"] == 1.0


def test_measures_over_seeds_by_students_t() -> None:
    values = np.array([[2.0, 4.0], [5.0, 5.0], [1.0, 3.0], [6.0, 8.0]])
    found = over_trainings(values)
    assert found is not None
    interval = ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.95)
    assert found["ci95"] == pytest.approx([interval.low, interval.high], abs=1e-4)
    assert (found["value"], found["lowest"], found["highest"]) == (4.25, 1.0, 8.0)
    two = over_trainings(values[:2])
    assert two is not None and two["ci95"] is None
    assert over_trainings(np.array([[1.0, np.nan]])) is None


def test_summaries_of_jobs_with_and_without_what_is_new() -> None:
    bare = Outcome(["t1"], ["a"], [np.eye(3)[[0]]], 3.0, 7, "x")
    full = replace(
        bare, ended="plateau", curve=[[k, 1.0 / k] for k in range(1, 500)], measures={"dimension": 12.0, "probe": None}
    )
    assert trainings([[bare]])["training"] == {"ended": {}, "steps": [7, 7], "resumed": 0, "curve": []}
    told = trainings([[full, replace(full, ended="time", resumed=[3])]])["training"]
    assert told["ended"] == {"plateau": 1, "time": 1} and told["resumed"] == 1
    assert len(told["curve"]) == 60 and told["curve"][0] == [1, 1.0] and told["curve"][-1][0] == 499
    found = measures({"ban": [[full]], "old": [[bare]]}, "ban")
    assert found["ban"]["dimension"]["value"] == 12.0 and found["ban"]["probe"] is None
    assert found["old"] == {"dimension": None, "probe": None}


def test_a_jobs_file_holds_all_that_was_measured(tmp_path: Path) -> None:
    """A network of few steps and a low-level model, on tracks too short for the longest pieces."""
    collection = read_collection(write_classes(tmp_path / "data"))
    settings = TrainingSettings(epochs=2, crop_seconds=0.96, batch_size=4)
    (tmp_path / "work").mkdir()
    plan = Plan(collection, 3, settings, tmp_path / "work")
    outcome = jobs.load(jobs.run(Job("ban-small", 0, 0), plan))
    judge = jobs.load(jobs.run(Job("modulation", 0, 0), plan))
    assert outcome.steps == 4 and judge.steps == 0
    assert outcome.names == judge.names and len(outcome.names) == 5
    assert set(outcome.heard) == set(judge.heard) == {"quiet", *IN_NOISE, *IN_PIECES[:3]}
    assert outcome.heard["0 dB"].shape == (5, 1, 3) and outcome.heard["2 s"].shape == (5, 8, 3)
    np.testing.assert_allclose(outcome.heard["quiet"][2, 0], outcome.segments[2].mean(axis=0), atol=2e-4)
    # the network's own read-out of its last step is what the network answers
    assert outcome.by_step["probe"]["2 s"].shape == (2, 5, 8, 3)
    for condition in ("quiet", "-5 dB", "0.5 s"):
        np.testing.assert_allclose(outcome.by_step["readout"][condition][-1], outcome.heard[condition], atol=2e-4)
    assert judge.by_step == {}
    measured = outcome.measures
    assert 1 <= measured["dimension"] <= 256 and 0 <= measured["probe_genre"] <= 1  # type: ignore[operator]
    assert judge.measures["probe_modulation"] is None and "read" in judge.not_measured["probe_modulation"]
    assert list((tmp_path / "work" / "weights").iterdir()) == []  # they were not to be kept


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


def test_the_reason_of_any_training_is_told(tmp_path: Path) -> None:
    plan = _plan(tmp_path, TrainingSettings())
    names = [t.name for t in plan.collection.tracks]
    known = Outcome(names[::2], [n[0] for n in names[::2]], [np.full((1, 3), 1 / 3)] * 6, 1.0, 5, "x")
    known = replace(known, measures={"dimension": 12.0})
    other = replace(known, names=names[1::2], genres=[n[0] for n in names[1::2]])
    missing = replace(other, measures={"dimension": None}, not_measured={"dimension": "its layer is constant"})
    figures = figures_of({"ban": [[known, other]], "vgg": [[known, missing]]}, "ban", plan)
    assert figures["vgg"]["measures"] == {"dimension": None}
    assert figures["vgg"]["not_measured"] == {"dimension": "its layer is constant"}
    assert figures["ban"]["not_measured"] == {}


def test_folds_that_leave_no_track_of_a_class_to_train_on_are_refused(tmp_path: Path) -> None:
    """One speaker says all of a class: where it is held out, a read-out would number the others' classes anew."""
    plan = replace(_plan(tmp_path, TrainingSettings()), n_folds=4)
    tracks = tuple(replace(t, group=f"speaker {t.name[-1]}") for t in plan.collection.tracks)
    jobs.check_folds(replace(plan, collection=replace(plan.collection, tracks=tracks)), 2)
    of_one = tuple(t for t in tracks if t.genre != "b" or t.group == "speaker 2")
    with pytest.raises(SystemExit, match="--folds 4: of seed 0, fold 2 leaves no track of b"):
        jobs.check_folds(replace(plan, collection=replace(plan.collection, tracks=of_one)), 2)


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
    model = listeners.fit_logistic(segments, labels)
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
    assert listeners.fit_logistic(segments, labels).best_score_ > 0.95
    whole = listeners.fit_logistic(segments, labels, [f"speaker {k}" for k in speakers])
    assert whole.best_score_ < 0.8


def test_folds_keep_groups_whole(tmp_path: Path) -> None:
    plan = _plan(tmp_path, TrainingSettings(max_minutes=1.0))
    tracks = tuple(replace(t, group=f"speaker {t.name[-1]}") for t in plan.collection.tracks)
    grouped = replace(plan, collection=replace(plan.collection, tracks=tracks, group="speaker"), n_folds=4)
    assert grouped.file_of(Job("ban", 0, 1)) != replace(plan, n_folds=4).file_of(Job("ban", 0, 1))
    settings = grouped.settings_of(Job("ban", 0, 2))
    assert {t.group for t in split_tracks(tracks, settings.split, settings.seed).validation} == {"speaker 2"}
