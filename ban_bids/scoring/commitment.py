"""Which layer predicts what: chosen fold by fold by scores on inner folds, so that no held-out row has a part in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np


@dataclass(frozen=True, eq=False)
class LayerChoice:
    """Layers of a model, to be chosen for the held-out rows of each outer fold.

    Parameters
    ----------
    layers : tuple of str
        In the model's order; of equals the earlier is chosen.
    inner : ndarray of shape (n_layers, n_folds, V)
        Scores on inner folds, of training rows only.
    fold : ndarray of shape (n,), int
        Outer fold of every held-out row.
    """

    layers: tuple[str, ...]
    inner: np.ndarray
    fold: np.ndarray

    @classmethod
    def among(cls, inner: Mapping[str, np.ndarray], fold: np.ndarray) -> LayerChoice:
        """Choose among layers by their scores (n_folds, V); one that has no score comes last."""
        scores = np.stack(list(inner.values()))
        return cls(tuple(inner), np.where(np.isfinite(scores), scores, -np.inf), fold)

    def of_region(self, voxels: np.ndarray) -> np.ndarray:
        """Layer with the largest mean over voxels in each fold, as its index, (n_folds,)."""
        return self.inner[:, :, voxels].mean(axis=2, dtype=np.float64).argmax(axis=0)

    def of_voxels(self, voxels: np.ndarray) -> np.ndarray:
        """Best layer of each voxel in each fold, as its index, (n_folds, n_voxels)."""
        return self.inner[:, :, voxels].argmax(axis=0)

    def depth(self, voxels: np.ndarray) -> np.ndarray:
        """Best layer of each voxel by the mean over folds, as its index, (n_voxels,)."""
        return self.inner[:, :, voxels].mean(axis=1, dtype=np.float64).argmax(axis=0)

    def shares(self, chosen: np.ndarray) -> dict[str, float]:
        """Share of the folds that chose each layer, of those that were chosen."""
        counts = np.bincount(chosen, minlength=len(self.layers)) / len(chosen)
        return {layer: float(share) for layer, share in zip(self.layers, counts, strict=True) if share}

    def put_together(self, predictions: Sequence[np.ndarray], voxels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Predict each fold's held-out rows from the layer chosen there.

        Parameters
        ----------
        predictions : sequence of ndarray of shape (n, V)
            Of every layer.
        voxels : ndarray of shape (n_voxels,), int
        chosen : ndarray of shape (n_folds,) or (n_folds, n_voxels), int

        Returns
        -------
        ndarray of shape (n, n_voxels)
        """
        each = np.broadcast_to(chosen.reshape(len(chosen), -1), (len(chosen), len(voxels)))
        together = np.empty((len(self.fold), len(voxels)), dtype=predictions[0].dtype)
        for fold, layer in product(range(len(each)), range(len(self.layers))):
            rows, columns = np.flatnonzero(self.fold == fold), np.flatnonzero(each[fold] == layer)
            together[np.ix_(rows, columns)] = predictions[layer][np.ix_(rows, voxels[columns])]
        return together
