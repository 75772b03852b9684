"""Configurations: through JSON and back, and every impossible one refused in one clear line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ban_bids.errors import CheckpointError, UsageError
from ban_bids.models.config import PRESETS, AreaConfig, BANConfig, FrontEndConfig

_AREAS = BANConfig().areas


def test_config_survives_json() -> None:
    for config in PRESETS.values():
        assert BANConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        assert config.name.isalnum()
        assert config.name.islower()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 0}, "channels and steps"),
        ({"channels": 8, "steps": 0}, "channels and steps"),
        ({"channels": 8, "kernel": (3, 2), "stride": (1, 3)}, "gaps"),
        ({"channels": 8, "kernel": (1, 3), "stride": (2, 1)}, "gaps"),
        ({"channels": 8, "kernel": (4, 3)}, "no centre"),
        ({"channels": 8, "lateral_kernel": (2, 3)}, "no centre"),
        ({"channels": 8, "lateral_kernel": (3, 0)}, "gaps"),
        ({"channels": 8, "stride": (0, 1)}, "stands still"),
        ({"channels": 8, "kernel": (3, 3, 3)}, "frequency, time"),
    ],
)
def test_impossible_areas_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        AreaConfig(**wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"areas": _AREAS[:3]}, "3 areas"),
        ({"areas": (*_AREAS[:3], replace(_AREAS[3], stride=(2, 3)))}, "T2T3 has 8.33 frames per second"),
        ({"front_end": FrontEndConfig(n_mels=40)}, "T2T3 has a stride of 2, which does not divide 5"),
        ({"name": "ban-small"}, "file names"),
        ({"name": ""}, "file names"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_areas_that_do_not_fit_together_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(BANConfig(), **wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hop": 0}, "1 or more"),
        ({"n_mels": 0}, "1 or more"),
        ({"n_fft": 256}, "gaps"),
        ({"f_max": 12_000.0}, "11025"),
        ({"f_min": -1.0}, "between"),
        ({"floor": 0.0}, "floor"),
    ],
)
def test_impossible_front_ends_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FrontEndConfig(**wrong)


def test_an_impossible_stored_configuration_is_the_files_fault() -> None:
    stored = BANConfig().to_dict()
    stored["areas"][1]["channels"] = 0
    with pytest.raises(CheckpointError, match="channels and steps"):
        BANConfig.from_dict(stored)
