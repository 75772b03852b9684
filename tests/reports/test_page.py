import re
from html.parser import HTMLParser
from urllib.parse import unquote

import lxml.html
import numpy as np
import pandas as pd
import pytest

from ban_bids.errors import DataError
from ban_bids.reports.figures import bar_figure
from ban_bids.reports.page import (
    Bullets,
    Facts,
    Figure,
    Headline,
    Headlines,
    Link,
    Links,
    Listing,
    Paragraphs,
    Section,
    Table,
    format_number,
    render_page,
)

EVIL = "<script>alert('x')</script>\"'&"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def page(*blocks, title="T", status="s"):
    return render_page(title, status, [Section("One & two", blocks)])


class Balanced(HTMLParser):
    """Fails on tags that are not closed in order."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_text_is_escaped():
    blocks = (
        Headlines((Headline(EVIL, EVIL, reason=EVIL),)),
        Paragraphs((EVIL,)),
        Bullets((EVIL,), alert=True),
        Facts(((EVIL, EVIL),)),
        Table(EVIL, pd.DataFrame({EVIL: [EVIL]}), {EVIL: EVIL}, EVIL, folded=True),
        Figure(EVIL, PNG, EVIL, EVIL),
        Listing(EVIL, EVIL),
        Links((Link(EVIL, EVIL),)),
    )
    sections = [Section("One & two", blocks), Section(EVIL, group=EVIL)]
    html = render_page(EVIL, EVIL, sections, [Link(EVIL, EVIL)])
    assert "<script" not in html
    tree = lxml.html.fromstring(html)
    assert not tree.xpath("//script")
    assert tree.findtext(".//h1") == EVIL
    assert tree.xpath("//img/@alt") == [EVIL]
    assert tree.xpath("//td/text()") == [EVIL]
    assert len(tree.xpath("//ul[@class='alert']/li[contains(., 'alert')]")) == 1
    assert [unquote(link) for link in tree.xpath("//p[@class='links']/a/@href")] == [EVIL, EVIL]
    Balanced().feed(html)


def test_nothing_is_loaded_from_elsewhere():
    html = page(Figure("a", PNG, "b"), Figure("c", b"<svg xmlns='http://www.w3.org/2000/svg'></svg>"))
    tree = lxml.html.fromstring(html)
    sources = tree.xpath("//@src | //@href | //@srcset | //@data | //@poster")
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert not re.search(r"url\(|@import", html)
    assert [s.split(";")[0] for s in tree.xpath("//img/@src")] == ["data:image/png", "data:image/svg+xml"]


def test_every_image_has_alternative_text():
    tree = lxml.html.fromstring(page(Figure("Title", PNG, "Caption."), Figure("Other", PNG)))
    assert tree.xpath("//img/@alt") == ["Title. Caption.", "Other. "]


def test_headings_go_down_one_level_at_a_time_and_the_contents_lead_to_them():
    tree = lxml.html.fromstring(page(Headlines((Headline("C", "m", 0.1, 0, 0.2),)), Figure("F", PNG)))
    levels = [int(h.tag[1]) for h in tree.iter("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert (np.diff(levels) <= 1).all()
    targets = tree.xpath("//nav//a/@href")
    assert targets
    assert all(tree.get_element_by_id(target[1:]) is not None for target in targets)
    assert tree.get("lang") == "en"


def test_missing_scores_show_their_reason():
    tree = lxml.html.fromstring(
        page(
            Headlines(
                (
                    Headline("B", "m", float("nan"), reason="no human choices"),
                    Headline("C", "m", 0.5, 0.4, 0.6),
                )
            )
        )
    )
    missing, there = tree.xpath("//div[contains(@class, 'headline') and h3]")
    assert missing.findtext("p[@class='value']") == "n/a"
    assert "no human choices" in missing.text_content()
    assert there.findtext("p[@class='value']") == "0.500"
    assert "0.400 to 0.600" in there.text_content()


def test_empty_sections_say_why():
    html = render_page("T", "s", [Section("Significance", (), "only 24 arrangements")])
    assert "only 24 arrangements" in html


def test_cells_of_numbers_and_of_text():
    frame = pd.DataFrame(
        {
            "x": [0.123456, np.nan],
            "n": [3, 4],
            "why": [None, "so"],
            "nothing": [None, None],
            "ok": [True, False],
        }
    )
    table = Table("t", frame)
    assert table.columns == ["x", "n", "why", "ok"]
    assert [[text for text, _ in row] for row in table.rows] == [
        ["0.123", "3", "", "yes"],
        ["n/a", "4", "so", "no"],
    ]
    assert "n/a" in page(table)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (0.0001234, "1.2e-04"),
        (0, "0.000"),
        (-0.5, "-0.500"),
        (None, "n/a"),
        (np.inf, "n/a"),
    ],
)
def test_numbers(value, text):
    assert format_number(value) == text


def test_what_is_no_image_is_refused(tmp_path):
    with pytest.raises(DataError, match="lost.png"):
        page(Figure("f", tmp_path / "lost.png"))
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(DataError, match=r"x\.png: neither PNG"):
        page(Figure("f", tmp_path / "x.png"))


def test_a_figure_from_a_file_is_embedded(tmp_path):
    from ban_bids.reports.figures import Bars

    png = bar_figure(["A1"], [Bars("BAN", [0.1], [0.0], [0.2])], "score")
    (tmp_path / "x.png").write_bytes(png)
    assert page(Figure("f", tmp_path / "x.png")) == page(Figure("f", png))
