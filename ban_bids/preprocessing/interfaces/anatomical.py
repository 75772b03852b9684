"""Interfaces of the anatomy: preparation, normalisation, output grid, regions."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, cast

from ban_bids.preprocessing import anatomy, regions
from ban_bids.preprocessing.interfaces.base import Step
from ban_bids.preprocessing.space.template import Target, make_target
from ban_bids.preprocessing.space.transforms import Normalization


class Prepared(TypedDict):
    """A bias-corrected T1w image in RAS, its brain mask and tissues; ``used``: numbers of the raw images in it."""

    t1w: Path
    mask: Path
    csf: Path
    gm: Path
    wm: Path
    used: list[int]
    notes: list[str]


class Normalized(TypedDict):
    """T1w ↔ template (see :func:`ban_bids.preprocessing.space.register.normalize`), and how well they fit."""

    affine: Path
    warp: Path
    inverse_warp: Path
    warped: Path
    to_template: Path
    from_template: Path
    correlation: float


class FromBold(Prepared, Normalized):
    """Both, and the reference on the run's grid to which runs are aligned, with the identity as its matrix."""

    reference: Path
    matrix: Path


class TargetFile(TypedDict):
    """See :class:`ban_bids.preprocessing.space.template.Target`."""

    target: Path


class RegionFiles(TypedDict):
    """Label image with its table, cortex, and the T1w image on the output grid."""

    dseg: Path
    table: Path
    cortex: Path
    t1w_in_space: Path
    measures: dict[str, float]
    notes: list[str]


class PrepareT1w(Step):
    """Average of several images, conform, N4, brain mask, tissue probabilities."""

    @staticmethod
    def compute(in_files: list[Path], folder: Path) -> Prepared:
        """Prepare raw T1w images."""
        image, used, notes = anatomy.average_t1w(in_files, folder)
        files = anatomy.prepare_t1w(image, folder)
        return cast(Prepared, {**files, "used": [in_files.index(path) for path in used], "notes": list(notes)})


class NormalizeT1w(Step):
    """Affine + SyN to MNI152NLin2009cAsym."""

    @staticmethod
    def compute(t1w: Path, mask: Path, folder: Path) -> Normalized:
        """Normalise a brain."""
        files, correlation = anatomy.normalize_t1w(t1w, mask, folder)
        return cast(Normalized, {**files, "correlation": correlation})


class AnatomyFromBold(Step):
    """Without T1w image: the first BOLD reference normalised itself, tissues from the template."""

    @staticmethod
    def compute(in_file: Path, folder: Path, dummy_scans: int | None = None) -> FromBold:
        """Take a raw run for the anatomy; non-steady volumes are detected where they are not given."""
        files, correlation = anatomy.anatomy_from_bold(in_file, folder, dummy_scans)
        notes = [anatomy.WITHOUT_T1W]
        return cast(FromBold, {**files, "correlation": correlation, "used": [], "notes": notes})


class MakeTarget(Step):
    """Output grid, brain voxels, their T1w coordinates and tissues."""

    @staticmethod
    def compute(
        *,
        mask: Path,
        csf: Path,
        wm: Path,
        affine: Path,
        warp: Path,
        inverse_warp: Path,
        space: str,
        resolution: float,
        folder: Path,
    ) -> TargetFile:
        """Make the output grid of a space and a voxel size."""
        normalization = Normalization.load(affine, warp, inverse_warp)
        target = make_target(mask, csf, wm, normalization=normalization, space=space, resolution=resolution)
        return {"target": target.save(folder / "target.npz")}


class Regions(Step):
    """Auditory regions and cortex of a participant on the output grid."""

    @staticmethod
    def compute(
        *,
        target: Path,
        t1w: Path,
        gm: Path,
        masks: list[Path],
        affine: Path,
        warp: Path,
        inverse_warp: Path,
        space: str,
        atlas: Path,
        atlas_table: Path,
        atlas_name: str,
        folder: Path,
    ) -> RegionFiles:
        """Look an atlas up; its image and its table are hashed by content."""
        files, maps = regions.make_regions(
            Target.load(target),
            masks,
            regions.AtlasFiles(atlas_name, atlas, atlas_table),
            normalization=Normalization.load(affine, warp, inverse_warp),
            space=space,
            gm=gm,
            t1w=t1w,
            folder=folder,
        )
        measures = {"cortex_voxels": float(maps.cortex.sum())}
        return cast(RegionFiles, {**files, "measures": measures, "notes": list(maps.notes)})
