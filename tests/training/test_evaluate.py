"""Evaluation's numbers against scikit-learn and brute force; parts, n/a and the report's files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, confusion_matrix, f1_score, precision_recall_fscore_support

from ban_bids.cli.train import main
from ban_bids.models.ban import BAN
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import save_checkpoint
from ban_bids.models.presets import preset
from ban_bids.training.datasets import read_collection
from ban_bids.training.evaluate import evaluate, segment_probabilities
from ban_bids.training.evaluation_report import confusion_figure, reliability_figure
from ban_bids.training.scores import Answers, score

N_GENRES = 5
ABSENT = 3  # a genre that the answers know and the tracks do not have


@pytest.fixture(scope="module")
def answers() -> Answers:
    """60 tracks of 1 to 6 segments, right more often than not; one genre has no tracks, but is answered."""
    rng = np.random.default_rng(4)
    truth = rng.choice([g for g in range(N_GENRES) if g != ABSENT], size=60)
    segments = []
    for t in truth:
        logits = rng.normal(size=N_GENRES) + rng.normal(0, 0.7, size=(rng.integers(1, 7), N_GENRES))
        logits[:, t] += 1.2
        e = np.exp(1.5 * logits)
        segments.append(e / e.sum(axis=1, keepdims=True))
    return Answers(truth, segments)


def test_figures_are_those_of_scikit_learn(answers: Answers) -> None:
    result = score(answers, n_bootstrap=50)
    probabilities = np.stack([np.mean(s, axis=0) for s in answers.segments])
    answered, present = probabilities.argmax(axis=1), sorted(set(answers.truth.tolist()))
    assert ABSENT in answered  # else the cases below are not met
    np.testing.assert_array_equal(result.confusion, confusion_matrix(answers.truth, answered, labels=range(N_GENRES)))
    expected = f1_score(answers.truth, answered, labels=present, average="macro")
    assert result.macro_f1.value == pytest.approx(expected)
    assert result.track_accuracy.value == pytest.approx(np.mean(answered == answers.truth))
    flat = np.concatenate([s.argmax(axis=1) for s in answers.segments])
    repeated = np.repeat(answers.truth, [len(s) for s in answers.segments])
    assert result.segment_accuracy.value == pytest.approx(np.mean(flat == repeated))
    assert (result.n_tracks, result.n_segments) == (60, len(flat))
    brier = brier_score_loss(answers.truth, probabilities, labels=range(N_GENRES), scale_by_half=False)
    assert result.brier_score.value == pytest.approx(brier)
    precision, recall, f1, n = precision_recall_fscore_support(
        answers.truth, answered, labels=range(N_GENRES), zero_division=0
    )
    rows = result.per_genre
    assert rows["n"].tolist() == n.tolist()
    expected_rows = np.column_stack([precision, recall, f1])
    expected_rows[ABSENT] = np.nan
    np.testing.assert_allclose(rows[["precision", "recall", "f1"]], expected_rows)


def test_calibration_error_by_hand(answers: Answers) -> None:
    result = score(answers, n_bootstrap=50)
    probabilities = answers.tracks
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == answers.truth
    error = 0.0
    for low in np.arange(10) / 10:
        here = (confidence > low) & (confidence <= low + 0.1 + 1e-12)
        if here.any():
            error += here.mean() * abs(confidence[here].mean() - right[here].mean())
    assert result.calibration_error.value == pytest.approx(error)
    bins = result.reliability
    assert bins["n"].sum() == 60
    assert (bins["n"] == 0).any()
    for column in ("accuracy", "confidence"):
        assert (bins[column].isna() == (bins["n"] == 0)).all()
    shares, means = calibration_curve(probabilities.argmax(axis=1) == answers.truth, confidence, n_bins=10)
    np.testing.assert_allclose(bins["accuracy"].dropna(), shares)
    np.testing.assert_allclose(bins["confidence"].dropna(), means)
    certain = Answers(np.array([0, 1]), [np.eye(2)[[0]], np.eye(2)[[1]]])
    assert score(certain).calibration_error.value == 0.0
    assert score(certain).reliability["n"].iloc[-1] == 2  # a probability of exactly 1 is in the last bin


def test_intervals_are_over_tracks_not_segments(answers: Answers) -> None:
    """Each track's segments repeated ten times: more segments, no more knowledge."""
    repeated = Answers(answers.truth, [np.tile(s, (10, 1)) for s in answers.segments])
    once, tenfold = score(answers), score(repeated)
    assert tenfold.n_segments == 10 * once.n_segments
    assert tenfold.segment_accuracy.interval == pytest.approx(once.segment_accuracy.interval)
    rng = np.random.default_rng(9)
    answered = answers.tracks.argmax(axis=1)
    draws = []
    for _ in range(600):
        k = rng.integers(60, size=60)
        labels = np.unique(answers.truth[k])
        draws.append(f1_score(answers.truth[k], answered[k], labels=labels, average="macro"))
    assert once.macro_f1.interval == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.02)


def test_track_probability_is_the_mean_over_segments() -> None:
    network = BAN(n_genres=3, seed=1).eval()
    frames = np.random.default_rng(0).normal(size=(64, 100)).astype(np.float16)
    with torch.no_grad():
        expected = []
        for start in (0, 20, 40, 60):
            piece = torch.from_numpy(frames[None, :, start : start + 40].astype(np.float32))
            logits, _ = network.from_frames(network.front_end.standardise(piece))
            expected.append(torch.softmax(logits[0], dim=0).numpy())
    probabilities = segment_probabilities(network, frames, 40)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(Answers(np.array([0]), [probabilities]).tracks[0], np.mean(expected, axis=0), atol=1e-5)
    assert segment_probabilities(network, frames[:, :33], 40).shape == (1, 3)  # shorter than a segment


def test_accuracy_and_its_interval() -> None:
    class Oracle(BAN):
        def from_frames(self, frames: torch.Tensor) -> tuple[torch.Tensor, dict]:
            return 10.0 * torch.nn.functional.one_hot(frames[:, 0, 0, 0].long(), 4).float(), {}

    oracle = Oracle(n_genres=4).eval()
    oracle.front_end.mean.zero_()
    oracle.front_end.scale.fill_(1.0)
    answered, truth = np.array([0, 1, 2, 3] * 10), np.array([0, 1, 2, 0] * 10)
    frames = [np.full((64, 8), a, dtype=np.float16) for a in answered]
    result = evaluate(oracle, frames, truth, crop_frames=8, n_bootstrap=4000)
    assert result.track_accuracy.value == 0.75
    half = 1.96 * np.sqrt(0.75 * 0.25 / 40)
    assert result.track_accuracy.interval == pytest.approx((0.75 - half, 0.75 + half), abs=0.03)
    np.testing.assert_array_equal(result.confusion, [[10, 0, 0, 10], [0, 10, 0, 0], [0, 0, 10, 0], [0, 0, 0, 0]])


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two genres of noise, three tracks each."""
    root = tmp_path_factory.mktemp("noises")
    rng = np.random.default_rng(1)
    for genre in ("loud", "soft"):
        (root / genre).mkdir()
        for k in range(3):
            noise = rng.normal(0, 0.1 if genre == "loud" else 0.01, 30_000)
            soundfile.write(root / genre / f"{genre}.{k:05d}.wav", noise, 22_050, subtype="PCM_16")
    return root


def test_report_keeps_parts_apart(noises: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digests = {t.name: t.digest for t in read_collection(noises).tracks}
    network = BAN(preset("ban-small"), n_genres=3, seed=0)
    card = ModelCard(
        network.config.to_dict(),
        ("loud", "middle", "soft"),
        training_hashes={n: digests[n] for n in ("loud.00000", "soft.00000")},
        validation_hashes={"loud.00001": digests["loud.00001"]},
        settings={"crop_seconds": 0.64},
    )
    checkpoint = save_checkpoint(tmp_path / "w.safetensors", network, card)
    words = ["--data", str(noises), "--evaluate", str(checkpoint), "--report", str(tmp_path / "r"), "-q"]
    assert main([*words, "--device", "cpu"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "r" / "report.json").read_text()) == printed
    assert {part: printed[part]["n_tracks"] for part in ("unseen", "validated", "trained")} == {
        "unseen": 3, "validated": 1, "trained": 2
    }  # fmt: skip
    assert printed["headline"] == "unseen"
    assert printed["unseen"]["per_genre"]["middle"] == {"n": 0, "precision": None, "recall": None, "f1": None}
    assert "middle\t0\tn/a\tn/a\tn/a" in (tmp_path / "r" / "unseen_genres.tsv").read_text()
    tracks = (tmp_path / "r" / "tracks.tsv").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in tracks[1:]) == sorted(digests)
    for part in ("unseen", "validated", "trained"):
        for picture in ("confusion", "reliability"):
            with Image.open(tmp_path / "r" / f"{part}_{picture}.png") as image:
                assert min(image.size) > 200
    # the code is measured on what did not train, beside an untrained twin, and three recordings do for no probe
    assert list(printed["code"]) == ["unseen", "validated"]
    code = printed["code"]["unseen"]
    assert "must be told apart" in code["notes"][0]
    assert [one["model"] for one in code["models"]] == ["bansmall", "bansmalluntrained1"]
    dimension = [row["raw"] for row in code["models"][0]["dimension"]]
    assert all(value >= 1 for value in dimension)
    assert dimension != [row["raw"] for row in code["models"][1]["dimension"]]
    assert {row["value"] for row in code["models"][0]["probes"]} == {None}
    assert "3 recordings" in code["models"][0]["probes"][0]["reason"]
    rows = (tmp_path / "r" / "unseen_profile.tsv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 4
    with Image.open(tmp_path / "r" / "unseen_code.png") as image:
        assert min(image.size) > 200
    assert not list((tmp_path / "r").glob("trained_*code*"))
    # nothing but training tracks: there is no figure to quote
    words += ["--exclude-stimuli", str(tmp_path / "others.txt")]
    others = [noises / n.split(".")[0] / f"{n}.wav" for n in digests if n not in card.training_hashes]
    (tmp_path / "others.txt").write_text("\n".join(map(str, others)))
    assert main([*words, "--device", "cpu"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["headline"], printed["unseen"], printed["validated"]) == (None, None, None)
    assert printed["code"] == {}


def test_pictures_take_any_number_of_genres(answers: Answers) -> None:
    result = score(answers, n_bootstrap=10)
    genres = [f"genre number {k}" for k in range(N_GENRES)]
    assert confusion_figure(result, genres, "title").startswith(b"\x89PNG")
    assert reliability_figure(result, "title").startswith(b"\x89PNG")


def test_low_level_models_hear_whole_tracks(noises: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(noises), "-q"]
    train = [*words, "--preset", "logmel", "--split", "stratified", "--out", str(tmp_path / "l.safetensors")]
    assert main(train) == 0
    capsys.readouterr()
    assert main([*words, "--evaluate", str(tmp_path / "l.safetensors")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["segment_seconds"] is None
    assert printed["trained"]["n_tracks"] == printed["trained"]["n_segments"] == 4
    assert printed["trained"]["track_accuracy"] == printed["validated"]["track_accuracy"] == 1.0
