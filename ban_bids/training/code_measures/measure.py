"""All measures of the code of one model on held-out sounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ban_bids.audio.waveforms import HeardClip
from ban_bids.errors import DataError, NotComputable
from ban_bids.files.progress import progress
from ban_bids.models.candidate import Candidate
from ban_bids.models.low_level import moments
from ban_bids.training.code_measures.dimension import Scatter, effective_dimension
from ban_bids.training.code_measures.probes import Probe, probe_layer
from ban_bids.training.code_measures.sounds import HeldOutSounds
from ban_bids.training.code_measures.tuning import (
    Timescale,
    linear_tuning,
    receptive_field,
    sparseness,
    tone_responses,
    tuning_width,
)

STAND_IN = "They stand in for cortex here and must be told apart from it: measures of a model's code, not brain data."
"""What every table of these measures says."""

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class CodeMeasures:
    """Measures of a model's code, a row per layer (and probe).

    Parameters
    ----------
    model : str
        Its name.
    dimension : DataFrame
        ``layer``, ``raw``, ``zscored``, ``n_features``, ``n_constant``, ``n_frames``, ``reason``.
    probes : DataFrame
        ``layer``, ``target``, ``measure``, ``value``, ``ci95_low``, ``ci95_high``, ``chance``, ``n_recordings``,
        ``n_rows``, ``reason``.
    profile : DataFrame
        ``layer``, ``receptive_field_s``, ``timescale_s``, ``tuning_width_octaves``, ``best_rate_hz``,
        ``spectral_r2``, ``sparseness``, ``reason``.
    """

    model: str
    dimension: pd.DataFrame
    probes: pd.DataFrame
    profile: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is n/a is None."""
        tables = {"dimension": self.dimension, "probes": self.probes, "profile": self.profile}
        return {"model": self.model} | {
            name: table.round(4).astype(object).where(table.notna(), None).to_dict("records")
            for name, table in tables.items()
        }


class _Layer:
    """What is kept of a layer while sounds are heard."""

    def __init__(self, frame_rate: float) -> None:
        self.frame_rate = frame_rate
        self.scatter, self.timescale = Scatter(), Timescale(frame_rate)
        self._rows: list[np.ndarray] = []
        self._pooled: list[np.ndarray] = []

    def hear(self, frames: np.ndarray, common: np.ndarray) -> None:
        self.scatter.add(frames)
        self.timescale.add(frames)
        self._rows.append(common.astype(np.float32))
        self._pooled.append(moments(np.asarray(frames, np.float64)).astype(np.float32))

    @property
    def rows(self) -> np.ndarray:
        return np.concatenate(self._rows)

    @property
    def pooled(self) -> np.ndarray:
        return np.stack(self._pooled)


def measure_code(model: Candidate, held_out: HeldOutSounds, *, profile: bool = True) -> CodeMeasures:
    """Measure a model's code.

    Parameters
    ----------
    model : Candidate
        Not trained on any of the sounds: the caller sees to that.
    held_out : HeldOutSounds
    profile : bool
        Whether the graded profile is wanted, too.

    Returns
    -------
    CodeMeasures

    Raises
    ------
    DataError
        Features are not finite.
    """
    layers = {layer: _Layer(model.frame_rate[layer]) for layer in model.layers}
    pairs = list(zip(held_out.sounds, held_out.frames, strict=True))
    for sound, drawn in progress(pairs, f"code of {model.name}"):
        clip = HeardClip(sound.clip, model.sampling_rate)
        for layer, frames in model.features([clip])[0].items():
            if not np.isfinite(frames).all():
                raise DataError(f"model {model.name}: features of {layer} are not finite ({clip}); check its weights")
            common = held_out.common(frames, model.frame_rate[layer], clip.seconds)
            layers[layer].hear(frames, common[drawn])
    probes = [
        _probe_row(name, probe)
        for name, layer in progress(list(layers.items()), f"probes of {model.name}")
        for probe in probe_layer(layer.rows, layer.pooled, held_out)
    ]
    return CodeMeasures(
        model.name,
        pd.DataFrame([_dimension_row(name, layer.scatter) for name, layer in layers.items()]),
        pd.DataFrame(probes),
        _profile(model, layers, held_out) if profile else pd.DataFrame(),
    )


def _dimension_row(name: str, scatter: Scatter) -> dict[str, Any]:
    n = len(scatter.mean)
    missing = {"raw": np.nan, "zscored": np.nan, "n_features": n, "n_constant": n, "n_frames": scatter.n}
    try:
        return {"layer": name, **asdict(effective_dimension(scatter)), "reason": None}
    except NotComputable as reason:
        return {"layer": name, **missing, "reason": str(reason)}


def _probe_row(name: str, probe: Probe) -> dict[str, Any]:
    values = asdict(probe)
    low, high = values.pop("interval")
    target, measure, value = (values.pop(key) for key in ("target", "measure", "value"))
    values["reason"] = values["reason"] or None
    first = {"layer": name, "target": target, "measure": measure, "value": value, "ci95_low": low, "ci95_high": high}
    return first | values


def _profile(model: Candidate, layers: dict[str, _Layer], held_out: HeldOutSounds) -> pd.DataFrame:
    """One row per layer; a figure that cannot be computed is missing, with its reason."""
    tones = tone_responses(model)
    rows = []
    for name, layer in progress(list(layers.items()), f"profile of {model.name}"):
        reasons: list[str] = []

        def known(what: str, compute: Callable[[], _T], reasons: list[str] = reasons) -> _T | None:
            try:
                return compute()
            except NotComputable as reason:
                reasons.append(f"{what}: {reason}")
                return None

        frames = layer.rows
        linear = known("spectral_r2 and best_rate_hz", lambda: linear_tuning(frames, held_out))  # noqa: B023
        rows.append({
            "layer": name,
            "receptive_field_s": known("receptive_field_s", lambda: receptive_field(model, name)),  # noqa: B023
            "timescale_s": known("timescale_s", lambda: layer.timescale.seconds),  # noqa: B023
            "tuning_width_octaves": known("tuning_width_octaves", lambda: tuning_width(tones[name])),  # noqa: B023
            "best_rate_hz": np.nan if linear is None else linear.best_rate,
            "spectral_r2": np.nan if linear is None else linear.spectral_r2,
            "sparseness": known("sparseness", lambda: sparseness(frames)),  # noqa: B023
            "reason": "; ".join(reasons) or None,
        })  # fmt: skip
    return pd.DataFrame(rows)
