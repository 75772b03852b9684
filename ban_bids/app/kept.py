"""What is kept of a participant's scores, so that models are compared in the same draws of clips later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ban_bids.app.summary import ParticipantInput, ScoredCandidate, definitions_version, feature_reduction
from ban_bids.audio.waveforms import audio_hash
from ban_bids.derivatives.draws import Draws
from ban_bids.files.hashing import digest
from ban_bids.inputs.types import Clip
from ban_bids.preprocessing.atlases import atlas_of
from ban_bids.scoring.comparison import KeptScore
from ban_bids.settings import Settings


def clip_identity(clip: Clip) -> str:
    """Name a clip by what is heard: the same for all people, whatever file of whatever name holds the sound.

    Returns
    -------
    str
        Beginning of the hash of the decoded recording, start and duration in milliseconds.
    """
    return f"{audio_hash(clip.audio)[:24]}@{round(1000 * clip.start)}+{round(1000 * clip.duration)}"


def conditions(shared: ParticipantInput, settings: Settings) -> dict[str, Any]:
    """Under which a participant's cortical scores are comparable: of two models, all of these must be equal.

    Returns
    -------
    dict
        What was measured and how it was predicted, by names that a user knows; ``HeldOutRows`` and ``Folds`` are
        hashes, of the scored rows with their repeats, and of the rows on either side of every outer and inner fold.
    """
    encoding, folds, tests = settings.encoding, shared.prepared.folds, shared.tests
    rows, repeats = tests.rows, tests.repeats
    scored = (rows.run, rows.volume, rows.scored, None if repeats is None else (repeats.index, repeats.clip))
    return {
        "Version": definitions_version(),
        "Sessions": list(shared.pre.participant.sessions),
        "PreprocessedBy": shared.pre.source,
        "Space": shared.pre.space,
        "Atlas": atlas_of(settings.preprocessing.atlas).title,
        "ConfoundsStrategy": settings.preprocessing.confounds,
        "HighPass": encoding.high_pass,
        "HeldOutRuns": [name for fold in shared.plan.folds for name in fold],
        "HeldOutRows": digest(scored)[:16],
        "Folds": digest([(fold.training, fold.held_out, fold.groups) for fold in folds.folds])[:16],
        "Lags": [round(float(delay), 4) for delay in folds.delays],
        "FeatureReduction": feature_reduction(encoding.n_components),
        "Penalties": list(encoding.alphas),
        "EVFloor": encoding.ev_floor,
    }


def kept_draws(shared: ParticipantInput, scored: ScoredCandidate, conditions: Mapping[str, Any] | None = None) -> Draws:
    """Draws of one model and its controls; without repeats they hold B alone."""
    repeats = shared.tests.repeats
    heard = np.array([], dtype=int) if repeats is None else np.unique(repeats.clip)
    cortical = {scored.prepared.name: scored.scores.cortical} | {control.model: control for control in scored.controls}
    return Draws(
        participant=shared.data.label,
        task=shared.plan.task_label,
        model=scored.prepared.name,
        clips=tuple(clip_identity(shared.data.clips[k]) for k in heard),
        scores={
            model: KeptScore(one.statistics, one.committed_statistics, one.mapping) for model, one in cortical.items()
        },
        behavior=scored.prepared.behavior,
        conditions=conditions or {},
        behavior_conditions=scored.prepared.behavior.conditions,
    )
