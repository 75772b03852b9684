"""ruff, mypy and codespell are part of the tests, and so are the project's rules about its tree and its prose."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LONGEST_LINE = 120
GENERATED = ("docs/results.md", "docs/speed.md")
"""Pages that scripts in ``benchmarks/`` write."""


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["codespell_lib"],
    ],
    ids=lambda command: " ".join(command),
)
def test_checker_passes(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_test_files_have_names_of_their_own() -> None:
    # pytest imports them by their stem: of two with one stem only the first would run
    stems = [path.stem for path in ROOT.glob("tests/**/test_*.py")]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    assert not twice, f"test files of the same name: {twice}"


def tracked(*patterns: str) -> list[str]:
    """Files of the project that match, from the folder where git is not there."""
    paths = [path for pattern in patterns for path in ROOT.glob(pattern)]
    hidden = {".venv", "demo", "build", ".cache"}
    return sorted(str(path.relative_to(ROOT)) for path in paths if not hidden & set(path.relative_to(ROOT).parts))


def prose() -> list[str]:
    return [name for name in tracked("*.md", "docs/**/*.md", "examples/**/*.md") if name not in GENERATED]


def test_lines_of_prose_are_not_long() -> None:
    long = [
        f"{name}:{number}"
        for name in prose()
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LONGEST_LINE and not line.startswith("|")  # a row of a table cannot be broken
    ]
    assert not long, f"lines over {LONGEST_LINE} characters: {long}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


_COUNTED = r"(one|an?|\d+) (row|line|file|map|value|time|matrix|folder|picture|plot|note|kernel|answer)s? an?"
_PER = r"(participant|run|layer|area|region|voxel|model|clip|track|volume|slice|session|genre|value|map|statistic)"
_RATE = r"(once an? (clip|participant|run|model)|(times|frames|GB|kB|ms) a (second|minute|run))"
_DIALECT = re.compile(rf"\b(told of|tells of|{_COUNTED} {_PER}|{_RATE})\b")


def test_prose_says_per_and_reported() -> None:
    texts = [*prose(), *tracked("ban_bids/**/*.txt", "ban_bids/cli/*.py")]
    found = [
        f"{name}: {' '.join(match.group().split())}"
        for name in texts
        for match in _DIALECT.finditer(" ".join((ROOT / name).read_text(encoding="utf-8").split()))
    ]
    assert not found, "\n".join(found)


def test_every_room_says_what_lives_there() -> None:
    wrong = []
    for path in sorted(ROOT.glob("ban_bids/*/**/__init__.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        modules = {p.stem for p in path.parent.glob("*.py")} - {"__init__"}
        inside = modules | {p.parent.name for p in path.parent.glob("*/__init__.py")}
        named = set(re.findall(r"``(\w+)``", text.partition("Read in this order")[2].partition("\n\n")[0]))
        wrong += [f"{path.relative_to(ROOT)}: says nothing of {name}" for name in sorted(modules - named)]
        wrong += [f"{path.relative_to(ROOT)}: there is no {name}" for name in sorted(named - inside)]
    assert not wrong, "\n".join(wrong)


_LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)(?:#([^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for name in [*prose(), *GENERATED]:
        for target, anchor in _LINK.findall((ROOT / name).read_text(encoding="utf-8")):
            page = (ROOT / name).parent / target
            if not page.exists() or (anchor and anchor not in anchors(page)):
                broken.append(f"{name}: {target}#{anchor}")
    assert not broken, "\n".join(broken)


def test_the_citation_file_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_configuration_of_habits_names_what_is_there() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert {"ruff-check", "ruff-format", "codespell", "mypy", "imports"} <= {hook["id"] for hook in hooks}
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
        for step in (step for job in jobs.values() for step in job["steps"] if "run" in step):
            for script in re.findall(r"\b[\w/]+\.(?:sh|py)\b", step["run"]):
                assert (ROOT / script).is_file(), f"{path.name}: {script}"
    workflows = {path.stem for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    assert workflows == {"tests", "docs", "image", "cluster"}
    assert (ROOT / "ban_bids" / "py.typed").is_file()
