"""Noise ceiling and voxel scores against loops, closed forms and planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from ban_bids.encoding.repeats import repeat_rows
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.errors import NotComputable
from ban_bids.scoring.ceiling import cc_norm, noise_ceiling, voxel_correlation


def table(runs: list[list[int]], length: int = 4, lead_in: bool = False) -> HeldOutRows:
    """Runs as lists of clips (-1 rest), ``length`` volumes each; the first of a run may be a lead-in."""
    columns: list[tuple[int, int, int, int, int, bool]] = []
    for r, clips in enumerate(runs):
        for j, clip in enumerate(clips):
            for k in range(length):
                rest = clip < 0
                columns.append(
                    (
                        r,
                        j * length + k,
                        clip,
                        -1 if rest else j,
                        -1 if rest else k,
                        not (lead_in and j == 0),
                    )
                )
    arrays = [np.array(c) for c in zip(*columns)]
    return HeldOutRows(
        *(a.astype(np.int32) for a in arrays[:5]),
        scored=arrays[5].astype(bool),
        fold=np.zeros(len(arrays[0]), dtype=np.int32),
        sound=np.where(arrays[2] < 0, -1, arrays[2] * length + arrays[4]),  # responses end with their clips
        begun=arrays[2],
    )


def test_repeats_match_clip_and_position_and_skip_lead_ins() -> None:
    rows = table([[1, 0, 1, 0, 1], [1, 0, 1]], lead_in=True)
    repeats = repeat_rows(rows)
    assert repeats.index.shape == (8, 3)
    assert rows.scored[repeats.index].all()
    for u, members in enumerate(repeats.index):
        assert len({(rows.clip[m], rows.position[m]) for m in members}) == 1
        assert rows.clip[members[0]] == repeats.clip[u]
        assert list(members) == sorted(members)


def test_unequal_counts_take_the_first_and_say_so() -> None:
    repeats = repeat_rows(table([[0, 1, 0, 1, 0, 2]]))
    assert repeats.n_repeats == 2 and len(repeats.index) == 8
    assert repeats.index.max() < 16
    assert any("first 2" in n for n in repeats.notes) and any("once only" in n for n in repeats.notes)


def test_one_scrubbed_volume_costs_one_moment_not_a_repeat() -> None:
    rows = table([[0, 1, 0, 1, 0, 1]])
    rows.scored[1] = False
    repeats = repeat_rows(rows)
    assert repeats.index.shape == (7, 3)
    assert 1 not in repeats.index


@pytest.mark.parametrize("runs", [[[0, 1, 2]], [[-1, -1]]])
def test_no_repeats_is_a_reason_not_a_number(runs: list[list[int]]) -> None:
    with pytest.raises(NotComputable, match="no clip is repeated"):
        repeat_rows(table(runs))


@settings(max_examples=25, deadline=None)
@given(n_repeats=st.integers(2, 5), n_clips=st.integers(2, 4), seed=st.integers(0, 1000))
def test_ceiling_equals_loops_and_both_closed_forms(n_repeats: int, n_clips: int, seed: int) -> None:
    rows = table([list(range(n_clips))] * n_repeats)
    bold = np.random.default_rng(seed).standard_normal((len(rows), 3)).astype(np.float32)
    ceiling = noise_ceiling(bold, repeat_rows(rows))
    for v in range(3):
        y = bold[:, v].astype(float).reshape(n_repeats, -1)
        tp = np.mean([np.var(one, ddof=1) for one in y])
        var_mean = np.var(y.mean(axis=0), ddof=1)
        # Signal power is also the mean covariance between different repeats.
        cov = np.cov(y)
        between = (cov.sum() - np.trace(cov)) / (n_repeats * (n_repeats - 1))
        np.testing.assert_allclose(
            [ceiling.tp[v], ceiling.var_mean[v], ceiling.sp[v]], [tp, var_mean, between], atol=1e-10
        )
        ev = between / tp
        assert ceiling.ev[v] == pytest.approx(ev)
        squared = n_repeats * ev / (1 + (n_repeats - 1) * ev)
        if squared > 0:
            assert ceiling.ccmax[v] ** 2 == pytest.approx(squared)
        else:
            assert np.isnan(ceiling.ccmax[v])


def test_planted_signal_gives_its_share_and_a_perfect_prediction_a_ccnorm_of_one() -> None:
    rng = np.random.default_rng(0)
    rows, share = table([list(range(40))] * 4, length=10), 0.3
    heard = np.tile(rng.standard_normal((400, 30)), (4, 1))
    bold = np.sqrt(share) * heard + np.sqrt(1 - share) * rng.standard_normal(heard.shape)
    repeats = repeat_rows(rows)
    ceiling = noise_ceiling(bold, repeats)
    assert np.mean(ceiling.ev) == pytest.approx(share, abs=0.01)
    r = voxel_correlation(heard, bold, rows, repeats)
    assert np.mean(cc_norm(r, ceiling, 0.01)) == pytest.approx(1, abs=0.02)
    assert np.mean(r / np.sqrt(ceiling.ev)) > 1.3  # the wrong divisor inflates


@pytest.mark.parametrize("explainable", [0.02, 0.05, 0.3])
@pytest.mark.parametrize("n_repeats", [2, 4])
def test_explainable_variance_and_ceiling_are_unbiased_over_200_simulations(explainable: float, n_repeats: int) -> None:
    # every voxel is a simulation of its own: signal and noise autocorrelated, as BOLD is
    rng = np.random.default_rng(3)
    rows = table([list(range(60))] * n_repeats, length=10)
    n = 600 * n_repeats

    def smooth(size: int) -> np.ndarray:
        made = signal.lfilter([1], [1, -0.4], rng.standard_normal((size, 200)), axis=0)
        return made * np.sqrt(1 - 0.4**2)

    bold = np.sqrt(explainable) * np.tile(smooth(600), (n_repeats, 1)) + np.sqrt(1 - explainable) * smooth(n)
    ceiling = noise_ceiling(bold, repeat_rows(rows))
    assert np.mean(ceiling.ev) == pytest.approx(explainable, abs=0.01)
    squared = n_repeats * explainable / (1 + (n_repeats - 1) * explainable)
    assert np.mean(ceiling.sp / ceiling.var_mean) == pytest.approx(squared, abs=0.01)


# what is heard, run by run; -1 is rest
LAYOUTS = {
    "same run repeated": [[0, 1, 2, 3, 4]] * 3,
    "cycles within a run": [[0, 1, 2, 3, 4] * 3],
    "random order": [[3, 0, 4, 1, 2], [1, 4, 2, 0, 3], [0, 2, 3, 4, 1]],
    "random order within a run, with rest": [[2, -1, 0, 4, 0, 1, -1, 3, 2, 4, 1, 3, -1, 0, 2, 1, 4, 3]],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_repeats_are_found_in_any_layout_and_predictions_averaged_like_the_data(layout: str) -> None:
    rng = np.random.default_rng(5)
    rows = table(LAYOUTS[layout])
    moments = rng.standard_normal((5, 4, 30))
    bold = 0.8 * rng.standard_normal((len(rows), 30))
    heard = rows.clip >= 0
    bold[heard] += moments[rows.clip[heard], rows.position[heard]]
    # a prediction made on the real time line: the same clip, but other after other clips
    prediction = rng.standard_normal((len(rows), 30))
    prediction[heard] += moments[rows.clip[heard], rows.position[heard]]
    repeats = repeat_rows(rows)
    assert repeats.index.shape == (20, 3)
    ours = np.zeros((2, 20, 30))
    for u, (clip, position) in enumerate((c, k) for c in range(5) for k in range(4)):
        mine = np.flatnonzero((rows.clip == clip) & (rows.position == position))
        assert len(mine) == 3
        ours[0, u], ours[1, u] = prediction[mine].mean(0), bold[mine].mean(0)
    ours -= ours.mean(axis=1, keepdims=True)
    r = voxel_correlation(prediction, bold, rows, repeats)
    expected = np.sum(ours[0] * ours[1], 0) / np.sqrt(np.sum(ours[0] ** 2, 0) * np.sum(ours[1] ** 2, 0))
    np.testing.assert_allclose(r, expected, atol=1e-10)
    # one presentation's prediction in place of the mean is another number
    single = prediction[np.repeat(repeats.index[:, :1], 3, axis=1)].mean(axis=1)
    assert np.abs(single - prediction[repeats.index].mean(axis=1)).max() > 0.1
    ceiling = noise_ceiling(bold, repeats)
    assert np.mean(ceiling.ev) == pytest.approx(1 / (1 + 0.8**2), abs=0.05)


def test_the_order_of_repeats_and_runs_changes_no_ceiling() -> None:
    rng = np.random.default_rng(6)
    runs, found = rng.standard_normal((3, 20, 7)), []
    for order in ([0, 1, 2], [2, 0, 1]):
        rows = table([LAYOUTS["random order"][k] for k in order])
        found.append(noise_ceiling(runs[order].reshape(60, 7), repeat_rows(rows)))
    np.testing.assert_allclose(found[0].ev, found[1].ev, atol=1e-12)
    np.testing.assert_allclose(found[0].var_mean, found[1].var_mean, atol=1e-12)


def test_ccnorm_is_missing_below_the_floor_and_for_dead_voxels() -> None:
    rng = np.random.default_rng(1)
    rows = table([[0, 1, 2]] * 2)
    bold = rng.standard_normal((24, 4))
    bold[:12, 0] = bold[12:, 0]  # pure signal
    bold[:12, 1] = -bold[12:, 1]  # nothing shared
    bold[:, 2] = 0
    bold[:, 3] = np.nan
    repeats = repeat_rows(rows)
    ceiling = noise_ceiling(bold, repeats)
    values = cc_norm(np.full(4, 0.5), ceiling, 0.01)
    assert values[0] == pytest.approx(0.5) and np.isnan(values[1:]).all()
    assert np.isnan(cc_norm(np.full(4, 0.5), ceiling, 1.1)).all()
    assert np.isnan(voxel_correlation(bold, bold, rows, repeats)[2:]).all()


def test_voxel_correlations_match_numpy_with_and_without_repeats() -> None:
    rng = np.random.default_rng(2)
    rows = table([[0, 1, -1, 2], [2, 1, 0, -1]])
    rows.scored[3] = False
    bold, prediction = rng.standard_normal((2, 32, 3))
    bold[:16] += 5  # a run's own level never counts
    r = voxel_correlation(prediction, bold, rows, None)
    s = rows.scored
    y, p = bold.copy(), prediction.copy()
    for run in (0, 1):
        m = s & (rows.run == run)
        y[m] -= y[m].mean(0)
        p[m] -= p[m].mean(0)
    for v in range(3):
        assert r[v] == pytest.approx(np.corrcoef(p[s, v], y[s, v])[0, 1])
    repeats = repeat_rows(rows)
    r = voxel_correlation(prediction, bold, rows, repeats)
    y, p = bold[repeats.index].mean(1), prediction[repeats.index].mean(1)
    y, p = y - y.mean(0), p - p.mean(0)
    for v in range(3):
        assert r[v] == pytest.approx(np.corrcoef(p[:, v], y[:, v])[0, 1])
