"""Everything that `docs/models.md` shows is run: its code in order, and every model that its commands name."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ban_bids.audio.waveforms import HeardClip
from ban_bids.cli.options import make_parser
from ban_bids.errors import UsageError
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import Candidate, as_candidate
from ban_bids.models.registry import load_model
from ban_bids.models.stored import StoredFeatures
from ban_bids.settings import ModelRequest, Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
SECONDS = 2.04


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def commands() -> list[str]:
    """What stands behind ``ban-bids`` in the page's commands."""
    return [match.strip() for match in re.findall(r"^    .*?ban-bids (.*)$", PAGE, re.MULTILINE)]


def requests() -> dict[str, ModelRequest]:
    found = [request for line in commands() for request in make_parser("0").parse_args(line.split()).model]
    return {request.name: request for request in found}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with stimuli, the page's modules written down, and a package installed that names one."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "bids" / "stimuli").mkdir(parents=True)
    for k in range(2):
        sound = 0.1 * np.random.default_rng(k).standard_normal(round(SECONDS * 8000))
        soundfile.write(folder / "bids" / "stimuli" / f"song{k}.wav", sound, 8000)
    for block in blocks("python"):
        if match := re.match(r"# (\S+\.py)\n", block):
            (folder / match[1]).parent.mkdir()
            (folder / match[1]).write_text(block)
    entries = tomllib.loads(blocks("toml")[0])["project"]["entry-points"]
    info = folder / "mymodels-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mymodels\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in names.items()) for group, names in entries.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    before = Path.cwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    os.chdir(before)
    for name in [name for name in sys.modules if name.startswith("mymodels")]:
        del sys.modules[name]


class Scored:
    """Stands for the participant level, which takes minutes: keeps what it would be given."""

    def __init__(self) -> None:
        self.settings: list[Settings] = []
        self.models: list[Candidate] = []

    def __call__(self, settings: Settings, models: Sequence[Candidate]) -> None:
        self.settings.append(settings)
        self.models += [as_candidate(model) for model in models]


@pytest.fixture(scope="module")
def scored(place: Path) -> Scored:
    """What the page's code gives to ``ban_bids.score``; run once, in order."""
    given = Scored()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ban_bids.app.score.participant_level", given)
        patch.setattr("ban_bids.app.score.load_derivatives", lambda folder: folder)
        names: dict[str, Any] = {}
        for block in blocks("python"):
            if not block.startswith("# "):
                exec(compile(block, "docs/models.md", "exec"), names)
    return given


def clips(place: Path) -> list[Clip]:
    return [Clip(path, 0.0, SECONDS, path.stem) for path in sorted((place / "bids" / "stimuli").glob("*.wav"))]


def gives_features(model: Candidate, place: Path) -> None:
    """Every layer of every clip, at its frame rate."""
    heard = [HeardClip(clip, model.sampling_rate) for clip in clips(place)]
    for one in model.features([*heard, HeardClip.silence(SECONDS, model.sampling_rate)]):
        assert tuple(one) == model.layers
        for layer, frames in one.items():
            assert frames.ndim == 2 and np.isfinite(frames).all()
            assert abs(len(frames) - SECONDS * model.frame_rate[layer]) < 2, layer


def gives_folder(name: str, place: Path) -> bool:
    """Whether it names the page's folder of features, as written or in full."""
    kind, _, folder = name.partition(":")
    return kind == "features" and (place / folder) == place / "features"


def test_every_way_has_its_command() -> None:
    names = list(requests())
    assert {name.partition(":")[0] for name in names if ":" in name} == {
        "mymodels.listener", "pretrained_in_wheels", "hf", "torchaudio", "features",
    }  # fmt: skip
    assert "listener" in names


@pytest.mark.parametrize("name", ["mymodels.listener:make", "listener", "torch:mymodels.listener:make"])
def test_a_factory_and_an_entry_point_load(place: Path, name: str) -> None:
    assert name.startswith("torch:") or name in requests()
    gives_features(load_model(name, None), place)


def test_objects_are_scored(scored: Scored, place: Path) -> None:
    assert [model.name for model in scored.models] == ["tiny", "tenths"]
    for model in scored.models:
        gives_features(model, place)
    first = scored.settings[0]
    assert first.selection.participant_labels == ("01",)
    (request,) = first.models.requests
    assert gives_folder(request.name, place)


def test_features_from_files_load(scored: Scored, place: Path) -> None:
    (name,) = [name for name in requests() if name.startswith("features:")]
    assert gives_folder(name, place)
    model = load_model(name, None)
    assert isinstance(model, StoredFeatures)
    assert model.layers == ("level", "slow")
    assert len(model.check(clips(place))) == 1  # nothing is said of silence
    gives_features(model, place)


def test_the_pages_example_exists() -> None:
    (name,) = [name for name in requests() if name.startswith("pretrained_in_wheels")]
    source = (ROOT / "examples" / "pretrained_in_wheels.py").read_text(encoding="utf-8")
    assert f"def {name.partition(':')[2]}(weights" in source  # run in tests/models/test_pretrained_in_wheels.py


def _built(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_model(name, None)
    if "not there yet" in str(caught.value):
        pytest.skip(f"{name}: its loader is not built yet")


def test_a_folder_of_transformers_loads(place: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra ban-bids[pretrained] is not installed")
    (name,) = [name for name in requests() if name.startswith("hf:")]
    _built("hf:nowhere/at/all")
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
        conv_kernel=(20, 16), conv_stride=(20, 16), num_feat_extract_layers=2, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    folder = place / name.partition(":")[2]
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    model = load_model(name, None)
    assert model.layers == ("L00", "L01", "L02")
    gives_features(model, place)


def test_a_pipeline_of_torchaudio_is_known(place: Path) -> None:
    # its own weights are hundreds of megabytes: the name is known, and the missing file is what stops it
    (name,) = [name for name in requests() if name.startswith("torchaudio:")]
    weights = requests()[name].weights
    assert weights is not None and weights.name == "hubert_fairseq_base_ls960.pth"
    _built(name)
    with pytest.raises(UsageError, match=weights.name):
        load_model(name, weights)
