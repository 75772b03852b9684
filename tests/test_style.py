"""ruff and mypy are part of the tests, and so are the project's own rules about its tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
    ],
    ids=lambda command: " ".join(command),
)
def test_checker_passes(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_modules_stay_readable() -> None:
    long = {
        str(path.relative_to(ROOT)): n
        for path in [*ROOT.glob("ban_bids/**/*.py"), *ROOT.glob("bids_app/*.py")]
        if (n := len(path.read_text().splitlines())) > 400
    }
    assert not long, f"files over 400 lines: {long}"


def test_test_files_have_names_of_their_own() -> None:
    # pytest imports them by their stem: of two with one stem only the first would run
    stems = [path.stem for path in ROOT.glob("tests/**/test_*.py")]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    assert not twice, f"test files of the same name: {twice}"


_ORDER = [
    "inputs", "preprocessing", "audio", "models", "training",
    "encoding", "scoring", "outputs", "reports", "demo",
]  # fmt: skip


def test_a_module_imports_only_what_stands_before_it() -> None:
    import ast

    wrong = []
    for path in ROOT.glob("ban_bids/*/*.py"):
        package = path.parent.name
        if package not in _ORDER:
            continue
        later = _ORDER[_ORDER.index(package) + 1 :]
        if package == "demo":  # the demo drives the whole app, from above
            continue
        # functions may import upwards nowhere either; only types are free
        tree = ast.parse(path.read_text())
        typing_only = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or id(node) in typing_only or not node.module:
                continue
            parts = node.module.split(".")
            if parts[0] == "ban_bids" and len(parts) > 1 and parts[1] in [*later, "pipeline", "group", "cli"]:
                wrong.append(f"{path.relative_to(ROOT)} imports {node.module}")
    assert not wrong, "\n".join(wrong)
