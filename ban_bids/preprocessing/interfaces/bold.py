"""Interfaces of one BOLD run: motion, coregistration, distortion, resampling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.preprocessing import figures, functional
from ban_bids.preprocessing.distortion import Distortion, ToReference, find_distortion
from ban_bids.preprocessing.interfaces.base import Step
from ban_bids.preprocessing.space.template import Target
from ban_bids.preprocessing.space.transforms import Displacement
from ban_bids.typing import Floats


class ReferenceAndMotion(Step, files="reference mask motion", non_steady=int, notes=list[str]):
    """Steady state, two-pass realignment, reference, rough mask."""

    @staticmethod
    def compute(in_file: Path, folder: Path, dummy_scans: int | None = None) -> dict[str, Any]:
        """Realign a raw run; non-steady volumes are detected where they are not given."""
        files, non_steady, notes = functional.reference_and_motion(in_file, folder, dummy_scans)
        return {**files, "non_steady": non_steady, "notes": list(notes)}


class Coregister(Step, files="matrix"):
    """Rigid registration of a session's first BOLD reference to the T1w image.

    ``matrix``: T1w world to BOLD reference world, RAS, text.
    """

    @staticmethod
    def compute(*, reference: Path, reference_mask: Path, t1w: Path, t1w_mask: Path, folder: Path) -> dict[str, Any]:
        """Register a reference."""
        matrix = functional.coregister_session(reference, reference_mask, t1w, t1w_mask=t1w_mask, folder=folder)
        return _saved(matrix, folder)


class RunToSession(Step, files="matrix"):
    """Compose a run's alignment to its session's first run with that run's coregistration."""

    @staticmethod
    def compute(*, reference: Path, session_reference: Path, session_matrix: Path, folder: Path) -> dict[str, Any]:
        """Align a reference to its session's."""
        return _saved(functional.run_to_session(reference, session_reference) @ np.loadtxt(session_matrix), folder)


class FindDistortion(Step, files="field figure", notes=list[str]):
    """Distortion of a session's first BOLD reference along its phase-encoding axis.

    ``field``: ITK displacement field in BOLD reference world.
    """

    @staticmethod
    def compute(
        *,
        reference: Path,
        reference_mask: Path,
        t1w: Path,
        t1w_mask: Path,
        wm: Path,
        matrix: Path,
        axis: str,
        name: str,
        folder: Path,
    ) -> dict[str, Any]:
        """Register a reference, already coregistered, once more; ``axis``: PhaseEncodingDirection."""
        to_reference = np.loadtxt(matrix)
        distortion = find_distortion(
            reference, reference_mask, t1w, t1w_mask=t1w_mask, matrix=to_reference, axis=axis, folder=folder
        )
        maps = (ToReference(to_reference), ToReference(to_reference, to_reference, distortion.field))
        return {
            "field": distortion.field.save(folder / "distortion.nii.gz"),
            "notes": [f"{name}: --use-syn-sdc: {_in_words(distortion, axis[0])}"],
            "figure": figures.distortion(reference, maps, t1w_mask, wm, folder / "distortion.png"),
        }


class Resample(Step, files="bold mask confounds quality"):
    """Slice timing, one spatial interpolation, mask, confounds."""

    @staticmethod
    def compute(
        *,
        in_file: Path,
        motion: Path,
        matrix: Path,
        target: Path,
        non_steady: int,
        repetition_time: float,
        starts: list[float] | None = None,
        slice_timing: list[float] | None = None,
        direction: str = "k",
        middle: float = 0.0,
        field: Path | None = None,
        session_matrix: Path | None = None,
        folder: Path,
    ) -> dict[str, Any]:
        """Resample a raw run; ``field`` is the distortion of the run that ``session_matrix`` is of.

        ``starts``: seconds from the first volume to each, where intervals differ.
        """
        to_reference = ToReference(np.loadtxt(matrix))
        if field is not None and session_matrix is not None:
            to_reference = ToReference(to_reference.matrix, np.loadtxt(session_matrix), Displacement.load(field))
        slices = tuple(slice_timing) if slice_timing else None
        return functional.resample_to_target(
            in_file,
            motion,
            to_reference,
            target=Target.load(target),
            timing=functional.Timing(repetition_time, slices, direction, middle, tuple(starts) if starts else None),
            non_steady=non_steady,
            folder=folder,
        )


def _saved(matrix: Floats, folder: Path) -> dict[str, Any]:
    np.savetxt(folder / "matrix.txt", matrix, fmt="%.10f")
    return {"matrix": folder / "matrix.txt"}


def _in_words(distortion: Distortion, axis: str) -> str:
    """What was done, for the notes."""
    before, after = distortion.information
    if not after > before:
        return "registration to the T1w image found no distortion; images are left as they are"
    return (
        f"distortion along {axis} reduced by registration to the T1w image (normalised mutual information "
        f"{before:.3f} before, {after:.3f} after; 95 % of shifts under {distortion.shift:.1f} mm); later runs of "
        "the session with this phase encoding use the field through their alignment to this one"
    )
