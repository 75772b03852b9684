"""A damaged, unfetched or foreign piece of one participant's fMRIPrep output fails that participant, in one line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fmriprep_phantom import GRID, write_image, write_output

from ban_bids.errors import DataError
from ban_bids.files.images import read_through
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing import run as preprocessing
from ban_bids.preprocessing.fmriprep.ingest import ingest
from ban_bids.preprocessing.result import PreprocessedParticipant
from ban_bids.preprocessing.run import preprocess
from ban_bids.preprocessing.space.template import NATIVE, TEMPLATE
from ban_bids.settings import Settings

N = 6
RUNS = ("task-music_run-1", "task-music_run-2")
GREY = f"anat/sub-01_space-{TEMPLATE}_label-GM_probseg.nii.gz"
BOLD = f"func/sub-01_task-music_run-2_space-{TEMPLATE}_desc-preproc_bold.nii.gz"
MASK = f"func/sub-01_task-music_run-2_space-{TEMPLATE}_desc-brain_mask.nii.gz"
TABLE = "func/sub-01_task-music_run-2_desc-confounds_timeseries.tsv"
SIDE = BOLD.replace(".nii.gz", ".json")
T1W = f"anat/sub-01_space-{TEMPLATE}_desc-preproc_T1w.nii.gz"


def participant(label: str) -> Participant:
    runs = []
    for number in ("1", "2"):
        entities = (("sub", label), ("task", "music"), ("run", number))
        none = Path("none")
        runs.append(Run(label, None, "music", number, entities, none, none, 2.0, N, None, "k", None, ()))
    return Participant(label, (), tuple(runs))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """fMRIPrep's output of two participants."""
    for sub in ("01", "02"):
        write_output(tmp_path / "fmriprep", sub, RUNS, n=N)
    return tmp_path / "fmriprep"


def settings_of(output: Path) -> Settings:
    place = output.parent
    given = (("fmriprep", output),)
    return Settings.of(place, place / "out", "participant", work_dir=place / "work", derivatives=given)


def failure(output: Path, **changes: object) -> str:
    """What is said of the first participant, while the second one goes on."""
    done = preprocess([participant("01"), participant("02")], settings_of(output).changed(**changes))
    if not changes:
        assert isinstance(done["02"], PreprocessedParticipant), done["02"]
    assert isinstance(done["01"], DataError), done["01"]
    assert "\n" not in str(done["01"])
    return str(done["01"])


def unfetched(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("../../.git/annex/objects/xx/y.nii.gz")


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def last_bytes_lost(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def wrong_checksum(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(bytes(content))


def bit_flipped(path: Path) -> None:
    """One bit of one voxel: stored without compression, so that only the checksum can tell."""
    content = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0))
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def error_page(path: Path) -> None:
    path.write_text("<html>403 Forbidden</html>")


def pointer(path: Path) -> None:
    """A git-annex file of an adjusted branch."""
    path.write_text("/annex/objects/SHA256E-s100--00.nii.gz\n")


NOT_HERE = (unfetched, pointer)
DAMAGES = (unfetched, cut, last_bytes_lost, wrong_checksum, bit_flipped, empty, error_page, pointer)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("piece", [BOLD, MASK, GREY])
def test_damage_of_an_image_is_the_participants(output: Path, piece: str, damage: Callable[[Path], None]) -> None:
    path = output / "sub-01" / piece
    damage(path)
    message = failure(output)
    assert message.startswith(str(path))
    assert ("datalad get" in message) == (damage in NOT_HERE)
    assert damage in NOT_HERE or "restore" in message


@pytest.mark.parametrize("damage", [unfetched, empty, error_page, pointer])
@pytest.mark.parametrize("piece", [TABLE, SIDE])
def test_damage_of_a_table_or_sidecar_is_the_participants(
    output: Path, piece: str, damage: Callable[[Path], None]
) -> None:
    path = output / "sub-01" / piece
    damage(path)
    message = failure(output)
    assert message.startswith(str(path)) or (piece == SIDE and Path(SIDE).stem in message)
    assert ("datalad get" in message) == (damage in NOT_HERE)


def other_shape(path: Path) -> None:
    write_image(path, np.ones((4, 4, 4), np.uint8))


def other_grid(path: Path) -> None:
    write_image(path, np.ones(GRID.shape, np.uint8), GRID.affine + np.diag([0.0, 0, 1, 0]))


def four_dimensions(path: Path) -> None:
    write_image(path, np.ones((*GRID.shape, 3), np.uint8))


def nothing_in_it(path: Path) -> None:
    write_image(path, np.zeros(GRID.shape, np.uint8))


def not_a_number(path: Path) -> None:
    write_image(path, np.full(GRID.shape, np.nan, np.float32))


def in_percent(path: Path) -> None:
    write_image(path, np.full(GRID.shape, 40, np.float32))


@pytest.mark.parametrize(
    ("piece", "change"),
    [
        (BOLD, other_shape),
        (BOLD, four_dimensions),
        (MASK, other_shape),
        (MASK, other_grid),
        (MASK, four_dimensions),
        (MASK, nothing_in_it),
        (GREY, four_dimensions),
        (GREY, nothing_in_it),
        (GREY, not_a_number),
        (GREY, in_percent),
    ],
)
def test_images_that_do_not_fit_are_named(output: Path, piece: str, change: Callable[[Path], None]) -> None:
    path = output / "sub-01" / piece
    change(path)
    assert failure(output).startswith(str(path))


def without_a_place(path: Path) -> None:
    """As programs leave an image that write it anew without its sform and qform."""
    image = nib.load(path)
    plain = nib.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    plain.header["sform_code"] = plain.header["qform_code"] = 0
    nib.save(plain, path)


@pytest.mark.parametrize(("pieces", "named"), [("*", "bold"), ("*_label-GM_probseg*", "GM_probseg")])
def test_images_that_do_not_say_where_they_lie_are_refused(output: Path, pieces: str, named: str) -> None:
    """All alike they fit each other, and the regions would lie elsewhere, left and right exchanged."""
    for path in (output / "sub-01").rglob(f"{pieces}.nii.gz"):
        without_a_place(path)
    message = failure(output)
    assert "both codes 0" in message and "restore" in message and f"{named}.nii.gz: " in message


def test_series_of_doubtful_sides_are_told(output: Path) -> None:
    for path in (output / "sub-01").rglob("*.nii.gz"):
        image = nib.load(path)
        image.set_qform(GRID.affine @ np.diag([-1.0, 1, 1, 1]), 1)
        nib.save(image, path)
    done = preprocess([participant("01")], settings_of(output))["01"]
    assert isinstance(done, PreprocessedParticipant)
    assert [BOLD.split("/")[1].replace("run-2", "run-1") in note for note in done.notes if "contradict" in note] == [
        True
    ]


def test_derivatives_beside_fmripreps_are_not_used_and_told(output: Path) -> None:
    settings = settings_of(output)
    both = (*settings.preprocessing.derivatives, ("aroma", output))
    done = preprocess([participant("01")], settings.changed(derivatives=both))["01"]
    assert isinstance(done, PreprocessedParticipant)
    assert sum(f"--derivatives aroma={output}: not used" in note for note in done.notes) == 1


def test_a_mask_of_one_volume_is_a_mask(output: Path) -> None:
    write_image(output / "sub-01" / GREY, np.ones((*GRID.shape, 1), np.float32))
    done = preprocess([participant("01")], settings_of(output))["01"]
    assert isinstance(done, PreprocessedParticipant), done


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("trans_x", "x", 1), "no column trans_x"),
        (lambda text: text.replace("0.01\t", "high\t", 1), "no number"),
        (lambda text: text[: text.rstrip().rindex("\n") + 1], f"{N - 1} rows for {N} volumes"),
    ],
    ids=["column", "word", "row"],
)
def test_tables_that_do_not_fit_are_named(output: Path, change: Callable[[str], str], said: str) -> None:
    path = output / "sub-01" / TABLE
    path.write_text(change(path.read_text()))
    message = failure(output)
    assert message.startswith(str(path)) and said in message


@pytest.mark.parametrize(
    "content", [{"StartTime": "late"}, {"StartTime": 900}, {"RepetitionTime": 3.0}, {"RepetitionTime": [2]}]
)
def test_sidecars_that_contradict_the_run_are_named(output: Path, content: dict[str, object]) -> None:
    (output / "sub-01" / SIDE).write_text(json.dumps(content))
    assert Path(BOLD).name in failure(output)


@pytest.mark.parametrize("damage", [unfetched, empty, error_page, cut])
def test_damage_of_a_transform_is_the_participants(output: Path, damage: Callable[[Path], None]) -> None:
    for path in output.glob("sub-*/*/*space-*"):
        name = path.name.replace(f"space-{TEMPLATE}_", "" if "GM" in path.name else "space-T1w_")
        path.rename(path.with_name(name))
    path = output / f"sub-01/anat/sub-01_from-{TEMPLATE}_to-T1w_mode-image_xfm.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(2000))
    damage(path)
    message = failure(output, space=NATIVE)
    assert message.startswith(str(path))
    assert ("datalad get" in message) == (damage is unfetched)


def test_pieces_that_nothing_rests_on_need_not_be_fetched(output: Path) -> None:
    unfetched(output / "sub-01" / T1W)
    unfetched(output / "sub-01/anat/sub-01_hemi-L_pial.surf.gii")
    done = preprocess([participant("01")], settings_of(output))["01"]
    assert isinstance(done, PreprocessedParticipant), done
    (note,) = [note for note in done.notes if "not fetched" in note]
    assert Path(T1W).name in note and "datalad get" in note


def test_of_several_resolutions_the_fetched_one_is_read(output: Path) -> None:
    unfetched(output / "sub-01" / GREY)
    write_image(output / "sub-01" / GREY.replace("_label", "_res-2_label"), np.ones(GRID.shape, np.float32))
    done = preprocess([participant("01")], settings_of(output))["01"]
    assert isinstance(done, PreprocessedParticipant), done


def test_derivatives_are_not_written_to(output: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sorted(output.rglob("*"))}
    assert isinstance(preprocess([participant("01")], settings_of(output))["01"], PreprocessedParticipant)
    assert {path: path.stat().st_mtime_ns for path in sorted(output.rglob("*"))} == before


def test_what_nobody_foresaw_stops_nobody(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def take(one: Participant, **more: object) -> PreprocessedParticipant:
        if one.label == "01":
            raise ZeroDivisionError("by zero")
        return ingest(one, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(preprocessing, "ingest", take)
    assert "sub-01" in failure(output) and "ZeroDivisionError" in failure(output)
    settings = settings_of(output)
    stopping = replace(settings, compute=replace(settings.compute, stop_on_first_crash=True))
    with pytest.raises(ZeroDivisionError):
        preprocess([participant("01")], stopping)


def test_a_checksum_is_compared_only_at_the_files_end(tmp_path: Path) -> None:
    """What :func:`read_through` is for: nibabel alone takes the flipped bit."""
    data = np.random.default_rng(0).normal(size=(9, 9, 9, 4)).astype(np.float32)
    path = write_image(tmp_path / "x.nii.gz", data)
    for part in (slice(None), slice(1, 3)):
        with read_through(path) as image:
            assert np.array_equal(image.dataobj[..., part], data[..., part])
    bit_flipped(path)
    assert not np.array_equal(nib.load(path).get_fdata(), data)
    with pytest.raises(DataError, match="CRC"), read_through(path) as image:
        np.asarray(image.dataobj)
