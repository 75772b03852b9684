"""False positives of the whole engine: 500 simulations of noise a layout, and planted responses to sound.

    python tests/benchmarks/null_simulations.py [--n 500] [--autocorrelation 0.4]

Features, folds, ridge with chosen penalties, predictions, 1000 block permutations each. Prints a table: the
share of p values under .05 (to be 5 % +- 2 %) of a region of 20 voxels and of one voxel, Kolmogorov-Smirnov's
p against the uniform distribution, and the share of planted responses that are found.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "encoding"))

from listening import ToyStore  # noqa: E402
from nulls import p_values  # noqa: E402

from ban_bids.encoding import design as design_module  # noqa: E402


def main() -> int:
    """Run the simulations and print the table; exit status 1 where a share leaves 3-7 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--autocorrelation", type=float, default=0.4)
    given = parser.parse_args()
    design_module.FeatureCache = ToyStore  # type: ignore[misc,assignment]
    off = 0
    print("layout        held out  of      under .05  KS p   found  CPU s", flush=True)
    for layout, crossed in product(("back-to-back", "on-off"), (False, True)):
        start = time.process_time()
        p = np.array([p_values(k, layout, crossed, given.autocorrelation) for k in range(given.n)])
        planted = [
            p_values(k, layout, crossed, given.autocorrelation, response=3.0)
            for k in range(max(1, given.n // 10))
        ]
        found = np.mean(np.array(planted) < 0.05, axis=0)
        for name, values, share in zip(("region", "voxel"), p.T, found):
            under = np.mean(values < 0.05)
            off += not 0.03 <= under <= 0.07
            told = f"{share:5.0%}" if layout == "on-off" else "    -"
            folds = "each run" if crossed else "two runs"
            ks = stats.kstest(values, "uniform").pvalue
            spent = time.process_time() - start
            print(f"{layout:13s} {folds:9s} {name:7s} {under:8.1%} {ks:7.3f} {told} {spent:7.0f}", flush=True)
    return int(off > 0)


if __name__ == "__main__":
    sys.exit(main())
