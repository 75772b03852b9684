"""A simulated output directory of many participants and models: tables, maps, draws, logs, as the pipeline writes them.

A few participants are made, each from numbers of its own; the others are the same files under other names (hard
links), since what is measured is reading them. Values are random; tables and draws agree, as the group level checks.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ban_bids.bids.names import bas_name, map_name, sidecar
from ban_bids.constants import AREAS, JOINT
from ban_bids.derivatives.dataset import write_dataset_files
from ban_bids.derivatives.draws import Draws, write_draws
from ban_bids.derivatives.maps import write_statmap
from ban_bids.derivatives.provenance import write_provenance, write_status
from ban_bids.derivatives.quality import write_quality
from ban_bids.derivatives.summaries import ModelSummary, ParticipantSummary, log_label, write_summary
from ban_bids.derivatives.tables import write_table
from ban_bids.encoding.repeats import Repeats
from ban_bids.preprocessing.quality import DEFINITIONS, Measurement
from ban_bids.scoring.bas import COLUMNS
from ban_bids.scoring.bootstrap import ClipStatistics, Estimate, clip_statistics
from ban_bids.scoring.comparison import KeptScore
from ban_bids.settings import Settings

SPACE, TASK = "MNI152NLin2009cAsym", "Test"
STATISTICS = ("r", "rsquare", "alpha", "ccnorm", "psound", "qsound", "pspecific", "qspecific", "share", "unique")
CONTROLS = tuple(f"untrained{seed}" for seed in range(1, 6))
LOW_LEVEL = ("logmel", "modulation")
_SHAPE = (97, 115, 97)
_AFFINE = np.array([[2.0, 0, 0, -96], [0, 2.0, 0, -132], [0, 0, 2.0, -78], [0, 0, 0, 1]])
_ROWS, _REPEATS, _VOXELS = 3, 4, 6
_RUNS = 6
_CONDITIONS = {"Version": "0.1", "Folds": "abc", "HeldOutRows": "def", "Atlas": "HCP-MMP1.0", "Lags": [0.0, 2.0]}
_JUDGED = {"JudgedClips": 40, "People": 20, "RandomSeed": 0, "Answers": "0123"}


@dataclass(frozen=True)
class Size:
    """How much there is.

    Parameters
    ----------
    participants, models, clips : int
    made : int
        Participants that have numbers of their own.
    maps : bool
        Whether there are maps; else tables and draws alone.
    """

    participants: int
    models: int
    clips: int = 60
    made: int = 10
    maps: bool = True

    @property
    def labels(self) -> list[str]:
        return [f"{number:04d}" for number in range(1, self.participants + 1)]

    @property
    def names(self) -> list[str]:
        """The kinds of names that people give: short, and long with what was trained how."""
        known = ["ban", "ban-feedforward", "deepcnn", "vgg", "crnn", "modulation", "hf-wav2vec2-base-960h"]
        return (known + [f"conv-variant-{number}" for number in range(1, 200)])[: self.models]


def make_output(root: Path, size: Size) -> None:
    """Write an output directory."""
    write_dataset_files(root, [{"URL": (root.parent / "bids").absolute().as_uri()}])
    settings = Settings.of(root.parent / "bids", root, "participant", work_dir=root / "work")
    made = size.labels[: size.made]
    for label in made:
        _Person(root, label, settings, size).write()
    for label, source in zip(size.labels[size.made :], itertools.cycle(made), strict=False):
        _copy(root, source, label)


def _copy(root: Path, source: str, label: str) -> None:
    """The files of one participant again, under the name of another."""
    old, new = f"sub-{source}", f"sub-{label}"
    logs = [path for path in (root / "logs").glob(f"{old}_*") if path.name.startswith(f"{old}_")]
    for path in [*(path for path in (root / old).rglob("*") if path.is_file()), *logs]:
        target = root / str(path.relative_to(root)).replace(old, new)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.name == "logs":
            target.write_text(path.read_text().replace(old, new).replace(f'"{source}"', f'"{label}"'))
        else:
            os.link(path, target)


class _Person:
    def __init__(self, root: Path, label: str, settings: Settings, size: Size) -> None:
        self.root, self.label, self.settings, self.size = root, label, settings, size
        self.rng = np.random.default_rng(int(label))
        self.clips = tuple(f"{k:024x}@0+15000" for k in range(size.clips))
        n = _ROWS * size.clips
        self.repeats = Repeats(np.arange(_REPEATS * n).reshape(_REPEATS, n).T, np.repeat(np.arange(size.clips), _ROWS))
        self.signal = {area: self.rng.normal(size=(n, _VOXELS)) for area in AREAS}
        self.bold = {
            area: np.tile(s, (_REPEATS, 1)) + self.rng.normal(size=(_REPEATS * n, _VOXELS))
            for area, s in self.signal.items()
        }

    def write(self) -> None:
        if self.size.maps:
            shared = self._maps()
        for number, model in enumerate(self.size.names):
            facts = self._facts(model)
            kept = {model: self._kept(0.25 + 0.4 * number / self.size.models, len(AREAS))}
            kept |= {model + control: self._kept(0.15, len(AREAS)) for control in CONTROLS}
            kept |= {control: self._kept(0.15, 1) for control in LOW_LEVEL}
            b = 0.3 + 0.02 * number
            behavior = Estimate(value=b, draws=b + 0.1 * np.random.default_rng(number).normal(size=1000))
            draws = Draws(
                self.label, TASK, model, self.clips, kept, behavior,
                conditions=_CONDITIONS, behavior_conditions=_JUDGED,
            )  # fmt: skip
            write_draws(self.root, draws, facts)
            table = pd.DataFrame(list(self._rows(kept, model, b))).reindex(columns=list(COLUMNS))
            write_table(bas_name(self.label, TASK, model).path(self.root), table, COLUMNS, facts)
            write_status(self.root, self.label, "done", model=model)
            log = log_label(self.label, TASK, model)
            write_provenance(self.root, log, self.settings, facts["Sources"], {"WeightsFingerprint": "f" * 16})
            write_summary(self.root, ModelSummary(self.label, TASK, model, "f" * 16, files=facts["Sources"]))
            if self.size.maps:
                self._model_maps(model, facts, shared)
        write_summary(self.root, ParticipantSummary(self.label, TASK, SPACE, facts=[("Runs", 18)]))
        write_status(self.root, self.label, "done")
        write_quality(self.root, self.label, list(self._measurements()), "ban-bids")

    def _facts(self, model: str) -> dict[str, object]:
        """As many as the pipeline writes into every JSON file."""
        images = [f"bids:raw:sub-{self.label}/func/sub-{self.label}_run-{run:02d}_bold.nii.gz" for run in range(1, 19)]
        return {
            "Model": model, "ModelFingerprint": "f" * 16, "Atlas": "HCP-MMP1.0", "Sessions": [],
            "FeatureReduction": "64 principal components", "Weights": "none", "Solver": "closed-form",
            "NumberOfRepeats": _REPEATS, "RepeatsUsed": f"mean of {_REPEATS} repeats", "Sources": images,
            **{f"Fact{number}": "a sentence that says how it was computed" for number in range(20)},
        }  # fmt: skip

    def _kept(self, quality: float, n_layers: int) -> KeptScore:
        """Layers of which each region's best one is another."""
        statistics: dict[tuple[str, str], ClipStatistics] = {}
        layers = AREAS[:n_layers]
        for (i, layer), (j, area) in itertools.product(enumerate(layers), enumerate(AREAS)):
            share = quality * (1 - 0.1 * abs(i - j)) + 0.05 * self.rng.normal()
            prediction = share * self.signal[area] + 0.2 * self.rng.normal(size=self.signal[area].shape)
            statistics[layer, area] = clip_statistics(np.tile(prediction, (_REPEATS, 1)), self.bold[area], self.repeats)
        committed = {area: statistics[layers[min(j, n_layers - 1)], area] for j, area in enumerate(AREAS)}
        return KeptScore(statistics, committed, {a: a for a in AREAS} if n_layers == len(AREAS) else {})

    def _rows(self, kept: Mapping[str, KeptScore], model: str, b: float) -> Iterator[dict[str, object]]:
        for name, one in kept.items():
            own = {"model": name, "role": "scored" if name == model else "control", "belongs_to": "participant"}
            values = one.scores(np.ones((1, self.size.clips)))
            for (row, layer, region), drawn in values.items():
                value = float(drawn[0])
                rho = float(np.sign(value) * np.sqrt(abs(value))) if region else np.nan
                interval = {"ci_low": value - 0.1, "ci_high": value + 0.1}
                committed = float(one.committed.get(region) is one.statistics.get((layer, region)))
                yield {**own, **interval, "row": row, "layer": layer or None, "region": region or None,
                       "value": value, "rho": rho, "committed": committed if layer else np.nan}  # fmt: skip
            if name == model:
                c = float(values["C", "", ""][0])
                yield {**own, "row": "R2", "value": 0.3, "ci_low": 0.2, "ci_high": 0.4}
                yield {**own, "row": "BAS", "value": (c + b) / 2, "ci_low": (c + b) / 2 - 0.1, "ci_high": (c + b) / 2}
                yield {**own, "row": "B", "belongs_to": "dataset", "value": b, "ci_low": b - 0.2, "ci_high": b + 0.2}

    def _maps(self) -> dict[str, Path]:
        """The noise ceiling, and by statistic one image for all layers and models of what the group does not read."""
        place = {"participant": self.label, "task": TASK, "space": SPACE}
        self.mask = _cortex(self.rng)
        values = self.rng.uniform(0.01, 0.6, int(self.mask.sum()))
        facts = {"NumberOfRepeats": _REPEATS}
        paths = {
            stat: write_statmap(self.root, values, self.mask, _AFFINE, stat=stat, metadata=facts, **place)
            for stat in ("ev", "ccmax")
        }
        return dict.fromkeys(STATISTICS, paths["ev"])

    def _model_maps(self, model: str, facts: dict[str, object], shared: Mapping[str, Path]) -> None:
        place = {"participant": self.label, "task": TASK, "space": SPACE, "model": model}
        for layer, stat in itertools.product((*AREAS, JOINT), STATISTICS):
            if stat == "r":
                values = np.clip(self.rng.normal(0.1, 0.1, int(self.mask.sum())), -0.9, 0.9)
                write_statmap(self.root, values, self.mask, _AFFINE, stat=stat, layer=layer, metadata=facts, **place)
                source = sidecar(map_name(**{**place, "layer": layer, "stat": stat}).path(self.root))
                continue
            path = map_name(**{**place, "layer": layer, "stat": stat}).path(self.root)
            os.link(shared[stat], path)
            sidecar(path).write_text(source.read_text().replace('"Statistic": "r"', f'"Statistic": "{stat}"'))

    def _measurements(self) -> Iterator[Measurement]:
        for name, known in DEFINITIONS.items():
            value = float(self.rng.uniform(0.2, 0.4))
            owners: Sequence[dict[str, str]] = [{}]
            if known.scope == "run":
                owners = [{"run": f"task-{TASK}_run-{run:02d}"} for run in range(1, _RUNS + 1)]
            elif known.scope == "region":
                owners = [{"region": area} for area in AREAS]
            yield from (Measurement(name, value, **owner) for owner in owners)


def _cortex(rng: np.random.Generator) -> np.ndarray:
    """A shell of 150 000 voxels, of which each person lacks some."""
    axes = [(np.arange(n) - n / 2) / (n / 2) for n in _SHAPE]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
    return (radius > 0.62) & (radius < 0.83) & (rng.random(_SHAPE) > 0.002)
