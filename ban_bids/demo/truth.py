"""What was planted, written beside the dataset: maps in MNI space, strengths, ceilings, teacher."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ban_bids.constants import REGIONS
from ban_bids.demo.anatomy import head_template, save_image
from ban_bids.demo.plan import DemoSize

REGION_FILE = "space-MNI152NLin2009cAsym_desc-planted_dseg.nii.gz"
RESPONSIVE_FILE = "space-MNI152NLin2009cAsym_desc-responsive_mask.nii.gz"
CEILING_FILE = "space-MNI152NLin2009cAsym_desc-planted_stat-ccmax_statmap.nii.gz"
TABLE_FILE = "responses.tsv"

_README = """\
# What was planted in the demo

- `responses.tsv`: participant x region: voxels, responsive voxels, variances of signal and noise (fractions
  of the baseline, squared), and the analytic ceilings sqrt(S / (S + N)) for one repeat and
  sqrt(S / (S + N / repeats)) for the mean of the repeats. The ceilings count the autocorrelated noise only:
  drift, the global fluctuation, motion and everything that preprocessing does come on top.
- `{regions}`: true regions (1..4 = {labels}), 1 mm.
- `{responsive}`: the patches of them that respond.
- `{ceiling}`: ceiling of the repeat mean in these patches.
- `sub-*/`: true head motion of every run (millimetres; radians), true regions and responsive voxels on the
  still BOLD grid, haemodynamic responses, and the transforms between BOLD, T1w and MNI space.

The region of area *a* is driven by {components} components of area *a* of a teacher, a BAN that comes with the
package: those that other networks of its kind predict well from the same area, and badly from their other
areas. Without this choice neighbouring areas could hardly be told apart at the speed of blood. It was made
with other networks and other music than the demo's (`tools/make_demo_teacher.py`); the networks that are
scored have no part in it. Each voxel answers a random combination, smooth over cortex, of its area's
components, through a haemodynamic response of its own.

What this cannot show: the teacher was trained as the scored BAN is, so that BAN's lead over other networks is
built in. The demo shows that the path from images to scores finds what was planted, not that BAN is like a
brain.
"""


def write_truth(
    folder: Path,
    size: DemoSize,
    seed: int,
    responsive: np.ndarray,
    table: pd.DataFrame,
    extra: dict[str, Any],
) -> None:
    """Write maps in MNI space, the table of responses, the design and a README.

    Parameters
    ----------
    folder : Path
        ``truth/``.
    size : DemoSize
        The protocol.
    seed : int
        The dataset's seed.
    responsive : ndarray of bool
        Responsive patches on the template's grid.
    table : DataFrame
        Rows of :func:`ban_bids.demo.participants.make_participant` of all participants.
    extra : dict
        What else belongs into ``design.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = with_ceilings(table, size.repeats)
    table.to_csv(folder / TABLE_FILE, sep="\t", index=False, float_format="%.6g")
    head = head_template()
    save_image(folder / REGION_FILE, head.labels, head.affine)
    save_image(folder / RESPONSIVE_FILE, responsive.astype(np.uint8), head.affine)
    ceiling = np.zeros(head.labels.shape, dtype=np.float32)
    for index, region in enumerate(REGIONS, start=1):
        value = table.loc[table.region == region, "ceiling_repeat_mean"].mean()
        ceiling[(head.labels == index) & responsive] = value
    save_image(folder / CEILING_FILE, ceiling, head.affine)
    design = {"seed": seed, "size": asdict(size), "labels": head.label_source, **extra}
    (folder / "design.json").write_text(json.dumps(design, indent=2) + "\n")
    readme = _README.format(
        regions=REGION_FILE,
        responsive=RESPONSIVE_FILE,
        ceiling=CEILING_FILE,
        labels=", ".join(REGIONS),
        components=extra["n_components"],
    )
    (folder / "README.md").write_text(readme)


def with_ceilings(table: pd.DataFrame, repeats: int) -> pd.DataFrame:
    """Add the expected correlation of a perfect model with one repeat and with the mean of all repeats."""
    signal, noise = table["signal_variance"], table["noise_variance"]
    return table.assign(
        ceiling_single=np.sqrt(signal / (signal + noise)),
        ceiling_repeat_mean=np.sqrt(signal / (signal + noise / repeats)),
    )


def read_table(folder: Path) -> pd.DataFrame:
    """Read ``responses.tsv`` of a truth folder."""
    return pd.read_csv(folder / TABLE_FILE, sep="\t")
