"""A block design with one run, from raw images to maps: is hearing found where it is, and nowhere else?

    python benchmarks/block_design.py FOLDER [--runs 1] [--model logmel]

A phantom of the demo hears clips of 15 s, each followed by 15 s of rest. Its auditory regions answer *sound*, alike
whatever is played; nothing else does. FOLDER receives the dataset and its derivatives. Prints p of every region for
both questions, and the shares of occipital voxels (MNI y under -70 mm) with p < .05, which are to be 5 %.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import nibabel as nib
import numpy as np
import pandas as pd

from ban_bids.constants import REGIONS
from ban_bids.demo.dataset import write_top_level
from ban_bids.demo.music import write_tracks
from ban_bids.demo.participants import ParticipantJob, make_participant
from ban_bids.demo.plan import SIZES, PlannedRun
from ban_bids.demo.responses import Courses, Heard
from ban_bids.demo.styles import GENRES
from ban_bids.derivatives.read import Derivatives, load_derivatives

CLIP = 15.0
N_CLIPS = 14
_STEP = 0.5
_OCCIPITAL = -70.0


def make_dataset(folder: Path, n_runs: int, seed: int) -> Path:
    """Write a phantom that answers sound, (sound, rest) x 14 in each run."""
    bids = folder / "bids"
    per_genre = -(-n_runs * N_CLIPS // len(GENRES))
    tail = CLIP + N_CLIPS * CLIP  # the rests
    size = replace(SIZES["small"], clip=CLIP, lead=CLIP, tail=tail, training_runs=n_runs, test_runs=0)
    tracks = write_tracks(bids / "stimuli", "stimuli", per_genre, size.start + CLIP + 0.5, seed, by_genre=False)
    order = np.random.default_rng(seed).permutation(len(tracks))[: n_runs * N_CLIPS].reshape(n_runs, N_CLIPS)
    runs = tuple(
        PlannedRun(r + 1, tuple(Heard(int(clip), CLIP + 2 * CLIP * k) for k, clip in enumerate(clips)), repeated=False)
        for r, clips in enumerate(order)
    )
    on = np.ones((round(CLIP / _STEP), 1))
    source = Courses({area: [on] * len(tracks) for area in REGIONS}, {area: np.zeros(1) for area in REGIONS}, _STEP)
    write_top_level(bids, size, ["01"], seed)
    (folder / "truth").mkdir(exist_ok=True)
    make_participant(ParticipantJob(folder, "01", size, seed, runs, tuple(tracks), source))
    return bids


def region_table(found: Derivatives) -> pd.DataFrame:
    """Rows of layers with what they say of p."""
    table = found.scores()
    kept = [name for name in table.columns if name in ("layer", "region", "p") or name.startswith("p_")]
    return table[table["layer"].isin(list(found.maps()["layer"].unique()))][kept]


def occipital_shares(found: Derivatives) -> pd.DataFrame:
    """Share of occipital cortex under .05 in every map of p or q; cortex is where r is not 0."""
    rows = []
    maps = found.maps()
    for layer, own in maps.groupby("layer"):
        paths = dict(zip(own["stat"], own["path"]))
        if "r" not in paths:
            continue
        image = nib.load(paths.pop("r"))
        places = np.argwhere(np.nan_to_num(image.get_fdata()) != 0)
        occipital = tuple(places[nib.affines.apply_affine(image.affine, places)[:, 1] < _OCCIPITAL].T)
        for stat, path in paths.items():
            if stat.startswith(("p", "q")):
                values = nib.load(path).get_fdata()[occipital]
                rows.append((layer, stat, len(values), np.mean(values < 0.05)))
    return pd.DataFrame(rows, columns=["layer", "statistic", "occipital voxels", "share < .05"])


def main() -> int:
    """Make the phantom, run the participant level, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--model", default="logmel")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    bids, out = given.folder / "bids", given.folder / "out"
    if not bids.exists():
        make_dataset(given.folder, given.runs, given.seed)
    command = [sys.executable, "-m", "ban_bids", str(bids), str(out), "participant", "--model", given.model]
    status = subprocess.run([*command, "--nprocs", "1", "--n-permutations", "1000"], check=False).returncode
    if status:
        return status
    found = load_derivatives(out)
    print(region_table(found).to_string(index=False))
    print(occipital_shares(found).to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    children = getrusage(RUSAGE_CHILDREN)
    print(f"{(time.process_time() + children.ru_utime + children.ru_stime) / 60:.1f} processor minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
