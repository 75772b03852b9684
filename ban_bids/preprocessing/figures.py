"""Pictures for the report: outlines of one image on another, head motion, regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import ndimage  # noqa: E402

from ban_bids.constants import REGIONS  # noqa: E402
from ban_bids.preprocessing.confounds import MOTION, framewise_displacement_of, read_confounds  # noqa: E402
from ban_bids.preprocessing.files import load_image  # noqa: E402
from ban_bids.preprocessing.space.template import mask_grid, template_brain  # noqa: E402
from ban_bids.preprocessing.space.transforms import apply_affine, sample  # noqa: E402
from ban_bids.typing import Floats, Volume  # noqa: E402

Map = Callable[[Floats], Floats]
_DPI = 80
_OUTLINE_MM = 1.2
"""Smoothing of white matter before it is outlined: its finest folds would cover the picture."""
_COLOURS = ("#e6194b", "#ffb000", "#3cb44b", "#4da6ff")


def _through(mask: NDArray[np.bool_], axis: int, n: int) -> list[int]:
    """Slices at quantiles of a mask's voxels: where the regions are, on both sides."""
    return [int(i) for i in np.quantile(np.nonzero(mask)[axis], np.linspace(0.1, 0.9, n))]


def _slices(mask: NDArray[np.bool_], axis: int, n: int) -> list[int]:
    present = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    return [int(i) for i in np.linspace(present[0], present[-1], n + 2)[1:-1]]


def _show(
    axes: plt.Axes, image: Volume, axis: int, index: int, contours: Sequence[tuple[Volume, str]], top: float
) -> None:
    axes.imshow(np.take(image, index, axis).T, cmap="gray", origin="lower", vmin=0, vmax=top)
    for mask, colour in contours:
        plane = np.take(mask, index, axis).T
        if plane.max() > 0.5 > plane.min():
            axes.contour(plane, levels=[0.5], colors=[colour], linewidths=0.7)
    axes.set_axis_off()


def _sides(axes: plt.Axes, axis: int) -> None:
    """Say which side is which: images have rising world coordinates, the left hemisphere on the left."""
    for x, side in zip((0.03, 0.97), "PA" if axis == 0 else "LR"):
        axes.text(x, 0.02, side, color="0.75", fontsize=7, ha="center", transform=axes.transAxes)


def _mosaic(
    image: Volume,
    contours: Sequence[tuple[Volume, str]],
    within: NDArray[np.bool_],
    path: Path,
    title: str = "",
) -> Path:
    """Three rows (sagittal, coronal, axial) of five slices with outlines."""
    figure, grid = plt.subplots(3, 5, figsize=(11, 6.8), facecolor="black")
    positive = image[image > 0]
    # some room above white matter, or outlines on it cannot be seen
    top = 1.15 * float(np.percentile(positive, 99.5)) if positive.size else 1.0
    for axis in range(3):
        for axes, index in zip(grid[axis], _slices(within, axis, 5)):
            _show(axes, image, axis, index, contours, top)
        _sides(grid[axis, 0], axis)
    figure.suptitle(title, color="white", fontsize=10)
    figure.subplots_adjust(0, 0, 1, 0.95, 0.01, 0.01)
    figure.savefig(path, dpi=_DPI, facecolor="black")
    plt.close(figure)
    return path


def anatomy(t1w: str, mask: str, folder: Path) -> Path:
    """T1w image with the outline of the brain mask."""
    image, affine = load_image(t1w)
    brain = load_image(mask)[0]
    grid = mask_grid(brain > 0.5, affine, 1.5, pad=20)
    points = grid.points()
    picture = sample(image, affine, points).reshape(grid.shape)
    outline = sample(brain, affine, points).reshape(grid.shape)
    return _mosaic(picture, [(outline, "red")], outline > 0.5, folder / "anatomy.png")


def normalization(warped: str, folder: Path) -> Path:
    """T1w brain in the template's space with outlines of the template's brain and of its white matter."""
    image, affine = load_image(warped)
    template, template_affine = load_image(template_brain())
    indices = np.indices(image.shape).reshape(3, -1).astype(float)
    on_grid = sample(template, template_affine, apply_affine(affine, indices)).reshape(image.shape)
    brain = (on_grid > 1e-3).astype(np.float32)
    bright = on_grid / np.percentile(on_grid[on_grid > 1e-3], 75) - 0.45
    bright = np.clip(ndimage.gaussian_filter(bright, _OUTLINE_MM / 2.0), 0, 1).astype(np.float32)
    order = _to_ras(affine)
    image, brain, bright = (order(part) for part in (image, brain, bright))
    return _mosaic(image, [(brain, "red"), (bright, "cyan")], brain > 0.5, folder / "normalization.png")


def _to_ras(affine: Floats):  # type: ignore[no-untyped-def]
    """Function that flips a volume of axis-aligned voxels to rising world coordinates."""
    flips = tuple(slice(None, None, -1) if affine[a, a] < 0 else slice(None) for a in range(3))
    return lambda volume: volume[flips]


def coregistration(
    references: Sequence[str],
    matrices: Sequence[str],
    names: Sequence[str],
    mask: str,
    wm: str,
    folder: Path,
) -> Path:
    """BOLD references on the T1w image's axes with its brain and white-matter outlines, a row a run."""
    maps = [partial(apply_affine, np.loadtxt(matrix)) for matrix in matrices]
    return _references(list(zip(references, maps, names)), mask, wm, folder / "coregistration.png")


def distortion(reference: str, maps: tuple[Map, Map], mask: str, wm: str, path: Path) -> Path:
    """One BOLD reference with the T1w image's outlines, seen through two maps: before and after."""
    rows = [(reference, through, name) for through, name in zip(maps, ("before", "after"))]
    return _references(rows, mask, wm, path)


def _references(rows: Sequence[tuple[str, Map, str]], mask: str, wm: str, path: Path) -> Path:
    """Rows of a BOLD reference, the map from T1w points to it, and its name."""
    brain, affine = load_image(mask)
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    white = ndimage.gaussian_filter(load_image(wm)[0], _OUTLINE_MM / voxel)
    grid = mask_grid(brain > 0.5, affine, 1.5, pad=6)
    points = grid.points()
    outlines = [
        (sample(part, affine, points).reshape(grid.shape), colour) for part, colour in ((brain, "red"), (white, "cyan"))
    ]
    planes = [(axis, i) for axis, n in ((0, 2), (1, 2), (2, 3)) for i in _slices(outlines[0][0] > 0.5, axis, n)]
    figure, axes_of = plt.subplots(
        len(rows), len(planes), figsize=(14, 2.1 * len(rows) + 0.1), facecolor="black", squeeze=False
    )
    for row, (reference, through, name) in zip(axes_of, rows):
        image, bold_affine = load_image(reference)
        picture = sample(image, bold_affine, through(points)).reshape(grid.shape)
        top = float(np.percentile(picture[outlines[0][0] > 0.5], 99.5))
        for axes, (axis, index) in zip(row, planes):
            _show(axes, picture, axis, index, outlines, top)
            _sides(axes, axis)
        row[0].text(0, 1, name, color="white", fontsize=7, transform=row[0].transAxes, va="top")
    figure.subplots_adjust(0, 0, 1, 1, 0.01, 0.01)
    figure.savefig(path, dpi=_DPI, facecolor="black")
    plt.close(figure)
    return path


def motion(confounds: Sequence[str], names: Sequence[str], folder: Path) -> Path:
    """Translations, rotations and framewise displacement of every run."""
    figure, rows = plt.subplots(3, 1, figsize=(11, 5.5), sharex=True)
    start, edges = 0, []
    for path in confounds:
        table = read_confounds(Path(path))
        time = np.arange(len(table)) + start
        for number, name in enumerate(MOTION):
            values = table[name] * (1 if number < 3 else 180 / np.pi)
            rows[number // 3].plot(time, values, color=f"C{number % 3}", lw=0.8)
        rows[2].plot(time, framewise_displacement_of(table), color="0.2", lw=0.8)
        edges.append(start)
        start += len(table)
    for axes, label in zip(rows, ("translation, mm", "rotation, degrees", "FD, mm")):
        for edge, name in zip(edges, names):
            axes.axvline(edge, color="0.7", lw=0.6)
            if axes is rows[0]:
                axes.text(edge, 1.02, name, fontsize=6, transform=axes.get_xaxis_transform(), rotation=12)
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in rows[:2]:
        axes.legend([plt.Line2D([], [], color=f"C{i}") for i in range(3)], "xyz", fontsize=7, loc="upper right")
    rows[2].set_xlabel("volume, runs in order")
    figure.tight_layout()
    figure.savefig(folder / "motion.png", dpi=_DPI)
    plt.close(figure)
    return folder / "motion.png"


def regions(t1w: str, dseg: str, folder: Path) -> Path:
    """Auditory regions over the T1w image in the output space."""
    image, _ = load_image(t1w)
    labels = load_image(dseg)[0]
    within = labels > 0 if labels.any() else image > 0
    top = float(np.percentile(image[image > 0], 99.5))
    figure, grid = plt.subplots(3, 5, figsize=(11, 6.8), facecolor="black")
    colours = matplotlib.colors.ListedColormap(_COLOURS)
    for axis in range(3):
        for axes, index in zip(grid[axis], _through(within, axis, 5)):
            _show(axes, image, axis, index, [], top)
            plane = np.take(labels, index, axis).T
            shown = np.ma.masked_equal(plane, 0)
            axes.imshow(shown, cmap=colours, vmin=0.5, vmax=4.5, origin="lower", interpolation="nearest", alpha=0.8)
        _sides(grid[axis, 0], axis)
    for number, (name, colour) in enumerate(zip(REGIONS, _COLOURS)):
        shown_name = name if (labels == number + 1).any() else f"({name})"
        figure.text(0.02 + 0.06 * number, 0.965, shown_name, color=colour, fontsize=11)
    figure.subplots_adjust(0, 0, 1, 0.95, 0.01, 0.01)
    figure.savefig(folder / "regions.png", dpi=_DPI, facecolor="black")
    plt.close(figure)
    return folder / "regions.png"
