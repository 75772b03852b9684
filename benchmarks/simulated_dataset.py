"""One participant of ds003720's size as a raw BIDS dataset: sounds, events as that dataset has them, images.

12 ``Training`` and 6 ``Test`` runs of 410 volumes; 41 clips of 15 s back to back. The first clip of a run is its
lead-in: it repeats the last clip of the run before it (Training) or of the same run (Test); a Test run repeats ten
clips four times. Clips are excerpts of tracks of 30 s, one of each of 540. Regions answer to the loudness of a band of
frequencies each, through a haemodynamic response.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import soundfile
from simulated_head import Head

import ban_bids
from ban_bids.audio.waveforms import render_clip
from ban_bids.constants import REGIONS, SAMPLING_RATE
from ban_bids.demo.music import synthesise_track
from ban_bids.demo.networks import workers
from ban_bids.demo.phantom import Scan
from ban_bids.demo.responses import FINE, haemodynamic_response
from ban_bids.demo.styles import GENRES
from ban_bids.inputs.rule_files import OWN_PROFILE, read_rules
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import save_checkpoint
from ban_bids.models.controls import control_statistics, sound_batches
from ban_bids.models.normalisation import measure_normalisation
from ban_bids.models.presets import PRESETS, build

LABEL = "001"
CLIP, TRACK, REPEATS = 15.0, 30.0, 4
PROFILE = Path(ban_bids.__file__).parent / "inputs" / "shipped_rules" / "ds003720.toml"
BANDS = (100, 400, 1200, 3000, 8000)
"""Edges of the bands of frequencies that the regions answer to, Hz."""
_SEED = 1000
"""Of networks' weights: none of an untrained control's, whose features would be found in the cache."""
RESPONSE = 0.01
"""Standard deviation of a region's answer in a run, in parts of its brightness; that of the noise is about as large."""


@dataclass(frozen=True)
class Design:
    """What is simulated.

    Parameters
    ----------
    scan : Scan
        Grid and volumes of a run.
    training, test : int
        Runs of each task.
    """

    scan: Scan
    training: int = 12
    test: int = 6

    @property
    def clips(self) -> int:
        """Clips of a run, back to back, its lead-in included."""
        return int(self.scan.n_volumes * self.scan.repetition_time // CLIP)


@dataclass(frozen=True)
class Excerpt:
    """A clip: which track of which genre, and where it starts in it, seconds."""

    genre: str
    track: int
    start: float


@dataclass(frozen=True)
class Heard:
    """A run: its task, its number, and its clips in order."""

    task: str
    number: int
    clips: tuple[Excerpt, ...]

    @property
    def stem(self) -> str:
        """Beginning of its files' names."""
        return f"sub-{LABEL}_task-{self.task}_run-{self.number:02d}"


def planned(design: Design) -> tuple[Heard, ...]:
    """Runs and their clips: tracks are dealt out at random, each once; starts lie anywhere in them."""
    rng = np.random.default_rng(0)
    new = design.clips - 1
    cycle = max(1, new // REPEATS)
    n_tracks = design.training * new + design.test * cycle
    per_genre = -(-n_tracks // len(GENRES))
    starts = rng.uniform(0, TRACK - CLIP, n_tracks).round(2)
    order = rng.permutation(per_genre * len(GENRES))[:n_tracks]
    dealt = iter(
        [Excerpt(GENRES[k % len(GENRES)], int(k) // len(GENRES), float(start)) for k, start in zip(order, starts)]
    )
    tests = []
    for number in range(1, design.test + 1):
        once = [next(dealt) for _ in range(cycle)]
        heard = [once[k % cycle] for k in range(new)]
        tests.append(Heard("Test", number, (heard[-1], *heard)))
    training = [[next(dealt) for _ in range(new)] for _ in range(design.training)]
    runs = [
        Heard("Training", number, (training[number - 2][-1], *clips)) for number, clips in enumerate(training, start=1)
    ]
    return (*runs, *tests)


def make_dataset(root: Path, design: Design, nprocs: int = 1, *, images: bool = True) -> Path:
    """Write the dataset, run by run; files that are there stay as they are.

    Parameters
    ----------
    root : Path
        Becomes the dataset's folder.
    design : Design
    nprocs : int
        Runs that are simulated at a time: each takes its own size in memory.
    images : bool
        Simulate images; else their headers alone, which do where preprocessed ones are taken.

    Returns
    -------
    Path
        ``root``.

    Raises
    ------
    SystemExit
        What is there is of another design.
    """
    runs, made = planned(design), root.with_name(f"{root.name}_design.txt")
    if made.exists() and made.read_text(encoding="utf-8") != repr(design):
        raise SystemExit(f"{root} was made with other options ({made.name}); remove it or give another folder")
    root.mkdir(parents=True, exist_ok=True)
    made.write_text(repr(design), encoding="utf-8")
    for folder in (root / "stimuli", root / f"sub-{LABEL}" / "func", root / f"sub-{LABEL}" / "anat"):
        folder.mkdir(parents=True, exist_ok=True)
    description = {"Name": "Simulated participant of ds003720's size", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    _write_json(root / "dataset_description.json", description)
    (root / "README").write_text(f"{__doc__}\nNobody was scanned; the music is synthesised.\n", encoding="utf-8")
    shutil.copy(PROFILE, root / "stimuli" / OWN_PROFILE)
    for task in ("Training", "Test"):
        _write_json(root / f"task-{task}_bold.json", _sidecar(task, design.scan))
    for run in runs:
        (root / f"sub-{LABEL}" / "func" / f"{run.stem}_events.tsv").write_bytes(events(run))
    tracks = sorted({(_track(root, clip), clip.genre, clip.track) for run in runs for clip in run.clips})
    jobs = [(root, design.scan, run, seed) for seed, run in enumerate(runs)]
    write = _write_images if images else _write_header
    if nprocs == 1:
        for track in tracks:
            _write_track(track)
        for job in jobs:
            write(job)
        return root
    with workers(nprocs) as pool:
        list(pool.map(_write_track, tracks, chunksize=16))
        list(pool.map(write, jobs))
    return root


def events(run: Heard) -> bytes:
    """Table of a run as ds003720 writes it: genres in quotes, lines that end in CRLF, no ``stim_file``."""
    rows = [
        f"{k * CLIP:g}\t{CLIP:g}\t'{clip.genre}'\t{clip.track}\t{clip.start:g}\t{clip.start + CLIP:.2f}"
        for k, clip in enumerate(run.clips)
    ]
    return "".join(f"{row}\r\n" for row in ["onset\tduration\tgenre\ttrack\tstart\tend", *rows]).encode()


def _sidecar(task: str, scan: Scan) -> dict[str, object]:
    return {
        "TaskName": task,
        "RepetitionTime": scan.repetition_time,
        "SliceTiming": [round(float(time), 6) for time in scan.slice_times],
        "MultibandAccelerationFactor": scan.multiband,
        "PhaseEncodingDirection": "j-",
        "EchoTime": 0.03,
    }


def _track(root: Path, clip: Excerpt) -> Path:
    return root / "stimuli" / "genres" / clip.genre / f"{clip.genre}.{clip.track:05d}.wav"


def _write_track(job: tuple[Path, str, int]) -> None:
    """Write one track, whole or not at all."""
    path, genre, number = job
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = synthesise_track(genre, TRACK, np.random.default_rng([GENRES.index(genre), number]))
    unfinished = path.with_suffix(".unfinished")
    soundfile.write(unfinished, sound, SAMPLING_RATE, subtype="PCM_16", format="WAV")
    unfinished.replace(path)


_head = lru_cache(maxsize=1)(Head.load)


def _write_images(job: tuple[Path, Scan, Heard, int]) -> None:
    """Write one run's image, and with the first run the T1w image."""
    root, scan, run, seed = job
    if seed == 0:
        _head().write_t1w(root / f"sub-{LABEL}" / "anat" / f"sub-{LABEL}_T1w.nii")
    path = root / f"sub-{LABEL}" / "func" / f"{run.stem}_bold.nii"
    if not path.exists():
        _head().write_run(path, scan, seed, responses(root, run, scan))


def _write_header(job: tuple[Path, Scan, Heard, int]) -> None:
    """Write a run's image of zeros, which takes no space."""
    root, scan, run, _ = job
    path = root / f"sub-{LABEL}" / "func" / f"{run.stem}_bold.nii"
    image = nib.Nifti1Image(
        np.broadcast_to(np.int16(0), (*scan.shape, scan.n_volumes)), np.diag([scan.voxel] * 3 + [1])
    )
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], scan.repetition_time))
    with path.open("wb") as stream:
        stream.write(image.header.binaryblock + bytes(4))
        stream.truncate(352 + 2 * math.prod((*scan.shape, scan.n_volumes)))


def responses(root: Path, run: Heard, scan: Scan) -> np.ndarray:
    """What each region answers: (n_volumes, n_slices, 1 + n_regions), 0 outside the regions, mean 0 in a run."""
    rule = read_rules(PROFILE).rules[0]
    clips = [Clip(_track(root, clip), clip.start, CLIP, track="", fade=rule.fade, rms=rule.rms) for clip in run.clips]
    loudness = np.concatenate([_loudness(render_clip(clip, SAMPLING_RATE)) for clip in clips])
    kernel = haemodynamic_response(5.0, 1.0)
    heard = np.apply_along_axis(np.convolve, 0, loudness - loudness.mean(axis=0), kernel)[: len(loudness)]
    heard *= RESPONSE / heard.std(axis=0)
    times = np.arange(scan.n_volumes)[:, None] * scan.repetition_time + scan.slice_times
    fine = np.minimum((times / FINE).round().astype(int), len(heard) - 1)
    return np.concatenate([np.zeros((*times.shape, 1)), heard[fine]], axis=2)


def _loudness(sound: np.ndarray) -> np.ndarray:
    """Root mean square of each band in frames of `FINE` seconds, (n_frames, n_regions)."""
    size = round(FINE * SAMPLING_RATE)
    spectrum = np.abs(np.fft.rfft(sound[: len(sound) // size * size].reshape(-1, size), axis=1)) ** 2
    edges = np.searchsorted(np.fft.rfftfreq(size, 1 / SAMPLING_RATE), BANDS)
    bands = [np.sqrt(spectrum[:, low:high].sum(axis=1)) for low, high in zip(edges, edges[1:])]
    assert len(bands) == len(REGIONS)
    return np.stack(bands, axis=1)


def make_weights(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Write checkpoints with random weights, living activations and an empty card; those that are there stay.

    Their controls' normalisation is in them too, as in those of ``ban-bids-train``, so that scoring need not measure
    it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.safetensors" for name in names}
    sounds = [synthesise_track(genre, TRACK, np.random.default_rng([9, k])) for k, genre in enumerate(GENRES)]
    for name, path in paths.items():
        if path.exists():
            continue
        network = build(PRESETS[name], len(GENRES), _SEED)
        batches = sound_batches(network.front_end, sounds)
        measure_normalisation(network, batches, network.from_frames)
        network.control_statistics = control_statistics(network, lambda batches=batches: batches)
        save_checkpoint(path, network, ModelCard(network.config.to_dict(), GENRES, split="nothing is trained"))
    return paths


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
