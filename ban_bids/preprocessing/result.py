"""What preprocessing hands to the later stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.quality import Measurement


@dataclass(frozen=True)
class PreprocessedRun:
    """A run in the output space.

    Parameters
    ----------
    run : Run
    bold, mask, confounds : Path
        Series, brain mask on the same grid, and table with fMRIPrep's column names.
    t_ref : float
        Seconds on the run's clock that the first volume's samples refer to: volume k ↔ ``k * TR + t_ref``, or as long
        after ``t_ref`` as it began after the first one.
    non_steady : int
        Leading volumes to leave out as rows.
    scrubbed : tuple of int
        Further volumes to leave out.
    regressors : tuple of str
        Columns of ``confounds`` to regress out before encoding.
    """

    run: Run
    bold: Path
    mask: Path
    confounds: Path
    t_ref: float
    non_steady: int
    scrubbed: tuple[int, ...] = ()
    regressors: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreprocessedParticipant:
    """A participant in the output space.

    Parameters
    ----------
    participant : Participant
    space : str
    runs : tuple of PreprocessedRun
        In the participant's order.
    cortex : Path
        Mask of the voxels to predict: cortical grey matter that every run covers, on the output grid.
    dseg, dseg_table : Path
        Auditory regions, labels 1–4 (``index name abbreviation n_voxels`` in the table).
    source : str
        ``"ban-bids"`` or ``"fmriprep-<version>"``.
    figures : tuple of (str, Path)
        Title and image for the report.
    quality : tuple of Measurement
        Measures of quality; those beyond a threshold stand in the notes too.
    notes : tuple of str
        What deviates or deserves a look.
    """

    participant: Participant
    space: str
    runs: tuple[PreprocessedRun, ...]
    cortex: Path
    dseg: Path
    dseg_table: Path
    source: str
    figures: tuple[tuple[str, Path], ...] = ()
    quality: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = ()
