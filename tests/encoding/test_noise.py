"""What noise feigns in a layout of repeats, against simulated noise, and that the signal has no part in it."""

from __future__ import annotations

import numpy as np
import pytest
from listening import all_clips, listen, make_run
from scipy.signal import lfilter

from ban_bids.encoding.cleaning import Nuisance, nuisance_basis
from ban_bids.encoding.heard import held_out_rows
from ban_bids.encoding.repeats import Repeats, repeat_rows, with_noise
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.inputs.types import Run
from ban_bids.scoring.bootstrap import clip_statistics, signal_power
from ban_bids.scoring.ceiling import noise_ceiling

TR, N_VOLUMES, N_VOXELS = 1.5, 310, 1500
LAYOUTS = {
    "cycle": [[f"{r}-{k}" for _ in range(3) for k in range(10)] for r in range(4)],
    "in a row": [[f"{r}-{k}" for k in range(8) for _ in range(3)] for r in range(4)],
    "across runs": [[f"{k}" for k in range(24)] for _ in range(4)],
}


def laid_out(layout: str) -> tuple[list[Run], HeldOutRows, list[Nuisance]]:
    rng = np.random.default_rng(0)
    runs = [make_run(f"r{r}", tracks, TR, N_VOLUMES) for r, tracks in enumerate(LAYOUTS[layout])]
    rows = held_out_rows(
        [listen(run, all_clips(runs), 0.75).rows for run in runs],
        [np.arange(len(runs) * N_VOLUMES)],
        longest_lag=9.0,
        lag_step=2.0,
    )
    return runs, rows, [nuisance_basis(rng.standard_normal((N_VOLUMES, 4)), TR, 200.0) for _ in runs]


def cleaned(values: np.ndarray, nuisance: list[Nuisance]) -> np.ndarray:
    """Runs one after the other, each cleaned and z-scored."""
    parts = [basis.project(part) for basis, part in zip(nuisance, np.split(values, len(nuisance)))]
    return np.concatenate([part / part.std(axis=0) for part in parts])


def noise(seed: int, n_runs: int, autocorrelation: float) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((n_runs, N_VOLUMES + 80, N_VOXELS))
    return np.asarray(lfilter([1], [1, -autocorrelation], drawn, axis=1)[:, 80:]).reshape(-1, N_VOXELS)


def raw_and_corrected(bold: np.ndarray, repeats: Repeats) -> tuple[float, float]:
    ceiling = noise_ceiling(bold, repeats)
    return float(np.mean((ceiling.sp + ceiling.sp_bias) / ceiling.tp)), float(np.mean(ceiling.ev))


@pytest.mark.parametrize(("layout", "at_rate"), [("cycle", {0.8: 0.01}), ("in a row", {0.4: -0.03})])
def test_noise_alone_has_no_explainable_variance_in_any_layout(layout: str, at_rate: dict[float, float]) -> None:
    runs, rows, nuisance = laid_out(layout)
    repeats = with_noise(repeat_rows(rows), rows, nuisance)
    for autocorrelation, feigned in at_rate.items():
        raw, corrected = raw_and_corrected(cleaned(noise(1, len(runs), autocorrelation), nuisance), repeats)
        assert abs(raw) > abs(feigned) and np.sign(raw) == np.sign(feigned)
        assert corrected == pytest.approx(0, abs=0.004)


def test_noise_feigns_nothing_where_each_repeat_has_a_run_of_its_own() -> None:
    runs, rows, nuisance = laid_out("across runs")
    repeats = with_noise(repeat_rows(rows), rows, nuisance)
    assert repeats.noise is None
    raw, corrected = raw_and_corrected(cleaned(noise(2, len(runs), 0.6), nuisance), repeats)
    assert raw == corrected == pytest.approx(0, abs=0.004)


@pytest.mark.parametrize("layout", ["cycle", "in a row"])
def test_a_signal_that_repeats_has_no_part_in_it_and_is_recovered(layout: str) -> None:
    """Shifting the data would take the signal of a cycle off as well: a shifted cycle is a cycle."""
    runs, rows, nuisance = laid_out(layout)
    repeats = with_noise(repeat_rows(rows), rows, nuisance)
    assert repeats.noise is not None
    rng = np.random.default_rng(3)
    only_noise = cleaned(noise(4, len(runs), 0.5), nuisance)
    signal = np.zeros_like(only_noise)
    signal[repeats.index] = lfilter([1], [1, -0.4], rng.standard_normal((len(repeats.index), N_VOXELS)), axis=0)[
        :, None
    ]
    bold = only_noise + 0.2 * signal
    np.testing.assert_allclose(
        noise_ceiling(bold, repeats).sp_bias, noise_ceiling(only_noise, repeats).sp_bias, atol=1e-9
    )
    planted = np.var(0.2 * signal[repeats.index[:, 0]], axis=0, ddof=1) / noise_ceiling(bold, repeats).tp
    assert noise_ceiling(bold, repeats).ev.mean() == pytest.approx(planted.mean(), abs=0.005)
    # the same is taken off the signal power that c is a share of
    statistics = clip_statistics(bold, bold, repeats)
    ones = np.ones((1, len(statistics.n)))
    assert signal_power(statistics, ones)[0] == pytest.approx(noise_ceiling(bold, repeats).sp.sum())
