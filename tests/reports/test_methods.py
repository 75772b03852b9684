"""The methods in words follow what was done."""

from importlib.metadata import version

from fake_derivatives import RAN_MODEL, RAN_PARTICIPANT

from ban_bids.preprocessing.atlases import atlas_of
from ban_bids.reports.methods import methods_text
from ban_bids.settings import Encoding


def facts(**changes):
    known = {
        **RAN_PARTICIPANT,
        **RAN_MODEL,
        "model": "ban",
        "preprocessed_by": "fmriprep-24.1",
        "held_out_rule": "runs that repeat a clip",
        "n_runs": 3,
        "n_held_out_runs": 1,
        "n_folds": 1,
        "n_repeats": 4,
        "dimensions": "Every layer was reduced to 32 principal components.",
        "n_voxels": 1234,
        "permutations": "m = 10000.",
        "behavior": "B is n/a.",
        "genre_split": "unknown",
        "confounds_sentence": "",
        "regions": atlas_of("hcp-mmp").regions,
        "acknowledgement": "",
    }
    return {**known, **changes}


def test_methods_name_the_atlas_and_what_its_terms_ask_for():
    hcp, juelich = (atlas_of(name) for name in ("hcp-mmp", "juelich"))
    told = methods_text(facts(regions=hcp.regions, acknowledgement=hcp.acknowledgement), Encoding())
    assert told[-1].endswith(hcp.acknowledgement)
    assert any("Regions are anatomical: from HCP-MMP1.0 (Glasser et al. 2016)" in part for part in told)
    told = methods_text(facts(regions=juelich.regions), Encoding())
    assert not any("Human Connectome" in part or "cknowledge" in part for part in told)
    assert any("it has no PB and no T2T3" in part for part in told)


def test_methods_follow_the_facts():
    with_repeats = " ".join(methods_text(facts(), Encoding(ev_floor=0.02)))
    assert "EV1 is under 0.02" in with_repeats
    assert "SP = (N Var(mean) - TP) / (N - 1), less what the voxel's own noise is expected to give" in with_repeats
    without = " ".join(methods_text(facts(n_repeats=1), Encoding()))
    assert "no noise ceiling" in without
    together, everywhere = (" ".join(methods_text(facts(joint=True), Encoding(joint=on))) for on in (False, True))
    assert "from all layers together (those that stand for regions, in the auditory regions);" in together
    assert "from all layers together;" in everywhere
    assert len(methods_text(facts(), Encoding())) == len(methods_text(facts(n_repeats=1), Encoding()))


def test_methods_count_runs_and_folds_also_of_one_run():
    told = " ".join(
        methods_text(facts(held_out_rule="one run only: all is held out in turn", n_runs=1, n_folds=5), Encoding())
    )
    assert "Held-out data: one run only: all is held out in turn (1 of 1 runs, in 5 outer folds)." in told
    assert "(1 of 3 runs, in 1 outer fold)." in " ".join(methods_text(facts(), Encoding()))


def test_methods_say_that_this_is_a_reconstruction_and_who_preprocessed():
    text = " ".join(methods_text(facts(), Encoding()))
    assert "reconstruction" in text
    assert "fMRIPrep 24.1" in text


def test_methods_name_what_ran():
    own = " ".join(methods_text(facts(preprocessed_by="ban-bids"), Encoding()))
    for name in ("N4", "Nipype", "PyTorch", "A. One, B. Two. Music & brain. doi:10.18112/openneuro.ds003720.v1.0.0"):
        assert name in own
    for package in ("nipype", "antspyx", "pybids", "nibabel", "nilearn", "torch"):
        assert version(package) in own
    theirs = " ".join(methods_text(facts(), Encoding()))
    assert "fMRIPrep 24.1 (Esteban et al. 2019)" in theirs
    assert not any(name in theirs for name in ("antspyx", "Nipype", "N4"))
    closed = " ".join(methods_text(facts(), Encoding()))
    assert "by ban-bids' closed form, whose solutions are those of himalaya's ridge." in closed
    assert "random search" not in closed
    searched = " ".join(methods_text(facts(solver="himalaya"), Encoding()))
    assert f"by himalaya {version('himalaya')}'s random search (Dupré la Tour et al. 2022)." in searched
    assert "closed form" not in searched
    single = " ".join(methods_text(facts(solver="himalaya", joint=False), Encoding()))
    assert "random search" not in single and "banded" not in single


def test_only_one_paragraph_is_the_model_s_own():
    ban, other = (
        methods_text(facts(model=name, dimensions=name, behavior=name, references=[f"{name} 2020"]), Encoding())
        for name in ("ban", "wav2vec")
    )
    [own] = set(other) - set(ban)
    assert own.startswith("Model wav2vec;") and own.endswith("The model is described by: wav2vec 2020.")


def test_a_dataset_without_authors_and_doi_is_named():
    dataset = {"name": "music", "doi": None, "authors": []}
    assert "Data: music. (it states no DOI)" in " ".join(methods_text(facts(dataset=dataset), Encoding()))
