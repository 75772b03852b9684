"""What a network answers after each step of its last area."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from listeners import Fold, Listener, sound_frames, step_features

from ban_bids.training.evaluate import segment_frames
from ban_bids.training.low_level import fit_linear

PROBE, READOUT = "probe", "readout"
"""A linear read-out fitted per step, and the network's own, which was trained on the last step only."""


class StepProbes:
    """Read-outs of every step of a trained network's last area.

    Parameters
    ----------
    listener : Listener
        A network.
    fold : Fold
        Its training tracks fit the probes: logistic regression of fixed penalty on what the read-out would get.
    """

    def __init__(self, listener: Listener, fold: Fold) -> None:
        if listener.network is None:
            raise ValueError("only a network makes steps")
        self.network, self.length = listener.network, listener.crop_frames
        crops = [segment_frames(frames, self.length) for frames in fold.frames(self.network)]
        labels = np.repeat(fold.labels, [len(c) for c in crops])
        of_tracks = [step_features(self.network, c) for c in crops]
        self.probes = [fit_linear(np.concatenate(features), labels) for features in zip(*of_tracks)]

    def answers(self, sounds: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Read-out -> mean probabilities of the sounds' segments, (n_steps, n_sounds, n_genres)."""
        told: dict[str, list[np.ndarray]] = {PROBE: [], READOUT: []}
        for sound in sounds:
            steps = step_features(self.network, segment_frames(sound_frames(self.network, sound), self.length))
            told[PROBE].append(np.stack([p.probabilities(f).mean(axis=0) for p, f in zip(self.probes, steps)]))
            told[READOUT].append(np.stack([self._read_out(f).mean(axis=0) for f in steps]))
        return {kind: np.stack(answers, axis=1) for kind, answers in told.items()}

    def _read_out(self, features: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return torch.softmax(self.network.readout(torch.from_numpy(features)).double(), dim=1).numpy()
