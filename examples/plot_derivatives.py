"""Load an output directory, print the totals of its models, and save a picture of one layer's map per participant.

python examples/plot_derivatives.py demo/out --layer T2T3 --save figures
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nilearn import plotting

from ban_bids import load_derivatives


def main() -> None:
    """Print and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output_dir", type=Path, help="OUTPUT_DIR of a ban-bids run")
    parser.add_argument("--layer", default="T2T3")
    parser.add_argument("--stat", default="r")
    parser.add_argument("--save", type=Path, default=Path("figures"), help="folder of the pictures")
    options = parser.parse_args()

    out = load_derivatives(options.output_dir)
    scores = out.scores()
    totals = scores[(scores.role == "scored") & scores.row.isin(["C", "B", "BAS"])]
    print(totals[["participant", "model", "row", "value", "ci_low", "ci_high", "reason"]].to_string(index=False))

    options.save.mkdir(parents=True, exist_ok=True)
    for one in out.maps(layer=options.layer, stat=options.stat).itertuples():
        picture = options.save / f"sub-{one.participant}_{one.layer}_{one.stat}.png"
        title = f"sub-{one.participant}, {one.model} {one.layer}: {one.stat} on held-out runs"
        plotting.plot_stat_map(one.path, bg_img=None, title=title, output_file=str(picture))
        print(picture)


if __name__ == "__main__":
    main()
