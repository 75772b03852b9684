"""Figures and tables of the results page as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

NA = "n/a"
NONE = "–"


def interval(figure: dict[str, Any] | None) -> str:
    """Value and 95 % interval, or the value and its range over trainings where there is no interval."""
    if figure is None:
        return NA
    if figure.get("ci95") is None:
        return f"{figure['value']:.3f} ({figure['lowest']:.3f} to {figure['highest']:.3f})"
    low, high = figure["ci95"]
    return f"{figure['value']:.3f} [{low:.3f}, {high:.3f}]"


def signed(figure: dict[str, Any] | None, key: str = "ci95") -> str:
    """A difference with its interval."""
    if figure is None:
        return NONE
    if figure.get(key) is None:
        return f"{figure['value']:+.3f}"
    low, high = figure[key]
    return f"{figure['value']:+.3f} [{low:+.3f}, {high:+.3f}]"


def spread(figure: dict[str, Any] | None) -> str:
    """The interval of a difference over tracks and seeds."""
    if figure is None:
        return NONE
    bounds = figure.get("ci95_seeds")
    return NA if bounds is None else f"[{bounds[0]:+.3f}, {bounds[1]:+.3f}]"


def short(figure: dict[str, Any] | None) -> str:
    """A value of two digits."""
    return NA if figure is None else f"{figure['value']:.2f}"


def p_value(value: float) -> str:
    """Three digits."""
    return "< .001" if value < 0.001 else f"{value:.3f}"


def count(value: float) -> str:
    """A whole number, its thousands apart."""
    return f"{value:,.0f}".replace(",", " ")


def millions(value: float | None) -> str:
    """In millions."""
    return NA if value is None else f"{value / 1e6:.1f}"


def names(of: Iterable[str]) -> str:
    """Names as code, sorted."""
    return ", ".join(f"`{name}`" for name in sorted(of)) or "none"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def found(figure: dict[str, Any], *, up: str, down: str, neither: str) -> str:
    """Which of three a difference says, by the widest interval that it has."""
    low, high = figure.get("ci95_seeds") or figure.get("ci95") or (-1.0, 1.0)
    return up if low > 0 else down if high < 0 else neither
