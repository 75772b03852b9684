"""The whole engine on simulated noise: does p keep its promise where nothing is heard, and find what is?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from listening import ToyModel, design, make_run, participant
from scipy import signal

from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.crossed import CrossingFactor, crossing_factors, tested
from ban_bids.encoding.design import Design
from ban_bids.encoding.fit import Fitting, encode
from ban_bids.encoding.permutation import SOUND, SPECIFIC, PermutationPlan, permutation_plan
from ban_bids.encoding.significance import null_from_sums, roi_p, roi_sums, voxel_p
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Run
from ban_bids.settings import Encoding

ALPHAS = tuple(10.0**e for e in range(-2, 4))
N_VOXELS = 20
TR = 1.5
_DELAY = 4.5


def roi_null(
    plan: PermutationPlan, prediction: np.ndarray, bold: np.ndarray, *, labels: np.ndarray, factor: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over each region's voxels of the voxel correlation, observed (R,) and under every arrangement (m, R)."""
    sums = roi_sums(plan, prediction, bold, labels=labels, n_regions=int(labels.max(initial=0)))
    return null_from_sums(plan, sums, factor=factor)


@dataclass(frozen=True)
class Setting:
    """What is simulated.

    Parameters
    ----------
    layout : {"back-to-back", "on-off"}
    crossed : bool
        Leave-one-run-out; else the last two runs are held out.
    n_runs : int
    autocorrelation : float
        Of the noise, at one volume; voxels share a part of it.
    n_components : int
        Features of the model, each at seven lags.
    hearing : float
        Height of a planted response to sound, in standard deviations of the white part of the noise.
    tuned : float
        The same of a response to one feature of the clips.
    first : int
        The first voxel that responds; those before it hear nothing.
    n_voxels : int
        In each region.
    n_regions : int
        Each with noise of its own.
    n_permutations, n_shifted : int
    """

    layout: str = "back-to-back"
    crossed: bool = True
    n_runs: int = 3
    autocorrelation: float = 0.4
    n_components: int = 6
    hearing: float = 0.0
    tuned: float = 0.0
    first: int = 0
    n_voxels: int = N_VOXELS
    n_regions: int = 1
    n_permutations: int = 1000
    n_shifted: int = 600

    @property
    def question(self) -> str:
        """Following sound where there is rest, else following these sounds."""
        return SOUND if self.layout == "on-off" else SPECIFIC

    @property
    def encoding(self) -> Encoding:
        """Settings of the engine."""
        return Encoding(n_components=self.n_components, alphas=ALPHAS)

    @property
    def model(self) -> ToyModel:
        """One layer that hears loudness besides its features."""
        return ToyModel(layers=("A1",), loudness=3.0, n_features=self.n_components)


def runs_of(layout: str, n_runs: int, seed: int = 0) -> list[Run]:
    """Seven clips of 15 s a run, back to back after 6 s, or with 15 s of rest before each (``on-off``)."""
    first, gap, n_volumes = (6.0, 0.0, 80) if layout == "back-to-back" else (15.0, 15.0, 150)
    return [make_run(f"r{r}", [f"t{seed}x{r}x{i}" for i in range(7)], TR, n_volumes, first, gap) for r in range(n_runs)]


def on_off(run: Run) -> np.ndarray:
    """Response to sound, whatever it is: a late and rounded copy of the clips' course, (n_volumes,)."""
    times = np.arange(run.n_volumes) * TR
    heard = np.zeros(run.n_volumes)
    for item in run.presentations:
        heard[(times >= item.onset) & (times < item.onset + item.clip.duration)] = 1
    response = np.exp(-((np.arange(0, 9, TR) - 5) ** 2) / 4)
    return np.convolve(heard, response / response.sum())[: run.n_volumes]


def follows(run: Run, model: ToyModel) -> np.ndarray:
    """Response to the model's first feature, late, less its loudness, (n_volumes,)."""
    times = np.arange(run.n_volumes) * TR - _DELAY
    out = np.zeros(run.n_volumes)
    for item in run.presentations:
        inside = np.flatnonzero((times >= item.onset) & (times < item.onset + item.clip.duration - 0.1))
        frames = model.frames(item.clip, "A1")[:, 0] - model.loudness
        out[inside] = frames[((times[inside] - item.onset) * model.frame_rate["A1"]).astype(int)]
    return out


def noise(rng: np.random.Generator, shape: tuple[int, int], autocorrelation: float) -> np.ndarray:
    """Autocorrelated noise of three common sources and each voxel's own."""
    shared, own = (
        signal.lfilter([1], [1, -autocorrelation], rng.standard_normal((shape[0], k)), axis=0) for k in (3, shape[1])
    )
    return np.asarray(shared @ rng.standard_normal((3, shape[1])) + own)


def laid_out(seed: int, setting: Setting) -> tuple[ParticipantData, Design, PermutationPlan]:
    """One dataset, its design and its permutations."""
    rng = np.random.default_rng(seed)
    runs = runs_of(setting.layout, setting.n_runs, seed)
    n = sum(run.n_volumes for run in runs)
    regions = [noise(rng, (n, setting.n_voxels), setting.autocorrelation) for _ in range(setting.n_regions)]
    bold = np.hstack(regions)
    heard = np.concatenate([on_off(run) for run in runs])[:, None]
    specific = np.concatenate([follows(run, setting.model) for run in runs])[:, None]
    bold[:, setting.first :] += setting.hearing * heard + setting.tuned * specific
    data = participant(runs, bold)
    names = [run.name for run in runs]
    folds = tuple((name,) for name in names) if setting.crossed else (tuple(names[-2:]),)
    held_out = HeldOutPlan(folds, "named", "t", setting.crossed)
    made = design(data, setting.model, held_out, setting.encoding, Path("unused"))
    plan = permutation_plan(made.rows, setting.n_permutations, seed, question=setting.question, crossed=setting.crossed)
    return data, made, plan


@dataclass(frozen=True, eq=False)
class Tested:
    """p values of one dataset: of regions, of their voxels, and of these with the bound as factor."""

    regions: np.ndarray
    voxels: np.ndarray
    bound: np.ndarray
    factor: CrossingFactor


def simulate(seed: int, setting: Setting) -> Tested:
    """Make data, fit, predict, permute."""
    data, made, plan = laid_out(seed, setting)
    held = encode(data, made, Fitting(setting.encoding), joint=False).held_out
    predicted = tested(held, setting.question)["A1"]
    labels = np.repeat(np.arange(1, setting.n_regions + 1), setting.n_voxels)
    data = replace(data, region=labels.astype(data.region.dtype))
    fitting, asked = Fitting(setting.encoding, seed), {setting.question: plan}
    factors = crossing_factors(data, made, asked, fitting=fitting, n_shifted=setting.n_shifted)
    factor = factors.get((setting.question, "A1"), CrossingFactor())
    observed, null = roi_null(plan, predicted, held.bold, labels=labels, factor=factor.regions)
    return Tested(
        roi_p(observed, null),
        voxel_p(plan, predicted, held.bold, factor=factor.voxels),
        voxel_p(plan, predicted, held.bold),
        factor,
    )


def p_values(seed: int, setting: Setting) -> tuple[float, float]:
    """p of the region and of its first voxel in one simulation."""
    found = simulate(seed, setting)
    return float(found.regions[0]), float(found.voxels[0])


def fixed_or_crossed(layout: str, crossed: bool, **more: float) -> Setting:
    """Two of four runs held out, or each of three in turn."""
    return replace(Setting(layout, crossed, 3 if crossed else 4), **more)  # type: ignore[arg-type]
