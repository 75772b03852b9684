"""Quality of preprocessing: what each measure is, when it warns, how it is computed.

The measures are those that warn, and what one needs to judge them. They ask for a look, they decide nothing: no
run and no participant is left out for them.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ban_bids.files.tsv import read_tsv
from ban_bids.preprocessing.confounds import FD_OUTLIER, framewise_displacement_of
from ban_bids.preprocessing.files import load_image, load_mask
from ban_bids.preprocessing.masks import epi_mask
from ban_bids.preprocessing.space.resample import inside_image
from ban_bids.preprocessing.space.template import mask_grid
from ban_bids.preprocessing.space.transforms import apply_affine, sample
from ban_bids.typing import Floats

_WORKING = 2.0
_NO_T1W = "there is no T1w image"
_OF_T1W = ("bold_t1w_dice", "t1w_brain_volume")
_NO_VALUES = "its data have no such values"
_NO_REGION = {"region_voxels": math.nan, "region_coverage": math.nan}
_FIRST = "it is its session's first run, to which the others are compared"


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
    worse : {"low", "high", "both"}
        Which side is bad.
    low, high : float, optional
        Bounds beyond which a value becomes a warning.
    remedy : str
        What to do about such a value.
    """

    name: str
    title: str
    unit: str
    scope: Literal["run", "participant", "region"]
    description: str
    source: str
    worse: Literal["low", "high", "both"]
    low: float | None = None
    high: float | None = None
    remedy: str = ""

    @property
    def threshold(self) -> str | None:
        """When the measure warns, e.g. ``< 800 or > 2000``; None where it never does."""
        bounds = ((sign, bound) for sign, bound in (("<", self.low), (">", self.high)) if bound is not None)
        return " or ".join(f"{sign} {bound:g}" for sign, bound in bounds) or None


_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

DEFINITIONS = MappingProxyType({name: Definition(name, **entries) for name, entries in _TABLE.items()})
"""Every measure by its name, in the order of the tables."""


@dataclass(frozen=True)
class Measurement:
    """One value of one measure.

    Parameters
    ----------
    measure : str
        Key of :data:`DEFINITIONS`.
    value : float
        NaN: not available.
    run, region : str, optional
        What it belongs to; neither: the participant.
    reason : str, optional
        Why it is not available.
    """

    measure: str
    value: float
    run: str | None = None
    region: str | None = None
    reason: str | None = None

    @property
    def definition(self) -> Definition:
        """What it is."""
        return DEFINITIONS[self.measure]

    @property
    def beyond(self) -> float | None:
        """The bound that the value lies beyond, if any; what is not available does not warn."""
        known = self.definition
        if known.low is not None and self.value < known.low:
            return known.low
        return known.high if known.high is not None and self.value > known.high else None


def measured(
    values: Mapping[str, float], run: str | None = None, *, region: str | None = None, reason: str = _NO_VALUES
) -> list[Measurement]:
    """Measurements of one run, region or participant; a NaN gets the reason why it is not available."""
    return [
        Measurement(name, value, run, region, None if math.isfinite(value) else reason)
        for name, value in values.items()
    ]


def quality_notes(measurements: Iterable[Measurement]) -> tuple[str, ...]:
    """One line for every measure beyond its threshold: where, measure, value, threshold, what to do."""
    return tuple(_note(one, one.beyond) for one in measurements if one.beyond is not None)


def _note(one: Measurement, bound: float) -> str:
    known = one.definition
    unit = {"1": "", "count": "", "%": " %"}.get(known.unit, f" {known.unit}")
    where = one.run or (f"region {one.region}" if one.region else "")
    start = f"{where}: " if where else ""
    side = "under" if one.value < bound else "above"
    value = f"{one.value:.0f}" if abs(one.value) >= 100 else f"{one.value:.3g}"
    return f"{start}{known.title} {value}{unit}, {side} {bound:g}{unit}; {known.remedy}"


def mean_and_noise(volumes: Iterable[Floats]) -> tuple[Floats, Floats]:
    """Mean of every voxel's series, and its standard deviation about a straight line.

    Parameters
    ----------
    volumes : iterable of ndarray, shape (n_voxels,)
        At least three, one after the other: the whole series need not be in memory.

    Returns
    -------
    mean, noise : ndarray, shape (n_voxels,)
        In the units of the series; the divisor is the number of volumes.
    """
    stream = iter(volumes)
    # sums of differences to the first volume: those of the values themselves would cancel badly
    first = np.array(next(stream), float)
    total, squares, moment = (np.zeros_like(first) for _ in range(3))
    n = 1
    for volume in stream:
        step = volume - first
        total += step
        moment += n * step
        squares += step * step
        n += 1
    slope = moment - (n - 1) / 2 * total
    left = squares - total**2 / n - slope**2 / (n * (n**2 - 1) / 12)
    return first + total / n, np.sqrt(np.maximum(left, 0.0) / n)


def temporal_snr(volumes: Iterable[Floats]) -> Floats:
    """Temporal signal-to-noise ratio: mean over standard deviation in time, without a linear trend.

    Parameters
    ----------
    volumes : iterable of ndarray, shape (n_voxels,)
        Volumes in the steady state.

    Returns
    -------
    ndarray, shape (n_voxels,)
        NaN where a voxel does not vary.

    References
    ----------
    Krueger & Glover 2001, Magnetic Resonance in Medicine 46, 631; taken after removal of a line.
    """
    return ratio(*mean_and_noise(volumes))


def ratio(mean: Floats, noise: Floats) -> Floats:
    """Mean over noise; NaN where a voxel does not vary."""
    vary = noise > 1e-6 * np.abs(mean)
    return np.where(vary, mean / np.where(vary, noise, 1.0), np.nan)


def median(values: Floats) -> float:
    """Median of what is finite; NaN of nothing."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else math.nan


def normalised_mutual_information(one: Floats, other: Floats, bins: int = 32) -> float:
    """How well each of two images tells the other: 1 not at all, 2 completely.

    Parameters
    ----------
    one, other : ndarray, shape (n,)
        Values at the same places.
    bins : int
        Of each side of the joint histogram, between the 0.5th and 99.5th percentile.

    Returns
    -------
    float
        ``(H(one) + H(other)) / H(one, other)``.

    References
    ----------
    Studholme, Hill & Hawkes 1999, Pattern Recognition 32, 71.
    """
    from sklearn.metrics import normalized_mutual_info_score

    limits = [np.percentile(values, [0.5, 99.5]) for values in (one, other)]
    binned = [np.digitize(v, np.linspace(low, high, bins + 1)[1:-1]) for v, (low, high) in zip((one, other), limits)]
    # scikit-learn's is 2 I / (H + H), and H(one, other) = H + H - I
    return 2 / (2 - float(normalized_mutual_info_score(*binned)))


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Overlap of two masks, ``2 |A and B| / (|A| + |B|)``; NaN where both are empty.

    References
    ----------
    Dice 1945, Ecology 26, 297.
    """
    size = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / size if size else math.nan


def correlation(one: Floats, other: Floats) -> float:
    """Pearson's r of two images at the same places; NaN where one does not vary."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(np.corrcoef(one, other)[0, 1])


@dataclass(frozen=True)
class RunFiles:
    """What one run's measures are made from.

    Parameters
    ----------
    name, session : str
        Session empty where there is none.
    mask, confounds, quality : Path
        Output mask, confounds table, and npz of :func:`ban_bids.preprocessing.quality_figures.save_run_quality`.
    non_steady : int
    repetition_time : float
        Seconds.
    """

    name: str
    session: str
    mask: Path
    confounds: Path
    quality: Path
    non_steady: int
    repetition_time: float


def signal_measures(run: RunFiles, auditory: NDArray[np.bool_]) -> list[Measurement]:
    """Signal-to-noise and head motion of a run.

    Parameters
    ----------
    run : RunFiles
    auditory : ndarray of bool, shape (nx, ny, nz)
        Voxels of the auditory regions on the output grid.
    """
    with np.load(run.quality) as stored:
        after, before = stored["after"], median(stored["before"])
    moved = framewise_displacement_of(read_tsv(run.confounds, foreign=True))
    moved = moved[np.isfinite(moved)]
    brain = median(after)
    values = {
        "tsnr_brain": brain,
        "tsnr_auditory": median(after[auditory[load_mask(run.mask)]]),
        "tsnr_ratio": brain / before if before > 0 else math.nan,
        "fd_mean": float(moved.mean()) if moved.size else math.nan,
        "fd_high_share": 100 * float(np.mean(moved > FD_OUTLIER)) if moved.size else math.nan,
        "non_steady_volumes": float(run.non_steady),
    }
    return measured(values, run.name)


def match_measures(
    runs: Sequence[RunFiles], references: Sequence[Path], matrices: Sequence[Path], t1w_mask: Path
) -> list[Measurement]:
    """How well every run's reference lies on the T1w image, and on its session's first run.

    Compared at 2 mm over the T1w image's brain and its surroundings, where the run has a field of view.

    Parameters
    ----------
    runs : sequence of RunFiles
    references, matrices : sequence of Path
        Of every run the BOLD reference, and T1w world → its world.
    t1w_mask : Path
    """
    brain_image, affine = load_image(t1w_mask)
    points = mask_grid(brain_image > 0.5, affine, _WORKING, pad=12).points()
    brain = sample(brain_image, affine, points) > 0.5
    overlaps: list[Measurement] = []
    seen_through = []
    for run, reference, matrix in zip(runs, references, matrices, strict=True):
        image, bold_affine = load_image(reference)
        moved = apply_affine(np.loadtxt(matrix), points)
        seen = inside_image(image.shape, bold_affine, moved)
        outline = sample(epi_mask(image).astype(np.float32), bold_affine, moved) > 0.5
        overlaps += measured({"bold_t1w_dice": dice(outline & seen, brain & seen)}, run.name)
        seen_through.append((run, sample(image, bold_affine, moved), brain & seen))
    return overlaps + session_fit(seen_through)


def session_fit(references: Iterable[tuple[RunFiles, Floats, NDArray[np.bool_]]]) -> list[Measurement]:
    """Correlation of every run's image with that of its session's first run.

    Parameters
    ----------
    references : iterable of (RunFiles, ndarray of shape (n,), ndarray of bool of shape (n,))
        Values at the same places, and where they count.
    """
    firsts: dict[str, tuple[Floats, NDArray[np.bool_]]] = {}
    result: list[Measurement] = []
    for run, values, inside in references:
        first, first_inside = firsts.setdefault(run.session, (values, inside))
        both = inside & first_inside
        fit, reason = (math.nan, _FIRST) if first is values else (correlation(values[both], first[both]), _NO_VALUES)
        result += measured({"run_to_session_correlation": fit}, run.name, reason=reason)
    return result


def brain_volume(mask: Path) -> list[Measurement]:
    """Volume of the T1w image's brain mask."""
    image, affine = load_image(mask)
    volume = int((image > 0.5).sum()) * abs(float(np.linalg.det(affine[:3, :3]))) / 1000
    return measured({"t1w_brain_volume": volume})


def without_t1w(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The same with what is said about a T1w image not available: a BOLD reference stood in for it."""
    return [replace(one, value=math.nan, reason=_NO_T1W) if one.measure in _OF_T1W else one for one in measurements]


def region_measures(table: pd.DataFrame) -> list[Measurement]:
    """Voxels of every region and their share of the atlas's.

    Parameters
    ----------
    table : DataFrame
        Columns ``name``, ``n_voxels``, ``n_voxels_atlas``; counts are missing where the atlas lacks a region.
    """
    counts = table[["n_voxels", "n_voxels_atlas"]].astype("Float64").to_numpy(float, na_value=math.nan).tolist()
    result: list[Measurement] = []
    for name, (kept, whole) in zip(table["name"].astype(str), counts):
        values = {"region_voxels": kept, "region_coverage": 100 * kept / whole} if whole > 0 else _NO_REGION
        result += measured(values, region=name, reason=f"the atlas has no voxel of {name} on the output grid")
    return result
