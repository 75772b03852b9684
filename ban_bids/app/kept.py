"""What is kept of a participant's scores, so that models are compared in the same draws of clips later."""

from __future__ import annotations

import numpy as np

from ban_bids.app.summary import ParticipantInput, ScoredCandidate
from ban_bids.audio.waveforms import audio_hash
from ban_bids.derivatives.draws import Draws
from ban_bids.inputs.types import Clip
from ban_bids.scoring.comparison import KeptScore


def clip_identity(clip: Clip) -> str:
    """Name a clip by what is heard: the same for all people, whatever file of whatever name holds the sound.

    Returns
    -------
    str
        Beginning of the hash of the decoded recording, start and duration in milliseconds.
    """
    return f"{audio_hash(clip.audio)[:24]}@{round(1000 * clip.start)}+{round(1000 * clip.duration)}"


def kept_draws(shared: ParticipantInput, scored: ScoredCandidate) -> Draws:
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
    )
