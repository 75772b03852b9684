"""Killed in the middle and started again, on data that were moved meanwhile: only unfinished steps run."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from test_preprocessing_workflow import phantom

from ban_bids.errors import DataError
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing import anatomy, run
from ban_bids.preprocessing.result import PreprocessedParticipant
from ban_bids.preprocessing.run import preprocess
from ban_bids.preprocessing.space.register import normalize
from ban_bids.settings import Settings

_KILLED_IN_RUN_2 = """
import functools, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ban_bids.preprocessing import functional
from test_interrupted import preprocess_quickly
whole = functional.resample_to_target
def resample(bold, *files, **rest):
    if "run-2" in bold.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(bold, *files, **rest)
functional.resample_to_target = resample
preprocess_quickly(Path(sys.argv[2]), Path(sys.argv[3]))
"""
quick = functools.partial(normalize, reg_iterations=(5, 0, 0, 0))


def preprocess_quickly(raw: Path, out: Path) -> object:
    """Two runs of the phantom in one process, with a coarse normalisation."""
    anatomy.normalize, before = quick, anatomy.normalize
    try:
        raw.mkdir(exist_ok=True)
        person = phantom(raw, "01")
        settings = Settings.of(raw, out, "participant", work_dir=out / "work", nprocs=1)
        return preprocess([person], settings)["01"]
    finally:
        anatomy.normalize = before


def results(out: Path) -> dict[str, int]:
    """Result files of finished steps and when they were written; lists of paths are made every time."""
    found = (path.relative_to(out) for path in (out / "work").rglob("result_*.pklz"))
    steps = [path for path in found if not path.parent.name.startswith(("all_", "collect"))]
    return {str(path): (out / path).stat().st_mtime_ns for path in steps}


@pytest.mark.slow
def test_killed_and_started_again_only_unfinished_steps_run(tmp_path: Path) -> None:
    clean = preprocess_quickly(tmp_path / "raw", tmp_path / "clean")
    assert isinstance(clean, PreprocessedParticipant), clean

    out, child = tmp_path / "out", [sys.executable, "-c", _KILLED_IN_RUN_2, str(Path(__file__).parent)]
    killed = subprocess.run([*child, str(tmp_path / "raw"), str(out)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    finished = results(out)
    assert any("run_1/resample" in name for name in finished)
    assert not any("run_2/resample" in name for name in finished)

    (tmp_path / "raw").rename(tmp_path / "moved")
    again = preprocess_quickly(tmp_path / "moved", out)  # written anew: other dates, too
    assert isinstance(again, PreprocessedParticipant), again
    after = results(out)
    assert {name: after[name] for name in finished} == finished, "a finished step ran again"
    assert any("run_2/resample" in name for name in after)
    for one, other in zip(clean.runs, again.runs):
        assert one.bold.read_bytes() == other.bold.read_bytes()
        assert one.confounds.read_bytes() == other.confounds.read_bytes()
    assert clean.dseg.read_bytes() == again.dseg.read_bytes()

    # the work folder may move as well
    out.rename(tmp_path / "elsewhere")
    third = preprocess_quickly(tmp_path / "moved", tmp_path / "elsewhere")
    assert isinstance(third, PreprocessedParticipant), third
    assert results(tmp_path / "elsewhere") == after


def test_what_an_earlier_call_finished_does_not_stand_for_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bold = tmp_path / "sub-01_task-x_bold.nii"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 9), np.float32), np.eye(4)), bold)
    person = Participant("01", (), (Run("01", None, "x", None, (), bold, bold, 2.0, 9, None, "k", None, ()),))
    earlier = tmp_path / "work" / "nipype" / "preprocessing" / "sub_01" / "collect" / "summary.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("{}")

    def cut_short(*_: object, **__: object) -> dict[str, DataError]:
        """As where a crash file was cut short, which then does not say whose it is."""
        return {"unknown": DataError("unknown")}

    monkeypatch.setattr(run, "_run_workflow", cut_short)
    settings = Settings.of(tmp_path, tmp_path / "out", "participant", work_dir=tmp_path / "work")
    found = preprocess([person], settings)["01"]
    assert isinstance(found, DataError)
    assert "preprocessing was stopped before its end; run again" in str(found)
