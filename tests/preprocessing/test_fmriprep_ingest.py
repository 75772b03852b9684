"""fMRIPrep's tree: what is taken, and what is said when a piece is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ban_bids.errors import DataError
from ban_bids.inputs.dataset import Participant, Run
from ban_bids.preprocessing.files import load_mask
from ban_bids.preprocessing.regions import read_atlas
from ban_bids.preprocessing.run import preprocess
from ban_bids.preprocessing.template import TEMPLATE, template_grid
from ban_bids.settings import Settings

N = 6
GRID = template_grid(3.0)


def image(path: Path, data: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, GRID.affine), path)


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Participant, Settings, Path]:
    folder = tmp_path / "fmriprep"
    runs = []
    for number in ("1", "2"):
        entities = (("sub", "01"), ("ses", "a"), ("task", "music"), ("run", number))
        stem = folder / "sub-01" / "ses-a" / "func" / f"sub-01_ses-a_task-music_run-{number}"
        brain = np.ones(GRID.shape, np.uint8)
        brain[:, : 14 * int(number)] = 0
        image(Path(f"{stem}_space-{TEMPLATE}_desc-brain_mask.nii.gz"), brain)
        series = np.random.default_rng(0).normal(size=(*GRID.shape, N)).astype(np.float32)
        image(Path(f"{stem}_space-{TEMPLATE}_desc-preproc_bold.nii.gz"), series)
        side = {"RepetitionTime": 2.0, "StartTime": 0.9, "SliceTimingCorrected": True}
        Path(f"{stem}_space-{TEMPLATE}_desc-preproc_bold.json").write_text(json.dumps(side))
        names = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z", "csf", "cosine00"]
        lines = ["\t".join([*names, "non_steady_state_outlier00"])]
        lines += ["\t".join([f"{row * 0.1}"] * 8 + [str(int(row == 0))]) for row in range(N)]
        Path(f"{stem}_desc-confounds_timeseries.tsv").write_text("\n".join(lines) + "\n")
        none = tmp_path / "none"
        runs.append(
            Run("01", "a", "music", number, entities, none, none, 2.0, N, None, "k", None, ()),
        )
    image(
        folder / f"sub-01/anat/sub-01_space-{TEMPLATE}_label-GM_probseg.nii.gz",
        np.ones(GRID.shape, np.float32),
    )
    (folder / "dataset_description.json").write_text(
        json.dumps({"GeneratedBy": [{"Name": "fMRIPrep", "Version": "24.1.0"}]})
    )
    settings = Settings(
        bids_dir=tmp_path,
        output_dir=tmp_path / "out",
        level="participant",
        work_dir=tmp_path / "work",
        derivatives=(("fmriprep", folder),),
    )
    return Participant("01", (), tuple(runs)), settings, folder


def test_pieces_are_taken_and_regions_laid_on_their_grid(tree: tuple[Participant, Settings, Path]) -> None:
    participant, settings, _ = tree
    done = preprocess([participant], settings)["01"]
    assert not isinstance(done, Exception), done
    assert done.source == "fmriprep-24.1.0"
    assert [run.t_ref for run in done.runs] == [0.9, 0.9]
    assert [run.non_steady for run in done.runs] == [1, 1]
    labels = np.asarray(nib.load(done.dseg).dataobj)
    atlas, affine = read_atlas(None)
    for x, y, z in ((-43, -25, 11), (44, -22, 10), (-60, -20, 4)):
        here = np.rint(np.linalg.inv(GRID.affine) @ [x, y, z, 1])[:3].astype(int)
        world = GRID.affine @ [*here, 1]
        there = np.rint(np.linalg.inv(affine) @ world)[:3].astype(int)
        assert labels[tuple(here)] == atlas[tuple(there)]
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4}
    cortex = load_mask(done.cortex)
    assert cortex.any()
    assert not cortex[:, :28].any(), "outside the second run's mask"
    assert cortex[labels > 0].all()
    assert done.dseg.name == f"sub-01_space-{TEMPLATE}_desc-auditory_dseg.nii.gz"
    assert done.figures


def test_options_on_images_that_are_taken_as_they_are(tree: tuple[Participant, Settings, Path]) -> None:
    participant, settings, folder = tree
    later = replace(participant.runs[1], first_volume=3.0, slice_timing=(0.0, 1.5))
    participant = replace(participant, runs=(participant.runs[0], later))
    done = preprocess([participant], replace(settings, dummy_scans=0, use_syn_sdc=True))["01"]
    assert not isinstance(done, Exception), done
    assert [run.non_steady for run in done.runs] == [0, 0]
    assert any("--dummy-scans 0" in note for note in done.notes)
    assert any("--use-syn-sdc changes nothing" in note for note in done.notes)
    # the derivative's StartTime counts from the start of a volume, the first of which begins at 3 s
    assert [run.t_ref for run in done.runs] == [0.9, 3.9]
    for path in folder.rglob("*_desc-preproc_bold.json"):
        path.write_text(json.dumps({"RepetitionTime": 2.0, "SliceTimingCorrected": False}))
    again = preprocess([participant], settings)["01"]
    assert not isinstance(again, Exception), again
    assert [run.t_ref for run in again.runs] == [1.0, 4.0]


@pytest.mark.parametrize(
    ("piece", "pattern"),
    [
        (
            f"ses-a/func/sub-01_ses-a_task-music_run-2_space-{TEMPLATE}_desc-preproc_bold.nii.gz",
            "preproc_bold",
        ),
        (f"ses-a/func/sub-01_ses-a_task-music_run-1_space-{TEMPLATE}_desc-brain_mask.nii.gz", "brain_mask"),
        ("ses-a/func/sub-01_ses-a_task-music_run-1_desc-confounds_timeseries.tsv", "confounds_timeseries"),
        (f"anat/sub-01_space-{TEMPLATE}_label-GM_probseg.nii.gz", "GM_probseg"),
    ],
)
def test_a_missing_piece_is_named(tree: tuple[Participant, Settings, Path], piece: str, pattern: str) -> None:
    participant, settings, folder = tree
    (folder / "sub-01" / piece).unlink()
    done = preprocess([participant], settings)["01"]
    assert isinstance(done, DataError)
    assert pattern in str(done)
    assert str(folder) in str(done)


def test_several_resolutions_need_a_choice(tree: tuple[Participant, Settings, Path]) -> None:
    participant, settings, folder = tree
    for path in list((folder / "sub-01/ses-a/func").glob(f"*_space-{TEMPLATE}_*")):
        name = path.name.replace(f"_space-{TEMPLATE}_", f"_space-{TEMPLATE}_res-2_")
        path.with_name(name).write_bytes(path.read_bytes())
    refused = preprocess([participant], settings)["01"]
    assert isinstance(refused, DataError)
    assert "several files" in str(refused)
    assert "--res" in str(refused)
    done = preprocess([participant], replace(settings, res="2"))["01"]
    assert not isinstance(done, Exception), done
    assert all("_res-2_" in run.bold.name for run in done.runs)


def test_participants_that_cannot_be_used_do_not_stop_others(
    tree: tuple[Participant, Settings, Path],
) -> None:
    participant, settings, _ = tree
    broken = replace(participant, label="02", failure="sub-02: bold is 3-D; mend it")
    done = preprocess([broken, participant], settings)
    assert str(done["02"]) == "sub-02: bold is 3-D; mend it"
    assert not isinstance(done["01"], Exception)
