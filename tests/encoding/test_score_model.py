"""A whole model in one participant: an atlas that lacks a region, the best layer, what the maps' files say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from listening import ToyModel, ToyStore, design, make_run, participant
from nulls import roi_null
from scipy import stats

from ban_bids.app.scored import (
    PreparedParticipant,
    ceiling_maps,
    model_passes,
    prepare_participant,
    score_control,
    score_model,
)
from ban_bids.constants import AREAS, JOINT, REGIONS
from ban_bids.derivatives.maps import write_maps
from ban_bids.derivatives.read import load_derivatives
from ban_bids.encoding import design as design_module
from ban_bids.encoding import execute
from ban_bids.encoding.bold import held_out_bold
from ban_bids.encoding.design import Design
from ban_bids.encoding.fit import Fitting, encode
from ban_bids.encoding.permutation import SPECIFIC
from ban_bids.errors import UsageError
from ban_bids.inputs.heldout import HeldOutPlan
from ban_bids.models.candidate import mapping_by_name
from ban_bids.scoring.ceiling import noise_ceiling
from ban_bids.scoring.cortical import CorticalScore
from ban_bids.scoring.voxels import ScoredModel
from ban_bids.settings import Encoding

SETTINGS = Encoding(n_components=4, n_band_weights=3, alphas=(0.1, 10.0), n_permutations=1000, n_bootstrap=20)
PLAN = HeldOutPlan((("task-test",),), "named", "test")
OWN = mapping_by_name(AREAS)
WHY = {"PB": "atlas juelich has no region PB"}


def prepared(absent: dict[str, str]) -> tuple[PreparedParticipant, Design]:
    """Three voxels a region, two of none; the absent region's voxels belong to none as well."""
    runs = [make_run(f"train{r}", [f"t{r}{i}" for i in range(12)], n_volumes=125) for r in range(2)]
    runs.append(make_run("test", [f"x{i}" for i in range(8)] * 2, n_volumes=165))
    n_rows = sum(run.n_volumes for run in runs)
    data = participant(runs, np.random.default_rng(1).standard_normal((n_rows, 14)))
    region = np.repeat([1, 2, 3, 4, 0], [3, 3, 3, 3, 2]).astype(np.int16)
    region[np.isin(region, [REGIONS.index(name) + 1 for name in absent])] = 0
    data = replace(data, region=region, absent=absent)
    return prepare_participant(data, PLAN, Fitting(SETTINGS, 0)), design(
        data, ToyModel(), PLAN, SETTINGS, Path("unused")
    )


def scored(absent: dict[str, str]) -> tuple[ScoredModel, CorticalScore]:
    ready, laid = prepared(absent)
    assert ready.tests.plans and ready.tests.repeats is not None
    return score_model(ready, laid, OWN), score_control(ready, laid, OWN)


@pytest.fixture(autouse=True)
def toy_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(design_module, "FeatureCache", ToyStore)


def test_an_absent_region_has_no_p_and_leaves_the_others() -> None:
    (whole, _), (part, control) = scored({}), scored(WHY)
    for cortical in (part.cortical, control):
        assert WHY["PB"] in cortical.reason
        assert np.isnan(cortical.value)
    pairs = [(test.question, test.layer, test.region) for test in part.tests]
    assert pairs == [(SPECIFIC, layer, region) for layer in REGIONS for region in REGIONS]
    for before, after in zip(whole.tests, part.tests):
        if after.region == "PB":
            assert np.isnan([after.mean_r, after.p, after.p_fwer]).all()
            continue
        assert (after.mean_r, after.p) == (before.mean_r, before.p)
        # fewer regions, a smaller maximum
        assert after.p <= after.p_fwer <= before.p_fwer
    absent = prepared(WHY)[0].data.region == 0
    for (layer, stat), values in whole.maps.items():
        found = part.maps[layer, stat]
        if stat in ("share", "unique") or (layer == JOINT and stat != "bestlayer"):
            # layers are fitted together in regions only; q depends on how many voxels there are
            assert np.isnan(found[absent]).all()
            found, values = found[~absent], values[~absent]
        if not (layer == JOINT and stat.startswith("q")):
            np.testing.assert_array_equal(found, values)


def test_without_any_region_every_score_is_missing_with_the_reason() -> None:
    absent = {name: f"no region {name}" for name in REGIONS}
    _, control = scored(absent)
    assert np.isnan(control.value)
    assert all(name in control.reason for name in REGIONS)


def test_the_best_layer_is_chosen_without_the_held_out_rows() -> None:
    ready, laid = prepared({})
    data = ready.data
    data.usable[4] = False
    found = score_model(ready, laid, OWN)
    assert all(np.isnan(values[4]) for values in found.maps.values())
    best = found.maps[JOINT, "bestlayer"]
    stacked = np.stack([found.inner[layer] for layer in AREAS])
    assert np.isnan(best[4])
    for v in np.flatnonzero(data.usable):
        chosen = int(best[v]) - 1
        assert stacked[chosen, v] == stacked[:, v].max()
    assert len(set(best[data.usable])) > 1
    # other BOLD in the held-out run: other scores, the same choice
    bold = data.bold.copy()
    bold[laid.index] = np.random.default_rng(5).standard_normal((len(laid.index), bold.shape[1]))
    again = score_model(replace(ready, data=replace(data, bold=bold)), laid, OWN)
    np.testing.assert_array_equal(again.maps[JOINT, "bestlayer"], best)
    assert not np.allclose(again.maps["A1", "r"], found.maps["A1", "r"], equal_nan=True)


def test_q_is_over_all_voxels_and_the_maximum_over_all_layers_and_regions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready, laid = prepared({})
    data, tests = ready.data, ready.tests
    data.usable[4], data.bold[:, 4] = False, 0
    monkeypatch.setattr(execute, "slab_size", lambda *args: 6)  # three slabs
    found = score_model(ready, laid, OWN)
    for layer in (*AREAS, JOINT):
        p, q = found.maps[layer, "pspecific"], found.maps[layer, "qspecific"]
        fitted = data.usable & ((data.region > 0) | (layer != JOINT))
        assert (np.isfinite(q) == fitted).all() and (np.isfinite(p) == fitted).all()
        used = np.flatnonzero(fitted)
        np.testing.assert_allclose(q[used], stats.false_discovery_control(p[used].astype(float)), rtol=1e-6)
        assert not np.allclose(p[used], q[used])
    held, observed, null = encode(data, laid, Fitting(SETTINGS)).held_out, [], []
    for layer in AREAS:
        labels = np.where(data.usable, data.region, 0)
        one = roi_null(tests.plans[SPECIFIC], held.specific[layer], held.bold, labels=labels)
        observed.append(one[0])
        null.append(one[1])
    tried = np.concatenate(null, axis=1)
    largest = ((tried - tried.mean(axis=0)) / tried.std(axis=0)).max(axis=1)
    for test, value, mean, spread in zip(found.tests, np.concatenate(observed), tried.mean(axis=0), tried.std(axis=0)):
        assert test.mean_r == pytest.approx(value, abs=1e-5)
        expected = (1 + np.sum(largest >= (value - mean) / spread)) / (1 + len(largest))
        assert test.p_fwer == pytest.approx(expected, abs=2e-3)
    assert any(test.p_fwer > test.p + 0.05 for test in found.tests)


def test_files_of_shares_count_the_negative_and_those_of_best_layers_name_them(tmp_path: Path) -> None:
    ready, laid = prepared({})
    found = score_model(ready, laid, OWN)
    assert any((found.maps[layer, "share"] < 0).any() for layer in AREAS)
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "GeneratedBy": [{"Name": "ban-bids"}]}')
    labels = {"participant": "01", "task": "test", "space": "MNI", "model": "ban"}
    grid = {"mask": ready.data.mask, "affine": ready.data.affine}
    write_maps(tmp_path, found.maps, metadata={}, layers=AREAS, **grid, **labels)
    out = load_derivatives(tmp_path)
    for row in out.maps(stat="share").itertuples():
        values = found.maps[row.layer, "share"]
        sidecar = json.loads(Path(row.path.replace(".nii.gz", ".json")).read_text())
        assert sidecar["VoxelsNegative"] == int((values < 0).sum())
    (row,) = out.maps(stat="bestlayer").itertuples()
    sidecar = json.loads(Path(row.path.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Levels"] == {"1": "A1", "2": "Belt", "3": "PB", "4": "T2T3"}
    image = nib.load(row.path).get_fdata()
    assert {layer: int((image == k).sum()) for k, layer in enumerate(AREAS, 1)} == sidecar["VoxelsOfLayer"]


def test_layers_and_regions_of_any_number_and_name_pass_from_features_to_maps() -> None:
    ready, _ = prepared({})
    region = np.where(ready.data.region > 2, 0, ready.data.region)
    names = ("conv 1", "encoder/layers.2", "encoder/layers.3", "stem", "out/r")
    model = ToyModel(name="net", layers=names, frame_rate=dict.fromkeys(names, 10.0))
    data, regions = replace(ready.data, region=region), ("IC", "STG left")
    laid = design(data, model, PLAN, SETTINGS, Path("unused"))

    def scored_with(settings: Encoding, mapping: dict[str, str] | None = None) -> ScoredModel:
        return score_model(prepare_participant(data, PLAN, Fitting(settings, 0), regions=regions), laid, mapping)

    found = scored_with(SETTINGS)
    pairs = [(layer, region) for layer in names for region in regions]
    assert [(test.layer, test.region) for test in found.tests] == pairs
    assert [(score.layer, score.region) for score in found.cortical.layers] == pairs
    assert [score.region for score in found.cortical.regions] == list(regions)
    # without a mapping: layers one by one, where the regions are
    assert {stat for layer, stat in found.maps if layer == JOINT} == {"bestlayer"}
    for (layer, stat), values in found.maps.items():
        assert np.isnan(values[region == 0]).all()
        assert stat != "r" or np.isfinite(values[region > 0]).all(), layer
    together = scored_with(replace(SETTINGS, joint=True))
    assert np.isfinite(together.maps["encoder/layers.2", "unique"][region > 0]).all()
    np.testing.assert_allclose(together.maps["stem", "r"], found.maps["stem", "r"], atol=1e-5)
    # a mapped layer is fitted in all of cortex, alone: no score of a layer depends on what else is fitted
    mapped = scored_with(SETTINGS, {"stem": "IC"})
    assert np.isfinite(mapped.maps["stem", "r"]).all() and np.isnan(mapped.maps["conv 1", "r"][region == 0]).all()
    assert [(test.layer, test.region) for test in mapped.tests] == pairs
    np.testing.assert_allclose([test.p for test in mapped.tests], [test.p for test in found.tests], atol=1e-3)
    np.testing.assert_allclose(mapped.cortical.value, found.cortical.value, atol=1e-5)
    # several mapped ones are fitted together where the regions are
    several = scored_with(SETTINGS, {"stem": "IC", "conv 1": "STG left"})
    for stat in ("share", "unique"):
        assert (np.isfinite(several.maps["stem", stat]) == (region > 0)).all()
    assert np.isfinite(several.maps["stem", "r"]).all() and np.isfinite(several.inner["stem"]).all()
    assert several.penalties.counts["stem"].sum() == mapped.penalties.counts["stem"].sum()
    assert [score.layer for score in mapped.cortical.layers] == [score.layer for score in found.cortical.layers]
    only = scored_with(replace(SETTINGS, voxels="auditory"), {"stem": "IC"})
    assert np.isnan(only.maps["stem", "r"][region == 0]).all()
    with pytest.raises(UsageError, match=JOINT):
        design(data, replace(model, layers=(JOINT,)), PLAN, SETTINGS, Path("unused"))


def test_up_to_six_mapped_layers_are_fitted_together() -> None:
    region, layers = np.array([0, 1, 1, 2]), tuple(f"L{k:02d}" for k in range(7))

    def passes(n_mapped: int, **options: object) -> list[tuple[int, int, bool]]:
        mapping = dict.fromkeys(layers[:n_mapped], "A1")
        found = model_passes(layers, mapping, region, replace(SETTINGS, **options))  # type: ignore[arg-type]
        return [(len(one.layers), len(one.voxels), one.joint) for one in found]

    assert passes(0) == [(7, 3, False)]
    assert passes(6) == [(6, 3, True), (6, 1, False), (1, 3, False)]
    assert passes(6, voxels="auditory") == [(6, 3, True), (1, 3, False)]
    assert passes(7) == [(7, 3, False), (7, 1, False)]
    assert passes(7, joint=True) == [(7, 4, True)] and passes(2, joint=True, voxels="auditory") == [(7, 3, True)]


def test_the_noise_ceiling_is_that_of_all_voxels_whatever_the_model() -> None:
    ready, _ = prepared({})
    ready = replace(ready, data=replace(ready.data, usable=np.arange(14) != 5))
    found = ceiling_maps(ready)
    bold = held_out_bold(ready.data.bold, ready.folds.folds, ready.folds.index, voxels=np.arange(14))
    assert ready.tests.repeats is not None
    expected = noise_ceiling(bold, ready.tests.repeats)
    assert np.isnan(found["ev"][5]) and np.isfinite(np.delete(found["ev"], 5)).all()
    np.testing.assert_allclose(np.delete(found["ev"], 5), np.delete(expected.ev, 5), rtol=1e-5)
    np.testing.assert_allclose(np.delete(found["ccmax"], 5), np.delete(expected.ccmax, 5), rtol=1e-5)
