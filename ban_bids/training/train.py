"""Train BAN or a model to compare with on a folder of genres, and write a checkpoint with its card."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ban_bids.errors import CheckpointError, UsageError
from ban_bids.files.json import write_json
from ban_bids.files.locks import file_lock
from ban_bids.models.checkpoint import load_tensors, save_checkpoint
from ban_bids.models.controls import control_statistics
from ban_bids.models.devices import torch_threads
from ban_bids.models.network import AuditoryNetwork
from ban_bids.models.normalisation import measure_normalisation
from ban_bids.models.presets import LOW_LEVEL, build
from ban_bids.models.presets import preset as preset_config
from ban_bids.training.auxiliary import evaluate_heads
from ban_bids.training.cache import AudioCache
from ban_bids.training.crops import PLAIN, CropBatches
from ban_bids.training.datasets import Collection, Data, log_mel_frames, read_collection
from ban_bids.training.evaluate import evaluate, fitted_crops
from ban_bids.training.low_level import train_low_level
from ban_bids.training.records import ResumeState, Trained, training_card, training_fingerprint
from ban_bids.training.settings import (
    ONE_PROCESS,
    Parallel,
    TrainingSettings,
    check_hardware,
    check_settings,
    precision,
)
from ban_bids.training.splits import Split, inner_split, split_tracks

_LOG = logging.getLogger(__name__)
_CALIBRATION_EPOCHS = 4
_INNER_CROPS = 8


def train_model(
    data: Path | Data,
    out: Path,
    settings: TrainingSettings,
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
    data : Path or Data
        Folder of genres, or several folders of classes, see :func:`ban_bids.training.datasets.read_collection`.
    out : Path
        Checkpoint to write (``.safetensors``). Its card is written beside it too (``.json``).
    settings : TrainingSettings
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
        Show a bar on a terminal and a log line per minute elsewhere.
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
    _check(out, settings, device, parallel)
    return train_collection(
        read_collection(data, exclude, cache), out, settings,
        nthreads=nthreads, device=device, parallel=parallel, progress=progress,
    )  # fmt: skip


def train_once(
    data: Path | Data,
    out: Path,
    settings: TrainingSettings,
    *,
    exclude: Iterable[Path] = (),
    nthreads: int = 1,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Train a network unless ``out`` already holds the result of the same data, exclusions and settings.

    A file lock beside ``out`` makes concurrent processes wait for the one that trains. The lock goes with the
    process that holds it, so a killed training blocks nobody.

    Parameters
    ----------
    data, out, settings, exclude
        As for :func:`train_model`.
    nthreads, device, progress
        As for :func:`train_model`; they do not enter the comparison.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    DataError, UsageError
        As :func:`train_model`, and when the lock file cannot be written.
    """
    out = Path(out)
    with file_lock(out.with_name(f".{out.name}.lock")):
        collection = read_collection(data, exclude)
        wanted = training_fingerprint(collection, settings)
        stored = _stored_fingerprint(out)
        if stored == wanted:
            _LOG.info("%s: trained before on the same tracks with the same settings; used again", out)
            return out
        if stored is not None:
            _LOG.warning("%s: trained on other tracks or with other settings; trained anew", out)
        return train_collection(
            collection, out, settings, nthreads=nthreads, device=device, progress=progress,
            extra={"fingerprint": wanted},
        )  # fmt: skip


def _stored_fingerprint(out: Path) -> str | None:
    """Fingerprint on the card of an earlier checkpoint; "" where there is one without it."""
    if not out.exists():
        return None
    try:
        *_, card = load_tensors(out)
    except CheckpointError as err:
        _LOG.warning("%s; trained anew", err)
        return ""
    return "" if card is None else str(card.settings.get("fingerprint", ""))


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
    if collection.further and settings.preset in LOW_LEVEL:
        raise UsageError(
            f"--preset {settings.preset}: answers one task; drop --heads, and every --data but the first "
            f"(further tasks: {', '.join(task.name for task in collection.further)})"
        )
    started = time.monotonic()
    split = split_tracks(collection.tracks, settings.split, settings.seed, excluded=collection.excluded)
    state = ResumeState(out, training_fingerprint(collection, settings), parallel.n_processes)
    with torch_threads(nthreads), torch.random.fork_rng(devices=[]):
        _LOG.info(
            "training %s on %d tracks of %s, %d validate; split %s", settings.preset, len(split.training),
            " and ".join(f"{len(task.classes)} {task.name}" for task in collection.tasks), len(split.validation),
            split.name,
        )  # fmt: skip
        trained: Trained | None
        if settings.preset in LOW_LEVEL:
            trained = train_low_level(collection, split, settings)
        else:
            trained = _train_network(
                collection, split, settings, state=state, device=device, parallel=parallel, progress=progress
            )
    if trained is None:  # another process evaluates and writes
        return out
    minutes = (time.monotonic() - started) / 60.0
    trained.metrics["minutes"] = round(minutes, 2)
    trained.settings.update(extra or {})
    card = training_card(trained, collection, split)
    _LOG.info("%s; split %s; %.1f minutes", _accuracy(trained), split.name, minutes)
    trained.save(out, card)
    write_json(out.with_suffix(".json"), asdict(card))  # for people; the card inside the checkpoint is what counts
    state.remove()
    return out


def _accuracy(trained: Trained) -> str:
    """How well the validation tracks are recognised, in words."""
    if trained.evaluation is None:
        return "track accuracy n/a: no track validates"
    accuracy, n_tracks = trained.evaluation.track_accuracy, trained.evaluation.n_tracks
    low, high = accuracy.interval
    return f"track accuracy {accuracy.value:.2f} (95 % interval {low:.2f}-{high:.2f}, {n_tracks} validation tracks)"


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


def _train_network(
    collection: Collection,
    split: Split,
    settings: TrainingSettings,
    *,
    state: ResumeState,
    device: str,
    parallel: Parallel,
    progress: bool,
) -> Trained | None:
    """Train and evaluate; None in all but the first of several processes."""
    from ban_bids.training.fit import fit  # Lightning takes seconds to import; reusing weights must not wait

    torch.manual_seed(settings.seed)
    network = build(preset_config(settings.preset), len(collection.genres), settings.seed)
    stops = settings.patience is not None
    training, inner = inner_split(split.training, settings.seed) if stops else (split.training, ())
    validation = [track for track in split.validation if not track.home]
    frames, inner_frames, validation_frames = (
        log_mel_frames(tracks, network.front_end, collection.cache) for tracks in (training, inner, validation)
    )
    set_statistics(network, frames)
    pools, n_genres = collection.pools(training), len(collection.genres)
    asked, (settings, crop_frames) = settings, fitted_crops(settings, network, frames, pools)

    def batches(where: torch.device) -> CropBatches:
        return CropBatches(
            frames, collection.targets(training), n_frames=crop_frames, device=where, pools=pools,
            batch_size=settings.batch_size, augmentation=settings.augmentation, seed=settings.seed,
            with_sounds=settings.objective.prediction > 0,
        )  # fmt: skip

    looks = _looks(inner_frames, collection.targets(inner)[:, :n_genres], crop_frames, seed=settings.seed + 2)
    module, is_first = fit(
        network, settings, batches, tasks=collection.tasks, inner=looks, state=state, device=device,
        parallel=parallel, progress=progress,
    )  # fmt: skip
    if not is_first:
        return None
    minutes = module.seconds_used() / 60.0  # what follows lies outside the budget
    best_step = None if module.stopping is None else int(module.stopping.best_step)
    average, heads = module.trained_network().cpu(), module.trained_heads().cpu()
    _measure(average, frames, settings, n_frames=crop_frames, pools=pools)
    metrics: dict[str, Any] = {}
    if collection.further:
        every = log_mel_frames(split.validation, network.front_end, collection.cache)
        metrics["tasks"] = evaluate_heads(
            average, heads, collection, (training, split.validation), every, crop_frames=crop_frames
        )
    return Trained(
        config=average.config.to_dict(),
        evaluation=evaluate(average, validation_frames, collection.labels(validation), crop_frames=crop_frames)
        if validation
        else None,
        save=lambda path, card: save_checkpoint(path, average, card),
        settings=asdict(settings),
        metrics={
            "steps": module.steps_done,
            "budget_minutes_used": round(minutes, 3),
            "resumed_after_steps": module.resumed,
            "precision": precision(device),  # machines differ in it, and so do the weights that they train
            "ended": module.ended or "steps",
            "curve": module.schedule.curve.rounded(),
            **metrics,
        },
        notes=_notes(
            asked, settings, ended=module.ended, resumed=module.resumed, n_inner=len(inner), best_step=best_step
        ),
    )


def _looks(frames: Sequence[np.ndarray], targets: np.ndarray, n_frames: int, *, seed: int) -> list[tuple[Tensor, ...]]:
    """The same unaugmented crops for every look of early stopping, which judges the main task."""
    if not frames:
        return []
    crops = CropBatches(
        frames, targets, n_frames=n_frames, batch_size=len(frames), augmentation=PLAIN, seed=seed,
        crops_per_track=_INNER_CROPS,
    )  # fmt: skip
    return list(crops.epoch(0))


def set_statistics(network: AuditoryNetwork, frames: Sequence[np.ndarray]) -> None:
    """Give the front end the mean and deviation of every mel band over log-mel frames (n_mels, n_frames) of tracks."""
    n = sum(f.shape[1] for f in frames)
    mean = sum(f.astype(np.float64).sum(axis=1) for f in frames) / n
    variance = sum(np.square(f.astype(np.float64) - mean[:, None]).sum(axis=1) for f in frames) / n
    # a band that never sounds must not be blown up
    scale = np.maximum(np.sqrt(variance), 0.5)
    front_end = network.front_end
    front_end.mean.copy_(torch.from_numpy(np.asarray(mean, np.float32))[:, None])
    front_end.scale.copy_(torch.from_numpy(np.asarray(scale, np.float32))[:, None])


def _measure(
    network: AuditoryNetwork,
    frames: Sequence[np.ndarray],
    settings: TrainingSettings,
    *,
    n_frames: int,
    pools: Sequence[np.ndarray] | None = None,
) -> None:
    """Measure the normalisation of averaged weights, and of the network's controls, on training tracks.

    All hear unaugmented crops; the controls, which are many, the first epoch of those that the network hears.
    """
    crops = CropBatches(
        frames, np.zeros((len(frames), 1)), n_frames=n_frames, batch_size=32, augmentation=PLAIN,
        seed=settings.seed + 1, pools=pools,
    )  # fmt: skip

    def batches(epochs: int) -> Iterator[Tensor]:
        return (network.front_end.standardise(batch) for epoch in range(epochs) for batch, _ in crops.epoch(epoch))

    measure_normalisation(network, batches(_CALIBRATION_EPOCHS), network.from_frames)
    if settings.controls:
        network.control_statistics = control_statistics(network, lambda: batches(1))


def _notes(
    asked: TrainingSettings,
    settings: TrainingSettings,
    *,
    ended: str | None,
    resumed: Sequence[int],
    n_inner: int,
    best_step: int | None,
) -> tuple[str, ...]:
    """What a reader of the card should know of how the training went."""
    notes = []
    if settings.crop_seconds < asked.crop_seconds:
        notes.append(
            f"crops of {settings.crop_seconds:.3g} s instead of {asked.crop_seconds:g} s: 95 % of the recordings are "
            "no longer"
        )
    if ended == "time":
        kind = "processor" if settings.budget_clock == "cpu" else "wall-clock"
        notes.append(f"the time budget of {settings.max_minutes} {kind} minutes ended the training")
    if best_step is not None:
        how = "ended the training" if ended == "stopping" else "did not end the training"
        notes.append(
            f"early stopping held out {n_inner} of the training tracks, {how} and took the weights of step {best_step}"
        )
    if resumed and settings.max_minutes is not None:
        steps = ", ".join(str(step) for step in resumed)
        notes.append(
            f"the training was interrupted and taken up again after step {steps}; under a time budget the "
            "result then differs from that of an uninterrupted one"
        )
    return tuple(notes)
