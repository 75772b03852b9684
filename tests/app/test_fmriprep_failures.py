"""fMRIPrep's output that cannot be used: status and log of each participant, before any model is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fmriprep_phantom import write_image, write_output

from ban_bids.app import participant as level
from ban_bids.errors import UsageError
from ban_bids.settings import Settings

RUNS = tuple(f"task-music_run-{run}" for run in (1, 2, 3))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two participants, three runs each, of raw images and fMRIPrep's output."""
    import numpy as np
    import soundfile

    root = tmp_path / "bids"
    (root / "stimuli").mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "toy", "BIDSVersion": "1.10.0"}')
    (root / "task-music_bold.json").write_text('{"RepetitionTime": 2.0, "TaskName": "music"}')
    for run in (1, 2, 3):
        noise = np.random.default_rng(run).uniform(-0.5, 0.5, 10_000)
        soundfile.write(root / f"stimuli/{run}.wav", noise, 1000, subtype="PCM_16")
    for sub in ("01", "02"):
        for run, name in enumerate(RUNS, start=1):
            stem = root / f"sub-{sub}/func/sub-{sub}_{name}"
            write_image(stem.with_name(f"{stem.name}_bold.nii.gz"), np.zeros((2, 2, 2, 10), np.uint8), tr=2.0)
            rows = f"onset\tduration\tstim_file\n0\t8\t{run}.wav\n"
            stem.with_name(f"{stem.name}_events.tsv").write_text(rows)
        write_output(tmp_path / "fmriprep", sub, RUNS)
    given = (("fmriprep", tmp_path / "fmriprep"),)
    return Settings.of(root, tmp_path / "out", "participant", work_dir=tmp_path / "work", derivatives=given)


def trained(*_: object) -> tuple[()]:
    raise AssertionError("models were prepared although nobody can be scored")


def test_status_and_log_are_written_for_all(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level, "prepare_models", trained)
    folder = dict(settings.preprocessing.derivatives)["fmriprep"]
    for sub in ("01", "02"):
        path = next((folder / f"sub-{sub}/func").glob("*run-2*preproc_bold.nii.gz"))
        path.unlink()
        path.symlink_to("../.git/annex/objects/x")
    assert level.participant_level(settings) == 1
    logs = settings.output.output_dir / "logs"
    for sub in ("01", "02"):
        assert "datalad get" in (logs / f"sub-{sub}_crash.txt").read_text()
        states = [json.loads(path.read_text()) for path in logs.glob(f"sub-{sub}*status*.json")]
        assert any("datalad get" in json.dumps(state) for state in states), sorted(logs.iterdir())


def test_a_wrong_folder_ends_the_call_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level, "prepare_models", trained)
    folder = dict(settings.preprocessing.derivatives)["fmriprep"]
    with pytest.raises(UsageError, match="did you mean"):
        level.participant_level(settings.changed(derivatives=(("fmriprep", folder.parent),)))
