"""The weights that come with the package: their card, what half precision costs, when they are used and refused."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from made_music import music
from safetensors.torch import load_file, save_file
from tool_scripts import load

from ban_bids.audio.sameness import identify
from ban_bids.audio.waveforms import HeardClip
from ban_bids.constants import AREAS, SHIPPED, SMALL_DATA
from ban_bids.errors import CheckpointError, LeakError
from ban_bids.models.ban import BAN
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import check_no_overlap, load_checkpoint, save_checkpoint
from ban_bids.models.config import PRESETS
from ban_bids.models.network import AuditoryNetwork, NetworkModel, fingerprint
from ban_bids.models.registry import load_model
from ban_bids.models.shipped import FOLDER, shipped_weights
from ban_bids.training.splits import FMRI_TWINS, fmri_tracks

RATE = 22_050
BARRED = fmri_tracks() | FMRI_TWINS.keys()
FEATURES, PROBABILITIES = 2e-3, 2e-3
"""What half precision may cost: of a layer's standard deviation (root mean square), and of a class's probability."""


@pytest.fixture(scope="module")
def shipped() -> tuple[AuditoryNetwork, ModelCard]:
    path = shipped_weights("ban")
    assert path is not None
    network, card = load_checkpoint(path)
    assert card is not None
    return network, card


def test_every_model_that_ships_has_its_file_and_no_other_lies_there() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{name}.safetensors" for name in SHIPPED)
    assert shipped_weights("ban-small") is None and shipped_weights("logmel") is None
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 2_000_000


def test_card_says_what_trained_under_which_licence_and_what_was_left_out(
    shipped: tuple[AuditoryNetwork, ModelCard],
) -> None:
    network, card = shipped
    n = len(card.training_hashes)
    assert n > 0 and card.training_known and card.knows_sounds
    assert BARRED.isdisjoint(card.hashes)
    assert card.excluded and card.excluded.keys() <= BARRED
    assert card.small_data is not None
    assert f"trained on {n} tracks" in card.small_data and "--gtzan-dir" in card.small_data
    assert card.sources and all("licence" in source or "CC" in source for source in card.sources)
    assert "ds003720's Test runs and their twins" in card.split
    assert any("accuracy" in note for note in card.notes)
    assert card.settings["preset"] == "ban" and card.metrics["steps"] > 0
    assert set(network.control_statistics)  # untrained and permuted controls are measured on its training music


def test_nothing_from_which_sound_or_a_machine_could_be_told(shipped: tuple[AuditoryNetwork, ModelCard]) -> None:
    _, card = shipped
    stored = json.dumps(asdict(card))
    # 32 bits per 0.1 s of signs of differences over 0.3 s, in base64, and a hash: under 60 bytes per second of sound
    assert len(stored) < 2000 * len(card.hashes) + 10_000
    assert max(map(len, card.fingerprints.values())) < 1700
    assert '"/' not in stored and "minutes_used" not in stored and "\\\\" not in stored


def test_the_page_shows_the_card_of_the_file() -> None:
    tool = load("shipped_card")
    page = tool.PAGE.read_text("utf-8")
    path = shipped_weights("ban")
    assert tool.drawn(page, path) == page, "run python tools/shipped_card.py --write"
    with pytest.raises(ValueError, match="no markers"):
        tool.drawn("# another page", path)


def test_a_page_of_other_weights_is_found_out(shipped: tuple[AuditoryNetwork, ModelCard], tmp_path: Path) -> None:
    network, card = shipped
    tool = load("shipped_card")
    fewer = dict(list(card.training_hashes.items())[1:])
    other = save_checkpoint(tmp_path / "ban.safetensors", network, replace(card, training_hashes=fewer), compact=True)
    page = tool.PAGE.read_text("utf-8")
    assert tool.drawn(page, other) != page
    assert f"{len(fewer)} tracks: " in tool.table(other)


def _off_the_grid(network: AuditoryNetwork) -> AuditoryNetwork:
    """The same network with weights that are no numbers of half precision."""
    other = BAN(network.config, network.readout.out_features)  # type: ignore[arg-type]
    other.load_state_dict(network.state_dict())
    other.control_statistics = network.control_statistics
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in other.parameters():
            value.mul_(1 + 1e-3 * torch.randn(value.shape, generator=generator))
    return other.eval()


def test_half_precision_keeps_features_and_genres(shipped: tuple[AuditoryNetwork, ModelCard], tmp_path: Path) -> None:
    network, card = _off_the_grid(shipped[0]), shipped[1]
    whole = save_checkpoint(tmp_path / "whole.safetensors", network, card)
    small = save_checkpoint(tmp_path / "small.safetensors", network, card, compact=True)
    assert small.stat().st_size < 0.65 * whole.stat().st_size
    again, stored = load_checkpoint(small)
    assert stored == card
    matrices = {name for name, value in network.named_parameters() if value.ndim > 1}
    assert "readout.weight" in matrices
    for name, value in network.state_dict().items():
        found = again.state_dict()[name]
        assert found.dtype == value.dtype, name
        if name in matrices:
            assert torch.equal(found, value.half().float()) and not torch.equal(found, value), name
        else:
            assert torch.equal(found, value), name
    for control, buffers in network.control_statistics.items():
        assert all(torch.equal(again.control_statistics[control][name], value) for name, value in buffers.items())
    clips = [HeardClip(None, RATE, music(seed, 6.0)) for seed in range(6)]
    before, after = NetworkModel(network, card.genres, card), NetworkModel(again, card.genres, card)
    for one, other in zip(before.features(clips), after.features(clips), strict=True):
        for area in AREAS:
            assert np.sqrt(np.mean((other[area] - one[area]) ** 2)) < FEATURES * one[area].std(), area
    probabilities = before.genre_probabilities(clips), after.genre_probabilities(clips)
    np.testing.assert_allclose(*probabilities, atol=PROBABILITIES)
    assert (probabilities[0].argmax(axis=1) == probabilities[1].argmax(axis=1)).all()
    # and what is stored so is stored once and for all
    assert save_checkpoint(tmp_path / "x.safetensors", again, card, compact=True).read_bytes() == small.read_bytes()


@pytest.mark.parametrize(("largest", "fine"), [(64_992.0, True), (70_000.0, False), (float("nan"), False)])
def test_weights_beyond_half_precision_are_refused(tmp_path: Path, largest: float, fine: bool) -> None:
    network = BAN(PRESETS["ban-small"], n_genres=3)
    with torch.no_grad():
        network.readout.weight[0, 0] = largest
    path = tmp_path / "w.safetensors"
    if fine:
        assert load_checkpoint(save_checkpoint(path, network, None, compact=True))[0].readout.weight[0, 0] == 64_992
        return
    with pytest.raises(CheckpointError, match=r"readout.weight is beyond float16 \(65504\) or not finite"):
        save_checkpoint(path, network, None, compact=True)
    assert not path.exists()


def test_bfloat16_is_read_as_float32(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "w.safetensors", BAN(PRESETS["ban-small"], n_genres=3), None)
    tensors = load_file(path)
    save_file({name: value.bfloat16() if value.ndim > 1 else value for name, value in tensors.items()}, path)
    network, _ = load_checkpoint(path)
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert torch.equal(network.readout.weight, tensors["readout.weight"].bfloat16().float())


def test_ban_without_weights_is_the_shipped_one_and_says_so(
    shipped: tuple[AuditoryNetwork, ModelCard], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load_model("ban", None)
    assert model.fingerprint == fingerprint(shipped[0])
    assert [record.getMessage() for record in caplog.records] == [f"model ban: {shipped[1].small_data}"]
    assert caplog.records[0].levelno == logging.WARNING
    caplog.clear()
    other = BAN(PRESETS["ban"], n_genres=3, seed=5)
    path = save_checkpoint(tmp_path / "w.safetensors", other, ModelCard(other.config.to_dict(), ("a", "b", "c")))
    assert load_model("ban", path).fingerprint == fingerprint(other)
    assert not caplog.records


def test_overlap_with_them_names_a_remedy_that_a_first_call_can_take(tmp_path: Path) -> None:
    track, other = tmp_path / "stimulus.wav", tmp_path / "other.wav"
    soundfile.write(track, music(1, 8.0), RATE)
    soundfile.write(other, music(2, 8.0), RATE)
    known = identify(track)
    card = ModelCard({}, ("a", "b"), training_hashes={"t": known.digest}, fingerprints={"t": str(known.fingerprint)})
    small = replace(card, notes=(f"{SMALL_DATA}: trained on 1 tracks",))
    assert str(check_no_overlap(small, [other])) == "none"
    with pytest.raises(LeakError, match=r"^the small-data weights .* 1 tracks .*stimulus.*give --gtzan-dir DIR, a fol"):
        check_no_overlap(small, [track, other])
    assert str(check_no_overlap(small, [track], allow_overlap=True)) == "1"
    with pytest.raises(LeakError, match="^the model was trained .*ban-bids-train --exclude-stimuli"):
        check_no_overlap(card, [track])


def test_they_may_be_scored_on_the_real_datasets_test_runs(
    shipped: tuple[AuditoryNetwork, ModelCard], shared_data: Path
) -> None:
    tracks = sorted((shared_data / "gtzan_mini" / "genres").glob("*/*.wav"))
    heard = [track for track in tracks if track.stem in BARRED]
    assert len(heard) >= 5
    assert str(check_no_overlap(shipped[1], heard)) == "none"
    training = [track for track in tracks if track.stem not in BARRED]
    if all(track.stem in shipped[1].training_hashes for track in training):
        with pytest.raises(LeakError, match=training[0].stem):
            check_no_overlap(shipped[1], training[:1])
