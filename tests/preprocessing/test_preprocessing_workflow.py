"""The whole workflow on a small phantom: one participant works, one is damaged, nothing is redone."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pytest
from nilearn.interfaces.fmriprep import load_confounds_strategy
from scipy import ndimage

from ban_bids.errors import DataError, UsageError
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing import anatomy
from ban_bids.preprocessing.files import load_image, load_mask
from ban_bids.preprocessing.regions import HCP_MMP, read_atlas
from ban_bids.preprocessing.run import preprocess
from ban_bids.preprocessing.space.realign import rigid_matrix
from ban_bids.preprocessing.space.register import normalize
from ban_bids.preprocessing.space.template import TEMPLATE, template_brain
from ban_bids.preprocessing.space.transforms import sample
from ban_bids.preprocessing.workflows.participant import init_participant_wf
from ban_bids.settings import Preprocessing, Settings

N = 8
HEAD_SHIFT = np.array([4.0, -6, 8, 0.05, 0.03, -0.04])  # the phantom's pose: mm, radians


def phantom(folder: Path, label: str, n_runs: int = 2) -> Participant:
    """Template brain in another pose, with a skull, as T1w at 2 mm and BOLD at 4 mm."""
    rng = np.random.default_rng(0)
    brain = ants.image_read(str(template_brain())).numpy()
    affine = nib.load(template_brain()).affine
    pose = rigid_matrix(HEAD_SHIFT, np.zeros(3))
    outside = ndimage.distance_transform_edt(brain[::2, ::2, ::2] <= 1, sampling=2.0)
    skull = np.where((outside > 8) & (outside < 12), 80.0, 0.0)
    coarse = ndimage.gaussian_filter(brain, 0.7)[::2, ::2, ::2] + skull
    t1w_affine = pose @ affine @ np.diag([2.0, 2, 2, 1])
    t1w = folder / f"sub-{label}_T1w.nii.gz"
    nib.save(nib.Nifti1Image((coarse + rng.normal(0, 1, coarse.shape)).astype(np.float32), t1w_affine), t1w)
    low = np.where(brain > 1, 130.0 - brain, 0)
    low = ndimage.gaussian_filter(low, 1.5)[10:-10:4, 10:-10:4, 10:-10:4] * 8
    offset = np.eye(4)
    offset[:3, 3] = 10
    bold_affine = pose @ affine @ offset @ np.diag([4.0, 4, 4, 1])
    runs = []
    for number in range(1, n_runs + 1):
        name = f"sub-{label}_task-music_run-{number}_bold.nii.gz"
        series = (low[..., None] + rng.normal(0, 5, (*low.shape, N))).astype(np.float32)
        nib.save(nib.Nifti1Image(series, bold_affine), folder / name)
        entities = (("sub", label), ("task", "music"), ("run", str(number)))
        runs.append(
            Run(
                label,
                None,
                "music",
                str(number),
                entities,
                folder / name,
                folder,
                2.0,
                N,
                None,
                "k",
                None,
                (),
            )
        )
    return Participant(label, (t1w,), tuple(runs))


def settings_for(folder: Path) -> Settings:
    return Settings.of(
        bids_dir=folder, output_dir=folder / "out", level="participant", work_dir=folder / "work", nprocs=2
    )


def check_published_transforms(folder: Path) -> None:
    """What antspyx makes with the published transforms is what we published."""
    t1w = ants.image_read(str(folder / "anat/sub-01_desc-preproc_T1w.nii.gz"))
    ours = ants.image_read(str(folder / f"anat/sub-01_space-{TEMPLATE}_desc-preproc_T1w.nii.gz"))
    xfm = folder / f"anat/sub-01_from-T1w_to-{TEMPLATE}_mode-image_xfm.h5"
    theirs = ants.apply_transforms(ours, t1w, [str(xfm)])
    inside = ours.numpy() > 20
    assert np.corrcoef(theirs.numpy()[inside], ours.numpy()[inside])[0, 1] > 0.999
    stem = folder / "func/sub-01_task-music_run-2"
    reference = ants.image_read(f"{stem}_desc-coreg_boldref.nii.gz")
    coreg = f"{stem}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt"
    # the series is interpolated by cubic splines, too
    bold = ants.apply_transforms(ours, reference, [str(xfm), coreg], interpolator="bSpline").numpy()
    mean = nib.load(f"{stem}_space-{TEMPLATE}_desc-preproc_bold.nii.gz").get_fdata().mean(3)
    seen = (mean > 0) & (bold > 0)
    assert np.corrcoef(bold[seen], mean[seen])[0, 1] > 0.999
    motion = Path(f"{stem}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt").read_text()
    assert motion.count("AffineTransform_double_3_3") == N
    sources = json.loads((folder / "anat/sub-01_desc-preproc_T1w.json").read_text())["Sources"]
    assert sources == ["bids:raw:sub-01_T1w.nii.gz"]


@pytest.mark.slow
def test_phantom_from_raw_to_regions(tmp_path: Path) -> None:
    good, bad = phantom(tmp_path, "01"), phantom(tmp_path, "02", 1)
    whole = bad.t1w[0].read_bytes()
    bad.t1w[0].write_bytes(whole[: len(whole) // 2])
    settings = settings_for(tmp_path)
    outcome = preprocess([good, bad], settings)
    assert isinstance(outcome["02"], DataError)
    told = str(outcome["02"])  # file, remedy, step
    assert f"{bad.t1w[0].name}: cannot be read" in told
    assert "fetch the file again" in told
    assert "(step anat.prepare; details in " in told
    done = outcome["01"]
    assert not isinstance(done, Exception), done
    quality = {(one.measure, one.run or one.region): one.value for one in done.quality}
    assert quality["registration_correlation", None] > 0.85
    assert min(quality["region_voxels", name] for name in ("A1", "Belt", "PB")) >= 5
    labels, atlas = np.asarray(nib.load(done.dseg).dataobj), read_atlas()[0]
    assert (labels > 0).sum() * 64 > 0.4 * (atlas > 0).sum()
    first = nib.load(done.runs[0].bold)
    assert first.shape[3] == N
    assert first.header.get_zooms()[:3] == pytest.approx((4, 4, 4))
    # the template seen through T1w and BOLD alike must come back to where it is in the template
    mean = first.get_fdata().mean(3)
    points = first.affine[:3, :3] @ np.argwhere(load_mask(done.cortex)).T + first.affine[:3, 3:]
    image = nib.load(template_brain())
    where = np.linalg.inv(image.affine)[:3, :3] @ points + np.linalg.inv(image.affine)[:3, 3:]
    truth = np.where(image.get_fdata() > 1, 130.0 - image.get_fdata(), 0)
    expected = ndimage.map_coordinates(ndimage.gaussian_filter(truth, 1.5), where, order=1)
    assert np.corrcoef(mean[load_mask(done.cortex)], expected)[0, 1] > 0.8

    check_published_transforms(tmp_path / "out" / "sub-01")
    for strategy, own in (("simple", "csf"), ("scrubbing", "csf_power2"), ("compcor", "a_comp_cor_00")):
        found, _ = load_confounds_strategy(str(done.runs[1].bold), denoise_strategy=strategy)
        assert {"trans_x_derivative1_power2", own} <= set(found)
        assert len(found) == N
    node = settings.compute.work_dir / "nipype/preprocessing/sub_01/anat/normalize/normalization.npz"
    before, inode = node.stat().st_mtime_ns, done.runs[0].bold.stat().st_ino
    for path in done.runs:
        path.bold.unlink()
    again = preprocess([good], settings)["01"]
    assert not isinstance(again, Exception), again
    assert node.stat().st_mtime_ns == before, "a finished node was done again"
    assert again.runs[0].bold.stat().st_ino == inode
    assert not list((settings.output.output_dir).rglob(".tmp-*"))


def test_without_t1w_the_template_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anatomy, "_WORKING", 4.0)  # coarse and few steps: a rough fit will do here
    monkeypatch.setattr(anatomy, "normalize", partial(normalize, reg_iterations=(20, 10)))
    whole = phantom(tmp_path, "01")
    settings = settings_for(tmp_path).changed(nprocs=1)
    done = preprocess([replace(whole, t1w=())], settings)["01"]
    assert not isinstance(done, Exception), done
    assert any("no T1w image" in note and "take the scores with care" in note for note in done.notes)
    assert next(one.value for one in done.quality if one.measure == "bold_template_fit") > 0.7
    assert not [title for title, _ in done.figures if "T1w" in title]
    # each cortical voxel of the output shows the template's own value there
    mean = nib.load(done.runs[1].bold).get_fdata().mean(3)
    cortex, affine = load_mask(done.cortex), nib.load(done.cortex).affine
    points = affine[:3, :3] @ np.argwhere(cortex).T + affine[:3, 3:]
    image, own = load_image(template_brain())
    expected = sample(ndimage.gaussian_filter(np.where(image > 1, 130 - image, 0), 1.5), own, points)
    assert np.corrcoef(mean[cortex], expected)[0, 1] > 0.7
    assert (np.asarray(nib.load(done.dseg).dataobj) > 0).sum() * 64 > 0.4 * (read_atlas()[0] > 0).sum()
    stem = str(tmp_path / "out/sub-01/func/sub-01_task-music_run-1_from-boldref_to-firstboldref")
    identity = ants.read_transform(f"{stem}_mode-image_desc-coreg_xfm.txt").parameters
    np.testing.assert_allclose(identity, [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], atol=0.05)
    assert not list((tmp_path / "out").rglob("*T1w*"))


@pytest.mark.parametrize(("t1w", "sessions"), [(True, ["a", "b"]), (False, ["", ""])])
def test_without_t1w_sessions_are_compared_with_the_run_that_all_lean_on(
    tmp_path: Path, t1w: bool, sessions: list[str]
) -> None:
    for name in ("T1w.nii", "a.nii", "b.nii"):
        (tmp_path / name).touch()
    runs = tuple(
        Run("01", name, "x", None, (("ses", name),), tmp_path / f"{name}.nii", tmp_path, 2.0, 9, None, "k", None, ())
        for name in "ab"
    )
    person = Participant("01", (tmp_path / "T1w.nii",) if t1w else (), runs)
    whole = init_participant_wf(person, Preprocessing(), resolution=4.0, atlas=HCP_MMP, mem_gb=1.0)
    aligned = {name.split(".")[0] for name in whole.list_node_names() if name.endswith(".to_session")}
    assert aligned == (set() if t1w else {"ses_a", "ses_b"})
    assert whole.get_node("quality").inputs.sessions == sessions


def test_t1w_space_without_t1w_is_refused(tmp_path: Path) -> None:
    person = Participant("01", (), (phantom_run(tmp_path),))
    refused = preprocess([person], settings_for(tmp_path).changed(space="T1w"))["01"]
    assert isinstance(refused, DataError)
    assert "--space T1w without a T1w image" in str(refused)
    with pytest.raises(UsageError, match=TEMPLATE):
        preprocess([person], settings_for(tmp_path).changed(space="Talairach"))


def phantom_run(folder: Path) -> Run:
    entities = (("sub", "01"), ("task", "music"))
    return Run("01", None, "music", None, entities, folder / "x", folder, 2.0, N, None, "k", None, ())
