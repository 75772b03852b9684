"""The demo's BIDS files other than images and sound: descriptions, sidecars, events, participants."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ban_bids.demo.phantom import Scan
from ban_bids.demo.plan import DemoSize, PlannedRun

TASK = "music"

_README = """\
# ban-bids demo dataset

Everything here is synthetic: no person was scanned and no recording is used.

Music of ten genres is synthesised. Images show a phantom: the MNI152NLin2009cAsym brain bent into each
participant's shape, in a synthetic skull. Four auditory regions answer the music through the features of
a teacher network; the rest of the head does not. Haemodynamic responses differ by voxel, slices are taken
one after another, the head moves, and noise and drift lie on top. The answers of the genre task are drawn
from the teacher's softmax; people without images only judged.

Runs 1 to {training} each play {clips} different clips. The others repeat {test} clips {repeats} times.

What was planted is described next to this folder, in `truth/`.
"""


def participant_label(index: int) -> str:
    """Label of the participant with an index from 0: ``01``, ``02``, …"""
    return f"{index + 1:02d}"


def bold_path(bids: Path, label: str, run: PlannedRun) -> Path:
    """Path of a run's image."""
    return bids / f"sub-{label}" / "func" / f"sub-{label}_task-{TASK}_run-{run.number}_bold.nii.gz"


def write_top_level(bids: Path, size: DemoSize, labels: Sequence[str], seed: int) -> None:
    """Write the dataset's description, README, participants and shared sidecars.

    Parameters
    ----------
    bids : Path
        Root of the dataset.
    size : DemoSize
        What the dataset holds.
    labels : sequence of str
        Participants' labels.
    seed : int
        Recorded in the description.
    """
    bids.mkdir(parents=True, exist_ok=True)
    description = {
        "Name": "ban-bids demo: synthesised music, phantom listeners",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["ban-bids"],
        "GeneratedBy": [{"Name": "ban-bids-demo", "Description": f"seed {seed}"}],
    }
    _write_json(bids / "dataset_description.json", description)
    readme = _README.format(
        training=size.training_runs, clips=size.training_clips, test=size.test_clips, repeats=size.repeats
    )
    (bids / "README.md").write_text(readme)
    people = pd.DataFrame({"participant_id": [f"sub-{label}" for label in labels], "species": "homo sapiens"})
    people.to_csv(bids / "participants.tsv", sep="\t", index=False)
    _write_json(
        bids / "participants.json",
        {"species": {"Description": "What the phantom imitates: every participant is synthetic"}},
    )
    _write_json(bids / f"task-{TASK}_bold.json", _bold_sidecar(size.scan(1)))
    _write_json(bids / f"task-{TASK}_events.json", _events_sidecar())
    _write_json(bids / "T1w.json", {"Modality": "MR", "Manufacturer": "synthetic", "MagneticFieldStrength": 3})


def _bold_sidecar(scan: Scan) -> dict[str, Any]:
    return {
        "TaskName": TASK,
        "TaskDescription": "Listening to music clips",
        "Instructions": "Listen to the music.",
        "RepetitionTime": scan.repetition_time,
        "SliceTiming": [round(float(time), 6) for time in scan.slice_times],
        "SliceEncodingDirection": "k",
        "MultibandAccelerationFactor": scan.multiband,
        "EchoTime": 0.03,
        "FlipAngle": 70,
        "PhaseEncodingDirection": "j-",
        "MagneticFieldStrength": 3,
        "Manufacturer": "synthetic",
    }


def _events_sidecar() -> dict[str, Any]:
    return {
        "trial_type": {"Description": "Kind of event", "Levels": {"music": "A clip of music is played"}},
        "stim_file": {"Description": "Track from which the clip is taken, under stimuli/"},
        "stim_start": {"Description": "Where in the track the clip starts", "Units": "s"},
        "genre": {"Description": "Genre under which the track was synthesised"},
    }


def write_events(bids: Path, label: str, run: PlannedRun, tracks: Sequence[Path], size: DemoSize) -> None:
    """Write the events of one run.

    Parameters
    ----------
    bids : Path
        Root of the dataset.
    label : str
        Participant.
    run : PlannedRun
        What is heard when.
    tracks : sequence of Path
        Stimulus tracks, in the order of the clip numbers.
    size : DemoSize
        Length and start of the clips.
    """
    names = [tracks[heard.clip].name for heard in run.heard]
    table = pd.DataFrame(
        {
            "onset": [heard.onset for heard in run.heard],
            "duration": size.clip,
            "trial_type": "music",
            "stim_file": names,
            "stim_start": size.start,
            "genre": [name.split(".")[0] for name in names],
        }
    )
    target = bold_path(bids, label, run).with_name(f"sub-{label}_task-{TASK}_run-{run.number}_events.tsv")
    target.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(target, sep="\t", index=False)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
