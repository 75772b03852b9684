"""Stand-ins for what other stages make: runs with clips, a model with known features, folds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ban_bids.encoding.bold import ParticipantData
from ban_bids.encoding.cleaning import clean, nuisance_basis
from ban_bids.encoding.design import Design
from ban_bids.encoding.design import design as make_design
from ban_bids.encoding.planned import Folds, participant_folds
from ban_bids.encoding.repeats import Repeats
from ban_bids.encoding.rows import HeldOutRows, RunRows, offsets, run_rows
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.inputs.types import Clip, Presentation, Run
from ban_bids.scoring.ceiling import voxel_correlation
from ban_bids.settings import Encoding


def make_clip(track: str, duration: float = 15.0, start: float = 0.0) -> Clip:
    return Clip(Path(f"/audio/{track}.wav"), start, duration, track)


def make_run(
    name: str,
    tracks: list[str],
    tr: float = 1.5,
    n_volumes: int = 50,
    first: float = 0.0,
    gap: float = 0.0,
    duration: float = 15.0,
    lead_in: bool = False,
) -> Run:
    presentations = tuple(
        Presentation(make_clip(track, duration), first + i * (duration + gap), lead_in and i == 0)
        for i, track in enumerate(tracks)
    )
    entities = (("sub", "01"), ("task", name))
    return Run("01", None, name, None, entities, Path("b"), Path("e"), tr, n_volumes, None, "k", None, presentations)


def all_clips(runs: list[Run]) -> tuple[Clip, ...]:
    return tuple(dict.fromkeys(item.clip for run in runs for item in run.presentations))


def listen(run: Run, clips: tuple[Clip, ...], t_ref: float = 0.0, non_steady: int = 0) -> RunRows:
    return RunRows(run.name, run_rows(run, t_ref, non_steady, scrubbed=(), clips=clips), run.presentations)


@dataclass
class ToyModel:
    """Smooth random features of every track and layer, higher by ``loudness`` than those of silence."""

    name: str = "toy"
    layers: tuple[str, ...] = ("A1", "Belt", "PB", "T2T3")
    frame_rate: dict[str, float] = field(default_factory=lambda: {"A1": 20.0, "Belt": 10.0, "PB": 10.0, "T2T3": 7.3})
    genres: tuple[str, ...] = ()
    card: None = None
    mapping: dict[str, str] | None = None
    fingerprint: str = "toy"
    n_features: int = 6
    loudness: float = 0.0
    calls: int = 0

    def frames(self, clip: Clip | None, layer: str) -> np.ndarray:
        n = int(round((clip.duration if clip else 4.0) * self.frame_rate[layer]))
        if clip is None:
            return np.zeros((n, self.n_features), dtype=np.float32)
        words = [*clip.track.encode(), self.layers.index(layer), int(clip.start)]
        noise = np.random.default_rng(words).standard_normal((n, self.n_features))
        width = int(2 * self.frame_rate[layer])
        kernel = np.ones(width) / np.sqrt(width)
        smooth = np.apply_along_axis(np.convolve, 0, noise, kernel, mode="same")
        return (smooth + self.loudness).astype(np.float32)


class ToyStore:
    """Takes the place of FeatureCache: no audio, no files."""

    def __init__(self, model: ToyModel, folder: Path) -> None:
        self.model = model

    def compute(self, clips: tuple[Clip, ...]) -> None:
        self.model.calls += 1

    def load(self, clip: Clip, layer: str) -> np.ndarray:
        return self.model.frames(clip, layer)

    def frame_rate(self, layer: str) -> float:
        return self.model.frame_rate[layer]

    def silence(self, layer: str) -> np.ndarray:
        return self.model.frames(None, layer)[0]


def participant(runs: list[Run], bold: np.ndarray, t_ref: float = 0.75, seed: int = 0) -> ParticipantData:
    """Clean raw BOLD (all rows, V) with two random confounds a run."""
    clips = all_clips(runs)
    heard = tuple(listen(run, clips, t_ref) for run in runs)
    first = offsets(heard)
    rng = np.random.default_rng(seed)
    nuisance = tuple(
        nuisance_basis(rng.standard_normal((run.n_volumes, 2)), run.repetition_time, 200.0, times=run.since_first)
        for run in runs
    )
    cleaned = [clean(bold[first[r] : first[r + 1]].astype(np.float32), nuisance[r])[0] for r in range(len(runs))]
    n_voxels = bold.shape[1]
    return ParticipantData(
        label="01",
        sources=tuple(runs),
        runs=heard,
        nuisance=nuisance,
        clips=clips,
        mask=np.ones((n_voxels, 1, 1), dtype=bool),
        affine=np.eye(4),
        region=np.zeros(n_voxels, dtype=np.int16),
        usable=np.ones(n_voxels, dtype=bool),
        bold=np.concatenate(cleaned),
        notes=(),
    )


def folds_of(data: ParticipantData, plan: HeldOutPlan, settings: Encoding) -> Folds:
    return participant_folds(data.sources, data.runs, data.nuisance, plan=plan, settings=settings)


def design(data: ParticipantData, model: ToyModel, plan: HeldOutPlan, settings: Encoding, folder: Path) -> Design:
    """Folds and design at once, for tests of one model."""
    folds = folds_of(data, plan, settings)
    return make_design(data, model, folds, n_components=settings.n_components, cache=folder)


def voxel_scores(
    prediction: np.ndarray, bold: np.ndarray, rows: HeldOutRows, repeats: Repeats | None
) -> tuple[np.ndarray, np.ndarray]:
    """Correlation, and 1 - SSE / SST on the same rows with the same means removed."""
    if repeats is not None:
        p, y = (values[repeats.index].mean(axis=1) for values in (prediction, bold))
        run = np.zeros(len(p))
    else:
        p, y, run = prediction[rows.scored], bold[rows.scored], rows.run[rows.scored]
    p, y = (np.concatenate([x[run == k] - x[run == k].mean(axis=0) for k in np.unique(run)]) for x in (p, y))
    rsquare = 1 - np.sum((y - p) ** 2, axis=0) / np.sum(y**2, axis=0)
    return voxel_correlation(prediction, bold, rows, repeats), rsquare
