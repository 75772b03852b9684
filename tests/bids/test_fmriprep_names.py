"""Which of fMRIPrep's files stand for a run: its naming modelled here, any set of runs, and what is said of others."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ban_bids.bids.fmriprep import Entities, Output, find_run, run_name
from ban_bids.errors import DataError, MissingDerivative
from ban_bids.settings import Preprocessing

FOLDER = Path("/made/fmriprep")
SPACE = "MNI152NLin2009cAsym"
ORDER = ("ses", "task", "acq", "ce", "rec", "dir", "run")  # niworkflows' patterns; others are dropped
OPTIONS = Preprocessing()


def made_from(raw: Entities, space: str = SPACE, res: str = "", echo: str = "", tail: str = "preproc_bold") -> str:
    """Name that fMRIPrep gives."""
    labels = dict(raw)
    pairs = [("sub", "01"), *((key, labels[key]) for key in ORDER if key in labels)]
    parts = [f"{key}-{str(int(label)) if key == 'run' else label}" for key, label in pairs]
    return "_".join(
        [*parts, *([echo] if echo else []), f"space-{space}", *([res] if res else []), f"desc-{tail}.nii.gz"]
    )


def table_of(raw: Entities) -> str:
    return made_from(raw).split("_space")[0] + "_desc-confounds_timeseries.tsv"


def output(*names: str) -> Output:
    return Output(FOLDER, "01", tuple(FOLDER / "sub-01/func" / name for name in dict.fromkeys(names)))


def all_of(*runs: Entities, **options: str) -> list[str]:
    names = []
    for run in runs:
        names += [made_from(run, **options), made_from(run, tail="brain_mask", **options), table_of(run)]
    return names


def raw(**labels: str) -> Entities:
    return (("sub", "01"), *labels.items())


LABEL = st.sampled_from(["a", "b", "mb", "AP"])
RUNS = st.fixed_dictionaries(
    {"task": LABEL},
    optional={"ses": LABEL, "acq": LABEL, "dir": LABEL, "rec": LABEL, "run": st.integers(1, 12)},
)


@given(st.lists(RUNS, min_size=1, max_size=6), st.booleans(), st.sampled_from([None, "1", "2"]), st.booleans())
def test_every_run_finds_its_own_files(
    found: list[dict[str, object]], zeros: bool, echo: str | None, part: bool
) -> None:
    more = {**({"echo": echo} if echo else {}), **({"part": "mag"} if part else {})}
    runs = []
    for labels in found:
        texts = {key: f"{value:02d}" if key == "run" and zeros else str(value) for key, value in labels.items()}
        runs.append(raw(**texts, **more))
    runs = list(dict.fromkeys(runs))
    names = dict.fromkeys(name for run in runs for name in (*all_of(run), *all_of(run, space="T1w")))
    there = output(*names)
    for run in runs:
        files = find_run(run, there, OPTIONS, [other for other in runs if other != run])
        assert files.bold.name == made_from(run)
        assert files.mask.name == made_from(run, tail="brain_mask")
        assert files.confounds.name == table_of(run)
        assert files.note is None


@given(st.lists(RUNS, min_size=2, max_size=6, unique_by=lambda labels: tuple(sorted(labels.items(), key=str))))
def test_a_missing_run_never_takes_anothers_files(found: list[dict[str, object]]) -> None:
    runs = [raw(**{key: str(value) for key, value in labels.items()}) for labels in found]
    first, *others = runs
    with pytest.raises(DataError):
        find_run(first, output(*all_of(*others)), OPTIONS, others)


def test_single_echoes_do_not_stand_for_the_combined_series() -> None:
    run = raw(task="a", run="1", echo="1")
    single = [name for echo in ("echo-1", "echo-2") for name in all_of(run, echo=echo)]
    assert "echo" not in find_run(run, output(*single, *all_of(run)), OPTIONS).bold.name
    # fMRIPrep --echo-idx keeps the entity; its table has none
    assert "echo-2" in find_run(run, output(*all_of(run, echo="echo-2")), OPTIONS).bold.name
    with pytest.raises(DataError, match="several files fit"):
        find_run(run, output(*dict.fromkeys(single)), OPTIONS)


def test_native_space_and_other_parts_are_no_series() -> None:
    run = raw(task="a")
    names = [
        "sub-01_task-a_echo-1_desc-preproc_bold.nii.gz",
        "sub-01_task-a_part-phase_space-X_desc-preproc_bold.nii.gz",
    ]
    with pytest.raises(MissingDerivative, match="that of the raw run"):
        find_run(run, output(*names), OPTIONS)


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (["sub-01_task-a_run-1_space-T1w_desc-preproc_bold.nii.gz"], ["there is T1w", "--space T1w"]),
        (
            ["sub-01_task-a_run-1_space-MNIInfant_cohort-2_desc-preproc_bold.nii.gz"],
            ["MNIInfant:cohort-2", "cannot stand in", "--output-spaces"],
        ),
        (["sub-01_task-b_run-1_space-T1w_desc-preproc_bold.nii.gz"], ["there are task-b_run-1;", "sub-01.html"]),
        (["sub-01_task-a_run-1_desc-coreg_boldref.nii.gz"], ["minimal output", "--level full"]),
        (["sub-01_task-a_run-1_desc-confounds_timeseries.tsv"], ["no series of sub-01 at all"]),
        (
            [f"sub-01_task-a_run-1_space-{SPACE}_desc-optcomDenoised_bold.nii.gz"],
            ["there is desc-optcomDenoised", "fMRIPrep's own output"],
        ),
    ],
)
def test_what_is_there_is_named_with_the_remedy(there: list[str], told: list[str]) -> None:
    with pytest.raises(MissingDerivative) as caught:
        find_run(raw(task="a", run="1"), output(*there), OPTIONS)
    message = str(caught.value)
    assert f"sub-01_task-a_run-1_space-{SPACE}" in message and "\n" not in message
    for text in told:
        assert text in message


def test_who_is_not_there_is_told_the_nearest(tmp_path: Path) -> None:
    for label in ("1", "02"):
        (tmp_path / f"sub-{label}").mkdir()
    with pytest.raises(MissingDerivative) as caught:
        find_run(raw(task="a"), Output.of(tmp_path, "01"), OPTIONS)
    message = str(caught.value)
    assert "no sub-01 in it" in message and "sub-1" in message and "run fMRIPrep" not in message


def test_an_empty_folder_is_one_to_fetch_and_not_one_to_compute(tmp_path: Path) -> None:
    """A participant's subdataset that was not installed."""
    (tmp_path / "sub-01").mkdir()
    with pytest.raises(MissingDerivative, match=f"empty .*datalad get -n {tmp_path}/sub-01") as caught:
        find_run(raw(task="a"), Output.of(tmp_path, "01"), OPTIONS)
    assert "run fMRIPrep" not in str(caught.value)


@pytest.mark.parametrize("unfetched", [None, "link", "pointer"])
def test_images_in_two_forms_are_one(tmp_path: Path, unfetched: str | None) -> None:
    """A lab unpacked the images for a program that wants it so; the others are fMRIPrep's."""
    run = raw(task="a", run="1")
    folder = tmp_path / "sub-01" / "func"
    folder.mkdir(parents=True)
    for name in all_of(run):
        (folder / name).write_bytes(b"x")
        if name.endswith(".nii.gz"):
            (folder / name).with_suffix("").write_bytes(b"x")
    series = folder / made_from(run)
    if unfetched is not None:
        series.unlink()
        series.symlink_to("../../.git/annex/objects/x") if unfetched == "link" else series.write_text(
            "/annex/objects/MD5E-s1--0.nii.gz\n"
        )
    files = find_run(run, Output.of(tmp_path, "01"), OPTIONS)
    taken, other = (series, series.with_suffix("")) if unfetched is None else (series.with_suffix(""), series)
    assert files.bold == taken and files.mask.name.endswith("mask.nii.gz")
    assert files.note is not None and f"{taken.name} is used, not {other.name}" in files.note


def test_a_runs_name_has_no_echo() -> None:
    assert run_name(raw(ses="1", task="a", run="01", echo="2", part="mag")) == "ses-1_task-a_run-01"
