"""Noise ceiling and voxel scores against loops, closed forms and planted truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ban_bids.encoding.ceiling import cc_norm, noise_ceiling, repeat_rows, voxel_scores
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.errors import NotComputable


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
    return HeldOutRows(*(a.astype(np.int32) for a in arrays[:5]), scored=arrays[5].astype(bool))


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
    signal = np.tile(rng.standard_normal((400, 30)), (4, 1))
    bold = np.sqrt(share) * signal + np.sqrt(1 - share) * rng.standard_normal(signal.shape)
    repeats = repeat_rows(rows)
    ceiling = noise_ceiling(bold, repeats)
    assert np.mean(ceiling.ev) == pytest.approx(share, abs=0.01)
    r, _ = voxel_scores(signal, bold, rows, repeats)
    assert np.mean(cc_norm(r, ceiling, 0.01)) == pytest.approx(1, abs=0.02)
    assert np.mean(r / np.sqrt(ceiling.ev)) > 1.3  # the wrong divisor inflates


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
    r, r2 = voxel_scores(bold, bold, rows, repeats)
    assert np.isnan(r[2:]).all() and np.isnan(r2[2:]).all()


def test_voxel_scores_match_numpy_with_and_without_repeats() -> None:
    rng = np.random.default_rng(2)
    rows = table([[0, 1, -1, 2], [2, 1, 0, -1]])
    rows.scored[3] = False
    bold, prediction = rng.standard_normal((2, 32, 3))
    bold[:16] += 5  # a run's own level never counts
    r, r2 = voxel_scores(prediction, bold, rows, None)
    s = rows.scored
    y, p = bold.copy(), prediction.copy()
    for run in (0, 1):
        m = s & (rows.run == run)
        y[m] -= y[m].mean(0)
        p[m] -= p[m].mean(0)
    for v in range(3):
        assert r[v] == pytest.approx(np.corrcoef(p[s, v], y[s, v])[0, 1])
        assert r2[v] == pytest.approx(1 - np.sum((y[s, v] - p[s, v]) ** 2) / np.sum(y[s, v] ** 2))
    repeats = repeat_rows(rows)
    r, r2 = voxel_scores(prediction, bold, rows, repeats)
    y, p = bold[repeats.index].mean(1), prediction[repeats.index].mean(1)
    y, p = y - y.mean(0), p - p.mean(0)
    for v in range(3):
        assert r[v] == pytest.approx(np.corrcoef(p[:, v], y[:, v])[0, 1])
        assert r2[v] == pytest.approx(1 - np.sum((y[:, v] - p[:, v]) ** 2) / np.sum(y[:, v] ** 2))
