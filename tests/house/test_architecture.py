"""The ways of a clip and of a run, as `docs/architecture.md` draws them, are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from tool_scripts import load

ROOT = Path(__file__).resolve().parents[2]


paths = load("paths")
count_lines = load("count_lines")


@pytest.mark.parametrize("way", paths.WAYS)
def test_every_hop_is_called_by_the_one_above(way: str) -> None:
    assert paths.faults(paths.WAYS[way]) == []


@pytest.mark.parametrize("way", paths.WAYS)
def test_a_way_crosses_few_files_and_ends_in_a_result(way: str) -> None:
    chain = paths.hops(paths.WAYS[way])
    assert len({hop.file for hop in chain}) <= 25
    assert chain[-1].file.startswith(("derivatives/", "files/"))


def test_the_page_is_what_the_tool_draws() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert paths.drawn(page) == page, "run python tools/paths.py --write"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "ban_bids").mkdir()
    (tmp_path / "ban_bids" / "a.py").write_text(
        "from ban_bids.b import work as labour\nimport os\n\n\ndef start():\n    _help()\n\n\ndef _help():\n"
        "    labour()\n    os.stop()\n\n\ndef idle():\n    pass\n"
    )
    (tmp_path / "ban_bids" / "b.py").write_text("def work():\n    pass\n\n\ndef stop():\n    pass\n")
    return tmp_path


@pytest.mark.parametrize(
    ("way", "fault"),
    [
        ("a.py start: x\n  b.py work: y", None),  # through a helper, under another name
        ("a.py start: x\n  b.py stop: y", "does not call"),  # a name alike, of another module
        ("a.py idle: x\n  b.py work: y", "does not call"),
        ("a.py start: x\n  b.py gone: y", "no gone"),
        ("a.py start: x\n  c.py work: y", "no work"),
    ],
)
def test_a_way_that_is_not_the_code_s_is_found(small: Path, way: str, fault: str | None) -> None:
    wrong = paths.faults(way, small)
    assert len(wrong) == (fault is not None)
    assert fault is None or fault in wrong[0]


def test_too_many_files_and_other_lines_are_refused(small: Path) -> None:
    many = "\n".join(f"f{k}.py x: y" for k in range(26))
    assert "26 files, at most 25" in paths.faults(many, small)
    for way in ("a.py start", "a.py start: x\n    b.py work: two steps deep"):
        with pytest.raises(ValueError, match="not 'file.py function: what'"):
            paths.hops(way)


def test_a_diagram_is_a_tree() -> None:
    tree = paths.diagram("a.py f: x\n  b.py g: y\n    c.py h: z\n  d.py i: w")
    assert tree.splitlines()[1:-1] == ["a.py: f      x", "├ b.py: g    y", "│ └ c.py: h  z", "└ d.py: i    w"]


SNIPPET = '''"""Docstring,
of two lines."""

# a comment
import os


class A:
    """One line."""

    x: int = 1
    """Of an attribute."""

    def f(self) -> str:  # counts once
        """Docstring."""
        text = """a string
        that is code"""
        return (
            text
        )
'''


def test_lines_of_code_are_counted() -> None:
    # import, class, x, def, the string's two lines, return and the two lines of its bracket
    assert count_lines.code_lines(SNIPPET) == 9
    assert count_lines.code_lines("") == 0
    assert count_lines.code_lines('"""Only a docstring."""\n') == 0
