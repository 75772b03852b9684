"""Every run's files lie in its own session's folder; nothing of two sessions shares a name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.publish import LISTS, publish
from ban_bids.settings import Preprocessing

SESSIONS = ("a", "b", None)


def run_of(folder: Path, session: str | None) -> Run:
    given = (("sub", "01"), ("ses", session), ("task", "music"), ("run", "1"))
    entities = tuple((key, value) for key, value in given if value)
    bold = folder / ("_".join(f"{key}-{value}" for key, value in entities) + "_bold.nii.gz")
    return Run("01", session, "music", "1", entities, bold, folder, 2.0, 9, None, "k", None, ())


def written(folder: Path, name: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
    return str(path)


def summary_in(folder: Path) -> dict[str, Any]:
    """What the workflow leaves of three runs, with files that hold their own names."""
    content: dict[str, Any] = {several: [] for several in LISTS.values() if several != "signals"}
    for number, _ in enumerate(SESSIONS):
        place = folder / str(number)
        for several in ("bolds", "masks", "references"):
            content[several].append(written(place, f"{several}-{number}.nii.gz"))
        content["confounds"].append(written(place, f"confounds-{number}.tsv"))
        written(place, f"confounds-{number}.json")
        content["non_steady"].append(number)
        np.savetxt(place / "matrix.txt", np.diag([1.0, 1, 1 + number, 1]))
        np.savez(place / "motion.npz", matrices=np.stack([np.eye(4)] * 9))
        content["matrices"].append(str(place / "matrix.txt"))
        content["motions"].append(str(place / "motion.npz"))
    for key in ("dseg", "table", "cortex", "t1w", "t1w_mask", "t1w_in_space", "to_template", "from_template"):
        content[key] = written(folder, f"{key}.nii.gz")
    carpets = [written(folder, f"carpet-{number}.png") for number, _ in enumerate(SESSIONS)]
    return content | {"t1w_used": [0], "quality": [], "notes": ["a note"], "carpets": carpets}


def test_sessions_keep_their_own_images(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    person = Participant("01", (raw / "sub-01_T1w.nii.gz",), tuple(run_of(raw, session) for session in SESSIONS))
    summary = summary_in(tmp_path / "work")
    done = publish(person, summary, Preprocessing(), bids_dir=raw, output_dir=out)
    names = ("ses-a/func/sub-01_ses-a_task-music_run-1", "ses-b/func/sub-01_ses-b_task-music_run-1",
             "func/sub-01_task-music_run-1")  # fmt: skip
    for number, (name, run) in enumerate(zip(names, done.runs, strict=True)):
        stem = f"{out}/sub-01/{name}"
        assert str(run.bold) == f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
        assert [path.read_text() for path in (run.bold, run.mask, run.confounds)] == [
            f"bolds-{number}.nii.gz", f"masks-{number}.nii.gz", f"confounds-{number}.tsv"
        ]  # fmt: skip
        assert Path(f"{stem}_desc-confounds_timeseries.json").read_text() == f"confounds-{number}.json"
        assert Path(f"{stem}_desc-coreg_boldref.nii.gz").read_text() == f"references-{number}.nii.gz"
        matrix = Path(f"{stem}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt").read_text()
        assert f"Parameters: 1 0 0 0 1 0 0 0 {1 + number} 0 0 0" in matrix
        sidecar = json.loads(run.bold.with_name(run.bold.name.replace(".nii.gz", ".json")).read_text())
        assert sidecar["Sources"] == [f"bids:raw:{person.runs[number].bold.name}"]
        assert run.non_steady == number
    pictures = [path for _, path in done.figures]
    assert [path.read_text() for path in pictures] == [f"carpet-{number}.png" for number in range(3)]
    # files of a session say so, files of the participant do not
    for path in (path for path in out.rglob("*") if path.is_file() and path.suffix != ".png"):
        session = next((part for part in path.parent.parts if part.startswith("ses-")), "")
        assert (f"_{session}_" in path.name) if session else "_ses-" not in path.name, path
    assert done.notes == ("a note",)


def test_the_sidecar_of_a_clustered_run_keeps_its_times(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    starts = (3.0, 5.0, 7.0, 20.0, 22.0, 24.0, 40.0, 42.0, 44.0)
    first, *others = (run_of(raw, session) for session in SESSIONS)
    irregular = replace(first, volume_times=starts, first_volume=3.0, acquisition_time=1.6)
    person = Participant("01", (raw / "sub-01_T1w.nii.gz",), (irregular, *others))
    done = publish(person, summary_in(tmp_path / "work"), Preprocessing(), bids_dir=raw, output_dir=out)
    clustered, regular = (
        json.loads(run.bold.with_name(run.bold.name.replace(".nii.gz", ".json")).read_text()) for run in done.runs[:2]
    )
    # BIDS: either VolumeTiming, with the duration of a volume, or RepetitionTime
    assert clustered["VolumeTiming"] == list(starts) and clustered["FrameAcquisitionDuration"] == 1.6
    assert "RepetitionTime" not in clustered and clustered["SliceTimingCorrected"] is False
    assert clustered["StartTime"] == 3.8
    assert regular["RepetitionTime"] == 2.0 and "VolumeTiming" not in regular
