"""Peak memory and equality of features for a long sound: ``python benchmarks/long_sounds.py [--model NAME …]``.

Each model computes and keeps the features of one clip, a stereo .wav at 44.1 kHz, in a process of its own: once in
pieces, as scoring does, and once as if it were short, heard whole. Printed are the peak memory of the process (that
for a second of sound is what Python and its libraries take; pages of files do not count, as for ``--mem``), seconds,
and the largest difference of features, relative to the largest feature of the layer.
``--no-whole`` leaves the second out (an hour takes several GB).
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from measuring import Found, Watch, in_child

from ban_bids.audio import excerpts, waveforms
from ban_bids.encoding.features import FeatureCache
from ban_bids.inputs.types import Clip
from ban_bids.models import pieces
from ban_bids.models.candidate import Candidate
from ban_bids.models.low_level import MODELS
from ban_bids.models.network import NetworkModel
from ban_bids.models.normalisation import measure_normalisation
from ban_bids.models.presets import PRESETS, build, preset

RATE = 44_100


def model_of(name: str) -> Candidate:
    """A network with random weights that is alive, or a low-level model."""
    if name in MODELS:
        return MODELS[name]()
    network = build(preset(name), n_genres=10, seed=0)
    noise = torch.randn(8, 1, network.config.front_end.n_mels, 512, generator=torch.Generator().manual_seed(0))
    measure_normalisation(network, [noise], network.from_frames)
    return NetworkModel(network)


def write_sound(path: Path, minutes: float) -> None:
    """Noise that swells and falls, a minute at a time."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for _ in range(math.ceil(minutes)):
            swell = 0.1 + 0.05 * np.sin(np.arange(60 * RATE) * (2 * np.pi * rng.uniform(0.1, 4.0) / RATE))
            file.write((rng.standard_normal((60 * RATE, 2)).astype(np.float32) * swell[:, None]).clip(-0.99, 0.99))


def compute(name: str, sound: Path, folder: Path, whole: bool) -> Found:
    """Features of the sound into a folder, and the seconds that took."""
    if whole:
        pieces.LONG_SECONDS = excerpts.BLOCK_SECONDS = waveforms.BLOCK_SECONDS = 1e9
    model = model_of(name)
    with Watch() as watch:
        FeatureCache(model, folder).compute([Clip(sound, 0.0, soundfile.info(sound).duration, sound.stem)])
    return watch.found()


def difference(name: str, sound: Path, one: Path, other: Path) -> float:
    """The largest of all layers, relative to their largest feature."""
    model = model_of(name)
    clip = Clip(sound, 0.0, soundfile.info(sound).duration, sound.stem)
    worst = 0.0
    for layer in model.layers:
        a, b = (FeatureCache(model, folder).load(clip, layer) for folder in (one, other))
        if a.shape != b.shape:
            return math.inf
        worst = max(worst, float(np.abs(a - b).max() / np.abs(b).max()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--model", nargs="+", default=["ban"], choices=sorted({*PRESETS, *MODELS}))
    parser.add_argument("--no-whole", action="store_true")
    options = parser.parse_args()
    print(f"{'model':16s} {'in pieces':>18s} {'whole':>18s} {'difference':>12s}")
    with tempfile.TemporaryDirectory() as folder:
        sound, second = Path(folder) / "sound.wav", Path(folder) / "second.wav"
        write_sound(sound, options.minutes)
        soundfile.write(second, np.full(RATE, 0.1), RATE)
        least = in_child(compute, "ban", second, Path(folder) / "second", False)
        print(f"{'(a second)':16s} {least['own_peak_mb']:8d} MB")
        for name in options.model:
            places = Path(folder) / name / "pieces", Path(folder) / name / "whole"
            line = f"{name:16s}"
            for place in places[: 1 if options.no_whole else 2]:
                found = in_child(compute, name, sound, place, place.name == "whole")
                line += f" {found['own_peak_mb']:8d} MB {found['wall_s']:4.0f} s"
            if not options.no_whole:
                line += f" {difference(name, sound, *places):12.1e}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
