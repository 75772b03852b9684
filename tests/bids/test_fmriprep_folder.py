"""The folder of ``-d fmriprep=PATH``: one that is taken, and what is said of others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ban_bids.bids.fmriprep_folder import check_folder
from ban_bids.errors import UsageError

LABELS = ("01", "02")


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A raw dataset with derivatives of several pipelines."""
    for sub in LABELS:
        touch(tmp_path / f"sub-{sub}/func/sub-{sub}_task-a_bold.nii.gz")
        made = tmp_path / "derivatives"
        touch(made / f"fmriprep/sub-{sub}/func/sub-{sub}_task-a_space-X_desc-preproc_bold.nii.gz")
        touch(made / f"fmriprep/sub-{sub}/anat/sub-{sub}_desc-preproc_T1w.nii.gz")
        touch(made / f"smriprep/sub-{sub}/anat/sub-{sub}_desc-preproc_T1w.nii.gz")
        touch(made / f"mriqc/sub-{sub}/func/sub-{sub}_task-a_bold.json")
        touch(made / f"freesurfer/sub-{sub}/mri/orig.mgz")
        (made / "empty").mkdir(exist_ok=True)
    return tmp_path


def told(folder: Path, project: Path, labels: tuple[str, ...] = LABELS) -> str:
    with pytest.raises(UsageError) as caught:
        check_folder(folder, labels, project)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("derivatives", "no sub-01, sub-02 in it"),
        (".", "this is the raw dataset"),
        ("derivatives/fmriprep/sub-01", "no sub-01, sub-02 in it"),
        ("derivatives/fmriprep/sub-01/func", "no sub-01, sub-02 in it"),
        ("derivatives/mriqc", "nothing of fMRIPrep's"),
        ("derivatives/freesurfer", "nothing of fMRIPrep's"),
        ("derivatives/empty", "the folder is empty"),
    ],
)
def test_the_right_folder_is_named(project: Path, given: str, said: str) -> None:
    message = told(project / given, project)
    assert said in message
    assert message.endswith(f"did you mean {project / 'derivatives/fmriprep'}?")
    assert "run fMRIPrep" not in message


def test_what_is_there_is_taken(project: Path) -> None:
    made = project / "derivatives/fmriprep"
    for labels in (LABELS, ("01",), ("03",)):  # one who is not in it fails alone
        check_folder(made, labels, project)
    for name in ("figures", "log"):
        (project / f"begun-{name}/sub-01/{name}").mkdir(parents=True)
        check_folder(project / f"begun-{name}", LABELS, project)


def test_several_outputs_are_all_named(project: Path) -> None:
    (project / "derivatives/fmriprep").rename(project / "derivatives/fmriprep-20.2")
    touch(project / "derivatives/fmriprep-24/sub-01/func/sub-01_task-a_space-X_desc-preproc_bold.nii.gz")
    message = told(project / "derivatives", project)
    assert "fmriprep-20.2 or " in message and message.endswith("fmriprep-24?")


def only(project: Path, name: str) -> Path:
    return project / "derivatives" / name


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (lambda project: project / "nowhere", "no such folder"),
        (lambda project: only(project, "other"), "no sub-01, sub-02 in it, there are sub-1, sub-2"),
    ],
)
def test_without_a_likely_folder_nothing_is_guessed(tmp_path: Path, place: Callable[[Path], Path], said: str) -> None:
    for sub in ("1", "2"):
        touch(tmp_path / f"derivatives/other/sub-{sub}/func/sub-{sub}_task-a_space-X_desc-preproc_bold.nii.gz")
    message = told(place(tmp_path), tmp_path)
    assert said in message and "did you mean" not in message
