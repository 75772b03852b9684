"""What is wrong with a participant's data is told: in log and summary, or as the reason of its failure."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from listening import ToyModel, ToyStore, make_run, participant

from ban_bids.app import participant as pipeline
from ban_bids.encoding import design as design_module
from ban_bids.errors import DataError
from ban_bids.files.progress import StageClock
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.settings import Encoding, Settings

DEAD = "3 voxels are not finite or do not vary in some run: n/a"


class Stub:
    """Stands for what is only handed on."""

    label = "01"
    notes = ("of the person",)
    quality = source = dseg = None

    @property
    def participant(self) -> Stub:
        return self


def settings(folder: Path) -> Settings:
    few = Encoding(n_components=3, n_band_weights=3, alphas=(1.0,), n_bootstrap=20)
    return Settings.of(folder, folder / "out", "participant", work_dir=folder / "work", device="cpu", encoding=few)


def network() -> pipeline.Network:
    return pipeline.Network(ToyModel(), (), (), None, "none", None)  # type: ignore[arg-type]


def test_notes_of_the_data_and_reasons_for_missing_p_reach_the_log_and_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [make_run(name, [f"{name}{i}" for i in range(4)], n_volumes=45) for name in ("one", "two", "test")]
    data = participant(runs, np.random.default_rng(0).standard_normal((135, 8)))
    data = replace(data, notes=(DEAD,), region=np.ones(8, dtype=np.int16))
    plan = HeldOutPlan((("task-test",),), "named", "test")
    monkeypatch.setattr(pipeline, "load_participant", lambda *args: data)
    monkeypatch.setattr(pipeline, "held_out_plan", lambda *args: plan)
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)
    stub, clock = Stub(), StageClock()
    with caplog.at_level(logging.WARNING):
        found = pipeline.score_participant(stub, stub, network(), settings(tmp_path), clock)  # type: ignore[arg-type]
    few = next(note for note in found.notes if note.startswith("p: n/a"))
    assert "only 24 distinct arrangements" in few
    assert any(note.startswith("ceiling: n/a, no clip is repeated") for note in found.notes)
    for note in (DEAD, few, "of the person"):
        assert note in found.notes
        assert f"sub-01: {note}" in caplog.text


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DataError("run.nii.gz: no voxel of the cortex is finite"), "run.nii.gz: no voxel of the cortex is"),
        (MemoryError("Unable to allocate 9 TiB"), "MemoryError: Unable to allocate 9 TiB (see "),
    ],
)
def test_a_run_that_cannot_be_used_is_the_reason_of_the_failure(
    error: Exception,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*args: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "score_participant", broken)
    monkeypatch.setattr(pipeline, "write_quality", lambda *args: None)
    stub, clock = Stub(), StageClock()
    outcome = pipeline._finish(stub, stub, None, network(), settings(tmp_path), clock)  # type: ignore[arg-type]
    assert outcome.failure is not None and outcome.failure.startswith(told)
    assert told in caplog.text
    assert type(error).__name__ in (tmp_path / "out" / "logs" / "sub-01_crash.txt").read_text()
