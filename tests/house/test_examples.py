"""Each script of `examples/` runs as its page says, on small simulated data, and prints what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_derivatives import make_tree

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, *arguments: object, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_script_is_tested_and_listed() -> None:
    scripts = {path.name for path in (ROOT / "examples").glob("*.py")}
    own_tests = {"pretrained_in_wheels.py"}  # factories: tests/models/test_pretrained_in_wheels.py
    assert scripts - own_tests == {"plot_derivatives.py", "score_a_torch_model.py", "compare_two_models.py"}
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert all(name in page for name in scripts)


def test_derivatives_are_plotted(tmp_path: Path) -> None:
    make_tree(tmp_path / "out", participants=("01", "02"))
    printed = run("plot_derivatives.py", tmp_path / "out", "--layer", "T2T3", "--save", "figures", folder=tmp_path)
    assert "BAS" in printed
    pictures = sorted(path.name for path in (tmp_path / "figures").glob("*.png"))
    assert pictures == ["sub-01_T2T3_r.png", "sub-02_T2T3_r.png"]
    assert "HCP" not in printed or printed.strip()


def test_two_models_are_compared(tmp_path: Path) -> None:
    make_tree(tmp_path / "out", participants=("01", "02", "03"))
    printed = run("compare_two_models.py", tmp_path / "out", "ban", "banuntrained1", folder=tmp_path)
    assert "C of ban minus C of banuntrained1" in printed
    assert "3 participants" in printed


def test_models_that_are_not_there_are_named(tmp_path: Path) -> None:
    make_tree(tmp_path / "out", participants=("01",))
    with pytest.raises(AssertionError, match="no scores of crnn: choose from ban, banuntrained1"):
        run("compare_two_models.py", tmp_path / "out", "ban", "crnn", folder=tmp_path)


def test_a_torch_model_is_scored(tmp_path: Path) -> None:
    printed = run("score_a_torch_model.py", folder=tmp_path)
    rows = {line.split()[0]: [float(cell) for cell in line.split()[1:]] for line in printed.splitlines()[1:]}
    assert set(rows) == {"shallow", "deep"}
    # the simulated voxels of each region follow one layer, which must win there
    assert rows["shallow"][0] > rows["deep"][0]
    assert rows["deep"][1] > rows["shallow"][1]
