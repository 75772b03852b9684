"""What runs the nodes: plugin files, memory and threads, and workers that are killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import yaml
from nipype import config
from nipype.interfaces.utility import Function
from nipype.pipeline import plugins
from nipype.pipeline.engine import Node, Workflow

from ban_bids.constants import OUT_OF_MEMORY
from ban_bids.errors import UsageError
from ban_bids.preprocessing import execution
from ban_bids.preprocessing.crashes import KILLED, read_crashes
from ban_bids.preprocessing.execution import (
    WORKER_GB,
    InThisProcess,
    LocalProcesses,
    configure,
    memory_for_nodes,
    plugin_of,
    run_workflow,
)
from ban_bids.preprocessing.run import set_environment
from ban_bids.settings import Compute

EXAMPLES = Path(__file__).resolve().parents[2] / "bids_app" / "plugins"


TWO = Compute(nprocs=2)


def test_plugin_file_wins_over_nprocs(tmp_path: Path) -> None:
    assert isinstance(plugin_of(Compute(nprocs=1))[0], InThisProcess)
    for file, text in (
        ("p.yml", "plugin: SLURM\nplugin_args:\n  sbatch_args: -p short\n"),
        ("p.json", '{"plugin": "SLURM", "plugin_args": {"sbatch_args": "-p short"}}'),
        ("p.toml", 'plugin = "SLURM"\nplugin_args.sbatch_args = "-p short"'),
    ):
        (tmp_path / file).write_text(text)
        found = plugin_of(replace(TWO, use_plugin=tmp_path / file))
        assert found == ("SLURM", {"sbatch_args": "-p short"})
    (tmp_path / "bad.yml").write_text("a: [1")
    (tmp_path / "empty.yml").write_text("")
    for path in (tmp_path / "bad.yml", tmp_path / "empty.yml", tmp_path / "absent.yml"):
        with pytest.raises(UsageError, match="--use-plugin"):
            plugin_of(replace(TWO, use_plugin=path))


def test_local_processes_keep_to_the_memory_and_processors_asked_for() -> None:
    plugin, _ = plugin_of(replace(TWO, mem_mb=8192))
    process = psutil.Process()
    own = sum(one.memory_full_info().pss for one in (process, *process.children(recursive=True))) / 1024**3
    assert plugin.memory_gb == pytest.approx(8 - own - WORKER_GB, abs=0.1)
    assert plugin.processors == 2
    plugin.pool.shutdown()
    assert memory_for_nodes(1) == 0.5
    few = LocalProcesses(16, 1.0)  # workers that wait hold their libraries
    assert (few.processors, few.memory_gb) == (3, 0.5)
    few.pool.shutdown()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yml")), ids=lambda path: path.stem)
def test_shipped_plugin_files_name_plugins_that_nipype_has(file: Path) -> None:
    name, _ = plugin_of(replace(TWO, use_plugin=file))
    assert hasattr(plugins, f"{name}Plugin")
    assert yaml.safe_load(file.read_text())["plugin_args"]


def test_there_are_shipped_plugin_files() -> None:
    assert {"multiproc", "slurm", "sge", "pbs"} <= {path.stem for path in EXAMPLES.glob("*.yml")}


def _die() -> int:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def _exhaust() -> int:
    import resource

    import numpy as np

    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    return int(np.ones(2**33, np.uint8).sum())


def _threads(after: int) -> str:
    import os

    return os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize(("fail", "words"), [(_die, KILLED), (_exhaust, "sub-01: out of memory (Unable to allocate")])
def test_a_worker_without_memory_fails_its_node_and_not_the_others(
    tmp_path: Path, fail: Callable[[], int], words: str
) -> None:
    # without our plugin this test would never end
    crashes = tmp_path / "crash"
    crashes.mkdir()
    before = {name: os.environ.get(name) for name in ("NIPYPE_CONFIG_DIR", "NO_ET", "NIPYPE_NO_ET")}
    set_environment(tmp_path)
    configure(crashes, verbose=False, stop_on_first_crash=False)
    whole = Workflow("preprocessing", base_dir=str(tmp_path))
    for label in ("sub_01", "sub_02"):
        wf = Workflow(label)
        if label == "sub_01":
            wf.add_nodes([Node(Function([], ["out"], fail), "anat")])
        else:
            wf.add_nodes([Node(Function(["after"], ["out"], _threads), "anat")])
            wf.inputs.anat.after = 1
        whole.add_nodes([wf])
    try:
        with pytest.raises(RuntimeError):
            whole.run(plugin=LocalProcesses(1, 1.0))
    finally:
        config.set_default_config()
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})
    found = read_crashes(sorted(crashes.iterdir()))
    assert list(found) == ["sub_01"]
    assert words in str(found["sub_01"]) and OUT_OF_MEMORY in str(found["sub_01"])
    assert "step anat" in str(found["sub_01"])
    assert list((tmp_path / "preprocessing/sub_02/anat").glob("result_*"))


@pytest.mark.parametrize(
    ("system", "programs"),
    [
        ("slurm", {"sbatch": "echo Submitted batch job 7", "squeue": "echo JOBID"}),
        ("pbs", {"qsub": "echo 7.server", "qstat": "echo qstat: Unknown Job Id 7.server >&2; exit 153"}),
    ],
)
def test_a_job_of_a_cluster_without_a_result_is_told(
    system: str, programs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as when SLURM or PBS ends a job for its memory or time: it was there, it is gone, and it has written nothing
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("NIPYPE_CONFIG_DIR", "NO_ET", "NIPYPE_NO_ET", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "LOGNAME"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.setenv("NIPYPE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setattr(execution, "_SECONDS_TO_SEE_RESULTS", "0")
    crashes, here = tmp_path / "crash", tmp_path / "here"
    crashes.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    configure(crashes, verbose=False, stop_on_first_crash=False)
    whole, wf = Workflow("preprocessing", base_dir=str(tmp_path)), Workflow("sub_01")
    wf.add_nodes([Node(Function([], ["out"], _die), "anat")])
    whole.add_nodes([wf])
    try:
        found = run_workflow(whole, replace(TWO, use_plugin=EXAMPLES / f"{system}.yml"), needed_gb=1, crash_dir=crashes)
    finally:
        config.set_default_config()
    assert list(found) == ["sub_01"]
    told = str(found["sub_01"])
    assert told.startswith("sub-01: job 7 of the cluster ended without a result") and "--use-plugin" in told
    assert "step anat" in told
    assert not list(here.iterdir())
