"""The whole engine on simulated noise: does p keep its promise where nothing is heard, and find what is?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from listening import ToyModel, make_run, participant
from scipy import signal

from ban_bids.encoding.blocks import permutation_plan
from ban_bids.encoding.design import design
from ban_bids.encoding.encode import encode
from ban_bids.encoding.significance import roi_null, roi_p, voxel_p
from ban_bids.inputs.dataset import Run
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.settings import EncodingSettings

SETTINGS = EncodingSettings(n_components=6, alphas=tuple(10.0**e for e in range(-2, 4)))
N_VOXELS = 20
TR = 1.5


def runs_of(layout: str, n_runs: int) -> list[Run]:
    """Seven clips of 15 s a run, back to back after 6 s, or with 15 s of rest before each (``on-off``)."""
    first, gap, n_volumes = (6.0, 0.0, 80) if layout == "back-to-back" else (15.0, 15.0, 150)
    return [
        make_run(f"r{r}", [f"t{r}{i}" for i in range(7)], TR, n_volumes, first, gap) for r in range(n_runs)
    ]


def on_off(run: Run) -> np.ndarray:
    """Response to sound, whatever it is: a late and rounded copy of the clips' course, (n_volumes,)."""
    times = np.arange(run.n_volumes) * TR
    heard = np.zeros(run.n_volumes)
    for item in run.presentations:
        heard[(times >= item.onset) & (times < item.onset + item.clip.duration)] = 1
    response = np.exp(-((np.arange(0, 9, TR) - 5) ** 2) / 4)
    return np.convolve(heard, response / response.sum())[: run.n_volumes]


def p_values(
    seed: int, layout: str, crossed: bool, autocorrelation: float = 0.4, response: float = 0.0
) -> tuple[float, float]:
    """p of a region and of its first voxel in one simulation.

    Parameters
    ----------
    seed : int
    layout : {"back-to-back", "on-off"}
    crossed : bool
        Leave-one-run-out over three runs; else two runs train and two are held out.
    autocorrelation : float
        Of the noise, at one volume; voxels share a part of it.
    response : float
        Height of a planted response to sound, in standard deviations of the white part of the noise.
    """
    rng = np.random.default_rng(seed)
    runs = runs_of(layout, 3 if crossed else 4)
    n = sum(run.n_volumes for run in runs)
    shared, own = (
        signal.lfilter([1], [1, -autocorrelation], rng.standard_normal((n, k)), axis=0) for k in (3, N_VOXELS)
    )
    heard = np.concatenate([on_off(run) for run in runs])[:, None]
    data = participant(runs, shared @ rng.standard_normal((3, N_VOXELS)) + own + response * heard)
    names = [run.name for run in runs]
    folds = tuple((name,) for name in names) if crossed else (tuple(names[2:]),)
    model = ToyModel(areas=("A1",), loudness=3.0)
    made = design(data, model, HeldOutPlan(folds, "named", "t", crossed), SETTINGS, Path("unused"))
    held = encode(data, made, SETTINGS, joint=False).held_out
    plan = permutation_plan(made.rows, 1000, seed, crossed)
    observed, null = roi_null(plan, held.specific["A1"], held.bold, np.ones(N_VOXELS, dtype=int))
    return float(roi_p(observed, null)[0]), float(voxel_p(plan, held.specific["A1"], held.bold)[0])
