"""Checkpoints: bit-equal round trips, refusals, and the leak guard."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from made_music import music
from safetensors.torch import save_file

from ban_bids.audio.sameness import identify
from ban_bids.audio.waveforms import audio_hash
from ban_bids.errors import CheckpointError, LeakError
from ban_bids.models.ban import BAN
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import check_no_overlap, load_checkpoint, save_checkpoint
from ban_bids.models.config import PRESETS
from ban_bids.models.network import fingerprint

GENRES = ("blues", "jazz", "rock")


def _network(name: str = "ban-small", seed: int = 1) -> BAN:
    return BAN(PRESETS[name], n_genres=len(GENRES), seed=seed).eval()


def _card(network: BAN, **values: object) -> ModelCard:
    return ModelCard(network.config.to_dict(), GENRES, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_round_trip_is_bit_equal(tmp_path: Path, name: str) -> None:
    network = _network(name)
    card = _card(network, metrics={"track_accuracy": 0.5}, notes=("a note",), settings={"seed": 4})
    path = save_checkpoint(tmp_path / "new" / "ban.safetensors", network, card)
    again, stored = load_checkpoint(path)
    assert stored == card
    assert stored is not None
    assert stored.settings["seed"] == 4
    assert again.config == network.config
    assert fingerprint(again) == fingerprint(network)
    for key, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    assert [p.name for p in path.parent.iterdir()] == ["ban.safetensors"]  # no half-written file beside it


def test_same_network_same_bytes(tmp_path: Path) -> None:
    a = save_checkpoint(tmp_path / "a.safetensors", _network(), _card(_network()))
    b = save_checkpoint(tmp_path / "b.safetensors", _network(), _card(_network()))
    assert a.read_bytes() == b.read_bytes()


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.ckpt", "w.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    if zipped:
        torch.save({"w": _Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(CheckpointError, match="pickle.*ban-bids-train"):
        load_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


def test_other_architectures_and_damage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"layer.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(CheckpointError, match="not those of a network of this version"):
        load_checkpoint(path)
    save_file({"x": torch.zeros(1)}, path, metadata={"ban_bids": '{"architecture": "ban", "format": "?"}'})
    with pytest.raises(CheckpointError, match="has the format '\\?'"):
        load_checkpoint(path)
    about = {"architecture": "hal", "format": "ban-bids-checkpoint-1", "card": {"config": {}, "genres": []}}
    save_file({"x": torch.zeros(1)}, path, metadata={"ban_bids": json.dumps(about)})
    with pytest.raises(CheckpointError, match="architecture 'hal'; this version has ban"):
        load_checkpoint(path)
    # a card that belongs to another network
    save_checkpoint(path, _network("ban-feedforward"), _card(_network("ban")))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(path)
    save_file({"x": torch.zeros(1)}, path, metadata={"ban_bids": "{not json"})
    with pytest.raises(CheckpointError, match="card is damaged"):
        load_checkpoint(path)
    path.write_bytes(b"\x10" + b"\x00" * 40)
    with pytest.raises(CheckpointError, match="not a readable safetensors"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such weights file"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_wrong_suffix_is_refused_on_writing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="safetensors"):
        save_checkpoint(tmp_path / "w.pt", _network(), None)


def test_bare_weights_are_of_unknown_origin(tmp_path: Path) -> None:
    network = _network("ban-feedback")
    path = save_checkpoint(tmp_path / "w.safetensors", network, None)
    again, card = load_checkpoint(path)
    assert card is None
    assert again.config.name == "banfeedback"
    assert str(check_no_overlap(card, [tmp_path / "anything.wav"])) == "unknown"


def _written(path: Path, sound: np.ndarray, **options: object) -> Path:
    soundfile.write(path, sound, 22_050, **options)
    return path


@pytest.fixture
def trained_on(tmp_path: Path) -> Path:
    """A track, and the same recording in another form beside it: an excerpt at another level as mp3."""
    (tmp_path / "genres").mkdir()
    (tmp_path / "stimuli").mkdir()
    sound = music(1, 12.0)
    _written(tmp_path / "stimuli" / "stim01.mp3", 0.1 * sound[5000:-50_000])
    _written(tmp_path / "stimuli" / "rock.00001.wav", music(2, 12.0))  # another sound under its name
    return _written(tmp_path / "genres" / "rock.00001.wav", sound, subtype="PCM_16")


def test_overlap_is_found_by_sound_and_not_by_name(trained_on: Path, tmp_path: Path) -> None:
    known = identify(trained_on)
    side = {"rock.00001": known.digest}
    card = _card(_network(), validation_hashes=side, fingerprints={"rock.00001": str(known.fingerprint)})
    path = save_checkpoint(tmp_path / "w.safetensors", _network(), card)
    card = load_checkpoint(path)[1]
    assert card is not None
    copy, namesake = tmp_path / "stimuli" / "stim01.mp3", tmp_path / "stimuli" / "rock.00001.wav"
    assert card.knows(copy)
    with pytest.raises(LeakError, match="1 tracks.*stim01"):
        check_no_overlap(card, [copy, namesake])
    assert str(check_no_overlap(card, [copy, namesake], allow_overlap=True)) == "1"
    alone = check_no_overlap(card, [namesake])
    assert str(alone) == "none"
    assert len(alone.notes) == 1
    assert "bear the name of a track" in alone.notes[0]
    assert "another sound: 1 (rock.00001.wav)" in alone.notes[0]


def test_older_cards_stay_checkable_and_are_unknown_beyond(
    trained_on: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = {"config": {}, "genres": ["a"], "training_hashes": {"rock.00001": audio_hash(trained_on, version=1)}}
    card = ModelCard.from_dict(old)
    assert card.hash_version == 1
    copy = tmp_path / "stimuli" / "stim01.mp3"
    with pytest.raises(LeakError, match="rock.00001"):
        check_no_overlap(card, [trained_on])
    beyond = check_no_overlap(card, [copy])
    assert str(beyond) == "unknown"  # it is one; nobody can tell from this card
    assert "only copies equal sample for sample" in beyond.notes[0]
    assert beyond.notes[0] in caplog.text
    assert str(check_no_overlap(card, [trained_on], allow_overlap=True)) == "1"


def test_fingerprints_of_another_version_are_unknown_not_absent(trained_on: Path, tmp_path: Path) -> None:
    side = {"rock.00001": identify(trained_on).digest}
    card = _card(_network(), training_hashes=side, fingerprints={"rock.00001": "9:AAAA"})
    assert str(check_no_overlap(card, [tmp_path / "stimuli" / "stim01.mp3"])) == "unknown"


def test_sounds_without_a_fingerprint_are_told(tmp_path: Path) -> None:
    known = identify(_tone(tmp_path / "blues.00001.wav", 440))
    card = _card(
        _network(), training_hashes={"a": known.digest}, fingerprints={"a": str(known.fingerprint)}
    )  # fmt: skip
    overlap = check_no_overlap(card, [_tone(tmp_path / "other.wav", 550)])
    assert str(overlap) == "none"
    assert "too short or too even for a fingerprint" in overlap.notes[0]
    assert str(check_no_overlap(_card(_network()), [tmp_path / "other.wav"])) == "none"  # it was trained on nothing


def _tone(path: Path, pitch: float) -> Path:
    samples = 0.3 * np.sin(2 * np.pi * pitch * np.arange(2000) / 22_050)
    soundfile.write(path, samples, 22_050, subtype="PCM_16")
    return path


@pytest.mark.parametrize("side", ["training_hashes", "validation_hashes"])
def test_overlap_is_found_by_content(tmp_path: Path, side: str) -> None:
    known = _tone(tmp_path / "blues.00001.wav", 440)
    card = _card(_network(), **{side: {"blues.00001": audio_hash(known)}})
    renamed = _tone(tmp_path / "stimulus.au", 440)
    other = _tone(tmp_path / "other.wav", 550)
    assert check_no_overlap(card, [other]).tracks == ()
    with pytest.raises(LeakError, match="1 tracks.*stimulus.*--allow-overlap"):
        check_no_overlap(card, [other, renamed])
    assert check_no_overlap(card, [other, renamed], allow_overlap=True).tracks == ("stimulus",)
