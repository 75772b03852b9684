"""False positives of the whole engine in simulated noise of many kinds, and what weak responses it finds.

    python tests/benchmarks/null_simulations.py [--n 500] [--only crossed] [--power]

Features, folds, ridge with chosen penalties, predictions, 1000 block permutations each. Prints a table: the
share of p values under .05 (to be 5 % +- 2 %) of a region of 20 voxels, of its voxels, and of voxels with the
bound √½ in place of the crossing factor of their area; Kolmogorov-Smirnov's p of the first voxel against the
uniform distribution. With ``--power`` the voxels respond weakly, and what is found is printed. ``planted``
settings have strong responses in the last 4 of 20 voxels, and only the others are counted. Of 6 and 12 runs
a half and a quarter of the simulations are made.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "encoding"))

from listening import ToyStore  # noqa: E402
from nulls import N_VOXELS, Setting, fixed_or_crossed, simulate  # noqa: E402

from ban_bids.encoding import design as design_module  # noqa: E402

_PLANTED = N_VOXELS - 4
LAYOUTS = ("back-to-back", "on-off")
WEAK = {"back-to-back": {"tuned": 0.6}, "on-off": {"hearing": 0.5}}
STRONG = {"back-to-back": {"tuned": 3.0}, "on-off": {"hearing": 3.0}}


def settings(only: str) -> Iterator[tuple[str, Setting]]:
    """Name and setting of every line of the table."""
    for layout in LAYOUTS:
        if only in ("all", "fixed"):
            yield "two of four runs", fixed_or_crossed(layout, False)
        if only == "fixed":
            continue
        base = fixed_or_crossed(layout, True)
        yield "3 runs", base
        yield "3 runs, autocorrelation .2", replace(base, autocorrelation=0.2)
        yield "3 runs, autocorrelation .6", replace(base, autocorrelation=0.6)
        yield "3 runs, 2 features", replace(base, n_components=2)
        yield "3 runs, 30 features", replace(base, n_components=30)
        yield "3 runs, planted", replace(base, first=_PLANTED, **STRONG[layout])  # type: ignore[arg-type]
        yield "6 runs", replace(base, n_runs=6)
        yield "12 runs", replace(base, n_runs=12)


def simulations(setting: Setting, n: int) -> int:
    """How many to make: ``n``, fewer of long datasets."""
    return max(1, 3 * n // setting.n_runs) if setting.crossed else n


def line(setting: Setting, n: int) -> tuple[float, float, float, float, float]:
    """Shares under .05 of region, voxels and voxels with the bound; KS p; median factor."""
    found = [simulate(seed, setting) for seed in range(simulations(setting, n))]
    counted = slice(None, setting.first or None)
    voxels = np.array([one.voxels[counted] for one in found])
    bound = np.array([one.bound[counted] for one in found])
    region = np.mean([one.region < 0.05 for one in found])
    ks = stats.kstest(voxels[:, 0], "uniform").pvalue
    factor = float(np.median([one.factor for one in found]))
    return float(region), float(np.mean(voxels < 0.05)), float(np.mean(bound < 0.05)), float(ks), factor


def main() -> int:
    """Run the simulations and print the table; exit status 1 where a voxels' share leaves 3-7 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--only", choices=("all", "fixed", "crossed"), default="all")
    parser.add_argument("--power", action="store_true")
    given = parser.parse_args()
    design_module.FeatureCache = ToyStore  # type: ignore[misc,assignment]
    off = 0
    print("layout        setting                       n region voxels  bound  KS p factor CPU s", flush=True)
    for name, setting in settings(given.only):
        if given.power and setting.first:
            continue
        weak = replace(setting, **WEAK[setting.layout]) if given.power else setting  # type: ignore[arg-type]
        start = time.process_time()
        region, voxels, bound, ks, factor = line(weak, given.n)
        off += not given.power and not 0.03 <= voxels <= 0.07
        shares = f"{'-' if setting.first else format(region, '.1%'):>6s} {voxels:6.1%} {bound:6.1%}"
        spent = time.process_time() - start
        print(
            f"{setting.layout:13s} {name:27s} {simulations(setting, given.n):3d} {shares}",
            f"{ks:5.3f} {factor:6.3f} {spent:5.0f}",
            flush=True,
        )
    return int(off > 0)


if __name__ == "__main__":
    sys.exit(main())
