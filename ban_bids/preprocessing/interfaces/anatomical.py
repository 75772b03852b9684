"""Interfaces of the anatomy: preparation, normalisation, output grid, regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ban_bids.preprocessing import anatomy, regions
from ban_bids.preprocessing.interfaces.base import Step
from ban_bids.preprocessing.space.template import Target, make_target
from ban_bids.preprocessing.space.transforms import Normalization

PREPARED = "t1w mask csf gm wm"
"""Bias-corrected T1w image in RAS, brain mask, probabilities of the tissues."""

NORMALIZED = "normalization warped to_template from_template"
"""See :func:`ban_bids.preprocessing.space.register.normalize`."""


class PrepareT1w(Step, files=PREPARED, used=list[int], notes=list[str]):
    """Average of several images, conform, N4, brain mask, tissue probabilities.

    ``used`` are the numbers, from 0, of the raw images that went into it.
    """

    @staticmethod
    def compute(in_files: list[Path], folder: Path) -> dict[str, Any]:
        """Prepare raw T1w images."""
        image, used, notes = anatomy.average_t1w(in_files, folder)
        files = anatomy.prepare_t1w(image, folder)
        return {**files, "used": [in_files.index(path) for path in used], "notes": list(notes)}


class NormalizeT1w(Step, files=NORMALIZED, correlation=float):
    """Affine + SyN to MNI152NLin2009cAsym; ``correlation``: with the template inside its mask."""

    @staticmethod
    def compute(t1w: Path, mask: Path, folder: Path, sloppy: bool = False) -> dict[str, Any]:
        """Normalise a brain."""
        files, correlation = anatomy.normalize_t1w(t1w, mask, folder, sloppy=sloppy)
        return {**files, "correlation": correlation}


class AnatomyFromBold(
    Step, files=f"{PREPARED} {NORMALIZED} reference matrix", correlation=float, used=list[int], notes=list[str]
):
    """Without T1w image: the first BOLD reference normalised itself, tissues from the template.

    ``reference``, on the run's grid, and ``matrix``, the identity, are what runs are aligned to.
    """

    @staticmethod
    def compute(in_file: Path, folder: Path, dummy_scans: int | None = None) -> dict[str, Any]:
        """Take a raw run for the anatomy; non-steady volumes are detected where they are not given."""
        files, correlation = anatomy.anatomy_from_bold(in_file, folder, dummy_scans)
        return {**files, "correlation": correlation, "used": [], "notes": [anatomy.WITHOUT_T1W]}


class MakeTarget(Step, files="target"):
    """Output grid, brain voxels, their T1w coordinates and tissues."""

    @staticmethod
    def compute(
        *, mask: Path, csf: Path, wm: Path, normalization: Path, space: str, resolution: float, folder: Path
    ) -> dict[str, Any]:
        """Make the output grid of a space and a voxel size."""
        to_template = Normalization.load(normalization)
        target = make_target(mask, csf, wm, normalization=to_template, space=space, resolution=resolution)
        return {"target": target.save(folder / "target.npz")}


class Regions(Step, files="dseg table cortex t1w_in_space", notes=list[str]):
    """Auditory regions and cortex of a participant on the output grid."""

    @staticmethod
    def compute(
        *,
        target: Path,
        t1w: Path,
        gm: Path,
        masks: list[Path],
        normalization: Path,
        space: str,
        atlas: Path,
        atlas_table: Path,
        atlas_name: str,
        folder: Path,
    ) -> dict[str, Any]:
        """Look an atlas up; its image and its table are hashed by content."""
        files, maps = regions.make_regions(
            Target.load(target),
            masks,
            regions.AtlasFiles(atlas_name, atlas, atlas_table),
            normalization=Normalization.load(normalization),
            space=space,
            gm=gm,
            t1w=t1w,
            folder=folder,
        )
        return {**files, "notes": list(maps.notes)}
