"""Measures of the code of untrained networks on real sounds: effective dimension, linear probes, profile.

Every second file of each folder is heard; the normalisation of the networks is measured on the others. Files whose
names are DIGIT_SPEAKER_NUMBER, as those of the Free Spoken Digit Dataset, are labelled by digit and speaker, others by
their folder.

    python benchmarks/code_measures.py FOLDER_OF_CLASSES [--preset ban] [--seeds 1 2] [--max-sounds 600]
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

import numpy as np
import torch

from ban_bids.audio.waveforms import load_waveform
from ban_bids.files.sounds import audio_seconds
from ban_bids.inputs.types import Clip
from ban_bids.models.controls import sound_batches
from ban_bids.models.network import NetworkModel
from ban_bids.models.normalisation import measure_normalisation
from ban_bids.models.presets import build, preset
from ban_bids.training.code_measures.measure import STAND_IN, measure_code
from ban_bids.training.code_measures.sounds import Sound, held_out
from ban_bids.training.datasets import find_audio

NORMALISED_SECONDS = 10.0


def sound(path: Path) -> Sound:
    """A whole file, at most 30 s, with its labels."""
    digit = re.fullmatch(r"(\d)_([a-z]+)_\d+", path.stem)
    labels = {"digit": digit[1], "speaker": digit[2]} if digit else {"genre": path.parent.name}
    return Sound(Clip(path, 0.0, min(30.0, audio_seconds(path)), path.stem), path.stem, labels)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", default="ban")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--max-sounds", type=int, default=600)
    given = parser.parse_args()
    torch.set_num_threads(1)
    files = find_audio(given.folder)
    rng = np.random.default_rng(0)
    heard, others = (
        [part[k] for k in np.sort(rng.permutation(len(part))[: given.max_sounds])] for part in (files[::2], files[1::2])
    )
    held = held_out([sound(path) for path in heard], seed=0)
    seconds = sum(one.clip.duration for one in held.sounds)
    print(f"{len(heard)} sounds, {seconds:.0f} s, {len(held.row_recordings)} common frames. {STAND_IN}")
    for seed in given.seeds:
        network = build(preset(given.preset), 10, seed)
        rate = network.config.front_end.sampling_rate
        lengths = [min(NORMALISED_SECONDS, audio_seconds(path)) for path in others]
        music = (load_waveform(path, 0.0, length, rate) for path, length in zip(others, lengths))
        measure_normalisation(network, sound_batches(network.front_end, music), network.from_frames)
        start = time.process_time()
        found = measure_code(NetworkModel(network), held)
        print(f"\n{given.preset}, untrained, seed {seed}: {time.process_time() - start:.0f} processor seconds")
        for table in (found.dimension, found.probes, found.profile):
            print(table.round(3).to_string(index=False, na_rep="n/a"))


if __name__ == "__main__":
    main()
