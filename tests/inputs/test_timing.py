"""Times of volumes and slices, against times worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from small_datasets import Toy, notes_of, write_bold

from ban_bids.errors import DataError
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.timing import heard_by, read_run
from ban_bids.inputs.types import Clip, HeardRun, Presentation, Run

N = 6
SLICES = [0.0, 1.0, 0.5, 1.5]


def run_of(folder: Path, header_tr: float = 0.0, **sidecar: object) -> tuple[Run, tuple[str, ...]]:
    """A run of six volumes of four slices, as its sidecar describes it."""
    path = folder / "sub-01_task-x_bold.nii"
    image = nibabel.Nifti1Image(np.zeros((2, 2, 4, N), np.uint8), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((1, 1, 1, header_tr))
    nibabel.save(image, path)
    run, _, notes = read_run(HeardRun("01", None, "x", None, (), path, path, ()), sidecar)
    return run, notes


@pytest.mark.parametrize(
    ("sidecar", "tr", "reference", "corrected", "notes"),
    [
        # volumes back to back: middle of the slice times, StartTime, or half the repetition time
        ({"RepetitionTime": 2, "SliceTiming": SLICES}, 2, 0.75, True, 0),
        ({"RepetitionTime": 2}, 2, 1.0, False, 0),
        ({"RepetitionTime": 2, "StartTime": 0.4}, 2, 0.4, False, 0),
        # 2 s of scanning, 8 s of silence: the volume is centred at 1 s, however that is said
        ({"RepetitionTime": 10, "DelayTime": 8}, 10, 1.0, False, 0),
        ({"RepetitionTime": 10, "AcquisitionDuration": 2}, 10, 1.0, False, 0),
        ({"RepetitionTime": 10, "FrameAcquisitionDuration": 2, "DelayTime": 8}, 10, 1.0, False, 0),
        ({"RepetitionTime": 10, "SliceTiming": SLICES}, 10, 1.0, False, 1),
        ({"RepetitionTime": 10, "SliceTiming": SLICES, "DelayTime": 8}, 10, 1.0, False, 1),
        # a short pause: slice timing is corrected as ever
        ({"RepetitionTime": 2.5, "SliceTiming": SLICES, "DelayTime": 0.5}, 2.5, 0.75, True, 0),
        # the duration of the whole scan under the same name is no duration of a volume
        ({"RepetitionTime": 2, "AcquisitionDuration": 615}, 2, 1.0, False, 1),
        # volumes at 3, 13, 23, ... s, each of 2 s
        ({"VolumeTiming": [3, 13, 23, 33, 43, 53], "AcquisitionDuration": 2}, 10, 4.0, False, 0),
        ({"VolumeTiming": [3, 13, 23, 33, 43, 53], "SliceTiming": SLICES}, 10, 4.0, False, 1),
        ({"VolumeTiming": [1, 3, 5, 7, 9, 11], "SliceTiming": SLICES}, 2, 1.75, True, 0),
        # a scanner's log
        ({"VolumeTiming": [0, 9.998, 20.003, 30, 40, 50], "AcquisitionDuration": 2}, 10, 1.0, False, 0),
        # slice times that go on after the volume's end contradict it
        ({"RepetitionTime": 10, "SliceTiming": [0, 2, 4, 6], "DelayTime": 8}, 10, 1.0, False, 1),
    ],
)
def test_reference_times(
    tmp_path: Path, sidecar: dict[str, object], tr: float, reference: float, corrected: bool, notes: int
) -> None:
    run, said = run_of(tmp_path, **sidecar)
    assert run.repetition_time == pytest.approx(tr)
    assert run.reference_time == pytest.approx(reference)
    assert (run.slice_timing is not None) == corrected
    assert len(said) == notes, said
    first = (sidecar.get("VolumeTiming") or [0])[0]  # type: ignore[index]
    assert run.duration == pytest.approx(first + N * tr)


@pytest.mark.parametrize(
    ("sidecar", "text"),
    [
        (
            {"VolumeTiming": [0, 2, 4, 14, 16, 18], "AcquisitionDuration": 1, "RepetitionTime": 7},
            "at intervals of 2 to 10 s, RepetitionTime is 7 s: keep one",
        ),
        ({"VolumeTiming": [0, 2000, 4000, 14000, 16000, 18000], "AcquisitionDuration": 1}, "times in seconds"),
        ({"VolumeTiming": [0, 2, 4, 14, 16, 18]}, "add FrameAcquisitionDuration"),
        ({"VolumeTiming": [0, 2, 4], "AcquisitionDuration": 1}, "3 times for 6 volumes"),
        ({"VolumeTiming": [0, 2, 4, 4, 6, 8], "AcquisitionDuration": 1}, "does not rise"),
        ({"VolumeTiming": "0 2 4", "AcquisitionDuration": 1}, "not a list of numbers"),
        ({"VolumeTiming": [0, 2, 4, 6, 8, 10]}, "add FrameAcquisitionDuration"),
        (
            {"VolumeTiming": [0, 2, 4, 6, 8, 10], "AcquisitionDuration": 1, "RepetitionTime": 1},
            "every 2 s, RepetitionTime is 1 s",
        ),
        ({"RepetitionTime": 10, "DelayTime": 10}, "DelayTime is 10 of 10 s"),
        ({"RepetitionTime": 10, "DelayTime": 8, "AcquisitionDuration": 5}, "do not make up 10 s"),
        ({"RepetitionTime": 10, "DelayTime": "8"}, "DelayTime of its sidecar is '8'"),
    ],
)
def test_times_that_cannot_be_used(tmp_path: Path, sidecar: dict[str, object], text: str) -> None:
    with pytest.raises(DataError, match=text) as caught:
        run_of(tmp_path, **sidecar)
    assert "bold.nii" in str(caught.value) and "\n" not in str(caught.value)


def test_the_header_of_a_sparse_image_may_hold_the_duration_of_a_volume(tmp_path: Path) -> None:
    given = {"VolumeTiming": [0, 10, 20, 30, 40, 50], "AcquisitionDuration": 2}
    assert run_of(tmp_path, header_tr=2.0, **given)[0].repetition_time == 10


def slices_everywhere(toy: Toy) -> None:
    (toy.root / "task-music_bold.json").write_text('{"RepetitionTime": 2.0, "SliceTiming": [0.0, 1.4]}')


def test_ignore_slicetiming(toy: Toy) -> None:
    slices_everywhere(toy)
    runs = read_dataset(toy.settings()).participants[0].runs
    assert [run.reference_time for run in runs] == [0.7] * 3
    dataset = read_dataset(toy.settings(ignore=("slicetiming",)))
    assert all(run.slice_timing is None for run in dataset.participants[0].runs)
    assert [run.reference_time for run in dataset.participants[0].runs] == [1.0] * 3
    assert sum("--ignore slicetiming: slice timing is not corrected" in note for note in notes_of(dataset)) == 2


def test_derivatives_keep_their_slice_timing(toy: Toy, tmp_path: Path) -> None:
    slices_everywhere(toy)
    given = (("fmriprep", tmp_path),)
    dataset = read_dataset(toy.settings(ignore=("slicetiming",), derivatives=given))
    assert dataset.participants[0].runs[0].slice_timing == (0.0, 1.4)
    assert any("changes nothing in fMRIPrep's derivatives" in note for note in notes_of(dataset))


def test_sparse_runs_need_volumes_within_clips(toy: Toy) -> None:
    for run in (1, 2, 3):
        path = toy.func(run, "bold.nii.gz")
        path.unlink()
        write_bold(path, (2, 2, 2, 5), tr=10.0)
        toy.sidecar(run, RepetitionTime=10.0, DelayTime=8.0)
    # volumes at 1 and 11 s: clips play from 0 to 8 and from 8 to 16 s
    assert read_dataset(toy.settings()).participants[0].failure is None
    # a sound in the silence is heard by the volume that follows
    for run in (1, 2, 3):
        toy.events(run, "2.5\t7\tblues\tblues.00000.wav\t1.5\n")
    assert len(read_dataset(toy.settings()).participants[0].runs) == 3
    for run in (1, 2, 3):
        toy.events(run, "42.5\t7\tblues\tblues.00000.wav\t1.5\n")
    failure = read_dataset(toy.settings()).participants[0].failure
    assert failure is not None and "no volume is taken while a clip plays" in failure


def test_phase_encoding_direction(toy: Toy) -> None:
    toy.sidecar(1, PhaseEncodingDirection="j-")
    toy.sidecar(2, PhaseEncodingDirection="AP")
    dataset = read_dataset(toy.settings())
    assert [run.phase_encoding for run in dataset.participants[0].runs] == ["j-", None, None]
    assert any("PhaseEncodingDirection 'AP' is none of" in note for note in notes_of(dataset))


CLUSTERS = [3.0, 5.0, 7.0, 20.0, 22.0, 24.0]


@pytest.mark.parametrize(
    ("sidecar", "tr", "reference", "notes"),
    [
        ({"VolumeTiming": CLUSTERS, "FrameAcquisitionDuration": 2}, 2, 4.0, 0),
        ({"VolumeTiming": CLUSTERS, "AcquisitionDuration": 1.6}, 2, 3.8, 0),
        ({"VolumeTiming": CLUSTERS, "SliceTiming": SLICES}, 2, 4.0, 1),  # slices are not shifted over gaps
        ({"VolumeTiming": CLUSTERS, "SliceTiming": SLICES, "RepetitionTime": 2}, 2, 4.0, 1),
        ({"VolumeTiming": CLUSTERS, "FrameAcquisitionDuration": 2, "DelayTime": 0}, 2, 4.0, 1),
        ({"VolumeTiming": [0, 8, 19, 27.5, 40, 48.5], "FrameAcquisitionDuration": 2}, 8.5, 1.0, 0),  # jittered
    ],
)
def test_irregular_volume_timing(
    tmp_path: Path, sidecar: dict[str, object], tr: float, reference: float, notes: int
) -> None:
    run, said = run_of(tmp_path, **sidecar)
    times = np.array(sidecar["VolumeTiming"])
    assert run.repetition_time == pytest.approx(tr)
    assert run.volume_times == tuple(times)
    assert np.allclose(run.since_first, times - times[0])
    assert run.reference_time == pytest.approx(reference)
    assert run.slice_timing is None
    assert len(said) == notes, said
    assert run.duration == pytest.approx(times[-1] + tr)
    assert run.mean_interval == pytest.approx((times[-1] - times[0]) / (N - 1))


def test_a_log_with_jitter_is_near_enough_to_a_grid_for_slice_timing(tmp_path: Path) -> None:
    run, notes = run_of(tmp_path, VolumeTiming=[0, 2.03, 4, 6.02, 8, 10.01], SliceTiming=SLICES)
    assert run.slice_timing == tuple(SLICES) and not notes
    assert run.volume_times is not None and run.volume_times[1] == 2.03
    assert run.reference_time == 0.75


def test_a_derivative_of_a_clustered_run_refers_to_what_its_sidecar_states(tmp_path: Path) -> None:
    run, _ = run_of(tmp_path, VolumeTiming=CLUSTERS, SliceTiming=SLICES)
    assert run.reference_time_of({"SliceTimingCorrected": False}) == 4.0
    assert run.reference_time_of({"SliceTimingCorrected": True, "StartTime": 0.75}) == 3.75


def test_runs_at_irregular_intervals_of_their_own_go_together(toy: Toy) -> None:
    rng = np.random.default_rng(0)
    (toy.root / "task-music_bold.json").write_text("{}")
    for run in (1, 2, 3):
        toy.sidecar(run, "02", RepetitionTime=2.0)
        starts = np.cumsum(rng.uniform(2, 4, 10)) if run < 3 else np.cumsum(rng.uniform(8, 12, 10))
        toy.sidecar(run, VolumeTiming=[round(float(t), 3) for t in starts], FrameAcquisitionDuration=1.0)
    person = read_dataset(toy.settings()).participants[0]
    assert [run.run for run in person.runs] == ["1", "2"]
    assert "they are not mixed (2 runs)" in person.notes[0]


@pytest.mark.parametrize(
    ("sidecar", "sounds", "heard"),
    [
        # back to back: what plays at the volume's time
        ({"RepetitionTime": 2}, [(0, 3), (4, 1.5)], [0, -1, 1, -1, -1, -1]),
        # sparse: volumes at 1, 11, ..., 51 s
        ({"RepetitionTime": 10, "DelayTime": 8}, [(2.5, 7), (22.5, 7), (52.5, 7)], [-1, 0, -1, 1, -1, -1]),
        ({"RepetitionTime": 10, "DelayTime": 8}, [(2.5, 2), (6.5, 2)], [-1, 1, -1, -1, -1, -1]),
        # some play on while volumes are taken: those count only
        ({"RepetitionTime": 10, "DelayTime": 8}, [(2.5, 12), (22.5, 7)], [-1, 0, -1, -1, -1, -1]),
        # clusters at 4, 6, 8 and 21, 23, 25 s
        ({"VolumeTiming": CLUSTERS, "FrameAcquisitionDuration": 2}, [(9, 11)], [-1, -1, -1, 0, -1, -1]),
        ({"VolumeTiming": CLUSTERS, "FrameAcquisitionDuration": 2}, [(0.5, 2), (5, 14)], [0, 1, 1, 1, -1, -1]),
        ({"VolumeTiming": CLUSTERS, "FrameAcquisitionDuration": 2}, [(6.5, 1)], [-1, -1, -1, -1, -1, -1]),
    ],
)
def test_what_a_volume_counts_for(
    tmp_path: Path, sidecar: dict[str, object], sounds: list[tuple[float, float]], heard: list[int]
) -> None:
    run, _ = run_of(tmp_path, **sidecar)
    played = tuple(Presentation(Clip(Path("x.wav"), 0.0, length, "x"), onset) for onset, length in sounds)
    found = heard_by(replace(run, presentations=played), run.reference_time + run.since_first)
    assert [max(np.flatnonzero(column), default=-1) for column in found.T] == heard
