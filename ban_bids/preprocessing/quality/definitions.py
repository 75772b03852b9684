"""What each measure of quality is: name, unit, definition, source, and what to do about a bad value."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Scope = Literal["run", "participant", "region"]
_KRUEGER = "Krueger & Glover 2001, Magn Reson Med 46, 631"
_POWER = "Power et al. 2012, NeuroImage 59, 2142"


@dataclass(frozen=True)
class Definition:
    """One measure, defined once for tables, notes and reports.

    Parameters
    ----------
    name : str
        Snake case.
    title : str
        In a few words, as the report's tables and the notes say it.
    unit : str
        ``1`` where there is none.
    scope : {"run", "participant", "region"}
        What has one value.
    description : str
        How it is computed.
    source : str
        Where the measure comes from.
    worse : {"low", "high", "both", ""}
        Which side is bad; empty where neither is.
    remedy : str
        What to do about a bad value.
    """

    name: str
    title: str
    unit: str
    scope: Scope
    description: str
    source: str
    worse: Literal["low", "high", "both", ""] = ""
    remedy: str = ""


_LEAVE_OUT = "look at the carpet plot and at head motion; --bids-filter-file leaves a run out"
_LOOK_T1W = "look at the pictures of the brain mask and of the normalisation"
_LOOK_BOLD = "look at the picture of the coregistration; --bids-filter-file leaves a run out"
_LOOK_REGION = "its figures rest on little: look at the regions' picture and at the field of view"

_TABLE = (
    Definition(
        "tsnr_brain",
        "tSNR, brain",
        "1",
        "run",
        "Median over the brain mask of temporal signal-to-noise (mean over standard deviation about a "
        "line, steady volumes) of the preprocessed run, unsmoothed",
        _KRUEGER,
        "low",
        _LEAVE_OUT,
    ),
    Definition(
        "tsnr_auditory",
        "tSNR, auditory",
        "1",
        "run",
        "The same over the auditory regions",
        _KRUEGER,
        "low",
        _LEAVE_OUT,
    ),
    Definition(
        "tsnr_brain_before",
        "tSNR before, brain",
        "1",
        "run",
        "Median tSNR of the raw run in the voxel nearest to each voxel of the brain mask",
        _KRUEGER,
        "low",
    ),
    Definition(
        "tsnr_auditory_before",
        "tSNR before, auditory",
        "1",
        "run",
        "The same nearest to the voxels of the auditory regions",
        _KRUEGER,
        "low",
    ),
    Definition(
        "tsnr_ratio",
        "tSNR after / before",
        "1",
        "run",
        "tsnr_brain over tsnr_brain_before: interpolation smooths a little and motion is taken out, so "
        "that it should not be under 1",
        "ban-bids",
        "low",
        "motion correction or slice timing did harm; look at head motion and at SliceTiming",
    ),
    Definition(
        "fd_mean",
        "mean FD",
        "mm",
        "run",
        "Mean framewise displacement, rotations at 50 mm",
        _POWER,
        "high",
        _LEAVE_OUT,
    ),
    Definition("fd_max", "largest FD", "mm", "run", "Largest framewise displacement", _POWER, "high"),
    Definition(
        "fd_high_share",
        "volumes over 0.5 mm FD",
        "%",
        "run",
        "Share of volumes with a framewise displacement above 0.5 mm",
        _POWER,
        "high",
        _LEAVE_OUT,
    ),
    Definition(
        "dvars_median",
        "median DVARS",
        "%",
        "run",
        "Median DVARS of steady volumes, in percent of the brain's median intensity",
        _POWER,
        "high",
    ),
    Definition(
        "std_dvars_median",
        "median std. DVARS",
        "1",
        "run",
        "Median of std_dvars of the confounds table over steady volumes",
        "Nichols 2013; fMRIPrep's column of that name",
        "high",
    ),
    Definition(
        "non_steady_volumes",
        "non-steady volumes",
        "count",
        "run",
        "Leading volumes that are left out as rows",
        "ban-bids",
        "high",
    ),
    Definition(
        "mask_volume",
        "BOLD mask",
        "mL",
        "run",
        "Volume of the run's brain mask in the output space",
        "ban-bids",
        "low",
    ),
    Definition(
        "bold_t1w_dice",
        "overlap with the T1w mask",
        "1",
        "run",
        "Dice overlap of the BOLD image's own brain mask and the T1w image's within the field of view",
        "Dice 1945, Ecology 26, 297",
        "low",
        _LOOK_BOLD,
    ),
    Definition(
        "bold_t1w_nmi",
        "mutual information with T1w",
        "1",
        "run",
        "Normalised mutual information, 1 to 2, of BOLD reference and T1w image in the T1w brain mask "
        "within the field of view",
        "Studholme et al. 1999, Pattern Recognit 32, 71",
        "low",
    ),
    Definition(
        "distortion_nmi_before",
        "mutual information before --use-syn-sdc",
        "1",
        "run",
        "Normalised mutual information, 1 to 2, of BOLD reference and T1w image at 3 mm in the T1w brain "
        "mask within the field of view, aligned rigidly",
        "Studholme et al. 1999, Pattern Recognit 32, 71",
    ),
    Definition(
        "distortion_nmi_after",
        "mutual information after --use-syn-sdc",
        "1",
        "run",
        "The same with the distortion reduced; the registration seeks it, so that it rises is no proof",
        "Studholme et al. 1999, Pattern Recognit 32, 71",
        "low",
    ),
    Definition(
        "distortion_shift",
        "95 % of distortion",
        "mm",
        "run",
        "95th percentile over the brain of the shift along the phase-encoding axis that was found",
        "ban-bids",
        "high",
    ),
    Definition(
        "run_to_session_correlation",
        "fit to the session's first run",
        "1",
        "run",
        "Correlation of the run's reference image with that of the session's first run, both as "
        "registered to the T1w image, in the brain mask",
        "ban-bids",
        "low",
        _LOOK_BOLD,
    ),
    Definition(
        "registration_correlation",
        "fit to the template",
        "1",
        "participant",
        "Correlation of the normalised T1w brain with the template inside the template's brain",
        "ban-bids",
        "low",
        _LOOK_T1W,
    ),
    Definition(
        "bold_template_fit",
        "fit of BOLD to the template",
        "1",
        "participant",
        "Without T1w image: multiple correlation of the normalised BOLD reference with the template's CSF, "
        "grey and white matter in its field of view",
        "ban-bids",
        "low",
    ),
    Definition(
        "t1w_brain_volume",
        "T1w brain mask",
        "mL",
        "participant",
        "Volume of the brain mask of the T1w image",
        "ban-bids",
        "both",
        _LOOK_T1W,
    ),
    Definition(
        "csf_share",
        "cerebrospinal fluid",
        "%",
        "participant",
        "Mean probability of cerebrospinal fluid in the T1w brain mask",
        "ban-bids",
    ),
    Definition(
        "grey_matter_share",
        "grey matter",
        "%",
        "participant",
        "Mean probability of grey matter in the T1w brain mask",
        "ban-bids",
    ),
    Definition(
        "white_matter_share",
        "white matter",
        "%",
        "participant",
        "Mean probability of white matter in the T1w brain mask",
        "ban-bids",
    ),
    Definition(
        "cortex_voxels",
        "voxels of cortex",
        "count",
        "participant",
        "Voxels of cortical grey matter that every run covers: those that are predicted",
        "ban-bids",
        "low",
    ),
    Definition(
        "region_voxels",
        "voxels",
        "count",
        "region",
        "Voxels of the region in grey matter and in every run's mask",
        "ban-bids",
        "low",
        _LOOK_REGION,
    ),
    Definition(
        "region_coverage",
        "share of the atlas's voxels",
        "%",
        "region",
        "region_voxels over the voxels that the atlas gives the region on the output grid",
        "ban-bids",
        "low",
        _LOOK_REGION,
    ),
)

DEFINITIONS: MappingProxyType[str, Definition] = MappingProxyType({one.name: one for one in _TABLE})
"""Every measure by its name, in the order of the tables."""
