"""How large a demo is, what is heard when, and where the files go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ban_bids.demo.phantom import Scan
from ban_bids.demo.responses import Heard
from ban_bids.demo.styles import GENRES

SizeName = Literal["small", "full"]

FIRST_STIMULUS = 20
"""Number of the first stimulus track of a genre; lower numbers are BAN's training tracks."""

FIRST_CHOICE = 60
"""Number of the first track of the genre-choice task."""


@dataclass(frozen=True)
class DemoSize:
    """Everything that sets how large a demo dataset is.

    Parameters
    ----------
    training_runs, training_clips : int
        Runs, and different clips in each.
    test_runs, test_clips, repeats : int
        Runs, different clips in each, and how often each is heard in its run.
    shape, voxel : tuple of int, float
        BOLD grid and its voxel size, millimetres.
    clip, lead, tail, start : float
        Seconds of a clip, of silence before and after the clips, and where in its track a clip starts.
    t1w_voxel : float
        Voxel size of the T1w image, millimetres.
    genre_tracks, genre_seconds : int, float
        Training tracks a genre and their length.
    choice_clips, choice_seconds, choice_trials : int, float, int
        Clips a genre of the genre-choice task, their length, and trials a person and clip.
    epochs : int
        Passes through the training tracks; see ``networks.NETWORKS``.
    participants : int
        People, unless told otherwise.
    motion : float
        Largest excursion of the head in a run, millimetres and degrees: that of people who lie still.
    """

    training_runs: int
    training_clips: int
    test_runs: int
    test_clips: int
    repeats: int
    shape: tuple[int, int, int]
    voxel: float
    t1w_voxel: float
    genre_tracks: int
    epochs: int
    participants: int
    clip: float = 3.0
    lead: float = 12.4
    tail: float = 17.6
    start: float = 0.5
    genre_seconds: float = 10.0
    choice_clips: int = 6
    choice_seconds: float = 5.0
    choice_trials: int = 3
    motion: float = 0.3

    def scan(self, presentations: int) -> Scan:
        """Protocol of a run that presents so many clips."""
        scan = Scan(self.shape, self.voxel, motion=self.motion)
        seconds = self.lead + presentations * self.clip + self.tail
        return replace(scan, n_volumes=int(np.ceil(seconds / scan.repetition_time)))

    @property
    def stimuli_per_genre(self) -> int:
        """Stimulus tracks a genre: every clip is from a track of its own."""
        clips = self.training_runs * self.training_clips + self.test_runs * self.test_clips
        return -(-clips // len(GENRES))


SIZES: dict[str, DemoSize] = {
    "full": DemoSize(
        training_runs=4,
        training_clips=54,
        test_runs=1,
        test_clips=18,
        repeats=3,
        shape=(50, 60, 24),
        voxel=3.5,
        t1w_voxel=2.0,
        genre_tracks=7,
        epochs=70,
        participants=2,
    ),
    "small": DemoSize(
        training_runs=3,
        training_clips=24,
        test_runs=1,
        test_clips=12,
        repeats=3,
        shape=(44, 54, 40),
        voxel=4.0,
        t1w_voxel=2.0,
        genre_tracks=6,
        epochs=24,
        participants=1,
    ),
}


@dataclass(frozen=True)
class PlannedRun:
    """One run of a participant.

    Parameters
    ----------
    number : int
        Run index, from 1.
    heard : tuple of Heard
        Clips (indices into the list of stimuli) and onsets.
    repeated : bool
        Whether clips repeat, which makes it a held-out run.
    """

    number: int
    heard: tuple[Heard, ...]
    repeated: bool


def plan_runs(size: DemoSize, n_stimuli: int, seed: int) -> tuple[PlannedRun, ...]:
    """Share the stimuli out to runs; every participant hears the same runs.

    Parameters
    ----------
    size : DemoSize
        Runs, clips and repeats.
    n_stimuli : int
        Stimulus tracks, genre by genre.
    seed : int
        Order of the clips.

    Returns
    -------
    tuple of PlannedRun
        Training runs first. Test clips are spread over the genres; a test run plays its clips in a fixed
        cycle, so that a repeat follows the same clip each time (except the first after silence).
    """
    rng = np.random.default_rng([seed, 5])
    per_genre = n_stimuli // len(GENRES)
    # Round-robin over genres: the first of each genre, the second of each, ...
    spread = np.arange(n_stimuli).reshape(len(GENRES), per_genre).T.ravel()
    n_test = size.test_runs * size.test_clips
    test, training = rng.permutation(spread[: max(n_test, len(GENRES))]), spread[n_test:]
    test, extra = test[:n_test], test[n_test:]
    training = rng.permutation(np.union1d(np.setdiff1d(training, test), extra))
    runs = []
    for run in range(size.training_runs):
        clips = training[run * size.training_clips : (run + 1) * size.training_clips]
        runs.append(PlannedRun(run + 1, _sequence(size, clips.tolist()), repeated=False))
    for run in range(size.test_runs):
        clips = test[run * size.test_clips : (run + 1) * size.test_clips]
        heard = _sequence(size, clips.tolist() * size.repeats)
        runs.append(PlannedRun(size.training_runs + run + 1, heard, repeated=True))
    return tuple(runs)


def _sequence(size: DemoSize, clips: list[int]) -> tuple[Heard, ...]:
    """Clips back to back after the leading silence."""
    return tuple(Heard(clip, round(size.lead + place * size.clip, 3)) for place, clip in enumerate(clips))
