"""With ``-d fmriprep=PATH`` raw images are not needed: runs are known by names, volumes by fMRIPrep's series."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fmriprep_phantom import write_output, write_run
from small_datasets import Toy, notes_of, write_bold

from ban_bids.cli.run import main
from ban_bids.errors import DataError, UsageError
from ban_bids.inputs.derivatives import check_derivatives
from ban_bids.inputs.heldout import held_out_plan, held_out_tracks
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.types import Dataset
from ban_bids.preprocessing.result import PreprocessedParticipant
from ban_bids.preprocessing.run import preprocess
from ban_bids.settings import Settings

RUNS = tuple(f"task-music_run-{run}" for run in (1, 2, 3))
NOWHERE = "../../.git/annex/objects/xx/image.nii.gz"


@pytest.fixture
def folder(toy: Toy, tmp_path: Path) -> Path:
    """fMRIPrep's output of both participants."""
    for sub in ("01", "02"):
        write_output(tmp_path / "fmriprep", sub, RUNS)
    return tmp_path / "fmriprep"


def settings_of(toy: Toy, folder: Path, **changes: object) -> Settings:
    return toy.settings(derivatives=(("fmriprep", folder),), **changes)


def read(toy: Toy, folder: Path, **changes: object) -> Dataset:
    return read_dataset(settings_of(toy, folder, **changes))


def unfetch(path: Path) -> None:
    path.unlink()
    path.symlink_to(NOWHERE)


def taken(toy: Toy, folder: Path, **changes: object) -> PreprocessedParticipant:
    """What preprocessing makes of the first participant."""
    settings = settings_of(toy, folder, participant_labels=("01",), **changes)
    done = preprocess(read_dataset(settings).usable, settings)["01"]
    assert isinstance(done, PreprocessedParticipant), done
    return done


def no_images(toy: Toy, how: str) -> None:
    for run in (1, 2, 3):
        path = toy.func(run, "bold.nii.gz")
        {"unfetched": unfetch, "gone": Path.unlink, "cut": lambda path: path.write_bytes(path.read_bytes()[:40])}[how](
            path
        )


@pytest.mark.parametrize("how", ["unfetched", "gone", "cut"])
def test_runs_are_read_without_raw_images(toy: Toy, folder: Path, how: str) -> None:
    whole = read(toy, folder).participants[0]
    no_images(toy, how)
    person = read(toy, folder).participants[0]
    assert person.failure is None
    assert [run.name for run in person.runs] == list(RUNS)
    assert [(run.n_volumes, run.repetition_time) for run in person.runs] == [(10, 2.0)] * 3
    assert [run.presentations for run in person.runs] == [run.presentations for run in whole.runs]
    assert any("volumes and grid are those of fMRIPrep's series" in note for note in person.notes)
    assert all(path.exists() for path in person.files)
    assert not any("volumes and grid" in note for note in whole.notes)
    assert [run.t_ref for run in taken(toy, folder).runs] == [0.9] * 3


@pytest.mark.parametrize("how", ["unfetched", "gone", "cut"])
def test_without_derivatives_raw_images_are_needed(toy: Toy, how: str) -> None:
    no_images(toy, how)
    assert read_dataset(toy.settings()).participants[0].failure


def test_a_raw_t1w_that_is_a_pointer_is_none(toy: Toy, folder: Path) -> None:
    path = toy.root / "sub-01/anat/sub-01_T1w.nii.gz"
    path.write_text("/annex/objects/MD5E-s100--abc.nii.gz\n")
    first, second = read(toy, folder).participants
    assert first.failure is None and first.t1w == () and path not in first.files and len(second.t1w) == 1
    assert any("raw T1w image not read" in note for note in first.notes)


def test_a_raw_t1w_that_cannot_be_read_is_a_note(toy: Toy, folder: Path) -> None:
    unfetch(toy.root / "sub-01/anat/sub-01_T1w.nii.gz")
    person = read(toy, folder).participants[0]
    assert person.failure is None and person.t1w == ()
    assert any("T1w" in note and "not needed" in note for note in person.notes)
    assert read_dataset(toy.settings()).participants[0].failure


def test_runs_without_events_of_their_own_are_known_from_the_series(toy: Toy, folder: Path) -> None:
    rows = toy.func(1, "events.tsv").read_text()
    for run in (1, 2, 3):
        toy.func(run, "bold.nii.gz").unlink()
        toy.func(run, "events.tsv").unlink()
    (toy.root / "task-music_events.tsv").write_text(rows)
    write_run(folder, "01", "task-rest")
    person = read(toy, folder).participants[0]
    assert [run.name for run in person.runs] == list(RUNS)
    assert {run.events for run in person.runs} == {toy.root / "task-music_events.tsv"}
    assert any("task-rest" in note and "no events.tsv" in note for note in person.notes)


def test_the_filter_file_counts_for_runs_without_images(toy: Toy, folder: Path, tmp_path: Path) -> None:
    filters = tmp_path / "filter.json"
    filters.write_text(json.dumps({"bold": {"run": [1, 2]}}))
    for how in ("as it was", "gone"):
        if how == "gone":
            no_images(toy, how)
        person = read(toy, folder, bids_filter_file=filters).participants[0]
        assert [run.name for run in person.runs] == list(RUNS[:2]), how


def echoes(toy: Toy, sub: str = "01", labels: tuple[str, ...] = ("1", "2", "10")) -> None:
    """Multi-echo raw images."""
    for run in (1, 2, 3):
        toy.func(run, "bold.nii.gz", sub).unlink()
        for echo in labels:
            write_bold(toy.func(run, f"echo-{echo}_bold.nii.gz", sub), (2, 2, 2, 10))


def test_one_echo_stands_for_a_run_and_the_combined_series_is_taken(toy: Toy, folder: Path, tmp_path: Path) -> None:
    echoes(toy)
    for run in (1, 2, 3):
        (toy.root / f"sub-01/func/sub-01_task-music_run-{run}_echo-1_bold.json").write_text('{"SliceTiming": [0, 1.4]}')
        (toy.root / f"sub-01/func/sub-01_task-music_run-{run}_echo-2_bold.json").write_text('{"RepetitionTime": 3}')
    # series of single echoes lie in the raw run's space, one of them here in the template's
    for run in (1, 2, 3):
        write_run(folder, "01", f"task-music_run-{run}_echo-2")
    dataset = read(toy, folder)
    person = dataset.participants[0]
    assert person.failure is None
    assert [run.name for run in person.runs] == list(RUNS)
    assert [run.bold.name for run in person.runs] == [f"sub-01_{name}_echo-1_bold.nii.gz" for name in RUNS]
    assert [run.slice_timing for run in person.runs] == [(0.0, 1.4)] * 3
    assert sum("multi-echo" in note and "echo-1" in note for note in person.notes) == 1
    assert [run.name for run in dataset.listeners[0].runs] == list(RUNS)
    assert not any("echo" in run.bold.name for run in taken(toy, folder).runs)
    filters = tmp_path / "filter.json"
    filters.write_text('{"bold": {"echo": 10}}')
    person = read(toy, folder, bids_filter_file=filters).participants[0]
    assert [run.bold.name for run in person.runs] == [f"sub-01_{name}_echo-10_bold.nii.gz" for name in RUNS]
    assert [run.name for run in person.runs] == list(RUNS)


@pytest.mark.parametrize("echo", [2, "2"])
def test_raw_echoes_are_refused_with_a_remedy_that_works(toy: Toy, tmp_path: Path, echo: object) -> None:
    echoes(toy)
    failure = str(read_dataset(toy.settings()).participants[0].failure)
    assert "multi-echo" in failure and "-d fmriprep=PATH" in failure and '{"bold": {"echo": 2}}' in failure
    filters = tmp_path / "filter.json"
    filters.write_text(json.dumps({"bold": {"echo": echo}}))
    echoes(toy, "02")
    for person in read_dataset(toy.settings(bids_filter_file=filters)).participants:
        assert person.failure is None
        assert [run.bold.name for run in person.runs] == [
            f"sub-{person.label}_{name}_echo-2_bold.nii.gz" for name in RUNS
        ]


def test_magnitudes_of_complex_images_are_taken(toy: Toy, folder: Path) -> None:
    for run in (1, 2, 3):
        for part in ("mag", "phase"):
            write_bold(toy.func(run, f"part-{part}_bold.nii.gz"), (2, 2, 2, 10))
        toy.func(run, "bold.nii.gz").unlink()
    assert [run.run.name for run in taken(toy, folder).runs] == list(RUNS)


def bare(toy: Toy) -> None:
    """No sidecar states a repetition time."""
    (toy.root / "task-music_bold.json").write_text("{}")


@pytest.mark.parametrize("images", [True, False])
def test_repetition_time_comes_from_the_first_that_states_it(toy: Toy, tmp_path: Path, images: bool) -> None:
    bare(toy)
    if not images:
        no_images(toy, "gone")
    made = write_output(tmp_path / "by-sidecar", "01", RUNS, tr=None)
    person = read(toy, made).participants[0]
    assert [run.repetition_time for run in person.runs] == [2.0] * 3
    assert any("fMRIPrep's sidecar" in note for note in person.notes)
    made = write_output(tmp_path / "by-header", "01", RUNS, tr=2.0, side={})
    person = read(toy, made).participants[0]
    assert [run.repetition_time for run in person.runs] == [2.0] * 3
    assert any("fMRIPrep's image header" in note for note in person.notes)
    made = write_output(tmp_path / "by-nobody", "01", RUNS, tr=None, side={})
    with pytest.raises(DataError, match="RepetitionTime is missing"):
        read(toy, made, participant_labels=("01",))


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize(("tr", "side"), [(None, {"RepetitionTime": 1.5}), (1.5, {}), (1.5, {"RepetitionTime": 2.0})])
def test_repetition_times_that_contradict_each_other_are_refused(
    toy: Toy, tmp_path: Path, images: bool, tr: float | None, side: dict[str, object]
) -> None:
    if not images:
        no_images(toy, "gone")
    settings = settings_of(toy, write_output(tmp_path / "fmriprep", "01", RUNS, tr=tr, side=side))
    dataset = read_dataset(settings)
    told = dataset.participants[0].failure or check_derivatives(dataset, settings)["01"]
    assert "1.5 s" in told and "2 s" in told
    if images:
        assert isinstance(preprocess(dataset.usable[:1], settings)["01"], DataError)


def test_a_rest_between_volumes_that_fmriprep_computed_is_no_silence(toy: Toy, tmp_path: Path) -> None:
    bare(toy)
    no_images(toy, "gone")
    for delay, expected in ((0.2, None), (1.4, 0.6)):
        side = {"RepetitionTime": 2.0, "DelayTime": delay}
        person = read(toy, write_output(tmp_path / f"{delay}", "01", RUNS, side=side)).participants[0]
        assert [run.acquisition_time for run in person.runs] == [pytest.approx(expected)] * 3


def test_slice_times_need_no_raw_image(toy: Toy, folder: Path) -> None:
    (toy.root / "task-music_bold.json").write_text('{"RepetitionTime": 2.0, "SliceTiming": [0.0, 1.0, 1.6, 0.5]}')
    no_images(toy, "gone")
    assert read(toy, folder).participants[0].runs[0].slice_timing == (0.0, 1.0, 1.6, 0.5)


def drop(folder: Path, run: int, what: str = "", sub: str = "01") -> None:
    for path in (folder / f"sub-{sub}/func").glob(f"sub-{sub}_task-music_run-{run}_*"):
        if what in path.name:
            path.unlink()


@pytest.mark.parametrize("what", ["", "preproc_bold.nii.gz", "brain_mask", "confounds"])
def test_a_run_that_fmriprep_lacks_is_left_out_where_enough_remain(toy: Toy, folder: Path, what: str) -> None:
    drop(folder, 2, what)
    dataset = read(toy, folder)
    person = dataset.participants[0]
    assert [run.name for run in person.runs] == [RUNS[0], RUNS[2]]
    (note,) = [note for note in notes_of(dataset) if "left out" in note]
    assert note.startswith(f"left out: {RUNS[1]}: ") and "run fMRIPrep again" not in note
    assert {run.run.name for run in taken(toy, folder).runs} == {RUNS[0], RUNS[2]}
    drop(folder, 3, what)
    settings = settings_of(toy, folder)
    dataset = read_dataset(settings)
    assert isinstance(preprocess(dataset.usable, settings)["01"], DataError)
    assert set(check_derivatives(dataset, settings)) == {"01"}


def test_runs_are_not_left_out_where_the_plan_would_be_another(toy: Toy, folder: Path) -> None:
    drop(folder, 3)
    assert len(read(toy, folder, test_runs=("1",)).participants[0].runs) == 2
    settings = settings_of(toy, folder, test_runs=("3",))
    dataset = read_dataset(settings)
    # the held-out run is missing: another one does not take its place
    assert len(dataset.participants[0].runs) == 3
    assert "task-music_run-3" in check_derivatives(dataset, settings)["01"]
    assert {path.stem for path in held_out_tracks(dataset)} == {"rock.00000", "rock.00001"}
    with_two = read(toy, folder, participant_labels=("01",))
    assert held_out_plan(with_two.participants[0], with_two.selection).leave_one_out


def test_raw_and_derivative_of_another_length_are_refused(toy: Toy, folder: Path) -> None:
    write_run(folder, "01", RUNS[1], n=9)
    settings = settings_of(toy, folder)
    told = preprocess(read_dataset(settings).usable, settings)
    assert "take this run's series, or leave the run out (--bids-filter-file)" in str(told["01"])
    assert isinstance(told["02"], PreprocessedParticipant)


def sessions(toy: Toy, *labels: str) -> None:
    """Move the first participant's runs into sessions, the same runs in each."""
    for run in (1, 2, 3):
        for end in ("bold.nii.gz", "events.tsv"):
            content = toy.func(run, end).read_bytes()
            toy.func(run, end).unlink()
            for label in labels:
                place = toy.root / f"sub-01/ses-{label}/func"
                place.mkdir(parents=True, exist_ok=True)
                (place / f"sub-01_ses-{label}_task-music_run-{run}_{end}").write_bytes(content)


def test_names_without_the_only_session_are_taken_and_noted(toy: Toy, folder: Path) -> None:
    sessions(toy, "a")
    person = read(toy, folder).participants[0]
    assert [run.derivative is not None for run in person.runs] == [True] * 3
    assert sum("alone fits sub-01_ses-a_task-music_run-1" in note for note in person.notes) == 1


def test_one_series_is_never_two_sessions(toy: Toy, folder: Path) -> None:
    sessions(toy, "a", "b")
    for labels in ((), ("a",)):  # also where the other session is not asked for
        settings = settings_of(toy, folder, session_ids=labels, participant_labels=("01",))
        told = preprocess(read_dataset(settings).usable, settings)["01"]
        assert isinstance(told, DataError) and "is not clear" in str(told)


def test_entities_that_raw_names_lack(toy: Toy, tmp_path: Path) -> None:
    made = write_output(tmp_path / "fmriprep", "01", [f"task-music_acq-mb_dir-AP_run-0{run}" for run in (1, 2, 3)])
    assert len(taken(toy, made).runs) == 3
    write_run(made, "01", "task-music_acq-sb_dir-AP_run-02")
    settings = settings_of(toy, made, participant_labels=("01",))
    assert "is not clear" in str(preprocess(read_dataset(settings).usable, settings)["01"])


def test_another_runs_series_is_not_taken(toy: Toy, tmp_path: Path) -> None:
    write_bold(toy.root / "sub-01/func/sub-01_task-music_acq-mb_run-1_bold.nii.gz", (2, 2, 2, 10))
    made = write_output(tmp_path / "fmriprep", "01", ["task-music_acq-mb_run-1", *RUNS[1:]])
    person = read(toy, made).participants[0]
    assert person.failure or "task-music_run-1" not in [run.name for run in person.runs if run.derivative]


def call(toy: Toy, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status of ``--dry-run`` and what it prints."""
    out = toy.root.parent / "out"
    status = main([str(toy.root), str(out), "participant", "--dry-run", "-d", f"fmriprep={folder}"])
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def test_dry_run_names_what_would_be_used(toy: Toy, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop(folder, 1, "mask", sub="02")
    unfetch(next((folder / "sub-01/func").glob("*run-2*preproc_bold.nii.gz")))
    status, text = call(toy, folder, capsys)
    assert status == 0
    assert "CANNOT BE USED" in text and "datalad get" in text
    for name in RUNS[1:]:
        assert str(next((folder / "sub-02/func").glob(f"*{name}*preproc_bold.nii.gz"))) in text
    unfetch(next((folder / "sub-02/func").glob("*run-2*preproc_bold.nii.gz")))
    assert call(toy, folder, capsys)[0] != 0


def test_dry_run_stops_at_a_folder_too_high(toy: Toy, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = call(toy, folder.parent, capsys)
    assert status == 2
    assert text.count("did you mean") == 1 and f"did you mean {folder}?" in text


def test_neither_raw_images_nor_the_right_folder(toy: Toy, folder: Path) -> None:
    for sub in ("01", "02"):
        for run in (1, 2, 3):
            unfetch(toy.func(run, "bold.nii.gz", sub))
    with pytest.raises(UsageError, match="did you mean"):
        read(toy, folder.parent)
    # one whom fMRIPrep did not have fails alone
    for run in (1, 2, 3):
        drop(folder, run)
    people = read(toy, folder).participants
    assert people[1].failure is None and "sub-01" in str(people[0].failure)


def test_the_series_is_not_opened_for_its_voxels(toy: Toy, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("voxels were read")

    monkeypatch.setattr(nibabel.arrayproxy.ArrayProxy, "__array__", refuse)
    monkeypatch.setattr(nibabel.arrayproxy.ArrayProxy, "__getitem__", refuse)
    no_images(toy, "gone")
    settings = settings_of(toy, folder)
    assert check_derivatives(read_dataset(settings), settings) == {}
