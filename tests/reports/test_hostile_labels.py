"""Pages and the closing table with labels that hold HTML, markup and escape sequences."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from ban_bids.app.outcome import Outcome, show_table
from ban_bids.reports.page import Bullets, Facts, Link, Listing, Paragraphs, Section, Table, render_page

_HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J\u202e{{ 7*7 }}'


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_nothing_on_a_page_acts() -> None:
    frame = pd.DataFrame({_HOSTILE: [_HOSTILE, "x"]})
    blocks = [
        Paragraphs([_HOSTILE]), Bullets([_HOSTILE]), Facts([(_HOSTILE, _HOSTILE)]), Listing(_HOSTILE, _HOSTILE),
        Table(_HOSTILE, frame, definitions={_HOSTILE: _HOSTILE}, note=_HOSTILE, folded=True),
    ]  # fmt: skip
    sections = [Section(_HOSTILE, blocks, group=_HOSTILE), Section(_HOSTILE, empty=_HOSTILE)]
    page = render_page(_HOSTILE, _HOSTILE, sections, [Link(_HOSTILE, _HOSTILE)])
    tags = _Tags()
    tags.feed(page)
    assert not {tag for tag, _ in tags.found} & {"script", "img", "iframe", "object"}
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    assert "\x1b" not in page and "\u202e" not in page and "\\x1b[2J" in page and "{{ 7*7 }}" in page


def test_the_closing_table_takes_labels_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show_table([Outcome("01", failure="[red]a[/blue] :smile: \x1b[2J\nsub-02 done")])
    told = capsys.readouterr().out
    assert "[red]a[/blue] :smile:" in told and "\\x1b[2J" in told and "\x1b" not in told
    assert not any(line.strip().startswith("sub-02") for line in told.splitlines())


def test_names_that_are_no_utf8_can_be_written(tmp_path: Path) -> None:
    from ban_bids.files.atomic import write_text
    from ban_bids.files.json import read_json, write_json

    write_text(tmp_path / "a.txt", "a\udcff")
    assert read_json(write_json(tmp_path / "a.json", {"name": "a\udcff"})) == {"name": "a\udcff"}
