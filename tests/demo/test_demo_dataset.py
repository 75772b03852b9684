"""A tiny demo, written whole: valid BIDS, true to its plan, planted by another network."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import soundfile
from noise import hear_noise

from ban_bids.cli import demo as cli
from ban_bids.demo.build import make_demo
from ban_bids.demo.phantom import Scan
from ban_bids.demo.plan import SIZES, DemoSize, plan_runs
from ban_bids.demo.planting import TEACHER
from ban_bids.demo.styles import GENRES
from ban_bids.inputs.heldout import held_out_plan
from ban_bids.inputs.read import read_dataset
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import load_checkpoint, save_checkpoint
from ban_bids.models.presets import PRESETS, build
from ban_bids.settings import Settings

SNR = Scan((1, 1, 2), 1.0).snr
TINY = DemoSize(
    training_runs=2,
    training_clips=6,
    test_runs=1,
    test_clips=2,
    repeats=2,
    shape=(30, 36, 28),
    voxel=6.0,
    t1w_voxel=4.0,
    clip=4.5,
    genre_tracks=2,
    epochs=1,
    participants=2,
    genre_seconds=10.0,
    choice_clips=1,
    choice_seconds=3.0,
)


def untrained(job):
    """Stand-in for training: random weights with a card (training has its own tests)."""
    network = build(PRESETS[job.preset], len(GENRES), job.seed)
    hear_noise(network)
    card = ModelCard(network.config.to_dict(), GENRES, settings={"seed": job.seed})
    return save_checkpoint(job.out, network, card)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    make_demo(root, TINY, participants=2, seed=3, nprocs=2, train=untrained)
    return root


@pytest.fixture(scope="module")
def dataset(demo):
    return read_dataset(Settings.of(demo / "bids", demo / "out", "participant", work_dir=demo / "work"))


def _validator():
    return shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent)) or shutil.which(
        "bids-validator-deno"
    )


@pytest.mark.skipif(_validator() is None, reason="bids-validator-deno is not installed")
def test_official_validator_finds_no_error(demo):
    run = subprocess.run([_validator(), str(demo / "bids"), "--json"], capture_output=True, text=True, check=False)
    issues = json.loads(run.stdout)["issues"]["issues"]
    assert [i for i in issues if i["severity"] == "error"] == []
    assert run.returncode == 0


def test_dataset_is_read_and_held_out_runs_are_those_with_repeats(dataset):
    assert [p.label for p in dataset.participants] == ["01", "02"]
    for person in dataset.participants:
        assert person.failure is None
        assert [len(run.presentations) for run in person.runs] == [6, 6, 4]
        assert held_out_plan(person, dataset.selection).folds == ((person.runs[2].name,),)
    assert dataset.choices is not None
    assert len(dataset.choices.clips) == 10
    assert len(dataset.choices.table) == 12 * 10 * TINY.choice_trials


def test_every_clip_fits_into_its_track_and_every_run_into_its_image(dataset):
    for run in dataset.participants[0].runs:
        image = nib.load(run.bold)
        assert image.header.get_zooms()[3] == 1.5
        last = run.presentations[-1]
        assert last.onset + last.clip.duration < image.shape[3] * 1.5
        for presentation in run.presentations:
            clip = presentation.clip
            assert clip.start + clip.duration <= soundfile.info(clip.audio).duration
        assert run.slice_timing is not None
        assert len(run.slice_timing) == image.shape[2]


def test_stimuli_are_other_tracks_than_those_of_training(demo):
    training = {p.read_bytes() for p in (demo / "genres").rglob("*.wav")}
    heard = {p.read_bytes() for p in (demo / "bids" / "stimuli").glob("*.wav")}
    assert len(training) == 20
    assert not training & heard
    assert len(heard) == 10 * TINY.stimuli_per_genre + 10


def test_teacher_is_not_the_scored_network(demo):
    student, card = load_checkpoint(demo / "ban.safetensors")
    teacher, _ = load_checkpoint(TEACHER)
    mine, theirs = student.state_dict(), teacher.state_dict()
    kernels = [name for name, value in mine.items() if value.ndim == 4]
    assert kernels
    for name in kernels:
        assert np.abs(np.corrcoef(mine[name].ravel(), theirs[name].ravel())[0, 1]) < 0.5
    design = json.loads((demo / "truth" / "design.json").read_text())
    assert card is not None
    assert card.settings["seed"] == design["scored_seed"]


def test_truth_states_the_planted_strength(demo):
    table = pd.read_csv(demo / "truth" / "responses.tsv", sep="\t")
    planted = table[table["n_responsive"] > 0]
    assert set(planted["participant_id"]) == {"sub-01", "sub-02"}
    np.testing.assert_allclose(planted["snr"], SNR, rtol=1e-3)
    np.testing.assert_allclose(planted["ceiling_repeat_mean"], np.sqrt(SNR / (SNR + 1 / TINY.repeats)), rtol=1e-3)
    for label in ("01", "02"):
        folder = demo / "truth" / f"sub-{label}"
        assert len(list(folder.glob("*_motion.tsv"))) == 3
        mask = nib.load(folder / f"sub-{label}_space-bold_desc-responsive_mask.nii.gz")
        rows = table[table["participant_id"] == f"sub-{label}"]
        assert int(np.asarray(mask.dataobj).sum()) == rows["n_responsive"].sum()


def test_participants_differ_in_anatomy_and_share_what_is_heard(demo):
    bids = demo / "bids"
    one, two = (np.asarray(nib.load(bids / f"sub-{s}/anat/sub-{s}_T1w.nii.gz").dataobj) for s in ("01", "02"))
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] < 0.97
    events = [(bids / f"sub-{s}/func/sub-{s}_task-music_run-1_events.tsv").read_bytes() for s in ("01", "02")]
    assert events[0] == events[1]


@pytest.mark.parametrize("name", ["small", "full"])
def test_plan_uses_every_clip_once_in_training_and_repeats_in_test(name):
    size = SIZES[name]
    n = 10 * size.stimuli_per_genre
    runs = plan_runs(size, n, 1)
    assert runs == plan_runs(size, n, 1) != plan_runs(size, n, 2)
    clips = [[heard.clip for heard in run.heard] for run in runs]
    training = sum(clips[: size.training_runs], [])
    assert len(set(training)) == len(training) == size.training_runs * size.training_clips
    test = sum(clips[size.training_runs :], [])
    assert not set(test) & set(training)
    assert all(test.count(clip) == size.repeats for clip in test)
    assert max(test + training) < n
    # each genre at most twice among the test clips
    genres = [clip // size.stimuli_per_genre for clip in set(test)]
    assert max(genres.count(g) for g in genres) <= 2


def test_command_line_refuses_to_mix_with_what_is_there(tmp_path, capsys):
    (tmp_path / "bids").mkdir()
    assert cli.main([str(tmp_path), "--data-only"]) == 2
    assert "--force" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main([str(tmp_path / "new"), "--participants", "0"])
    assert "--participants" in capsys.readouterr().err
