"""The pages are built by Sphinx without a warning: references resolve, docstrings parse, every module has its place."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("_build", "api"))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", folder / "docs", folder / "html"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_pages_are_built_without_a_warning(built: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.stem for path in built.glob("*.html")}


def test_every_room_has_a_page_with_its_modules(built: Path) -> None:
    for room in (path.parent for path in ROOT.glob("ban_bids/*/__init__.py")):
        page = (built / "api" / f"{room.name}.html").read_text(encoding="utf-8")
        for module in room.rglob("*.py"):
            dotted = ".".join(module.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            assert f'id="module-{dotted}"' in page, dotted


def test_what_the_api_page_names_is_there(built: Path) -> None:
    named = re.findall(r"`(ban_bids\.[\w.]+)`", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
    page = (built / "api.html").read_text(encoding="utf-8")
    assert len(named) >= 10
    for name in named:
        assert re.search(rf'href="api/\w+\.html#{re.escape(name)}"', page), name
