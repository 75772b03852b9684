"""Train BAN on a folder of genres and write a checkpoint with its card."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ban_bids.errors import UsageError
from ban_bids.models.architectures import build
from ban_bids.models.architectures import preset as preset_config
from ban_bids.models.base import resolve_device
from ban_bids.models.checkpoint import ModelCard, library_versions, save_checkpoint
from ban_bids.models.network import AuditoryNetwork
from ban_bids.settings import DEFAULT_SEED
from ban_bids.training.augmentation import PLAIN
from ban_bids.training.cache import AudioCache
from ban_bids.training.clock import BudgetClock
from ban_bids.training.crops import CropBatches
from ban_bids.training.datasets import Collection, log_mel_frames, read_collection
from ban_bids.training.evaluate import evaluate
from ban_bids.training.evaluation_scores import Evaluation
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import Split, split_tracks

_LOG = logging.getLogger(__name__)
_CALIBRATION_EPOCHS = 4


@dataclass(frozen=True)
class _Data:
    """Log-mel frames and genre numbers of both sides of a split."""

    training: list[np.ndarray]
    training_labels: list[int]
    validation: list[np.ndarray]
    validation_labels: list[int]


@dataclass(frozen=True)
class _Trained:
    """What came out of a training."""

    network: AuditoryNetwork
    evaluation: Evaluation
    steps: int
    out_of_time: bool


def train_model(
    data_dir: Path,
    out: Path,
    *,
    exclude: Iterable[Path] = (),
    split: str = "fault-filtered",
    seed: int = DEFAULT_SEED,
    epochs: int = 200,
    max_minutes: float | None = None,
    budget_clock: str = "wall",
    preset: str = "ban",
    nthreads: int = 1,
    device: str = "auto",
    progress: bool = True,
    cache: AudioCache | None = None,
) -> Path:
    """Train BAN and write its checkpoint.

    Parameters
    ----------
    data_dir : Path
        Folder of genres, see :func:`ban_bids.training.datasets.read_collection`.
    out : Path
        Checkpoint to write (``.safetensors``).
    exclude : iterable of Path
        Audio files whose content must neither train nor validate.
    split, seed, epochs, max_minutes, budget_clock, preset
        See :class:`ban_bids.training.settings.TrainingSettings`.
    nthreads : int
        CPU threads.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    progress : bool
        Show a bar on a terminal and a log line a minute elsewhere.
    cache : AudioCache, optional
        Where decoded audio is kept; by default that of the user.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    DataError, UsageError
        For data or settings that cannot be used.
    """
    settings = TrainingSettings(
        preset=preset,
        split=split,
        seed=seed,
        epochs=epochs,
        max_minutes=max_minutes,
        budget_clock=budget_clock,
    )
    collection = read_collection(data_dir, exclude, cache)
    return train_collection(collection, out, settings, nthreads=nthreads, device=device, progress=progress)


def train_collection(
    collection: Collection,
    out: Path,
    settings: TrainingSettings,
    *,
    nthreads: int = 1,
    device: str = "auto",
    progress: bool = True,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Train BAN on a collection that has been read; see :func:`train_model`.

    Parameters
    ----------
    extra : dict, optional
        Written among the card's settings.
    """
    _check(out, settings)
    started = time.monotonic()
    split = split_tracks(collection.tracks, settings.split, settings.seed, collection.excluded)
    with _threads(nthreads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = build(preset_config(settings.preset), len(collection.genres), settings.seed)
        data = _load(network, collection, split)
        _LOG.info(
            "training %s on %d tracks of %d genres, %d validate; split %s", network.config.name,
            len(split.training), len(collection.genres), len(split.validation), split.name,
        )  # fmt: skip
        done = _train(network, data, len(collection.genres), settings, device, progress)
    minutes = (time.monotonic() - started) / 60.0
    accuracy = done.evaluation.track_accuracy
    metrics = {**done.evaluation.to_dict(), "steps": done.steps, "minutes": round(minutes, 2)}
    card = _card(done, collection, split, settings, metrics, extra or {})
    _LOG.info(
        "track accuracy %.2f (95 %% interval %.2f-%.2f, %d validation tracks, split %s) after %.1f minutes",
        accuracy.value, *accuracy.interval, done.evaluation.n_tracks, split.name, minutes,
    )  # fmt: skip
    return save_checkpoint(out, done.network, card)


def _check(out: Path, settings: TrainingSettings) -> None:
    """Refuse before minutes are spent what could not be used or written after them."""
    if settings.epochs < 1 or (settings.max_minutes is not None and settings.max_minutes <= 0):
        raise UsageError("--epochs and --max-minutes must be above zero")
    BudgetClock(settings.budget_clock)
    if Path(out).suffix != ".safetensors":
        raise UsageError(f"{out}: a checkpoint's name ends in .safetensors")
    existing = next(folder for folder in Path(out).absolute().parents if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{out}: user {os.getuid()} may not write into {existing}; choose another --out")


def _train(
    network: AuditoryNetwork,
    data: _Data,
    n_genres: int,
    settings: TrainingSettings,
    device: str,
    progress: bool,
) -> _Trained:
    from ban_bids.training.fit import fit  # Lightning takes seconds to import; reusing weights must not wait

    _set_statistics(network, data.training)
    crop_frames = _crop_frames(settings, network)
    batches = CropBatches(
        data.training, data.training_labels, n_genres, crop_frames,
        settings.batch_size, settings.augmentation, settings.seed, device=resolve_device(device),
    )  # fmt: skip
    module = fit(network, batches, settings, device, progress)
    trained = _measured(module.averaged_network().cpu(), data.training, crop_frames, settings.seed + 1)
    evaluation = evaluate(trained, data.validation, data.validation_labels, n_genres, crop_frames)
    return _Trained(trained, evaluation, module.steps_done, module.out_of_time)


def _load(network: AuditoryNetwork, collection: Collection, split: Split) -> _Data:
    number = {genre: k for k, genre in enumerate(collection.genres)}
    return _Data(
        log_mel_frames(split.training, network.front_end, collection.cache),
        [number[t.genre] for t in split.training],
        log_mel_frames(split.validation, network.front_end, collection.cache),
        [number[t.genre] for t in split.validation],
    )


def _set_statistics(network: AuditoryNetwork, frames: Sequence[np.ndarray]) -> None:
    """Mean and deviation of every mel band over the training tracks."""
    n = sum(f.shape[1] for f in frames)
    mean = sum(f.astype(np.float64).sum(axis=1) for f in frames) / n
    variance = sum(np.square(f.astype(np.float64) - mean[:, None]).sum(axis=1) for f in frames) / n
    # a band that never sounds must not be blown up
    scale = np.maximum(np.sqrt(variance), 0.5)
    front_end = network.front_end
    front_end.mean.copy_(torch.from_numpy(np.asarray(mean, np.float32))[:, None])
    front_end.scale.copy_(torch.from_numpy(np.asarray(scale, np.float32))[:, None])


def _crop_frames(settings: TrainingSettings, network: AuditoryNetwork) -> int:
    """Frames of a crop, whole frames of the slowest area."""
    stride = network.config.time_stride
    return stride * max(1, round(settings.crop_seconds * network.front_end.config.frame_rate / stride))


def _measured(
    network: AuditoryNetwork, frames: Sequence[np.ndarray], crop_frames: int, seed: int
) -> AuditoryNetwork:
    """Averaged weights, their normalisation measured anew on unaugmented crops of the training tracks."""
    crops = CropBatches(frames, [0] * len(frames), 1, crop_frames, 32, PLAIN, seed)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    with torch.no_grad():
        for epoch in range(_CALIBRATION_EPOCHS):
            for batch, _targets in crops.epoch(epoch):
                network.from_frames(network.front_end.standardise(batch))
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()


def _card(
    done: _Trained,
    collection: Collection,
    split: Split,
    settings: TrainingSettings,
    metrics: dict[str, Any],
    extra: dict[str, Any],
) -> ModelCard:
    notes = [*split.notes]
    if collection.unreadable:
        notes.append(f"files that cannot be decoded and were skipped: {len(collection.unreadable)}")
    if collection.replicas:
        notes.append(f"files that repeat other tracks and were left out: {len(collection.replicas)}")
    if done.out_of_time:
        kind = "processor" if settings.budget_clock == "cpu" else "wall-clock"
        notes.append(f"the time budget of {settings.max_minutes} {kind} minutes ended the training")
    return ModelCard(
        config=done.network.config.to_dict(),
        genres=collection.genres,
        split=split.name,
        training_hashes={t.name: t.digest for t in split.training},
        validation_hashes={t.name: t.digest for t in split.validation},
        excluded={t.name: t.digest for t in collection.excluded},
        unreadable=collection.unreadable,
        notes=tuple(notes),
        metrics=metrics,
        settings={**asdict(settings), **extra},
        versions=library_versions(),
    )


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
