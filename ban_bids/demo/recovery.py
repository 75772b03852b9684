"""Is what was planted found again? Truth and derivatives of a demo, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd
from nilearn.image import resample_to_img

from ban_bids.constants import AREAS
from ban_bids.demo.truth import REGION_FILE, RESPONSIVE_FILE, read_table
from ban_bids.derivatives.read import Derivatives, load_derivatives
from ban_bids.errors import DataError


@dataclass(frozen=True, eq=False)
class Recovery:
    """What was recovered.

    Parameters
    ----------
    regions : DataFrame
        One row a participant and region: ``n_voxels``, ``r_inside`` (mean r of the region's own layer in
        the whole true region, unresponsive voxels included), ``r_responsive``, ``r_outside`` (mean r of the
        same layer over cortex outside all regions), ``ceiling`` (analytic, of a perfect model in responsive
        voxels), ``share_right`` (responsive voxels whose best layer is the right one), ``found``.
    scores : DataFrame
        One row a participant: ``C_trained``, ``C_untrained`` (mean over seeds), ``found``.
    """

    regions: pd.DataFrame
    scores: pd.DataFrame

    @property
    def complete(self) -> bool:
        """Whether everything was found."""
        return bool(self.regions["found"].all() and self.scores["found"].all())

    def __str__(self) -> str:
        """Both tables as text."""
        parts = [frame.to_string(index=False, float_format=lambda v: f"{v:.3f}") for frame in self._frames]
        return "\n\n".join(parts)

    @property
    def _frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return self.regions, self.scores


def recover(demo: Path) -> Recovery:
    """Compare ``DEMO/out`` with ``DEMO/truth``.

    A region counts as found where its layer's mean r inside is at least twice the mean r outside all regions
    (and positive), and where its layer predicts more than half of the responsive voxels best.

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
    derivatives = load_derivatives(demo / "out")
    scores = derivatives.scores()
    # A participant that failed has a folder but no scores.
    labels = sorted(set(scores["participant"]))
    regions = [row for label in labels for row in _region_rows(derivatives, scores, truth, label)]
    return Recovery(pd.DataFrame(regions), _score_rows(scores))


def _scored_model(scores: pd.DataFrame) -> str:
    return str(scores.loc[scores["role"] == "scored", "model"].iloc[0])


def _region_rows(derivatives: Derivatives, scores: pd.DataFrame, truth: Path, label: str) -> list[dict[str, object]]:
    """One row a region of one participant."""
    maps = derivatives.maps(participant=label, stat="r", model=_scored_model(scores))
    images = [nib.load(maps.loc[maps["layer"] == layer, "path"].iloc[0]) for layer in AREAS]
    r = np.array([np.asarray(image.dataobj, dtype=float) for image in images])
    labels = _on_grid(truth / REGION_FILE, images[0])
    responsive = _on_grid(truth / RESPONSIVE_FILE, images[0]) > 0
    # Voxels outside the analysis are stored as NaN or as zero in every map.
    analysed = np.all(np.isfinite(r), axis=0) & np.any(r != 0, axis=0)
    best = np.where(analysed, np.nan_to_num(r, nan=-2).argmax(axis=0), -1)
    table = read_table(truth)
    rows: list[dict[str, object]] = []
    for index, layer in enumerate(AREAS):
        inside = analysed & (labels == index + 1)
        planted = (table["participant_id"] == f"sub-{label}") & (table["region"] == layer)
        outside = float(r[index][analysed & (labels == 0)].mean())
        within = float(r[index][inside].mean()) if inside.any() else np.nan
        right = float(np.mean(best[inside & responsive] == index)) if (inside & responsive).any() else np.nan
        rows.append(
            {
                "participant": label,
                "region": layer,
                "n_voxels": int(inside.sum()),
                "r_inside": within,
                "r_responsive": float(r[index][inside & responsive].mean()),
                "r_outside": outside,
                "ceiling": float(table.loc[planted, "ceiling_repeat_mean"].iloc[0]),
                "share_right": right,
                "found": bool(within > 0 and within >= 2 * outside and right > 0.5),
            }
        )
    return rows


def _on_grid(path: Path, grid: nib.Nifti1Image) -> npt.NDArray[np.int_]:
    """Labels of a truth image at the voxels of a map."""
    moved = resample_to_img(path, grid, interpolation="nearest", force_resample=True, copy_header=True)
    return np.asarray(np.rint(moved.get_fdata()), dtype=int)


def _score_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """Cortical score of the trained and of the untrained networks."""
    total = scores[scores["row"] == "C"]
    rows = []
    for label, own in total.groupby("participant"):
        trained = pd.to_numeric(own.loc[own["role"] == "scored", "value"]).mean()
        names = own["model"].astype(str)
        untrained = pd.to_numeric(own.loc[names.str.contains("untrained"), "value"]).mean()
        rows.append(
            {
                "participant": label,
                "C_trained": float(trained),
                "C_untrained": float(untrained),
                "found": bool(trained > untrained),
            }
        )
    return pd.DataFrame(rows)
