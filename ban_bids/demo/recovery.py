"""Is what was planted found again? Truth and derivatives of a demo, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ban_bids.demo.truth import REGION_FILE, read_table
from ban_bids.derivatives.read import load_derivatives
from ban_bids.errors import DataError


@dataclass(frozen=True, eq=False)
class Recovery:
    """What was recovered of what was planted.

    Parameters
    ----------
    regions : DataFrame
        One row per participant and region: ``n_voxels``, ``planted`` (area of the teacher), ``committed`` (layer of BAN
        that was committed to the region, on training runs), ``rho`` of that layer and its interval, ``found``.
    """

    regions: pd.DataFrame

    @property
    def complete(self) -> bool:
        """Whether everything was found."""
        return bool(self.regions["found"].all())

    def __str__(self) -> str:
        """The table as text."""
        shown = self.regions.assign(found=np.where(self.regions["found"], "yes", "no"))
        return str(shown.to_string(index=False, na_rep="n/a", float_format=lambda value: f"{value:.2f}"))


def recover(demo: Path) -> Recovery:
    """Compare ``DEMO/out`` with ``DEMO/truth``.

    A region counts as found where the layer committed to it is BAN's area of the same name as the teacher's that was
    planted there.

    Parameters
    ----------
    demo : Path
        Folder that ``ban-bids-demo`` wrote.

    Returns
    -------
    Recovery

    Raises
    ------
    DataError
        The truth or the derivatives are missing.
    """
    truth = demo / "truth"
    if not (truth / REGION_FILE).is_file():
        raise DataError(f"{truth}: no {REGION_FILE}; run ban-bids-demo {demo}")
    planted = read_table(truth)
    scores = load_derivatives(demo / "out").scores(model="ban", role="scored", row="layer")
    committed = scores[scores["committed"].astype(float) > 0]
    rows = []
    for one in committed.itertuples():
        voxels = planted[(planted["participant_id"] == f"sub-{one.participant}") & (planted["region"] == one.region)]
        rows.append(
            {
                "participant": one.participant,
                "region": one.region,
                "n_voxels": int(voxels["n_responsive"].iloc[0]),
                "planted": one.region,
                "committed": one.layer,
                "rho": one.rho,
                "low": one.rho_ci_low,
                "high": one.rho_ci_high,
                "found": str(one.layer) == str(one.region),
            }
        )
    return Recovery(pd.DataFrame(rows))
