"""Train BAN on a folder of genres and write a checkpoint with its card."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ban_bids.errors import UsageError
from ban_bids.models.checkpoint import save_checkpoint
from ban_bids.models.network import AuditoryNetwork
from ban_bids.models.presets import LOW_LEVEL, build
from ban_bids.models.presets import preset as preset_config
from ban_bids.training.augmentation import PLAIN
from ban_bids.training.cache import AudioCache
from ban_bids.training.card import Trained, training_card, write_card
from ban_bids.training.crops import CropBatches
from ban_bids.training.datasets import Collection, Track, log_mel_frames, read_collection
from ban_bids.training.evaluate import crop_length, evaluate
from ban_bids.training.hardware import ONE_PROCESS, Parallel, check_hardware
from ban_bids.training.low_level import train_low_level
from ban_bids.training.resume import ResumeState, training_fingerprint
from ban_bids.training.settings import TrainingSettings, check_settings
from ban_bids.training.splits import Split, split_tracks

_LOG = logging.getLogger(__name__)
_CALIBRATION_EPOCHS = 4
_INNER_CROPS = 8


@dataclass(frozen=True)
class _Side:
    """Log-mel frames and genre numbers of some tracks."""

    frames: list[np.ndarray]
    labels: list[int]


@dataclass(frozen=True)
class _Data:
    """What trains, what early stopping judges by (part of the training tracks), what validates."""

    training: _Side
    inner: _Side
    validation: _Side
    n_genres: int


@dataclass(frozen=True)
class _Where:
    """On what the training runs, and what it shows."""

    device: str
    parallel: Parallel
    progress: bool


def train_model(
    data_dir: Path,
    out: Path,
    settings: TrainingSettings | None = None,
    *,
    exclude: Iterable[Path] = (),
    nthreads: int = 1,
    device: str = "auto",
    parallel: Parallel = ONE_PROCESS,
    progress: bool = True,
    cache: AudioCache | None = None,
) -> Path:
    """Train a network and write its checkpoint.

    A training that was killed goes on where it was, at most a minute back, when it is started again with the
    same data, settings and ``out``: on a CPU the weights are bit for bit those of an uninterrupted training.
    Under ``max_minutes`` the time that was used counts, but the weights differ.

    Parameters
    ----------
    data_dir : Path
        Folder of genres, see :func:`ban_bids.training.datasets.read_collection`.
    out : Path
        Checkpoint to write (``.safetensors``). Its card is written beside it too (``.json``).
    settings : TrainingSettings, optional
    exclude : iterable of Path
        Audio files whose content must neither train nor validate.
    nthreads : int
        CPU threads of a process.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    parallel : Parallel
        Several GPUs or nodes. All processes call this function; the first one writes, and the others return
        before it has.
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
    settings = TrainingSettings() if settings is None else settings
    _check(out, settings, device, parallel)
    return train_collection(
        read_collection(data_dir, exclude, cache), out, settings,
        nthreads=nthreads, device=device, parallel=parallel, progress=progress,
    )  # fmt: skip


def train_collection(
    collection: Collection,
    out: Path,
    settings: TrainingSettings,
    *,
    nthreads: int = 1,
    device: str = "auto",
    parallel: Parallel = ONE_PROCESS,
    progress: bool = True,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Train a network on a collection that has been read; see :func:`train_model`.

    Parameters
    ----------
    extra : dict, optional
        Written among the card's settings.
    """
    out = Path(out)
    _check(out, settings, device, parallel)
    if settings.preset in LOW_LEVEL:
        with _threads(nthreads):
            return train_low_level(collection, out, settings, extra or {})
    started = time.monotonic()
    split = split_tracks(collection.tracks, settings.split, settings.seed, collection.excluded)
    state = ResumeState(out, training_fingerprint(collection, settings), parallel.n_processes)
    with _threads(nthreads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = build(preset_config(settings.preset), len(collection.genres), settings.seed)
        data = _load(network, collection, split, settings)
        _LOG.info(
            "training %s on %d tracks of %d genres, %d validate; split %s", network.config.name,
            len(split.training), len(collection.genres), len(split.validation), split.name,
        )  # fmt: skip
        done = _train(network, data, settings, state, _Where(device, parallel, progress))
    if done is None:
        return out
    minutes = (time.monotonic() - started) / 60.0
    accuracy = done.evaluation.track_accuracy
    card = training_card(done, collection, split, settings, minutes, extra or {})
    _LOG.info(
        "track accuracy %.2f (95 %% interval %.2f-%.2f, %d validation tracks, split %s) after %.1f minutes",
        accuracy.value, *accuracy.interval, done.evaluation.n_tracks, split.name, minutes,
    )  # fmt: skip
    save_checkpoint(out, done.network, card)
    write_card(out.with_suffix(".json"), card)
    state.remove()
    return out


def _check(out: Path, settings: TrainingSettings, device: str, parallel: Parallel) -> None:
    """Refuse before minutes are spent what could not be used or written after them."""
    check_settings(settings)
    check_hardware(device, parallel)
    if settings.preset not in LOW_LEVEL:
        preset_config(settings.preset)
    if Path(out).suffix != ".safetensors":
        raise UsageError(f"{out}: a checkpoint's name ends in .safetensors")
    existing = next(folder for folder in Path(out).absolute().parents if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{out}: user {os.getuid()} may not write into {existing}; choose another --out")


def _train(
    network: AuditoryNetwork, data: _Data, settings: TrainingSettings, state: ResumeState, where: _Where
) -> Trained | None:
    """Train and evaluate; None in all but the first of several processes."""
    from ban_bids.training.fit import fit  # Lightning takes seconds to import; reusing weights must not wait

    _set_statistics(network, data.training.frames)
    crop_frames = crop_length(network, settings.crop_seconds)

    def batches(device: torch.device) -> CropBatches:
        return CropBatches(
            data.training.frames, data.training.labels, data.n_genres, crop_frames,
            settings.batch_size, settings.augmentation, settings.seed, device=device,
        )  # fmt: skip

    module, is_first = fit(
        network, batches, _inner_crops(data, crop_frames, settings), settings, state,
        device=where.device, parallel=where.parallel, progress=where.progress,
    )  # fmt: skip
    if not is_first:
        return None
    budget_minutes = module.clock.used() / 60.0  # what follows lies outside the budget
    trained = _measured(module.trained_network().cpu(), data.training.frames, crop_frames, settings.seed + 1)
    return Trained(
        trained,
        evaluate(trained, data.validation.frames, data.validation.labels, data.n_genres, crop_frames),
        module.steps_done,
        budget_minutes,
        module.ended,
        tuple(module.resumed),
        len(data.inner.frames),
        None if module.stopping is None else int(module.stopping.best_step),
    )


def _load(network: AuditoryNetwork, collection: Collection, split: Split, settings: TrainingSettings) -> _Data:
    number = {genre: k for k, genre in enumerate(collection.genres)}

    def side(tracks: Sequence[Track]) -> _Side:
        return _Side(log_mel_frames(tracks, network.front_end, collection.cache), [number[t.genre] for t in tracks])

    training: Sequence[Track] = split.training
    inner: Sequence[Track] = ()
    if settings.patience is not None:
        parts = split_tracks(split.training, "stratified", settings.seed)
        training, inner = parts.training, parts.validation
    return _Data(side(training), side(inner), side(split.validation), len(collection.genres))


def _inner_crops(data: _Data, crop_frames: int, settings: TrainingSettings) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The same unaugmented crops of the inner tracks for every look of early stopping."""
    if not data.inner.frames:
        return []
    crops = CropBatches(
        data.inner.frames, data.inner.labels, data.n_genres, crop_frames,
        len(data.inner.frames), PLAIN, settings.seed + 2, crops_per_track=_INNER_CROPS,
    )  # fmt: skip
    return list(crops.epoch(0))


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


def _measured(network: AuditoryNetwork, frames: Sequence[np.ndarray], crop_frames: int, seed: int) -> AuditoryNetwork:
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


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
