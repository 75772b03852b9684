"""Put the tables of two models of one output directory side by side, with their difference in C.

python examples/compare_two_models.py demo/out ban logmel

Controls count as models too. The difference of C is descriptive; its spread is over participants only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ban_bids import load_derivatives


def main() -> int:
    """Print both tables, and mean and spread of the difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", type=Path, help="OUTPUT_DIR of a ban-bids run")
    parser.add_argument("models", nargs=2, metavar="MODEL")
    options = parser.parse_args()

    scores = load_derivatives(options.output_dir).scores()
    known = sorted(scores.model.unique())
    for model in options.models:
        if model not in known:
            print(f"no scores of {model}: choose from {', '.join(known)}", file=sys.stderr)
            return 2

    # one row per participant and region (or total), one column per model; a control may stand in several tables
    both = scores[scores.model.isin(options.models) & (scores.row != "layer")]
    both = both.drop_duplicates(["participant", "model", "row", "region"])
    both = both.assign(name=both.row.where(both.row != "region", both.region))
    print(both.pivot(index=["participant", "name"], columns="model", values="value")[options.models].round(3))

    cortical = both[both.row == "C"].pivot(index="participant", columns="model", values="value")
    first, second = options.models
    difference = (cortical[first] - cortical[second]).dropna()
    print(f"\nC of {first} minus C of {second}: mean {difference.mean():.3f}, sd {difference.std():.3f}, ", end="")
    print(f"{len(difference)} participants")
    return 0


if __name__ == "__main__":
    sys.exit(main())
