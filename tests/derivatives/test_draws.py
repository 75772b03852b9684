from dataclasses import replace

import numpy as np
import pytest
from fake_derivatives import TASK, make_tree

from ban_bids import load_derivatives
from ban_bids.bids.names import draws_name, parse_name
from ban_bids.derivatives.draws import Draws, read_clips, read_draws, write_draws
from ban_bids.encoding.repeats import Repeats
from ban_bids.errors import DataError, UsageError
from ban_bids.files.json import read_json
from ban_bids.files.npz import read_arrays, write_arrays
from ban_bids.scoring.bootstrap import Estimate, clip_statistics
from ban_bids.scoring.comparison import KeptScore

CLIPS = ("a@0+15000", "b@0+15000", "c@0+15000", "d@0+15000", "e@0+15000")
REGIONS = ("A1", "PB")


def some_draws(label="01", model="ban", seed=0):
    """A model and a control, two layers in two regions."""
    rng = np.random.default_rng(seed)
    n = 3 * len(CLIPS)
    repeats = Repeats(np.arange(2 * n).reshape(2, n).T, np.repeat(np.arange(len(CLIPS)), 3))
    signal = {region: rng.normal(size=(n, 6)) for region in REGIONS}
    bold = {region: np.tile(s, (2, 1)) + rng.normal(size=(2 * n, 6)) for region, s in signal.items()}

    def statistics(region):
        prediction = np.tile(signal[region] + rng.normal(size=(n, 6)), (2, 1)) / 2
        return replace(clip_statistics(prediction, bold[region], repeats), sp_bias=0.25)

    def kept(mapping):
        pairs = {(layer, region): statistics(region) for layer in ("first", "second") for region in REGIONS}
        return KeptScore(pairs, {region: statistics(region) for region in REGIONS}, mapping)

    scores = {model: kept({"first": "A1", "second": "PB"}), "logmel": kept({})}
    return Draws(label, TASK, model, CLIPS, scores, Estimate(value=0.4, draws=rng.normal(0.4, 0.1, 50)))


def test_what_is_read_scores_as_what_was_written_in_every_draw(tmp_path):
    draws = some_draws()
    path = write_draws(tmp_path, draws, {"ModelFingerprint": "f"})
    assert path.name == f"sub-01_task-{TASK}_desc-ban_draws.npz"
    assert parse_name(path) == draws_name("01", TASK, "ban")
    facts = read_json(path.with_suffix(".json"))
    assert (facts["Model"], facts["ModelFingerprint"], facts["NumberOfClips"]) == ("ban", "f", 5)
    found = read_draws(path)
    assert (found.participant, found.task, found.model, found.clips) == ("01", TASK, "ban", CLIPS)
    counts = np.random.default_rng(1).multinomial(5, np.full(5, 0.2), size=30).astype(float)
    for model, kept in draws.scores.items():
        expected, again = kept.scores(counts), found.scores[model].scores(counts)
        assert list(again) == list(expected)
        for cell, values in expected.items():
            np.testing.assert_allclose(again[cell], values, rtol=1e-10)
    assert ("C_mapped", "", "") not in found.scores["logmel"].scores(counts)
    assert found.behavior.value == 0.4
    np.testing.assert_array_equal(found.behavior.draws, draws.behavior.draws)


def test_arrays_of_bold_alone_are_kept_once(tmp_path):
    path = write_draws(tmp_path, some_draws())
    stored = read_arrays(path)
    assert len(stored["pairs"]) == 2 * (2 * 2 + 2)
    # two each of mm and yy, one of n, and py and pp of every pair
    assert len(stored["vectors"]) == 2 * 2 + 1 + 2 * 12
    assert len(stored["matrices"]) == 2 * 2 + 2 * 12


def test_without_repeats_b_alone_is_kept(tmp_path):
    draws = Draws("01", TASK, "ban", scores={"ban": KeptScore({})}, behavior=Estimate(value=0.2, draws=np.arange(3.0)))
    found = read_draws(write_draws(tmp_path, draws))
    assert found.clips == () and found.scores == {}
    assert found.behavior.value == 0.2


def test_damage_and_other_formats_are_errors_with_a_remedy(tmp_path):
    path = write_draws(tmp_path, some_draws())
    write_arrays(path, {**read_arrays(path), "format": np.array("ban-bids draws 0")})
    with pytest.raises(DataError, match=r"format ban-bids draws 0.*run the participant level of this model again"):
        read_draws(path)
    path = write_draws(tmp_path, some_draws())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match="missing or damaged; run the participant level"):
        read_draws(path)


def test_clips_alone_are_read_and_files_that_are_no_draws_stay(tmp_path):
    path = write_draws(tmp_path, some_draws())
    assert read_clips(path) == some_draws().clips
    assert read_clips(tmp_path / "sub-09_task-a_desc-ban_draws.npz") == ()
    arrays = read_arrays(path)
    for other in ({**arrays, "format": np.array("ban-bids draws 0")}, {"x": np.arange(3)}):
        write_arrays(path, other)
        assert read_clips(path) == () and path.is_file()
    sidecar = path.with_suffix(".json")
    write_arrays(path, arrays)
    sidecar.write_text("{")  # draws that nobody can use have no part in what clips are drawn
    assert read_clips(path) == ()


def test_draws_are_found_by_participant_and_model(tmp_path):
    root = make_tree(tmp_path / "out", ["01", "02"], layers=("A1",)).root
    for label, model in (("01", "ban"), ("01", "ban-feedforward"), ("02", "ban")):
        write_draws(root, some_draws(label, model))
    out = load_derivatives(root)
    assert [(one.participant, one.model) for one in out.draws(model="ban")] == [("01", "ban"), ("02", "ban")]
    assert [one.model for one in out.draws("sub-01")] == ["ban", "ban-feedforward"]
    with pytest.raises(UsageError, match="'layer' is no column"):
        out.draws(layer="A1")
