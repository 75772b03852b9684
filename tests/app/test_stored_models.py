"""Features from files are checked before anything is preprocessed: those asked for, against all that is heard."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from ban_bids.app import candidates as module
from ban_bids.errors import DataError
from ban_bids.inputs.types import Clip, Presentation
from ban_bids.models.registry import load_model


def _person(*clips: Clip) -> Any:
    presentations = tuple(Presentation(clip, 0.0) for clip in clips)
    return SimpleNamespace(runs=(SimpleNamespace(clips=clips, presentations=presentations),))


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model of one stored song, prepared for people who are asked for and people who are not."""
    folder = tmp_path / "features"
    folder.mkdir()
    (folder / "features.json").write_text(
        json.dumps({"name": "theirs", "layers": [{"name": "deep", "frame_rate": 10}], "training": "AudioSet"})
    )
    np.savez(folder / "a.npz", deep=np.ones((10, 2)))
    monkeypatch.setattr(module, "held_out_tracks", lambda dataset: [])
    monkeypatch.setattr(module, "_trained_controls", lambda *_: ([], ()))
    monkeypatch.setattr(module, "score_behavior", lambda *_: None)

    def prepared(asked: list[Any], others: list[Any]) -> Any:
        dataset = SimpleNamespace(usable=tuple(asked), listeners=(*asked, *others), choices=None)
        settings = SimpleNamespace(models=SimpleNamespace(allow_overlap=False, controls="basic"))
        model = load_model(f"features:{folder}", None)
        return module._prepared(model, None, dataset, settings)  # type: ignore[arg-type]

    return prepared


def _clip(path: Path, seed: int = 0) -> Clip:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(8000), 8000)
    return Clip(path, 0.0, 1.0, path.stem)


def test_only_who_is_asked_for_needs_files(prepare: Any, tmp_path: Path) -> None:
    a, b = _clip(tmp_path / "x" / "a.wav"), _clip(tmp_path / "x" / "b.wav", 1)
    ready = prepare([_person(a)], [_person(a, b)])
    assert ready.overlap == "unknown"
    assert any("response to silence is 0" in note for note in ready.notes)
    assert any("does not list what trained it" in note for note in ready.notes)
    with pytest.raises(DataError, match=r"b\.wav, 0 to 1 s: no features \(one of 1 of 2 clips without\)"):
        prepare([_person(a), _person(b)], [])


def test_a_song_that_others_hear_must_not_share_its_file(prepare: Any, tmp_path: Path) -> None:
    a, namesake = _clip(tmp_path / "x" / "a.wav"), _clip(tmp_path / "y" / "a.wav", 1)
    with pytest.raises(DataError, match="may hold the features of"):
        prepare([_person(a)], [_person(namesake)])
