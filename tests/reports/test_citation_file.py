"""What to cite follows from what ran, of all participants and models in a folder."""

import pytest
from fake_derivatives import RAN_MODEL, RAN_PARTICIPANT, SPACE, TASK, fake_summary, make_tree, write_model

from ban_bids.derivatives.summaries import ParticipantSummary, write_summary
from ban_bids.preprocessing.atlases import citations
from ban_bids.reports.citation import write_citation

OURS = ("Nipype", "antspyx 0", "N4ITK", "SyN")


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "out", ["01"], layers=("A1",))


def cited(root):
    return " ".join(write_citation(root).read_text().split())


def ran(tree, label="01", **changes):
    write_summary(tree.root, ParticipantSummary(label, TASK, SPACE, ran={**RAN_PARTICIPANT, **changes}))


def test_all_that_ran_is_named_with_versions(tree):
    text = cited(tree.root)
    for name in (*OURS, "GTZAN", "pybids 0", "nibabel 5", "nilearn 0", "torch 2", "Human Connectome", "Fonov"):
        assert name in text, name
    assert "A. One, B. Two. Music & brain. doi:10.18112/openneuro.ds003720.v1.0.0" in text
    assert "own closed form of the left-out runs, not by himalaya" in text
    assert "{" not in text and "fMRIPrep" not in text and "confounds, " not in text


def test_what_did_not_run_is_not_named(tree):
    juelich = list(citations("juelich"))
    ran(tree, preprocessed_by="fmriprep-24.1", atlas_references=juelich, confounds="compcor", space="Other")
    nothing = dict.fromkeys(("joint", "ceiling", "behavior", "trained"), False)
    write_summary(tree.root, fake_summary("01", ran={**RAN_MODEL, **nothing, "solver": "himalaya"}))
    text = cited(tree.root)
    assert "fMRIPrep 24.1 made the images" in text and "himalaya 0" in text and "confounds, figures" in text
    for name in (*OURS, "closed form", "random search", "Human Connectome", "Fonov", "GTZAN", "Schoppe", "kappa"):
        assert name not in text, name


def test_models_of_other_days_keep_their_entries(tree):
    for name, reference in (("wav2vec", "Baevski 2020"), ("vgg", "Simonyan 2015"), ("vggtwo", "Simonyan 2015")):
        write_model(tree.root, "01", tree.scores["01"], name)
        write_summary(tree.root, fake_summary("01", name, ran={**RAN_MODEL, "references": [reference]}))
    write_summary(tree.root, fake_summary("01", ran={**RAN_MODEL, "solver": "himalaya"}))
    text = cited(tree.root)
    assert "Baevski 2020 (wav2vec)" in text and "Simonyan 2015 (vgg, vggtwo)" in text
    assert "whose random search chose the weights" in text


def test_a_folder_of_an_older_version_names_only_what_always_runs(tree):
    write_summary(tree.root, ParticipantSummary("01", TASK, SPACE))
    write_summary(tree.root, fake_summary("01", ran={}))
    text = cited(tree.root)
    assert "torch 2" in text and not any(name in text for name in (*OURS, "fMRIPrep", "Dataset", "Regions"))
