"""Small datasets, written by the tests themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import soundfile

from ban_bids.inputs.types import Dataset
from ban_bids.settings import Settings

TR = 2.0
HEADER = "onset\tduration\ttrial_type\tstim_file\tstim_start\n"


def write_bold(path: Path, shape: tuple[int, ...], tr: float = TR, unit: str = "sec") -> None:
    """An image of zeros; only its header is read here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm", unit)
    if len(shape) == 4:
        image.header.set_zooms((2.0, 2.0, 2.0, tr))
    nibabel.save(image, path)


def write_audio(path: Path, seconds: float = 30.0, rate: int = 1000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).uniform(-0.5, 0.5, round(seconds * rate))
    soundfile.write(path, noise, rate, subtype="PCM_16")


@dataclass
class Toy:
    """A valid dataset: two participants, three runs of ten volumes a participant, two clips a run."""

    root: Path

    def func(self, run: int, suffix: str, sub: str = "01") -> Path:
        return self.root / f"sub-{sub}" / "func" / f"sub-{sub}_task-music_run-{run}_{suffix}"

    def events(self, run: int, rows: str, sub: str = "01", header: str = HEADER) -> Path:
        path = self.func(run, "events.tsv", sub)
        path.write_text(header + rows)
        return path

    def sidecar(self, run: int, sub: str = "01", **fields: object) -> None:
        self.func(run, "bold.json", sub).write_text(json.dumps(fields))

    def settings(self, **changes: object) -> Settings:
        out = self.root.parent / "out"
        return Settings.of(self.root, out, "participant", work_dir=out / "work", **changes)  # type: ignore[arg-type]


def make_toy(root: Path) -> Toy:
    """The dataset of :class:`Toy` in a folder."""
    dataset = Toy(root)
    for genre in ("blues", "disco", "rock"):
        for number in range(2):
            write_audio(dataset.root / "stimuli" / f"{genre}.0000{number}.wav", 12.0)
    (dataset.root / "dataset_description.json").write_text('{"Name": "toy", "BIDSVersion": "1.10.0"}')
    (dataset.root / "task-music_bold.json").write_text('{"RepetitionTime": 2.0, "TaskName": "music"}')
    for sub in ("01", "02"):
        write_bold(dataset.root / f"sub-{sub}" / "anat" / f"sub-{sub}_T1w.nii.gz", (2, 2, 2))
        for run, genre in enumerate(("blues", "disco", "rock"), start=1):
            write_bold(dataset.func(run, "bold.nii.gz", sub), (2, 2, 2, 10))
            dataset.events(
                run, f"0\t8\t{genre}\t{genre}.00000.wav\t1.5\n8.0\t8\t{genre}\t{genre}.00001.wav\tn/a\n", sub
            )
    return dataset


@dataclass(frozen=True)
class Skeleton:
    """ds003720 without its images and sounds: real events and sidecars, phantoms of the right length."""

    root: Path
    gtzan: Path
    rows: dict[str, list[tuple[float, str, float]]]

    def settings(self, **changes: object) -> Settings:
        out = self.root.parent / "out"
        given: dict[str, object] = {"gtzan_dir": self.gtzan, "work_dir": out / "work"} | changes
        return Settings.of(self.root, out, "participant", **given)  # type: ignore[arg-type]


def plain_rows(path: Path) -> list[tuple[float, str, float]]:
    """(onset, track, start) of ds003720's events, parsed in the plainest way."""
    text = path.read_text().replace("\r", "").replace("'", "")
    found = []
    for line in text.strip().split("\n")[1:]:
        onset, _, genre, track, start, _ = line.split("\t")
        found.append((float(onset), f"{genre}.{int(track):05d}", float(start)))
    return found


def notes_of(dataset: Dataset) -> list[str]:
    """Notes of the dataset and of its participants."""
    return [*dataset.notes, *(note for person in dataset.participants for note in person.notes)]
