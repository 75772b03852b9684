import lxml.html
import numpy as np
import pandas as pd
import pytest
from fake_derivatives import SPACE, TASK, fake_summary, make_tree, score_rows, write_model

from ban_bids.bids.names import bas_name
from ban_bids.derivatives.confusions import COLUMNS as CONFUSION_COLUMNS
from ban_bids.derivatives.confusions import write_confusions
from ban_bids.derivatives.read import load_derivatives
from ban_bids.derivatives.summaries import ParticipantSummary, write_summary
from ban_bids.derivatives.tables import write_table
from ban_bids.errors import DataError
from ban_bids.reports.models import control_bars, interval
from ban_bids.reports.participant import render_participant
from ban_bids.scoring.bas import COLUMNS


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "out", ["01"], layers=("A1",))


def page_of(root):
    return lxml.html.parse(str(render_participant(root, "01"))).getroot()


def text_of(page, title):
    return page.xpath(f"//section[h2='{title}']")[0].text_content()


def test_a_page_from_derivatives_alone(tree):
    reasons = {"Significance": "n/a: few blocks", "Noise ceiling": "n/a: no repeats"}
    notes = ["run 3: <b>many</b> columns"]
    write_summary(tree.root, ParticipantSummary("01", TASK, SPACE, [("Runs", 3)], notes, reasons))
    write_summary(tree.root, fake_summary("01", notes=["look here"], methods=["A reconstruction."]))
    page = page_of(tree.root)
    assert [title.text for title in page.iter("h2")] == [
        "Summary", "Model ban", "Noise ceiling", "Preprocessing quality", "Warnings", "Methods", "Provenance",
    ]  # fmt: skip
    own = text_of(page, "Model ban")
    c = tree.scores["01"].set_index(["row", "layer", "region"]).loc[("layer", "A1", "A1"), "value"].iloc[0]
    assert interval(c, c - 0.1, c + 0.1) in own
    assert "few blocks" in own
    assert "banuntrained1" in own
    assert "no repeats" in text_of(page, "Noise ceiling")
    assert [item.text for item in page.xpath("//section[h2='Warnings']//li")] == [*notes, "ban: look here"]
    assert "A reconstruction." in text_of(page, "Methods")
    assert "sub-01_bold.nii.gz" in text_of(page, "Provenance")
    assert all(source.startswith("data:") for source in page.xpath("//img/@src"))
    assert all(page.xpath("//img/@alt"))


def test_layers_and_regions_have_a_picture_and_the_same_numbers_as_text(tree):
    table = tree.scores["01"].copy()
    layers = (table["row"] == "layer") & (table["role"] == "scored")
    table.loc[layers, "value"] = np.arange(16) / 20
    table.loc[layers, "ci_low"], table.loc[layers, "ci_high"] = np.arange(16) / 20 - 0.1, np.arange(16) / 20 + 0.1
    table.loc[table.index[layers][6], ["value", "ci_low", "ci_high"]] = np.nan
    write_table(bas_name("01", TASK, "ban").path(tree.root), table, COLUMNS, {"Model": "ban"})
    part = page_of(tree.root).xpath("//section[h2='Model ban']")[0]
    assert len(part.xpath(".//figure[h3='Layers and regions']//img[@alt]")) == 1
    [shown] = part.xpath(".//table[caption='Every layer in every region']")
    cells = [cell.text_content() for cell in shown.xpath(".//td[3]")]
    assert len(cells) == 16 and cells[1] == "0.050 [-0.050, 0.150]" and cells.count("n/a") == 1


def test_a_participant_without_scores_has_no_page(tree):
    with pytest.raises(DataError, match="sub-02: no score table .* run the participant level first"):
        render_participant(tree.root, "02")


def test_every_model_has_its_section_and_the_table_is_sorted(tree):
    better = score_rows(np.random.default_rng(1), "deepcnn")
    better.loc[better["row"].isin(["C", "BAS"]) & (better["role"] == "scored"), "value"] = 0.9
    write_model(tree.root, "01", better, "deepcnn")
    without = score_rows(np.random.default_rng(2), "modulation")
    without.loc[without["row"].isin(["C", "BAS"]), ["value", "ci_low", "ci_high"]] = np.nan
    write_model(tree.root, "01", without, "modulation")
    page = page_of(tree.root)
    assert [title.text for title in page.iter("h2")][:5] == [
        "Summary", "Comparison of models", "Model deepcnn", "Model ban", "Model modulation",
    ]  # fmt: skip
    summary = page.xpath("//section[h2='Summary']")[0]
    rows = summary.xpath(".//table[caption='Models, by brain-like auditory score BAS']//tr[td]")
    assert [row.xpath("./td[1]/text()")[0] for row in rows] == ["deepcnn", "ban", "modulation"]
    assert rows[0].xpath("./td[2]/text()")[0].startswith("0.900 [")
    assert rows[2].xpath("./td[2]/text()")[0] == "n/a"
    assert [row.xpath("./td[5]/text()")[0].split()[0] for row in rows] == ["untrained1"] * 2 + ["n/a"]
    assert summary.xpath(".//figure[h3='Cortical score of every model']")
    assert "deepcnnuntrained1" not in text_of(page, "Model ban")


def test_layers_of_any_number_and_name_reach_the_page(tree):
    layers = [f"encoder.{k:02d}" for k in range(24)]
    one = score_rows(np.random.default_rng(1), "wav2vec")
    own = one[(one["row"] == "layer") & (one["role"] == "scored") & one["region"].isin(["A1", "PB"])]
    many = [own[own["layer"] == "A1"].assign(layer=layer, mapped=None) for layer in layers]
    write_model(tree.root, "01", pd.concat([*many, one[one["row"] != "layer"]]), "wav2vec")
    part = page_of(tree.root).xpath("//section[h2='Model wav2vec']")[0]
    assert all(layer in part.text_content() for layer in layers)
    assert part.xpath(".//details//table[caption='Every layer in every region']")


def test_two_tasks_have_sections_of_their_own(tree):
    write_summary(tree.root, ParticipantSummary("01", "Other", SPACE))
    summary = fake_summary("01")
    write_summary(tree.root, summary.__class__(**{**vars(summary), "task": "Other"}))
    path = bas_name("01", "Other", "ban").path(tree.root)
    write_table(path, tree.scores["01"], COLUMNS, {"Model": "ban"})
    for kind in ("versions.json", "settings.toml", "files.json"):
        known = tree.root / "logs" / f"sub-01_task-{TASK}_desc-ban_{kind}"
        (tree.root / "logs" / f"sub-01_task-Other_desc-ban_{kind}").write_text(known.read_text())
    titles = [title.text for title in page_of(tree.root).iter("h2")]
    assert {f"Model ban, task {TASK}", "Model ban, task Other"} <= set(titles)


def test_an_absent_region_is_reported_and_the_other_numbers_stay(tree):
    why = "atlas juelich has no region PB"
    table = tree.scores["01"].copy()
    gone = (table["region"] == "PB") | table["row"].isin(["C", "BAS"])
    table.loc[gone, ["value", "ci_low", "ci_high", "rho", "p_sound"]] = np.nan
    table.loc[gone, "reason"] = why
    write_table(bas_name("01", TASK, "ban").path(tree.root), table, COLUMNS, {"Model": "ban"})
    reasons = {"Significance": f"n/a: {why}"}
    write_summary(tree.root, ParticipantSummary("01", TASK, SPACE, notes=[why], reasons=reasons))
    page = page_of(tree.root)
    assert why in text_of(page, "Summary") and why in text_of(page, "Warnings")
    part = page.xpath("//section[h2='Model ban']")[0]
    [layers] = part.xpath(".//table[caption='Every layer in every region']")
    assert layers.text_content().count("n/a") == 12 and layers.text_content().count("0.010") == 12
    assert f"Significance: n/a: {why}" in part.text_content()


def test_without_repeats_the_page_says_why_once_and_draws_no_matrix(tree):
    table = tree.scores["01"].copy()
    table.loc[table["row"] != "B", ["value", "ci_low", "ci_high", "rho"]] = np.nan
    table.loc[table["row"].isin(["layer", "region", "C"]), "reason"] = "no clip is repeated"
    table["mean_r"] = 0.125
    write_table(bas_name("01", TASK, "ban").path(tree.root), table, COLUMNS, {"Model": "ban"})
    page = page_of(tree.root)
    part = page.xpath("//section[h2='Model ban']")[0]
    assert not part.xpath(".//figure[h3='Layers and regions']")
    [layers] = part.xpath(".//table[caption='Every layer in every region']")
    assert "0.125" in layers.text_content() and "no clip is repeated" not in layers.text_content()
    assert "no clip is repeated" in text_of(page, "Summary")


def test_seeds_of_the_untrained_model_are_one_series(tree):
    scores = load_derivatives(tree.root).scores("01")
    control = scores[scores["role"] == "control"]
    second = control.assign(model="banuntrained2", rho=control["rho"] + 1)
    of_another = control.assign(model="logmel", control_of="deepcnn")
    bars = control_bars(pd.concat([scores, second, of_another]), "ban", ["A1", "Belt", "PB", "T2T3"])
    assert [one.name for one in bars] == ["ban", "banuntrained (2 seeds)"]
    first = control[control["row"] == "region"]["rho"].to_numpy(dtype=float)
    np.testing.assert_allclose(np.asarray(bars[1].values, dtype=float), first + 0.5)
    np.testing.assert_allclose(np.asarray(bars[1].low, dtype=float), first)
    np.testing.assert_allclose(np.asarray(bars[1].high, dtype=float), first + 1)


def choices(genres=("blues", "jazz")):
    """What people and a model answer: the model is right less often."""
    rows = []
    for k, genre in enumerate(genres):
        people, model = [0.1, 0.1, 0.05], [0.2, 0.2, 0.0]
        people[k], model[k] = 0.85, 0.8
        rows += [(genre, answer, *shares, 9, 5) for answer, *shares in zip((*genres, "other"), people, model)]
    return pd.DataFrame(rows, columns=list(CONFUSION_COLUMNS))


def test_people_and_model_stand_side_by_side_with_the_same_numbers_as_text(tree):
    write_confusions(tree.root, choices(), {"Model": "ban"}, participant="01", task=TASK, model="ban")
    write_model(tree.root, "01", score_rows(np.random.default_rng(1), "logmel"), "logmel")
    page = page_of(tree.root)
    [pair] = page.xpath("//div[@class='pair']")
    assert pair.xpath("./ancestor::section/h2/text()") == ["Model ban"]
    assert pair.xpath(".//h3/text()") == ["Genres that people choose", "Genres that the model gives"]
    captions = [" ".join(one.text_content().split()) for one in pair.xpath(".//figcaption")]
    assert "9 people to 10 clips" in captions[0] and "85 % on average" in captions[0]
    assert "80 % on average" in captions[1]
    assert all(pair.xpath(".//img/@alt")) and len(pair.xpath(".//img")) == 2
    [shown] = page.xpath("//details//table[caption='Genres chosen by people and by the model, as shares']")
    assert [cell.text for cell in shown.xpath(".//tr[td][3]/td")] == ["blues", "other", "0.050", "0.000"]


def test_names_of_genres_are_text_on_the_page_and_in_the_pictures(tree):
    table = choices(("<b>R&B</b>", "$x_1$ $"))
    write_confusions(tree.root, table, {"Model": "ban"}, participant="01", task=TASK, model="ban")
    page = page_of(tree.root)
    [shown] = page.xpath("//table[caption='Genres chosen by people and by the model, as shares']")
    assert "<b>R&B</b>" in shown.text_content() and not shown.xpath(".//b")
