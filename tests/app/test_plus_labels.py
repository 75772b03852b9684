"""A whole call on a dataset whose labels hold plus signs (BIDS 1.11): participants, group, and everything read back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import soundfile

from ban_bids import load_derivatives

pytestmark = pytest.mark.slow
PEOPLE, SESSION, TASK, SPACE = ("01+2", "x"), "a+b", "music+speech", "MNI152NLin2009cAsym"
SHAPE, N_VOLUMES = (65, 77, 65), 60
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
AFFINE[:3, 3] = (-97.0, -133.0, -79.0)


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(values, AFFINE)
    if values.ndim == 4:
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((3.0, 3.0, 3.0, 2.0))
    nib.save(image, path)


def stem_of(root: Path, label: str, run: int) -> Path:
    return root / f"sub-{label}/ses-{SESSION}/func/sub-{label}_ses-{SESSION}_task-{TASK}_run-{run}"


def write_raw(root: Path) -> None:
    (root / "stimuli").mkdir(parents=True)
    for clip in range(6):
        noise = np.random.default_rng(clip).uniform(-0.5, 0.5, 12 * 22050)
        soundfile.write(root / f"stimuli/clip{clip}.wav", noise, 22050, subtype="PCM_16")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "plus", "BIDSVersion": "1.11.0"}))
    (root / f"task-{TASK}_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    for label in PEOPLE:
        for run in (1, 2, 3):
            stem = stem_of(root, label, run)
            save(Path(f"{stem}_bold.nii.gz"), np.zeros((2, 2, 2, N_VOLUMES), np.uint8))
            order = np.random.default_rng(run).permutation(6)
            rows = [f"{4 + 18 * k}\t10\trock\tclip{clip}.wav\n" for k, clip in enumerate(order)]
            Path(f"{stem}_events.tsv").write_text("".join(["onset\tduration\ttrial_type\tstim_file\n", *rows]))


def write_fmriprep(root: Path) -> None:
    root.mkdir()
    made_by = [{"Name": "fMRIPrep", "Version": "24.1.1"}]
    facts = {"Name": "fMRIPrep", "BIDSVersion": "1.4.0", "DatasetType": "derivative", "GeneratedBy": made_by}
    (root / "dataset_description.json").write_text(json.dumps(facts))
    brain = np.zeros(SHAPE, np.uint8)
    brain[6:-6, 6:-6, 6:-6] = 1
    rng = np.random.default_rng(0)
    moves = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    columns = [*moves, *(f"{name}_derivative1" for name in moves), "csf", "white_matter", "framewise_displacement"]
    for label in PEOPLE:
        anat = root / f"sub-{label}/anat/sub-{label}_space-{SPACE}"
        save(Path(f"{anat}_label-GM_probseg.nii.gz"), brain.astype(np.float32))
        save(Path(f"{anat}_desc-brain_mask.nii.gz"), brain)
        for run in (1, 2, 3):
            stem = stem_of(root, label, run)
            series = rng.integers(900, 1100, (*SHAPE, N_VOLUMES), dtype=np.int16)
            save(Path(f"{stem}_space-{SPACE}_desc-preproc_bold.nii.gz"), series)
            save(Path(f"{stem}_space-{SPACE}_desc-brain_mask.nii.gz"), brain)
            sidecar = {"RepetitionTime": 2.0, "StartTime": 0.9, "SliceTimingCorrected": True}
            Path(f"{stem}_space-{SPACE}_desc-preproc_bold.json").write_text(json.dumps(sidecar))
            table = pd.DataFrame(rng.normal(0, 0.01, (N_VOLUMES, len(columns))), columns=columns)
            table.to_csv(f"{stem}_desc-confounds_timeseries.tsv", sep="\t", index=False)


def ban_bids(*arguments: object) -> None:
    command = [sys.executable, "-m", "ban_bids", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_names_are_those_of_the_raw_data_from_end_to_end(tmp_path: Path) -> None:
    bids, out = tmp_path / "func" / "bids", tmp_path / "out"
    write_raw(bids)
    write_fmriprep(tmp_path / "fmriprep")
    fast = ("--nprocs", 1, "--omp-nthreads", 1, "--n-components", 4, "--n-permutations", 1000)
    ban_bids(bids, out, "participant", "-d", f"fmriprep={tmp_path / 'fmriprep'}", "--model", "logmel", *fast)
    ban_bids(bids, out, "group")
    done = load_derivatives(out)
    assert done.participants == PEOPLE
    scores, maps = done.scores(), done.maps(participant=PEOPLE[0])
    assert set(scores["participant"]) == set(PEOPLE) and set(scores["task"]) == {TASK}
    assert set(maps["task"]) == {TASK} and len(maps) > 3
    assert len(done.scores("01+2", model="logmel")) > 0
    assert done.regions("01+2").image.is_file()
    assert set(done.quality("01+2")["run"].dropna()) == {f"ses-{SESSION}_task-{TASK}_run-{run}" for run in (1, 2, 3)}
    assert not done.group_scores().empty
    for label in PEOPLE:
        assert (out / f"sub-{label}.html").is_file()
        assert (out / f"sub-{label}/func/sub-{label}_task-{TASK}_desc-logmel_bas.tsv").is_file()
        assert f"sub-{label}" in (out / "group.html").read_text()
