"""Simulated datasets for `calibration`: what is heard when, what voxels answer, and the noise on top.

Nothing is read from disk: runs, clips and BOLD are arrays, and features are random smooth courses that belong
to a recording. A *recording* is what stands before ``~`` in a track's name: ``r3~2`` and ``r3~4`` are copies of
one recording under other names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import signal
from scipy.ndimage import uniform_filter1d

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "encoding"))

import listening  # noqa: E402
from listening import ToyModel, ToyStore, make_run, participant  # noqa: E402

from ban_bids.encoding.bold import ParticipantData  # noqa: E402
from ban_bids.inputs.heldout import HeldOutPlan, held_out_plan  # noqa: E402
from ban_bids.inputs.types import Clip, Participant, Run  # noqa: E402
from ban_bids.settings import Selection  # noqa: E402

__all__ = ["ToyStore"]  # from the tests, for `calibration`

FILES = (Path(__file__).resolve(), Path(listening.__file__).resolve())
"""What simulated data depend on besides the package."""

N_REGIONS = 25
N_VOXELS = 20
STEP = 0.25
"""Seconds of the fine time grid; onsets, TR and reference times are multiples of it."""

FIR = (0.0, 0.2, 0.8, 1.0, 0.8, 0.4, 0.1)
"""Haemodynamic response at lags 0, 1.5, ... 9 s, constant over the TR about each: a ridge model can reach it."""

_TR = 1.5
_SMOOTH = 2.0
_BURN_IN = 60
_SOURCES = 3


@dataclass(frozen=True)
class Layout:
    """What a participant hears in which run, and which runs are held out.

    Parameters
    ----------
    runs : tuple of Run
    test_runs : tuple of str
        As for ``--test-runs``: names of held-out runs, ``("all",)`` for each in turn, nothing for the default.
    t_ref : float
        Seconds from a volume's start to the time its samples refer to.
    """

    runs: tuple[Run, ...]
    test_runs: tuple[str, ...] = ()
    t_ref: float = 0.75

    @property
    def plan(self) -> HeldOutPlan:
        """Held-out runs by the package's own rule."""
        selection = Selection(Path(), test_runs=self.test_runs)
        return held_out_plan(Participant("01", (), self.runs), selection)


def recording(track: str) -> str:
    """Recording of which a track is a copy."""
    return track.partition("~")[0]


def run_of(
    name: str,
    tracks: Sequence[str],
    *,
    tr: float = _TR,
    gap: float = 0.0,
    clip: float = 15.0,
    rest: float = 6.0,
    lead_in: bool = False,
    acquisition: float | None = None,
) -> Run:
    """A run of clips after some rest (at least the gap); where there is any, 9 s of it follow the last clip."""
    first = 0.0 if lead_in else max(gap, rest)
    seconds = first + len(tracks) * (clip + gap) + (max(0.0, 9.0 - gap) if rest else 0.0)
    n_volumes = int(np.ceil(seconds / tr))
    run = make_run(name, list(tracks), tr, n_volumes, first, gap, clip, lead_in)
    return replace(run, acquisition_time=acquisition)


def shuffled(rng: np.random.Generator, tracks: Sequence[str], times: int = 1) -> list[str]:
    """Tracks in random order, all of them before any comes again, never one twice in a row."""
    out: list[str] = []
    for _ in range(times):
        part = [tracks[i] for i in rng.permutation(len(tracks))]
        if out and part[0] == out[-1]:
            part = [*part[1:], part[0]]
        out += part
    return out


def names(prefix: str, n: int) -> list[str]:
    """Tracks of so many recordings."""
    return [f"{prefix}{i}" for i in range(n)]


def own(n_runs: int, n_clips: int, prefix: str = "r", **options: float | None) -> list[Run]:
    """Runs of clips that no other run holds."""
    return [run_of(f"{prefix}{r}", names(f"{prefix}{r}c", n_clips), **options) for r in range(n_runs)]  # type: ignore[arg-type]


def cycles(n_runs: int, n_clips: int, times: int, *, lead_in: bool = True) -> list[Run]:
    """Runs that cycle their own clips in a fixed order, after the last one as a lead-in."""
    runs = []
    for r in range(n_runs):
        clips = names(f"x{r}c", n_clips)
        runs.append(run_of(f"test{r}", [clips[-1]] * lead_in + clips * times, lead_in=lead_in))
    return runs


def in_every_run(rng: np.random.Generator, n_runs: int, n_clips: int, *, order: str = "random",
                 **options: float | None) -> list[Run]:  # fmt: skip
    """Runs that all hold the same clips, in an order of their own or in the same one."""
    clips = names("c", n_clips)
    orders = [clips if order == "same" else shuffled(rng, clips) for _ in range(n_runs)]
    return [run_of(f"r{r}", tracks, **options) for r, tracks in enumerate(orders)]  # type: ignore[arg-type]


def uneven(rng: np.random.Generator, runs: Sequence[Run]) -> list[Run]:
    """The same runs with up to 10 s more of rest before every clip."""
    out = []
    for run in runs:
        later = np.cumsum(rng.uniform(0, 10, len(run.presentations)))
        played = tuple(replace(item, onset=item.onset + float(t)) for item, t in zip(run.presentations, later))
        n_volumes = run.n_volumes + int(np.ceil(later[-1] / run.repetition_time))
        out.append(replace(run, presentations=played, n_volumes=n_volumes))
    return out


def half_shared(rng: np.random.Generator) -> list[Run]:
    """Five runs of ten clips, five of them heard in every run."""
    return [run_of(f"r{r}", shuffled(rng, names("c", 5) + names(f"r{r}c", 5))) for r in range(5)]


def six_of_ten(rng: np.random.Generator) -> list[Run]:
    """Two held-out runs of ten clips twice, six of which four training runs held twice each."""
    training = []
    for r in range(4):
        shared = [f"c{(3 * r + i) % 6}" for i in range(3)]
        training.append(run_of(f"r{r}", shuffled(rng, shared + names(f"r{r}c", 9))))
    test = [run_of(f"test{r}", shuffled(rng, names("c", 10), 2)) for r in range(2)]
    return training + test


def renamed(runs: Sequence[Run]) -> list[Run]:
    """The same runs with every recording under another name in each."""
    out = []
    for r, run in enumerate(runs):
        played = tuple(
            replace(item, clip=replace(item.clip, audio=Path(f"/audio/{item.clip.track}~{r}.wav"),
                                       track=f"{item.clip.track}~{r}"))
            for item in run.presentations
        )  # fmt: skip
        out.append(replace(run, presentations=played))
    return out


def repeated(rng: np.random.Generator, *, clip: float, gap: float) -> list[Run]:
    """Two training runs, and two that play ten clips four times in random order."""
    training = own(2, 12, clip=clip, gap=gap)
    return training + [run_of(f"test{r}", shuffled(rng, names(f"x{r}c", 10), 4), clip=clip, gap=gap) for r in range(2)]


def in_a_row(n_clips: int, times: int) -> list[Run]:
    """Two training runs, and two that play each clip several times before the next."""
    test = [[track for track in names(f"x{r}c", n_clips) for _ in range(times)] for r in range(2)]
    return own(2, 12) + [run_of(f"test{r}", tracks) for r, tracks in enumerate(test)]


Maker = Callable[[np.random.Generator], Layout]
TEST = ("task-test0", "task-test1")
ALL = ("all",)
SPARSE = {"tr": 6.0, "acquisition": 2.0, "clip": 18.0}


def _layout(runs: Sequence[Run], test_runs: tuple[str, ...] = (), t_ref: float = 0.75) -> Layout:
    return Layout(tuple(runs), test_runs, t_ref)


LEAKS: dict[str, Maker] = {
    "every clip in every run, random order": lambda rng: _layout(in_every_run(rng, 5, 12, rest=0.0)),
    "every clip in every run, same order": lambda rng: _layout(in_every_run(rng, 5, 12, order="same", rest=0.0)),
    "every clip in every run, rest around": lambda rng: _layout(in_every_run(rng, 5, 12)),
    "half shared": lambda rng: _layout(half_shared(rng)),
    "held-out runs share 6 of 10": lambda rng: _layout(six_of_ten(rng), TEST),
    "two runs, shared": lambda rng: _layout(in_every_run(rng, 2, 12)),
    "two runs, own clips twice": lambda rng: _layout(
        [run_of(f"r{r}", shuffled(rng, names(f"r{r}c", 10), 2)) for r in range(2)]
    ),
    "one run, 16 clips twice": lambda rng: _layout([run_of("r", shuffled(rng, names("c", 16), 2))]),
    "one run, 20 clips once": lambda rng: _layout([run_of("r", names("c", 20))]),
    "ds003720, 4 + 2 runs": lambda rng: _layout(own(4, 20) + cycles(2, 10, 4), TEST),
    "one run of a fixed cycle": lambda rng: _layout(own(4, 20) + cycles(1, 10, 4), TEST[:1]),
    "ds003720's own size": lambda rng: _layout(
        own(12, 40) + cycles(6, 10, 4), tuple(f"task-test{r}" for r in range(6))
    ),
    "on/off, shared by 4 runs": lambda rng: _layout(in_every_run(rng, 4, 8, gap=15.0)),
    "sparse, shared by 4 runs": lambda rng: _layout(in_every_run(rng, 4, 16, **SPARSE), t_ref=1.0),
    "own clips, back to back": lambda rng: _layout(own(2, 10) + own(2, 10, "test"), TEST),
    "own clips, uneven rests": lambda rng: _layout(
        uneven(rng, own(2, 10, gap=2.0) + own(2, 10, "test", gap=2.0)), TEST
    ),
    "copies under other names": lambda rng: _layout(renamed(in_every_run(rng, 5, 12, rest=0.0))),
}
"""Where a recording may stand on both sides of a fold, or between which a run has to be cut."""

NULLS: dict[str, Maker] = {
    "back to back, 2 of 4 runs": lambda rng: _layout(own(2, 10) + own(2, 10, "test"), TEST),
    "fixed cycle, ds003720": lambda rng: _layout(own(3, 20) + cycles(2, 10, 4), TEST),
    "on/off, 2 of 4 runs": lambda rng: _layout(own(2, 8, gap=15.0) + own(2, 8, "test", gap=15.0), TEST),
    "sparse, 2 of 4 runs": lambda rng: _layout(own(2, 16, **SPARSE) + own(2, 16, "test", **SPARSE), TEST, 1.0),
    "2 runs in turn": lambda rng: _layout(own(2, 10), ALL),
    "3 runs in turn": lambda rng: _layout(own(3, 7), ALL),
    "3 runs in turn, on/off": lambda rng: _layout(own(3, 7, gap=15.0), ALL),
    "6 runs in turn": lambda rng: _layout(own(6, 7), ALL),
    "12 runs in turn": lambda rng: _layout(own(12, 7), ALL),
    "one run, back to back": lambda rng: _layout(own(1, 24)),
    "one run, on/off": lambda rng: _layout(own(1, 16, gap=15.0)),
}
"""Layouts without a response."""

TRUTH: dict[str, Maker] = {
    "fixed cycle": lambda rng: _layout(own(2, 12) + cycles(2, 10, 4), TEST),
    "fixed cycle, no lead-in": lambda rng: _layout(own(2, 12) + cycles(2, 10, 4, lead_in=False), TEST),
    **{
        f"random order, {clip:g} s" + (f" + {gap:g} s of rest" if gap else ""): (
            lambda rng, clip=clip, gap=gap: _layout(repeated(rng, clip=clip, gap=gap), TEST)
        )
        for clip in (6.0, 10.0, 15.0)
        for gap in (0.0, 4.0)
    },
    "repeats in a row": lambda rng: _layout(in_a_row(10, 4), TEST),
    "on/off": lambda rng: _layout(repeated(rng, clip=15.0, gap=15.0), TEST),
    "one run, 12 clips 4 times": lambda rng: _layout([run_of("r", shuffled(rng, names("c", 12), 4))]),
    "every clip in every run": lambda rng: _layout(in_every_run(rng, 4, 12)),
}  # type: ignore[dict-item]
"""Layouts with repeats, for what a perfect model scores."""


class Source:
    """Random courses of every recording: of features, or of what drives a response.

    Half of the variance is the recording's own level, as of timbre and tempo, half changes within seconds.

    Parameters
    ----------
    seed : int
    width : int
        Courses.
    name : str
        Sources of other names are unrelated.
    """

    def __init__(self, seed: int, width: int, name: str) -> None:
        self.seed, self.width, self.name = seed, width, name
        self._made: dict[str, np.ndarray] = {}

    def course(self, clip: Clip) -> np.ndarray:
        """Mean 0 and variance about 1, (seconds / `STEP`, width)."""
        key = recording(clip.track)
        if key not in self._made:
            rng = np.random.default_rng([self.seed, *self.name.encode(), 0, *key.encode()])
            n, half = round(clip.duration / STEP), round(_SMOOTH / STEP)
            white = rng.standard_normal((n + 2 * half, self.width))
            smooth = uniform_filter1d(white, half, axis=0)[half : half + n] * np.sqrt(half)
            self._made[key] = (smooth + rng.standard_normal(self.width)) / np.sqrt(2)
        return self._made[key]


@dataclass
class Listener(ToyModel):
    """A model of one layer whose features are the courses of sources, side by side."""

    layers: tuple[str, ...] = ("A1",)
    frame_rate: dict[str, float] = field(default_factory=lambda: {"A1": 1 / STEP})
    sources: tuple[Source, ...] = ()

    def frames(self, clip: Clip | None, layer: str) -> np.ndarray:
        if clip is None:
            return np.zeros((1, sum(source.width for source in self.sources)), dtype=np.float32)
        courses = np.hstack([source.course(clip) for source in self.sources])
        return (courses + self.loudness).astype(np.float32)


@dataclass(frozen=True, eq=False)
class World:
    """A layout in numbers: responses and noise of its rows.

    Parameters
    ----------
    layout : Layout
    seed : int
    n_regions, n_voxels : int
        Regions, and voxels in each; noise and responses are shared inside a region only.
    """

    layout: Layout
    seed: int
    n_regions: int = N_REGIONS
    n_voxels: int = N_VOXELS

    @cached_property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, 1])

    def response(self, course: Callable[[Clip], np.ndarray]) -> np.ndarray:
        """What follows the sound through `FIR`, nothing in silence, (all rows, width)."""
        kernel = np.repeat(FIR[1:], round(_TR / STEP)) * STEP
        kernel = np.concatenate([np.zeros(round(_TR / 2 / STEP)), kernel])
        parts = []
        for run in self.layout.runs:
            width = course(run.presentations[0].clip).shape[1]
            drive = np.zeros((round(run.n_volumes * run.repetition_time / STEP), width))
            for item in run.presentations:
                first = round(item.onset / STEP)
                heard = course(item.clip)[: len(drive) - first]
                drive[first : first + len(heard)] = heard
            rows = np.round((np.arange(run.n_volumes) * run.repetition_time + self.layout.t_ref) / STEP).astype(int)
            parts.append(signal.lfilter(kernel, [1.0], drive, axis=0)[rows - 1])
        return np.concatenate(parts)

    def hearing(self) -> np.ndarray:
        """Response to sound whatever it is, (all rows, 1)."""
        return self.response(lambda clip: np.ones((round(clip.duration / STEP), 1)))

    def mixed(self, courses: np.ndarray, *, shared: bool) -> np.ndarray:
        """Each voxel's own mixture of courses, of variance 1: (all rows, width) to (all rows, V).

        Where courses are not shared, every region has as many of its own.
        """
        n = len(courses)
        each = np.broadcast_to(courses[:, None], (n, self.n_regions, courses.shape[1])) if shared else courses
        each = each.reshape(n, self.n_regions, -1)
        weights = self.rng.standard_normal((self.n_regions, each.shape[2], self.n_voxels))
        out = np.einsum("nrk,rkv->nrv", each, weights).reshape(n, -1)
        return out / out.std(axis=0)

    def noise(self, autocorrelation: float) -> np.ndarray:
        """Autocorrelated noise of variance 1, three sources of each region and each voxel's own."""
        parts = []
        for run in self.layout.runs:
            width = self.n_regions * (_SOURCES + self.n_voxels)
            white = self.rng.standard_normal((_BURN_IN + run.n_volumes, width))
            rough = signal.lfilter([np.sqrt(1 - autocorrelation**2)], [1, -autocorrelation], white, axis=0)[_BURN_IN:]
            parts.append(rough.reshape(run.n_volumes, self.n_regions, -1))
        rough = np.concatenate(parts)
        weights = self.rng.standard_normal((self.n_regions, _SOURCES, self.n_voxels))
        together = np.einsum("nrk,rkv->nrv", rough[..., :_SOURCES], weights) + rough[..., _SOURCES:]
        return (together / np.sqrt(1 + np.sum(weights**2, axis=1))).reshape(len(rough), -1)

    def data(self, bold: np.ndarray) -> ParticipantData:
        """What encoding needs, with regions 1, 2, ..."""
        made = participant(list(self.layout.runs), bold, self.layout.t_ref, self.seed)
        region = np.repeat(np.arange(1, self.n_regions + 1), self.n_voxels).astype(np.int16)
        return replace(made, region=region)
