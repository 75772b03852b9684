"""One BOLD run: steady state, motion, reference; coregistration; the resampled run and its confounds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ban_bids.errors import DataError
from ban_bids.preprocessing.confounds import confound_table, noise_mask, write_confounds
from ban_bids.preprocessing.distortion import ToReference
from ban_bids.preprocessing.files import load_image, load_mask, save_image
from ban_bids.preprocessing.masks import count_non_steady, epi_mask, lost_volumes
from ban_bids.preprocessing.quality import temporal_snr
from ban_bids.preprocessing.quality_figures import Layout, save_run_quality
from ban_bids.preprocessing.space.realign import align_images, realign
from ban_bids.preprocessing.space.register import bias_corrected, resample_to, rigid, to_ants
from ban_bids.preprocessing.space.resample import (
    correct_slice_timing,
    inside_image,
    load_run,
    resample_run,
    write_series,
)
from ban_bids.preprocessing.space.template import Target
from ban_bids.preprocessing.space.transforms import apply_affine, sample
from ban_bids.typing import Floats

_NAMED = 5  # volumes that an error lists


def reference_and_motion(
    bold: Path, folder: Path, dummy_scans: int | None = None
) -> tuple[dict[str, Path], int, tuple[str, ...]]:
    """Steady state, head motion and reference of a run.

    Parameters
    ----------
    bold, folder : Path
    dummy_scans : int, optional
        Volumes before the steady state, instead of the number that is detected.

    Returns
    -------
    files : dict
        ``reference``, ``mask`` (BOLD grid), ``motion`` (npz with ``matrices`` and ``parameters``).
    non_steady : int
    notes : tuple of str

    Raises
    ------
    DataError
        As :func:`load_run`; or a volume of the steady state is blank, or part of it.
    """
    data, affine, missing, notes = load_run(bold)
    global_signal = data.mean((0, 1, 2), dtype=float)
    detected = count_non_steady(global_signal)
    non_steady = detected if dummy_scans is None else dummy_scans
    lost = lost_volumes(global_signal)
    if lost.size and lost[-1] >= non_steady:
        raise DataError(_refusal(bold, global_signal, lost[lost >= non_steady], non_steady))
    data[..., lost] = data[..., [non_steady]]  # there is nothing to align
    motion = realign(data, affine, non_steady)
    files = {
        "reference": save_image(folder / "reference.nii.gz", motion.reference, affine),
        "mask": save_image(folder / "mask.nii.gz", epi_mask(motion.reference) & ~missing, affine),
        "motion": folder / "motion.npz",
    }
    np.savez(files["motion"], matrices=motion.matrices, parameters=motion.parameters)
    if non_steady != detected:
        notes += (f"{bold.name}: --dummy-scans {non_steady} (detected: {detected}) are left out as rows",)
    elif non_steady:
        notes += (f"{bold.name}: {non_steady} volumes before the steady state are left out as rows",)
    return files, non_steady, notes


def _refusal(bold: Path, global_signal: Floats, lost: NDArray[np.intp], non_steady: int) -> str:
    """Which volumes hold no whole image, and what helps: those that the steady state begins with can be dummies."""
    numbers = ", ".join(str(volume + 1) for volume in lost[:_NAMED]) + (", ..." if lost.size > _NAMED else "")
    remedy = "cut it off at the end"
    if (lost < (steady := non_steady + lost.size)).all():
        remedy = f"give --dummy-scans {steady + count_non_steady(global_signal[steady:])}"
    return (
        f"{bold}: volume {numbers} of {len(global_signal)} holds less than 70 % of the others' signal (slices are "
        f"blank, as where a scan was broken off); {remedy}, or leave the run out (--bids-filter-file)"
    )


def coregister_session(reference: Path, mask: Path, t1w: Path, *, t1w_mask: Path, folder: Path) -> Floats:
    """T1w world → BOLD reference world, rigid, by mutual information at 2 mm with both images masked.

    The coils' sensitivity is taken out of the reference first (N4): with it in the image of a real run,
    mutual information tilted the head by 3 degrees.
    """
    inside = load_mask(mask)
    bold, bold_affine = load_image(reference)
    t1, t1_affine = load_image(t1w)
    moving = bias_corrected(to_ants(bold, bold_affine), inside, folder)
    moving_mask = to_ants(ndimage.binary_dilation(inside, iterations=1), bold_affine)
    fixed = resample_to(to_ants(t1, t1_affine), 2.0)
    brain = resample_to(to_ants(load_mask(t1w_mask), t1_affine), 2.0)
    brain = brain.new_image_like((brain.numpy() > 0.5).astype(np.float32))
    return rigid(fixed * brain, moving * moving_mask, folder, mask=brain, moving_mask=moving_mask, mask_all_stages=True)


def run_to_session(run: Path, session: Path) -> Floats:
    """Session reference world → run reference world."""
    return align_images(*load_image(run), *load_image(session))


@dataclass(frozen=True)
class Timing:
    """When a run's volumes and slices were taken; seconds.

    Parameters
    ----------
    repetition_time : float
        Mean interval between volumes.
    slice_timing : sequence of float, optional
        None: slices are not shifted.
    direction : str
        BIDS ``SliceEncodingDirection``.
    middle : float
        Time within a volume to which slices are shifted.
    starts : tuple of float, optional
        From the first volume's start to each volume's, where intervals differ.
    """

    repetition_time: float
    slice_timing: tuple[float, ...] | None = None
    direction: str = "k"
    middle: float = 0.0
    starts: tuple[float, ...] | None = None


def resample_to_target(
    bold: Path,
    motion: Path,
    t1w_to_reference: ToReference,
    *,
    target: Target,
    timing: Timing,
    non_steady: int,
    folder: Path,
) -> dict[str, Path]:
    """Slice timing, one interpolation, mask and confounds of a run.

    Parameters
    ----------
    bold, motion : Path
        Raw run; motion file of :func:`reference_and_motion`.
    t1w_to_reference : ToReference
        T1w world → this run's reference world, through its distortion where that is known.
    target : Target
    timing : Timing
    non_steady : int
    folder : Path

    Returns
    -------
    dict
        ``bold``, ``mask``, ``confounds``; ``quality``: npz with ``before`` and ``after`` (temporal
        signal-to-noise, one value per voxel of the mask), ``carpet`` (n_volumes, n_rows) and ``tissue``.
    """
    data, affine, missing, _ = load_run(bold)
    with np.load(motion) as stored:
        matrices, parameters = stored["matrices"], stored["parameters"]
    points = t1w_to_reference(target.t1w_points)
    chosen = np.flatnonzero(_covered(missing, affine, points, matrices=matrices, parameters=parameters))
    before = _raw_tsnr(data[..., non_steady:], affine, points[:, chosen])
    if timing.slice_timing:
        correct_slice_timing(
            data, timing.slice_timing, timing.direction, timing.repetition_time, timing.middle, n_skip=non_steady
        )
    rows = resample_run(data, affine, matrices, points[:, chosen])
    del data
    alive = (rows.std(0) > 0) & (rows.mean(0) > 0)
    rows, chosen, before = rows[:, alive], chosen[alive], before[alive]
    mask = np.zeros(target.brain.shape, bool)
    mask.ravel()[np.flatnonzero(target.brain)[chosen]] = True
    files = {"bold": folder / "bold.nii.gz", "mask": save_image(folder / "mask.nii.gz", mask, target.affine)}
    write_series(files["bold"], target.grid, mask, rows, timing.repetition_time)
    files |= {"confounds": folder / "confounds.tsv", "quality": folder / "quality.npz"}
    white, csf = (noise_mask(tissue, target.brain, chosen) for tissue in (target.white_matter, target.csf))
    times = None if timing.starts is None else np.array(timing.starts)
    table, metadata = confound_table(parameters, rows, white, csf, non_steady, timing.repetition_time, times=times)
    write_confounds(table, files["confounds"], metadata)
    layout = Layout.of(len(chosen), (target.white_matter[chosen], target.csf[chosen]))
    save_run_quality(files["quality"], before, rows, layout, non_steady)
    return files


def _covered(
    missing: NDArray[np.bool_], affine: Floats, points: Floats, *, matrices: Floats, parameters: Floats
) -> NDArray[np.bool_]:
    """Points that lie in the image at rest, first, last and farthest from rest in each parameter, and miss no value.

    Beyond the image's edge interpolation would show its mirror image: a thin slab ends in the brain, and a nod of some
    degrees without a shift moves its ends by voxels.
    """
    shape = missing.shape
    covered = inside_image(shape, affine, points)
    for index in {0, len(matrices) - 1, *parameters.argmin(0).tolist(), *parameters.argmax(0).tolist()}:
        covered &= inside_image(shape, affine, apply_affine(matrices[index], points), margin=1.0)
    return covered & (sample(missing.astype(np.float32), affine, points, order=0) < 0.5)


def _raw_tsnr(data: NDArray[np.float32], affine: Floats, points: Floats) -> Floats:
    """Temporal signal-to-noise of the raw voxel nearest to each point ``(3, n)``."""
    near = np.rint(apply_affine(np.linalg.inv(affine), points)).astype(int)
    where = tuple(np.clip(near, 0, np.array(data.shape[:3])[:, None] - 1))
    return temporal_snr(data[..., index][where] for index in range(data.shape[3]))
