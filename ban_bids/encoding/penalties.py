"""Where chosen penalties lie on their grid, and whether it is wide enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ban_bids.encoding.ridge.hyperparameters import Hyperparameters

SHRUNK = 0.01
"""A prediction whose inner score differs by a smaller share from that of predicting 0 counts as shrunk to 0."""

MOST_AT_AN_EDGE = 0.05
"""Share of voxels and folds at one edge of the grid above which a note says so."""


def penalty_counts(
    alphas: Sequence[float], *, chosen: np.ndarray, score: np.ndarray, zero: np.ndarray, usable: np.ndarray
) -> np.ndarray:
    """Count voxels and folds by the penalty that was chosen.

    Parameters
    ----------
    alphas : sequence of float
        The grid.
    chosen, score : ndarray of shape (n_folds, n_voxels)
        Penalty, and score over inner folds: minus the mean squared error of left-out rows.
    zero : ndarray of shape (n_folds, n_voxels)
        The same score of predicting 0.
    usable : ndarray of shape (n_voxels,), bool
        Others are not counted.

    Returns
    -------
    ndarray of shape (2, n_alphas), int64
        Penalties in rising order. First row: all; second: those whose prediction is not shrunk to 0, where
        ``|score - zero| > 0.01 |zero|``. A voxel that hears nothing takes the largest penalty, and should.
    """
    grid = Hyperparameters(alphas)
    apart = np.abs(score - zero) > SHRUNK * np.abs(zero)
    n = len(grid.penalties)
    position = grid.position(chosen.ravel()).reshape(chosen.shape)
    return np.stack([np.bincount(position[counted & usable], minlength=n) for counted in (np.ones_like(apart), apart)])


@dataclass(frozen=True, eq=False)
class Penalties:
    """How often each penalty of the grid was chosen.

    Parameters
    ----------
    alphas : tuple of float
        The grid, in rising order.
    counts : mapping of str to ndarray of shape (2, n_alphas)
        `penalty_counts`, by layer and ``"Joint"``.
    """

    alphas: tuple[float, ...] = ()
    counts: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, dict[str, dict[str, int]]]:
        """For JSON files: by layer, penalty -> number of voxels and folds."""
        kinds = zip(("PenaltiesChosen", "PenaltiesChosenNotShrunk"), (0, 1))
        names = [f"{alpha:g}" for alpha in self.alphas]
        return {
            fact: {layer: dict(zip(names, counts[row].tolist(), strict=True)) for layer, counts in self.counts.items()}
            for fact, row in kinds
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """Layers with more than 5 % of those voxels and folds that are not shrunk to 0 at an edge of the grid."""
        return tuple(note for layer, (_, counts) in self.counts.items() for note in self._at_edges(layer, counts))

    def _at_edges(self, layer: str, counts: np.ndarray) -> Iterator[str]:
        if len(counts) == 1:  # nothing was chosen
            return
        for edge, size, where in (("smallest", "smaller", 0), ("largest", "larger", -1)):
            share = counts[where] / max(1, counts.sum())
            if share > MOST_AT_AN_EDGE:
                yield (
                    f"{layer}: {share:.0%} of the voxels and folds whose prediction is not shrunk to 0 take the {edge} "
                    f"penalty, {self.alphas[where]:g}; if {size} ones may predict better, add them to alphas in the "
                    "table [encoding] of a --config-file"
                )
