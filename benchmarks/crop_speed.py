"""What a crop costs: ``python benchmarks/crop_speed.py [--device cuda] [--batch-size 64]``.

Prints milliseconds per crop: of processor time on a CPU (one thread unless OMP_NUM_THREADS says otherwise), so
that other work on the machine does not count; of wall time on a GPU, up to the end of the last batch.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch

from ban_bids.training.crops import PLAIN, Augmentation, CropBatches

STRONG = Augmentation(frequency_masks=2, time_masks=2)


def milliseconds(batches: CropBatches, epochs: int) -> float:
    """Time of one crop, drawing included."""
    on_gpu = batches.device.type == "cuda"

    def clock() -> float:
        if on_gpu:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    for _ in batches.epoch(epochs):  # warm up
        pass
    start = clock()
    for epoch in range(epochs):
        for _ in batches.epoch(epoch):
            pass
    return 1e3 * (clock() - start) / (epochs * len(batches) * batches.batch_size)


def main() -> None:
    """Measure and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--tracks", type=int, default=421)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    frames = [rng.normal(size=(64, 1500)).astype(np.float16) for _ in range(options.tracks)]
    result: dict[str, object] = {"device": options.device, "batch_size": options.batch_size}
    for name, augmentation in (("plain", PLAIN), ("usual", Augmentation()), ("strong", STRONG)):
        batches = CropBatches(
            frames, np.eye(10)[np.arange(options.tracks) % 10], n_frames=256,
            batch_size=options.batch_size, augmentation=augmentation, seed=0,
            crops_per_track=6, device=options.device,
        )  # fmt: skip
        result[f"{name}_ms_a_crop"] = round(milliseconds(batches, options.epochs), 4)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
