"""Planted responses: what each voxel of a region does, given a teacher's features of the music.

In the region of area *a* a voxel's response is a random combination of the principal components of the
teacher's area-*a* features, passed through a haemodynamic response of its own on a fine time grid that no
analysis shares. The teacher is a network of another seed than the one that is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve
from scipy.stats import gamma

from ban_bids.constants import REGIONS
from ban_bids.demo.anatomy import smooth_field
from ban_bids.demo.phantom import Planted, Scan, Tissue
from ban_bids.typing import Floats

FINE = 0.1
"""Step of the fine time grid, seconds."""


@dataclass(frozen=True)
class Courses:
    """What drives the voxels: components of each area's features, clip by clip.

    Parameters
    ----------
    clips : dict of str to list of ndarray
        Area to one array (bins, components) a clip.
    silence : dict of str to ndarray, shape (components,)
        The same components during silence.
    step : float
        Seconds a bin.
    """

    clips: dict[str, list[Floats]]
    silence: dict[str, Floats]
    step: float

    @property
    def n_components(self) -> int:
        """Components an area."""
        return int(next(iter(self.silence.values())).size)


@dataclass(frozen=True)
class VoxelPlan:
    """How every responsive voxel of a participant answers, the same in all runs.

    Parameters
    ----------
    voxels : ndarray of int, shape (n,)
        Flat indices into the BOLD grid.
    region : ndarray of int, shape (n,)
        1..4.
    weights : ndarray, shape (n, components)
        Weights of the components.
    delay, width : ndarray, shape (n,)
        Time to peak in seconds, and dispersion, of the haemodynamic response.
    """

    voxels: npt.NDArray[np.intp]
    region: npt.NDArray[np.uint8]
    weights: Floats
    delay: Floats
    width: Floats


def plan_voxels(tissue: Tissue, voxel: float, n_components: int, rng: np.random.Generator) -> VoxelPlan:
    """Draw weights that vary smoothly over cortex (6 mm) and a haemodynamic response for every voxel."""
    voxels = np.flatnonzero(tissue.responsive)
    fields = [smooth_field(tissue.base.shape, 3.0 / voxel, rng).ravel()[voxels] for _ in range(n_components)]
    return VoxelPlan(
        voxels=voxels,
        region=tissue.labels.ravel()[voxels],
        weights=np.array(fields, dtype=float).T,
        delay=rng.uniform(4.3, 6.3, voxels.size),
        width=rng.uniform(0.8, 1.2, voxels.size),
    )


def haemodynamic_response(delay: float, width: float) -> Floats:
    """Double gamma on the fine grid: peak at ``delay`` s, undershoot ten seconds later, unit energy."""
    time = np.arange(0, 30, FINE)
    scale = 0.9 * width
    response = gamma.pdf(time, delay / scale + 1, scale=scale)
    undershoot = gamma.pdf(time, (delay + 10) / scale + 1, scale=scale)
    response = response / response.max() - 0.15 * undershoot / undershoot.max()
    return response / np.sqrt(np.sum(response**2))


@dataclass(frozen=True)
class Heard:
    """One presentation of a run: which clip, and when, seconds."""

    clip: int
    onset: float


def run_signals(
    source: Courses, plan: VoxelPlan, runs: Sequence[Sequence[Heard]], scans: Sequence[Scan]
) -> list[Planted]:
    """Signals of every run, scaled to the stated SNR over all runs together.

    Parameters
    ----------
    source : Courses
        What drives each region.
    plan : VoxelPlan
        The participant's voxels.
    runs : sequence of sequences of Heard
        What is heard in each run.
    scans : sequence of Scan
        Each run's protocol; they differ in the number of volumes only.

    Returns
    -------
    list of Planted
        A voxel's signal has zero mean over a run at the times of its own slice; over all runs its variance
        there is ``scan.snr * scan.noise**2``.
    """
    scan = scans[0]
    slot = np.unique(scan.slice_times, return_inverse=True)[1]
    own = slot[np.unravel_index(plan.voxels, scan.shape)[2]]
    every = np.arange(plan.voxels.size)
    kernels = np.array([haemodynamic_response(d, w) for d, w in zip(plan.delay, plan.width)])
    signals = [_sampled(source, plan, run, its_scan, kernels) for run, its_scan in zip(runs, scans)]
    for signal in signals:
        signal -= signal[every, :, own].mean(axis=1)[:, None, None]
    power = np.mean(np.concatenate([s[every, :, own] ** 2 for s in signals], axis=1), axis=1)
    scale = (scan.noise * np.sqrt(scan.snr / power)).astype(np.float32)
    return [Planted(plan.voxels, signal * scale[:, None, None]) for signal in signals]


def _sampled(
    source: Courses, plan: VoxelPlan, run: Sequence[Heard], scan: Scan, kernels: Floats
) -> npt.NDArray[np.float32]:
    """Haemodynamic responses of one run at every slice time, shape (n, n_volumes, n_slots)."""
    slot_times = np.unique(scan.slice_times)
    length = round((scan.n_volumes * scan.repetition_time + 1) / FINE)
    place = (np.arange(scan.n_volumes)[:, None] * scan.repetition_time + slot_times) / FINE
    low = place.astype(int)
    part = (place - low).astype(np.float32)
    bold = fftconvolve(_neural(source, plan, run, length), kernels, axes=1)[:, :length].astype(np.float32)
    return bold[:, low] * (1 - part) + bold[:, low + 1] * part


def _neural(source: Courses, plan: VoxelPlan, run: Sequence[Heard], length: int) -> Floats:
    """Neural drive of every voxel on the fine grid, shape (n, length); silence between clips."""
    drive = np.zeros((plan.voxels.size, length))
    for label, area in enumerate(REGIONS, start=1):
        chosen = plan.region == label
        line = np.tile(source.silence[area], (length, 1))
        for heard in run:
            clip = np.repeat(source.clips[area][heard.clip], round(source.step / FINE), axis=0)
            first = round(heard.onset / FINE)
            line[first : first + clip.shape[0]] = clip[: max(length - first, 0)]
        # Before the run the head was in silence too: responses start at rest.
        drive[chosen] = plan.weights[chosen] @ (line - source.silence[area]).T
    return drive
