"""The simulations of `calibration`: responses, noise and truth against closed forms; datasets are made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import calibration
import numpy as np
import pandas as pd
import pytest
from listening import ToyStore
from scipy import stats
from simulated_listening import FIR, LEAKS, NULLS, TRUTH, Listener, Source, World, recording, shuffled

from ban_bids.encoding.bold import held_out_bold
from ban_bids.encoding.design import bin_run
from ban_bids.encoding.timeline import lags

ONE = "two runs, shared"


def world(layout: str, seed: int = 3) -> World:
    every = {**LEAKS, **NULLS, **TRUTH}
    return World(every[layout](np.random.default_rng(seed)), seed, n_regions=2, n_voxels=3)


@pytest.mark.parametrize("layout", ["fixed cycle", "on/off", "random order, 6 s + 4 s of rest"])
def test_a_response_is_what_a_ridge_model_of_the_features_can_make(layout: str) -> None:
    simulated = world(layout)
    source = Source(0, 4, "features")
    model, delays = Listener(sources=(source,), n_features=4), lags(1.5, 9.0, 2.0)
    data = simulated.data(np.ones((sum(run.n_volumes for run in simulated.layout.runs), 6)))
    expected = []
    for run in data.runs:
        laid = bin_run(run, ToyStore(model, Path("unused")), "A1", delays=delays)
        expected.append(np.einsum("nlf,l->nf", laid.bins[laid.index], FIR) * 1.5)
    np.testing.assert_allclose(simulated.response(source.course), np.concatenate(expected), atol=1e-5)


@pytest.mark.parametrize("autocorrelation", [0.2, 0.9])
def test_noise_has_the_autocorrelation_and_variance_asked_for(autocorrelation: float) -> None:
    simulated = World(LEAKS["half shared"](np.random.default_rng(0)), 0, n_regions=40, n_voxels=5)
    noise = simulated.noise(autocorrelation)
    n = simulated.layout.runs[0].n_volumes
    first = noise[:n]
    assert noise.var() == pytest.approx(1, abs=0.1)
    assert np.mean(first[1:] * first[:-1]) == pytest.approx(autocorrelation, abs=0.06)
    # runs, and regions, share nothing
    across = [np.corrcoef(noise[n - 1], noise[n])[0, 1], np.corrcoef(noise[:, 0], noise[:, 5])[0, 1]]
    assert np.max(np.abs(across)) < 0.35


def test_the_truth_of_a_scaled_response_is_a_parabola() -> None:
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((30, 6))
    index, labels = np.arange(20).reshape(10, 2), np.repeat([1, 2], 3)
    for factor in (1.0, 0.5, -1.0, 0.0):
        found = calibration.explained_share(factor * signal, signal, index, labels)
        np.testing.assert_allclose(found, 2 * factor - factor**2)


def test_what_is_cleaned_like_bold_is_the_bold_of_the_engine() -> None:
    simulated = world("half shared")
    bold = 100 + simulated.noise(0.4)
    ready = calibration.prepared(simulated, bold)
    index, voxels = ready.folds.index, np.arange(bold.shape[1])
    expected = held_out_bold(ready.data.bold, ready.folds.folds, index, voxels=voxels)
    np.testing.assert_allclose(calibration.cleaned_like(ready, bold, bold), expected, atol=1e-4)


def test_copies_are_other_clips_of_the_same_sound() -> None:
    runs = world("copies under other names").layout.runs
    names = [{item.clip.track for item in run.presentations} for run in runs]
    assert not names[0] & names[1]
    assert {recording(name) for name in names[0]} == {recording(name) for name in names[1]}
    source = Source(0, 2, "features")
    copies = sorted((item.clip for run in runs[:2] for item in run.presentations), key=lambda clip: clip.track)
    assert copies[0] != copies[1]
    np.testing.assert_array_equal(source.course(copies[0]), source.course(copies[1]))


def test_shuffled_clips_come_all_before_any_comes_again_and_never_twice_in_a_row() -> None:
    for seed in range(20):
        order = shuffled(np.random.default_rng(seed), list("abc"), 4)
        assert all(sorted(order[i : i + 3]) == list("abc") for i in range(0, 12, 3))
        assert all(a != b for a, b in zip(order, order[1:]))


def test_runs_last_as_long_as_what_is_heard() -> None:
    for maker in (*LEAKS.values(), *NULLS.values(), *TRUTH.values()):
        for run in maker(np.random.default_rng(0)).runs:
            end = max(item.end for item in run.presentations)
            assert end <= run.n_volumes * run.repetition_time < end + 25
            onsets = sorted((item.onset, item.end) for item in run.presentations)
            assert all(stop <= start for (_, stop), (start, _) in zip(onsets, onsets[1:]))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two regions of three voxels; features from the model, and afterwards from files again."""
    monkeypatch.setattr(calibration, "World", lambda layout, seed: World(layout, seed, 2, 3))
    monkeypatch.setattr(calibration.design_module, "FeatureCache", ToyStore)
    monkeypatch.setattr(calibration, "start_process", lambda: None)


def test_datasets_are_kept_and_not_made_again(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "leaks.tsv"
    arguments = ["leaks", "--only", ONE, "--out", str(out), "--features", "3"]
    calibration.main([*arguments, "--n", "1"])
    capsys.readouterr()
    calibration.main([*arguments, "--n", "2"])
    text = capsys.readouterr().out
    table = pd.read_csv(out, sep="\t")
    assert sorted(table.loc[table["statistic"] == "cpu", "dataset"]) == [0, 1]
    calibration.main([*arguments, "--n", "2"])
    assert capsys.readouterr().out == text
    pd.testing.assert_frame_equal(pd.read_csv(out, sep="\t"), table)
    # figures of other code are not taken for these
    monkeypatch.setattr(calibration, "code", lambda: "other")
    assert calibration.load(out).empty


def test_a_line_states_mean_and_standard_error_over_datasets(small: None) -> None:
    (line,) = calibration.lines("leaks", only=ONE, n_features=3, power=False)
    values = np.array([0.1, 0.2, 0.6])
    rows = pd.concat([calibration.as_rows(line, seed, {"c": value, "cpu": 1.0}) for seed, value in enumerate(values)])
    text = "\n".join(calibration.printed(rows, [line]))
    assert f"{values.mean():.3f} ± {stats.sem(values):.3f}" in text
    assert "n/a" in text and "0.1 processor minutes" in text  # 3 s


def test_a_refused_layout_says_why(small: None) -> None:
    line = replace(calibration.lines("leaks", only=ONE, n_features=3, power=False)[0], layout="broken")
    calibration.LEAKS["broken"] = lambda rng: replace(LEAKS[ONE](rng), test_runs=("task-none",))
    try:
        found = calibration.work(line, 0)
    finally:
        del calibration.LEAKS["broken"]
    assert str(found["reason"]).startswith("refused") and "task-none" in str(found["reason"])


def test_a_perfect_prediction_without_noise_scores_one(small: None) -> None:
    simulated = world("fixed cycle")
    response = simulated.mixed(simulated.response(Source(1, 3, "known").course), shared=True)
    ready = calibration.prepared(simulated, response)
    found = calibration.given_scores(ready, response, response, {"perfect": response, "half": 0.5 * response})
    assert found["perfect"] == pytest.approx(1, abs=0.02)
    assert found["half truth"] == pytest.approx(0.75)
