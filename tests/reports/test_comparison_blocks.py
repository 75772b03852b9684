"""Several models on one page: order, ranks, differences to controls, curves and matrix."""

import lxml.html
import numpy as np
import pandas as pd
import pytest
from fake_derivatives import TASK, compared, fake_settings, make_tree, score_rows, write_model
from matplotlib.axes import Axes

from ban_bids.app.group import group_level
from ban_bids.derivatives.comparisons import COLUMNS, write_comparison, write_group_comparison
from ban_bids.derivatives.read import load_derivatives
from ban_bids.reports import comparison
from ban_bids.reports.comparison import comparison_blocks, depth_blocks, difference_blocks, ranking
from ban_bids.reports.model_figures import Lane, difference_figure, forest_figure
from ban_bids.reports.page import Bullets, Figure, Table
from ban_bids.reports.participant import render_participant

NOTHING = pd.DataFrame(columns=list(COLUMNS))


def scores_of(*models, layers=("L0", "L1", "L2")):
    tables = [score_rows(np.random.default_rng(k), name, layers) for k, name in enumerate(models)]
    table = pd.concat(tables, ignore_index=True)
    owner = table["model"].str.replace("untrained1", "")
    return table.assign(task=TASK, control_of=owner.where(table["role"] == "control"))


def change(scores, model, row, value):
    mine = (scores["model"] == model) & (scores["row"] == row)
    return scores.assign(value=scores["value"].mask(mine, value))


def totals(**values):
    """Table of models' C and B; BAS is their mean."""
    rows = [
        {"model": model, "role": "scored", "row": row, "value": value}
        for model, (c, b) in values.items()
        for row, value in (("C", c), ("B", b), ("BAS", (c + b) / 2))
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"a": (0.5, 0.1), "b": (0.4, 0.9), "c": (0.6, 0.3)}, (["b", "c", "a"], "BAS")),
        ({"a": (0.5, 0.1), "b": (0.4, 0.9), "c": (0.6, np.nan)}, (["c", "a", "b"], "C")),  # one has no B
        ({"a": (np.nan, np.nan), "b": (0.4, 0.9), "c": (0.6, 0.3)}, (["b", "c", "a"], "BAS")),  # it has no C either
        ({"a": (np.nan, np.nan), "b": (0.1, np.nan), "c": (-0.2, np.nan)}, (["b", "c", "a"], "C")),
        ({"a": (np.nan, 0.1)}, (["a"], "C")),
    ],
)
def test_models_are_sorted_by_bas_only_where_all_that_have_c_have_b(values, expected):
    assert ranking(totals(**values)) == expected


def test_the_table_holds_rank_and_differences_to_the_models_own_best_control():
    scores = scores_of("one", "two")
    logmel = scores[scores["model"] == "oneuntrained1"].assign(model="logmel")
    scores = change(pd.concat([scores, logmel]), "logmel", "C", 0.3)
    for model, value in (("one", 0.5), ("two", 0.6), ("oneuntrained1", 0.1), ("twountrained1", 0.59)):
        scores = change(scores, model, "C", value)
    scores = change(change(scores, "one", "BAS", 0.45), "two", "BAS", 0.5)
    table = compared(scores)
    own = (table["kind"] == "control") & (table["model"] == "one")
    table.loc[own & (table["other"] == "logmel"), ["value", "p_corrected"]] = 0.2, 0.04
    table.loc[(table["kind"] == "control") & (table["model"] == "two"), "p_corrected"] = 0.5
    frame = comparison_blocks(scores, table, "")[0].frame.set_index("model")
    assert list(frame.index) == ["two", "one"]
    assert list(frame["rank [interval]"]) == ["1 [1,\N{NO-BREAK SPACE}2]", "2 [1,\N{NO-BREAK SPACE}2]"]
    assert list(frame["P(first)"]) == ["70 %", "<1 %"]
    assert list(frame["best control"]) == ["untrained1 0.590", "logmel 0.300"]
    assert frame.loc["one", "C less its best control's"].startswith("0.200 [0.100")
    assert frame.loc["one", "C less its untrained mean"].startswith("0.400 [0.300")  # of which logmel is none
    assert list(frame["better than its controls?"]) == ["not shown", "yes"]
    more = scores[scores["model"] == "oneuntrained1"].assign(model="oneuntrained2")
    several = compared(change(pd.concat([scores, more]), "oneuntrained2", "C", 0.2))
    frame = comparison_blocks(pd.concat([scores, more]), several, "")[0].frame.set_index("model")
    assert frame.loc["one", "C less its untrained mean"].startswith("0.350 [0.250")  # 0.5 less (0.1 + 0.2) / 2
    worse = table.assign(value=table["value"].mask(table["kind"] == "control", -0.2), p_corrected=0.01)
    assert set(comparison_blocks(scores, worse, "")[0].frame["better than its controls?"]) == {"worse"}


def test_without_a_comparison_the_table_says_what_to_run_and_shows_no_rank():
    scores = scores_of("one", "two")
    [table, figure] = comparison_blocks(scores, NOTHING, "note.")
    assert isinstance(figure, Figure) and isinstance(table, Table)
    assert not any("rank" in column or "less" in column for column in table.columns)
    assert table.note.startswith("note. ") and "no table that compares" in table.note
    assert difference_blocks(scores, NOTHING) == []
    [alone] = comparison_blocks(scores_of("one"), NOTHING, "")
    assert "no table that compares" not in alone.note


def test_reasons_for_missing_scores_stand_below_the_table_once():
    scores = change(change(scores_of("one", "two"), "one", "B", np.nan), "two", "B", np.nan)
    scores["reason"] = scores["reason"].mask(scores["row"] == "B", "no read-out")
    assert comparison_blocks(scores, NOTHING, "")[0].note.startswith("B of two, one is n/a: no read-out.")


def test_models_of_different_participants_say_how_many_and_those_of_the_same_do_not():
    scores = scores_of("one", "two")
    table = comparison_blocks(scores.assign(n=np.where(scores["model"] == "one", 1, 4)), NOTHING, "")[0]
    assert dict(zip(table.frame["model"], table.frame["participants"], strict=True)) == {"one": 1, "two": 4}
    assert "not all scored in the same participants" in table.note
    alike = comparison_blocks(scores.assign(n=4), NOTHING, "")[0]
    assert "participants" not in alike.frame and "same participants" not in alike.note


def test_models_whose_bas_not_everybody_has_say_so():
    scores = scores_of("one", "two")
    fewer = (scores["model"] == "two") & (scores["row"] == "BAS")
    table = comparison_blocks(scores.assign(n=np.where(fewer, 2, 4)), NOTHING, "")[0]
    assert dict(zip(table.frame["model"], table.frame["participants"], strict=True)) == {"one": 4, "two": "4 (BAS: 2)"}
    assert "not all of these have BAS" in table.note


@pytest.fixture
def texts(monkeypatch):
    seen = []
    text = Axes.text
    monkeypatch.setattr(Axes, "text", lambda self, x, y, s, **k: seen.append((s, k)) or text(self, x, y, s, **k))
    return seen


def test_the_matrix_is_row_less_column_and_marks_corrected_p_alone(texts):
    scores = change(change(change(scores_of("a", "b", "c"), "a", "C", 0.6), "b", "C", 0.4), "c", "C", 0.1)
    scores = scores.assign(value=scores["value"].where(scores["row"] != "BAS"))
    table = compared(scores, n_a=[("a", "c")])
    models = (table["kind"] == "models") & table["value"].notna()
    table.loc[models, "p"] = 0.01  # uncorrected, which must mark nothing
    table.loc[models, "p_corrected"] = np.where(table.loc[models, "model"] == "a", 0.049, 0.051)
    figure, reasons, rows = difference_blocks(scores, table)
    assert [text for text, _ in texts] == ["+0.20*", "n/a", "−0.20*", "+0.30", "n/a", "−0.30"]
    assert [style["fontweight"] for text, style in texts if text == "+0.20*" or text == "+0.30"] == ["bold", "normal"]
    assert isinstance(reasons, Bullets)
    assert list(reasons.items) == ["n/a, a and c: other confounds: motion12 and compcor"]
    assert isinstance(figure, Figure) and rows.folded and len(rows.frame) == 3 + 3


def test_a_difference_that_rounds_to_nothing_has_no_sign(texts):
    values = pd.DataFrame([[np.nan, -0.001], [0.001, np.nan]], index=["a", "b"], columns=["a", "b"])
    difference_figure(values, values * np.nan, "d")
    assert [text for text, _ in texts] == ["0.00", "0.00"]


def test_the_forest_says_every_number_and_what_is_missing(texts):
    lanes = [Lane("a", 0.5, 0.4, 0.7, {"auntrained1": 0.1, "logmel": np.nan}), Lane("b", 0.2), Lane("c", np.nan)]
    assert forest_figure(lanes, "C").startswith(b"\x89PNG")
    assert [text for text, _ in texts] == ["0.50 [0.40, 0.70]", "0.20", "n/a"]


def test_curves_have_every_layer_in_order_and_models_of_one_layer_are_level(monkeypatch):
    drawn = {}
    monkeypatch.setattr(comparison, "depth_figure", lambda points, names, label: drawn.update(p=points, n=names) or b"")
    many = [f"L{k:02d}" for k in range(24)]
    scores = pd.concat([scores_of("deep", layers=many), scores_of("flat", layers=["x"])])
    scores["rho"] = np.sqrt(scores["value"].astype(float).clip(lower=0)).where(scores["row"] == "layer")
    assert len(depth_blocks(scores, "")) == 1
    points = drawn["p"]
    mine = points[(points["model"] == "deep") & (points["region"] == "Belt")]
    assert list(mine["layer"]) == many and set(drawn["n"]) == {"deep", "flat"}
    assert list(mine.loc[mine["committed"] > 0, "layer"]) == ["L08"]
    np.testing.assert_allclose(mine["value"] ** 2, mine["rho"].astype(float) ** 2)
    assert depth_blocks(scores[scores["model"] == "flat"], "") == []
    assert depth_blocks(scores.assign(rho=np.nan), "") == []


def tree_of(root, models, behavior=0.4):
    tree = make_tree(root, ["01", "02"], layers=("A1",))
    for k, name in enumerate(models):
        for label in ("01", "02"):
            layers = [f"L{i:02d}" for i in range(24 if k == 0 else 5)]
            write_model(tree.root, label, score_rows(np.random.default_rng(k), name, layers), name)
    out = load_derivatives(tree.root)
    for label in ("01", "02"):
        table = compared(out.scores(label)).assign(participant=label)
        write_comparison(tree.root, table, participant=label, task=TASK)
    scores = out.scores("01")
    write_group_comparison(tree.root, compared(scores, level="group"))
    return tree


def test_both_pages_of_many_models_hold_table_forest_differences_and_curves(tmp_path):
    tree = tree_of(tmp_path / "out", ["deep", "vgg", "ast"])
    render_participant(tree.root, "01")
    group_level(tree.root, fake_settings(tree.root, "group"))
    for name in ("sub-01.html", "group.html"):
        page = lxml.html.parse(str(tree.root / name)).getroot()
        titles = page.xpath("//section[starts-with(@id, 'summary') or starts-with(@id, 'comparison')]//h3/text()")
        assert titles == ["Cortical score of every model", "Differences in C", "Layers against depth"], name
        table = page.xpath("//section[h2='Summary']//table")[0]
        assert "rank [interval]" in table.xpath(".//th/text()") and len(table.xpath(".//tr[td]")) == 4
        assert all(page.xpath("//img/@alt"))
    page = lxml.html.parse(str(tree.root / "sub-01.html")).getroot()
    [entry] = page.xpath("//nav//details")
    assert entry.findtext("summary") == "Models (4)" and len(entry.xpath(".//a")) == 4
