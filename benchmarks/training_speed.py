"""How fast is training, and how fast are features: on the CPU, and on a GPU where there is one.

    python benchmarks/training_speed.py [--device cpu|cuda] [--presets ban ...] [--seconds 60]

Random log-mel frames of 421 tracks of 30 s (as many as the `fmri-safe` split trains on) stand for music: what
they hold does not matter to speed. On the CPU seconds are processor time of one thread, so that other work on
the machine does not count. On CUDA they are wall time, with the share of an H100's dense bf16 peak that the
steps' multiply-adds amount to, the time that 100 epochs would take, and the peak memory.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

from ban_bids.audio.waveforms import HeardClip
from ban_bids.models.network import AuditoryNetwork, NetworkModel
from ban_bids.models.normalisation import measure_normalisation
from ban_bids.models.presets import build, preset
from ban_bids.training.crops import CropBatches
from ban_bids.training.evaluate import crop_length
from ban_bids.training.fit import BANTraining
from ban_bids.training.settings import TrainingSettings

N_TRACKS, TRACK_SECONDS, N_GENRES, EPOCHS = 421, 30.0, 10, 100
H100_PEAK = 989e12
"""Dense bf16 operations per second of an H100 SXM, from its data sheet."""

_WARM_UP_STEPS = 5


def batches(network: AuditoryNetwork, settings: TrainingSettings, device: str) -> CropBatches:
    """Crops of random frames, as training makes them."""
    front = network.config.front_end
    rng = np.random.default_rng(0)
    size = (front.n_mels, round(TRACK_SECONDS * front.frame_rate))
    frames = [rng.normal(-1, 3, size).astype(np.float16) for _ in range(N_TRACKS)]
    return CropBatches(
        frames, np.eye(N_GENRES)[rng.integers(N_GENRES, size=N_TRACKS)],
        n_frames=crop_length(network, settings.crop_seconds), batch_size=settings.batch_size,
        augmentation=settings.augmentation, seed=settings.seed, device=device,
    )  # fmt: skip


def endless(source: CropBatches) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch."""
    epoch = 0
    while True:
        for k in range(len(source)):
            yield source[epoch, k]
        epoch += 1


def stepper(module: BANTraining, device: str) -> Callable[[tuple[Tensor, Tensor]], None]:
    """A training step as it is taken: bf16 autocast, clipped gradients, AdamW, averaged weights."""
    optimiser = module.configure_optimizers()
    network = module.network
    weights = list(network.parameters())
    average = [weight.detach().clone() for weight in weights]
    blend = get_ema_multi_avg_fn(module.settings.ema)

    def step(batch: tuple[Tensor, Tensor]) -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = module.training_step(batch, 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        blend(average, weights, None)

    return step


def training_speed(name: str, device: str, seconds: float) -> dict[str, float]:
    """Steps per second, seconds of audio per second, and on CUDA share of the peak, minutes and memory."""
    settings = TrainingSettings(preset=name)
    network = build(preset(name), N_GENRES).to(device)
    source = batches(network, settings, device)
    n_steps = EPOCHS * len(source)
    module = BANTraining(network, settings, n_steps).to(device).train()
    step, stream = stepper(module, device), endless(source)
    counter = FlopCounterMode(display=False)
    with counter:
        step(next(stream))
    for _ in range(_WARM_UP_STEPS):
        step(next(stream))
    now = time.process_time if device == "cpu" else _synchronised
    started, done = now(), 0
    while (spent := now() - started) < seconds:
        step(next(stream))
        done += 1
    crop = source.n_frames / network.config.front_end.frame_rate
    speed = {
        "steps_per_second": done / spent,
        "audio_seconds_per_second": done * source.batch_size * crop / spent,
        "gflop_per_step": counter.get_total_flops() / 1e9,
        "seconds_for_100_epochs": n_steps * spent / done,
    }
    if device == "cuda":
        speed["share_of_h100_bf16_peak"] = counter.get_total_flops() * done / spent / H100_PEAK
        speed["peak_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return speed


def feature_speed(name: str, device: str) -> float:
    """Seconds of audio per second for all layers' activations: median of 5 tracks."""
    network = build(preset(name), N_GENRES)
    noise = torch.randn(8, 1, network.config.front_end.n_mels, 512)
    measure_normalisation(network, [noise], network.from_frames)  # living activations
    model = NetworkModel(network, device=device)
    n = round(TRACK_SECONDS * network.config.front_end.sampling_rate)
    now = time.process_time if device == "cpu" else _synchronised
    taken = []
    for k in range(6):
        waveform = np.random.default_rng(k).normal(0, 0.1, n).astype(np.float32)
        started = now()
        model.features([HeardClip(None, model.sampling_rate, waveform)])
        taken.append(now() - started)
    return TRACK_SECONDS / float(np.median(taken[1:]))


def _synchronised() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Print one line per preset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--presets", nargs="+", default=["ban"])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each training")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.presets:
        if options.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        speed = training_speed(name, options.device, options.seconds)
        speed["features_audio_seconds_per_second"] = feature_speed(name, options.device)
        print(name, ", ".join(f"{key} {value:.4g}" for key, value in speed.items()), flush=True)


if __name__ == "__main__":
    main()
