"""A model compared with people's choices, by its own read-out or by a linear one that is fitted to its features."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from ban_bids.audio.sameness import identify
from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import DataError, NotComputable
from ban_bids.inputs.events import plain_label
from ban_bids.inputs.heldout import held_out_tracks
from ban_bids.inputs.types import Dataset, HumanChoices
from ban_bids.models.candidate import Candidate, ModelCard
from ban_bids.models.checkpoint import check_no_overlap
from ban_bids.scoring.behavioral import BehavioralScore, behavioral_score, no_behavior
from ban_bids.settings import Settings
from ban_bids.training.datasets import read_collection
from ban_bids.training.readout import FittedReadout, Manner, readout_once
from ban_bids.training.splits import barred_tracks

_LOG = logging.getLogger(__name__)

ACCURACY = (
    "share of the fitted tracks whose class is recognised by a read-out fitted without their inner fold, of the layer "
    "and penalty that the other inner folds choose"
)
"""What the accuracy of a fitted read-out is."""


class Readout(Protocol):
    """What answers: a model with a read-out of its own, or one that was fitted."""

    @property
    def genres(self) -> tuple[str, ...]:
        """Classes."""
        ...

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        """(n_clips, n_genres)."""
        ...


@dataclass(frozen=True, eq=False)
class Behavior:
    """A model compared with people.

    Parameters
    ----------
    score : BehavioralScore
    readout : mapping of str to value
        Facts of the read-out: whose it is; of a fitted one its layer, penalty, classes, tracks and accuracy.
    notes : tuple of str
        Why it was fitted, and what had to be left out.
    """

    score: BehavioralScore
    readout: Mapping[str, Any] = field(default_factory=lambda: {"Kind": "none"})
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The read-out in words, with the accuracy of a fitted one."""
        if "Accuracy" not in self.readout:
            return self.score.readout
        low, high = self.readout["AccuracyInterval"]
        accuracy = f"accuracy {self.readout['Accuracy']:.2f} [{low:.2f}, {high:.2f}] on inner folds"
        return f"{self.score.readout}, {accuracy}, {len(self.readout['Classes'])} classes"


def score_behavior(dataset: Dataset, model: Candidate, settings: Settings) -> Behavior:
    """Behavioural score of the model on the dataset's human choices, or the reason for its absence.

    A model without classes, or whose own are not all that the judged clips are of, gets a linear read-out of the
    classes of ``--gtzan-dir`` that people chose among, if those cover more of the clips' classes.

    Parameters
    ----------
    dataset : Dataset
    model : Candidate
        Ready to be used: its features are final.
    settings : Settings
    """
    own: dict[str, Any] = {"Kind": "own", "Classes": list(model.genres)} if model.genres else {"Kind": "none"}
    if dataset.choices is None:
        return Behavior(replace(no_behavior(), readout=own["Kind"]), own)
    try:
        fitted, notes = _fitted(dataset, dataset.choices, model, settings)
    except (NotComputable, DataError) as reason:
        _LOG.warning("model %s: no read-out was fitted: %s", model.name, reason)
        if not model.genres:
            return Behavior(no_behavior(f"model {model.name} has no read-out of genres, and none was fitted: {reason}"))
        fitted, notes = None, (f"a linear read-out could not be fitted, the model's own was used: {reason}",)
    if fitted is None:
        score = _score(dataset.choices, model, model, (model.card,), settings)
        if score.reason:
            score = replace(score, reason="; ".join((score.reason, *notes)))
        return Behavior(replace(score, readout=own["Kind"]), own, notes)
    check_no_overlap(fitted.card, held_out_tracks(dataset))
    score = _score(dataset.choices, model, fitted, (model.card, fitted.card), settings)
    name = f"linear on {fitted.layer} (fitted by ban-bids on {len(fitted.card.hashes)} tracks)"
    return Behavior(replace(score, readout=name), _facts(fitted), (*notes, *fitted.card.notes))


def _fitted(
    dataset: Dataset, choices: HumanChoices, model: Candidate, settings: Settings
) -> tuple[FittedReadout | None, tuple[str, ...]]:
    """A fitted read-out where the model needs one; None where its own is to be used, or there is nothing to fit on."""
    judged = {plain_label(name) for name in choices.table["true_genre"]}
    own = judged & {plain_label(name) for name in model.genres}
    folder = settings.models.gtzan_dir
    if own == judged:
        return None, ()
    remedy = "give --gtzan-dir FOLDER with one folder per class that people chose among, to fit a linear one"
    if folder is None:
        if not model.genres:
            raise NotComputable(remedy)
        return None, (f"{_other_classes(model, len(judged - own))}; {remedy}",)
    collection = read_collection(folder, barred_tracks(dataset, settings))
    asked = judged | {plain_label(name) for name in choices.table["response"].dropna()}
    classes = [name for name in collection.genres if plain_label(name) in asked]
    if len(judged & {plain_label(name) for name in classes}) <= len(own):
        why = (
            f"--gtzan-dir {folder} holds {', '.join(collection.genres)}, people chose among {', '.join(sorted(asked))}"
        )
        raise NotComputable(f"{why}; {remedy}")
    fitted = readout_once(
        model,
        collection,
        classes,
        manner=Manner.of(choices.clips),
        folder=settings.compute.work_dir / "readouts",
        seed=settings.compute.random_seed,
    )
    replaced = f"{_other_classes(model, len(judged - own))}: a linear one was fitted"
    return fitted, (replaced,) if model.genres else ()


def _other_classes(model: Candidate, n_unknown: int) -> str:
    """Say that the model's own read-out cannot answer."""
    return (
        f"the read-out of {model.name} ({', '.join(model.genres)}) lacks {n_unknown} of the classes of the clips that "
        "people judged"
    )


def _score(
    choices: HumanChoices,
    model: Candidate,
    readout: Readout,
    cards: tuple[ModelCard | None, ...],
    settings: Settings,
) -> BehavioralScore:
    """B, without the clips that one of the cards knows."""
    known: set[object] = set()
    for card in filter(None, cards):
        known.update(card.same_tracks({clip.audio: identify(clip.audio) for clip in choices.clips}))
    try:
        heard = [HeardClip(clip, model.sampling_rate) for clip in choices.clips]
        probabilities = readout.genre_probabilities(heard)
    except NotComputable as reason:
        return no_behavior(str(reason))
    return behavioral_score(
        choices.table,
        choices.clips,
        probabilities,
        genres=readout.genres,
        excluded=np.array([clip.audio in known for clip in choices.clips], dtype=bool),
        n_bootstrap=settings.encoding.n_bootstrap,
        seed=settings.compute.random_seed,
    )


def _facts(fitted: FittedReadout) -> dict[str, Any]:
    """What the sidecar of a table says of a fitted read-out."""
    card = fitted.card
    return {
        "Kind": "linear",
        "FittedBy": "ban-bids",
        "Layer": fitted.layer,
        "Features": "mean and standard deviation over frames",
        "Penalty": card.config["penalty"],
        "Classes": list(card.genres),
        "Tracks": len(card.hashes),
        "TracksExcluded": len(card.excluded),
        "Accuracy": card.metrics["track_accuracy"],
        "AccuracyInterval": card.metrics["track_accuracy_ci95"],
        "AccuracyDescription": ACCURACY,
        "CalibrationError": card.metrics["calibration_error"],
        "LayerAndPenaltyOfFolds": card.metrics["of_folds"],
    }
