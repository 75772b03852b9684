"""Small experiments for tests: sounds are short, texts are in the folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import soundfile

from ban_bids.listen.experiment import Experiment, Layout, ListeningClip, write_experiment, write_people
from ban_bids.listen.texts import TEXTS

CHOICES = ("blues", "rock", "hip hop")
CODES = {"anna": "code-of-anna-0001", "ben": "code-of-ben-00002"}


def clips(count: int, name: str = "clip") -> tuple[ListeningClip, ...]:
    return tuple(
        ListeningClip(f"{name}-{k}", f"{name}.{k:05d}.wav", 0.5 * k, 2.0, CHOICES[k % len(CHOICES)])
        for k in range(count)
    )


def experiment(n_clips: int = 4, *, practice: int = 1, confidence: bool = True, **changes: int) -> Experiment:
    given = {"repeats": 1, "checks": 1, "seed": 7} | changes
    return Experiment("genre", CHOICES, clips(n_clips), clips(practice, "practice"), confidence=confidence, **given)


def write(root: Path, made: Experiment, codes: dict[str, str] | None = None) -> Layout:
    """A folder as ``ban-bids-listen make`` leaves it."""
    layout = Layout(root)
    for name in ("soundcheck", *(clip.id for clip in (*made.clips, *made.practice))):
        path = layout.clip(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.sin(np.arange(800) / (3 + len(name))), 8000, subtype="PCM_16")
    write_experiment(layout, made)
    shutil.copyfile(TEXTS, layout.texts)
    write_people(layout, codes or CODES)
    return layout
