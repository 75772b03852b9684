"""Interface of the measures of quality and their pictures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ban_bids.preprocessing import quality
from ban_bids.preprocessing.files import load_image
from ban_bids.preprocessing.interfaces.base import Step
from ban_bids.preprocessing.quality_figures import quality_pictures
from ban_bids.preprocessing.space.template import Grid


class Quality(Step, files="tsnr", measurements=list[dict], carpets=list[Path]):
    """Measures of quality of a participant, maps of signal-to-noise, carpets."""

    @staticmethod
    def compute(
        *,
        names: list[str],
        sessions: list[str],
        repetition_times: list[float],
        non_steady: list[int],
        masks: list[Path],
        confounds: list[Path],
        signals: list[Path],
        references: list[Path],
        matrices: list[Path],
        from_t1w: bool,
        t1w_mask: Path,
        correlation: float,
        dseg: Path,
        table: Path,
        folder: Path,
    ) -> dict[str, Any]:
        """Measure.

        ``sessions`` are empty text where there is none, ``signals`` hold tSNR and carpet of every run, ``from_t1w``
        says whether the anatomy is a T1w image, ``correlation`` is the anatomy's with the template.
        """
        columns = (names, sessions, masks, confounds, signals, non_steady, repetition_times)
        runs = [quality.RunFiles(*row) for row in zip(*columns, strict=True)]
        labels, affine = load_image(dseg)
        auditory = labels > 0
        measurements = [one for run in runs for one in quality.signal_measures(run, auditory)]
        measurements += quality.match_measures(runs, references, matrices, t1w_mask)
        fit = "registration_correlation" if from_t1w else "bold_template_fit"
        measurements += quality.measured({fit: correlation})
        measurements += quality.brain_volume(t1w_mask)
        if not from_t1w:
            measurements = quality.without_t1w(measurements)
        measurements += quality.region_measures(pd.read_csv(table, sep="\t"))
        grid = Grid((labels.shape[0], labels.shape[1], labels.shape[2]), affine)
        tsnr, carpets = quality_pictures(runs, auditory, grid, folder)
        return {"measurements": [asdict(one) for one in measurements], "tsnr": tsnr, "carpets": carpets}
