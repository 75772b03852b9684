"""What a participant's report says of the run, in words."""

from __future__ import annotations

from pathlib import Path

from ban_bids.app.summary import confounds_sentence, dimensions_sentence, feature_reduction
from ban_bids.inputs.types import Run
from ban_bids.preprocessing.result import PreprocessedRun


def make_run(regressors: tuple[str, ...], scrubbed: tuple[int, ...] = ()) -> PreprocessedRun:
    none = Path("none")
    run = Run("01", None, "music", None, (("sub", "01"),), none, none, 2.0, 100, None, "k", None, ())
    return PreprocessedRun(run, none, none, none, 1.0, 0, scrubbed, regressors)


def test_confounds_are_named_by_family_and_counted() -> None:
    own = ("trans_x", "trans_y", "trans_x_derivative1", "rot_z", "csf")
    assert confounds_sentence([make_run(own), make_run(own)], "motion12") == (
        "Confounds (strategy motion12, ours): csf, rot, trans (2), trans_derivative1."
    )
    components = ("a_comp_cor_00", "a_comp_cor_01", "csf_power2")
    told = confounds_sentence([make_run(components, (3, 4)), make_run(components[1:])], "scrubbing")
    assert "nilearn" in told
    assert "a_comp_cor (2), csf_power2." in told
    assert told.endswith("2 of 200 volumes were scrubbed: left out as rows.")
    assert ": none." in confounds_sentence([make_run(())], "simple")


def test_methods_say_how_many_features_of_each_layer_were_used() -> None:
    matched = dimensions_sentence({"A1": 64, "Belt": 64}, 64)
    assert matched == "Every layer was reduced to 64 principal components."
    whole = dimensions_sentence({"A1": 80, "Belt": 512}, 0)
    assert "All features that vary were used (A1 80, Belt 512)" in whole and "components" not in whole
    assert [feature_reduction(n) for n in (64, 0)] == ["64 principal components", "none"]
