"""The results page is what its generator makes of its JSON, and its words follow the numbers."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scipy.stats import binomtest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return importlib.import_module("make_results")


def _model(accuracy: float, difference: tuple[float, float, float] | None) -> dict[str, Any]:
    def figure(value: float) -> dict[str, Any]:
        return {"value": value, "ci95": [value - 0.1, value + 0.1]}

    model: dict[str, Any] = {
        name: figure(accuracy)
        for name in ("track_accuracy", "segment_accuracy", "macro_f1", "calibration_error", "brier_score")
    }
    model |= {"kind": "trained network", "parameters": 1234567, "multiply_adds": 2.5e6, "steps": 800}
    model |= {"training_cpu_seconds": 60.2, "audio_seconds_per_cpu_second": 250.4}
    if difference is not None:
        value, *bounds = difference
        model["difference"] = {"value": value, "ci95": bounds, "p": 0.02, "p_holm": 0.04}
    return model


@pytest.fixture
def results() -> dict[str, Any]:
    return {
        "command": "python benchmarks/compare_models.py --data DIR --out docs/results.json",
        "hardware": "a machine", "versions": {"torch": "2.11.0"}, "code": ["abc"], "n_tracks": 70,
        "genres": dict.fromkeys("abcdefghij", 7), "folds": 5, "seeds": 1, "cpu_minutes": 2.0,
        "draws": 10000, "reference": "ban", "settings": {"ema": 0.9, "augmentation": {"mixup": 0.2}},
        "models": {
            "ban": _model(0.7, None),
            "vgg": _model(0.5, (-0.2, -0.3, -0.1)),
            "logmel": _model(0.8, (0.1, 0.01, 0.2)) | {"segment_accuracy": None},
            "ban-feedforward": _model(0.68, (-0.02, -0.1, 0.05)),
        },
    }  # fmt: skip


@pytest.fixture
def full(results: dict[str, Any]) -> dict[str, Any]:
    """The same with seeds, a plateau, noise, pieces, measures and learning curves."""
    results |= {"seeds": 3, "snrs": [20, 0], "pieces": {"seconds": [0.5, 5.0], "per track": 8}}
    results |= {"choices": "Everything was chosen on other sounds.", "about": "Real tracks of GTZAN"}
    results["settings"]["plateau"] = 0.01
    for name, model in results["models"].items():
        value = model["track_accuracy"]["value"]
        heard: dict[str, Any] = {"value": value, "ci95": [value - 0.1, value + 0.1], "seeds": [value] * 3}
        if "difference" in model:
            model["difference"]["ci95_seeds"] = [model["difference"]["value"] - 0.3, model["difference"]["value"] + 0.3]
            heard["difference"] = {"value": -0.05, "ci95": [-0.1, 0.0], "ci95_seeds": [-0.2, 0.1]}
        model["heard"] = dict.fromkeys(("20 dB", "0 dB", "noise", "0.5 s", "5 s", "pieces"), heard)
        spread = {"value": 20.5, "ci95": None, "lowest": 18.0, "highest": 25.0}
        model["measures"] = {"dimension": spread, "probe_genre": None if name == "vgg" else spread}
        model["not_measured"] = {"probe_genre": "its layer is empty"} if name == "vgg" else {}
        curve = [[1, 2.3], [100, 1.5], [800, 1.0]] if name != "logmel" else []
        model["training"] = {"ended": {"plateau": 14, "time": 1} if curve else {}, "steps": [700, 900], "curve": curve}
    return results


def test_the_whole_page(generator: ModuleType, full: dict[str, Any], tmp_path: Path) -> None:
    text = generator.page(full)
    assert "Everything was chosen on other sounds." in text
    assert "trained until its training loss stopped falling (`plateau` 0.01), for at most 2 processor minutes" in text
    # with several seeds the interval over tracks and seeds decides
    assert "Higher than `ban` beyond its interval: none. Lower: none." in text
    line = "each at its plateau but for 2 of their trainings, which ended before: +0.020 [-0.280, +0.320]; whether"
    assert f"{line} recurrence helps cannot be told" in text
    assert "tracks that are heard (here 14 a fold)" in text
    assert "by the signs of the tracks' differences, summed over seeds" in text and "McNemar" not in text
    assert "takes these trainings as given" in text and "(a seed also draws the folds)" in text
    assert "| `vgg` | 0.50 | 0.50 | 0.500 [0.400, 0.600] | -0.050 [-0.200, +0.100] |" in text
    assert "n/a: `vgg`: its layer is empty." in text
    assert "| `vgg` | 14 | 1 | 0 |" in text and "| `logmel` | 14" not in text
    assert "20.500 (18.000 to 25.000)" in text
    widths = [line.count("|") - 1 for line in text.splitlines() if line.startswith("| ")]
    assert max(widths) <= 8
    source = tmp_path / "results.json"
    source.write_text(json.dumps(full))
    (tmp_path / "results_digits.json").write_text(json.dumps(full | {"about": "Spoken digits"}))
    generator.main([str(source)])
    _, digits = source.with_suffix(".md").read_text("utf-8").split("## Spoken digits")
    assert "| `vgg` | 14 | 1 | 0 |" in digits and "its figures are those of an unfinished one" in digits
    for model in full["models"].values():
        model["training"]["ended"].pop("time", None)
    assert "each at its plateau: +0.020" in generator.page(full)
    drawn = (tmp_path / "results_curves.svg").read_text("utf-8")
    assert "crnn" not in drawn and all(name in drawn for name in ("ban", "vgg", "ban-feedforward"))


def test_words_follow_the_numbers(generator: ModuleType, results: dict[str, Any]) -> None:
    text = generator.page(results)
    assert "Higher than `ban` beyond its interval: `logmel`. Lower: `vgg`." in text
    assert "Not told apart from `ban` by these tracks: `ban-feedforward`." in text
    assert "+0.020 [-0.050, +0.100]; whether recurrence helps cannot be told" in text
    results["models"]["ban-feedforward"] = _model(0.5, (-0.2, -0.3, -0.1))
    assert "+0.200 [+0.100, +0.300]; recurrence helps" in generator.page(results)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows[:4]] == ["logmel", "ban", "ban-feedforward", "vgg"]
    assert "0.500 [0.400, 0.600] | -0.200 [-0.300, -0.100] | 0.040" in text
    assert not any(word in text for word in ("## In noise", "## Short excerpts", "## Learning curves", "seeds, "))
    assert "whether or not it was still learning" in text
    assert "| n/a |" in rows[0]


def test_a_finding_by_its_interval_alone_is_not_told_as_one_of_the_corrected_test(
    generator: ModuleType, results: dict[str, Any]
) -> None:
    assert "a corrected p under .05, too: `logmel`, `vgg`." in generator.page(results)
    results["models"]["vgg"]["difference"]["p_holm"] = 0.56
    assert "a corrected p under .05, too: `logmel`." in generator.page(results)
    for name in ("vgg", "logmel"):
        results["models"][name]["difference"]["ci95"] = [-0.1, 0.1]
    assert "corrected p under" not in generator.page(results)


def test_a_model_that_never_failed_is_not_certain(generator: ModuleType, results: dict[str, Any]) -> None:
    assert "without width" not in generator.page(results)
    results["models"]["vgg"]["track_accuracy"] = {"value": 1.0, "ci95": [1.0, 1.0]}
    # where 5.1 % are missed, 70 are all recognised with a probability of .025
    assert "`vgg` answered to all tracks alike" in generator.page(results)
    assert "by 70 tracks alone, up to 5.1 % of others" in generator.page(results)
    assert binomtest(70, 70).proportion_ci(0.95, "exact").low == pytest.approx(1 - 0.051, abs=0.0005)


def test_groups_that_are_the_folds(generator: ModuleType, full: dict[str, Any]) -> None:
    """With as many folds as speakers a seed draws no folds; with one seed the test is of speakers, not McNemar's."""
    full |= {"group": "speaker", "n_groups": 5}
    text = generator.page(full)
    assert "with 3 seeds (each fold is one group, whatever the seed)" in text and "also draws the folds" not in text
    full["seeds"] = 1
    text = generator.page(full)
    assert "McNemar" not in text and "by the signs of the differences of whole groups, of these trainings" in text
    full |= {"n_groups": 6, "seeds": 3}
    assert "(a seed also draws the folds)" in generator.page(full)


def test_picture_is_small_and_repeatable(generator: ModuleType, results: dict[str, Any], tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        generator.forest(results, generator.ranked(results), tmp_path / name)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert len(drawn) < 200_000
    assert all(name in drawn.decode() for name in results["models"])


def test_published_page_is_the_generators(generator: ModuleType) -> None:
    source = DOCS / "results.json"
    if not source.exists():
        pytest.skip("no comparison has been published: docs/results.json is absent")
    text = source.read_text("utf-8")
    results = json.loads(text)
    assert (DOCS / "results.md").read_text("utf-8") == generator.page(*generator.read(source))
    assert (DOCS / "results.svg").stat().st_size < 200_000
    # recognised or not is told of a track by its name, and nothing else that came from its audio
    assert "segments" not in results and "/" not in results["command"].split("--data ")[1].split()[0]
    per_track = {k for m in results["models"].values() for k, v in m.items() if isinstance(v, list)}
    assert per_track == {"not_recognised"}
