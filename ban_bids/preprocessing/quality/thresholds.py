"""Measures of quality of a participant: values, thresholds, and the words of warnings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ban_bids.preprocessing.quality.definitions import DEFINITIONS, Definition
from ban_bids.preprocessing.regions import FEWEST_VOXELS

_NO_VALUES = "its data have no such values"


@dataclass(frozen=True)
class QualityThresholds:
    """Bounds beyond which a measure becomes a warning; ``<measure>_min`` and ``<measure>_max``.

    They ask for a look, they decide nothing: no run and no participant is left out for them.

    Parameters
    ----------
    tsnr_brain_min : float
        tSNR grows with the voxel's volume: about 20–40 at 2 mm, 50 and more at 3 mm and above (3 T). Under
        20 even large responses are hard to see in runs of minutes (Murphy et al. 2007).
    tsnr_ratio_min : float
        Under 1, with a margin for what rounding and other edges of the mask do.
    fd_mean_max, fd_high_share_max : float
        mm and %: common limits for leaving runs out (Power et al. 2014; Parkes et al. 2018).
    bold_t1w_dice_min : float
        BOLD masks lose frontal and temporal poles to dropout: .8–.95 is usual, a mismatch is far below.
    run_to_session_correlation_min : float
        Runs of a session that fit stand at .95 and above.
    registration_correlation_min : float
        Between people's brains and the template .8 is usual after SyN; affine failures are under .6.
    t1w_brain_volume_min, t1w_brain_volume_max : float
        mL; adults have 1000–1700 with the fluid around the brain.
    region_voxels_min : float
        Of fewer voxels a mean says little.
    region_coverage_min : float
        %; the rest was outside the field of view or not in grey matter.
    """

    tsnr_brain_min: float = 20.0
    tsnr_ratio_min: float = 0.95
    fd_mean_max: float = 0.5
    fd_high_share_max: float = 20.0
    bold_t1w_dice_min: float = 0.7
    run_to_session_correlation_min: float = 0.85
    registration_correlation_min: float = 0.6
    t1w_brain_volume_min: float = 800.0
    t1w_brain_volume_max: float = 2000.0
    region_voxels_min: float = float(FEWEST_VOXELS)
    region_coverage_min: float = 50.0

    def bounds(self, measure: str) -> tuple[float | None, float | None]:
        """Lower and upper bound of a measure; None where there is none."""
        return getattr(self, f"{measure}_min", None), getattr(self, f"{measure}_max", None)

    def text(self, measure: str) -> str | None:
        """When the measure warns, e.g. ``< 800 or > 2000``; None where it never does."""
        low, high = self.bounds(measure)
        parts = [] if low is None else [f"< {low:g}"]
        parts += [] if high is None else [f"> {high:g}"]
        return " or ".join(parts) or None


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

    def beyond(self, thresholds: QualityThresholds) -> bool:
        """Whether the value lies beyond a threshold."""
        low, high = thresholds.bounds(self.measure)
        # comparisons with NaN are false: what is not available does not warn
        return (low is not None and self.value < low) or (high is not None and self.value > high)


def measured(
    values: Iterable[tuple[str, float]], run: str | None = None, region: str | None = None
) -> list[Measurement]:
    """Measurements of one run, region or participant; a NaN gets the reason that it could not be computed."""
    return [
        Measurement(name, value, run, region, None if math.isfinite(value) else "its data have no such values")
        for name, value in values
    ]


def unavailable(names: Sequence[str], reason: str, run: str | None = None) -> list[Measurement]:
    """Measurements that could not be made, and why."""
    return [Measurement(name, math.nan, run, None, reason) for name in names]


def quality_notes(measurements: Iterable[Measurement], thresholds: QualityThresholds | None = None) -> tuple[str, ...]:
    """One line for every measure beyond its threshold: where, measure, value, threshold, what to do."""
    limits = thresholds or QualityThresholds()
    return tuple(_note(one, limits) for one in measurements if one.beyond(limits))


def _note(one: Measurement, thresholds: QualityThresholds) -> str:
    known = one.definition
    low, high = thresholds.bounds(one.measure)
    under = low is not None and one.value < low
    bound = low if under else high
    unit = {"1": "", "count": "", "%": " %"}.get(known.unit, f" {known.unit}")
    where = one.run or (f"region {one.region}" if one.region else "")
    start = f"{where}: " if where else ""
    side = "under" if under else "above"
    value = f"{one.value:.0f}" if abs(one.value) >= 100 else f"{one.value:.3g}"
    return f"{start}{known.title} {value}{unit}, {side} {bound:g}{unit}; {known.remedy}"
