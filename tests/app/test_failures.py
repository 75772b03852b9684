"""What is wrong with a participant's data is told: in log and summary, or as the reason of its failure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_derivatives import make_tree
from listening import ToyModel, ToyStore, make_run, participant

from ban_bids.app import participant as level
from ban_bids.app.behavior import Behavior
from ban_bids.app.candidates import PreparedModel, refuse_namesakes
from ban_bids.app.outcome import Outcome
from ban_bids.encoding import design as design_module
from ban_bids.errors import DataError, NotComputable, UsageError
from ban_bids.files.progress import StageClock
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.scoring.behavioral import no_behavior
from ban_bids.settings import Encoding, Settings

DEAD = "3 voxels are not finite or do not vary in some run: n/a"


class Stub:
    """Stands for what is only handed on."""

    label = "01"
    notes = ("of the person",)
    sessions = ()
    plan = SimpleNamespace(task_label="test")
    quality = source = dseg = None

    @property
    def participant(self) -> Stub:
        return self


def settings(folder: Path) -> Settings:
    few = Encoding(n_components=3, n_band_weights=3, alphas=(1.0,), n_bootstrap=20)
    return Settings.of(folder, folder / "out", "participant", work_dir=folder / "work", device="cpu", encoding=few)


def prepared() -> PreparedModel:
    return PreparedModel(ToyModel(), (), (), None, "none", Behavior(no_behavior()))  # type: ignore[arg-type]


def refusing_control(make: Callable[..., object]) -> Callable[..., object]:
    """Designs of models, and none of a control."""

    def design(data: object, model: ToyModel, *args: object, **kwargs: object) -> object:
        if model.name.endswith("permuted"):
            raise NotComputable("features are not finite")
        return make(data, model, *args, **kwargs)

    return design


def test_notes_of_the_data_and_reasons_for_missing_p_reach_the_log_and_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [make_run(name, [f"{name}{i}" for i in range(4)], n_volumes=35) for name in ("one", "two", "test")]
    data = participant(runs, np.random.default_rng(0).standard_normal((105, 8)))
    data = replace(data, notes=(DEAD,), region=np.ones(8, dtype=np.int16))
    plan = HeldOutPlan((("task-test",),), "named", "test")
    monkeypatch.setattr(level, "load_participant", lambda *args: data)
    monkeypatch.setattr(level, "held_out_plan", lambda *args: plan)
    monkeypatch.setattr(level, "recordings", lambda paths: {path: path for path in paths})
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)
    stub, clock, asked = Stub(), StageClock(), settings(tmp_path)
    with caplog.at_level(logging.WARNING):
        shared = level.read_participant(stub, SimpleNamespace(held_out=None), asked, clock=clock)  # type: ignore[arg-type]
        scored = level.score_candidate(shared, prepared(), asked, clock=clock)
        twin = replace(ToyModel(), name="twin")
        shared_controls = {twin.fingerprint: scored.scores.cortical}
        again = level.score_candidate(
            shared, replace(prepared(), controls=(twin,)), asked, clock=clock, known=shared_controls
        )
        failing = ToyModel()
        failing.name, failing.fingerprint = "toypermuted", "of another"
        beside = replace(prepared(), controls=(failing,), missing=(("toyuntrained", "no module draws gain"),))
        monkeypatch.setattr(level, "make_design", refusing_control(level.make_design))
        controlled = level.score_candidate(shared, beside, asked, clock=clock)
    # a control that was scored beside another model is not scored again, and stands under its own name here
    assert [one.model for one in again.controls] == ["twin"]
    assert again.controls[0].layers == scored.scores.cortical.layers
    # a control that cannot be computed is a row with its reason, and the model's scores stand
    rows = level.table_of(controlled)
    rows = rows[rows["role"] == "control"].set_index("model")
    assert rows["reason"].to_dict() == {
        "toyuntrained": "no module draws gain",
        "toypermuted": "features are not finite",
    }
    assert controlled.scores.cortical.value is not None and not controlled.controls
    notes = (*shared.notes, *scored.notes)
    few = next(note for note in notes if note.startswith("pspecific: n/a"))
    assert "only 35 distinct arrangements" in few
    assert any(note.startswith("ceiling: n/a, no clip is repeated") for note in notes)
    for note in (DEAD, few, "of the person"):
        assert note in notes
        assert (f"sub-01: {note}" in caplog.text) == (note != "of the person")  # which reading has said


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DataError("run.nii.gz: no voxel of the cortex is finite"), "run.nii.gz: no voxel of the cortex is"),
        (MemoryError("Unable to allocate 9 TiB"), "out of memory (MemoryError: Unable to allocate 9 TiB); "),
    ],
)
def test_a_run_that_cannot_be_used_is_the_reason_of_the_failure(
    error: Exception,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(level, "read_participant", broken)
    monkeypatch.setattr(level, "_write_ceiling", lambda *args: None)
    monkeypatch.setattr(level, "write_quality", lambda *args: None)
    stub, clock = Stub(), StageClock()
    [outcome] = level._finish(
        stub,
        stub,
        None,
        (prepared(),),
        settings=settings(tmp_path),
        clock=clock,  # type: ignore[arg-type]
    )
    assert outcome.failure is not None and outcome.failure.startswith(expected)
    assert expected in caplog.text
    assert type(error).__name__ in (tmp_path / "out" / "logs" / "sub-01_crash.txt").read_text()


def test_a_model_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def write(shared: object, model: object, *args: object) -> Outcome:
        if model is broken:
            raise DataError("model toy: features are not finite")
        return Outcome("01", "fine")

    broken, fine = prepared(), prepared()
    monkeypatch.setattr(level, "read_participant", lambda *args, **kwargs: Stub())
    monkeypatch.setattr(level, "_write_ceiling", lambda *args: None)
    monkeypatch.setattr(level, "write_quality", lambda *args: None)
    monkeypatch.setattr(level, "_score_and_write", write)
    monkeypatch.setattr(level, "compare_participant", lambda *args, **kwargs: None)
    monkeypatch.setattr(level, "render_participant", lambda root, label: Path("page.html"))
    monkeypatch.setattr(level, "write_citation", lambda root: root)
    outcomes = level._finish(
        Stub(),
        Stub(),
        None,
        (broken, fine),
        settings=settings(tmp_path),
        clock=StageClock(),  # type: ignore[arg-type]
    )
    assert [(outcome.model, outcome.failure) for outcome in outcomes] == [
        (broken.name, "model toy: features are not finite"),
        ("fine", None),
    ]
    assert outcomes[1].report == Path("page.html")
    assert "features are not finite" in caplog.text


def test_two_models_of_one_name_are_refused() -> None:
    refuse_namesakes(["ban", "deepcnn"])
    with pytest.raises(UsageError, match="two models are called ban.*another OUTPUT_DIR"):
        refuse_namesakes(["ban", "deepcnn", "ban"])


def test_a_participant_whose_scores_pool_other_sessions_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "out", ["01"], layers=("A1",), sessions=("a", "b")).root
    person = SimpleNamespace(label="01", sessions=("a", "b"))
    assert level.other_sessions(root, person) is None  # type: ignore[arg-type]
    assert level.other_sessions(root, SimpleNamespace(label="02", sessions=("a",))) is None  # type: ignore[arg-type]
    person.sessions = ("a",)
    why = level.other_sessions(root, person)  # type: ignore[arg-type]
    assert why is not None and "holds scores of sessions a, b, not of a; " in why and "--session-id" in why
