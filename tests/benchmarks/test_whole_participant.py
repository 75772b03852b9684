"""The simulated participant is what the benchmark says it is, and its stages are told from the app's own lines."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
from measuring import ProcessTree, Sample
from simulated_dataset import Design, make_dataset, planned, responses
from simulated_head import Head, _pulled
from whole_participant import Disk, space, stages

from ban_bids.demo.phantom import Scan
from ban_bids.derivatives.summaries import ModelSummary, ParticipantSummary, write_summary
from ban_bids.inputs.heldout import held_out_plan
from ban_bids.inputs.read import read_dataset
from ban_bids.settings import Settings

SMALL = Design(Scan((16, 16, 8), 12.0, n_volumes=130, multiband=4), training=2, test=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("whole") / "raw", SMALL)


def test_full_size_is_that_of_ds003720() -> None:
    design = Design(Scan((96, 96, 68), 2.0, n_volumes=410, multiband=4))
    runs = planned(design)
    assert Counter(run.task for run in runs) == {"Training": 12, "Test": 6}
    assert {len(run.clips) for run in runs} == {41} and len(np.unique(design.scan.slice_times)) == 17
    heard = {task: Counter(clip for run in runs if run.task == task for clip in run.clips[1:])
             for task in ("Training", "Test")}  # fmt: skip
    assert (len(heard["Training"]), set(heard["Training"].values())) == (480, {1})
    assert (len(heard["Test"]), set(heard["Test"].values())) == (60, {4})
    clips = [*heard["Training"], *heard["Test"]]
    assert len({(clip.genre, clip.track) for clip in clips}) == 540
    assert set(Counter(clip.genre for clip in clips).values()) == {54}
    assert all(0 <= clip.start <= 15 for clip in clips)


def test_the_app_reads_it_as_ds003720(root: Path, tmp_path: Path) -> None:
    settings = Settings.of(root, tmp_path / "out", "participant", work_dir=tmp_path / "work")
    dataset = read_dataset(settings)
    (person,) = dataset.participants
    assert dataset.profile == "ds003720" and person.failure is None and not person.notes
    assert len(person.t1w) == 1
    plan = held_out_plan(person, settings.selection)
    assert plan.folds == (("task-Test_run-01", "task-Test_run-02"),)
    for run in person.runs:
        assert (run.repetition_time, run.n_volumes) == (1.5, 130)
        assert run.slice_timing is not None and len(set(run.slice_timing)) == 2
        assert [item.lead_in for item in run.presentations] == [True] + [False] * 12
        assert [item.onset for item in run.presentations] == [15.0 * k for k in range(13)]
        assert {(clip.duration, clip.fade, clip.rms) for clip in run.clips} == {(15.0, 2.0, 0.13210295550519335)}
        times = Counter(item.clip for item in run.presentations if not item.lead_in)
        assert set(times.values()) == ({4} if run.task == "Test" else {1})


def test_what_is_there_is_not_made_again(root: Path) -> None:
    files = sorted([*root.rglob("*.wav"), *root.rglob("*.nii")])
    assert len(files) == 30 + 1 + 4
    before = [path.stat().st_ino for path in files]
    missing = files[-1]
    content = missing.read_bytes()
    missing.unlink()
    make_dataset(root, SMALL)
    after = [path.stat().st_ino for path in files]
    assert after[:-1] == before[:-1] and missing.read_bytes() == content
    assert not [path for path in root.rglob("*") if "unfinished" in path.name]
    with pytest.raises(SystemExit, match="other options"):
        make_dataset(root, replace(SMALL, test=1))


def test_regions_and_only_they_answer(root: Path, tmp_path: Path) -> None:
    head, scan = Head.load(), SMALL.scan
    run = next(run for run in planned(SMALL) if run.task == "Test")
    answer = responses(root, run, scan)
    assert answer.shape == (130, 8, 5) and not answer[..., 0].any()
    # three clips of 30 volumes in all come again and again; the first 30 s follow silence
    np.testing.assert_allclose(answer[60:90], answer[90:120], atol=1e-6)
    assert np.abs(answer[60:90] - answer[70:100]).max() > 2 * answer.std()
    assert not np.allclose(answer[:, 0], answer[:, 1])
    head.write_run(tmp_path / "with.nii", scan, 5, 20 * answer)
    head.write_run(tmp_path / "without.nii", scan, 5)
    loud, still = (nib.load(tmp_path / f"{name}.nii").get_fdata() for name in ("with", "without"))
    grid = np.diag([scan.voxel] * 3 + [1.0])
    grid[:3, 3] = -scan.voxel / 2 * np.array(scan.shape) + (0, -18, 10)
    labels = _pulled(head.labels, head.labels_affine, grid, scan.shape, order=0)
    changed = np.abs(loud - still).mean(axis=3)
    assert np.mean((changed > 5) == (labels > 0)) > 0.99
    followed = []
    for x, y, z in np.argwhere((labels > 0) & (still.mean(axis=3) > 300)):
        share = (loud - still)[x, y, z] / (still[x, y, z] - 20).mean()
        expected = 20 * answer[:, z, labels[x, y, z]]
        followed.append(np.corrcoef(share, expected)[0, 1] * share.std() / expected.std())
    # single voxels lie where the moving head brings two regions in turn
    assert np.median(followed) == pytest.approx(1, abs=0.1) and len(followed) >= 5


def test_processes_are_watched_together() -> None:
    inner = "import sys; x = bytearray(b'x') * (300 * 2**20); print('ready', flush=True); sys.stdin.read()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", outer], **pipes) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        with ProcessTree(child.pid) as tree:
            pass
        child.communicate()
    (sample,) = tree.samples
    assert 0.29 < sample.gib < 0.4 and sample.cpu_s > 0
    with ProcessTree(child.pid) as gone:
        pass
    assert np.isnan(gone.peak_gib())


def test_processes_that_ended_keep_their_seconds() -> None:
    code = "import sys; [k * k for k in range(2_000_000)]; print('ready', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    tree = ProcessTree(0)
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        seen = tree._sample([psutil.Process(child.pid)])
        child.communicate()
    after = tree._sample([])
    assert after.cpu_s == seen.cpu_s > 0.03 and after.gib == 0


def test_stages_come_from_summaries_lines_and_samples(tmp_path: Path) -> None:
    told = [
        {"name": "preprocessing", "minutes": 1.0, "peak_mib": 1.0},
        {"name": "sub-001: x", "minutes": 2.0, "peak_mib": 1.0},
    ]
    write_summary(tmp_path, ParticipantSummary("001", "Test", "MNI"))
    for model, number in (("a", 1), ("b", 2)):
        write_summary(tmp_path, ModelSummary("001", "Test", model, "f", stages=told[:number]))
    tree = ProcessTree(0)
    tree.samples = [Sample(float(t), 3.0 if t == 50 else 5.0 if t == 150 else 1.0, 2.0 * t) for t in range(0, 301, 10)]
    marks = [
        (10.0, "12:00:00 INFO preprocessing ..."),
        (40.0, "12:00:01 INFO preprocessing: 1 min so far"),
        (70.0, "12:01:00 INFO preprocessing: 1.00 min, peak 900 MiB"),
        (100.0, "12:02:00 INFO sub-001: x ..."),
        (220.0, "12:04:00 INFO sub-001: x: 2.00 min, peak 900 MiB"),
        (230.0, "12:04:10 INFO features of one that failed ..."),
        (260.0, "12:04:40 INFO features of one that failed: 0.50 min, peak 900 MiB"),
    ]
    first, second, failed, rest = stages(tmp_path, marks, tree, 0.0, 300.0)
    assert first == {"stage": "preprocessing", "minutes": 1.0, "cpu_min": pytest.approx(2.0), "peak_gib": 3.0}
    assert second == {"stage": "sub-001: x", "minutes": 2.0, "cpu_min": pytest.approx(4.0), "peak_gib": 5.0}
    assert (failed["minutes"], failed["cpu_min"]) == (0.5, pytest.approx(1.0))
    assert rest["minutes"] == pytest.approx(1.5) and rest["cpu_min"] == pytest.approx(3.0)
    with pytest.raises(SystemExit, match="sub-001: x"):
        stages(tmp_path, marks[:3], tree, 0.0, 300.0)


def test_space_on_disk_at_most_and_in_the_end(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(bytes(range(256)) * 4096)
    assert space(tmp_path) == pytest.approx(2**20, rel=0.02)
    with Disk(tmp_path) as disk:
        pass
    found = disk.found()[tmp_path.name]
    assert found["peak"] == found["end"] == pytest.approx(2**-10, rel=0.02)
    assert space(tmp_path / "nothing") == 0
