"""One synthetic participant: T1w, BOLD runs, events, and the truth about all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ban_bids.constants import REGIONS
from ban_bids.demo.anatomy import head_template, random_warp, rigid, save_image, write_t1w
from ban_bids.demo.dataset import bold_path, write_events
from ban_bids.demo.phantom import (
    Planted,
    Scan,
    Tissue,
    head_motion,
    responsive_in_mni,
    still_tissue,
    write_run,
)
from ban_bids.demo.plan import DemoSize, PlannedRun
from ban_bids.demo.responses import Courses, VoxelPlan, plan_voxels, run_signals

RESPONSIVE = 0.75
"""Share of each region that responds."""

MOTION_COLUMNS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


@dataclass(frozen=True)
class ParticipantJob:
    """All that one process needs to make one participant.

    Parameters
    ----------
    root : Path
        The demo's folder, holding ``bids/`` and ``truth/``.
    label : str
        Participant.
    size : DemoSize
        Protocol.
    seed : int
        The dataset's seed.
    runs : tuple of PlannedRun
        What is heard.
    tracks : tuple of Path
        Stimulus tracks.
    source : Courses
        What drives the regions.
    """

    root: Path
    label: str
    size: DemoSize
    seed: int
    runs: tuple[PlannedRun, ...]
    tracks: tuple[Path, ...]
    source: Courses


def make_participant(job: ParticipantJob) -> pd.DataFrame:
    """Write one participant's images, events and truth.

    Parameters
    ----------
    job : ParticipantJob
        The participant.

    Returns
    -------
    DataFrame
        One row a region: voxels, responsive voxels, planted variances and ceilings.
    """
    rng = np.random.default_rng([job.seed, int(job.label), 11])
    scan = job.size.scan(1)
    warp = random_warp(rng)
    anat = job.root / "bids" / f"sub-{job.label}" / "anat" / f"sub-{job.label}_T1w.nii.gz"
    write_t1w(anat, warp, job.size.t1w_voxel, rng)
    displaced = rigid(np.r_[rng.uniform(-2, 2, 3), np.deg2rad(rng.uniform(-1.5, 1.5, 3))])
    responsive = responsive_in_mni(head_template(), RESPONSIVE, job.seed)
    tissue = still_tissue(scan, warp, responsive, displaced, rng)
    plan = plan_voxels(tissue, scan.voxel, job.source.n_components, rng)
    scans = [job.size.scan(len(run.heard)) for run in job.runs]
    signals = run_signals(job.source, plan, [run.heard for run in job.runs], scans)
    truth = job.root / "truth" / f"sub-{job.label}"
    truth.mkdir(parents=True, exist_ok=True)
    for run, planned, its_scan in zip(job.runs, signals, scans):
        motion = head_motion(its_scan, rng)
        name = f"sub-{job.label}_run-{run.number}_motion.tsv"
        pd.DataFrame(motion, columns=list(MOTION_COLUMNS)).to_csv(truth / name, sep="\t", index=False)
        write_run(bold_path(job.root / "bids", job.label, run), its_scan, tissue, planned, motion, rng)
        write_events(job.root / "bids", job.label, run, job.tracks, job.size)
    _write_truth(truth, job.label, tissue, plan)
    np.savez_compressed(
        truth / f"sub-{job.label}_transforms.npz",
        t1w_to_mni_affine=warp.affine,
        t1w_to_mni_knots=warp.knots,
        bold_to_t1w=displaced,
    )
    return _table(job.label, scan, tissue, signals, plan)


def _write_truth(folder: Path, label: str, tissue: Tissue, plan: VoxelPlan) -> None:
    """Regions, responsive voxels and haemodynamic delays on the still BOLD grid."""
    save_image(folder / f"sub-{label}_space-bold_dseg.nii.gz", tissue.labels, tissue.affine)
    mask = tissue.responsive.astype(np.uint8)
    save_image(folder / f"sub-{label}_space-bold_desc-responsive_mask.nii.gz", mask, tissue.affine)
    table = pd.DataFrame(
        {"voxel": plan.voxels, "region": plan.region, "time_to_peak": plan.delay, "dispersion": plan.width}
    )
    table.to_csv(folder / f"sub-{label}_haemodynamics.tsv", sep="\t", index=False, float_format="%.4f")


def planted_variance(signals: list[Planted], scan: Scan) -> npt.NDArray[np.float64]:
    """Variance over all volumes of all runs of each planted voxel, at the times of its own slice."""
    slot = np.unique(scan.slice_times, return_inverse=True)[1]
    own = slot[np.unravel_index(signals[0].voxels, scan.shape)[2]]
    every = np.arange(own.size)
    series = np.concatenate([run.signal[every, :, own] for run in signals], axis=1)
    return np.asarray(np.mean(series**2, axis=1), dtype=float)


def _table(label: str, scan: Scan, tissue: Tissue, signals: list[Planted], plan: VoxelPlan) -> pd.DataFrame:
    variance = planted_variance(signals, scan)
    noise = scan.noise**2
    rows = []
    for index, region in enumerate(REGIONS, start=1):
        signal = float(variance[plan.region == index].mean()) if np.any(plan.region == index) else np.nan
        rows.append(
            {
                "participant_id": f"sub-{label}",
                "region": region,
                "n_voxels": int(np.sum(tissue.labels == index)),
                "n_responsive": int(np.sum(plan.region == index)),
                "signal_variance": signal,
                "noise_variance": noise,
                "snr": signal / noise,
            }
        )
    return pd.DataFrame(rows)
