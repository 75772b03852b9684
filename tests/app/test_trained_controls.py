"""Which models the participant level trains, and what stands in for those that it does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from ban_bids.app import candidates
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import save_checkpoint
from ban_bids.models.controls import clip_batches
from ban_bids.models.network import fingerprint
from ban_bids.models.normalisation import measure_normalisation
from ban_bids.models.presets import PRESETS, build
from ban_bids.settings import Settings
from ban_bids.training import splits

NOT_ASKED = "a trained control: give --gtzan-dir and --controls full"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.of(
        bids_dir=tmp_path,
        output_dir=tmp_path / "out",
        level="participant",
        work_dir=tmp_path / "work",
        gtzan_dir=tmp_path / "gtzan",
        controls="full",
        random_seed=3,
    )


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trainings in order; each leaves random weights of its preset."""
    presets: list[str] = []

    def train_once(data_dir: Path, out: Path, settings: Any, *, exclude: set[Path], **how: Any) -> Path:
        assert set(exclude) == {Path("heard.wav"), Path("judged.wav")}
        assert settings.seed == 3
        presets.append(settings.preset)
        network = build(PRESETS[settings.preset], 2)
        return save_checkpoint(out, network, ModelCard(network.config.to_dict(), ("a", "b")))

    monkeypatch.setattr(candidates, "train_once", train_once)
    monkeypatch.setattr(splits, "held_out_tracks", lambda dataset: {Path("heard.wav")})
    return presets


@pytest.fixture
def dataset() -> Any:
    return SimpleNamespace(choices=SimpleNamespace(clips=[SimpleNamespace(audio=Path("judged.wav"))]))


def test_full_controls_are_trained_like_the_model(settings: Settings, trained: list[str], dataset: Any) -> None:
    controls, missing = candidates._trained_controls(dataset, settings, "ban")
    assert trained == ["ban-feedforward", "deepcnn"]
    assert [c.name for c in controls] == ["banfeedforward", "deepcnn"]
    assert all(c.card is not None for c in controls)
    assert missing == ()


def test_without_them_the_reason_stands(settings: Settings, trained: list[str], dataset: Any) -> None:
    for less in (settings.changed(controls="basic"), settings.changed(gtzan_dir=None)):
        controls, missing = candidates._trained_controls(dataset, less, "ban")
        assert controls == []
        assert missing == (("banfeedforward", NOT_ASKED), ("deepcnn", NOT_ASKED))
    assert trained == []


def test_a_model_is_no_control_of_itself(settings: Settings, trained: list[str], dataset: Any) -> None:
    controls, missing = candidates._trained_controls(dataset, settings, "deepcnn")
    assert [c.name for c in controls] == ["banfeedforward"]
    assert missing == ()


def test_the_scored_models_own_preset_is_trained(settings: Settings, trained: list[str], dataset: Any) -> None:
    assert candidates._trained(dataset, settings, "crnn") == settings.compute.work_dir / "models" / "crnn.safetensors"
    assert candidates._trained(dataset, settings, "theirpackage.module:factory") is None
    assert candidates._trained(dataset, settings, "ban-untrained") is None
    assert trained == ["crnn"]


def test_controls_without_statistics_hear_the_clips_of_everybody(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The participants asked for play no part: calls for one participant each must measure the same."""
    clips = []
    for k in range(3):
        path = tmp_path / f"tune{k}.wav"
        soundfile.write(path, 0.1 * np.random.default_rng(k).standard_normal(44_100), 22_050)
        clips.append(Clip(path, 0.0, 2.0, path.stem))
    runs = [SimpleNamespace(presentations=[SimpleNamespace(clip=clip)] * 2) for clip in clips]
    listeners = (SimpleNamespace(runs=runs[:1]), SimpleNamespace(runs=runs[1:]))
    dataset: Any = SimpleNamespace(listeners=listeners, choices=None)
    assert candidates.heard_clips(dataset) == frozenset(clips)
    monkeypatch.setattr(candidates, "held_out_tracks", lambda dataset: frozenset())
    basic = settings.changed(controls="basic", gtzan_dir=None)
    model = candidates.load_model("ban-small-untrained", None, seed=3)
    prepared = candidates._prepared(model, None, dataset, basic)
    measured = build(PRESETS["ban-small"], 2, 3)
    measure_normalisation(measured, clip_batches(measured.front_end, clips), measured.from_frames)
    assert prepared.model.fingerprint == fingerprint(measured)
    assert [note.count("dataset's own clips") for note in prepared.notes] == [1, 1]
    assert [c.name for c in prepared.controls][5:] == ["bansmalluntrainedpermuted", "logmel", "modulation"]
    other = candidates._prepared(model, None, dataset, basic.changed(random_seed=8))
    assert [c.fingerprint for c in other.controls] == [c.fingerprint for c in prepared.controls]
