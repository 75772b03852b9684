import lxml.html
import numpy as np
import pandas as pd
import pytest
from fake_derivatives import score_rows

from ban_bids.constants import AREAS
from ban_bids.preprocessing.atlases import atlas_of
from ban_bids.reports.methods import MethodsFacts, methods_text
from ban_bids.reports.page import Headline, Table
from ban_bids.reports.participant import SECTIONS, Alignment, ParticipantReport, write_participant_report
from ban_bids.settings import Encoding


def facts(**changes):
    known = {
        "model": "ban",
        "preprocessing": "fMRIPrep 24.1",
        "space": "S",
        "held_out_rule": "runs that repeat a clip",
        "n_training_runs": 2,
        "n_held_out_runs": 1,
        "n_repeats": 4,
        "dimensions": "Every layer was reduced to 32 principal components.",
        "n_voxels": 1234,
        "permutations": "m = 10000.",
        "rest": True,
        "behavior": "B is n/a.",
    }
    return MethodsFacts(**{**known, **changes})


def test_methods_name_the_atlas_and_what_its_terms_ask_for():
    hcp, juelich = (atlas_of(name) for name in ("hcp-mmp", "juelich"))
    told = methods_text(facts(regions=hcp.regions, acknowledgement=hcp.acknowledgement), Encoding())
    assert told[-1].endswith(hcp.acknowledgement)
    assert any("Regions are anatomical: from HCP-MMP1.0 (Glasser et al. 2016)" in part for part in told)
    told = methods_text(facts(regions=juelich.regions), Encoding())
    assert not any("Human Connectome" in part or "cknowledge" in part for part in told)
    assert any("it has no PB and no T2T3" in part for part in told)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    values = np.arange(16).reshape(4, 4) / 20.0
    values[1, 2] = np.nan
    content = ParticipantReport(
        title="sub-01",
        status="done",
        headlines=(Headline("B", "behaviour", None, reason="no human choices"),),
        scores=score_rows(np.random.default_rng(0), "ban"),
        alignment=Alignment(values, values - 0.1, values + 0.1, AREAS, AREAS),
        facts=(("Training runs", 2),),
        warnings=("run 3: <b>many</b> nuisance columns",),
        tables=(("Significance", Table("p of regions", pd.DataFrame({"p": [0.01]}))),),
        reasons={"Noise ceiling": "no repeats", "Significance": "24 arrangements only"},
        methods=methods_text(facts(), Encoding()),
        versions={"ban-bids": "1"},
        definitions={"value": "Score"},
        settings="a = 1",
        files=("x_bold.nii.gz",),
    )
    path = write_participant_report(tmp_path_factory.mktemp("report") / "sub-01.html", content)
    return lxml.html.parse(str(path)).getroot()


def section(tree, title):
    return tree.xpath(f"//section[h2='{title}']")[0]


def test_all_sections_are_there_in_order(tree):
    assert tuple(h.text for h in tree.iter("h2")) == SECTIONS


def test_scored_model_and_controls_stand_apart(tree):
    assert set(section(tree, "Summary").xpath(".//table[1]//td[1]/text()")) >= {"ban"}
    controls = section(tree, "Controls").text_content()
    assert "banuntrained1" in controls
    assert "banuntrained1" not in section(tree, "Summary").text_content()


def test_the_alignment_has_a_picture_and_the_same_numbers_as_text(tree):
    part = section(tree, "Layers and regions")
    assert len(part.xpath(".//img[@alt]")) == 1
    cells = part.xpath(".//td/text()")
    assert "0.050 [-0.050, 0.150]" in cells
    assert cells.count("n/a") == 1


def test_reasons_stand_in_empty_sections_and_beside_content(tree):
    assert "no repeats" in section(tree, "Noise ceiling").text_content()
    significance = section(tree, "Significance").text_content()
    assert "p of regions" in significance
    assert "24 arrangements only" in significance


def test_warnings_are_text(tree):
    assert section(tree, "Warnings").findtext(".//li") == "run 3: <b>many</b> nuisance columns"


def test_methods_say_that_this_is_a_reconstruction(tree):
    assert "reconstruction" in section(tree, "Methods").text_content()
    assert "fMRIPrep 24.1" in section(tree, "Methods").text_content()


def test_methods_follow_the_facts():
    with_repeats = " ".join(methods_text(facts(), Encoding(ev_floor=0.02)))
    assert "EV1 is under 0.02" in with_repeats
    assert "too little rest" not in with_repeats
    without = " ".join(methods_text(facts(n_repeats=1, rest=False), Encoding()))
    assert "no noise ceiling" in without
    assert "too little rest" in without
    assert len(methods_text(facts(), Encoding())) == len(methods_text(facts(n_repeats=1), Encoding()))


def test_methods_name_what_ran():
    own = " ".join(methods_text(facts(preprocessing="ban-bids"), Encoding()))
    for name in ("Nipype", "antspyx", "N4", "pybids", "nibabel", "PyTorch"):
        assert name in own
    theirs = " ".join(methods_text(facts(), Encoding()))
    assert "antspyx" not in theirs
    assert "Nipype" not in theirs
    for solver in ("auto", "closed-form"):
        text = " ".join(methods_text(facts(), Encoding(solver=solver)))
        assert "by ban-bids' closed form, whose solutions are those of himalaya's ridge." in text
        assert "random search" not in text
    searched = " ".join(methods_text(facts(), Encoding(solver="himalaya")))
    assert "by himalaya's random search." in searched
    assert "closed form" not in searched


def test_an_unknown_section_is_refused():
    with pytest.raises(ValueError, match="no section Nowhere"):
        ParticipantReport("t", "s", tables=(("Nowhere", Table("x", pd.DataFrame())),))


def test_a_failed_participant_has_a_page_too(tmp_path):
    path = write_participant_report(tmp_path / "sub-02.html", ParticipantReport("sub-02", "failed: BOLD is 3-D"))
    root = lxml.html.parse(str(path)).getroot()
    assert root.findtext(".//p[@class='status']") == "failed: BOLD is 3-D"
    assert len(root.xpath("//section")) == len(SECTIONS)
