"""Memory that runs out fails one participant by name, with the remedy; too little is refused at the start."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fmriprep_phantom import write_image

from ban_bids.app import least_memory
from ban_bids.app import participant as level
from ban_bids.app.ended import KILLED, Ended
from ban_bids.app.least_memory import check_memory
from ban_bids.app.outcome import Outcome, failure_logged
from ban_bids.constants import OUT_OF_MEMORY
from ban_bids.errors import DataError, UsageError
from ban_bids.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.of(tmp_path / "bids", tmp_path / "out", "participant", work_dir=tmp_path / "work", device="cpu")


def test_a_participant_whose_process_was_killed_fails_and_the_others_are_done(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    people = [SimpleNamespace(label=label, failure=None) for label in ("01", "02", "03")]
    dataset = SimpleNamespace(participants=people, usable=people)
    scored: list[str] = []

    def finish(person: Any, *_: object, **__: object) -> list[Outcome]:
        scored.append(person.label)
        return [Outcome(person.label)]

    stand_ins = {
        "read_dataset": lambda *_: dataset, "check_derivatives": lambda *_: {}, "check_memory": lambda *_: None,
        "prepare_output": lambda *_: None, "prepare_models": lambda *_: (), "other_sessions": lambda *_: None,
        "preprocess": lambda usable, _: {person.label: person for person in usable}, "_finish": finish,
    }  # fmt: skip
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(level, name, stand_in)
    ended = Ended.kept()  # as the process before left it
    ended.begin("01")
    ended.end("01", [Outcome("01", failure="of its own")])
    ended.begin("02")
    assert level.participant_level(settings, ended=ended) == 1
    assert scored == ["03"]
    states = {
        label: json.loads((settings.output.output_dir / f"logs/sub-{label}_status.json").read_text())
        for label in ("02", "03")
    }
    assert f"sub-02: {KILLED}" in states["02"].values() and OUT_OF_MEMORY in KILLED
    assert "done" in states["03"].values()
    table = capsys.readouterr().out
    assert "of its own" in table and "SIGKILL" in table and table.count("done") == 1
    assert ended.killed() == ("02",)
    with pytest.raises(DataError, match="sub-02"):
        level.participant_level(settings.changed(stop_on_first_crash=True), ended=ended)
    scored.clear()
    assert level.participant_level(settings) == 0  # the same command, called again, takes everybody
    assert scored == ["01", "02", "03"]


@pytest.mark.parametrize(("nprocs", "calls"), [(1, [["01"], ["02"]]), (2, [["01", "02"]])])
def test_steps_that_run_in_this_process_belong_to_one_participant_at_a_time(
    settings: Settings, nprocs: int, calls: list[list[str]]
) -> None:
    people: list[Any] = [SimpleNamespace(label=label) for label in ("01", "02")]
    ended, seen = Ended.kept(), []

    def preprocess(usable: list[Any], _: Settings) -> dict[str, Any]:
        seen.append([person.label for person in usable])
        assert ended.killed() == (tuple(seen[-1]) if nprocs == 1 else ())
        return {person.label: person for person in usable}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(level, "preprocess", preprocess)
        found = level._preprocessed(people, settings.changed(nprocs=nprocs), ended)
    assert list(found) == ["01", "02"] and seen == calls and ended.killed() == ()


def allocates_with(allocate: Callable[[], object]) -> None:
    """Call with half a GiB of address space left."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2**29, hard))
    try:
        allocate()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_an_array_that_memory_does_not_hold_is_told_with_the_remedy(tmp_path: Path, library: str) -> None:
    shape = 2**33
    array = {"numpy": lambda: np.ones(shape, np.uint8), "torch": lambda: torch.ones(shape, dtype=torch.uint8)}[library]
    with failure_logged(tmp_path, "sub-01", False) as reason:
        allocates_with(array)
    assert reason[0].startswith("out of memory (") and OUT_OF_MEMORY in reason[0] and "\n" not in reason[0]
    with failure_logged(tmp_path, "sub-01", False) as reason:
        raise ValueError("no array")
    assert OUT_OF_MEMORY not in reason[0]


def person(folder: Path, label: str, n_volumes: int) -> Any:
    """A participant with three runs of one small image, said to be longer."""
    bold = write_image(folder / f"{label}_bold.nii.gz", np.zeros((2, 2, 2, 5), np.uint8), np.diag([2.0, 2, 2, 1]))
    runs = tuple(SimpleNamespace(name=f"run-{k}", n_volumes=n_volumes, bold=bold, derivative=None) for k in range(3))
    return SimpleNamespace(label=label, runs=runs)


def test_too_little_memory_is_refused_with_the_least_that_does(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plan = SimpleNamespace(folds=(("run-2",),))
    monkeypatch.setattr(least_memory, "held_out_plan", lambda *_: plan)
    small, large = person(tmp_path, "01", 100), person(tmp_path, "02", 9000)
    dataset = SimpleNamespace(held_out=None)
    of_fmriprep = settings.changed(derivatives=(("fmriprep", tmp_path),))

    def check(people: list[Any], mem_mb: int | None, asked: Settings = of_fmriprep) -> None:
        check_memory(people, dataset, asked.changed(mem_mb=mem_mb))  # type: ignore[arg-type]

    check([small], 2048)
    check([small, large], None)
    with pytest.raises(UsageError, match=r"^--mem 2048: encoding of sub-02 takes about [\d.]+ GB; give --mem") as error:
        check([large], 2048)
    least = int(str(error.value).split("give --mem ")[1].split()[0])
    check([large], least)
    with pytest.raises(UsageError):
        check([large], least - 1)
    assert not caplog.messages
    check([small, large], 2048)  # the one that fits goes on
    assert "sub-02 takes about" in caplog.text and "sub-01" not in caplog.text
    plugin = tmp_path / "plugin.yml"  # of its jobs' memory its file tells
    check([small], 2048, settings.changed(use_plugin=plugin))
    monkeypatch.setattr(least_memory, "memory_gb", lambda *_: 3.0)
    with pytest.raises(UsageError, match="preprocessing of sub-01 takes about 3.75 GB"):
        check([small], 2048, settings)


def test_somebody_whose_files_are_damaged_refuses_nobody_else(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise DataError("x.nii: cannot be read")

    monkeypatch.setattr(least_memory, "held_out_plan", damaged)
    people, dataset = [person(tmp_path, "01", 9000)], SimpleNamespace(held_out=None)
    check_memory(people, dataset, settings.changed(mem_mb=100))  # type: ignore[arg-type]
