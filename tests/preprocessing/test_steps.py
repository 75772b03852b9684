"""A step's inputs and outputs follow from its function; it is told apart by content, version and options."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from nipype.interfaces.base import Undefined

from ban_bids.preprocessing.interfaces import base
from ban_bids.preprocessing.interfaces.report import collect


class Joined(base.Step, files="joined", lengths=list[int], facts=dict[str, Any]):
    """Two files after each other."""

    @staticmethod
    def compute(first: Path, others: list[Path], folder: Path, *, end: str | None = None) -> dict[str, Any]:
        assert isinstance(first, Path) and all(isinstance(path, Path) for path in others)
        texts = [path.read_text() for path in (first, *others)]
        (folder / "joined.txt").write_text("".join(texts) + (end or "."))
        return {"joined": folder / "joined.txt", "lengths": [len(text) for text in texts], "facts": {"n": len(texts)}}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name * 3)
    return [str(path) for path in paths]


def test_inputs_and_outputs_are_those_of_the_function(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    step = Joined(first=files[0], others=files[1:])
    assert step.inputs.end is Undefined
    outputs = step.run().outputs
    assert Path(outputs.joined).read_text() == "aaabbbccc."
    assert (outputs.lengths, outputs.facts) == ([3, 3, 3], {"n": 3})
    step.inputs.end = "!"
    assert Path(pickle.loads(pickle.dumps(step)).run().outputs.joined).read_text() == "aaabbbccc!"
    with pytest.raises(ValueError, match="requires a value for input 'others'"):
        Joined(first=files[0]).run()
    with pytest.raises(Exception, match="first"):
        Joined(first=str(tmp_path / "absent"))


def test_steps_are_told_apart_by_content_options_and_version(files: list[str], tmp_path: Path) -> None:
    def hashed(first: str, **options: str) -> str:
        return str(Joined(first=first, others=files, **options).inputs.get_hashval(hash_method="content")[1])

    moved, changed = tmp_path / "moved", tmp_path / "changed"
    moved.write_text("aaa")
    changed.write_text("aab")
    same = hashed(files[0])
    assert hashed(str(moved)) == same
    assert len({same, hashed(str(changed)), hashed(files[0], end="!"), hashed(files[0], version="0")}) == 4


def test_a_summary_holds_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    step = collect(("label", "bolds", "carpets"))
    step.inputs.label = "01"
    step.inputs.bolds = ["a", "b"]
    summary = pickle.loads(pickle.dumps(step)).run().outputs.summary
    assert " ".join(Path(summary).read_text().split()) == '{ "label": "01", "bolds": [ "a", "b" ] }'
