#!/usr/bin/env python3
"""Train the weights that come with the package: BAN with the default settings on every track that may train it.

    python tools/train_shipped_weights.py DATA [OUT] [--estimate FOLDS] [--work-dir DIR]

DATA is a folder of genres. Tracks heard in ds003720's Test runs are left out with their known twins, by name, and what
is the same recording by its sound: whoever scores that dataset without other weights must not be refused. Folds by
track, trained alike, estimate the accuracy; the weights themselves train on all tracks. The same data, settings,
libraries and processor give the same file, but under ``--max-minutes``. Then ``python tools/shipped_card.py --write``.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from ban_bids.constants import DEFAULT_SEED, SHIPPED, SMALL_DATA
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import load_checkpoint, load_tensors, save_checkpoint
from ban_bids.models.shipped import shipped_weights
from ban_bids.training.folders import find_audio
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import FMRI_TWINS, fmri_tracks
from ban_bids.training.train import train_once

GTZAN = "GTZAN (Tzanetakis and Cook 2002): no licence stated; research use"
_OF_THE_CLOCK = ("minutes", "budget_minutes_used")


@dataclass(frozen=True)
class Recipe:
    """What fixes the weights beside the tracks.

    Parameters
    ----------
    settings : TrainingSettings
        Of the weights; their split is ``all``.
    sources : tuple of str
        Collections with their licences, each beginning with its name.
    nthreads : int
        CPU threads.
    """

    settings: TrainingSettings
    sources: tuple[str, ...] = (GTZAN,)
    nthreads: int = 1


def barred(data: Path) -> list[Path]:
    """Files of tracks that were heard in ds003720's Test runs, and of their known twins."""
    names = fmri_tracks() | FMRI_TWINS.keys()
    return [file for file in find_audio(data) if file.stem in names]


def _trained(data: Path, out: Path, recipe: Recipe, split: str) -> Path:
    settings = replace(recipe.settings, split=split, controls=split == "all")
    return train_once(
        data, out, settings, exclude=barred(data), nthreads=recipe.nthreads, device="cpu", progress=False
    )  # fmt: skip


def estimated_accuracy(data: Path, work: Path, recipe: Recipe, folds: int) -> str:
    """Accuracy over all folds by track with its interval (Wilson), in words for the card."""
    if folds < 2:
        return "no track was kept apart and no folds were trained: the accuracy of these weights is not known"
    right, n = 0, 0
    for fold in range(folds):
        path = _trained(data, work / f"fold-{fold}.safetensors", recipe, f"kfold-{fold}-of-{folds}")
        *_, card = load_tensors(path)
        assert card is not None
        confusion = np.array(card.metrics["confusion"])
        right, n = right + int(np.trace(confusion)), n + int(confusion.sum())
    low, high = binomtest(right, n).proportion_ci(method="wilson")
    return (
        f"accuracy estimated by {folds} folds by track, trained alike: {right} of {n} tracks, {right / n:.2f} "
        f"[{low:.2f}, {high:.2f}]; tracks of one artist may lie in several folds, which makes it look higher"
    )


def shipped_card(card: ModelCard, recipe: Recipe, accuracy: str) -> ModelCard:
    """The card as it ships: what it rests on in words, and nothing that changes from run to run."""
    n, names = len(card.training_hashes), " and ".join(source.split(" (")[0] for source in recipe.sources)
    small = (
        f"{SMALL_DATA}: trained on {n} tracks ({names}); for published comparisons train on your own GTZAN by "
        "--gtzan-dir"
    )
    of_data = [note for note in card.notes if "kept apart" not in note]
    return replace(
        card,
        split=f"{n} tracks of {names}, without those of ds003720's Test runs and their twins; none validates",
        notes=(small, accuracy, *of_data),
        sources=recipe.sources,
        metrics={name: value for name, value in card.metrics.items() if name not in _OF_THE_CLOCK},
    )


def ship(data: Path, out: Path, work: Path, recipe: Recipe, folds: int = 0) -> Path:
    """Train, and write weights in half precision with their card.

    Parameters
    ----------
    data : Path
        Folder of genres.
    out : Path
        ``.safetensors``.
    work : Path
        Keeps what has been trained, and goes on there after an interruption.
    recipe : Recipe
    folds : int
        By which the accuracy is estimated; under two, it is not.

    Returns
    -------
    Path
        ``out``.
    """
    work.mkdir(parents=True, exist_ok=True)
    accuracy = estimated_accuracy(data, work, recipe, folds)
    network, card = load_checkpoint(_trained(data, work / "all.safetensors", recipe, "all"))
    assert card is not None
    return save_checkpoint(out, network, shipped_card(card, recipe, accuracy), compact=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=shipped_weights(SHIPPED[0]))
    parser.add_argument("--estimate", type=int, default=0, metavar="FOLDS")
    parser.add_argument("--work-dir", type=Path, help="kept, to go on after an interruption (default: temporary)")
    parser.add_argument("--source", action="append", help=f"collection and licence, repeatable (default: {GTZAN})")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--epochs", type=int, default=TrainingSettings().epochs)
    parser.add_argument("--max-minutes", type=float, help="processor time of each training")
    parser.add_argument("--nthreads", type=int, default=1)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = TrainingSettings(SHIPPED[0], seed=given.seed, epochs=given.epochs)
    if given.max_minutes is not None:
        settings = replace(settings, max_minutes=given.max_minutes, budget_clock="cpu")
    recipe = Recipe(settings, tuple(given.source or (GTZAN,)), given.nthreads)
    with ExitStack() as stack:
        work = given.work_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = ship(given.data, given.out, work, recipe, given.estimate)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
