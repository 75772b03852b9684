"""Digests of code: what must change them, and what must not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from ban_bids.models.code_digest import code_digest


class _Node:
    others: set[_Node]


@dataclass(slots=True)
class _Settings:
    gain: float


def _on(device: str) -> Callable[[Tensor], Tensor]:
    return lambda waveform: waveform.to(device)


def _moved(waveform: Tensor, device: str) -> Tensor:
    return waveform.to(device)


def _typed(body: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A module whose class was typed into a notebook."""
    notebook = ModuleType("notebook_without_file")
    monkeypatch.setitem(sys.modules, notebook.__name__, notebook)
    text = f"from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        return {body}"
    exec(text, vars(notebook))
    net: nn.Module = notebook.Net()
    return net


def _traced(what: Callable[[Tensor], Tensor]) -> nn.Module:
    class _Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return what(x)

    traced: nn.Module = torch.jit.trace(nn.Sequential(_Net()), torch.ones(3))  # type: ignore[no-untyped-call]
    return traced


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (slice(0, 3), slice(0, 9)),
        (range(3), range(9)),
        (_Settings(1.0), _Settings(2.0)),
        ({(1, "a")}, {(2, "a")}),
        (lru_cache(_on), lru_cache(_moved)),
    ],
    ids=["slice", "range", "slots", "set", "cached"],
)
def test_what_holds_something_else_does_something_else(one: object, other: object) -> None:
    assert code_digest(one) != code_digest(other)


def test_classes_without_a_file_go_by_what_they_were_compiled_to(monkeypatch: pytest.MonkeyPatch) -> None:
    double = code_digest(_typed("2 * x", monkeypatch))
    assert double == code_digest(_typed("2 * x", monkeypatch)) != code_digest(_typed("x.abs()", monkeypatch))


def test_torchscript_goes_by_its_code_and_not_by_what_was_compiled_before() -> None:
    assert code_digest(_traced(torch.abs)) == code_digest(_traced(torch.abs)) != code_digest(_traced(torch.exp))


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (_on("cpu"), _on("cuda")),
        (partial(_moved, device="cpu"), partial(_moved, device="cuda")),
        ({"name_or_path": "/home/a/models/base"}, {"name_or_path": "/scratch/models/base"}),
    ],
    ids=["closure", "partial", "folder"],
)
def test_one_model_wherever_it_runs(here: object, there: object) -> None:
    assert code_digest(here) == code_digest(there)


def test_one_model_with_torch_for_whatever_device(monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for version in ("2.9.0+cpu", "2.9.0+cu128", "2.9.1"):
        monkeypatch.setattr(torch, "__version__", version)
        found.add(code_digest(nn.ReLU()))
    assert len(found) == 2


def test_sets_may_lead_back_to_what_holds_them() -> None:
    one, other = _Node(), _Node()
    one.others, other.others = {other}, {one}
    assert code_digest(one) == code_digest(other)
