"""What features cost: ``python benchmarks/feature_speed.py [--preset NAME …] [--threads 1 2]``.

Prints seconds of audio a second for 15-s clips as ``NetworkModel.features`` reads them on a CPU: of processor
time, so that other work on the machine does not count, and of wall time; the best of some repeats. With
``--profile`` also what the time went to.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from ban_bids.audio.waveforms import HeardClip
from ban_bids.constants import SAMPLING_RATE
from ban_bids.models.network import NetworkModel
from ban_bids.models.normalisation import measure_normalisation
from ban_bids.models.presets import PRESETS, build, preset

SECONDS = 15.0


def model(name: str) -> NetworkModel:
    network = build(preset(name), n_genres=10, seed=0)
    noise = torch.randn(8, 1, network.config.front_end.n_mels, 512)
    measure_normalisation(network, [noise], network.from_frames)  # living activations
    return NetworkModel(network)


def clips(number: int) -> list[HeardClip]:
    generator = np.random.default_rng(0)
    size = (number, round(SECONDS * SAMPLING_RATE))
    sounds = (0.1 * generator.standard_normal(size)).astype(np.float32)
    return [HeardClip(None, SAMPLING_RATE, sound) for sound in sounds]


def times_real_time(network: NetworkModel, sounds: list[HeardClip], repeats: int) -> tuple[float, float]:
    """Seconds of audio a second of processor time and of wall time."""
    network.features(sounds[:1])  # warm up
    cpu, wall = [], []
    for _ in range(repeats):
        start = time.process_time(), time.perf_counter()
        network.features(sounds)
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    total = SECONDS * len(sounds)
    return total / min(cpu), total / min(wall)


def profile(network: NetworkModel, sounds: list[HeardClip]) -> str:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        network.features(sounds)
    return found.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", nargs="+", default=["ban"], choices=sorted(PRESETS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    sounds = clips(options.clips)
    print(f"{'preset':16s} {'threads':>7s} {'x real time, processor':>23s} {'wall':>8s}")
    for name in options.preset:
        network = model(name)
        for threads in options.threads:
            torch.set_num_threads(threads)
            cpu, wall = times_real_time(network, sounds, options.repeats)
            print(f"{name:16s} {threads:7d} {cpu:23.0f} {wall:8.0f}", flush=True)
        if options.profile:
            print(profile(network, sounds))


if __name__ == "__main__":
    main()
