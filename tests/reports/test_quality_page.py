import lxml.html
import pytest
from fake_derivatives import SPACE, TASK, fake_settings, make_tree

from ban_bids import load_derivatives
from ban_bids.app.group import group_level
from ban_bids.derivatives.quality import write_quality
from ban_bids.derivatives.summaries import ParticipantSummary, write_summary
from ban_bids.files.write import read_json
from ban_bids.preprocessing.quality.thresholds import Measurement, quality_notes
from ban_bids.reports.figures import Bars, bar_figure
from ban_bids.reports.participant import render_participant

CARPET = "sub-01_task-music_run-{}_desc-carpet.png"
SECTION = "//section[h2='Preprocessing quality']"


def measurements(fd: float, other: float = 0.1) -> list[Measurement]:
    return [
        Measurement("fd_mean", fd, "task-music_run-1"),
        Measurement("fd_mean", other, "task-music_run-2"),
        Measurement("tsnr_brain", 55.0, "task-music_run-1"),
        Measurement("tsnr_brain", 54.0, "task-music_run-2"),
        Measurement("bold_t1w_dice", float("nan"), "task-music_run-1", reason="no T1w image"),
        Measurement("registration_correlation", 0.8),
        Measurement("region_voxels", 44.0, region="A1"),
    ]


@pytest.fixture
def page(tmp_path):
    tree = make_tree(tmp_path / "out", ["01"], layers=("A1",))
    found = measurements(0.8)
    write_quality(tree.root, "01", found, "ban-bids")
    names = ["sub-01_desc-motion.png"] + [CARPET.format(n) for n in (1, 2, 3)]
    for name in names:
        path = tree.root / "sub-01" / "figures" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bar_figure(["a"], [Bars("b", [1.0], [0.5], [1.5])], "c"))
    pictures = [(f"Picture {name}", f"sub-01/figures/{name}") for name in names]
    summary = ParticipantSummary("01", TASK, SPACE, notes=quality_notes(found), figures=pictures)
    write_summary(tree.root, summary)
    return lxml.html.parse(str(render_participant(tree.root, "01"))).getroot()


def test_a_value_beyond_its_threshold_is_marked_once_and_told(page):
    marked = page.xpath(f"{SECTION}//td[contains(@class, 'warned')]")
    assert [cell.text for cell in marked] == ["⚠ 0.80"]
    text = page.xpath(SECTION)[0].text_content()
    assert "1 value lies beyond a threshold" in text
    warnings = page.xpath("//section[h2='Warnings']")[0].text_content()
    assert "task-music_run-1: mean FD 0.8 mm, above 0.5 mm; look at" in warnings


def test_runs_are_rows_and_measures_columns_with_units(page):
    table = page.xpath(f"{SECTION}//table[caption='Runs: signal and head motion']")[0]
    assert table.xpath(".//th/text()") == ["run", "tSNR, brain", "mean FD, mm"]
    assert [row.xpath("./td/text()") for row in table.xpath("./tbody/tr")] == [
        ["task-music_run-1", "55.00", "⚠ 0.80"],
        ["task-music_run-2", "54.00", "0.10"],
    ]
    assert "n/a, overlap with the T1w mask: no T1w image." in page.xpath(SECTION)[0].text_content()


def test_only_two_carpets_are_in_sight(page):
    images = page.xpath(f"{SECTION}//img")
    assert len(images) == 4
    folded = page.xpath(f"{SECTION}//details[figure]")
    assert [part.findtext("summary") for part in folded] == ["Picture sub-01_task-music_run-3_desc-carpet.png"]
    assert all("0.5 mm" in text for text in page.xpath(f"{SECTION}//figure[.//img]//figcaption/text()")[1:])


def test_the_group_shows_outliers_and_warnings(tmp_path):
    labels = [f"{n:02d}" for n in range(1, 7)]
    tree = make_tree(tmp_path / "out", labels, layers=("A1",))
    for n, fd in enumerate((0.10, 0.12, 0.14, 0.11, 0.13, 0.45)):
        write_quality(tree.root, labels[n], measurements(fd, 0.1 + 0.007 * n), "ban-bids")
    group_level(tree.root, fake_settings(tree.root, "group"))
    table = load_derivatives(tree.root).group_quality()
    assert len(table) == 6 * 7
    found = table[table["outlier"].notna()]
    assert found[["participant", "measure", "outlier"]].values.tolist() == [["06", "fd_mean", "high"]]
    assert "Iglewicz" in read_json(tree.root / "group_quality.json")["OutlierRule"]
    page = lxml.html.parse(str(tree.root / "group.html")).getroot()
    rows = page.xpath(f"{SECTION}//table[caption='Outliers and warnings']/tbody/tr")
    assert [row.xpath("./td/text()") for row in rows] == [["sub-06", "task-music_run-1", "mean FD, mm", "0.45", "high"]]
    people = page.xpath(f"{SECTION}//table[caption='Each participant']/tbody/tr")
    assert people[5].xpath("./td/text()")[:3] == ["sub-06", "54.00", "0.45"]


def test_a_group_without_measures_says_so(tmp_path):
    tree = make_tree(tmp_path / "out", ["01"], layers=("A1",))
    group_level(tree.root, fake_settings(tree.root, "group"))
    page = lxml.html.parse(str(tree.root / "group.html")).getroot()
    assert "No participant has a table of measures" in page.xpath(SECTION)[0].text_content()
