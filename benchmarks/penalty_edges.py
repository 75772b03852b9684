"""Is the grid of ridge penalties wide enough? Where the chosen ones lie on simulated voxels.

    python benchmarks/penalty_edges.py [--voxels 1000] [--runs 6] [--volumes 200]

Voxels of noise, and voxels that answer to four correlated layers (`encoding_data`: up to 23 % of variance), with few
and many components of a layer; and voxels that hardly have noise. Prints the share at either edge, of all voxels and of
those whose prediction is not shrunk to 0 (`ban_bids.encoding.penalties`), and processor seconds.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from encoding_data import Data, Size, load, simulate
from encoding_tasks import bands_of
from measuring import parser, scratch_folder

from ban_bids.encoding.cleaning import Side
from ban_bids.encoding.penalties import penalty_counts
from ban_bids.encoding.ridge.bands import FeatureBands
from ban_bids.encoding.ridge.hyperparameters import Hyperparameters, band_weights
from ban_bids.encoding.ridge.refitted import score_of_zero
from ban_bids.encoding.ridge.solvers import BandedRidge
from ban_bids.settings import Encoding

ALPHAS = Encoding().alphas


def main() -> int:
    """Print a line for each number of components, kind of voxel and model."""
    given = parser(__doc__, {"voxels": 1000, "runs": 6, "volumes": 200}).parse_args()
    print(f"grid {min(ALPHAS):g} ... {max(ALPHAS):g}")
    print("components  voxels     model   smallest  largest  not shrunk: share  smallest  largest")
    for components in (4, 16, 64):
        size = Size(given.voxels, given.runs, given.volumes, held_out_runs=1, components=components)
        with scratch_folder(given.scratch) as folder:
            simulate(size, folder)
            data = load(size, folder)
        for kind, bold in kinds(data):
            together = bands_of(data.x, size)
            for model, bands in (("alone", FeatureBands(together.parts[:1])), ("Joint", together)):
                print(f"{components:10d}  {kind:9s}  {model:6s}  {told(edges(bands, bold, data.groups))}", flush=True)
    print(f"{time.process_time():.0f} processor seconds")
    return 0


def kinds(data: Data) -> list[tuple[str, np.ndarray]]:
    """Voxels of noise, as they are simulated, and with a hundredth of noise in what the first layer drives."""
    rng = np.random.default_rng(1)
    noise, weights = (
        rng.standard_normal((2, *data.y.shape))[0],
        rng.standard_normal((len(data.x.T) // 4, data.y.shape[1])),
    )
    clear = data.x[:, : len(weights)] @ weights
    clear = clear / clear.std(axis=0) + 0.1 * noise
    return [("noise", noise.astype(np.float32)), ("answers", data.y), ("clear", clear.astype(np.float32))]


def edges(bands: FeatureBands, bold: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Choose as the app does, and count penalties, (2, n_alphas)."""
    grid = band_weights(bands.n_bands, Encoding().n_band_weights, 0)
    search = Hyperparameters(ALPHAS, grid, refine=6 if bands.n_bands > 1 else 0)
    choice = BandedRidge(search).choose(bands, bold, groups)
    zero, usable = (
        score_of_zero(bold, [Side(np.flatnonzero(groups == g)) for g in np.unique(groups)]),
        np.ones(bold.shape[1], dtype=bool),
    )
    return penalty_counts(ALPHAS, chosen=choice.alpha[None], score=choice.score[None], zero=zero[None], usable=usable)


def told(counts: np.ndarray) -> str:
    """Shares of a line of the table."""
    shares = counts[:, [0, -1]] / np.maximum(1, counts.sum(axis=1, keepdims=True))
    (low, high), (own_low, own_high) = shares
    return f"{low:8.3f}  {high:7.3f}  {counts[1].sum() / counts[0].sum():17.3f}  {own_low:8.3f}  {own_high:7.3f}"


if __name__ == "__main__":
    sys.exit(main())
