"""Who failed is told at the top of both pages, with the reason and the log."""

import lxml.html
import pytest
from fake_derivatives import TASK, fake_settings, make_tree

from ban_bids.app.group import group_level
from ban_bids.derivatives.provenance import write_status
from ban_bids.errors import DataError
from ban_bids.reports.participant import render_participant

WHY = "features are not finite <script>x</script>"


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "out", ["01", "02"], layers=("A1",))


def page(path):
    return lxml.html.parse(str(path)).getroot()


def errors(tree, name):
    return [row.xpath("./td/text()") for row in page(tree.root / name).xpath("//section[h2='Errors']//tbody/tr")]


def crash(tree, label, text):
    (tree.root / "logs" / f"{label}_crash.txt").write_text(f"Traceback\n{text}\n")


def test_models_and_participants_that_failed_stand_first_with_their_logs(tree):
    write_status(tree.root, "02", "failed", WHY, model="panns")
    crash(tree, f"sub-02_task-{TASK}_desc-panns", f"DataError: {WHY}")
    write_status(tree.root, "03", "failed", "run-02_bold.nii.gz: 3-D")
    crash(tree, "sub-03", "DataError: of an earlier failure")
    render_participant(tree.root, "01")
    render_participant(tree.root, "02")
    group_level(tree.root, fake_settings(tree.root, "group"))
    of_model = ["sub-02", "panns", WHY, f"logs/sub-02_task-{TASK}_desc-panns_crash.txt"]
    assert errors(tree, "sub-02.html") == [of_model]
    of_participant = ["sub-03", "all", "run-02_bold.nii.gz: 3-D", "logs/sub-03_status.json"]
    assert errors(tree, "group.html") == [of_model, of_participant]
    assert errors(tree, "sub-01.html") == []
    for name, told in (("group.html", "2 missing, see Errors"), ("sub-02.html", "1 failed, see Errors")):
        html = page(tree.root / name)
        assert html.xpath("//h2/text()")[0] == "Errors" and not html.xpath("//script")
        assert told in html.xpath("//p[@class='status']/text()")[0]


def test_scores_of_an_earlier_call_are_not_said_to_be_missing(tree):
    write_status(tree.root, "01", "failed", WHY, model="ban")
    crash(tree, f"sub-01_task-{TASK}_desc-ban", f"DataError: {WHY}")
    html = page(render_participant(tree.root, "01"))
    assert "Model ban" in html.xpath("//h2/text()")
    [section] = html.xpath("//section[h2='Errors']")
    [[*_, reason, log]] = errors(tree, "sub-01.html")
    assert reason == f"{WHY}; its scores on this page are those of an earlier call"
    assert log == f"logs/sub-01_task-{TASK}_desc-ban_crash.txt" and "missing" not in section.text_content()


def test_damaged_logs_of_others_leave_a_page_as_it_is(tree):
    before = render_participant(tree.root, "01").read_text()
    write_status(tree.root, "02", "failed", WHY)
    for path in (tree.root / "logs").glob("sub-02_*.json"):
        path.write_text("{")
    assert render_participant(tree.root, "01").read_text() == before
    with pytest.raises(DataError, match="sub-02"):
        render_participant(tree.root, "02")


def test_without_failures_there_is_no_section(tree):
    group_level(tree.root, fake_settings(tree.root, "group"))
    html = page(tree.root / "group.html")
    assert "Errors" not in html.xpath("//h2/text()")
    assert "nobody is missing" in html.xpath("//p[@class='status']/text()")[0]


def test_pages_link_to_those_that_exist(tree):
    render_participant(tree.root, "01")
    assert not page(tree.root / "sub-01.html").xpath("//header//a")
    group_level(tree.root, fake_settings(tree.root, "group"))
    assert page(tree.root / "group.html").xpath("//header//a/@href") == ["sub-01.html"]
    once = (tree.root / "sub-01.html").read_text()
    assert page(tree.root / "sub-01.html").xpath("//header//a/@href") == ["group.html"]
    render_participant(tree.root, "01")
    assert (tree.root / "sub-01.html").read_text() == once
    group_level(tree.root, fake_settings(tree.root, "group"))
    assert (tree.root / "sub-01.html").read_text() == once
    assert page(tree.root / "sub-01.html").xpath("//section//p[@class='links']/a/@href") == ["logs/CITATION.md"]
