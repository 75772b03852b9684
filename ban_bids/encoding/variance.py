"""R² of held-out predictions, and whose it is: shares and unique variance of layers in the joint model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ban_bids.constants import JOINT
from ban_bids.encoding.repeats import Repeats, compared
from ban_bids.encoding.rows import HeldOut


def variances(
    held_out: HeldOut,
    parts: Mapping[str, np.ndarray],
    without: Mapping[str, np.ndarray],
    *,
    repeats: Repeats | None,
    usable: np.ndarray,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return shares and unique variances of layers, and R² of every model, each (n_voxels,), float64.

    With y the measured and p = sum of p_a the predicted response, R² = sum(p (2y - p)) / sum(y²), which is
    1 - SSE/SST; layer a's share is sum(p_a (2y - p)) / sum(y²), so that shares sum to R²; its unique variance
    is R² minus that of all other layers together.

    Parameters
    ----------
    held_out : HeldOut
        Measured, and predicted by every model.
    parts, without : mapping of str to ndarray of shape (n, n_voxels)
        By layer, what it adds to the joint model's prediction, and the prediction of all others; empty
        without a joint model.
    repeats : Repeats or None
        See `ban_bids.encoding.repeats.compared`.
    usable : ndarray of shape (n_voxels,), bool
        NaN in the others.
    """

    def seen(values: np.ndarray) -> np.ndarray:
        return compared(values, held_out.table, repeats)

    measured = seen(held_out.bold)
    total = np.einsum("ij,ij->j", measured, measured, dtype=np.float64)
    total = np.where(usable & (total > 0), total, np.nan)

    def explained(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.einsum("ij,ij->j", part, 2 * measured - whole, dtype=np.float64) / total

    def rsquare(values: np.ndarray) -> np.ndarray:
        predicted = seen(values)
        return explained(predicted, predicted)

    scores = {name: rsquare(values) for name, values in held_out.prediction.items()}
    if not parts:
        return {}, {}, scores
    together = seen(held_out.prediction[JOINT])
    share = {layer: explained(seen(part), together) for layer, part in parts.items()}
    unique = {layer: scores[JOINT] - rsquare(rest) for layer, rest in without.items()}
    return share, unique, scores
