"""Preprocessing with a job per step, by the plugin file that ships."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_here import SlurmHere
from small_study import OPTIONS, same, write_raw_study

pytestmark = pytest.mark.slow
PLUGIN = Path(__file__).resolve().parents[2] / "bids_app" / "plugins" / "slurm.yml"


def preprocess(raw: Path, out: Path, *more: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    words = ["-m", "ban_bids", raw, out, "participant", "--sloppy", *OPTIONS, "--nprocs", 1, "--omp-nthreads", 1, *more]
    return subprocess.run(
        [sys.executable, *map(str, words)], env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_job_a_step_gives_what_one_process_gives(slurm: SlurmHere, tmp_path: Path) -> None:
    raw = write_raw_study(tmp_path)
    here = preprocess(raw, tmp_path / "here")
    there = preprocess(raw, tmp_path / "there", "--use-plugin", PLUGIN, **slurm.environment)
    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    assert "preprocessing with SLURM" in there.stderr
    same(tmp_path / "there", tmp_path / "here")
    logs = list((tmp_path / "there/work/nipype/preprocessing/batch").glob("slurm-*.out"))
    steps = list((tmp_path / "here/work/nipype").rglob("result_*.pklz"))
    assert len(logs) > 5 and len(logs) <= len(steps)


def test_a_job_that_is_killed_fails_its_participant_by_name(slurm: SlurmHere, tmp_path: Path) -> None:
    raw, plugin = write_raw_study(tmp_path), tmp_path / "plugin.yml"
    plugin.write_text('plugin: SLURM\nplugin_args: {template: "#!/bin/bash\\nkill -KILL $$", sbatch_args: --mem=1}\n')
    done = preprocess(raw, tmp_path / "out", "--use-plugin", plugin, **slurm.environment)
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if "sub-01 failed: " in line]
    assert len(told) == 1 and "sub-01: job " in told[0] and "ended without a result" in told[0], done.stderr
    assert "--use-plugin" in told[0] and "(step " in told[0]  # of whichever job was found first
