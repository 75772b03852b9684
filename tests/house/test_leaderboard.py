"""The leaderboard says what the tables of an output directory say, in the right order."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_derivatives import TASK, fake_settings, make_tree, score_rows, write_model

from ban_bids import __version__, load_derivatives
from ban_bids.app.group import group_level
from ban_bids.errors import DataError
from ban_bids.files.tsv import read_tsv, write_tsv

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "make_leaderboard.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_leaderboard", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _tree(root: Path, people: tuple[str, ...], totals: dict[str, tuple[float, float]]) -> Path:
    """Models with the same totals, C and B, in all people."""
    make_tree(root, participants=people, layers=("A1",))
    for model, (c, b) in totals.items():
        for label in people:
            table = score_rows(np.random.default_rng(0), model)
            scored = table["role"] == "scored"
            for row, value in (("C", c), ("B", b), ("BAS", (c + b) / 2)):
                table.loc[scored & (table["row"] == row), "value"] = value
                if np.isnan(value):
                    table.loc[scored & (table["row"] == row), "reason"] = "no read-out for these genres"
            table.loc[~scored & (table["row"] == "C"), "value"] = c - 0.125
            deep = scored & (table["row"] == "layer") & (table["region"] == "PB")
            # people differ in PB: all but the first chose the deepest layer
            table.loc[deep, "committed"] = (table["layer"] == ("Belt" if label == people[0] else "T2T3")).astype(float)
            write_model(root, label, table, model)
    return root


def _rows(text: str) -> dict[str, list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[1].strip("`"): row for row in cells[2:]}


def _row(kind: str, model: str, value: float, **more: Any) -> dict[str, Any]:
    return {"level": "group", "participant": None, "task": TASK, "kind": kind, "model": model, "row": "C",
            "value": value, "ci_low": value - 0.5, "ci_high": value + 0.5, "p_corrected": 0.0004} | more  # fmt: skip


def test_models_stand_in_order_of_bas_where_all_have_it(tool: ModuleType, tmp_path: Path) -> None:
    totals = {"ban": (0.5, 0.1), "deep": (0.4, 0.6), "vgg": (0.3, 0.4)}
    out = _tree(tmp_path / "out", ("01", "02", "03"), totals)
    with pytest.raises(DataError, match="3 participants and no group_bas.tsv; run the group level first"):
        tool.page(load_derivatives(out))
    group_level(out, fake_settings(out, "group"))
    text = tool.page(load_derivatives(out))
    rows = _rows(text)
    assert list(rows) == ["deep", "vgg", "ban"]
    assert "In order of BAS." in text
    assert rows["deep"][2].startswith("0.500") and rows["deep"][3].startswith("0.400")
    assert rows["deep"][5] == "+0.125 (`deepuntrained1`)"
    assert rows["deep"][6] == "n/a"
    assert rows["deep"][7:] == ["A1 (3/3)", "Belt (3/3)", "T2T3 (2/3)", "T2T3 (3/3)"]
    group = load_derivatives(out).group_scores()
    c = group[(group["row"] == "C") & (group["model"] == "vgg") & (group["level"] == "group")].iloc[0]
    assert rows["vgg"][3] == f"{c['value']:.3f} [{c['ci_low']:.3f}, {c['ci_high']:.3f}]"
    assert "openneuro.ds003720" in text and "3 people" in text and f"ban-bids {__version__}, torch 2." in text
    assert max(len(line) for line in text.splitlines() if line[:1] != "|") <= 116


def test_one_without_b_puts_all_in_order_of_c(tool: ModuleType, tmp_path: Path) -> None:
    out = _tree(tmp_path / "out", ("01", "02"), {"ban": (0.5, 0.1), "deep": (0.4, 0.9), "crepe": (0.45, np.nan)})
    group_level(out, fake_settings(out, "group"))
    text = tool.page(load_derivatives(out))
    assert list(_rows(text)) == ["ban", "crepe", "deep"]
    assert "In order of C." in text
    assert _rows(text)["crepe"][2] == "n/a"
    assert "n/a: B of `crepe`, BAS of `crepe` (" in " ".join(text.split())


def test_paired_differences_and_ranks_are_those_of_the_table(tool: ModuleType, tmp_path: Path) -> None:
    out = _tree(tmp_path / "out", ("01", "02"), {"ban": (0.5, 0.1), "deep": (0.4, 0.9)})
    group_level(out, fake_settings(out, "group"))
    rows = [
        _row("control", "ban", 0.3, other="banuntrained1"),
        _row("control", "ban", 0.2, other="logmel"),
        _row("control", "ban", 0.01, other="logmel", level="participant", participant="01"),
        _row("control", "ban", 0.02, other="logmel", row="B"),
        _row("control", "ban", np.nan, other="modulation"),
        _row("rank", "ban", 2, row="BAS", ci_low=1, ci_high=2),
        _row("rank", "ban", 1, ci_low=1, ci_high=1),
        _row("rank", "deep", 1, row="BAS", ci_low=np.nan, ci_high=np.nan),
    ]
    write_tsv(out / "group_comparison.tsv", pd.DataFrame(rows))
    found = _rows(tool.page(load_derivatives(out)))
    assert found["ban"][5] == "+0.200 [-0.300, +0.700], p < 0.001 (`logmel`)"
    assert found["ban"][6] == "1 to 2"
    assert found["deep"][5] == "+0.125 (`deepuntrained1`)"
    assert found["deep"][6] == "1"


def test_one_participant_needs_no_group(tmp_path: Path) -> None:
    out = _tree(tmp_path / "out", ("01",), {"ban": (0.5, 0.1)})
    command = [sys.executable, SCRIPT, out, "--dataset", "the demo", "--out", tmp_path / "page.md"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "Models scored on the demo, one person." in text
    table = read_tsv(next(out.glob("sub-01/func/*_bas.tsv")))
    c = table[(table["row"] == "C") & (table["role"] == "scored")].iloc[0]
    assert f"{c['value']:.3f} [{c['ci_low']:.3f}, {c['ci_high']:.3f}]" in text
    assert _rows(text)["ban"][7:] == ["A1", "Belt", "Belt", "T2T3"]


def test_only_members_of_the_group_are_counted(tool: ModuleType, tmp_path: Path) -> None:
    out = _tree(tmp_path / "out", ("01", "02", "03"), {"ban": (0.5, 0.1)})  # 01 failed, or was not asked for
    scores = load_derivatives(out).scores()
    scores = scores[scores["participant"] != "01"].assign(generalises_to=None)
    of_group = scores[scores["participant"] == "02"].assign(participant=None, level="group")
    write_tsv(out / "group_bas.tsv", pd.concat([of_group, scores.assign(level="participant")]))
    text = tool.page(load_derivatives(out), "the demo")
    assert "Models scored on the demo, 2 people." in text
    assert _rows(text)["ban"][9] == "T2T3 (2/2)"


def test_nothing_scored_is_an_error(tool: ModuleType, tmp_path: Path) -> None:
    out = _tree(tmp_path / "out", ("01",), {})
    for path in out.glob("sub-01/func/*_bas.*"):
        path.unlink()
    with pytest.raises(DataError, match="no model is scored there"):
        tool.page(load_derivatives(out))
