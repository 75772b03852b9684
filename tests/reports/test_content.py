import lxml.html
import numpy as np
import pytest
from fake_derivatives import SPACE, TASK, make_tree

from ban_bids.bids.names import bas_name
from ban_bids.constants import AREAS
from ban_bids.derivatives.participant import Summary, read_summary, write_summary
from ban_bids.derivatives.tables import write_table
from ban_bids.reports import participant as content
from ban_bids.reports.participant import render_participant
from ban_bids.scoring.bas import COLUMNS


def summary(values: np.ndarray, **more) -> Summary:
    alignment = {
        "values": values,
        "low": values - 0.1,
        "high": values + 0.1,
        "layers": AREAS,
        "regions": AREAS,
    }
    return Summary("01", TASK, SPACE, "ban", "f" * 16, facts=[("Runs", 3)], alignment=alignment, **more)


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "out", ["01"], layers=("A1",))


def text_of(path, title):
    root = lxml.html.parse(str(path)).getroot()
    return root.xpath(f"//section[h2='{title}']")[0].text_content()


def test_a_page_from_derivatives_alone(tree):
    values = np.full((4, 4), 0.25)
    values[0, 3] = np.nan
    write_summary(tree.root, summary(values, notes=["look here"], reasons={"Significance": "n/a: few blocks"}))
    assert np.asarray(read_summary(tree.root, "01").alignment["values"], dtype=object)[0, 3] == "n/a"
    page = render_participant(tree.root, "01")
    assert "0.250 [0.150, 0.350]" in text_of(page, "Layers and regions")
    assert "look here" in text_of(page, "Warnings")
    assert "few blocks" in text_of(page, "Significance")
    assert "banuntrained1" in text_of(page, "Controls")


def test_an_absent_region_is_told_and_the_other_numbers_stay(tree):
    values = np.full((4, 4), 0.25)
    values[:, 2] = np.nan
    why = "atlas juelich has no region PB"
    table = tree.scores["01"].copy()
    gone = (table["region"] == "PB") | table["row"].isin(["C", "BAS"])
    table.loc[gone, ["value", "ci_low", "ci_high"]] = np.nan
    table.loc[gone, "reason"] = why
    write_table(bas_name("01", TASK, "ban").path(tree.root), table, COLUMNS, {"Model": "ban"})
    tests = [
        {"layer": "A1", "region": "A1", "mean_r": 0.125, "p": 0.0123, "p_fwer": 0.25},
        {"layer": "A1", "region": "PB", "mean_r": np.nan, "p": np.nan, "p_fwer": np.nan},
    ]
    reasons = {"Significance": f"n/a: {why}"}
    write_summary(tree.root, summary(values, tests=tests, notes=[why], reasons=reasons))
    page = render_participant(tree.root, "01")
    assert why in text_of(page, "Summary") and why in text_of(page, "Warnings")
    assert f"C: {why}" in text_of(page, "Layers and regions")
    found = text_of(page, "Significance")
    assert "0.125" in found and "0.012" in found and "0.250" in found
    assert found.count("n/a") == 4, "three numbers and the reason"


def test_without_repeats_the_page_says_why(tree):
    table = tree.scores["01"].copy()
    numbers = ["value", "ci_low", "ci_high"]
    table.loc[table["row"] != "B", numbers] = np.nan
    table.loc[table["row"].isin(["layer", "C"]), "reason"] = "no clip is repeated"
    write_table(bas_name("01", TASK, "ban").path(tree.root), table, COLUMNS, {"Model": "ban"})
    write_summary(tree.root, summary(np.full((4, 4), np.nan)))
    page = render_participant(tree.root, "01")
    assert "no clip is repeated" in text_of(page, "Layers and regions")
    assert "no clip is repeated" in text_of(page, "Summary")


def test_seeds_of_the_untrained_model_are_one_bar(tree, monkeypatch):
    drawn = []
    monkeypatch.setattr(content, "bar_figure", lambda labels, series, ylabel: drawn.extend(series) or b"<svg></svg>")
    table = tree.scores["01"]
    control = table[table["role"] == "control"]
    second = control.assign(model="banuntrained2", value=control["value"] + 1)
    scores = np.concatenate([table, second])
    content._control_figure(table.__class__(scores, columns=table.columns))
    assert [bars.name for bars in drawn] == ["ban", "banuntrained (2 seeds)"]
    first = control[control["row"] == "layer"]["value"].to_numpy(dtype=float)
    np.testing.assert_allclose(np.asarray(drawn[1].values, dtype=float), first + 0.5)
    np.testing.assert_allclose(np.asarray(drawn[1].low, dtype=float), first)
    np.testing.assert_allclose(np.asarray(drawn[1].high, dtype=float), first + 1)
