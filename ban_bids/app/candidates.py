"""The models that are scored: loaded or trained once for all participants, leaks refused, behaviour scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ban_bids.app.behavior import Behavior, score_behavior
from ban_bids.errors import UsageError
from ban_bids.inputs.heldout import held_out_tracks
from ban_bids.inputs.types import Clip, Dataset
from ban_bids.models.candidate import Candidate, as_candidate
from ban_bids.models.checkpoint import check_no_overlap
from ban_bids.models.controls import control_models, measured_model
from ban_bids.models.presets import LOW_LEVEL, PRESETS
from ban_bids.models.registry import load_model
from ban_bids.models.shipped import shipped_weights
from ban_bids.models.stored import StoredFeatures
from ban_bids.scoring.behavioral import BehavioralScore
from ban_bids.settings import ModelRequest, Settings
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import barred_tracks
from ban_bids.training.train import train_once

TRAINED_CONTROLS: tuple[str, ...] = ("ban-feedforward", "deepcnn")
"""Presets that ``--controls full`` trains beside each scored model."""


@dataclass(frozen=True, eq=False)
class PreparedModel:
    """A model that is scored, its controls, and what it knows of the stimuli.

    Parameters
    ----------
    model : Candidate
    controls : tuple of Candidate
    missing : tuple of (str, str)
        Controls that cannot run, and why.
    weights : Path or None
    overlap : str
        ``none``, ``unknown`` (weights without a card, or with one that holds no fingerprints), or the number of
        held-out tracks that the model knows.
    compared : Behavior
        With people's choices: B of the dataset, the same for all participants, and with which read-out.
    notes : tuple of str
        What the model's card tells; how the overlap was found; what had to be chosen for it or its controls.
    """

    model: Candidate
    controls: tuple[Candidate, ...]
    missing: tuple[tuple[str, str], ...]
    weights: Path | None
    overlap: str
    compared: Behavior
    notes: tuple[str, ...] = ()

    @property
    def behavior(self) -> BehavioralScore:
        """B of the dataset; the same for all participants."""
        return self.compared.score

    @property
    def name(self) -> str:
        """The model's name, under which its tables and maps stand."""
        return self.model.name

    @property
    def origin(self) -> str:
        """Where its weights come from, in words: the file's name, and that they are small-data weights if they are."""
        file, card = self.weights.name if self.weights else "none", self.model.card
        return f"{file} ({card.small_data})" if card and card.small_data else file


def prepare_models(dataset: Dataset, settings: Settings, models: Sequence[Candidate] = ()) -> tuple[PreparedModel, ...]:
    """Load or train every model that was asked for; all that can be refused is refused here.

    Parameters
    ----------
    dataset : Dataset
    settings : Settings
    models : sequence of Candidate
        Models that are there already, scored after those that were asked for.

    Returns
    -------
    tuple of PreparedModel
        In the order of the requests.

    Raises
    ------
    LeakError
        A model was trained or validated on held-out tracks.
    UsageError
        Two models have one name: their tables would overwrite each other.
    """
    requested = [_requested(request, dataset, settings) for request in settings.models.requests]
    objects = [(as_candidate(model), None) for model in models]
    prepared = tuple(_prepared(model, weights, dataset, settings) for model, weights in (*requested, *objects))
    refuse_namesakes([model.name for model in prepared])
    return prepared


def refuse_namesakes(names: Sequence[str]) -> None:
    """Raise UsageError where two models have one name."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(
            f"--model: two models are called {twice[0]}, and one's tables would overwrite the other's; "
            "score one of them in another OUTPUT_DIR"
        )


def _requested(request: ModelRequest, dataset: Dataset, settings: Settings) -> tuple[Candidate, Path | None]:
    weights = request.weights or _trained(dataset, settings, request.name) or shipped_weights(request.name)
    return load_model(request.name, weights, settings.compute.device, settings.compute.random_seed), weights


def _prepared(model: Candidate, weights: Path | None, dataset: Dataset, settings: Settings) -> PreparedModel:
    overlap = check_no_overlap(model.card, held_out_tracks(dataset), settings.models.allow_overlap)
    trained, missing = _trained_controls(dataset, settings, model.name)
    clips = heard_clips(dataset)
    model, notes = measured_model(model, clips)
    controls = control_models(model, clips, random_weights=settings.models.controls != "low-level")
    if isinstance(model, StoredFeatures):  # what is missing is said before hours of preprocessing
        asked = {clip for person in dataset.usable for run in person.runs for clip in run.clips}
        notes = (*notes, *model.check(asked, clips))
    return PreparedModel(
        model=model,
        controls=(*controls.models, *trained),
        missing=(*controls.missing, *missing),
        weights=weights,
        overlap=str(overlap),
        compared=score_behavior(dataset, model, settings),
        notes=(*(model.card.notes if model.card else ()), *overlap.notes, *notes, *controls.notes),
    )


def heard_clips(dataset: Dataset) -> frozenset[Clip]:
    """Clips of all runs of everyone in the dataset, whoever is asked for: all calls then measure on the same sounds."""
    runs = (run for person in dataset.listeners for run in person.runs)
    return frozenset(item.clip for run in runs for item in run.presentations)


def _trained_controls(
    dataset: Dataset, settings: Settings, model: str
) -> tuple[list[Candidate], tuple[tuple[str, str], ...]]:
    """Networks trained as the scored one is, and those that were not asked for, with the reason."""
    controls: list[Candidate] = []
    missing = []
    for preset in TRAINED_CONTROLS:
        name = PRESETS[preset].name
        if name == model:  # no control of itself
            continue
        weights = _trained(dataset, settings, preset) if settings.models.controls == "full" else None
        if weights is None:
            missing.append((name, "a trained control: give --gtzan-dir and --controls full"))
        else:
            controls.append(load_model(preset, weights, settings.compute.device))
    return controls, tuple(missing)


def _trained(dataset: Dataset, settings: Settings, preset: str) -> Path | None:
    """Train a model of ours once for all participants, without tracks of held-out runs and judged clips."""
    if settings.models.gtzan_dir is None or preset not in (*PRESETS, *LOW_LEVEL):
        return None
    return train_once(
        settings.models.gtzan_dir,
        settings.compute.work_dir / "models" / f"{preset}.safetensors",
        TrainingSettings(preset=preset, seed=settings.compute.random_seed),
        exclude=barred_tracks(dataset, settings),
        nthreads=settings.compute.omp_nthreads,
        device=settings.compute.device,
    )
