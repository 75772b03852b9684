"""What the work folder will need is told beside what is free; what cannot fit is refused, what has begun is not."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_datasets import make_toy, write_bold

from ban_bids.app import disk_need
from ban_bids.app.behavior import Behavior
from ban_bids.app.candidates import PreparedModel
from ban_bids.app.disk_need import check_room, feature_rate, needed
from ban_bids.errors import DiskFull
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.types import Participant
from ban_bids.models.candidate import Candidate
from ban_bids.models.low_level import MODELS
from ban_bids.scoring.behavioral import no_behavior
from ban_bids.settings import Settings

SERIES = 3 * 10 * (1.9e6 / 8) * 4 * 0.95
"""Bytes of one participant's three runs of ten volumes at 2 mm."""

Toy = tuple[list[Participant], Settings]


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    settings = make_toy(tmp_path / "bids").settings()
    return list(read_dataset(settings).usable), settings


def models(model: Candidate | None = None) -> list[PreparedModel]:
    return [PreparedModel(model or MODELS["logmel"](), (), (), None, "none", Behavior(no_behavior()))]


def test_images_follow_runs_volumes_and_voxels(toy: Toy) -> None:
    people, settings = toy
    need = needed(people, 1000.0, settings)
    assert need.series == pytest.approx(2 * SERIES)
    assert need.images - need.series == pytest.approx(2 * 45e6, rel=0.01)
    at_4 = replace(settings, preprocessing=replace(settings.preprocessing, res="4"))
    assert needed(people, 1000.0, at_4).series == pytest.approx(2 * SERIES / 8)
    # both hear the same clips, which are kept once: two of 8 s in each of three runs
    assert need.features == pytest.approx(6 * 8 * 1000.0)


def test_fmriprep_output_needs_features_only(toy: Toy, tmp_path: Path) -> None:
    people, settings = toy
    given = replace(settings.preprocessing, derivatives=(("fmriprep", tmp_path),))
    need = needed(people, 1000.0, replace(settings, preprocessing=given))
    assert need.images == 0 and need.features > 0


def test_a_damaged_header_is_left_to_its_participant(toy: Toy) -> None:
    people, settings = toy
    people[0].runs[0].bold.write_bytes(b"not an image")
    assert needed(people, 0.0, settings).series == pytest.approx(SERIES)


def test_features_are_what_a_second_takes_on_disk(toy: Toy) -> None:
    folder = toy[1].compute.work_dir / "features"
    rate = feature_rate(models(), folder)
    assert 4 * rate == pytest.approx(sum(path.stat().st_size for path in folder.glob("*.npz")))


def test_a_model_that_fails_is_left_to_its_turn(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> list[dict[str, np.ndarray]]:
        raise TypeError("of somebody's model")

    model = MODELS["logmel"]()
    monkeypatch.setattr(model, "features", fail)
    assert feature_rate(models(model), toy[1].compute.work_dir / "features") == 0


def test_need_and_room_are_told(toy: Toy, caplog: pytest.LogCaptureFixture) -> None:
    people, settings = toy
    with caplog.at_level(logging.INFO):
        check_room(people, models(), settings)
    told = next(line for line in caplog.messages if "needed for 2 participants" in line)
    assert str(settings.compute.work_dir) in told and told.endswith("free")
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_what_cannot_fit_is_refused_and_what_has_begun_is_not(
    toy: Toy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    people, settings = toy
    monkeypatch.setattr(disk_need, "free_bytes", lambda path: 10_000_000)
    with pytest.raises(DiskFull, match="one participant needs about .* 10000000 bytes .*free; give a -w"):
        check_room(people, models(), settings)
    others = settings.compute.work_dir / "nipype" / "preprocessing" / "sub_other" / "bold.nii.gz"
    others.parent.mkdir(parents=True)
    others.write_bytes(b"x" * 20_000_000)  # of another job, which shares the folder
    with pytest.raises(DiskFull, match="one participant needs"):
        check_room(people, models(), settings)
    done = others.parent.with_name(f"sub_{people[0].label}") / "bold.nii.gz"
    done.parent.mkdir(parents=True)
    done.write_bytes(b"x" * 20_000_000)
    check_room(people, models(), settings)
    assert "more will be needed than is free" in caplog.text


def test_one_of_two_may_fit(toy: Toy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    people, settings = toy
    monkeypatch.setattr(disk_need, "free_bytes", lambda path: int(1.2 * (SERIES + 45e6)))
    check_room(people, models(), settings)
    assert "those whose work does not fit will fail by name" in caplog.text


def test_voxels_of_long_runs_need_a_file_for_a_while(toy: Toy, tmp_path: Path) -> None:
    people, settings = toy
    write_bold(tmp_path / "long.nii.gz", (2, 2, 2, 3000))
    run = replace(people[0].runs[0], bold=tmp_path / "long.nii.gz", n_volumes=3000)
    assert needed([replace(people[0], runs=(run,))], 0.0, settings).passing == pytest.approx(3000 * 8.5e5 / 8 * 4)
