"""Layers and acyclicity: import-linter's contracts of pyproject.toml hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CALL = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CALL, "--no-cache", "--no-logo"], cwd=root, capture_output=True, text=True, check=False
    )


def test_import_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kept, 0 broken" in done.stdout


def test_contracts_see_what_they_are_for(tmp_path: Path) -> None:
    # a small package with the same contracts: an upward import, a circle inside one room, a guest of the demo
    rooms = ("cli", "demo", "listen", "app", "reports", "derivatives", "scoring", "encoding", "training",
             "preprocessing", "models", "audio", "inputs", "bids", "files")  # fmt: skip
    for package in ("bids_app", "ban_bids", *(f"ban_bids/{room}" for room in rooms)):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    for module in ("settings", "constants", "errors"):
        (tmp_path / "ban_bids" / f"{module}.py").touch()
    (tmp_path / "ban_bids/__init__.py").write_text("from ban_bids import errors\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert lint_imports(tmp_path).returncode == 0, lint_imports(tmp_path).stdout
    (tmp_path / "ban_bids/files/a.py").write_text("def f():\n    from ban_bids.bids import x\n")
    (tmp_path / "ban_bids/inputs/a.py").write_text("import ban_bids.inputs.b\n")
    (tmp_path / "ban_bids/inputs/b.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ban_bids.inputs.a\n"
    )
    (tmp_path / "bids_app/a.py").write_text("import ban_bids.demo\n")
    broken = lint_imports(tmp_path)
    assert "0 kept, 3 broken" in broken.stdout, broken.stdout + broken.stderr
