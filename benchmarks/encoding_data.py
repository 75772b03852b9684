"""Simulated features and BOLD on disk: correlated layers with lags, voxels that answer to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

_AT_ONCE = 500


@dataclass(frozen=True)
class Size:
    """Of a dataset; ds003720's by default."""

    voxels: int = 5000
    runs: int = 12
    volumes: int = 400
    held_out_runs: int = 6
    layers: int = 4
    components: int = 64
    lags: int = 7

    @property
    def rows(self) -> int:
        return self.runs * self.volumes

    @property
    def columns(self) -> int:
        return self.layers * self.components * self.lags

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.components * self.lags,) * self.layers


@dataclass(frozen=True)
class Data:
    """Training and held-out features and BOLD, float32, and the inner fold of each training row."""

    x: np.ndarray
    held_x: np.ndarray
    y: np.ndarray
    held_y: np.ndarray
    groups: np.ndarray


def simulate(size: Size, folder: Path, seed: int = 0) -> None:
    """Write features and BOLD of training and held-out runs; columns have mean 0 in every run.

    The first voxels are the same whatever the number of voxels.
    """
    rng = np.random.default_rng(seed)
    runs = size.runs + size.held_out_runs
    spectrum = np.arange(1, size.components + 1) ** -0.5
    parts = []
    for _ in range(runs):
        shared = rng.standard_normal((size.volumes + size.lags, size.components))
        own = [0.6 * shared + 0.8 * rng.standard_normal(shared.shape) for _ in range(size.layers)]
        smooth = [lfilter([1], [1, -0.5], x, axis=0) * spectrum for x in own]
        lagged = [np.hstack([x[size.lags - j : len(x) - j] for j in range(size.lags)]) for x in smooth]
        parts.append([x - x.mean(axis=0) for x in lagged])
    layers = [np.concatenate([run[i] for run in parts]) for i in range(size.layers)]
    layers = [x / np.sqrt(np.mean((x[: size.rows] ** 2).sum(axis=1))) for x in layers]
    x = np.hstack(layers).astype(np.float32)
    np.save(folder / "x.npy", x[: size.rows])
    np.save(folder / "held_x.npy", x[size.rows :])
    _simulate_bold(size, layers, folder, seed)


def _simulate_bold(size: Size, layers: list[np.ndarray], folder: Path, seed: int) -> None:
    shapes = {"y": size.rows, "held_y": size.held_out_runs * size.volumes}
    out = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (rows, size.voxels))
        for name, rows in shapes.items()
    }
    for first in range(0, size.voxels, _AT_ONCE):
        rng = np.random.default_rng([seed, first])
        bold = lfilter([1], [1, -0.4], rng.standard_normal((len(layers[0]), _AT_ONCE)), axis=0)
        bold /= bold.std(axis=0)
        drawn = rng.dirichlet(np.full(size.layers, 0.3), _AT_ONCE)
        signal = np.zeros_like(bold)
        for x, share in zip(layers, drawn.T):
            signal += x @ (rng.standard_normal((x.shape[1], _AT_ONCE)) * np.sqrt(share))
        bold += signal / signal.std(axis=0) * np.sqrt(rng.uniform(0, 0.3, _AT_ONCE))
        by_run = bold.reshape(-1, size.volumes, _AT_ONCE)
        by_run -= by_run.mean(axis=1, keepdims=True)
        by_run /= by_run.std(axis=1, keepdims=True)
        last = min(first + _AT_ONCE, size.voxels)
        out["y"][:, first:last] = bold[: size.rows, : last - first]
        out["held_y"][:, first:last] = bold[size.rows :, : last - first]


def load(size: Size, folder: Path) -> Data:
    """Read what `simulate` wrote into memory."""
    groups = np.repeat(np.arange(size.runs), size.volumes)
    return Data(*(np.load(folder / f"{name}.npy") for name in ("x", "held_x", "y", "held_y")), groups)
