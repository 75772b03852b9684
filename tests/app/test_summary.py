"""What a participant's report says of the run, in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ban_bids.app import summary
from ban_bids.app.behavior import Behavior
from ban_bids.app.candidates import PreparedModel
from ban_bids.app.summary import (
    ParticipantInput,
    confounds_sentence,
    dimensions_sentence,
    feature_reduction,
    fitted_voxels,
)
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.result import PreprocessedRun
from ban_bids.scoring.behavioral import no_behavior
from ban_bids.settings import Settings


def make_run(regressors: tuple[str, ...], scrubbed: tuple[int, ...] = ()) -> PreprocessedRun:
    none = Path("none")
    run = Run("01", None, "music", None, (("sub", "01"),), none, none, 2.0, 100, None, "k", None, ())
    return PreprocessedRun(run, none, none, none, 1.0, 0, scrubbed, regressors)


def test_confounds_are_named_by_family_and_counted() -> None:
    regressors = ("trans_x", "trans_y", "trans_x_derivative1", "rot_z", "csf")
    assert confounds_sentence([make_run(regressors), make_run(regressors)], "motion12") == (
        "Confounds (strategy motion12, ours): csf, rot, trans (2), trans_derivative1."
    )
    components = ("a_comp_cor_00", "a_comp_cor_01", "csf_power2")
    sentence = confounds_sentence([make_run(components, (3, 4)), make_run(components[1:])], "scrubbing")
    assert "nilearn" in sentence
    assert "a_comp_cor (2), csf_power2." in sentence
    assert sentence.endswith("2 of 200 volumes were scrubbed: left out as rows.")
    assert ": none." in confounds_sentence([make_run(())], "simple")


def test_methods_say_how_many_features_of_each_layer_were_used() -> None:
    matched = dimensions_sentence({"A1": 64, "Belt": 64}, 64)
    assert matched == "Every layer was reduced to 64 principal components."
    whole = dimensions_sentence({"A1": 80, "Belt": 512}, 0)
    assert "All features that vary were used (A1 80, Belt 512)" in whole and "components" not in whole
    assert [feature_reduction(n) for n in (64, 0)] == ["64 principal components", "none"]


def test_methods_count_the_voxels_in_which_layers_were_fitted() -> None:
    everywhere, auditory = np.zeros(5), np.array([np.nan, 0, -1, np.nan, np.nan])
    assert fitted_voxels({"A1": everywhere, "x": auditory, "Joint": auditory}, ("A1", "x")) == "2 to 5"
    assert fitted_voxels({"x": auditory, "y": auditory}, ("x", "y")) == "2"


def test_a_page_shows_the_notes_of_the_dataset_and_of_its_own_participant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [Participant(label, (), (), notes=(f"run of {label} left out",)) for label in ("01", "02")]
    part = SimpleNamespace(notes=(), label="01", absent={}, reasons={"psound": "no rest"}, plans={})
    shared = ParticipantInput(
        SimpleNamespace(participant=people[0], notes=(), space="S", figures=()),  # type: ignore[arg-type]
        SimpleNamespace(notes=("no description",), participants=people),  # type: ignore[arg-type]
        SimpleNamespace(data=part, folds=part, tests=part, plan=SimpleNamespace(task_label="x")),  # type: ignore[arg-type]
    )
    monkeypatch.setattr(summary, "_participant_rows", lambda shared: [])
    monkeypatch.setattr(summary, "_participant_ran", lambda *args: {})
    settings = Settings.of(tmp_path, tmp_path / "out", "participant")
    page = summary.participant_summary(shared, settings)
    assert page.notes == ["no description", "run of 01 left out"]
    assert page.reasons == {"Significance, follows sound": "n/a: no rest"}


@pytest.mark.parametrize(("written", "authors"), [('{"Authors": ["A", "B"]}', ["A", "B"]), ("{}", []), (None, [])])
def test_the_authors_of_the_dataset_are_read_where_it_names_them(
    tmp_path: Path, written: str | None, authors: list[str]
) -> None:
    if written is not None:
        (tmp_path / "dataset_description.json").write_text(written)
    shared = SimpleNamespace(
        dataset=SimpleNamespace(root=tmp_path, name="music", doi=None),
        pre=SimpleNamespace(source="ban-bids", space="S"),
    )
    ran = summary._participant_ran(shared, Settings.of(tmp_path, tmp_path / "out", "participant"))  # type: ignore[arg-type]
    assert ran["dataset"] == {"name": "music", "doi": None, "authors": authors}
    assert any("Glasser" in line for line in ran["atlas_references"])


@pytest.mark.parametrize("readout", ["none", "own", "linear"])
@pytest.mark.parametrize(("maps", "joint"), [([("Joint", "bestlayer"), ("L0", "r")], False), ([("Joint", "r")], True)])
def test_a_joint_fit_is_one_that_predicted_and_a_linear_readout_was_trained(
    maps: list[tuple[str, str]], joint: bool, readout: str
) -> None:
    card = SimpleNamespace(references=("A 2020",), hashes={})
    scored = SimpleNamespace(
        prepared=SimpleNamespace(
            model=SimpleNamespace(card=card, references=("A 2020", "B 2021")),
            behavior=SimpleNamespace(n_clips=0),
            compared=SimpleNamespace(readout={"Kind": readout}),
        ),
        scores=SimpleNamespace(maps=dict.fromkeys(maps), cortical=SimpleNamespace(n_repeats=4)),
    )
    engine = SimpleNamespace(solver="closed-form")
    shared = SimpleNamespace(prepared=SimpleNamespace(fitting=SimpleNamespace(engine=engine)))
    ran = summary._model_ran(shared, scored)  # type: ignore[arg-type]
    assert ran == {
        "solver": "closed-form", "joint": joint, "ceiling": True, "behavior": False,
        "trained": readout == "linear", "references": ["A 2020", "B 2021"],
    }  # fmt: skip


def test_page_and_sidecar_say_whose_read_out_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"Kind": "linear", "Classes": ["a", "b"], "Accuracy": 0.625, "AccuracyInterval": [0.5, 0.75]}
    score = replace(no_behavior("nobody"), readout="linear on Belt (fitted by ban-bids on 60 tracks)")
    compared = Behavior(score, facts, ("one class was left out",))
    model = SimpleNamespace(fingerprint="f", card=None)
    prepared = PreparedModel(model, (), (), None, "none", compared)  # type: ignore[arg-type]
    scored: Any = SimpleNamespace(
        prepared=prepared, notes=(), dimensions={"Belt": 64}, files=lambda shared: [],
        scores=SimpleNamespace(factors={}, penalties=SimpleNamespace(facts={})),
    )  # fmt: skip
    prepared_participant = SimpleNamespace(fitting=SimpleNamespace(engine=SimpleNamespace(name="closed form")))
    shared: Any = SimpleNamespace(
        data=SimpleNamespace(label="01"), plan=SimpleNamespace(task_label="x"), tests=SimpleNamespace(plans={}),
        prepared=prepared_participant,
    )  # fmt: skip
    monkeypatch.setattr(PreparedModel, "name", "m")
    monkeypatch.setattr(summary, "_methods", lambda *args: {})
    monkeypatch.setattr(summary, "_model_ran", lambda *args: {})
    monkeypatch.setattr(summary, "methods_text", lambda *args: ())
    monkeypatch.setattr(summary, "participant_facts", lambda *args: {})
    settings = Settings.of(tmp_path, tmp_path / "out", "participant")
    page = summary.model_summary(shared, scored, settings)
    words = "linear on Belt (fitted by ban-bids on 60 tracks), accuracy 0.62 [0.50, 0.75] on inner folds, 2 classes"
    assert ("Read-out of genres", words) in page.facts
    assert "one class was left out" in page.notes
    assert summary.model_facts(shared, scored, settings)["Readout"] == facts
