"""What is declared is what is used, pinned and tried: dependencies, Python versions, the version itself."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import ban_bids

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
AT_RUN_TIME = ("pretrained", "listen")
"""Extras for parts of the package itself."""


def direct(extras: Iterable[str] = tuple(PROJECT["optional-dependencies"])) -> dict[str, SpecifierSet]:
    """Direct dependencies with their bounds, by canonical name, those of the extras too."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    found: dict[str, SpecifierSet] = {}
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        if name != PROJECT["name"]:
            found[name] = found.get(name, SpecifierSet()) & requirement.specifier
    return found


def lower_bound(bounds: SpecifierSet) -> Version | None:
    found = [Version(bound.version.removesuffix(".*")) for bound in bounds if bound.operator in (">=", "==")]
    return max(found, default=None)


def wrongly_pinned(dependencies: Mapping[str, SpecifierSet], constraints: str) -> list[str]:
    """Faults of the constraints: what has no pin, or one outside the bounds."""
    lines = [line for line in constraints.splitlines() if line and not line.startswith("#")]
    pins = {canonicalize_name(name): pin for name, _, pin in (line.partition("==") for line in lines)}
    return [
        f"{name}{bounds}: pinned to {pins.get(name)}"
        for name, bounds in dependencies.items()
        if name not in pins or not bounds.contains(pins[name])
    ]


def test_every_direct_dependency_is_pinned_within_its_bounds() -> None:
    assert not wrongly_pinned(direct(), (ROOT / "constraints.txt").read_text(encoding="utf-8"))


def test_missing_and_wrong_pins_are_seen() -> None:
    bounds = {"some-library": SpecifierSet(">=2,<4")}
    assert wrongly_pinned(bounds, "# a comment\nSome_Library==3.1\n") == []
    assert wrongly_pinned(bounds, "other==3.1\n") == ["some-library<4,>=2: pinned to None"]
    assert wrongly_pinned(bounds, "some-library==4.0\n") == ["some-library<4,>=2: pinned to 4.0"]


def test_every_direct_dependency_has_a_lower_bound() -> None:
    assert not [name for name, bounds in direct().items() if lower_bound(bounds) is None]
    assert lower_bound(SpecifierSet("<3")) is None and lower_bound(SpecifierSet("==2.11.*")) == Version("2.11")


@pytest.mark.skipif("BAN_BIDS_LOWEST" not in os.environ, reason="the versions here are not the lowest (nox -s lowest)")
def test_what_runs_here_are_the_lower_bounds() -> None:
    wanted = {name: lower_bound(bounds) for name, bounds in direct(("test",)).items()}
    other = [f"{name}: {version(name)}, not {low}" for name, low in wanted.items() if Version(version(name)) != low]
    assert not other, f"bounds below what can be installed: {other}"


def imported(path: Path) -> set[str]:
    """Names of the packages that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def undeclared(folders: Iterable[Path], declared: Iterable[str]) -> dict[str, str]:
    """Packages that are imported and not declared, with a file that imports them."""
    known = {canonicalize_name(name) for name in (*declared, PROJECT["name"])}
    owners = {module: set(map(canonicalize_name, of)) for module, of in packages_distributions().items()}
    files = [path for folder in folders for path in ([folder] if folder.is_file() else sorted(folder.rglob("*.py")))]
    uses = {name: str(path.relative_to(path.parents[1])) for path in files for name in imported(path)}
    ours = {path.stem for path in files} | {path.parent.name for path in files}
    return {
        name: path
        for name, path in sorted(uses.items())
        if name not in ours | sys.stdlib_module_names and name in owners and not owners[name] & known
    }


def test_the_package_imports_only_what_it_declares() -> None:
    assert not undeclared([ROOT / "ban_bids", ROOT / "bids_app"], direct(AT_RUN_TIME))


def test_tests_docs_and_scripts_import_only_what_is_declared() -> None:
    folders = ("tests", "benchmarks", "tools", "examples", "docs/conf.py", "noxfile.py")
    assert not undeclared([ROOT / name for name in folders], direct())


def test_an_undeclared_import_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import sys\n\ndef f():\n    from numpy.linalg import svd\n    import scipy.stats\n")
    assert undeclared([tmp_path], ["NumPy"]) == {"scipy": f"{tmp_path.name}/a.py"}
    assert undeclared([tmp_path], ["numpy", "scipy"]) == {}


def test_each_python_that_is_declared_is_tried() -> None:
    found = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in PROJECT["classifiers"])
    declared = [match[1] for match in found if match]
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(f">={declared[0]}")
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["tests"]["strategy"]["matrix"]["python"] == declared
    setup = next(step for step in jobs["lowest"]["steps"] if "setup-python" in step.get("uses", ""))
    assert setup["with"]["python-version"] == declared[0]
    assert f"Python {declared[0]} to {declared[-1]}" in (ROOT / "README.md").read_text(encoding="utf-8")


def validate(citation: Path) -> subprocess.CompletedProcess[str]:
    code = "from cffconvert.cli.cli import cli; cli()"
    command = [sys.executable, "-W", "ignore", "-c", code, "--validate", "-i", str(citation)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_citation_file_follows_its_schema(tmp_path: Path) -> None:
    done = validate(ROOT / "CITATION.cff")
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "CITATION.cff"
    broken.write_text((ROOT / "CITATION.cff").read_text(encoding="utf-8").replace("type: article", "type: paper"))
    assert validate(broken).returncode != 0


KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def malformed(changes: str) -> list[str]:
    """Faults of a change log: headings of releases and kinds are those of Keep a Changelog, the newest first."""
    faults: list[str] = []
    last = date.max
    for line in re.findall(r"^##+ .*$", changes, re.MULTILINE):
        release = re.fullmatch(r"## \d+\.\d+\.\d+ - (\d{4}-\d\d-\d\d)", line)
        if release:
            faults += [f"{line}: newer than the one above"] if date.fromisoformat(release[1]) > last else []
            last = date.fromisoformat(release[1])
        elif line != "## Unreleased" and line.removeprefix("### ") not in KINDS:
            faults.append(line)
    return faults


def test_changes_are_in_their_form() -> None:
    assert not malformed((ROOT / "CHANGES.md").read_text(encoding="utf-8"))
    wrong = "## Unreleased\n### New\n## 0.1.0\n## 0.1.0 - 2026-01-02\n## 0.2.0 - 2026-02-01\n### Fixed\n"
    assert malformed(wrong) == ["### New", "## 0.1.0", "## 0.2.0 - 2026-02-01: newer than the one above"]


def misnamed(own: str, changes: str, citation: Mapping[str, Any]) -> list[str]:
    """Faults of a tree's version: a release is what it is called, what comes after it is on the way to the next one."""
    known, newest = Version(own), re.findall(r"^## (.*)$", changes, re.MULTILINE)
    faults = [] if str(known) == own else [f"{own}: PEP 440 writes {known}"]
    faults += [] if citation["version"] == own else [f"CITATION.cff: {citation['version']}, not {own}"]
    released = citation.get("date-released")
    if known.is_devrelease:
        last = max((Version(line.split()[0]) for line in newest if line != "Unreleased"), default=Version("0"))
        faults += [] if Version(known.base_version) > last else [f"{own}: is not after {last}"]
        faults += [] if released is None else [f"CITATION.cff: {own} was not released on {released}"]
        faults += [] if newest[0] == "Unreleased" else [f"CHANGES.md: {own} has no Unreleased on top"]
    elif newest[0] != f"{own} - {released}":
        faults.append(f"CHANGES.md: has {newest[0]} on top, not {own} - {released}")
    return faults


def test_the_tree_is_called_what_it_is() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert not misnamed(PROJECT["version"], (ROOT / "CHANGES.md").read_text(encoding="utf-8"), citation)


@pytest.mark.parametrize(
    ("own", "released", "top", "fault"),
    [
        ("0.2.0", "2026-02-01", "## 0.2.0 - 2026-02-01\n", None),
        ("0.3.0.dev0", None, "## Unreleased\n", None),
        ("0.2.0", "2026-02-01", "## Unreleased\n", "has Unreleased on top"),  # code after a release under its name
        ("0.2.0", "2026-02-03", "", "not 0.2.0 - 2026-02-03"),
        ("0.2.0.dev0", None, "## Unreleased\n", "is not after 0.2.0"),
        ("0.3.0.dev0", "2026-02-01", "## Unreleased\n", "was not released"),
        ("0.3.0.dev0", None, "", "no Unreleased on top"),
        ("0.3.0-dev", None, "## Unreleased\n", "PEP 440 writes 0.3.0.dev0"),
    ],
)
def test_a_wrong_name_is_seen(own: str, released: str | None, top: str, fault: str | None) -> None:
    changes = top + ("" if "0.2.0" in top else "## 0.2.0 - 2026-02-01\n") + "## 0.1.0 - 2026-01-01\n"
    citation = {"version": own} | ({} if released is None else {"date-released": released})
    faults = misnamed(own, changes, citation)
    assert (fault in faults[0] and len(faults) == 1) if fault else not faults
    assert len(misnamed(own, changes, {**citation, "version": "0.0.1"})) == len(faults) + 1


def test_a_checkout_has_its_own_version_whatever_was_installed_from_it(tmp_path: Path) -> None:
    assert ban_bids.__version__ == PROJECT["version"]
    project = tmp_path / "pyproject.toml"
    assert ban_bids._version(project) == version("ban-bids")
    project.write_text('[project]\nname = "other"\nversion = "7"\n')
    assert ban_bids._version(project) == version("ban-bids")
    project.write_text('[project]\nname = "ban-bids"\nversion = "7"\n')
    assert ban_bids._version(project) == "7"


def test_the_version_is_written_in_one_place() -> None:
    literal = re.compile(rf"(?<![\d.]){re.escape(PROJECT['version'])}(?![\d.])")
    sources = [path for name in ("ban_bids", "bids_app", "docs") for path in (ROOT / name).rglob("*.py")]
    assert not [str(path) for path in sources if literal.search(path.read_text(encoding="utf-8"))]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["keywords"] == PROJECT["keywords"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
