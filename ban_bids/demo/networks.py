"""The demo's networks: the student that is scored, the teacher that plants, a reference that helps choose.

All are BAN trained on the same synthesised tracks from different seeds, for a fixed number of epochs, so that
the result does not depend on the machine's speed.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TEACHER_SEED = 7001
"""Added to the dataset's seed: the teacher is never the network that is scored."""

REFERENCE_SEED = 9001
"""Added to the dataset's seed: a third network, which shows what seeds have in common."""

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
    """

    genres: Path
    out: Path
    seed: int
    epochs: int


def train_network(job: TrainingJob) -> Path:
    """Train one network with one thread (runs in a process of its own)."""
    from ban_bids.training.settings import TrainingSettings
    from ban_bids.training.train import train_model

    settings = TrainingSettings(split="stratified", seed=job.seed, epochs=job.epochs)
    return train_model(job.genres, job.out, settings, nthreads=1, device="cpu", progress=False)


def train_networks(jobs: Sequence[TrainingJob], nprocs: int) -> list[Path]:
    """Train networks side by side.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        What to train.
    nprocs : int
        Most processes at a time, one thread each.

    Returns
    -------
    list of Path
        The checkpoints, in the order of the jobs.
    """
    with workers(min(nprocs, len(jobs))) as pool:
        return list(pool.map(train_network, jobs))


@contextmanager
def workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes with one numerical thread each; the thread settings of this process are put back."""
    saved = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        with ProcessPoolExecutor(max(count, 1), mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
