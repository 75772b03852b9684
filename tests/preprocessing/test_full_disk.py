"""Steps of preprocessing on a full disk: each fails by name, nobody waits for ever, the others go on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from nipype import config
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow
from nipype.pipeline.plugins import tools

from ban_bids.errors import DataError, DiskFull
from ban_bids.preprocessing.crashes import read_crashes
from ban_bids.preprocessing.execution import configure, run_workflow
from ban_bids.preprocessing.run import set_environment
from ban_bids.settings import Compute


def _no_room() -> int:
    import shutil
    from pathlib import Path

    # no result of the step can be kept, as on a full disk
    shutil.rmtree(Path.cwd())
    raise OSError(28, "No space left on device")


def _another_fault() -> int:
    raise ValueError("an odd image")


def _fine(after: int) -> int:
    return after


@pytest.fixture
def crashes(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "crash"
    folder.mkdir()
    before = {name: os.environ.get(name) for name in ("NIPYPE_CONFIG_DIR", "NO_ET", "NIPYPE_NO_ET", "LOGNAME")}
    set_environment(tmp_path)
    configure(folder, verbose=False, stop_on_first_crash=False)
    yield folder
    config.set_default_config()
    for name, value in before.items():
        os.environ.pop(name, None)
        os.environ.update({name: value} if value is not None else {})


def people(folder: Path) -> Workflow:
    """One who finds no room, one whose data are odd, one who is well."""
    whole = Workflow("preprocessing", base_dir=str(folder))
    for label, step in (("sub_01", _no_room), ("sub_02", _another_fault), ("sub_03", _fine)):
        wf = Workflow(label)
        wf.add_nodes([Node(Function(["after"] if step is _fine else [], ["out"], step), "anat")])
        if step is _fine:
            wf.inputs.anat.after = 1
        whole.add_nodes([wf])
    return whole


# with two processes this would not end with Nipype's own plugin: the worker cannot say how the step ended
@pytest.mark.parametrize("nprocs", [1, 2])
def test_a_step_without_room_is_told_and_the_others_go_on(tmp_path: Path, crashes: Path, nprocs: int) -> None:
    found = run_workflow(people(tmp_path), Compute(nprocs=nprocs), needed_gb=0.1, crash_dir=crashes)
    assert sorted(found) == ["sub_01", "sub_02"]
    full, odd = found["sub_01"], found["sub_02"]
    assert isinstance(full, DiskFull)
    assert "sub-01, step anat" in str(full) and " bytes " in str(full) and str(tmp_path) in str(full)
    assert isinstance(odd, DataError) and "an odd image" in str(odd)
    assert list((tmp_path / "preprocessing/sub_03/anat").glob("result_*"))


def test_a_crash_is_known_where_its_file_has_no_room(
    tmp_path: Path, crashes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: str, record: object) -> None:
        Path(path).write_text("Node: prepro")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tools, "crash2txt", half)
    found = run_workflow(people(tmp_path), Compute(nprocs=1), needed_gb=0.1, crash_dir=crashes)
    assert {"sub_01", "sub_02"} <= set(found)
    assert isinstance(found["sub_01"], DiskFull) and "step anat" in str(found["sub_01"])


def test_other_crashes_are_no_full_disk(tmp_path: Path) -> None:
    file = tmp_path / "crash.txt"
    file.write_text("Node: preprocessing.sub_01.anat\nWorking directory: /w\n\nOSError: [Errno 5] Input/output error\n")
    assert not isinstance(read_crashes([file])["sub_01"], DiskFull)
