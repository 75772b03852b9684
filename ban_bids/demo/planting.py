"""What the teacher's features plant: a few directions of each area, followed through the music.

Neighbouring areas of one network carry much the same information about slow responses, and two networks of different
seeds agree on the leading components of every area. Which directions are an area's own, whatever a network's seed, was
chosen by ``tools/make_demo_teacher.py`` with other networks on other music; the network that is scored and the music
of the demo have no part in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ban_bids.audio.waveforms import HeardClip, load_waveform
from ban_bids.constants import REGIONS, SAMPLING_RATE
from ban_bids.demo.responses import Courses
from ban_bids.errors import DataError
from ban_bids.files.npz import read_arrays
from ban_bids.models.candidate import Candidate
from ban_bids.typing import Floats

DATA = Path(__file__).with_name("data")
TEACHER = DATA / "teacher.safetensors"
DIRECTIONS = DATA / "planted.npz"
"""Written by ``tools/make_demo_teacher.py``."""

COARSE = 0.5
"""Step in which features are averaged before anything else, seconds: blood is too slow for less."""


@dataclass(frozen=True)
class Excerpt:
    """A piece of audio that a network listens to: file, start and duration in seconds."""

    audio: Path
    start: float
    duration: float


@dataclass(frozen=True)
class Listening:
    """What a network makes of some excerpts of equal length.

    Parameters
    ----------
    features : dict of str to ndarray of float32, shape (n_excerpts, n_bins, n_features)
        Area to features, averaged over half-second bins.
    silence : dict of str to ndarray, shape (n_features,)
        Area to features of silence.
    """

    features: Mapping[str, npt.NDArray[np.float32]]
    silence: Mapping[str, npt.NDArray[np.float32]]


def listen(model: Candidate, excerpts: Sequence[Excerpt]) -> Listening:
    """Let a network listen to excerpts, and to three seconds of silence.

    Parameters
    ----------
    model : Candidate
        Any model with the four areas.
    excerpts : sequence of Excerpt
        All of one duration.

    Returns
    -------
    Listening
    """
    bins: dict[str, list[npt.NDArray[np.float32]]] = {area: [] for area in REGIONS}
    for excerpt in excerpts:
        wave = load_waveform(excerpt.audio, excerpt.start, excerpt.duration)
        for area, frames in model.features([HeardClip(None, SAMPLING_RATE, wave)])[0].items():
            count = round(excerpt.duration / COARSE)
            edges = np.linspace(0, frames.shape[0], count + 1).astype(int)
            means = np.add.reduceat(frames, edges[:-1], axis=0) / np.diff(edges)[:, None]
            bins[area].append(means.astype(np.float32))
    quiet = model.features([HeardClip.silence(3.0, SAMPLING_RATE)])[0]
    return Listening(
        {area: np.stack(values).astype(np.float32) for area, values in bins.items()},
        {area: quiet[area][-1] for area in REGIONS},
    )


@dataclass(frozen=True)
class Planted:
    """Directions of the teacher's features that drive one region.

    Parameters
    ----------
    mean : ndarray, shape (n_features,)
        Taken off first.
    directions : ndarray, shape (n_features, n_components)
    """

    mean: Floats
    directions: Floats

    def of(self, features: npt.NDArray[np.float32]) -> Floats:
        """Components of features, shape (…, n_components)."""
        return (features - self.mean) @ self.directions


def read_directions(path: Path = DIRECTIONS) -> dict[str, Planted]:
    """Read what is planted, by area.

    Raises
    ------
    DataError
        The file is damaged.
    """
    found = read_arrays(path)
    if found is None:
        raise DataError(f"{path}: missing or damaged; install ban-bids again")
    return {area: Planted(found[f"{area}/mean"], found[f"{area}/directions"]) for area in REGIONS}


def follow(teacher: Listening, planted: Mapping[str, Planted]) -> Courses:
    """Follow what is planted through the clips of the experiment.

    Parameters
    ----------
    teacher : Listening
        To the clips.
    planted : mapping of str to Planted
        By area.

    Returns
    -------
    Courses
        Components of unit variance over the clips.
    """
    clips, silence = {}, {}
    for area, own in planted.items():
        heard = own.of(teacher.features[area])
        mean, spread = heard.mean(axis=(0, 1)), heard.std(axis=(0, 1))
        clips[area] = list((heard - mean) / spread)
        # silence is far from any music: unbounded, it would be the only thing that drives a voxel
        silence[area] = np.clip((own.of(teacher.silence[area]) - mean) / spread, -1, 1)
    return Courses(clips, silence, COARSE)
