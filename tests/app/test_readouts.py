"""A model beside people: with which read-out, and without the clips that it knows, by sound and not by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from classes_of_music import CLASSES, RATE, TwoLayers, write_classes, write_track
from made_music import music
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ban_bids.app import behavior as module
from ban_bids.audio.sameness import identify
from ban_bids.audio.waveforms import HeardClip
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import ModelCard
from ban_bids.scoring.bas import ModelScores, score_table
from ban_bids.scoring.behavioral import behavioral_score, no_behavior
from ban_bids.settings import Encoding, Settings
from ban_bids.training import splits
from ban_bids.training.datasets import read_collection
from ban_bids.training.readout import Manner, readout_once


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


JUDGED, PEOPLE = 6, 16


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimpleNamespace]:
    """A folder of classes, judged clips whose recordings lie in it under other names, and what people answered.

    People answer as a read-out of the layer ``Bands`` does that was fitted to other recordings.
    """
    root = tmp_path_factory.mktemp("listening")
    folder = write_classes(root / "classes", per_class=18)
    teacher = readout_once(
        TwoLayers(), read_collection(write_classes(root / "others", per_class=12, first=1000)), CLASSES,
        manner=Manner(2.0), folder=root / "teacher", seed=0,
    )  # fmt: skip
    clips = []
    for name in CLASSES:
        for k in range(JUDGED):
            copy = root / "judged" / f"{name}{k}.wav"
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name / f"{name}.{k:05d}.wav", copy)
            clips.append(Clip(copy, 0.25, 2.0, copy.stem, name))
    probabilities = teacher.genre_probabilities([HeardClip(clip, RATE) for clip in clips])
    rng = np.random.default_rng(1)
    rows = [
        {"participant": f"{p:02d}", "audio": str(clip.audio), "start": clip.start, "duration": clip.duration,
         "track": clip.track, "true_genre": clip.genre, "response": str(rng.choice(CLASSES, p=row))}
        for clip, row in zip(clips, probabilities, strict=True) for p in range(PEOPLE)
    ]  # fmt: skip
    return folder, SimpleNamespace(choices=SimpleNamespace(clips=tuple(clips), table=pd.DataFrame(rows)))


def asked(tmp_path: Path, folder: Path | None) -> Settings:
    few = Encoding(n_bootstrap=200)
    return Settings.of(
        tmp_path, tmp_path / "out", "participant", work_dir=tmp_path / "work", gtzan_dir=folder, encoding=few
    )


@pytest.fixture(autouse=True)
def _nothing_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (module, splits):
        monkeypatch.setattr(place, "held_out_tracks", lambda dataset: frozenset())


def plain_score(folder: Path, dataset: Any, penalty: float) -> float:
    """B of scikit-learn's own pipeline, fitted to the middle of the tracks that nobody judged."""

    def statistics(clip: Clip) -> np.ndarray:
        frames = TwoLayers()._features(HeardClip(clip, RATE).waveform)["Bands"]
        return np.concatenate([frames.mean(axis=0), frames.std(axis=0)])

    files = [folder / name / f"{name}.{k:05d}.wav" for name in CLASSES for k in range(JUDGED, 18)]
    heard = [statistics(Clip(file, 0.25, 2.0, file.stem)) for file in files]
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=5000))
    plain.fit(heard, [file.parent.name for file in files])
    clips = dataset.choices.clips
    probabilities = plain.predict_proba([statistics(clip) for clip in clips])
    seed = Settings.of(folder, folder, "participant").compute.random_seed
    return behavioral_score(dataset.choices.table, clips, probabilities, genres=CLASSES, n_bootstrap=9, seed=seed).value


def test_a_model_without_readout_gets_a_linear_one_without_the_judged_recordings(
    tmp_path: Path, listening: Any
) -> None:
    folder, dataset = listening
    found = module.score_behavior(dataset, TwoLayers(), asked(tmp_path, folder))  # type: ignore[arg-type]
    assert found.score.readout == "linear on Bands (fitted by ban-bids on 36 tracks)"
    assert found.score.n_clips == 18 and found.score.n_excluded == 0
    assert found.score.value == pytest.approx(plain_score(folder, dataset, found.readout["Penalty"]), abs=0.01)
    assert found.score.value > 0.5
    assert found.score.ci_low < found.score.value < found.score.ci_high
    facts = found.readout
    assert (facts["Kind"], facts["Layer"], facts["Tracks"], facts["TracksExcluded"]) == ("linear", "Bands", 36, 18)
    assert facts["Classes"] == list(CLASSES)
    low, high = facts["AccuracyInterval"]
    assert low <= facts["Accuracy"] <= high
    assert f"accuracy {facts['Accuracy']:.2f}" in found.sentence
    json.dumps(facts)
    again = module.score_behavior(dataset, TwoLayers(), asked(tmp_path, folder))  # type: ignore[arg-type]
    assert again.score.value == found.score.value and again.readout == facts
    rows = score_table([ModelScores("two", "scored", None, found.score)])
    assert set(rows.loc[rows["row"].isin(["B", "kappa_majority"]), "readout"]) == {found.score.readout}
    assert rows.loc[rows["row"] == "C", "readout"].isna().all()


def test_without_a_folder_the_remedy_stands(tmp_path: Path, listening: Any) -> None:
    found = module.score_behavior(listening[1], TwoLayers(), asked(tmp_path, None))  # type: ignore[arg-type]
    assert np.isnan(found.score.value)
    assert "no read-out of genres" in found.score.reason and "give --gtzan-dir FOLDER" in found.score.reason
    assert found.score.readout == "none" and found.sentence == "none"


def test_an_own_readout_of_these_classes_is_used(
    tmp_path: Path, listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "readout_once", None)  # nothing is fitted
    model = TwoLayers(tuple(name.upper() for name in CLASSES))  # spelled otherwise
    found = module.score_behavior(listening[1], model, asked(tmp_path, listening[0]))  # type: ignore[arg-type]
    assert found.score.readout == "own" and np.isfinite(found.score.value)
    assert found.readout == {"Kind": "own", "Classes": ["BRIGHT", "DARK", "PLAIN"]}


def test_an_own_readout_of_other_classes_gives_way_to_a_linear_one(tmp_path: Path, listening: Any) -> None:
    model = TwoLayers(("bright", "rock"))
    found = module.score_behavior(listening[1], model, asked(tmp_path, listening[0]))  # type: ignore[arg-type]
    assert found.score.readout.startswith("linear on Bands")
    assert any("(bright, rock) lacks 2 of the classes" in note for note in found.notes)
    strange = TwoLayers(("rock", "pop"))
    left = module.score_behavior(listening[1], strange, asked(tmp_path, None))  # type: ignore[arg-type]
    assert left.score.readout == "own" and np.isnan(left.score.value)
    assert "no human choice" in left.score.reason and "give --gtzan-dir FOLDER" in left.score.reason


def test_a_folder_of_other_classes_is_refused_by_name(tmp_path: Path, listening: Any) -> None:
    other = tmp_path / "classes"
    for name, new in (("bright", "zero"), ("dark", "one")):
        shutil.copytree(listening[0] / name, other / new)
    found = module.score_behavior(listening[1], TwoLayers(), asked(tmp_path, other))  # type: ignore[arg-type]
    assert np.isnan(found.score.value) and found.score.readout == "none"
    assert "holds one, zero, people chose among bright, dark, plain" in found.score.reason


def test_only_classes_that_people_chose_among_are_told_apart(tmp_path: Path, listening: Any) -> None:
    folder, dataset = listening
    more = tmp_path / "classes"
    shutil.copytree(folder, more)
    for k in range(4):
        write_track(more / "never" / f"never.{k}.wav", 700 + k, 1.5)
    found = module.score_behavior(dataset, TwoLayers(), asked(tmp_path, more))  # type: ignore[arg-type]
    assert found.readout["Classes"] == list(CLASSES)


def test_nothing_is_fitted_without_choices(tmp_path: Path, listening: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "readout_once", None)
    nobody: Any = SimpleNamespace(choices=None)
    found = module.score_behavior(nobody, TwoLayers(), asked(tmp_path, listening[0]))  # type: ignore[arg-type]
    assert found.score.reason == "the dataset holds no human genre choices"
