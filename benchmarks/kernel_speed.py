"""What do kernels of shifts save? Processor time and memory, beside kernels of lagged features laid out.

    python benchmarks/kernel_speed.py [--features 2000] [--runs 12] [--held-out-runs 6] [...]

Makes one layer's kernels of training and held-out rows, nuisance projected out, in both ways, each in a
process of its own, and prints a line of JSON for either: processor seconds, and the most MB that arrays took
at a time beside the binned features (kernels included; buffers of BLAS are not seen). Kernels of shifts are
computed in float64, those of lagged features in float32. A last line has the largest difference of the
training kernels. ``--only-shifts`` leaves out lagged features, where they would take too much memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

from ban_bids.encoding.cleaning import Nuisance, nuisance_basis
from ban_bids.encoding.folds import Fold
from ban_bids.encoding.matrices import LayerFeatures, fit_scaler, layer_kernels
from ban_bids.encoding.timeline import Binned

Kernels = tuple[np.ndarray, np.ndarray, np.ndarray]
TR = 1.5
CONFOUNDS = 14


def simulate(given: argparse.Namespace) -> tuple[LayerFeatures, Fold, np.ndarray]:
    """Smooth random features in every run, lags on the TR grid, the last runs held out."""
    rng = np.random.default_rng(0)
    n_runs, n = given.runs + given.held_out_runs, given.volumes
    index = np.arange(n)[:, None] - np.arange(given.lags) + given.lags - 1
    binned, nuisance = [], []
    for _ in range(n_runs):
        noise = rng.standard_normal((n + given.lags - 1, given.features), dtype=np.float32)
        binned.append(Binned(lfilter([1], [1, -0.7], noise, axis=0).astype(np.float32), index))
        nuisance.append(nuisance_basis(rng.standard_normal((n, CONFOUNDS)), TR, 200.0))
    training = np.arange(given.runs * n)
    fold = Fold(training, np.arange(len(training), n_runs * n), training // n, 0)
    scaler = fit_scaler(np.concatenate([run.bins[run.index[:, 0]] for run in binned[: given.runs]]))
    return LayerFeatures(binned, {}, scaler, nuisance), fold, np.arange(n_runs + 1) * n


def by_shifts(features: LayerFeatures, fold: Fold, first: np.ndarray) -> Kernels:
    return layer_kernels(features, fold, first, folder=Path(tempfile.gettempdir()), in_memory=2**40)


def by_lagged_features(features: LayerFeatures, fold: Fold, first: np.ndarray) -> Kernels:
    """Products of float32 features that hold every lag."""
    n, lagged = len(fold.training), []
    own = []
    for r, binned in enumerate(features.binned):
        scaled = Binned(features.scaled(r).astype(np.float32), binned.index).lagged()
        cleaned: Nuisance = features.nuisance[r]
        if first[r] >= n:
            own.append(scaled)
        lagged.append(cleaned.project(scaled))
    x, specific = np.concatenate(lagged), np.concatenate(own)
    x /= np.sqrt(np.mean(np.square(x[:n], dtype=np.float64).sum(axis=1)))
    return x[:n] @ x[:n].T, x[n:] @ x[:n].T, specific @ x[:n].T


def measure(given: argparse.Namespace, make: Callable[..., Kernels]) -> tuple[dict[str, object], np.ndarray]:
    problem = simulate(given)
    tracemalloc.start()
    start = time.process_time()
    training, _, _ = make(*problem)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    return {"by": make.__name__, "cpu_s": round(seconds, 1), "peak_mb": round(peak)}, training[::10, ::10]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--features", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--held-out-runs", type=int, default=6)
    parser.add_argument("--volumes", type=int, default=400)
    parser.add_argument("--lags", type=int, default=7)
    parser.add_argument("--only-shifts", action="store_true")
    given = parser.parse_args(argv)
    found = []
    for make in (by_shifts,) if given.only_shifts else (by_shifts, by_lagged_features):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            line, kernel = pool.submit(measure, given, make).result()
        print(json.dumps(line), flush=True)
        found.append(kernel)
    print(json.dumps({"largest_difference": float(np.abs(found[0] - found[-1]).max())}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
