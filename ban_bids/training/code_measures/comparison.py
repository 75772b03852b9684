"""A checkpoint's code beside that of its untrained twin, on tracks that never trained it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ban_bids.files.sounds import audio_seconds
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import Candidate
from ban_bids.models.checkpoint import load_checkpoint, load_tensors
from ban_bids.models.controls import clip_batches, untrained_network
from ban_bids.models.low_level import load_low_level
from ban_bids.models.network import CONTROLS, UNTRAINED_SEEDS, NetworkModel
from ban_bids.models.normalisation import measure_normalisation, set_normalisation
from ban_bids.models.presets import LOW_LEVEL
from ban_bids.training.code_measures.measure import STAND_IN, CodeMeasures, measure_code
from ban_bids.training.code_measures.sounds import MAX_ROWS, HeldOutSounds, Sound, held_out
from ban_bids.training.tracks import Track

_LOG = logging.getLogger(__name__)

MAX_SOUNDS = 600
"""Tracks that are heard, at most, drawn by the seed."""

MAX_TRACK_SECONDS = 30.0
"""Of each track the middle is heard, at most so long."""

MAX_SECONDS = 2400.0
"""Sound that is heard in all, at most: of long tracks fewer are drawn."""


@dataclass(frozen=True, eq=False)
class CodeComparison:
    """The code of a model and of its untrained twin on the same sounds.

    Parameters
    ----------
    models : tuple of CodeMeasures
        The model, then its twin where it has one.
    n_sounds, n_tracks : int
        That were heard, of so many tracks.
    seconds : float
        Of sound.
    n_rows : int
        Common frames that were drawn for probes.
    frame_rate : float
        Of the common frames, per second.
    seed : int
    notes : tuple of str
        What was chosen, and that these are no brain data.
    """

    models: tuple[CodeMeasures, ...]
    n_sounds: int
    n_tracks: int
    seconds: float
    n_rows: int
    frame_rate: float
    seed: int
    notes: tuple[str, ...]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """``dimension``, ``probes`` and ``profile``, models below each other, first column ``model``."""
        tables = {}
        for name in ("dimension", "probes", "profile"):
            parts = [getattr(one, name).assign(model=one.model) for one in self.models]
            joined = pd.concat(parts, ignore_index=True)
            tables[name] = joined[["model", *(column for column in joined if column != "model")]]
        return tables

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is n/a is None."""
        return {
            "n_sounds": self.n_sounds, "n_tracks": self.n_tracks, "seconds": round(self.seconds, 2),
            "n_rows": self.n_rows, "max_rows": MAX_ROWS, "frame_rate": self.frame_rate, "seed": self.seed,
            "notes": list(self.notes), "models": [one.to_dict() for one in self.models],
        }  # fmt: skip


def compare_code(
    checkpoint: Path, parts: Mapping[str, Sequence[Track]], *, task: str = "genre", device: str = "cpu", seed: int = 0
) -> dict[str, CodeComparison]:
    """Measure the code of a checkpoint and of its untrained twin.

    Parameters
    ----------
    checkpoint : Path
    parts : mapping of str to sequence of Track
        Tracks that did *not* train it, by what its card says of them; each part is measured apart.
    task : str
        What the folders of the tracks tell.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    seed : int
        Of tracks and frames that are drawn, and of folds.

    Returns
    -------
    dict of CodeComparison
        Without the parts that have no tracks.
    """
    heard = {name: held_out(sounds_of(tracks, task, seed), seed=seed) for name, tracks in parts.items() if tracks}
    models, notes = _with_twin(checkpoint, device, [s.clip for held in heard.values() for s in held.sounds])
    measured: dict[str, list[CodeMeasures]] = {name: [] for name in heard}
    for model in models if heard else ():
        for name, held in heard.items():
            measured[name].append(measure_code(model, held))
    return {name: _comparison(tuple(measured[name]), held, len(parts[name]), notes) for name, held in heard.items()}


def _comparison(
    models: tuple[CodeMeasures, ...], held: HeldOutSounds, n_tracks: int, notes: tuple[str, ...]
) -> CodeComparison:
    seconds = sum(sound.clip.duration for sound in held.sounds)
    n_rows = len(held.row_recordings)
    return CodeComparison(
        models, len(held.sounds), n_tracks, seconds, n_rows, held.frame_rate, held.seed, (STAND_IN, *notes)
    )


def sounds_of(tracks: Sequence[Track], task: str, seed: int) -> list[Sound]:
    """Middle of tracks, labelled by folder and what else they answer; drawn where there are too many.

    Each is a recording of its own in the folds, or one with all of its group.

    Parameters
    ----------
    tracks : sequence of Track
    task : str
        Name of what the folders tell.
    seed : int
        Of the draw.
    """
    sounds: list[Sound] = []
    total = 0.0
    for place in np.random.default_rng(seed).permutation(len(tracks)).tolist():
        track = tracks[place]
        length = audio_seconds(track.path)
        seconds = min(length, MAX_TRACK_SECONDS)
        if len(sounds) == MAX_SOUNDS or (sounds and total + seconds > MAX_SECONDS):
            _LOG.info("the code is measured on %d of %d tracks, drawn by the seed", len(sounds), len(tracks))
            break
        clip = Clip(track.path, (length - seconds) / 2, seconds, track.name, track.genre)
        sounds.append(Sound(clip, track.group or track.name, {task: track.genre, **track.answers}))
        total += seconds
    return sounds


def _with_twin(checkpoint: Path, device: str, clips: Sequence[Clip]) -> tuple[Iterator[Candidate], tuple[str, ...]]:
    """The model and, for a network, the first of its untrained controls, made one after the other; and notes."""
    _, architecture, _ = load_tensors(Path(checkpoint))
    if architecture in LOW_LEVEL:
        return iter([load_low_level(checkpoint)]), ("a low-level model has no untrained twin",)
    network, card = load_checkpoint(checkpoint)
    model = NetworkModel(network, card.genres if card else (), card, device=device)
    kind = CONTROLS[0]
    statistics = network.control_statistics.get(kind)
    notes: tuple[str, ...] = ()
    if statistics is None:
        notes = (
            f"the weights hold no statistics of their controls: the normalisation of {model.name}{kind} was measured "
            "on the held-out tracks, not on the training music",
        )

    def one_by_one() -> Iterator[Candidate]:
        yield model
        twin = untrained_network(network.cpu(), UNTRAINED_SEEDS[0])
        if statistics is None:
            measure_normalisation(twin, clip_batches(twin.front_end, clips), twin.from_frames)
        else:
            set_normalisation(twin, statistics)
        yield NetworkModel(twin, name=model.name + kind, device=device)

    return one_by_one(), notes
