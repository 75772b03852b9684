"""The scripts of the page for clusters, by which submitit and Dask start a job a participant, run as they stand."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from slurm_here import SlurmHere
from small_study import options, same

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cluster.md").read_text()


@pytest.mark.parametrize("package", ["submitit", "dask_jobqueue"])
def test_the_page_s_script_scores_everybody(
    package: str, slurm: SlurmHere, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    commands, *scripts = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    script = next(text for text in scripts if package in text)
    there = [sys.executable, "-m", "ban_bids", str(study / "bids"), str(tmp_path / "out"), "participant"]
    there += [*options(study), "--nprocs=1", "--omp-nthreads=1"]
    assert (call := re.search(r"call = \[.*\]", commands)) is not None
    commands = commands.replace(call.group(), f"call = {there}").replace("BIDS_DIR", str(study / "bids"))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("SLURM", "SBATCH", "SRUN"))]:
        monkeypatch.delenv(name)
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    names: dict[str, object] = {}
    exec(compile(commands + script, "docs/cluster.md", "exec"), names)
    assert names["statuses"] == [0, 0]
    same(tmp_path / "out", study / "local", "sub-")
