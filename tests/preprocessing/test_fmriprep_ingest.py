"""fMRIPrep's trees of several versions: what is taken, and what is said when a piece is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import ants
import nibabel as nib
import numpy as np
import pytest

from ban_bids.bids.fmriprep import Output, RunFiles, find_run
from ban_bids.errors import DataError, UsageError
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.files import load_mask
from ban_bids.preprocessing.fmriprep.files import find_anatomical, version_of
from ban_bids.preprocessing.regions import absent_regions, read_atlas
from ban_bids.preprocessing.run import preprocess
from ban_bids.preprocessing.space.template import NATIVE, TEMPLATE, template_grid
from ban_bids.preprocessing.strategies import MOTION12
from ban_bids.settings import Settings

N = 6
GRID = template_grid(3.0)


@dataclass(frozen=True)
class Layout:
    """How a version of fMRIPrep, given some options, names its files."""

    session: str | None = "a"
    runs: tuple[tuple[str, str | None], ...] = (("music", "1"), ("music", "2"))  # task, run in the raw data
    short_runs: bool = False  # run-1 for run-01
    space: str = f"space-{TEMPLATE}"
    res: tuple[str, ...] = ("",)
    ext: str = ".nii.gz"
    confounds: str = "timeseries"
    anat: str = "anat"
    grey: str = "label-GM_probseg"
    version_key: str = "GeneratedBy"


def image(path: Path, data: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, GRID.affine), path)


def make_run(task: str, number: str | None, session: str | None) -> Run:
    entities = [("sub", "01"), ("ses", session), ("task", task), ("run", number)]
    given = tuple((key, value) for key, value in entities if value is not None)
    none = Path("none")
    return Run("01", session, task, number, given, none, none, 2.0, N, None, "k", None, ())


def write_run(folder: Path, run: Run, layout: Layout, empty: int) -> None:
    name = run.name.replace("run-0", "run-") if layout.short_runs else run.name
    place = folder / "sub-01" / (f"ses-{run.session}" if run.session else "") / "func"
    brain = np.ones(GRID.shape, np.uint8)
    brain[:, :empty] = 0  # the back of the head
    for res in layout.res:
        stem = f"{place}/sub-01_{name}_{layout.space}{res}"
        image(Path(f"{stem}_desc-brain_mask{layout.ext}"), brain)
        series = np.random.default_rng(0).integers(900, 1100, (*GRID.shape, N)).astype(np.int16)
        image(Path(f"{stem}_desc-preproc_bold{layout.ext}"), series)
        side = {"RepetitionTime": 2.0, "StartTime": 0.9, "SliceTimingCorrected": True}
        Path(f"{stem}_desc-preproc_bold.json").write_text(json.dumps(side))
    names = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z", "csf", "cosine00"]
    lines = ["\t".join([*names, "non_steady_state_outlier00"])]
    lines += ["\t".join([f"{row * 0.1}"] * 8 + [str(int(row == 0))]) for row in range(N)]
    table = place / f"sub-01_{name}_desc-confounds_{layout.confounds}.tsv"
    table.write_text("\n".join(lines) + "\n")


def make_tree(tmp_path: Path, layout: Layout) -> tuple[Participant, Settings, Path]:
    folder = tmp_path / "fmriprep"
    runs = tuple(make_run(task, number, layout.session) for task, number in layout.runs)
    for k, run in enumerate(runs):
        write_run(folder, run, layout, 14 * (k + 1))
    space = "" if layout.space == "space-T1w" else f"{layout.space}_"
    image(folder / f"sub-01/{layout.anat}/sub-01_{space}{layout.grey}.nii.gz", np.ones(GRID.shape, np.uint8))
    made = {"Name": "fMRIPrep", "Version": "24.1.0"}
    content = {layout.version_key: [made] if layout.version_key == "GeneratedBy" else made}
    (folder / "dataset_description.json").write_text(json.dumps(content))
    settings = Settings.of(
        bids_dir=tmp_path,
        output_dir=tmp_path / "out",
        level="participant",
        work_dir=tmp_path / "work",
        derivatives=(("fmriprep", folder),),
    )
    return Participant("01", (), runs), settings, folder


def found(run: Run, folder: Path, settings: Settings) -> RunFiles:
    return find_run(run.entities, Output.of(folder, run.participant), settings.preprocessing)


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Participant, Settings, Path]:
    return make_tree(tmp_path, Layout())


def refusal(participant: Participant, settings: Settings) -> str:
    done = preprocess([participant], settings)["01"]
    assert isinstance(done, DataError), done
    return str(done)


def test_pieces_are_taken_and_regions_laid_on_their_grid(tree: tuple[Participant, Settings, Path]) -> None:
    participant, settings, _ = tree
    done = preprocess([participant], settings)["01"]
    assert not isinstance(done, Exception), done
    assert done.source == "fmriprep-24.1.0"
    assert [run.t_ref for run in done.runs] == [0.9, 0.9]
    assert [run.non_steady for run in done.runs] == [1, 1]
    assert [run.regressors for run in done.runs] == [MOTION12[:13]] * 2
    labels = np.asarray(nib.load(done.dseg).dataobj)
    atlas, affine = read_atlas()
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


PLAIN = Layout(session=None)
LAYOUTS = {
    "no session": PLAIN,
    "no run entity": replace(PLAIN, runs=(("train", None), ("test", None))),
    "20.2: regressors, segmentation": replace(
        PLAIN, confounds="regressors", grey="dseg", version_key="PipelineDescription"
    ),
    "uncompressed": replace(PLAIN, ext=".nii"),
    "run-1 for run-01": replace(PLAIN, runs=(("music", "01"), ("music", "02")), short_runs=True),
    "one resolution, not native": replace(PLAIN, res=("_res-2",)),
    "native beside another": replace(PLAIN, res=("_res-native", "_res-2")),
    "anatomy in the session": Layout(anat="ses-a/anat"),
    "anatomy in another session": Layout(anat="ses-b/anat"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_versions_and_options(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    participant, settings, folder = make_tree(tmp_path, layout)
    for k, run in enumerate(participant.runs):
        files = found(run, folder, settings)
        bold, mask, table = files.bold, files.mask, files.confounds
        assert bold.name.endswith(f"_{layout.space}{layout.res[0]}_desc-preproc_bold{layout.ext}")
        assert mask == Path(str(bold).replace("preproc_bold", "brain_mask"))
        assert not load_mask(mask)[:, : 14 * (k + 1)].any(), "another run's"
        assert load_mask(mask)[:, 14 * (k + 1) :].all()
        assert table.name == bold.name.split(f"_{layout.space}")[0] + f"_desc-confounds_{layout.confounds}.tsv"
    (grey,), notes = find_anatomical(participant, folder, TEMPLATE, layout.grey)
    assert grey.parent == folder / "sub-01" / layout.anat
    assert notes == ()
    assert version_of(folder) == "24.1.0"


def test_old_tree_works_from_end_to_end(tmp_path: Path) -> None:
    participant, settings, _ = make_tree(tmp_path, LAYOUTS["20.2: regressors, segmentation"])
    done = preprocess([participant], settings)["01"]
    assert not isinstance(done, Exception), done
    assert done.source == "fmriprep-24.1.0"
    assert [run.regressors for run in done.runs] == [MOTION12[:13]] * 2
    assert load_mask(done.cortex).any()


def test_runs_that_differ_in_entities_are_not_mixed_up(tmp_path: Path) -> None:
    participant, settings, folder = make_tree(tmp_path, replace(PLAIN, runs=(("music", None),)))
    write_run(folder, make_run("music", "2", None), PLAIN, 5)
    (run,) = participant.runs
    files = found(run, folder, settings)
    names = [path.name for path in (files.bold, files.mask, files.confounds)]
    assert not any("run-" in name for name in names)


def test_regions_reach_the_t1w_space_through_fmripreps_transform(tmp_path: Path) -> None:
    participant, settings, folder = make_tree(tmp_path, replace(PLAIN, space="space-T1w"))
    settings = settings.changed(space=NATIVE)
    message = refusal(participant, settings)
    assert f"sub-01_from-{TEMPLATE}_to-T1w_mode-image_xfm.h5" in message
    assert f"--space {TEMPLATE}" in message
    turn = np.array([[1.0, 0.0937, 0], [-0.0937, 1, 0], [0, 0, 0.9571]])
    parts = [
        ants.create_ants_transform("AffineTransform", dimension=3, matrix=turn),
        ants.create_ants_transform("AffineTransform", dimension=3, translation=(4.13, -6.27, 5.31)),
    ]
    path = folder / f"sub-01/anat/sub-01_from-{TEMPLATE}_to-T1w_mode-image_xfm.h5"
    ants.write_transform(ants.compose_ants_transforms(parts), str(path))
    done = preprocess([participant], settings)["01"]
    assert not isinstance(done, Exception), done
    assert done.space == NATIVE
    labels = np.asarray(nib.load(done.dseg).dataobj)
    # ANTs itself resamples the atlas onto the grid of the T1w image
    atlas, affine = read_atlas()
    nib.save(nib.Nifti1Image(atlas, affine), tmp_path / "atlas.nii.gz")
    mask = ants.image_read(str(done.runs[0].mask))
    moved = ants.apply_transforms(
        mask, ants.image_read(str(tmp_path / "atlas.nii.gz")), [str(path)], interpolator="nearestNeighbor"
    ).numpy()
    common = np.logical_and.reduce([load_mask(run.mask) for run in done.runs])
    expected = np.where(common, moved, 0)
    assert (expected > 0).sum() > 200
    assert (labels != expected).sum() <= 0.01 * (expected > 0).sum()  # ties between two voxels


def test_a_transform_that_is_none_is_named(tmp_path: Path) -> None:
    participant, settings, folder = make_tree(tmp_path, replace(PLAIN, space="space-T1w"))
    path = folder / f"sub-01/anat/sub-01_from-{TEMPLATE}_to-T1w_mode-image_xfm.h5"
    path.write_text("no transform")
    assert path.name in refusal(participant, settings.changed(space=NATIVE))


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
    message = refusal(participant, settings)
    assert pattern in message
    assert str(folder) in message


def only_in(space: str) -> Callable[[Path], None]:
    def change(func: Path) -> None:
        for path in list(func.glob(f"*space-{TEMPLATE}*")):
            path.rename(path.with_name(path.name.replace(TEMPLATE, space)))

    return change


def surfaces(func: Path) -> None:
    for path in list(func.glob(f"*space-{TEMPLATE}*")):
        path.unlink()
    for number in (1, 2):
        stem = f"sub-01_task-music_run-{number}"
        (func / f"{stem}_space-fsLR_den-91k_bold.dtseries.nii").touch()
        (func / f"{stem}_hemi-L_space-fsaverage5_bold.func.gii").touch()


def minimal(func: Path) -> None:
    for path in list(func.iterdir()):
        path.unlink()
    (func / "sub-01_task-music_run-1_desc-coreg_boldref.nii.gz").touch()


def nothing(func: Path) -> None:
    for path in list(func.iterdir()):
        path.unlink()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (only_in("MNI152NLin6Asym"), ["MNI152NLin6Asym", "cannot stand in"]),
        (surfaces, ["only surfaces or CIFTI (fsLR, fsaverage5)"]),
        (minimal, ["minimal output", "--level full"]),
        (nothing, ["has not finished"]),
    ],
    ids=["another template", "surfaces", "minimal", "nothing"],
)
def test_why_no_series_fits_is_told_with_the_remedy(
    change: Callable[[Path], None], told: list[str], tmp_path: Path
) -> None:
    participant, settings, folder = make_tree(tmp_path, PLAIN)
    change(folder / "sub-01" / "func")
    message = refusal(participant, settings)
    for text in (*told, f"space-{TEMPLATE}", f"--output-spaces {TEMPLATE}"):
        assert text in message


def test_another_template_is_refused_by_name(tree: tuple[Participant, Settings, Path]) -> None:
    participant, settings, _ = tree
    with pytest.raises(UsageError, match=f"MNI152NLin6Asym: choose {TEMPLATE}"):
        preprocess([participant], settings.changed(space="MNI152NLin6Asym"))


def test_resolutions_are_picked_by_name(tmp_path: Path) -> None:
    participant, settings, folder = make_tree(tmp_path, replace(PLAIN, res=("_res-1", "_res-2")))
    message = refusal(participant, settings)
    assert "several files" in message
    assert "--res one that is there: 1, 2" in message
    assert "--res one that is there: 1, 2" in refusal(participant, settings.changed(res="3"))
    for res in ("2", "02", "2mm"):
        files = found(participant.runs[1], folder, settings.changed(res=res))
        for path in (files.bold, files.mask):
            assert "_run-2_" in path.name
            assert "_res-2_" in path.name


def test_denoised_series_go_with_ica_aroma(tmp_path: Path) -> None:
    participant, settings, folder = make_tree(tmp_path, PLAIN)
    settings = settings.changed(confounds="ica_aroma")
    message = refusal(participant, settings)
    assert "desc-smoothAROMAnonaggr_bold" in message
    assert "--use-aroma" in message
    for path in list((folder / "sub-01/func").glob("*preproc_bold.nii.gz")):
        path.rename(path.with_name(path.name.replace("preproc", "smoothAROMAnonaggr")))
    for path in (folder / "sub-01/func").glob("*_desc-confounds_timeseries.tsv"):
        path.write_text(path.read_text().replace("cosine00", "white_matter", 1))
    done = preprocess([participant], settings)["01"]
    assert not isinstance(done, Exception), done
    assert [run.regressors for run in done.runs] == [("csf", "white_matter")] * 2


def test_sessions_with_anatomies_of_their_own_are_noted(tmp_path: Path) -> None:
    participant, settings, folder = make_tree(tmp_path, Layout(anat="ses-b/anat"))
    name = f"sub-01_ses-a_space-{TEMPLATE}_label-GM_probseg.nii.gz"
    image(folder / "sub-01/ses-a/anat" / name, np.ones(GRID.shape, np.uint8))
    (grey,), notes = find_anatomical(participant, folder, TEMPLATE, "label-GM_probseg")
    assert grey.name == name
    assert "2 folders have their own" in notes[0]


def test_a_damaged_sidecar_is_named(tree: tuple[Participant, Settings, Path]) -> None:
    participant, settings, folder = tree
    side = next((folder / "sub-01/ses-a/func").glob("*run-2*preproc_bold.json"))
    side.write_text("{")
    assert side.name in refusal(participant, settings)


def test_participants_that_cannot_be_used_do_not_stop_others(
    tree: tuple[Participant, Settings, Path],
) -> None:
    participant, settings, _ = tree
    broken = replace(participant, label="02", failure="sub-02: bold is 3-D; mend it")
    done = preprocess([broken, participant], settings)
    assert str(done["02"]) == "sub-02: bold is 3-D; mend it"
    assert not isinstance(done["01"], Exception)


def test_a_named_atlas_is_laid_on_the_grid_and_says_what_it_lacks(
    tree: tuple[Participant, Settings, Path],
) -> None:
    participant, settings, _ = tree
    done = preprocess([participant], settings.changed(atlas="destrieux"))["01"]
    assert not isinstance(done, Exception), done
    labels = np.asarray(nib.load(done.dseg).dataobj)
    assert set(np.unique(labels)) == {0, 1, 3, 4}
    for point, number in (((-45, -20, 7), 1), ((-61, -13, -2), 4), ((62, -10, -3), 4)):
        here = np.rint(np.linalg.inv(GRID.affine) @ [*point, 1])[:3].astype(int)
        around = labels[tuple(slice(n - 1, n + 2) for n in here)]
        assert (around == number).any(), point
    why = "atlas destrieux has no region Belt"
    assert absent_regions(done.dseg_table) == {"Belt": why}
    assert any(note.startswith(why) for note in done.notes)
    belt = [one for one in done.quality if one.region == "Belt"]
    assert len(belt) == 2 and np.isnan([one.value for one in belt]).all()
    assert all("atlas has no" in str(one.reason) for one in belt)
    side = json.loads(done.dseg.with_name(done.dseg.name.replace(".nii.gz", ".json")).read_text())
    assert "Destrieux" in side["Atlas"] and side["AtlasRegions"]["Belt"] == []
    files = sorted(path.name for path in (settings.compute.work_dir / "atlases").iterdir())
    assert files == ["destrieux_dseg.nii.gz", "destrieux_dseg.tsv"]


def test_slices_that_were_shifted_over_gaps_are_told(tree: tuple[Participant, Settings, Path]) -> None:
    participant, settings, folder = tree
    starts = (0.0, 2.0, 4.0, 16.0, 18.0, 20.0)
    first, second = participant.runs
    sparse = replace(second, acquisition_time=0.8)
    clustered = replace(participant, runs=(replace(first, volume_times=starts), sparse))
    done = preprocess([clustered], settings)["01"]
    assert not isinstance(done, Exception), done
    (note,) = (note for note in done.notes if "--ignore slicetiming" in note)
    assert "run-1" in note and "(and 1 more)" in note and "over the silence between volumes" in note
    assert done.runs[0].t_ref == 0.9 and done.runs[0].run.volume_times == starts
    for path in folder.rglob("*_bold.json"):
        path.write_text(json.dumps({"VolumeTiming": starts, "SliceTimingCorrected": False}))
    done = preprocess([clustered], settings)["01"]
    assert not isinstance(done, Exception), done
    assert not any("--ignore slicetiming" in note for note in done.notes)
    assert [run.t_ref for run in done.runs] == [1.0, 0.4]
