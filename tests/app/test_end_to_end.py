"""The whole path on the demo dataset, as a user runs it: data, training, participant, group."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ban_bids import load_derivatives
from ban_bids.cli.demo import main as demo
from ban_bids.constants import AREAS, JOINT

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]

FACTORY = """
import torch
from ban_bids.models.foreign import LayerModel


def make(weights, device):
    torch.manual_seed(0)
    stages = [torch.nn.Sequential(torch.nn.Conv1d(n, 8, 64, 32 if n == 1 else 4), torch.nn.ReLU()) for n in (1, 8, 8)]
    layers = {f"L{k:02d}": str(k) for k in range(3)}
    hear = torch.nn.Sequential(*stages)
    return LayerModel(hear, layers, name="odd", preprocess=lambda sound: sound[:, None], device=device)
"""
"""A model of three layers that no region is named after."""


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small demo: five models, low-level controls, auditory voxels."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    command = [sys.executable, "-m", "ban_bids.cli.demo", str(folder), "--size", "small", "--keep-work"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (folder / "stdout.txt").write_text(run.stdout)
    (folder / "stderr.txt").write_text(run.stderr)
    return folder


@pytest.fixture(scope="module")
def done(demo_folder: Path) -> Path:
    """The demo's data scored by defaults, all of cortex and all basic controls, into ``whole``."""
    weights = ("--model", f"ban={demo_folder / 'ban.safetensors'}")
    # the demo's own preprocessing is found in its work folder
    where = (demo_folder / "bids", demo_folder / "whole")
    run = run_app(*where, "participant", *weights, "-w", demo_folder / "work", "--sloppy")
    assert run.returncode == 0, run.stdout + run.stderr
    (demo_folder / "whole.txt").write_text(run.stdout)
    assert run_app(*where, "group").returncode == 0
    return demo_folder


def run_app(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ban_bids", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_demo_tells_its_story(demo_folder: Path) -> None:
    said, steps = ((demo_folder / name).read_text() for name in ("stdout.txt", "stderr.txt"))
    assert "What was planted, and what was found" in said and "C of ban less its C" in said
    assert "[1/" in steps and " left)" in steps
    assert "INFO preprocessing" not in said + steps  # the app's own log is a file
    assert "INFO preprocessing" in (demo_folder / "ban-bids.log").read_text()
    out = load_derivatives(demo_folder / "out")
    models = {"ban", "banfeedforward", "deepcnn", "banuntrained", "logmel"}
    scores = out.scores(role="scored")
    for row in ("C", "B", "BAS"):
        assert set(scores[scores["row"] == row]["model"]) == models
    pairs = out.comparisons("01", kind="models", row="C")
    assert {frozenset(pair) for pair in pairs[["model", "other"]].itertuples(index=False)} >= {
        frozenset(("ban", other)) for other in models - {"ban"}
    }


def test_the_table_names_participant_scores_and_report(done: Path) -> None:
    text = (done / "whole.txt").read_text()
    assert "sub-01" in text
    assert re.search(r"-?\d\.\d{3} \[", text)


def test_every_promised_map_exists_and_opens(done: Path) -> None:
    maps = load_derivatives(done / "whole").maps()
    stats = {"r", "rsquare", "ccnorm", "pspecific", "qspecific"}
    for layer in (*AREAS, JOINT):
        assert stats <= set(maps[maps["layer"] == layer]["stat"])
    for layer in AREAS:
        assert {"share", "unique"} <= set(maps[maps["layer"] == layer]["stat"])
    assert {"ev", "ccmax"} <= set(maps[maps["model"].isna()]["stat"])
    shapes = {nib.load(path).shape for path in maps["path"]}
    assert len(shapes) == 1


def test_shares_sum_to_the_joint_rsquare(done: Path) -> None:
    maps = load_derivatives(done / "whole").maps(participant="01")

    def volume(layer: str, stat: str) -> np.ndarray:
        path = maps[(maps["layer"] == layer) & (maps["stat"] == stat)]["path"].iloc[0]
        return np.asarray(nib.load(path).dataobj)

    total = sum(volume(layer, "share") for layer in AREAS)
    np.testing.assert_allclose(total, volume(JOINT, "rsquare"), atol=1e-4, equal_nan=True)


def test_r_is_far_higher_inside_the_planted_regions(done: Path) -> None:
    out = load_derivatives(done / "whole")
    labels = np.asarray(nib.load(out.regions("01").image).dataobj)
    found = []
    for index, layer in enumerate(AREAS, start=1):
        r = np.asarray(nib.load(out.maps(participant="01", layer=layer, stat="r").path.iloc[0]).dataobj)
        measured = np.isfinite(r) & (r != 0)
        found.append((r[measured & (labels == index)].mean(), r[measured & (labels == 0)].mean()))
    # the small demo has twelve held-out clips: a layer alone may fail, the four together may not
    inside, outside = np.mean(found, axis=0)
    assert inside > 0.05, found
    assert inside > 2 * abs(outside), found


def test_scores_have_intervals_or_reasons_and_controls(done: Path) -> None:
    scores = load_derivatives(done / "whole").scores("01")
    totals = scores[scores["role"] == "scored"].set_index("row")
    assert totals.loc["C", "ci_low"] <= totals.loc["C", "value"] <= totals.loc["C", "ci_high"]
    # one person was scanned, twelve people chose
    for row in ("B", "kappa_person_person", "kappa_majority", "BAS"):
        value, low, high, reason = totals.loc[row, ["value", "ci_low", "ci_high", "reason"]]
        assert low <= value <= high or (np.isnan(value) and isinstance(reason, str) and "two people" not in reason)
    controls = scores[(scores["role"] == "control") & (scores["row"] == "C")].set_index("model")
    untrained = controls[controls.index.str.contains("untrained")]
    assert len(untrained) == 5
    assert np.isfinite(untrained["value"]).all()
    assert np.isfinite(controls.loc[["logmel", "modulation"], "value"]).all()
    assert "--controls full" in controls.loc["banfeedforward", "reason"]


def test_every_column_is_defined_and_the_weights_are_named(done: Path) -> None:
    table = next((done / "whole").glob("sub-01/func/*_bas.tsv"))
    definitions = json.loads(table.with_suffix(".json").read_text())
    assert set(pd.read_csv(table, sep="\t").columns) <= set(definitions)
    assert definitions["ModelFingerprint"]


def test_the_reports_are_whole(done: Path) -> None:
    for page in ("sub-01.html", "group.html"):
        text = (done / "whole" / page).read_text()
        assert "</html>" in text
        assert "reconstruction" in text


def test_nothing_half_written_is_left(done: Path) -> None:
    assert not [p for p in (done / "whole").rglob(".tmp*") if "work" not in p.parts]


@pytest.mark.skipif(shutil.which("bids-validator-deno") is None, reason="bids-validator-deno is not installed")
@pytest.mark.parametrize("folder", ["bids", "out", "whole"])
def test_the_official_validator_finds_no_error(done: Path, folder: str) -> None:
    command = ["bids-validator-deno", str(done / folder), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(run.stdout)["issues"]["issues"]
    assert not [issue for issue in issues if issue["severity"] == "error"]


def test_two_runs_at_once_both_finish_and_compute_the_same(done: Path) -> None:
    before = load_derivatives(done / "whole").scores("01")
    weights = ("--weights", str(done / "ban.safetensors"))
    command = [
        sys.executable,
        "-m",
        "ban_bids",
        str(done / "bids"),
        str(done / "whole"),
        "participant",
        *weights,
        "--sloppy",
        "-w",
        str(done / "work"),
    ]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for one in both:
        _, log = one.communicate()
        assert one.returncode == 0, log
    pd.testing.assert_frame_equal(before, load_derivatives(done / "whole").scores("01"))


def test_more_models_add_to_the_folder_and_touch_nothing_else(done: Path, tmp_path: Path) -> None:
    def contents() -> dict[str, bytes]:
        files = [path for path in (done / "whole").rglob("*") if path.is_file() and "work" not in path.parts]
        return {str(path.relative_to(done / "whole")): path.read_bytes() for path in files}

    (tmp_path / "layers_of_mine.py").write_text(FACTORY)
    before = contents()
    run = subprocess.run(
        [sys.executable, "-m", "ban_bids", done / "bids", done / "whole", "participant"]
        + ["--model", "logmel", "layers_of_mine:make", "--sloppy", "-w", done / "work"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    after = contents()
    changed = {name for name, content in before.items() if after.get(name) != content}
    compared = {name for name in changed if "_comparison." in name}
    assert changed == {"sub-01.html", "logs/sub-01_status.json", *compared} and len(compared) == 2
    pairs = load_derivatives(done / "whole").comparisons("01", kind="models", row="C")
    assert pairs["reason"].isna().all() and len(pairs) == 3, pairs["reason"].tolist()
    added = {name for name in after if name not in before}
    assert all("desc-logmel" in name or "desc-odd" in name for name in added), added
    assert len([name for name in added if name.endswith("_bas.tsv")]) == 2
    layers = load_derivatives(done / "whole").maps(model="odd", stat="r")["layer"]
    assert set(layers) == {"L00", "L01", "L02"}  # no region is theirs: they are not fitted together
    page = (done / "whole" / "sub-01.html").read_text()
    for model in ("ban", "logmel", "odd"):
        assert f"Model {model}</h2>" in page


def test_an_unknown_participant_is_one_line(done: Path) -> None:
    weights = ("--weights", done / "ban.safetensors")
    run = run_app(done / "bids", done / "whole", "participant", *weights, "--participant-label", "99")
    assert run.returncode == 2
    assert "99" in run.stderr
    assert [line for line in run.stderr.splitlines() if "error" in line] == [run.stderr.splitlines()[-1]]


def test_reports_only_makes_the_page_anew(done: Path) -> None:
    page = done / "whole" / "sub-01.html"
    page.unlink()
    run = run_app(done / "bids", done / "whole", "participant", "--reports-only")
    assert run.returncode == 0, run.stderr
    assert page.exists()


def test_the_group_needs_no_raw_data(done: Path, tmp_path: Path) -> None:
    result = run_app(tmp_path / "gone", done / "whole", "group")
    assert result.returncode == 0, result.stderr
    scores = load_derivatives(done / "whole").group_scores()
    assert {"C", "B", "BAS"} <= set(scores["row"])


def test_the_tutorial_runs(demo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo_folder.parent)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/tutorial.md", "exec"), names)


def test_the_demo_refuses_a_file_as_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert demo([str(tmp_path / "file")]) == 2


def test_people_and_model_stand_side_by_side(done: Path) -> None:
    found = load_derivatives(done / "whole").confusions("01", model="ban")
    assert set(found["answer"]) >= set(found["genre"]) and len(found) > len(set(found["genre"]))
    np.testing.assert_allclose(found.groupby("genre")[["people_share", "model_share"]].sum(), 1, atol=1e-4)
    assert '<div class="pair">' in (done / "whole" / "sub-01.html").read_text()
