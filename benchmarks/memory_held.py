"""Is ``--mem`` held? One participant of ds003720's size as fMRIPrep's derivatives, and what all processes take.

    python benchmarks/memory_held.py FOLDER [--mem 2G 4G 8G] [--out FILE.json]

Simulates what fMRIPrep would write of the participant of ``simulated_dataset.py`` (12 Training and 6 Test runs of 410
volumes on the template's grid of 2 mm; 16 GB, not compressed, kept in FOLDER), runs ``ban-bids`` once with each size of
memory, and prints: asked, most memory of all processes together (proportional set size of each from
``/proc/*/smaps_rollup``, five times a second, so that a page that processes share counts once; pages of files that are
mapped count), the same without pages of files, wall and processor minutes, exit status, and how far tables and maps are
from those of the first size. With ``--raw`` the raw images are made too (10 GB) and Nipype preprocesses them.
``--weightings`` shortens the search for the joint model's weights, which takes most of the time and, however many there
are, the same memory. A trial of a minute: ``--runs-training 2 --runs-test 2 --volumes 130 --voxel 6``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pandas as pd
from encoding_speed import put
from measuring import Found, ProcessTree, hardware
from simulated_dataset import LABEL, Design, make_dataset, make_weights, planned, responses
from simulated_head import Head

from ban_bids.demo.phantom import Scan
from ban_bids.preprocessing.space.template import TEMPLATE, Grid, template_brain, template_grid
from ban_bids.preprocessing.space.transforms import sample
from ban_bids.settings import Encoding

GREY = 128_000
"""Voxels of 2 mm that count as cortex, as many as in a participant whom we preprocessed."""
APP = """
import sys
from ban_bids.cli.environment import set_environment, set_logging
from ban_bids.cli.run import parse

settings = parse(sys.argv[2:]).changed(n_band_weights=int(sys.argv[1]))
set_logging(1)
set_environment(settings.compute.work_dir, settings.compute.omp_nthreads)
from ban_bids.app.participant import participant_level

sys.exit(participant_level(settings))
"""
"""``ban-bids`` with another number of weightings, which is no option."""
_OWN = Encoding().n_band_weights
"""Weightings that the app tries."""
_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z", "csf", "white_matter")


def main() -> int:
    """Simulate, run, print; 1 where a run failed or took more than a tenth above what it was given."""
    given = _parsed()
    scan = Scan((96, 96, 68), 2.0, n_volumes=given.volumes, multiband=4)
    design = Design(scan, given.runs_training, given.runs_test)
    raw, fmriprep = given.folder / "raw", given.folder / "fmriprep"
    make_dataset(raw, design, given.nprocs, images=given.raw)
    if not given.raw:
        make_derivatives(fmriprep, raw, design, template_grid(given.voxel))
    weights = make_weights(given.folder / "weights", [given.model])[given.model]
    images = [] if given.raw else ["--derivatives", f"fmriprep={fmriprep}"]
    found: list[Found] = []
    for mem in given.mem:
        options = [*images, "--model", f"{given.model}={weights}", "--mem", mem, "--nprocs", str(given.nprocs)]
        options += ["--omp-nthreads", str(given.omp_nthreads), *shlex.split(given.more)]
        found.append({"asked": mem, **run_app(raw, given.folder / f"out-{mem}", options, given.weightings)})
        found[-1] |= compared(given.folder / f"out-{given.mem[0]}", given.folder / f"out-{mem}")
        print(pd.DataFrame(found).round(3).to_string(index=False), flush=True)
    if given.out:
        told: Found = {"command": shlex.join(["python", "benchmarks/memory_held.py", "FOLDER", *sys.argv[2:]])}
        told |= {"what": _what(given), "hardware": hardware(given.omp_nthreads)}
        put(given.out, "memory", {**told, "sizes": found})
    return int(any(one["status"] or one["peak_gib"] > 1.1 * gib(one["asked"]) for one in found))


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the dataset, weights, outputs and work folders")
    parser.add_argument("--mem", nargs="+", default=["2G", "4G", "8G"])
    parser.add_argument("--runs-training", type=int, default=12)
    parser.add_argument("--runs-test", type=int, default=6)
    parser.add_argument("--volumes", type=int, default=410)
    parser.add_argument("--voxel", type=float, default=2.0, help="mm, of the output grid")
    parser.add_argument("--model", default="ban")
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--omp-nthreads", type=int, default=2)
    parser.add_argument("--raw", action="store_true", help="raw images, preprocessed by Nipype")
    parser.add_argument("--weightings", type=int, default=_OWN, help="tried for the joint model (default: %(default)s)")
    parser.add_argument("--more", default="", help="further options of ban-bids, in one word")
    parser.add_argument("--out", type=Path, help="JSON to put the results into, as its section 'memory'")
    return parser.parse_args()


def _what(given: argparse.Namespace) -> str:
    images = "raw images" if given.raw else "fMRIPrep's derivatives, simulated"
    fewer = f", {given.weightings} weightings of the joint model in place of {_OWN}" * (given.weightings != _OWN)
    return (
        f"One participant, {images}: {given.runs_training} training and {given.runs_test} held-out runs of "
        f"{given.volumes} volumes, {given.voxel:g} mm; model {given.model} with its controls{fewer}."
    )


def gib(size: str) -> float:
    """GiB of a size as ``--mem`` takes it: 4G or 4096."""
    return float(size[:-1]) if size.endswith("G") else float(size) / 1024


def make_derivatives(folder: Path, raw: Path, design: Design, grid: Grid) -> None:
    """Write what fMRIPrep would: noise in the brain, sounds in the auditory regions; files that are there stay."""
    brain = sample(ants.image_read(str(template_brain())).numpy(), nib.load(template_brain()).affine, grid.points())
    inside = brain > 1
    grey = np.zeros(brain.size, np.float32)
    middle = np.abs(brain - np.median(brain[inside]) * 0.8)
    grey[np.argsort(np.where(inside, middle, np.inf))[: round(GREY * (2 / abs(grid.affine[0, 0])) ** 3)]] = 1
    head = Head.load()
    labels = np.rint(sample(head.labels.astype(np.float32), head.labels_affine, grid.points())).astype(int)
    anat, func = folder / f"sub-{LABEL}" / "anat", folder / f"sub-{LABEL}" / "func"
    for place in (anat, func):
        place.mkdir(parents=True, exist_ok=True)
    named = f"sub-{LABEL}_space-{TEMPLATE}_res-2"
    _save(anat / f"{named}_label-GM_probseg.nii.gz", grey, grid)
    described = {"Name": "fMRIPrep", "GeneratedBy": [{"Name": "fMRIPrep", "Version": "24.1.1"}]}
    (folder / "dataset_description.json").write_text(json.dumps(described))
    for seed, run in enumerate(planned(design)):
        stem = func / f"{run.stem}_space-{TEMPLATE}_res-2"
        _save(stem.with_name(f"{stem.name}_desc-brain_mask.nii.gz"), inside.astype(np.uint8), grid)
        side = {"RepetitionTime": design.scan.repetition_time, "StartTime": 0.7, "SliceTimingCorrected": True}
        stem.with_name(f"{stem.name}_desc-preproc_bold.json").write_text(json.dumps(side))
        rng = np.random.default_rng(seed)
        table = pd.DataFrame(rng.normal(0, 0.1, (design.scan.n_volumes, len(_MOTION))).cumsum(axis=0), columns=_MOTION)
        table.to_csv(func / f"{run.stem}_desc-confounds_timeseries.tsv", sep="\t", index=False)
        bold = stem.with_name(f"{stem.name}_desc-preproc_bold.nii")
        if not bold.exists():
            _write_bold(bold, responses(raw, run, design.scan), np.flatnonzero(inside), labels, grid, seed=seed)


def _write_bold(
    path: Path, heard: np.ndarray, inside: np.ndarray, labels: np.ndarray, grid: Grid, *, seed: int
) -> None:
    rng, n_volumes = np.random.default_rng(seed), len(heard)
    answer = heard[:, 0, :] / max(heard[:, 0, 1:].std(), 1e-9)
    series = np.zeros((n_volumes, labels.size), np.int16)
    for t in range(n_volumes):
        noise = rng.standard_normal(inside.size, dtype=np.float32)
        series[t, inside] = 1000 + 20 * (noise + 0.7 * answer[t, labels[inside]])
    # in NIfTI the first axis runs fastest; voxels are in C order here
    volumes = series.reshape(n_volumes, *grid.shape).transpose(1, 2, 3, 0)
    image = nib.Nifti1Image(volumes, grid.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], 1.5))
    unfinished = path.with_name(f"unfinished_{path.name}")
    nib.save(image, unfinished)
    unfinished.replace(path)


def _save(path: Path, values: np.ndarray, grid: Grid) -> None:
    nib.save(nib.Nifti1Image(values.reshape(grid.shape), grid.affine), path)


def run_app(root: Path, out: Path, options: Sequence[str], weightings: int) -> Found:
    """Run the participant level in a process of its own, watched; outputs of an earlier call are removed.

    What was measured of the quality of fMRIPrep's images, minutes of reading, and features are kept between calls.
    """
    work = out.with_name("work")
    for old in (out, work / "encoding"):
        shutil.rmtree(old, ignore_errors=True)
    command = [
        sys.executable,
        "-c",
        APP,
        str(weightings),
        str(root),
        str(out),
        "participant",
        "-w",
        str(work),
        *options,
    ]
    start = time.monotonic()
    with out.with_suffix(".log").open("w") as log:
        app = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        with ProcessTree(app.pid, every=0.2) as tree:
            status = app.wait()
    end = time.monotonic()
    return {
        "peak_gib": tree.peak_gib(), "without_files_gib": max(one.anonymous_gib for one in tree.samples),
        "wall_min": (end - start) / 60, "cpu_min": tree.cpu_s(start, end) / 60, "status": status,
    }  # fmt: skip


def compared(one: Path, other: Path) -> Found:
    """Most difference of the score tables, and the largest share of a map's voxels that differ by more than 0.002.

    Where two penalties or layers are as good as each other, float32's rounding of other slabs decides between them.
    """
    tables = sorted(path.relative_to(one) for path in one.rglob("*_bas.tsv"))
    maps = sorted(path.relative_to(one) for path in one.rglob("*_statmap.nii.gz"))
    if not maps or not tables or maps != sorted(path.relative_to(other) for path in other.rglob("*_statmap.nii.gz")):
        return {"tables_differ_by": None, "voxels_differ": None}
    differ = [_numbers(one / path).sub(_numbers(other / path)).abs().max().max() for path in tables]
    shares = [_share_of_others(nib.load(one / path).get_fdata(), nib.load(other / path).get_fdata()) for path in maps]
    return {"tables_differ_by": float(np.nanmax(differ)), "voxels_differ": max(shares)}


def _share_of_others(one: np.ndarray, other: np.ndarray) -> float:
    told = (one != 0) | (other != 0)
    return float(np.mean(~np.isclose(one, other, rtol=0, atol=2e-3, equal_nan=True)[told])) if told.any() else 0.0


def _numbers(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t").select_dtypes("number")


if __name__ == "__main__":
    sys.exit(main())
