"""What is kept of scores gives those scores again, and clips have one name wherever their sound lies."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from fake_derivatives import fake_settings

from ban_bids.app.kept import clip_identity, conditions, kept_draws
from ban_bids.constants import AREAS
from ban_bids.derivatives.draws import read_draws, write_draws
from ban_bids.encoding.repeats import repeat_rows
from ban_bids.encoding.rows import HeldOutRows
from ban_bids.files.json import read_json, write_json
from ban_bids.inputs.types import Clip
from ban_bids.scoring.behavioral import BehavioralScore
from ban_bids.scoring.cortical import MeasuredRegions, cortical_score

N_CLIPS = 6


def sound(path: Path, seed: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, 8000), 8000, subtype="PCM_16")
    return path


def test_a_clip_is_named_by_what_is_heard(tmp_path):
    one = Clip(sound(tmp_path / "a" / "one.wav", 0), 0.25, 0.5, "one", fade=0.1)
    copy = Clip(sound(tmp_path / "b" / "copy.wav", 0), 0.25, 0.5, "copy")
    assert clip_identity(one) == clip_identity(copy)
    later = Clip(one.audio, 0.375, 0.5, "one")
    other = Clip(sound(tmp_path / "a" / "other.wav", 1), 0.25, 0.5, "other")
    assert len({clip_identity(clip) for clip in (one, later, other)}) == 3


@pytest.fixture
def scored(tmp_path):
    """A participant and a model with a control, as the participant level passes them on."""
    rng = np.random.default_rng(0)
    clip = np.tile(np.repeat(np.arange(N_CLIPS), 4), 2)
    n, half = len(clip), len(clip) // 2
    zeros = np.zeros(n, dtype=np.int32)
    position = np.tile(np.arange(4), 2 * N_CLIPS)
    moment = np.tile(np.arange(half), 2)
    rows = HeldOutRows(
        np.repeat([0, 1], half), moment, clip, clip, position, zeros == 0, fold=zeros, sound=moment, begun=clip
    )
    signal = np.tile(rng.normal(size=(half, 40)), (2, 1))
    bold = (signal + rng.normal(size=(n, 40))).astype(np.float32)
    labels = np.repeat([1, 2, 3, 4], 10)
    measured = MeasuredRegions(
        bold=bold, labels=labels, rows=rows, repeats=repeat_rows(rows), regions=AREAS, n_bootstrap=50
    )

    def score(name, mapping=None):
        predictions = {layer: (0.5 * signal + 0.2 * rng.normal(size=(n, 40))).astype(np.float32) for layer in AREAS}
        inner = {layer: rng.normal(size=(1, 40)) for layer in AREAS}
        return cortical_score(name, predictions, inner, measured, mapping=mapping)

    prepared = SimpleNamespace(name="ban", behavior=BehavioralScore(value=0.3, draws=np.arange(4.0)))
    cortical = score("ban", dict(zip(AREAS, AREAS, strict=True)))
    clips = tuple(Clip(sound(tmp_path / f"{k}.wav", k), 0.0, 1.0, str(k)) for k in range(N_CLIPS))
    shared = SimpleNamespace(
        data=SimpleNamespace(label="01", clips=clips),
        plan=SimpleNamespace(task_label="Test"),
        tests=SimpleNamespace(repeats=measured.repeats),
    )
    model = SimpleNamespace(prepared=prepared, scores=SimpleNamespace(cortical=cortical), controls=(score("logmel"),))
    return shared, model


def test_what_is_kept_gives_the_scores_of_the_table_again(scored, tmp_path):
    shared, model = scored
    found = read_draws(write_draws(tmp_path / "out", kept_draws(shared, model)))
    assert found.clips == tuple(map(clip_identity, shared.data.clips))
    assert list(found.scores) == ["ban", "logmel"]
    for cortical in (model.scores.cortical, *model.controls):
        again = found.scores[cortical.model].scores(np.ones((1, N_CLIPS)))
        expected = {("layer", one.layer, one.region): one for one in cortical.layers}
        expected |= {("region", "", one.region): one for one in cortical.regions}
        expected |= {("C", "", ""): cortical}
        if cortical.mapping:
            expected |= {("C_mapped", "", ""): cortical.mapped}
        assert set(again) == set(expected)
        for cell, estimate in expected.items():
            assert again[cell][0] == pytest.approx(estimate.value, rel=1e-9)


def test_without_repeats_b_alone_is_kept(scored):
    shared, model = scored
    shared.tests.repeats = None
    found = kept_draws(shared, model)
    assert found.clips == ()
    assert found.behavior.value == 0.3


def test_conditions_differ_with_folds_rows_and_settings_and_only_with_them(scored, tmp_path):
    shared, _ = scored
    rows = SimpleNamespace(run=np.zeros(8, int), volume=np.arange(8), scored=np.ones(8, bool))
    shared.tests.rows = rows

    def fold(training):
        return SimpleNamespace(training=np.array(training), held_out=np.arange(8), groups=np.zeros(len(training), int))

    shared.prepared = SimpleNamespace(folds=SimpleNamespace(folds=(fold([8, 9, 10]),), delays=np.array([0.0, 2.0])))
    shared.pre = SimpleNamespace(space="MNI", source="ban-bids", participant=SimpleNamespace(sessions=()))
    shared.plan.folds = (("task-Test_run-01",),)
    settings = fake_settings(tmp_path)
    one = conditions(shared, settings)
    assert one == conditions(shared, settings.changed(n_bootstrap=7, n_permutations=3, random_seed=5, nprocs=4))
    assert write_json(tmp_path / "c.json", one) and read_json(tmp_path / "c.json") == one
    for options, name in (({"high_pass": 150.0}, "HighPass"), ({"n_components": 0}, "FeatureReduction")):
        other = conditions(shared, settings.changed(**options))
        assert {key for key in one if one[key] != other[key]} == {name}
    shared.prepared.folds.folds = (fold([8, 9, 11]),)
    assert {key for key, value in conditions(shared, settings).items() if one[key] != value} == {"Folds"}
    rows.scored[2] = False
    other = conditions(shared, settings)
    assert {key for key in one if one[key] != other[key]} == {"Folds", "HeldOutRows"}
