"""Disks that fill at many points of participant, group and training: ``python benchmarks/faults/disk_full.py FOLDER``.

    python benchmarks/faults/disk_full.py FOLDER [NAME ...]      only points whose names hold one of these words

Needs root: output and work folders are small tmpfs file systems under FOLDER. The data are made there first, once:
noise as fMRIPrep's output, two participants of three runs, and the raw phantoms of ``ban-bids-demo --size small`` for
the path through Nipype. Each command runs undisturbed, then with one file system of a share of the space that it
took: the call must end in time, with status 1 and one line that has a path and the bytes free, without traceback;
every file in the output must be whole; and the same command, with room, must finish with outputs that are identical
to the undisturbed ones (images, tables, JSON, draws; not logs and pages, which tell times). Prints a table.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import soundfile
from PIL import Image
from safetensors.numpy import load_file

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from fmriprep_phantom import write_image, write_output  # noqa: E402

LIMIT_S = 1200
ROOM = "4g"
PEOPLE, RUNS, VOLUMES, TR = ("01", "02"), (1, 2, 3), 40, 2.0
TOLD = re.compile(r"/\S+: (the disk is full|one participant needs) .*?\d+ bytes (\([\d.]+ \w+\) )?(are )?free")
LACKING = {
    "raw-run": ("*/task_music_run_4/*", "*/collect", "*/quality", "*/figures"),
    "raw-done": (),
    "raw-anat": ("sub_01/anat/normalize", "sub_01/anat/target", "sub_01/regions", "sub_01/collect"),
}
"""Steps that are yet to be done, of an undisturbed run's work folder with which a call begins."""

OPTIONS = (
    *("--model", "logmel", "--controls", "low-level", "--voxels", "auditory", "--n-permutations", "20"),
    *("--device", "cpu", "--omp-nthreads", "1"),
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A disk that fills.

    Parameters
    ----------
    job : str
        What runs: see :func:`command`.
    disk : {"out", "work"}
        Which file system is small.
    share : float
        Its size as a share of what the undisturbed run took there.
    nprocs : int
    ends : int
        Exit status that is right: 0 where a training goes on without its cache, or without its state.
    """

    job: str
    disk: str
    share: float
    nprocs: int = 1
    ends: int = 1

    def __str__(self) -> str:
        return f"{self.job}-{self.disk}-{self.share:g}-n{self.nprocs}"


POINTS = (
    *(Point("fmriprep", "out", share) for share in (0.01, 0.2, 0.5, 0.7, 0.97)),
    *(Point("fmriprep", "work", share) for share in (0.01, 0.3, 0.6, 0.9)),
    *(Point("group", "out", share) for share in (0.0, 0.3, 0.8)),
    Point("train", "out", 0.5),
    Point("train-late", "out", 0.5),
    Point("train-late", "out", 4.0, ends=0),
    Point("train", "work", 0.5, ends=0),
    *(Point("raw-run", "work", share, 2) for share in (0.0, 0.6)),
    Point("raw-run", "work", 0.4),
    *(Point("raw-anat", "work", share) for share in (0.3, 0.7)),
    *(Point("raw-done", "out", share, 2) for share in (0.3, 0.7)),
    Point("raw", "work", 0.1, 2),
)


# --- data


def make_data(folder: Path) -> None:
    """Noise as fMRIPrep's output of two people who heard noise; tracks to train on; raw phantoms of the demo."""
    root = folder / "bids"
    if not (folder / "fmriprep").exists():
        (root / "stimuli").mkdir(parents=True)
        (root / "dataset_description.json").write_text('{"Name": "noise", "BIDSVersion": "1.10.0"}')
        (root / "task-music_bold.json").write_text('{"RepetitionTime": 2.0, "TaskName": "music"}')
        names = [f"task-music_run-{run}" for run in RUNS]
        for sound in range(9):
            noise = np.random.default_rng(sound).uniform(-0.5, 0.5, 22_050 * 24)
            soundfile.write(root / f"stimuli/{sound}.wav", noise, 22_050, subtype="PCM_16")
        for sub in PEOPLE:
            for run, name in zip(RUNS, names, strict=True):
                stem = root / f"sub-{sub}/func/sub-{sub}_{name}"
                write_image(stem.with_name(f"{stem.name}_bold.nii.gz"), np.zeros((2, 2, 2, VOLUMES), np.uint8), tr=TR)
                heard = [0, 1, 2] if run == RUNS[-1] else [3 * run - 1, 3 * run, 3 * run + 1]
                rows = "".join(f"{24 * place}\t24\t{sound % 9}.wav\n" for place, sound in enumerate(heard))
                stem.with_name(f"{stem.name}_events.tsv").write_text("onset\tduration\tstim_file\n" + rows)
            write_output(folder / "fmriprep", sub, names, n=VOLUMES, tr=TR)
    if not (folder / "genres").exists():
        for genre in ("hiss", "hum"):
            (folder / "genres" / genre).mkdir(parents=True)
            for number in range(6):
                noise = np.random.default_rng([number, len(genre)]).uniform(-0.5, 0.5, 22_050 * 6)
                path = folder / "genres" / genre / f"{genre}.{number:05d}.wav"
                soundfile.write(path, np.cumsum(noise) / 200 if genre == "hum" else noise, 22_050, subtype="PCM_16")
    if not (folder / "demo").exists():
        options = ("--size", "small", "--participants", "2", "--data-only")
        subprocess.run([sys.executable, "-m", "ban_bids.cli.demo", str(folder / "demo"), *options], check=True)


# --- commands


def command(job: str, folder: Path, place: Path, nprocs: int) -> tuple[str, list[str]]:
    """Program and arguments; ``place`` holds the file systems ``out`` and ``work``."""
    out, work = str(place / "out" / "o"), str(place / "work" / "w")
    if job.startswith("train"):
        arguments = ["--data", str(folder / "genres"), "--out", f"{place / 'out' / 'ban.safetensors'}"]
        more = ["--preset", "ban-small", "--epochs", "4", "--crop-seconds", "2", "--device", "cpu", "--seed", "1"]
        return job, [*arguments, *more, "--cache-dir", str(place / "work" / "cache")]
    if job == "group":
        return "run", [str(folder / "bids"), out, "group", "-w", work]
    given = ("-d", f"fmriprep={folder / 'fmriprep'}") if job == "fmriprep" else ("--sloppy",)
    root = folder / "bids" if job == "fmriprep" else folder / "demo" / "bids"
    return "run", [str(root), out, "participant", "-w", work, *given, *OPTIONS, "--nprocs", str(nprocs)]


def _child(program: str, arguments: Sequence[str], log: Path) -> None:
    """The command in this (forked) process, its output in a file."""
    file = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir("/")
    if program.startswith("train"):
        from ban_bids.cli.train import main as train
        from ban_bids.training import fit, records

        if program == "train-late":  # as if there had been room at the start
            records._COPIES = 0
        fit.SECONDS_BETWEEN_STATES = 0.0  # these trainings are over before the first minute
        fit.STEPS_BETWEEN_LOOKS = 1
        status = train(arguments)
    else:
        from ban_bids.cli.run import main as run

        status = run(arguments)
    sys.stdout.flush()
    os._exit(status)


def call(program: str, arguments: Sequence[str], log: Path) -> tuple[int | None, float]:
    """Exit status, None where the call had to be ended, and seconds."""
    start = time.monotonic()
    child = multiprocessing.get_context("fork").Process(target=_child, args=(program, arguments, log))
    child.start()
    child.join(LIMIT_S)
    if child.is_alive():
        child.kill()
        child.join()
        return None, time.monotonic() - start
    return child.exitcode, time.monotonic() - start


# --- file systems


class Disks:
    """Two tmpfs file systems, ``out`` and ``work``."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for name in ("out", "work"):
            (place / name).mkdir(parents=True, exist_ok=True)
            self._mount(name, ROOM)

    def _mount(self, name: str, size: str, *, again: bool = False) -> None:
        options = f"{'remount,' if again else ''}size={size}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.place / name)], check=True)

    def resize(self, name: str, size: int | str) -> None:
        """Give a file system another size; never less than it holds."""
        self._mount(name, str(size), again=True)

    def used(self, name: str) -> int:
        """Bytes."""
        return shutil.disk_usage(self.place / name).used

    def close(self) -> None:
        """Unmount both."""
        for name in ("out", "work"):
            subprocess.run(["umount", "-l", str(self.place / name)], check=False)
        shutil.rmtree(self.place, ignore_errors=True)


# --- checks


def damaged(root: Path) -> list[str]:
    """Files of an output that cannot be read, or that are left over from writing."""
    bad = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        try:
            _read(path)
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with it
            bad.append(f"{path.name} ({type(error).__name__})")
    return bad


def _read(path: Path) -> None:
    if path.name.startswith(".tmp-"):
        raise ValueError("left over")
    if path.name.endswith(".nii.gz"):
        np.asarray(nib.load(path).dataobj)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".tsv":
        pd.read_csv(path, sep="\t")
    elif path.suffix == ".npz":
        with np.load(path) as stored:
            [stored[name] for name in stored.files]
    elif path.suffix == ".png":
        Image.open(path).load()
    elif path.suffix == ".safetensors":
        load_file(path)
    elif path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
        raise ValueError("no end")


def contents(root: Path) -> dict[str, Any]:
    """What must be the same in two outputs; of other files that they are there."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = str(path.relative_to(root))
        if path.suffix == ".safetensors":
            found[name] = {key: value.tobytes() for key, value in load_file(path).items()}
        elif path.name.endswith(".safetensors.json") or path.parent.name == "logs" or path.suffix in (".html", ".h5"):
            found[name] = None
        elif path.suffix != ".json" or root.name == "o":
            found[name] = path.read_bytes()
    return {name: value for name, value in found.items() if not name.endswith("_crash.txt")}


def finished(log: str) -> list[str]:
    """Participants that the closing table calls done."""
    return sorted(set(re.findall(r"(sub-\w+)\W+\w+\W+done", log)))


# --- the campaign


def undisturbed(job: str, folder: Path, nprocs: int) -> dict[str, Any]:
    """What a command makes and takes where there is room; kept in FOLDER/undisturbed."""
    kept = folder / "undisturbed" / job
    if not (kept / "used.json").exists():
        disks = Disks(folder / f"disks-{os.getpid()}")
        try:
            seed(job, folder, disks.place)
            before = {name: disks.used(name) for name in ("out", "work")}
            status, seconds = call(*command(job, folder, disks.place, nprocs), folder / f"{job}.log")
            if status != 0:
                raise SystemExit(f"{job}: undisturbed, and status {status}: {folder / f'{job}.log'}")
            used = {name: disks.used(name) - before[name] for name in before}
            for name in ("out", "work"):
                shutil.rmtree(kept / name, ignore_errors=True)
                shutil.copytree(disks.place / name, kept / name, symlinks=True)
        finally:
            disks.close()
        (kept / "used.json").write_text(json.dumps({**used, "seconds": seconds}))
    found: dict[str, Any] = json.loads((kept / "used.json").read_text())
    return {**found, "contents": contents(kept / "out" / "o" if job != "train" else kept / "out")}


def seed(job: str, folder: Path, place: Path) -> None:
    """What a command starts from: the group from the participants' outputs, some from work that is half done."""
    if job == "group":
        shutil.copytree(folder / "undisturbed" / "fmriprep" / "out", place / "out", symlinks=True, dirs_exist_ok=True)
    if job in LACKING:
        shutil.copytree(folder / "undisturbed" / "raw" / "work", place / "work", symlinks=True, dirs_exist_ok=True)
        for pattern in LACKING[job]:
            for step in list(place.glob(f"work/w/nipype/preprocessing/{pattern}")):
                shutil.rmtree(step)


def disturbed(point: Point, folder: Path) -> dict[str, Any]:
    """One point: the call on the small file system, the files it left, the second call with room."""
    clean = undisturbed(point.job.partition("-")[0], folder, point.nprocs)
    disks = Disks(folder / f"disks-{os.getpid()}")
    log = folder / f"{point}.log"
    try:
        seed(point.job, folder, disks.place)
        there = disks.used(point.disk)
        lacking = clean[point.disk] - (there if point.job in LACKING else 0)
        size = there + max(16_384, int(point.share * lacking))
        disks.resize(point.disk, size)
        arguments = command(point.job, folder, disks.place, point.nprocs)
        status, seconds = call(*arguments, log)
        text = log.read_text(errors="replace")
        told = [line for line in text.splitlines() if TOLD.search(line)]
        output = disks.place / "out" / ("" if point.job.startswith("train") else "o")
        bad = damaged(output)
        disks.resize(point.disk, ROOM)
        again, seconds_again = call(*arguments, folder / f"{point}-again.log")
        now = contents(output)
        differ = sorted(
            name for name in now.keys() | clean["contents"].keys() if now.get(name) != clean["contents"].get(name)
        )
    finally:
        disks.close()
    return {
        "point": str(point), "ends": point.ends, "KiB": size // 1024, "status": status, "s": round(seconds),
        "told": len(told),
        "traceback": "Traceback" in text, "damaged": len(bad), "done": " ".join(finished(text)) or "-",
        "again": again, "s again": round(seconds_again), "differ": len(differ),
        "which": "; ".join([*bad[:2], *differ[:3]]), "line": told[0].strip()[:250] if told else "",
    }  # fmt: skip


def good(row: dict[str, Any]) -> bool:
    """Whether a point ended as it must."""
    ended = row["status"] == row["ends"]
    whole = not (row["traceback"] or row["damaged"] or row["differ"])
    return bool(ended and row["told"] and whole and row["again"] == 0)


def main() -> int:
    """Run the points."""
    if os.geteuid():
        raise SystemExit("mounts file systems: run it as root, for example in a container with --privileged")
    folder, words = Path(sys.argv[1]).absolute(), sys.argv[2:]
    folder.mkdir(parents=True, exist_ok=True)
    make_data(folder)
    import ban_bids.app.group
    import ban_bids.app.participant  # noqa: F401 -- once, for all calls that are forked

    rows = []
    for point in POINTS:
        if not words or any(word in str(point) for word in words):
            rows.append(disturbed(point, folder))
            print("good" if good(rows[-1]) else "BAD", rows[-1], flush=True)
    table = pd.DataFrame(rows)
    print(table.drop(columns=["line", "which"]).to_string(index=False))
    print(f"{sum(map(good, rows))} of {len(rows)} points as they must be")
    return 0 if all(map(good, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
