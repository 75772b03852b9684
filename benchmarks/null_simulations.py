"""False positives of the whole engine in simulated noise of many kinds, and what weak responses it finds.

    python benchmarks/null_simulations.py [--n 500] [--only crossed] [--power]

Datasets of 25 regions of 20 voxels, each region with noise of its own: features of other clips in every
dataset, folds, ridge with chosen penalties, predictions, 1000 arrangements. ``n`` is the number of
regions. Prints a table: the share of p values under .05 (to be 5 % +- 1.5 %) of regions, of voxels, and of
voxels with the bound √½ in place of the crossing factor; the least and largest share of voxels in a dataset;
the median crossing factors of voxels and regions. With ``--power`` the voxels respond weakly,
and the shares are what is found.
``planted`` settings have strong responses in a fifth of the voxels, and only the others are counted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "encoding"))

from listening import ToyStore  # noqa: E402
from nulls import N_VOXELS, Setting, fixed_or_crossed, simulate  # noqa: E402

from ban_bids.encoding import design as design_module  # noqa: E402

N_REGIONS = 25
LAYOUTS = ("back-to-back", "on-off")
WEAK = {"back-to-back": {"tuned": 0.9}, "on-off": {"hearing": 0.7}}
STRONG = {"back-to-back": {"tuned": 3.0}, "on-off": {"hearing": 3.0}}


def settings(only: str) -> Iterator[tuple[str, Setting]]:
    """Name and setting of every line of the table."""
    for layout in LAYOUTS:
        if only in ("all", "fixed"):
            yield "two of four runs", fixed_or_crossed(layout, False, n_regions=N_REGIONS)
        if only == "fixed":
            continue
        base = fixed_or_crossed(layout, True, n_regions=N_REGIONS, n_shifted=2000)
        quiet = 4 * N_REGIONS * N_VOXELS // 5
        yield "3 runs", base
        yield "3 runs, autocorrelation .2", replace(base, autocorrelation=0.2)
        yield "3 runs, autocorrelation .6", replace(base, autocorrelation=0.6)
        yield "3 runs, 2 features", replace(base, n_components=2)
        yield "3 runs, 30 features", replace(base, n_components=30)
        yield "3 runs, planted", replace(base, first=quiet, **STRONG[layout])  # type: ignore[arg-type]
        yield "6 runs", replace(base, n_runs=6)
        yield "12 runs", replace(base, n_runs=12)


def line(setting: Setting, n: int) -> str:
    """Shares under .05 of regions, voxels, voxels with the bound; their range over datasets; the factor."""
    found = [simulate(seed, setting) for seed in range(max(1, n // N_REGIONS))]
    counted = setting.first or N_REGIONS * N_VOXELS
    regions = np.array([one.regions[: counted // N_VOXELS] for one in found]) < 0.05
    voxels = np.array([one.voxels[:counted] for one in found]) < 0.05
    bound = np.array([one.bound[:counted] for one in found]) < 0.05
    each = voxels.mean(axis=1)
    voxel, region = (np.median([getattr(one.factor, name) for one in found]) for name in ("voxels", "regions"))
    return (
        f"{regions.mean():6.1%} {voxels.mean():6.1%} {bound.mean():6.1%} {each.min():6.1%} {each.max():6.1%} "
        f"{voxel:6.3f} {region:6.3f}"
    )


def main() -> int:
    """Run the simulations and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--only", choices=("all", "fixed", "crossed"), default="all")
    parser.add_argument("--power", action="store_true")
    given = parser.parse_args()
    design_module.FeatureCache = ToyStore  # type: ignore[misc,assignment]
    print("layout       setting                    region voxels  bound  least   most factors       CPU s", flush=True)
    for name, setting in settings(given.only):
        if given.power and setting.first:
            continue
        weak = replace(setting, **WEAK[setting.layout]) if given.power else setting  # type: ignore[arg-type]
        start = time.process_time()
        shares = line(weak, given.n)
        print(f"{setting.layout:12s} {name:26s} {shares} {time.process_time() - start:5.0f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
