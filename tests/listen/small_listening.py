"""A dataset of three runs whose last one repeats its clips, with sounds, with or without images."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import soundfile

GENRES = ("blues", "jazz", "rock")
RATE = 16000
START, SECONDS = 0.5, 1.5


def write_sound(path: Path, seconds: float = 3.0, rate: int = RATE, level: float = 0.2, channels: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([*path.stem.encode()]).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, np.clip(level * noise, -1, 1), rate, subtype="FLOAT")


def write_events(root: Path, run: int, tracks: list[str], sub: str = "01", *, genre: bool = True) -> Path:
    path = root / f"sub-{sub}" / "func" / f"sub-{sub}_task-music_run-{run}_events.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ["onset\tduration\tstim_file\tstim_start" + "\tgenre" * genre]
    for k, track in enumerate(tracks):
        rows.append(f"{k * SECONDS}\t{SECONDS}\t{track}.wav\t{START}" + f"\t{track.split('.')[0]}" * genre)
    path.write_text("\n".join(rows) + "\n")
    return path


def of(number: int) -> list[str]:
    return [f"{genre}.{number:05d}" for genre in GENRES]


def make_dataset(root: Path, *, images: bool = False) -> Path:
    """Runs 1 and 2 play three tracks each; run 3 plays three others twice."""
    for track in (*of(0), *of(1), *of(2)):
        write_sound(root / "stimuli" / f"{track}.wav")
    (root / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    for run, tracks in ((1, of(0)), (2, of(1)), (3, of(2) * 2)):
        events = write_events(root, run, tracks)
        if images:
            image = nibabel.Nifti1Image(np.zeros((2, 2, 2, 8), np.uint8), np.eye(4))
            image.header.set_xyzt_units("mm", "sec")
            image.header.set_zooms((2.0, 2.0, 2.0, 1.5))
            nibabel.save(image, events.with_name(events.name.replace("events.tsv", "bold.nii.gz")))
    (root / "task-music_bold.json").write_text('{"RepetitionTime": 1.5, "TaskName": "music"}')
    return root
