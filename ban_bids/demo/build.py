"""Make a whole demo dataset: music, networks, participants, truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ban_bids.demo.anatomy import head_template
from ban_bids.demo.behavior import write_everybodys_choices
from ban_bids.demo.dataset import participant_label, write_top_level
from ban_bids.demo.music import write_tracks
from ban_bids.demo.networks import TrainingJob, train_network, training_jobs, workers
from ban_bids.demo.participants import RESPONSIVE, ParticipantJob, make_participant
from ban_bids.demo.phantom import responsive_in_mni
from ban_bids.demo.plan import FIRST_CHOICE, FIRST_STIMULUS, DemoSize, plan_runs
from ban_bids.demo.planting import TEACHER, Excerpt, Listening, follow, listen, read_directions
from ban_bids.demo.styles import GENRES
from ban_bids.demo.truth import write_truth

JUDGES = 12
"""People who choose genres, at least; those in the scanner are among them."""


@dataclass(frozen=True)
class Music:
    """The audio files of a demo, genre by genre.

    Parameters
    ----------
    training : tuple of Path
        BAN's training tracks.
    stimuli : tuple of Path
        Tracks heard in the scanner.
    choices : tuple of Path
        Clips of the genre-choice task.
    """

    training: tuple[Path, ...]
    stimuli: tuple[Path, ...]
    choices: tuple[Path, ...]


def training_tracks(root: Path, size: DemoSize, seed: int) -> list[Path]:
    """Synthesise the tracks that networks are trained on, ``genres/``."""
    return write_tracks(root / "genres", "training", size.genre_tracks, size.genre_seconds, seed, by_genre=True)


def stimulus_tracks(root: Path, size: DemoSize, seed: int) -> list[Path]:
    """Synthesise the tracks that are heard in the scanner."""
    folder, seconds = root / "bids" / "stimuli", size.start + size.clip + 0.5
    return write_tracks(folder, "stimuli", size.stimuli_per_genre, seconds, seed, by_genre=False, first=FIRST_STIMULUS)


def judged_tracks(root: Path, size: DemoSize, seed: int) -> list[Path]:
    """Synthesise the clips of the genre-choice task."""
    folder = root / "bids" / "stimuli"
    return write_tracks(
        folder, "choices", size.choice_clips, size.choice_seconds, seed, by_genre=False, first=FIRST_CHOICE
    )


def make_music(root: Path, size: DemoSize, seed: int, pool: Executor) -> Music:
    """Synthesise all tracks, a folder of files at a time."""
    parts = [pool.submit(make, root, size, seed) for make in (training_tracks, stimulus_tracks, judged_tracks)]
    return Music(*(tuple(part.result()) for part in parts))


def read_once(genres: Path, exclude: Sequence[Path]) -> None:
    """Read the training tracks into the cache of decoded audio, where every network finds them."""
    from ban_bids.training.datasets import read_collection

    read_collection(genres, exclude)


def listen_to(
    weights: Path, excerpts: Sequence[Excerpt], clips: Sequence[Path]
) -> tuple[Listening, npt.NDArray[np.float64]]:
    """Let the network of a checkpoint listen (runs in a process of its own).

    Parameters
    ----------
    weights : Path
        Checkpoint.
    excerpts : sequence of Excerpt
        For the features.
    clips : sequence of Path
        Whole files, for the probabilities of genres.

    Returns
    -------
    Listening
    ndarray, shape (n_clips, n_genres)
    """
    import torch

    from ban_bids.audio.waveforms import HeardClip, load_waveform
    from ban_bids.models.checkpoint import load_checkpoint
    from ban_bids.models.network import NetworkModel

    torch.set_num_threads(1)
    network, _ = load_checkpoint(weights)
    model = NetworkModel(network, GENRES)
    heard = [HeardClip(None, model.sampling_rate, load_waveform(clip)) for clip in clips]
    probabilities = model.genre_probabilities(heard) if heard else np.empty((0, len(GENRES)))
    return listen(model, excerpts), probabilities


def make_demo(
    root: Path,
    size: DemoSize,
    participants: int,
    seed: int,
    nprocs: int,
    *,
    train: Callable[[TrainingJob], Path] = train_network,
    begin: Callable[[str], object] = lambda step: None,
) -> Path:
    """Write dataset, truth, training tracks and the weights of the scored networks into a folder.

    Parameters
    ----------
    root : Path
        Target; receives ``bids/``, ``truth/``, ``genres/`` and one ``.safetensors`` file per network.
    size : DemoSize
        The protocol.
    participants : int
        How many people.
    seed : int
        Everything follows from it.
    nprocs : int
        Processes at a time, one thread each.
    train : callable
        Trains one network; it is called in other processes.
    begin : callable
        Told the key of each step that begins, see `countdown.demo_steps`.

    Returns
    -------
    Path
        BAN's weights.
    """
    labels = [participant_label(index) for index in range(participants)]
    judges = [participant_label(index) for index in range(max(participants, JUDGES))]
    truth, genres = root / "truth", root / "genres"
    truth.mkdir(parents=True, exist_ok=True)
    with workers(nprocs) as pool:
        begin("music")
        music = make_music(root, size, seed, pool)
        write_top_level(root / "bids", size, judges, seed)
        excerpts = [Excerpt(path, size.start, size.clip) for path in music.stimuli]
        teacher = pool.submit(listen_to, TEACHER, excerpts, music.choices)
        kept_out = (*music.stimuli, *music.choices)
        pool.submit(read_once, genres, kept_out).result()  # not once per network
        begin("networks")
        trained = [pool.submit(train, job) for job in training_jobs(genres, root, seed, size.epochs, kept_out)]
        heard, probabilities = teacher.result()
        source = follow(heard, read_directions())
        runs = plan_runs(size, len(music.stimuli), seed)
        jobs = [ParticipantJob(root, label, size, seed, runs, music.stimuli, source) for label in labels]
        table = pd.concat(list(pool.map(make_participant, jobs)), ignore_index=True)
        weights = [training.result() for training in trained]
    write_everybodys_choices(root / "bids", judges, music.choices, probabilities, trials=size.choice_trials, seed=seed)
    extra = {
        "scored_seed": seed,
        "n_components": source.n_components,
        "responsive_share": RESPONSIVE,
    }
    write_truth(truth, size, seed, responsive_in_mni(head_template(), RESPONSIVE, seed), table, extra)
    return weights[0]
