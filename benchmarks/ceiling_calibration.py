"""Noise ceiling and share c where the truth is planted: layouts of repeats, autocorrelated noise, few clips.

    python benchmarks/ceiling_calibration.py [--only noise|share|coverage] [--n 200]

``noise``: mean EV1 of voxels of pure noise, before and after what the layout of repeats makes of noise is taken off,
by layout and autocorrelation (``mixed``: white and .9 in equal parts). To be 0 +- .003.

``share``: c of a perfect prediction, of one that explains a third, and of an unrelated one a tenth as high as the
response (truth: minus its own variance), by layout, with responses that last 9 s and reach over into the next clip.
Before: with every volume of a clip as a repeat. EV is that of the cleaned data, planted and found.

``coverage``: how often the 95 % interval of c holds the truth, for clips of 10 rows in a region of 100 voxels whose
signal and noise are shared by some of them; how often c is told at all; and in which share of all datasets a wrong
interval is told. ``n`` datasets a line.

Prints tables and processor seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "encoding"))

from listening import all_clips, listen, make_run  # noqa: E402
from simulated_listening import FIR  # noqa: E402

from ban_bids.encoding.cleaning import Nuisance, nuisance_basis  # noqa: E402
from ban_bids.encoding.heard import held_out_rows  # noqa: E402
from ban_bids.encoding.repeats import Repeats, repeat_rows, with_noise  # noqa: E402
from ban_bids.encoding.rows import HeldOutRows  # noqa: E402
from ban_bids.errors import NotComputable  # noqa: E402
from ban_bids.scoring.bootstrap import (  # noqa: E402
    ClipStatistics,
    centred_draws,
    clip_statistics,
    percentile_interval,
    resample_counts,
    share,
    signal_power,
)
from ban_bids.scoring.ceiling import noise_ceiling  # noqa: E402

TR = 1.5
RATES = (0.2, 0.4, 0.7, 0.9)
N_RUNS = 6


class Listening:
    """Held-out rows of runs in which clips repeat, their nuisance, and responses of voxels to random sounds."""

    def __init__(self, orders: list[list[str]], duration: float, gap: float, lead_in: bool = False) -> None:
        n_volumes = int(np.ceil(max(map(len, orders)) * (duration + gap) / TR)) + 4
        runs = [
            make_run(f"r{r}", order, TR, n_volumes, duration=duration, gap=gap, lead_in=lead_in)
            for r, order in enumerate(orders)
        ]
        rows = [listen(run, all_clips(runs), 0.75).rows for run in runs]
        n = len(runs) * n_volumes
        self.rows: HeldOutRows = held_out_rows(rows, [np.arange(n)], longest_lag=9.0, lag_step=2.0)
        rng = np.random.default_rng(1)
        self.nuisance: list[Nuisance] = [nuisance_basis(rng.standard_normal((n_volumes, 6)), TR, 200.0) for _ in runs]

    def clean(self, values: np.ndarray, *, standardise: bool) -> np.ndarray:
        """Clean run by run; standardise as BOLD is."""
        parts = [own.project(part) for own, part in zip(self.nuisance, np.split(values, len(self.nuisance)))]
        return np.concatenate([part / part.std(axis=0) if standardise else part for part in parts])

    def noise(self, rng: np.random.Generator, n_voxels: int, rate: float) -> np.ndarray:
        """Autocorrelated noise of unit variance."""
        shape = (len(self.nuisance), len(self.rows) // len(self.nuisance) + 80, n_voxels)
        course = lfilter([1], [1, -rate], rng.standard_normal(shape), axis=1)[:, 80:]
        return np.asarray(course * np.sqrt(1 - rate**2)).reshape(-1, n_voxels)

    def response(self, rng: np.random.Generator, n_voxels: int) -> np.ndarray:
        """Response to sounds that are new in every volume of every clip."""
        clip, position = self.rows.clip, self.rows.position
        sounds = rng.standard_normal((clip.max() + 1, position.max() + 1, n_voxels))
        heard = np.where(clip[:, None] >= 0, sounds[clip, position], 0).reshape(len(self.nuisance), -1, n_voxels)
        return np.asarray(lfilter(FIR, [1], heard, axis=1)).reshape(-1, n_voxels)


def layouts() -> dict[str, Listening]:
    """Fixed cycles as in ds003720's Test runs, repeats in a row, random orders, on/off, one repeat per run; by name."""
    rng = np.random.default_rng(0)
    made = {
        "cycle, 6 runs": Listening(
            [[f"{r}-9", *[f"{r}-{k}" for k in range(10)] * 4] for r in range(N_RUNS)], 15, 0, lead_in=True
        ),
        "cycle, 1 run": Listening([["9", *[f"{k}" for k in range(10)] * 4]], 15, 0, lead_in=True),
        "repeats in a row": Listening(
            [[f"{r}-{k}" for k in range(10) for _ in range(4)] for r in range(N_RUNS)], 15, 0
        ),
        "repeated at once, rests": Listening(
            [[f"{r}-{k}" for k in range(14) for _ in range(2)] for r in range(N_RUNS)], 15, 6
        ),
        "on/off": Listening(
            [[f"{r}-{k}" for _ in range(2) for k in rng.permutation(10)] for r in range(N_RUNS)], 15, 15
        ),
        "once per run": Listening([[f"{k}" for k in range(40)] for _ in range(4)], 15, 0),
    }
    for duration, gap in ((15.0, 0.0), (10.5, 0.0), (6.0, 4.5), (6.0, 0.0)):
        orders = [[f"{r}-{k}" for _ in range(4) for k in rng.permutation(10)] for r in range(N_RUNS)]
        made[f"random, {duration:g} s" + (f", rest {gap:g} s" if gap else "")] = Listening(orders, duration, gap)
    return made


def noise_table(n_voxels: int = 1500) -> None:
    """EV1 of pure noise."""
    print(f"{'layout':26s}" + "".join(f"{str(rate):>18s}" for rate in (*RATES, "mixed")))
    for name, heard in layouts().items():
        try:
            repeats = with_noise(repeat_rows(heard.rows), heard.rows, heard.nuisance)
        except NotComputable as why:
            print(f"{name:26s} {why}")
            continue
        cells, rng = [], np.random.default_rng(2)
        for rates in (*((rate,) for rate in RATES), (0.0, 0.9)):
            drawn = sum(heard.noise(rng, n_voxels, rate) for rate in rates)
            ceiling = noise_ceiling(heard.clean(np.asarray(drawn), standardise=True), repeats)
            before = np.mean((ceiling.sp + ceiling.sp_bias) / ceiling.tp)
            error = ceiling.ev.std() / np.sqrt(n_voxels)
            cells.append(f"{before:+.3f}{ceiling.ev.mean():+7.4f}({error:.4f})")
        print(f"{name:26s} " + " ".join(cells), flush=True)


def share_table(n_voxels: int = 1500, explainable: float = 0.1) -> None:
    """C of planted predictions."""
    print(f"{'layout':26s} rows x N    EV planted found   perfect (before)    third    zero (truth)")
    for name, heard in layouts().items():
        rng = np.random.default_rng(3)
        response, other = (heard.clean(heard.response(rng, n_voxels), standardise=False) for _ in range(2))
        response, other = (x / x.std() for x in (response, other))
        noise = heard.clean(heard.noise(rng, n_voxels, 0.4), standardise=True)
        bold = np.sqrt(explainable) * response + np.sqrt(1 - explainable) * noise
        perfect = np.sqrt(explainable) * response

        def c(prediction: np.ndarray, repeats: Repeats, bold: np.ndarray = bold) -> float:
            statistics = clip_statistics(prediction, bold, repeats)
            return float(share(statistics, np.ones((1, len(statistics.n))))[0])

        position = heard.rows.clip * 1000 + heard.rows.position
        everything = repeat_rows(replace(heard.rows, sound=position, begun=heard.rows.clip))
        old = c(perfect, everything)
        try:
            repeats = with_noise(repeat_rows(heard.rows), heard.rows, heard.nuisance)
        except NotComputable:
            print(f"{name:26s} no repeats                     n/a ({old:.2f})")
            continue
        ceiling = noise_ceiling(bold, repeats)
        planted = noise_ceiling(perfect, replace(repeats, noise=None)).sp
        zero = 0.1 * np.sqrt(explainable) * other
        truth = -noise_ceiling(zero, replace(repeats, noise=None)).sp.sum() / planted.sum()
        print(
            f"{name:26s} {repeats.index.shape!s:>10s}   {planted.sum() / ceiling.tp.sum():8.4f}"
            f" {ceiling.sp.sum() / ceiling.tp.sum():8.4f}   {c(perfect, repeats):.3f} ({old:.2f})"
            f"   {c((1 - np.sqrt(2 / 3)) * perfect, repeats):.3f}   {c(zero, repeats):+.3f} ({truth:+.3f})",
            flush=True,
        )


def dataset(rng: np.random.Generator, n_clips: int, n_repeats: int, *, c: float, explainable: float) -> ClipStatistics:
    """Statistics of a region of 100 voxels: signal and noise of a few sources and each voxel's own."""
    n_rows, n_voxels = 10 * n_clips, 100
    mixing = [rng.standard_normal((k, n_voxels)) for k in (4, 3)]

    def field(sources: np.ndarray) -> np.ndarray:
        drawn = rng.standard_normal((n_rows, len(sources) + n_voxels))
        made = drawn[:, : len(sources)] @ sources + drawn[:, len(sources) :]
        return np.asarray(made / np.sqrt(np.sum(sources**2, axis=0) + 1))

    strength = np.sqrt(np.repeat(rng.gamma(4, 1 / 4, n_clips), 10))[:, None]
    signal, other = (strength * _smooth(field(mixing[0]), n_clips) for _ in range(2))
    prediction = np.sqrt(c * explainable) * (np.sqrt(c) * signal + np.sqrt(1 - c) * other)
    noises = (lfilter([1], [1, -0.4], field(mixing[1]), axis=0) * np.sqrt(1 - 0.4**2) for _ in range(n_repeats))
    bold = np.concatenate([np.sqrt(explainable) * signal + np.sqrt(1 - explainable) * noise for noise in noises])
    index = np.arange(len(bold)).reshape(n_repeats, -1).T
    return clip_statistics(np.tile(prediction, (n_repeats, 1)), bold, Repeats(index, np.repeat(np.arange(n_clips), 10)))


def _smooth(values: np.ndarray, n_clips: int, width: float = 1.2) -> np.ndarray:
    clips = values.reshape(n_clips, 10, -1)
    smooth = gaussian_filter1d(clips, width, axis=1, mode="wrap") * np.sqrt(2 * np.sqrt(np.pi) * width)
    return np.asarray(smooth.reshape(values.shape))


def coverage_table(n: int) -> None:
    """Coverage of intervals of c."""
    print("clips repeats    c    EV   told  coverage  false among all  mean c  median width")
    for n_clips, n_repeats, (c, explainable) in product(
        (10, 20, 60), (2, 4), ((0.25, 0.02), (0.25, 0.05), (0.25, 0.1), (0.6, 0.02), (0.6, 0.05), (0.6, 0.1))
    ):
        rng = np.random.default_rng([n_clips, n_repeats, int(100 * c), int(100 * explainable)])
        counts = np.vstack([np.ones((1, n_clips)), resample_counts(n_clips, 1000, 0)])
        told = []
        for _ in range(n):
            statistics = dataset(rng, n_clips, n_repeats, c=c, explainable=explainable)
            signal, drawn = signal_power(statistics, counts), share(statistics, counts)
            if percentile_interval(centred_draws(signal[1:], signal[0], n_clips))[0] > 0:
                low, high = percentile_interval(centred_draws(drawn[1:], drawn[0], n_clips))
                told.append((low <= c <= high, drawn[0], high - low))
        found = np.array(told).reshape(-1, 3)
        covered, mean, _ = found.mean(axis=0) if len(found) else np.full(3, np.nan)
        width = np.median(found[:, 2]) if len(found) else np.nan
        print(
            f"{n_clips:5d} {n_repeats:7d} {c:4.2f}  {explainable:4.2f} {len(found) / n:6.0%} {covered:9.1%}"
            f" {np.sum(found[:, 0] == 0) / n:16.1%} {mean:7.3f} {width:13.2f}",
            flush=True,
        )


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("noise", "share", "coverage"))
    parser.add_argument("--n", type=int, default=200)
    given = parser.parse_args()
    tables = {"noise": noise_table, "share": share_table, "coverage": lambda: coverage_table(given.n)}
    for name in (given.only,) if given.only else tables:
        started = time.process_time()
        tables[name]()
        print(f"{name}: {time.process_time() - started:.0f} s of processor\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
