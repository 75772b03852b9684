"""Without ``--weights`` and ``--gtzan-dir``: the weights that ship are scored, announced everywhere, or refused."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import soundfile
from fake_derivatives import make_tree
from made_music import music

from ban_bids.app import candidates
from ban_bids.app.candidates import PreparedModel, prepare_models
from ban_bids.app.group import group_level, weights_notes
from ban_bids.audio.sameness import identify
from ban_bids.constants import SMALL_DATA
from ban_bids.derivatives.read import load_derivatives
from ban_bids.errors import LeakError, UsageError
from ban_bids.files.json import read_json, write_json
from ban_bids.inputs.types import Clip
from ban_bids.models import shipped
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import save_checkpoint
from ban_bids.models.network import CONTROLS
from ban_bids.models.normalisation import normalisation
from ban_bids.models.presets import PRESETS, build
from ban_bids.settings import ModelRequest, Settings
from ban_bids.training import splits

NOTE = f"{SMALL_DATA}: trained on 2 tracks (made); for published comparisons train on your own GTZAN by --gtzan-dir"


@pytest.fixture
def tracks(tmp_path: Path) -> dict[str, Path]:
    """Three tracks, of which the dataset plays one in its held-out run."""
    made = {name: tmp_path / f"{name}.wav" for name in ("first", "second", "held")}
    for seed, path in enumerate(made.values()):
        soundfile.write(path, music(seed, 5.0), 22_050)
    return made


def _save(path: Path, *tracks: Path, notes: tuple[str, ...] = ()) -> Path:
    """A small network that was trained on these."""
    network = build(PRESETS["ban-small"], 2, 1)
    network.control_statistics = {name: normalisation(network) for name in CONTROLS}
    known = {track.stem: identify(track) for track in tracks}
    card = ModelCard(
        network.config.to_dict(), ("a", "b"), notes=notes,
        training_hashes={name: identity.digest for name, identity in known.items()},
        fingerprints={name: str(identity.fingerprint) for name, identity in known.items()},
    )  # fmt: skip
    return save_checkpoint(path, network, card)


@pytest.fixture
def ships(tracks: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights that ship, trained on two of the tracks."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    return _save(tmp_path / "weights" / "ban.safetensors", tracks["first"], tracks["second"], notes=(NOTE,))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.of(tmp_path, tmp_path / "out", "participant", work_dir=tmp_path / "work", device="cpu")


def _prepared(settings: Settings, held_out: Path, monkeypatch: pytest.MonkeyPatch) -> PreparedModel:
    """The only model, in a dataset whose held-out run plays this."""
    clip = Clip(held_out, 0.0, 4.0, held_out.stem)
    run = SimpleNamespace(presentations=[SimpleNamespace(clip=clip)])
    dataset: Any = SimpleNamespace(listeners=(SimpleNamespace(runs=[run]),), choices=None)
    for room in (candidates, splits):
        monkeypatch.setattr(room, "held_out_tracks", lambda _: frozenset({held_out}))
    return prepare_models(dataset, settings)[0]


def test_they_are_scored_and_announced(
    settings: Settings,
    ships: Path,
    tracks: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = _prepared(settings, tracks["held"], monkeypatch)
    assert found.weights == ships
    assert found.overlap == "none"
    assert found.origin == f"ban.safetensors ({NOTE})"
    assert found.notes[0] == NOTE
    assert [record.getMessage() for record in caplog.records].count(f"model ban: {NOTE}") == 1


def test_other_weights_go_before_them(
    settings: Settings,
    ships: Path,
    tracks: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = _save(tmp_path / "own.safetensors", tracks["first"])
    given = _prepared(settings.changed(requests=(ModelRequest("ban", own),)), tracks["held"], monkeypatch)
    assert (given.weights, given.origin) == (own, "own.safetensors")
    trained: list[str] = []

    def train_once(data_dir: Path, out: Path, how: Any, **more: Any) -> Path:
        trained.append(how.preset)
        return _save(out)

    monkeypatch.setattr(candidates, "train_once", train_once)
    first = _prepared(settings.changed(gtzan_dir=tmp_path / "gtzan"), tracks["first"], monkeypatch)
    assert trained == ["ban"]
    assert first.weights == tmp_path / "work" / "models" / "ban.safetensors"
    assert SMALL_DATA not in caplog.text


def test_overlap_is_refused_with_a_remedy(
    settings: Settings, ships: Path, tracks: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LeakError, match=r"small-data weights .* 1 tracks .*\(second\); give --gtzan-dir DIR"):
        _prepared(settings, tracks["second"], monkeypatch)
    assert _prepared(settings.changed(allow_overlap=True), tracks["second"], monkeypatch).overlap == "1"


def test_other_networks_still_need_weights(
    settings: Settings, ships: Path, tracks: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="--model deepcnn needs weights"):
        _prepared(settings.changed(requests=(ModelRequest("deepcnn"),)), tracks["held"], monkeypatch)


def test_score_without_a_model_scores_ban(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Settings] = []
    module = import_module("ban_bids.app.score")
    monkeypatch.setattr(module, "participant_level", lambda settings, models: asked.append(settings))
    monkeypatch.setattr(module, "load_derivatives", lambda root: None)
    for models in ((), ("logmel",), (object(),)):
        module.score(tmp_path, tmp_path / "out", *models)
    assert [one.models.requests for one in asked] == [(ModelRequest(),), (ModelRequest("logmel"),), ()]


def test_the_groups_table_and_page_tell_them_from_others(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "out", ("01", "02"), layers=("A1",))
    settings = Settings.of(tmp_path / "bids", tree.root, "group", n_bootstrap=20)
    for origin, told in (("own.safetensors", False), (f"ban.safetensors ({NOTE})", True)):
        for path in load_derivatives(tree.root).score_files()["path"]:
            facts = Path(path).with_suffix(".json")
            write_json(facts, {**read_json(facts), "Weights": origin})
        assert group_level(tree.root, settings) == 0
        assert read_json(tree.root / "group_bas.json")["Weights"] == {"ban": origin}
        page = (tree.root / "group.html").read_text("utf-8")
        assert f"ban: {'f' * 16}, {origin}" in page
        assert (f"ban: weights ban.safetensors ({NOTE})" in page) is told


def test_folders_of_older_versions_say_nothing_of_weights(tmp_path: Path) -> None:
    files = load_derivatives(make_tree(tmp_path / "out", ("01",), layers=("A1",)).root).score_files()
    assert files["weights"].isna().all()
    assert weights_notes(files) == []
    assert weights_notes(files.assign(weights=f"w ({NOTE})")) == [f"ban: weights w ({NOTE})"]
