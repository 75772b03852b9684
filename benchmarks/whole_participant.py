"""One participant of ds003720's size, from raw images to score tables, in one call of the app: time and memory.

    python benchmarks/whole_participant.py FOLDER [--out FILE.json]

Simulates the participant (``simulated_dataset.py``; 10 GB at full size) and networks with random weights, for none is
to be trained, runs ``ban-bids`` on them as a user would, and prints what each stage took: minutes as the app's own
summaries in ``logs/`` tell them, processor minutes and the peak memory of all its processes together (sampled twice a
second, shared pages counted once), the steps of preprocessing from Nipype's result files, and the space on disk.
Nothing is extrapolated. What is simulated is kept in FOLDER for the next call; outputs are made anew each time. A trial
of a few minutes: ``--runs-training 2 --runs-test 2 --volumes 200 --shape 32 32 24 --voxel 6``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from encoding_speed import put
from measuring import Found, ProcessTree, hardware
from preprocessing_time import step_times
from simulated_dataset import LABEL, Design, make_dataset, make_weights

from ban_bids.demo.phantom import Scan
from ban_bids.derivatives.read import load_derivatives
from ban_bids.derivatives.summaries import read_summaries
from ban_bids.models.presets import PRESETS

MODELS = ("ban", "deepcnn", "vgg", "crnn", "modulation")
_STARTED, _ENDED = re.compile(r" INFO (.+) \.\.\.$"), re.compile(r" INFO (.+): \d+\.\d+ min, peak \d+ MiB$")


def main() -> int:
    """Simulate, run, print; the exit status is that of the app."""
    given = _parsed()
    scan = Scan(tuple(given.shape), given.voxel, n_volumes=given.volumes, multiband=given.multiband)
    root = given.folder / "raw"
    start = time.monotonic()
    make_dataset(root, Design(scan, given.runs_training, given.runs_test), given.nprocs)
    weights = make_weights(given.folder / "weights", [name for name in given.models if name in PRESETS])
    print(f"simulated in {(time.monotonic() - start) / 60:.1f} min", flush=True)
    models = [f"{name}={weights[name]}" if name in weights else name for name in given.models]
    found = run_app(root, given.folder / "out", given.folder / "work", [
        *("--model", *models), *("--nprocs", str(given.nprocs)), *("--omp-nthreads", str(given.omp_nthreads)),
        *("--mem", given.mem), *shlex.split(given.more),
    ])  # fmt: skip
    sizes = ("runs_training", "runs_test", "volumes", "shape", "voxel", "models", "nprocs", "omp_nthreads", "mem")
    whole = {
        "command": f"python benchmarks/whole_participant.py {shlex.join(_without_folders(sys.argv[1:]))}",
        "hardware": hardware(given.omp_nthreads), **{name: getattr(given, name) for name in sizes}, **found,
    }  # fmt: skip
    print(printed(whole))
    if given.out:
        put(given.out, "whole", whole)
    return int(found["status"])


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the dataset, weights, outputs and the work folder")
    parser.add_argument("--runs-training", type=int, default=12)
    parser.add_argument("--runs-test", type=int, default=6)
    parser.add_argument("--volumes", type=int, default=410)
    parser.add_argument("--shape", type=int, nargs=3, default=[96, 96, 68])
    parser.add_argument("--voxel", type=float, default=2.0, help="mm")
    parser.add_argument("--multiband", type=int, default=4, help="slices at a time; divides their number")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--omp-nthreads", type=int, default=2)
    parser.add_argument("--mem", default="8G")
    parser.add_argument("--more", default="", help="further options of ban-bids, in one word")
    parser.add_argument("--out", type=Path, help="JSON to put the results into, as its section 'whole'")
    return parser.parse_args()


def _without_folders(arguments: Sequence[str]) -> list[str]:
    """Arguments without the folder of this machine, which comes first, and the file of results."""
    kept = list(arguments[1:])
    if "--out" in kept:
        place = kept.index("--out")
        del kept[place : place + 2]
    return ["FOLDER", *kept]


def run_app(root: Path, out: Path, work: Path, options: Sequence[str]) -> Found:
    """Run the participant level in a process of its own, watched; outputs of an earlier call are removed.

    Returns
    -------
    dict
        ``status``, ``wall_min``, ``cpu_min``, ``peak_gib``; ``stages``, ``steps``, ``disk_gib``, ``scores``.
    """
    for old in (out, work):
        shutil.rmtree(old, ignore_errors=True)
    command = [sys.executable, "-m", "ban_bids", str(root), str(out), "participant", "-w", str(work), *options]
    marks: list[tuple[float, str]] = []
    start = time.monotonic()
    app = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with ProcessTree(app.pid) as tree, Disk(out, work) as disk, (root.parent / "app.log").open("w") as log:
        assert app.stdout is not None
        for line in app.stdout:
            marks.append((time.monotonic(), line.rstrip("\n")))
            log.write(line)
            log.flush()
        status = app.wait()
    end = time.monotonic()
    found: Found = {
        "status": status,
        "wall_min": (end - start) / 60,
        "cpu_min": tree.cpu_s(start, end) / 60,
        "peak_gib": tree.peak_gib(),
        "disk_gib": disk.found(),
    }
    if not (out / "logs").is_dir() or not list((out / "logs").glob("*_summary.json")):
        return {**found, "stages": [], "steps": [], "scores": []}
    return {**found, "stages": stages(out, marks, tree, start, end), "steps": steps(work), "scores": scores(out)}


class Disk:
    """Space that folders take, at most and in the end, looked at every five seconds."""

    def __init__(self, *folders: Path) -> None:
        self._folders, self._done = folders, threading.Event()
        self._most = {folder: 0 for folder in folders}
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Disk:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def found(self) -> Found:
        """GiB of each folder, by its name."""
        return {
            folder.name: {"peak": most / 2**30, "end": space(folder) / 2**30} for folder, most in self._most.items()
        }

    def _look(self) -> None:
        done = False
        while not done:
            done = self._done.wait(5)
            for folder in self._folders:
                self._most[folder] = max(self._most[folder], space(folder))


def space(folder: Path) -> int:
    """Bytes that a folder's files take on disk; a file that goes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(place, name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def stages(out: Path, marks: Iterable[tuple[float, str]], tree: ProcessTree, start: float, end: float) -> list[Found]:
    """Stages in their order: minutes as the summaries tell them; memory and processor time as watched meanwhile.

    A model that failed has no summary: the minutes of its stages are those between the app's lines. The last row is
    what belongs to no stage: libraries that are loaded, pages.
    """
    models = read_summaries(out, LABEL)[1]
    minutes = {stage["name"]: float(stage["minutes"]) for model in models for stage in model.stages}
    begun: dict[str, float] = {}
    rows: list[Found] = []
    for when, line in marks:
        if match := _STARTED.search(line):
            begun[match[1]] = when
        elif match := _ENDED.search(line):
            name, first = match[1], begun[match[1]]
            rows.append({
                "stage": name, "minutes": minutes.get(name, (when - first) / 60),
                "cpu_min": tree.cpu_s(first, when) / 60, "peak_gib": tree.peak_gib(first, when),
            })  # fmt: skip
    if missing := minutes.keys() - {row["stage"] for row in rows}:
        raise SystemExit(f"stages of the summaries that the app's lines do not tell: {', '.join(sorted(missing))}")
    rest = {"stage": "outside all stages", "minutes": (end - start) / 60, "cpu_min": tree.cpu_s(start, end) / 60}
    for key in ("minutes", "cpu_min"):
        rest[key] -= sum(row[key] for row in rows)
    return [*rows, {**rest, "peak_gib": None}]


def steps(work: Path) -> list[Found]:
    """Steps of preprocessing, those of all runs together: how often, seconds in all, of the longest."""
    times = step_times(work / "nipype")
    times["step"] = times["step"].str.replace(r"run_[^/]*", "run_*", regex=True)
    grouped = times.groupby("step")["seconds"].agg(["size", "sum", "max"]).sort_values("sum", ascending=False)
    return [
        {"step": str(name), "times": int(size), "seconds": float(total), "longest_s": float(longest)}
        for name, size, total, longest in grouped.itertuples()
    ]


def scores(out: Path) -> list[Found]:
    """C of each model and control: that a score came out is part of what is shown."""
    table = load_derivatives(out).scores(LABEL, row="C")
    columns = ["model", "control_of", "value", "ci_low", "ci_high", "reason"]
    found: list[Found] = json.loads(table[columns].to_json(orient="records"))
    return found


def printed(whole: Found) -> str:
    """Tables of stages and steps, and totals."""
    tables = [
        pd.DataFrame(whole[name]).round(2).to_string(index=False)
        for name in ("stages", "steps", "scores")
        if whole[name]
    ]
    disk = ", ".join(
        f"{name} {size['end']:.2f} GiB (at most {size['peak']:.2f})" for name, size in whole["disk_gib"].items()
    )
    totals = (
        f"whole: {whole['wall_min']:.2f} min, {whole['cpu_min']:.2f} processor minutes; peak {whole['peak_gib']:.2f} "
        f"GiB (all processes); on disk: {disk}; exit status {whole['status']}"
    )
    return "\n\n".join([*tables, totals])


if __name__ == "__main__":
    sys.exit(main())
