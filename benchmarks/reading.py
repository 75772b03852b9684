"""Time and memory to read a large dataset: a thousand participants of ten runs, and a table of 100 000 rows.

    python benchmarks/reading.py FOLDER [--participants 1000] [--runs 10] [--rows 20] [--long 100000]

FOLDER receives phantoms: images of 2 x 2 x 2 voxels, short sounds, events in another order for everybody. Each reading
is a process of its own: wall and processor seconds of ``read_dataset`` (without importing), and peak memory, for one
participant, for all, for ``--dry-run`` of all, and for the long table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel
import numpy as np
import soundfile
from measuring import Found, Watch, in_child

from ban_bids.settings import Settings

_TR = 2.0
_CLIP = 8.0
_N_SOUNDS = 100
_RATE = 1000
_HEADER = "onset\tduration\ttrial_type\tstim_file\tstim_start\n"


def _top_level(root: Path) -> list[str]:
    """Description, sidecar and sounds; returns the sounds' names."""
    (root / "stimuli").mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "large", "BIDSVersion": "1.10.0"}')
    (root / "task-music_bold.json").write_text(f'{{"RepetitionTime": {_TR}, "TaskName": "music"}}')
    names = [f"genre{number % 10}.{number:05d}.wav" for number in range(_N_SOUNDS)]
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, round(4 * _CLIP * _RATE))
    for name in names:
        soundfile.write(root / "stimuli" / name, noise, _RATE, subtype="PCM_16")
    return names


def _image(path: Path, n_volumes: int | None) -> bytes:
    """Bytes of an image of zeros; of one volume without time where ``n_volumes`` is None."""
    shape = (2, 2, 2) if n_volumes is None else (2, 2, 2, n_volumes)
    image = nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((2.0, 2.0, 2.0, _TR)[: len(shape)])
    nibabel.save(image, path)
    data = path.read_bytes()
    path.unlink()
    return data


def make_many(root: Path, participants: int, runs: int, rows: int, *, sidecars: bool = False) -> None:
    """Write participants of whom each hears the sounds in an order of its own, with a sidecar a run or one for all."""
    names, rng = _top_level(root), np.random.default_rng(1)
    bold, t1w = _image(root / "x.nii.gz", round(rows * _CLIP / _TR) + 5), _image(root / "x.nii.gz", None)
    for number in range(1, participants + 1):
        label = f"sub-{number:04d}"
        for kind in ("anat", "func"):
            (root / label / kind).mkdir(parents=True)
        (root / label / "anat" / f"{label}_T1w.nii.gz").write_bytes(t1w)
        for run in range(1, runs + 1):
            stem = root / label / "func" / f"{label}_task-music_run-{run:02d}"
            chosen = rng.choice(names, rows)
            lines = [f"{k * _CLIP}\t{_CLIP}\t{name[:6]}\t{name}\t{k % 3}\n" for k, name in enumerate(chosen)]
            stem.with_name(f"{stem.name}_bold.nii.gz").write_bytes(bold)
            stem.with_name(f"{stem.name}_events.tsv").write_text(_HEADER + "".join(lines))
            if sidecars:
                stem.with_name(f"{stem.name}_bold.json").write_text(f'{{"RepetitionTime": {_TR}, "EchoTime": 0.03}}')


def make_long(root: Path, rows: int) -> None:
    """Write one participant, in one of whose two runs there are very many short excerpts."""
    names, length = _top_level(root), 0.02
    for kind in ("anat", "func"):
        (root / "sub-01" / kind).mkdir(parents=True)
    (root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").write_bytes(_image(root / "x.nii.gz", None))
    for run, count in ((1, rows), (2, 100)):
        stem = root / "sub-01" / "func" / f"sub-01_task-music_run-{run}"
        lines = [
            f"{k * length:.2f}\t{length}\tgenre\t{names[k % len(names)]}\t{k % 1000 * length:.2f}\n"
            for k in range(count)
        ]
        bold = _image(root / "x.nii.gz", round(count * length / _TR) + 5)
        stem.with_name(f"{stem.name}_bold.nii.gz").write_bytes(bold)
        stem.with_name(f"{stem.name}_events.tsv").write_text(_HEADER + "".join(lines))


def reading(root: Path, labels: tuple[str, ...], describe: bool) -> Found:
    """Read a dataset, and describe it as ``--dry-run`` does."""
    from ban_bids.inputs.describe import describe_files
    from ban_bids.inputs.read import read_dataset

    out = root.parent / "out"
    settings = Settings.of(root, out, "participant", work_dir=out / "work", participant_labels=labels, dry_run=describe)
    with Watch() as watch:
        dataset = read_dataset(settings)
        text = describe_files(dataset, settings.models) if describe else ""
    lines = {"lines": text.count("\n") + 1} if describe else {}
    return {**watch.found(), "usable": len(dataset.usable), **lines}


def main() -> None:
    """Make what is not there yet, and print a line per reading."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    for name, default in (("participants", 1000), ("runs", 10), ("rows", 20), ("long", 100_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    many, long = (options.folder.absolute() / name for name in ("many", "long"))
    if not many.exists():
        make_many(many, options.participants, options.runs, options.rows)
    if not long.exists():
        make_long(long, options.long)
    for title, root, labels, describe in (
        ("one participant", many, ("0001",), False),
        ("all participants", many, (), False),
        ("--dry-run, all", many, (), True),
        ("long table", long, (), False),
    ):
        print(f"{title}: {in_child(reading, root, labels, describe, threads=1)}", flush=True)


if __name__ == "__main__":
    main()
