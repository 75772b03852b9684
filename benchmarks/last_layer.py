"""What the last layer of a fitted model holds: its effective dimension, and what can be read from it linearly.

Dimension and modulation energies are measured on a fold's held-out tracks alone, as in the report of a training
(:mod:`ban_bids.training.code_measures`). Genre is read by a probe that is fitted on the training tracks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from listeners import Fold, Listener

from ban_bids.audio.waveforms import HeardClip, load_waveform
from ban_bids.constants import SAMPLING_RATE
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import Candidate
from ban_bids.models.low_level import ModulationModel, moments
from ban_bids.training.code_measures.measure import measure_code
from ban_bids.training.code_measures.sounds import Sound, held_out
from ban_bids.training.datasets import Track
from ban_bids.training.grouped import group_of
from ban_bids.training.low_level import fit_linear

DIMENSION, DIMENSION_Z = "dimension", "dimension_z"
PROBE_MODULATION, PROBE_GENRE = "probe_modulation", "probe_genre"


class LastLayer:
    """A model's last layer as a :class:`~ban_bids.models.candidate.Candidate` of its own."""

    def __init__(self, model: Candidate) -> None:
        layer = model.layers[-1]
        self._model = model
        self.name = model.name
        self.layers: tuple[str, ...] = (layer,)
        self.frame_rate: Mapping[str, float] = {layer: model.frame_rate[layer]}
        self.sampling_rate = model.sampling_rate
        self.mapping: Mapping[str, str] | None = None
        self.genres: tuple[str, ...] = ()
        self.card = None
        self.fingerprint = model.fingerprint

    def features(self, clips: Sequence[HeardClip]) -> list[dict[str, np.ndarray]]:
        """Of the last layer only."""
        return [{self.layers[0]: heard[self.layers[0]]} for heard in self._model.features(clips)]

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        """As the whole model's."""
        return self._model.genre_probabilities(clips)


def measure(listener: Listener, fold: Fold) -> dict[str, dict[str, Any]]:
    """Measure a fitted model's last layer.

    Parameters
    ----------
    listener : Listener
    fold : Fold

    Returns
    -------
    dict
        ``measures``: figures by name, None where n/a; ``not_measured``: the reasons of these.
    """
    layer = LastLayer(listener.model)
    sounds = [Sound(_whole(track), group_of(track)) for track in fold.validation]
    code = measure_code(layer, held_out(sounds, seed=fold.settings.seed), profile=False)
    dimension, probe = code.dimension.iloc[0], code.probes.set_index("target").loc["modulation"]
    figures = {
        DIMENSION: (dimension["raw"], dimension["reason"]),
        DIMENSION_Z: (dimension["zscored"], dimension["reason"]),
        PROBE_MODULATION: (probe["value"], probe["reason"]),
        PROBE_GENRE: (read_genre(layer, fold), ""),
    }
    if isinstance(listener.model, ModulationModel):
        figures[PROBE_MODULATION] = (np.nan, "its layer is what the probe would read")
    return {
        "measures": {name: None if np.isnan(v) else round(float(v), 5) for name, (v, _) in figures.items()},
        "not_measured": {name: str(why) for name, (v, why) in figures.items() if np.isnan(v)},
    }


def _whole(track: Track) -> Clip:
    seconds = len(load_waveform(track.path)) / SAMPLING_RATE
    return Clip(track.path, 0.0, seconds, track=track.name, genre=track.genre)


def read_genre(layer: LastLayer, fold: Fold) -> float:
    """Share of held-out tracks whose genre logistic regression reads from mean and deviation of the layer over time.

    Its penalty is fixed beforehand; it is fitted on the training tracks.
    """
    training, validation = (_pooled(layer, tracks) for tracks in (fold.training, fold.validation))
    answers = fit_linear(training, fold.labels).probabilities(validation).argmax(axis=1)
    return float((answers == fold.collection.labels(fold.validation)).mean())


def _pooled(layer: LastLayer, tracks: Sequence[Track]) -> np.ndarray:
    name = layer.layers[0]
    sounds = (HeardClip(None, SAMPLING_RATE, load_waveform(track.path)) for track in tracks)
    return np.stack([moments(layer.features([sound])[0][name].astype(np.float64)) for sound in sounds])
