"""The page of speed is what its generator makes of its JSON, and its ratios are those of the numbers."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
HARDWARE = {"processor": "a chip", "threads": 2, "python": "3.11", "versions": {"numpy": "2.0"}}


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return importlib.import_module("make_speed")


def part(seconds: float, cv: float, weightings: int = 50) -> dict[str, Any]:
    scores = {"cv_score": cv, "held_out_rsquare": 1 + cv}
    return {
        "voxels": 5000,
        "weightings": weightings,
        "backend": "numpy",
        "wall_s": seconds,
        "peak_mb": 900,
    } | scores


@pytest.fixture
def speed() -> dict[str, Any]:
    size = {"voxels": 5000, "runs": 12, "volumes": 400, "held_out_runs": 6, "layers": 4, "components": 64,
            "lags": 7, "rows": 4800, "columns": 1792}  # fmt: skip
    parts = {
        "joint": part(100.0, -0.9), "draws": part(110.0, -0.92), "same": part(9.0, -0.95, 2),
        "himalaya": part(84.0, -0.94, 2) | {"scaled_wall_s": 2050.0},
        "singles": {"voxels": 50000, "weightings": 1, "backend": "numpy", "failed": "the process died"},
    }  # fmt: skip
    curve = {
        "ours": [{"value": v, "seconds": v / 50, "peak_mb": 300, "cv_score": -0.9, "measured_weightings": 10}
                 for v in (100, 200, 400)],
        "himalaya": [{"value": v, "seconds": v / 4, "peak_mb": 300, "cv_score": -0.8,
                      "measured_weightings": w}
                     for v, w in ((100, 10), (200, 2))]
        + [{"value": 400, "failed": "stopped after 60 s", "measured_weightings": 2}],
    }  # fmt: skip
    factors = ("rows", "voxels", "features", "weightings")
    return {
        "headline": {"command": "c", "hardware": HARDWARE, "size": size, "weightings": 50, "alphas": 10,
                     "mem_mb": 4096, "backend": "numpy", "parts": parts},
        "scaling": {"command": "c", "hardware": HARDWARE, "base": dict.fromkeys(factors, 200),
                    "inner_folds": 8, "alphas": 10, "mem_mb": 4096, "himalaya_backend": "numpy",
                    "himalaya_weightings": 2, "seconds_at_most": 60,
                    "curves": {factor: curve for factor in factors}},
    }  # fmt: skip


def test_comparisons_follow_the_numbers(generator: ModuleType, speed: dict[str, Any]) -> None:
    text = generator.page(speed)
    assert "measured on 2 of 50 weightings" in text and "**2 050 s, 20.5 times ours**" in text
    assert "CV score -1.0e-02, held-out R² -1.0e-02" in text
    assert "(which himalaya's search would reach, solvers being equal): +2.0e-02" in text
    assert "Not measured: every layer alone: the process died." in text
    rows = [line for line in text.splitlines() if line.startswith("| voxels |")]
    assert rows[0].split(" | ")[1:] == ["100", "2.00", "25.0", "12.5", "300", "300", "-1.0e-01 |"]
    assert rows[1].endswith("– |"), "scores of other weightings are not compared"
    assert rows[2].split(" | ")[3:5] == ["–", "–"]
    speed["headline"]["parts"]["himalaya"]["voxels"] = 500
    assert "its voxels are 500, ours 5 000" in generator.page(speed)


def test_whole_participant_is_told_as_measured(generator: ModuleType) -> None:
    stage = {"stage": "preprocessing", "minutes": 20.0, "cpu_min": 38.5, "peak_gib": 4.25}
    rest = {"stage": "outside all stages", "minutes": 0.5, "cpu_min": 0.25, "peak_gib": None}
    steps = [{"step": "run_*/realign", "times": 18, "seconds": 360.0, "longest_s": 21.5},
             {"step": "short", "times": 1, "seconds": 0.2, "longest_s": 0.2}]  # fmt: skip
    whole = {"command": "c", "hardware": HARDWARE, "runs_training": 12, "runs_test": 6, "volumes": 410,
             "shape": [96, 96, 68], "voxel": 2.0, "models": ["ban", "crnn"], "nprocs": 2, "omp_nthreads": 2,
             "mem": "8G", "status": 0, "wall_min": 20.5, "cpu_min": 38.75, "peak_gib": 4.25, "stages": [stage, rest],
             "steps": steps, "disk_gib": {"work": {"end": 3.0, "peak": 12.5}}, "scores": []}  # fmt: skip
    text = generator.page({"whole": whole})
    assert "| preprocessing | 20.00 | 38.50 | 4.25 |" in text and "| outside all stages | 0.50 | 0.25 | – |" in text
    assert "| **all** | **20.50** | **38.75** | **4.25** |" in text and "work 3.0 GiB (12.5)" in text
    assert "| run_*/realign | 18 | 360 | 21.5 |" in text and "short" not in text and "status" not in text
    assert "The app ended with status 1." in generator.page({"whole": {**whole, "status": 1}})


def test_what_mem_is_held_to_is_told_as_measured(generator: ModuleType) -> None:
    size = {"asked": "4G", "peak_gib": 3.676, "without_files_gib": 3.492, "wall_min": 15.52, "cpu_min": 12.67,
            "status": 0, "tables_differ_by": 0.0, "voxels_differ": 0.00138}  # fmt: skip
    failed = {**size, "asked": "2G", "status": 1, "tables_differ_by": None, "voxels_differ": None}
    memory = {"command": "c", "what": "Somebody.", "hardware": HARDWARE, "sizes": [size, failed]}
    text = generator.page({"memory": memory})
    assert "| 4G | 3.68 | 3.49 | 15.5 | 12.7 | 0.00000 | 0.14 % | 0 |" in text
    assert "| 2G | 3.68 | 3.49 | 15.5 | 12.7 | – | – | 1 |" in text


def test_picture_is_small_and_repeatable(generator: ModuleType, speed: dict[str, Any], tmp_path: Path) -> None:
    generator.picture(speed["scaling"], tmp_path / "a.svg")
    generator.picture(speed["scaling"], tmp_path / "b.svg")
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert len(drawn) < 200_000
    assert all(name in drawn.decode() for name in ("training rows", "voxels", "feature columns", "weightings"))


def test_published_page_is_the_generators(generator: ModuleType) -> None:
    source = DOCS / "speed.json"
    if not source.exists():
        pytest.skip("no speed has been published: docs/speed.json is absent")
    text = source.read_text("utf-8")
    assert (DOCS / "speed.md").read_text("utf-8") == generator.page(json.loads(text))
    assert "/tmp" not in text and "/home" not in text


def test_the_first_simulated_voxels_do_not_depend_on_their_number(tmp_path: Path) -> None:
    from encoding_data import Size, load, simulate

    few, many = tmp_path / "few", tmp_path / "many"
    for folder, voxels in ((few, 3), (many, 505)):
        folder.mkdir()
        simulate(Size(voxels, runs=3, volumes=30, held_out_runs=2, components=2), folder)
    a, b = (load(Size(runs=3, volumes=30), folder) for folder in (few, many))
    np.testing.assert_array_equal(a.y, b.y[:, :3])
    assert a.held_y.shape == (60, 3) and b.y.shape == (90, 505) and a.x.shape == (90, 56)
    for run in np.split(np.hstack([b.x, b.y]), 3):
        np.testing.assert_allclose(run.mean(axis=0), 0, atol=1e-6)
