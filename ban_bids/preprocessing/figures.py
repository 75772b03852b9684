"""Pictures for the report: outlines of one image on another, head motion, regions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from nilearn import image, plotting

from ban_bids.constants import REGIONS
from ban_bids.files.tsv import read_tsv
from ban_bids.preprocessing.confounds import MOTION, framewise_displacement_of
from ban_bids.preprocessing.files import load_image
from ban_bids.preprocessing.space.template import mask_grid, template_brain
from ban_bids.preprocessing.space.transforms import apply_affine, sample
from ban_bids.typing import Floats

matplotlib.use("Agg")

Map = Callable[[Floats], Floats]
_DPI = 80
_OUTLINE_FWHM = 2.8
"""Smoothing of white matter before it is outlined, mm: its finest folds would cover the picture."""
_COLOURS = ("#e6194b", "#ffb000", "#3cb44b", "#4da6ff")


def cut_coords(mask: nib.Nifti1Image, n: int, edge: float = 0.06) -> dict[str, list[float]]:
    """Places of slices, mm: quantiles of a mask's voxels along x, y and z, so that they lie where it is."""
    voxels = np.argwhere(np.asarray(mask.dataobj) > 0.5)
    places = np.quantile(nib.affines.apply_affine(mask.affine, voxels), np.linspace(edge, 1 - edge, n), axis=0)
    return {axis: np.unique(coordinates.round(1)).tolist() for axis, coordinates in zip("xyz", places.T)}


def brightest(values: Floats) -> float:
    """End of a grey scale: some room above white matter, or outlines on it could not be seen."""
    positive = values[values > 0]
    return 1.15 * float(np.percentile(positive, 99.5)) if positive.size else 1.0


def _mosaic(
    anatomical: Path, contours: Sequence[tuple[Any, float, str]], cuts: Mapping[str, Sequence[float]], path: Path
) -> Path:
    """Three rows (sagittal, coronal, axial) of slices with outlines: image, level, colour."""
    display = plotting.plot_anat(
        anatomical, display_mode="mosaic", cut_coords=cuts, black_bg=True, figure=plt.figure(figsize=(11, 6.8)),
        vmin=0, vmax=brightest(load_image(anatomical)[0]), colorbar=False,
    )  # fmt: skip
    for outlined, level, colour in contours:
        display.add_contours(outlined, levels=[level], colors=[colour], linewidths=0.7)
    display.savefig(path, dpi=_DPI)
    display.close()
    return path


def anatomy(t1w: Path, mask: Path, folder: Path) -> Path:
    """T1w image with the outline of the brain mask."""
    return _mosaic(t1w, [(mask, 0.5, "red")], cut_coords(nib.load(mask), 5), folder / "anatomy.png")


def normalization(warped: Path, folder: Path) -> Path:
    """T1w brain in the template's space with outlines of the template's brain and of its white matter."""
    template = nib.load(template_brain())
    values = np.asarray(template.dataobj)
    white = 0.95 * float(np.percentile(values[values > 1e-3], 75))
    outlines = [(template, 1.0, "red"), (image.smooth_img(template, _OUTLINE_FWHM), white, "cyan")]
    return _mosaic(warped, outlines, cut_coords(template, 5), folder / "normalization.png")


def coregistration(
    references: Sequence[Path], matrices: Sequence[Path], names: Sequence[str], *, mask: Path, wm: Path, folder: Path
) -> Path:
    """BOLD references on the T1w image's axes with its brain and white-matter outlines, one row per run."""
    maps = [partial(apply_affine, np.loadtxt(matrix)) for matrix in matrices]
    return _references(list(zip(references, maps, names)), mask, wm, folder / "coregistration.png")


def distortion(reference: Path, maps: tuple[Map, Map], mask: Path, wm: Path, path: Path) -> Path:
    """One BOLD reference with the T1w image's outlines, seen through two maps: before and after."""
    rows = [(reference, through, name) for through, name in zip(maps, ("before", "after"))]
    return _references(rows, mask, wm, path)


def _references(rows: Sequence[tuple[Path, Map, str]], mask: Path, wm: Path, path: Path) -> Path:
    """Rows of a BOLD reference, the map from T1w points to it, and its name."""
    brain = nib.load(mask)
    grid = mask_grid(np.asarray(brain.dataobj) > 0.5, brain.affine, 1.5, pad=6)
    points = grid.points()
    inside = sample(*load_image(mask), points) > 0.5
    # on the grid once: nilearn turns an oblique image onto straight axes anew for each display, seconds a row
    outlined = [
        (nib.Nifti1Image(sample(values, affine, points).reshape(grid.shape).astype(np.float32), grid.affine), colour)
        for (values, affine), colour in ((load_image(mask), "red"), (_smoothed(wm), "cyan"))
    ]
    cuts = {axis: cut_coords(brain, n, edge=0.2)[axis] for axis, n in (("x", 2), ("y", 2), ("z", 3))}
    figure = plt.figure(figsize=(14, 2.1 * len(rows)), facecolor="black")
    axes_of = figure.subplots(len(rows), len(cuts), squeeze=False, width_ratios=(2.4, 2.0, 2.6))
    figure.subplots_adjust(0, 0, 1, 1, 0, 0)
    for row, (reference, through, name) in zip(axes_of, rows):
        values = sample(*load_image(reference), through(points))
        seen = nib.Nifti1Image(values.reshape(grid.shape), grid.affine)
        for axes, (axis, places) in zip(row, cuts.items()):
            display = plotting.plot_anat(
                seen, display_mode=axis, cut_coords=places, axes=axes, figure=figure, black_bg=True, colorbar=False,
                vmin=0, vmax=float(np.percentile(values[inside], 99.5)),
            )  # fmt: skip
            for outline, colour in outlined:
                display.add_contours(outline, levels=[0.5], colors=[colour], linewidths=0.7)
        corner = row[0].get_position()
        figure.text(corner.x0 + 0.002, corner.y1 - 0.002, name, color="white", fontsize=8, va="top")
    figure.savefig(path, dpi=_DPI, facecolor="black")
    plt.close(figure)
    return path


def _smoothed(wm: Path) -> tuple[Floats, Floats]:
    """White matter without its finest folds, and its affine."""
    white = image.smooth_img(wm, _OUTLINE_FWHM)
    return np.asarray(white.dataobj), white.affine


def motion(confounds: Sequence[Path], names: Sequence[str], folder: Path) -> Path:
    """Translations, rotations and framewise displacement of every run."""
    figure, rows = plt.subplots(3, 1, figsize=(11, 5.5), sharex=True, layout="constrained")
    tables = [read_tsv(path, foreign=True) for path in confounds]
    starts = np.cumsum([0, *(len(table) for table in tables)])
    for start, table in zip(starts, tables):
        time = np.arange(len(table)) + start
        rows[0].plot(time, table[list(MOTION[:3])], lw=0.8)
        rows[1].plot(time, np.rad2deg(table[list(MOTION[3:])]), lw=0.8)
        rows[2].plot(time, framewise_displacement_of(table), color="0.2", lw=0.8)
        for axes in rows:
            axes.set_prop_cycle(None)  # the same colours in every run
    for axes, label in zip(rows, ("translation, mm", "rotation, degrees", "FD, mm")):
        for start in starts[:-1]:
            axes.axvline(start, color="0.7", lw=0.6)
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    for start, name in zip(starts, names):
        rows[0].text(start, 1.02, name, fontsize=6, transform=rows[0].get_xaxis_transform(), rotation=12)
    for axes in rows[:2]:
        axes.legend(axes.lines[:3], "xyz", fontsize=7, loc="upper right")
    rows[2].set_xlabel("volume, runs in order")
    figure.savefig(folder / "motion.png", dpi=_DPI)
    plt.close(figure)
    return folder / "motion.png"


def regions(t1w: Path, dseg: Path, folder: Path) -> Path:
    """Auditory regions over the T1w image in the output space."""
    labels = np.asarray(nib.load(dseg).dataobj)
    figure = plt.figure(figsize=(11, 6.8))
    display = plotting.plot_roi(
        dseg, bg_img=t1w, display_mode="mosaic", cut_coords=cut_coords(nib.load(dseg if labels.any() else t1w), 5),
        cmap=matplotlib.colors.ListedColormap(_COLOURS), vmin=1, vmax=len(_COLOURS), alpha=0.8, colorbar=False,
        black_bg=True, dim=0, figure=figure,
    )  # fmt: skip
    for number, (name, colour) in enumerate(zip(REGIONS, _COLOURS)):
        title = name if (labels == number + 1).any() else f"({name})"
        figure.text(0.4 + 0.06 * number, 0.005, title, color=colour, fontsize=11)
    display.savefig(folder / "regions.png", dpi=_DPI)
    display.close()
    return folder / "regions.png"
