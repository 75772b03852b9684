from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ban_bids.encoding.timeline import interval_means, lags, lay_features, steps
from ban_bids.errors import DataError
from ban_bids.inputs.played import OVERLAP


def sampled(
    onsets: list[float], durations: list[float], frames: list[np.ndarray], rate: float, silence: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features at fine time steps, looked up frame by frame: the brute force."""
    fine = np.arange(-20.0, 80.0, 0.001) + 0.0005
    values = np.tile(silence, (len(fine), 1)).astype(float)
    for onset, duration, clip in zip(onsets, durations, frames):
        inside = (fine >= onset) & (fine < onset + duration)
        frame = np.minimum(((fine[inside] - onset) * rate).astype(int), len(clip) - 1)
        values[inside] = clip[frame]
    return fine, values


@pytest.mark.parametrize(("tr", "t_ref"), [(1.5, 0.75), (2.0, 0.0), (3.1, 1.2), (0.8, 0.4)])
def test_bins_equal_fine_numeric_integration(tr: float, t_ref: float) -> None:
    rng = np.random.default_rng(1)
    onsets, durations, rate = [3.237, 18.237, 36.1], [15.0, 15.0, 10.5], 7.3
    frames = [rng.standard_normal((int(np.ceil(d * rate)), 3)) for d in durations]
    silence = np.array([0.3, -1.0, 2.0])
    times = np.arange(int(60 / tr)) * tr + t_ref
    delays = lags(tr, 9.0, 2.0)
    edges, values = steps(onsets, durations, frames, rate=rate, silence=silence)
    binned = lay_features(edges, values, times, width=tr, delays=delays)
    fine, truth = sampled(onsets, durations, frames, rate, silence)
    for k in (0, 1, 5, len(times) - 1):
        for j, lag in enumerate(delays):
            inside = np.abs(fine - (times[k] - lag)) < tr / 2
            assert np.allclose(binned.bins[binned.index[k, j]], truth[inside].mean(axis=0), atol=5e-3)
    assert binned.lagged().shape == (len(times), len(delays) * 3)
    assert np.array_equal(binned.lagged()[:, :3], binned.bins[binned.index[:, 0]])


def test_lags() -> None:
    assert np.allclose(lags(1.5, 9.0, 2.0), [0, 1.5, 3, 4.5, 6, 7.5, 9])
    assert np.allclose(lags(2.0, 9.0, 2.0), [0, 2, 4, 6, 8])
    assert np.allclose(lags(3.0, 9.0, 2.0), [0, 2, 4, 6, 8])
    assert np.allclose(lags(0.1, 0.3, 2.0), [0, 0.1, 0.2, 0.3])


def test_lags_finer_than_a_tr_are_not_rounded_to_it() -> None:
    edges, values = steps([10.0], [1.0], [np.ones((10, 1))], rate=10.0, silence=np.zeros(1))
    times = np.arange(10) * 3.0 + 1.5
    binned = lay_features(edges, values, times, width=3.0, delays=lags(3.0, 9.0, 2.0))
    one = binned.bins[binned.index][:, :, 0]
    # the second from 10 to 11 s lies in volume 3 (9-12 s); 2 s later it is 12-13 s: volume 4
    assert np.allclose(one[:, 0], np.eye(10)[3] / 3)
    assert np.allclose(one[:, 1], np.eye(10)[4] / 3)
    assert np.allclose(one[:, 2], (np.eye(10)[4] + 0 * np.eye(10)[5]) / 3)


def test_before_the_run_and_between_clips_is_silence() -> None:
    edges, values = steps([4.0], [2.0], [np.full((20, 2), 5.0)], rate=10.0, silence=np.array([1.0, -1.0]))
    binned = lay_features(edges, values, np.array([0.0, 5.0, 20.0]), width=2.0, delays=np.array([0.0, 9.0]))
    lagged = binned.lagged()
    assert np.allclose(lagged[0], [1, -1, 1, -1])
    assert np.allclose(lagged[1], [5, 5, 1, -1])
    assert np.allclose(lagged[2], [1, -1, 1, -1])


def test_run_without_clips_is_silent() -> None:
    edges, values = steps([], [], [], rate=10.0, silence=np.array([2.0]))
    assert np.allclose(lay_features(edges, values, np.arange(5.0), width=1.0, delays=np.array([0.0])).bins, 2.0)


def test_frames_beyond_the_clip_are_cut_and_missing_ones_held() -> None:
    silence = np.zeros(1)
    long = steps([0.0], [1.0], [np.arange(15.0)[:, None]], rate=10.0, silence=silence)
    exact = steps([0.0], [1.0], [np.arange(10.0)[:, None]], rate=10.0, silence=silence)
    grid = np.arange(0.0, 2.0, 0.1)
    assert np.allclose(interval_means(*long, grid, grid + 0.1), interval_means(*exact, grid, grid + 0.1))
    short = steps([0.0], [1.0], [np.arange(9.0)[:, None]], rate=10.0, silence=silence)
    assert np.allclose(interval_means(*short, np.array([0.9]), np.array([1.0])), 8.0)


def test_clips_overlap_by_as_much_as_their_reader_allows() -> None:
    frames = [np.full((20, 1), 1.0), np.full((20, 1), 2.0), np.full((20, 1), 3.0)]
    # the second begins while the first is heard; the third lies within what is left of the second
    edges, values = steps([0.0, 1.9, 3.85], [2.0, 2.0, 0.04], frames, rate=10.0, silence=np.zeros(1))
    assert (np.diff(edges) >= 0).all()
    begin = np.array([0.0, 1.9, 2.0, 3.8, 3.9])
    means = interval_means(edges, values, begin, np.array([1.9, 2.0, 3.8, 3.9, 5.0]))
    assert means[:, 0] == pytest.approx([1.0, 1.0, 2.0, 2.0, 0.0])
    with pytest.raises(DataError, match="overlap"):
        steps([0.0, 2.0 - OVERLAP - 0.01], [2.0, 2.0], frames[:2], rate=10.0, silence=np.zeros(1))


def test_overlapping_clips_are_refused() -> None:
    with pytest.raises(DataError, match="overlap"):
        steps([0.0, 5.0], [10.0, 10.0], [np.ones((10, 1))] * 2, rate=1.0, silence=np.zeros(1))


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(0.7, 50.0),
    onset=st.floats(0.0, 10.0),
    duration=st.floats(0.2, 8.0),
    tr=st.floats(0.3, 4.0),
    height=st.floats(-100.0, 100.0),
)
def test_the_integral_of_a_clip_is_kept(rate: float, onset: float, duration: float, tr: float, height: float) -> None:
    # adjoining bins cover the line once: their sum times TR is the clip's height times its duration
    frames = [np.full((max(1, int(np.ceil(duration * rate))), 1), height)]
    edges, values = steps([onset], [duration], frames, rate=rate, silence=np.zeros(1))
    times = np.arange(-2, int(25 / tr) + 2) * tr
    total = float(lay_features(edges, values, times, width=tr, delays=np.array([0.0])).bins.sum()) * tr
    assert total == pytest.approx(height * duration, rel=1e-4, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(shift=st.floats(-3.0, 3.0), tr=st.floats(0.5, 3.0), seed=st.integers(0, 1000))
def test_shifting_clips_and_volumes_together_changes_nothing(shift: float, tr: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = [rng.standard_normal((30, 2)) for _ in range(2)]
    times, delays = np.arange(20) * tr, lags(tr, 9.0, 2.0)
    found = []
    for by in (0.0, shift):
        edges, values = steps([4.0 + by, 9.0 + by], [5.0, 5.0], frames, rate=6.0, silence=np.zeros(2))
        found.append(lay_features(edges, values, times + by, width=tr, delays=delays).lagged())
    assert np.allclose(*found, atol=1e-4)
