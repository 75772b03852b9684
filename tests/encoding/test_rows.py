from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from listening import all_clips, listen, make_run

from ban_bids.encoding.heard import held_out_rows
from ban_bids.encoding.rows import run_rows
from ban_bids.encoding.timeline import lags, lay_features, steps


def test_rows_by_hand() -> None:
    run = make_run("a", ["x", "y"], tr=2.0, n_volumes=10, first=3.0, duration=5.0, gap=4.0, lead_in=True)
    rows = run_rows(run, 1.0, 1, scrubbed=(6,), clips=all_clips([run]))
    # volumes refer to 1, 3, ..., 19 s; x lasts 3-8 s, y 12-17 s
    assert rows.times.tolist() == list(np.arange(1.0, 20.0, 2.0))
    assert rows.clip.tolist() == [-1, 0, 0, 0, -1, -1, 1, 1, -1, -1]
    assert rows.presentation.tolist() == [-1, 0, 0, 0, -1, -1, 1, 1, -1, -1]
    assert rows.position.tolist() == [-1, 0, 1, 2, -1, -1, 0, 1, -1, -1]
    assert rows.lead_in.tolist() == [False, True, True, True] + [False] * 6
    assert np.flatnonzero(~rows.keep).tolist() == [0, 6]
    assert np.flatnonzero(rows.scored).tolist() == [4, 5, 7, 8, 9]


def test_positions_of_a_clip_that_began_before_the_first_volume_count_from_its_onset() -> None:
    # both last from 5 s before to 5 s after a place 10 s apart: the first one's first two volumes were not taken
    run = make_run("a", ["x", "y"], tr=2.0, n_volumes=8, first=-5.0, duration=10.0)
    rows = run_rows(run, 1.0, 0, scrubbed=(), clips=all_clips([run]))
    assert rows.clip.tolist() == [0, 0, 1, 1, 1, 1, 1, -1]
    assert rows.position.tolist() == [3, 4, 0, 1, 2, 3, 4, -1]
    since = rows.times[:-1] - rows.onset[rows.presentation[:-1]]
    assert np.array_equal(rows.position[:-1], since // 2.0)


def test_features_of_sparse_volumes_are_averaged_over_their_acquisition() -> None:
    run = make_run("a", ["x"], tr=10.0, n_volumes=5)
    rows = run_rows(run, 1.0, 0, scrubbed=(), clips=all_clips([run]))
    assert rows.width(2.0) == 10.0
    for taken, width in ((2.0, 2.0), (1.2, 2.0), (6.0, 6.0), (10.0, 10.0)):
        sparse = run_rows(replace(run, acquisition_time=taken), 1.0, 0, scrubbed=(), clips=all_clips([run]))
        assert sparse.width(2.0) == width
    # a second of sound from 18 to 19 s: the volume at 21 s meets it 2 s earlier, and at no other lag
    edges, values = steps([18.0], [1.0], [np.ones((10, 1))], rate=10.0, silence=np.zeros(1))
    sparse = run_rows(replace(run, acquisition_time=2.0), 1.0, 0, scrubbed=(), clips=all_clips([run]))
    binned = lay_features(edges, values, sparse.times, width=sparse.width(2.0), delays=lags(10.0, 9.0, 2.0))
    expected = np.zeros((5, 5))
    expected[2, 1] = 0.5
    assert np.allclose(binned.bins[binned.index][:, :, 0], expected)


def test_presentations_are_numbered_by_onset() -> None:
    run = make_run("a", ["x", "y"], n_volumes=20)
    shuffled = replace(run, presentations=run.presentations[::-1])
    clips = all_clips([run])
    assert np.array_equal(
        run_rows(run, 0.0, 0, scrubbed=(), clips=clips).presentation,
        run_rows(shuffled, 0.0, 0, scrubbed=(), clips=clips).presentation,
    )


def test_ds003720_clock() -> None:
    # 41 clips of 15 s back to back at TR 1.5 s: ten volumes each, whatever the slice-timing reference
    run = make_run("a", [f"t{i}" for i in range(41)], n_volumes=410, lead_in=True)
    for t_ref in (0.0, 0.75, 1.4999):
        rows = run_rows(run, t_ref, 0, scrubbed=(), clips=all_clips([run]))
        assert np.array_equal(rows.clip, np.repeat(np.arange(41), 10))
        assert int(rows.scored.sum()) == 400


@given(
    tr=st.floats(0.5, 4.0),
    t_ref=st.floats(0.0, 1.0),
    first=st.floats(0.0, 20.0),
    gap=st.floats(0.0, 10.0),
    duration=st.floats(0.5, 20.0),
)
def test_every_volume_hears_what_plays_at_its_time(
    tr: float, t_ref: float, first: float, gap: float, duration: float
) -> None:
    run = make_run("a", ["x", "y", "x"], tr=tr, n_volumes=30, first=first, gap=gap, duration=duration)
    rows = run_rows(run, t_ref * tr, 0, scrubbed=(), clips=all_clips([run]))
    for k, time in enumerate(rows.times):
        inside = [j for j, p in enumerate(run.presentations) if p.onset <= time < p.onset + duration]
        near = min(abs(time - edge) for p in run.presentations for edge in (p.onset, p.onset + duration))
        if near > 1e-5:
            assert rows.presentation[k] == (inside[0] if inside else -1)
    for j in range(3):
        positions = rows.position[rows.presentation == j]
        # volumes before the first one count too, had they been taken
        before = sum(bool(rows.times[0] - n * tr >= run.presentations[j].onset - 1e-9) for n in range(1, 3))
        assert positions.tolist() == list(range(before, before + len(positions)))


def test_held_out_rows_are_concatenated() -> None:
    runs = [make_run("a", ["x"], n_volumes=12), make_run("b", ["x", "y"], n_volumes=25)]
    heard = [listen(run, all_clips(runs)) for run in runs]
    held_out = [np.arange(12, 37), np.arange(2, 12)]
    table = held_out_rows([run.rows for run in heard], held_out, longest_lag=9.0, lag_step=2.0)
    assert len(table) == 35
    assert table.run.tolist() == [0] * 10 + [1] * 25
    assert table.volume.tolist() == [*range(2, 12), *range(25)]
    assert table.clip[[0, 10, 20]].tolist() == [0, 0, 1]
    assert table.fold.tolist() == [1] * 10 + [0] * 25
    assert table.run.dtype == np.int32


def test_unknown_clip_is_an_error() -> None:
    with pytest.raises(KeyError):
        run_rows(make_run("a", ["x"]), 0.0, 0, scrubbed=(), clips=())
