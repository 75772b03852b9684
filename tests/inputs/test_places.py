"""Where a dataset lies changes nothing of what is read from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_datasets import Toy

from ban_bids.inputs.read import read_dataset


def runs_of(toy: Toy, **changes: object) -> list[tuple[str, str, list[str]]]:
    people = read_dataset(toy.settings(**changes)).participants
    assert all(person.failure is None and len(person.t1w) == 1 for person in people)
    return [(run.bold.name, str(run.events), [clip.track for clip in run.clips]) for one in people for run in one.runs]


@pytest.mark.parametrize(
    "above",
    ["func", "anat/motion", "sub-99study", "sub-01/ses-1/func", "derivatives", "task-x", "a (b) [c] $d *e", "ä ü"],
)
def test_any_folder_above(toy: Toy, tmp_path: Path, above: str) -> None:
    plain = runs_of(toy)
    moved = Toy(tmp_path / above / toy.root.name)
    moved.root.parent.mkdir(parents=True)
    toy.root.rename(moved.root)
    for changes in ({}, {"bids_database_dir": tmp_path / above / "db"}, {"bids_database_dir": tmp_path / above / "db"}):
        found = runs_of(moved, **changes)
        assert [(bold, tracks) for bold, _, tracks in found] == [(bold, tracks) for bold, _, tracks in plain]
        assert all(events.startswith(str(moved.root)) for _, events, _ in found)


def test_a_relative_folder_and_a_link(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = runs_of(toy)
    monkeypatch.chdir(toy.root.parent)
    assert len(runs_of(Toy(Path(toy.root.name)))) == len(plain)
    monkeypatch.chdir(toy.root)
    assert len(runs_of(Toy(Path()), dry_run=True)) == len(plain)
    (tmp_path / "func").symlink_to(toy.root)
    assert len(runs_of(Toy(tmp_path / "func"))) == len(plain)
