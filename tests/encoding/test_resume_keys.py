"""A finished batch counts for the same inputs only: each of them changes the key by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from listening import make_run, participant

from ban_bids.app.scored import finished_batches
from ban_bids.encoding.fit import Fitting
from ban_bids.encoding.heard import held_out_rows
from ban_bids.encoding.ridge.backend import HIMALAYA, Engine
from ban_bids.encoding.rows import offsets
from ban_bids.scoring.voxels import held_out_tests
from ban_bids.settings import Encoding

SETTINGS = Encoding(n_permutations=1000)


def test_every_input_changes_the_key_of_a_finished_batch(tmp_path: Path) -> None:
    runs = [make_run(name, [f"{name}{i}" for i in range(7)], n_volumes=75) for name in "ab"]
    data = participant(runs, np.random.default_rng(0).standard_normal((150, 4)))
    held_out = [np.arange(*offsets(data.runs)[[0, 2]])]
    rows = held_out_rows([run.rows for run in data.runs], held_out, longest_lag=9.0, lag_step=2.0)
    tests, redrawn = (held_out_tests(rows, data.nuisance, n_permutations=1000, seed=seed) for seed in (0, 1))
    base = (data, tests, Fitting(SETTINGS, 0))
    finished_batches(tmp_path, *base).save((0, 4), {"x": np.ones(1)})
    assert finished_batches(tmp_path, *base).load((0, 4)) is not None
    basis = data.nuisance[0].basis + 1e-9
    scrubbed = replace(data.runs[0], rows=replace(data.runs[0].rows, keep=np.arange(75) > 2))
    region = data.region.copy()
    region[1] = 2
    others = [
        (replace(data, usable=np.arange(4) > 0), *base[1:]),
        (replace(data, region=region), *base[1:]),
        (replace(data, bold=data.bold + np.float32(1e-3)), *base[1:]),
        (replace(data, nuisance=(replace(data.nuisance[0], basis=basis), data.nuisance[1])), *base[1:]),
        (replace(data, runs=(scrubbed, data.runs[1])), *base[1:]),
        (data, redrawn, *base[2:]),
        (data, tests, Fitting(replace(SETTINGS, ev_floor=0.02), 0)),
        (data, tests, Fitting(SETTINGS, 1)),
        (data, tests, Fitting(SETTINGS, 0, Engine(HIMALAYA))),
        (data, tests, Fitting(SETTINGS, 0, Engine(backend="torch"))),
        (*base, ("A1", "Belt", "PB", "STG")),
    ]
    for changed in others:
        assert finished_batches(tmp_path, *changed).load((0, 4)) is None
    assert finished_batches(tmp_path, *base).load((0, 3)) is None
