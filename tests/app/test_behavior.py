"""Judged clips whose recordings the model knows are excluded from the behavioural score, by sound and not by name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from made_music import music

from ban_bids.app import behavior as module
from ban_bids.audio.sameness import identify
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import ModelCard
from ban_bids.scoring.behavioral import no_behavior


@pytest.mark.parametrize("has_card", [True, False])
def test_clips_that_the_model_knows_are_excluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_card: bool
) -> None:
    soundfile.write(tmp_path / "trained.wav", music(1, 10.0), 22_050)
    soundfile.write(tmp_path / "heard.ogg", 0.1 * music(1, 10.0)[30_000:170_000], 22_050)
    soundfile.write(tmp_path / "new.wav", music(2, 10.0), 22_050)
    known = identify(tmp_path / "trained.wav")
    card = ModelCard(
        {}, ("a", "b"), training_hashes={"new": known.digest}, fingerprints={"new": str(known.fingerprint)}
    )  # fmt: skip
    clips = tuple(
        Clip(tmp_path / name, start, 2.0, name)
        for name, start in (("new.wav", 0.0), ("heard.ogg", 0.0), ("heard.ogg", 1.0))
    )
    model = SimpleNamespace(
        card=card if has_card else None,
        sampling_rate=22_050,
        genres=("a", "b"),
        genre_probabilities=lambda heard: np.full((len(heard), 2), 0.5),
    )
    given: dict[str, Any] = {}
    monkeypatch.setattr(module, "behavioral_score", lambda *_, **options: given.update(options) or no_behavior())
    choices = SimpleNamespace(clips=clips, table=pd.DataFrame({"true_genre": ["a", "b"], "response": ["b", "b"]}))
    settings = SimpleNamespace(
        models=SimpleNamespace(gtzan_dir=None),
        encoding=SimpleNamespace(n_bootstrap=1),
        compute=SimpleNamespace(random_seed=1),
    )
    module.score_behavior(SimpleNamespace(choices=choices), model, settings)  # type: ignore[arg-type]
    assert given["excluded"].tolist() == [False, has_card, has_card]
