"""One self-contained HTML page: plain blocks in, text out. No scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ban_bids import __version__
from ban_bids.constants import NOT_AVAILABLE
from ban_bids.errors import DataError
from ban_bids.files.atomic import write_text
from ban_bids.files.shown import shown


@dataclass(frozen=True)
class Headline:
    """One score, large: ``BAS 0.41 [0.33, 0.49]``, or ``n/a`` and the reason.

    Parameters
    ----------
    name : str
        ``C``, ``B`` or ``BAS``.
    meaning : str
        What it is, in a few words.
    value, low, high : float, optional
        Score and 95 % confidence interval; None or NaN: not available.
    reason : str, optional
        Why it is not available.
    """

    name: str
    meaning: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Headlines:
    """Scores side by side."""

    kind: ClassVar[str] = "headlines"
    items: tuple[Headline, ...]


@dataclass(frozen=True)
class Paragraphs:
    """Running text, one string per paragraph; ``lead`` for that on which a page opens."""

    kind: ClassVar[str] = "paragraphs"
    items: Sequence[str]
    lead: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list, ``alert`` for warnings."""

    kind: ClassVar[str] = "bullets"
    items: Sequence[str]
    alert: bool = False


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    kind: ClassVar[str] = "facts"
    items: Sequence[tuple[str, Any]]


@dataclass(frozen=True, eq=False)
class Table:
    """A table with its title and the meaning of its columns.

    Parameters
    ----------
    title : str
        Caption above the table.
    frame : DataFrame
        Its index is not shown; missing numbers show as ``n/a``, missing text as nothing. Columns without any
        value are left out where ``drop_empty``.
    definitions : mapping of str to str
        Column -> meaning, shown below the table for the columns that are there.
    note : str
        A sentence below the table.
    folded : bool
        Shown only when asked for.
    styles : mapping of (int, str) to str
        (row, column) -> ``number``, ``missing``, ``warned``, instead of what follows from the values.
    alert : bool
        Marked as something that needs attention.
    """

    kind: ClassVar[str] = "table"
    title: str
    frame: pd.DataFrame
    definitions: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    drop_empty: bool = True
    folded: bool = False
    styles: Mapping[tuple[int, str], str] = field(default_factory=dict)
    alert: bool = False

    @property
    def columns(self) -> list[str]:
        """Names of the columns that are shown."""
        frame = self.frame
        return [str(c) for c in frame.columns if not self.drop_empty or frame[c].notna().any() or frame.empty]

    @property
    def rows(self) -> list[list[tuple[str, str]]]:
        """Every cell as (text, style), style being ``number``, ``missing``, ``warned`` or nothing."""
        shown = [self._cells(name) for name in self.columns]
        return [list(row) for row in zip(*shown, strict=True)]

    def _cells(self, column: str) -> list[tuple[str, str]]:
        values = self.frame[column].tolist()
        if any(isinstance(value, str) for value in values):
            cells = [(format_cell(value) if isinstance(value, str) else "", "") for value in values]
        else:
            texts = [format_cell(value) for value in values]
            cells = [(text, "number missing" if text == NOT_AVAILABLE else "number") for text in texts]
        return [(text, self.styles.get((row, column), style)) for row, (text, style) in enumerate(cells)]


@dataclass(frozen=True)
class Figure:
    """An image that is embedded in the page.

    Parameters
    ----------
    title : str
        Heading.
    image : bytes or Path
        PNG or SVG.
    caption : str
        What is to be seen, with units.
    alt : str
        For those who cannot see it; the title and caption where empty.
    folded : bool
        Shown only when asked for.
    """

    kind: ClassVar[str] = "figure"
    title: str
    image: bytes | Path
    caption: str = ""
    alt: str = ""
    folded: bool = False


@dataclass(frozen=True, eq=False)
class Pair:
    """Two figures beside each other, or below each other on a narrow screen."""

    kind: ClassVar[str] = "pair"
    first: Figure
    second: Figure


@dataclass(frozen=True)
class Listing:
    """Verbatim text, folded away under its title."""

    kind: ClassVar[str] = "listing"
    title: str
    text: str


@dataclass(frozen=True)
class Link:
    """Another file of the derivatives folder.

    Parameters
    ----------
    text : str
    name : str
        Path relative to the page.
    """

    text: str
    name: str

    @property
    def address(self) -> str:
        """Relative address, with what has a meaning in addresses escaped."""
        return quote(self.name)


@dataclass(frozen=True)
class Links:
    """Links to other files, within the page."""

    kind: ClassVar[str] = "links"
    items: Sequence[Link]


Block = Headlines | Paragraphs | Bullets | Facts | Table | Figure | Pair | Listing | Links


@dataclass(frozen=True)
class Section:
    """A part of the page with an entry in its table of contents.

    Parameters
    ----------
    title : str
        Heading.
    blocks : sequence of Block
        Content.
    empty : str
        Said where there is no content: the reason.
    group : str
        Neighbouring sections of one group share an entry of the table of contents, which unfolds.
    """

    title: str
    blocks: Sequence[Block] = ()
    empty: str = "Nothing to show."
    group: str = ""

    @property
    def anchor(self) -> str:
        """Name of the section within the page."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def render_page(title: str, status: str, sections: Sequence[Section], links: Sequence[Link] = ()) -> str:
    """Fill the template.

    Parameters
    ----------
    title : str
        Heading of the page.
    status : str
        One line below it.
    sections : sequence of Section
        In the order of the page.
    links : sequence of Link
        To other files of the folder, at the top.

    Returns
    -------
    str
        HTML. Every text is escaped; images are embedded.

    Raises
    ------
    DataError
        An image is missing or of an unknown format.
    """
    template = _environment().get_template("page.html")
    return template.render(title=title, status=status, sections=sections, links=links, version=__version__)


def add_links(page: Path, links: Sequence[Link]) -> None:
    """Put links into a page that was made when there was nothing to link to; one that has links stays as it is.

    Parameters
    ----------
    page : Path
        Made by :func:`render_page`.
    links : sequence of Link
    """
    text = page.read_text(encoding="utf-8")
    place = _environment().get_template("links.html").render(links=())
    if place in text:
        write_text(page, text.replace(place, _environment().get_template("links.html").render(links=links), 1))


def _contents(sections: Sequence[Section]) -> list[tuple[str, list[Section]]]:
    """Neighbouring sections by their group, for the table of contents."""
    return [(name, list(own)) for name, own in groupby(sections, key=lambda section: section.group)]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ban_bids.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        finalize=lambda value: shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )  # fmt: skip
    environment.filters.update(cell=format_cell, number=format_number, data_uri=data_uri, contents=_contents)
    return environment


def format_number(value: float | None) -> str:
    """Three decimals; fewer digits than that would hide a small p value, so those get two figures.

    Parameters
    ----------
    value : float or None
        Any number.

    Returns
    -------
    str
        ``n/a`` for None and what is not finite.
    """
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    if value != 0 and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}"


def format_cell(value: Any) -> str:
    """Text of a table's cell: integers whole, other numbers by :func:`format_number`, ``n/a`` for none."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(value)
    if isinstance(value, float | np.floating):
        return format_number(float(value))
    return NOT_AVAILABLE if value is None or value is pd.NA or value is pd.NaT else str(value)


def data_uri(image: bytes | Path) -> str:
    """Image as a ``data:`` address.

    Parameters
    ----------
    image : bytes or Path
        PNG or SVG.

    Returns
    -------
    str

    Raises
    ------
    DataError
        The file cannot be read or is no such image.
    """
    try:
        content = image if isinstance(image, bytes) else image.read_bytes()
    except OSError as error:
        raise DataError(f"{image!s}: figure of the report cannot be read ({error.strerror})") from error
    kind = "png" if content.startswith(b"\x89PNG") else "svg+xml" if b"<svg" in content[:2048] else None
    if kind is None:
        source = image if isinstance(image, Path) else "figure"
        raise DataError(f"{source}: neither PNG nor SVG; write it in one of these formats")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
