#!/usr/bin/env python3
"""Count lines of code (no blank lines, comments or docstrings) and modules of each room of the package.

    python tools/count_lines.py [--root DIR] [--files]

Tests, benchmarks and this folder are never counted; the total is given with and without the demo.
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

PACKAGES = ("ban_bids", "bids_app")
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def docstring_lines(tree: ast.Module) -> set[int]:
    """Return the numbers of all lines that belong to docstrings, attribute docstrings included."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if (
                isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Constant)
                and isinstance(statement.value.value, str)
            ):
                lines.update(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    return lines


def code_lines(source: str) -> int:
    """Return how many lines of a module's source hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(ast.parse(source)))


def room(path: Path) -> str:
    """Return the folder below the package that a module lies in, or the package itself."""
    return "/".join(path.parts[:2]) if len(path.parts) > 2 else path.parts[0]


def main() -> None:
    """Print a line per room and the totals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--files", action="store_true", help="a line per module too, longest first")
    options = parser.parse_args()
    counts = {
        path.relative_to(options.root): code_lines(path.read_text(encoding="utf-8"))
        for package in PACKAGES
        for path in sorted((options.root / package).rglob("*.py"))
    }
    lines, modules = Counter[str](), Counter[str]()
    for path, count in counts.items():
        lines[room(path)] += count
        modules[room(path)] += bool(count)
    if options.files:
        for path, count in sorted(counts.items(), key=lambda item: -item[1]):
            print(f"{count:6d}  {path}")
    for name in sorted(lines):
        print(f"{lines[name]:6d} lines {modules[name]:4d} modules  {name}")
    total, of_demo = sum(lines.values()), lines["ban_bids/demo"]
    print(f"{total:6d} lines {sum(modules.values()):4d} modules  in all")
    print(f"{total - of_demo:6d} lines {sum(modules.values()) - modules['ban_bids/demo']:4d} modules  without the demo")


if __name__ == "__main__":
    main()
