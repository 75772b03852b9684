"""The index answers as pybids does, wherever the dataset lies and whatever lies in its folder of indexes."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from bids.layout import BIDSLayout

from ban_bids.bids import index as of_images
from ban_bids.bids.index import Index, build_index
from ban_bids.bids.listing import list_dataset
from ban_bids.errors import DataError, UsageError
from ban_bids.settings import Selection

IMAGES = (
    "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/func/sub-01_task-a_run-1_bold.nii.gz",
    "sub-01/func/sub-01_task-a_run-02_echo-2_bold.nii",
    "sub-01/fmap/sub-01_dir-AP_epi.nii.gz",
    "sub-a+b/ses-anat/func/sub-a+b_ses-anat_task-b+c_acq-func_bold.nii.gz",
    "sub-a+b/ses-anat/anat/sub-a+b_ses-anat_rec-x_T1w.nii.gz",
)


def dataset(root: Path, images: tuple[str, ...] = IMAGES) -> Path:
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return root


def index(root: Path, **selection: object) -> Index:
    listing = list_dataset(root)
    return build_index(Selection(root, **selection), listing, listing.labels)  # type: ignore[arg-type]


def found(made: Index) -> dict[str, list[str]]:
    """Images of every kind, from the dataset's folder on."""
    root, labels = made.listing.root, made.listing.labels
    return {
        kind: sorted(path.relative_to(root).as_posix() for label in labels for path in made.images(kind, label))
        for kind in ("bold", "t1w", "fmap")
    }


def choose(tmp_path: Path, **queries: object) -> Path:
    path = tmp_path / "filter.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(queries).encode())
    return path


EXPECTED = {
    "bold": sorted(name for name in IMAGES if "/func/" in name),
    "t1w": sorted(name for name in IMAGES if "/anat/" in name),
    "fmap": [name for name in IMAGES if "/fmap/" in name],
}

ABOVE = ("plain", "func", "anat", "fmap", "motion", "beh", "sub-99study", "ses-1", "derivatives/sourcedata", "task-x",
         "sub-02/ses-7/func", "a (b) [c] {d} $e", "x.nii.gz", "run-3_echo-1_T1w", "ä ö", "code/.git")  # fmt: skip


@pytest.mark.parametrize("above", ABOVE)
def test_folders_above_the_dataset_change_nothing(tmp_path: Path, above: str) -> None:
    root = dataset(tmp_path / above / "bids")
    assert found(index(root)) == EXPECTED
    assert found(index(root, bids_database_dir=tmp_path / "db")) == EXPECTED
    assert found(index(root, bids_database_dir=tmp_path / "db")) == EXPECTED
    chosen = choose(tmp_path, bold={"session": None, "run": 2}, t1w={"reconstruction": "x"})
    assert found(index(root, bids_filter_file=chosen)) == {
        **EXPECTED,
        "bold": ["sub-01/func/sub-01_task-a_run-02_echo-2_bold.nii"],
        "t1w": ["sub-a+b/ses-anat/anat/sub-a+b_ses-anat_rec-x_T1w.nii.gz"],
    }


def test_without_filters_place_alone_says_what_pybids_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = ("sub-01/func/sub-01_task-a_run-1_sbref.nii.gz", "sub-01/fmap/sub-01_phasediff.nii.gz")
    root = dataset(tmp_path / "data", (*IMAGES, *others))
    by_pybids = found(index(root, bids_filter_file=choose(tmp_path, bold={}, t1w={})))
    monkeypatch.setattr(of_images, "BIDSLayout", None)  # which would fail
    assert found(index(root)) == by_pybids
    assert len(by_pybids["fmap"]) == 2 and others[0] not in by_pybids["bold"]


def test_every_bold_image_whatever_the_filter(tmp_path: Path) -> None:
    root = dataset(tmp_path / "func" / "bids", (*IMAGES, "sub-01/func/sub-01_task-a_run-1_bold.nii"))
    made = index(root, bids_filter_file=choose(tmp_path, bold={"task": "nothing"}))
    assert found(made)["bold"] == []
    listed = [path.relative_to(root).as_posix() for label in made.listing.labels for path in made.every_bold(label)]
    assert sorted(listed) == EXPECTED["bold"]
    assert "leave out all 2 BOLD images" in made.no_bold("01")


def test_links_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tmp_path / "func" / "real")
    (tmp_path / "sub-7").symlink_to(tmp_path / "func" / "real")
    assert found(index(tmp_path / "sub-7")) == EXPECTED
    monkeypatch.chdir(tmp_path / "func")
    assert found(index(Path("real"))) == EXPECTED
    monkeypatch.chdir(tmp_path / "func" / "real")
    assert found(index(Path())) == EXPECTED


QUERIES = (
    {"task": "a"}, {"run": 1}, {"run": "02"}, {"run": [1, 2]}, {"echo": None}, {"echo": "*"}, {"acquisition": "func"},
    {"extension": ".nii"}, {"extension": "nii.gz"}, {"extension": ".json"}, {"session": "anat"}, {"subject": "a+b"},
    {"task": "^b", "regex_search": True},
)  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_queries_are_answered_as_by_pybids_itself(tmp_path: Path, query: dict[str, object]) -> None:
    from bids.layout import Query

    root = dataset(tmp_path / "bids")
    values = {key: {None: Query.NONE, "*": Query.ANY}.get(value, value) if isinstance(value, str | None) else value
              for key, value in query.items()}  # fmt: skip
    layout = BIDSLayout(str(root), validate=False)
    theirs = layout.get(return_type="filename", **{"datatype": "func", "suffix": "bold", **values})
    ours = found(index(root, bids_filter_file=choose(tmp_path, bold=query)))["bold"]
    assert ours == sorted(Path(name).relative_to(root).as_posix() for name in theirs if ".nii" in name)


@pytest.mark.parametrize("query", [{"acq": "func"}, {"RepetitionTime": 2.0}, {"return_type": "dir"}])
def test_an_entity_that_nobody_knows_is_named(tmp_path: Path, query: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"unknown {next(iter(query))}; .*acquisition"):
        index(dataset(tmp_path / "bids"), bids_filter_file=choose(tmp_path, bold=query))


NEW = "sub-01/func/sub-01_task-a_run-3_bold.nii.gz"


def gain(root: Path) -> None:
    (root / NEW).touch()


def lose(root: Path) -> None:
    (root / EXPECTED["bold"][0]).unlink()


def rename(root: Path) -> None:
    (root / EXPECTED["bold"][0]).rename(root / NEW)


def join(root: Path) -> None:
    dataset(root, ("sub-new/func/sub-new_task-a_bold.nii.gz",))


def leave(root: Path) -> None:
    (root / "sub-a+b").rename(root.parent / "elsewhere")


@pytest.mark.parametrize("change", [gain, lose, rename, join, leave])
def test_a_stale_index_is_told_and_made_anew(tmp_path: Path, change) -> None:
    root, database = dataset(tmp_path / "bids"), tmp_path / "db"
    first = index(root, bids_database_dir=database)
    before = (database / "layout_index.sqlite").stat().st_ino
    assert index(root, bids_database_dir=database).notes == first.notes == ()
    assert (database / "layout_index.sqlite").stat().st_ino == before
    change(root)
    second = index(root, bids_database_dir=database)
    assert "the dataset is indexed anew" in second.notes[0]
    assert found(second) == found(index(root))
    assert index(root, bids_database_dir=database).notes == ()
    assert list(database.iterdir()) == [database / "layout_index.sqlite"]


def test_another_dataset_with_the_same_index(tmp_path: Path) -> None:
    database = tmp_path / "db"
    index(dataset(tmp_path / "one"), bids_database_dir=database)
    (tmp_path / "one").rename(tmp_path / "gone")
    other = index(dataset(tmp_path / "two"), bids_database_dir=database)
    assert other.notes and found(other) == EXPECTED
    assert all(str(path).startswith(str(tmp_path / "two")) for path in other.images("bold", "01"))


def test_an_index_of_another_program_is_neither_believed_nor_touched(tmp_path: Path) -> None:
    root, database = dataset(tmp_path / "func" / "bids"), tmp_path / "db"
    BIDSLayout(str(root), validate=False, database_path=str(database))
    before = (database / "layout_index.sqlite").read_bytes()
    made = index(root, bids_database_dir=database)
    assert "not an index of this version of ban-bids" in made.notes[0]
    assert found(made) == EXPECTED
    assert (database / "layout_index.sqlite").read_bytes() == before


def test_an_index_that_cannot_be_kept_is_a_note(tmp_path: Path) -> None:
    root = dataset(tmp_path / "bids")
    (tmp_path / "file").touch()
    made = index(root, bids_database_dir=tmp_path / "file" / "db")
    assert "cannot be kept (Not a directory)" in made.notes[0]
    assert found(made) == EXPECTED


def write(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> None:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)


def twins(tmp_path: Path) -> tuple[Path, Path]:
    root = dataset(tmp_path / "bids")
    name = root / EXPECTED["bold"][1]
    return name, name.with_suffix("")


SERIES = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)


def test_an_image_in_two_forms_is_one(tmp_path: Path) -> None:
    packed, plain = twins(tmp_path)
    write(packed, SERIES)
    write(plain, SERIES)
    made = index(tmp_path / "bids")
    assert found(made) == EXPECTED
    (note,) = made.check_twins(made.images("bold", "01"))
    assert f"{packed.name} is used, not {plain.name}" in note
    # the same voxels in other bytes
    write(plain, SERIES.astype(np.float32))
    assert len(made.check_twins(made.images("bold", "01"))) == 1


def test_the_filter_chooses_between_two_forms(tmp_path: Path) -> None:
    packed, plain = twins(tmp_path)
    write(packed, SERIES)
    write(plain, -SERIES)
    for extension, path in ((".nii", plain), (".nii.gz", packed)):
        chosen = choose(tmp_path, bold={"extension": extension, "run": 1})
        made = index(tmp_path / "bids", bids_filter_file=chosen)
        assert made.images("bold", "01") == [path]
        assert made.check_twins([path]) == []


@pytest.mark.parametrize("other", [-SERIES, SERIES[..., :4], SERIES[:, ::-1]], ids=["sign", "length", "flip"])
def test_two_images_under_one_name_are_refused(tmp_path: Path, other: np.ndarray) -> None:
    packed, plain = twins(tmp_path)
    write(packed, SERIES)
    write(plain, other)
    made = index(tmp_path / "bids")
    with pytest.raises(DataError, match=r"not the same image as .*\.nii; .*--bids-filter-file"):
        made.check_twins([packed])


def test_two_places_of_the_same_voxels_are_refused(tmp_path: Path) -> None:
    packed, plain = twins(tmp_path)
    write(packed, SERIES)
    write(plain, SERIES, np.diag([-1.0, 1, 1, 1]))
    with pytest.raises(DataError, match="not the same image"):
        index(tmp_path / "bids").check_twins([packed])


def test_the_form_that_is_not_fetched_is_not_taken(tmp_path: Path) -> None:
    packed, plain = twins(tmp_path)
    packed.unlink()
    packed.symlink_to("../../.git/annex/objects/nowhere")
    write(plain, SERIES)
    made = index(tmp_path / "bids")
    assert plain in made.images("bold", "01") and packed not in made.images("bold", "01")
    assert len(made.check_twins([plain])) == 1
