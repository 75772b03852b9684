"""The networks that the demo trains and scores.

All are trained on the same synthesised tracks for a fixed number of epochs, so that the result does not depend on the
machine's speed. The network that plants the responses comes with the package, see ``planting``.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ban_bids.files.processes import die_with_parent
from ban_bids.files.sharing import no_semaphores

_LOG = logging.getLogger(__name__)

NETWORKS = {"ban": 1.0, "ban-feedforward": 1.0, "deepcnn": 0.16}
"""Presets, BAN first, and the share of the epochs that each is trained: one of deepcnn's costs five of BAN's."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class TrainingJob:
    """One network to train.

    Parameters
    ----------
    genres : Path
        Folder of genres.
    out : Path
        Checkpoint.
    seed : int
        Of weights, crops and split.
    epochs : int
        Passes through the tracks.
    preset : str
        Architecture.
    exclude : tuple of Path
        Sounds that must not train it: those of the scanner and of the genre choices. Synthesised tracks of one genre
        may sound alike enough to count as one recording.
    """

    genres: Path
    out: Path
    seed: int
    epochs: int
    preset: str = "ban"
    exclude: tuple[Path, ...] = ()


def training_jobs(genres: Path, folder: Path, seed: int, epochs: int, exclude: tuple[Path, ...]) -> list[TrainingJob]:
    """One job per network of the demo, each for its share of the epochs, into ``folder/<preset>.safetensors``."""
    return [
        TrainingJob(genres, folder / f"{name}.safetensors", seed, round(share * epochs), preset=name, exclude=exclude)
        for name, share in NETWORKS.items()
    ]


def train_network(job: TrainingJob) -> Path:
    """Train one network with one thread (runs in a process of its own), unless an earlier call of the demo did."""
    from ban_bids.training.settings import TrainingSettings
    from ban_bids.training.train import train_once

    # as long as was promised, and without random controls, which the demo does not score
    settings = TrainingSettings(
        job.preset, split="stratified", seed=job.seed, epochs=job.epochs, plateau=None, controls=False
    )
    return train_once(job.genres, job.out, settings, exclude=job.exclude, nthreads=1, device="cpu", progress=False)


def _start_worker() -> None:
    """End with the process that started this one; keep notes on tracks, which may sound alike, off the terminal."""
    die_with_parent()
    logging.getLogger("ban_bids").setLevel(logging.ERROR)


class _Here(Executor):
    """Does what it is given at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@contextmanager
def workers(count: int) -> Iterator[Executor]:
    """Fresh processes with one numerical thread each; the thread settings of this process are put back.

    Where processes can share nothing, this one does all, one thing after the other.
    """
    if why := no_semaphores():
        _LOG.warning("%s: everything is done in one process", why)
        yield _Here()
        return
    saved = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        with ProcessPoolExecutor(
            max(count, 1), mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
        ) as pool:
            yield pool
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
