"""How long does joint banded ridge take at ds003720's size, and how much memory? Beside himalaya's search.

    python tests/benchmarks/encoding_speed.py [--voxels 5000] [--runs 12] [--volumes 400] [...]

Simulates correlated areas with lags, voxels that each answer to one or two areas, and autocorrelated noise;
fits on the training runs, predicts the held-out rows, and prints a line of JSON for every solver: CPU and
wall seconds, peak memory of the process in MB, mean score over inner folds and of held-out rows, and, for
ours, the multiplications and additions that an exhaustive search takes. ``--himalaya N`` adds himalaya's
random search over the first N weightings on the first ``--himalaya-voxels``, on one thread: its seconds are
also scaled to the full number of weightings (and voxels).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from scipy.signal import lfilter
from threadpoolctl import threadpool_limits

from ban_bids.encoding.limits import Limits
from ban_bids.encoding.solvers import BandedRidge, HimalayaBandedRidge
from ban_bids.encoding.weights import band_weights, lattice_order

LAGS = 7


def simulate(given: argparse.Namespace) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Lagged features (training, held out), BOLD of both, and inner folds."""
    rng = np.random.default_rng(given.seed)
    lengths = [given.volumes] * given.runs + [given.held_out]
    k, n_areas = given.components, given.areas
    spectrum = np.arange(1, k + 1) ** -0.5
    parts = []
    for length in lengths:
        shared = rng.standard_normal((length + LAGS, k))
        own = [0.6 * shared + 0.8 * rng.standard_normal(shared.shape) for _ in range(n_areas)]
        smooth = [lfilter([1], [1, -0.5], x, axis=0) * spectrum for x in own]
        lagged = [np.hstack([x[LAGS - j : len(x) - j] for j in range(LAGS)]) for x in smooth]
        parts.append([x - x.mean(axis=0) for x in lagged])
    areas = [np.concatenate([run[i] for run in parts]) for i in range(n_areas)]
    n = given.runs * given.volumes
    areas = [x / np.sqrt(np.mean((x[:n] ** 2).sum(axis=1))) for x in areas]
    bold = lfilter([1], [1, -0.4], rng.standard_normal((len(areas[0]), given.voxels)), axis=0)
    bold /= bold.std(axis=0)
    for first in range(0, given.voxels, 500):
        some = slice(first, min(first + 500, given.voxels))
        width = some.stop - some.start
        drawn = rng.dirichlet(np.full(n_areas, 0.3), width)
        coefficients = [rng.standard_normal((x.shape[1], width)) * np.sqrt(w) for x, w in zip(areas, drawn.T)]
        signal = sum(x @ c for x, c in zip(areas, coefficients))
        bold[:, some] += signal / signal.std(axis=0) * np.sqrt(rng.uniform(0, 0.3, width))
    bold = bold / bold.std(axis=0)
    x = np.hstack(areas).astype(np.float32)
    y = bold.astype(np.float32)
    groups = np.repeat(np.arange(given.runs), given.volumes)
    return [x[:n], x[n:]], [y[:n], y[n:]], groups


def operations(given: argparse.Namespace) -> dict[str, float]:
    """Multiplications and additions of each stage of an exhaustive search, in 1e12."""
    n, v, m = given.runs * given.volumes, given.voxels, given.volumes
    p = given.areas * given.components * LAGS
    a, w = given.alphas, given.weightings
    return {
        "decomposition": w * 9 * p**3 / 1e12,
        "vectors": w * 2 * n * p**2 / 1e12,
        "projection of voxels": w * 2 * n * p * v / 1e12,
        "residuals": w * a * 2 * n * p * v / 1e12,
        "left-out blocks": w * a * given.runs * (m**2 * p + m**3) / 1e12,
        "left-out residuals": w * a * 2 * n * m * v / 1e12,
        "refit": (w * a * p**3 / 3 + 2 * n * p * v + 2 * p**2 * v) / 1e12,
    }


class Stopwatch:
    """CPU and wall seconds of a ``with`` block, and the peak memory of the process in it (Linux)."""

    def __enter__(self) -> Stopwatch:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        self.before = _peak_mb()
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = time.process_time() - self.cpu, time.perf_counter() - self.wall
        self.peak = _peak_mb()

    def line(self) -> dict[str, float]:
        return {
            "cpu_s": round(self.cpu, 1),
            "wall_s": round(self.wall, 1),
            "peak_mb": self.peak,
            "before_mb": self.before,
        }


def _peak_mb() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def report(name: str, model: object, watch: Stopwatch, x: np.ndarray, y: np.ndarray, **more: object) -> None:
    found = {
        "solver": name,
        **watch.line(),
        "cv_score": round(float(np.mean(model.cv_score_)), 6),
        "held_out_rsquare": round(float(np.mean(model.score(x, y))), 5),
        **more,
    }
    print(json.dumps(found), flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sizes = {
        "voxels": 5000, "runs": 12, "volumes": 400, "held_out": 2400, "components": 64, "areas": 4,
        "weightings": 50, "alphas": 10, "threads": 2, "seed": 0, "himalaya": 0, "himalaya_voxels": 500,
        "mem_mb": 4096,
    }  # fmt: skip
    for name, value in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--draws", action="store_true", help="weights drawn at random, no lattice")
    parser.add_argument(
        "--refine", action="store_true", help="finer lattice around each voxel's best weights"
    )
    parser.add_argument("--exhaustive", action="store_true", help="every penalty at every weighting")
    return parser.parse_args()


def main() -> int:
    """Run the solvers and print what they took."""
    given = parsed()
    (x, z), (y, held), groups = simulate(given)
    alphas = np.logspace(-4, 5, given.alphas)
    grid = band_weights(given.areas, given.weightings, 0)
    if given.draws:
        grid[1:] = np.random.default_rng(0).dirichlet(np.ones(given.areas), len(grid) - 1)
    widths = (x.shape[1] // given.areas,) * given.areas
    print(json.dumps({"rows": len(x), "columns": x.shape[1], **vars(given)}))
    finer = 2 * lattice_order(given.areas, len(grid)) if given.refine else 0
    ours = BandedRidge(
        alphas, widths, grid, Limits(given.mem_mb * 2**20, given.threads), finer, given.exhaustive
    )
    with Stopwatch() as watch:
        ours.fit(x, y, groups)
        ours.split(z)
    first = round(float(np.mean(ours.cv_score_[: given.himalaya_voxels])), 6)
    report("closed-form", ours, watch, z, held, cv_score_of_himalayas_voxels=first)
    print(json.dumps({name: round(value, 2) for name, value in operations(given).items()}))
    if given.himalaya:
        few, voxels = grid[: given.himalaya], slice(0, given.himalaya_voxels)
        theirs = HimalayaBandedRidge(alphas, widths, few, Limits(given.mem_mb * 2**20), "numpy")
        with Stopwatch() as watch, threadpool_limits(1):
            theirs.fit(x, y[:, voxels], groups)
            theirs.split(z)
        n_fit = min(given.himalaya_voxels, given.voxels)
        scaled = given.weightings / len(few)
        report(
            "himalaya", theirs, watch, z, held[:, voxels], weightings=len(few), voxels=n_fit,
            cpu_s_all_weightings_these_voxels=round(watch.cpu * scaled),
            cpu_s_if_voxels_cost_all_of_it=round(watch.cpu * scaled * given.voxels / n_fit),
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
