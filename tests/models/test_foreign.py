"""Models from outside the package: any module's layers, found by name and by entry point."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ban_bids.audio.waveforms import HeardClip
from ban_bids.encoding.features import FeatureCache
from ban_bids.errors import NotComputable, UsageError
from ban_bids.models.candidate import layer_labels
from ban_bids.models.foreign import LayerModel
from ban_bids.models.registry import load_model

DOCS = Path(__file__).resolve().parents[2] / "docs" / "models.md"


class _Net(nn.Module):
    """Two strided convolutions over a waveform at 16 kHz, a recurrent layer, a read-out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.ModuleDict(
            {"early": nn.Conv1d(1, 4, 400, 160, padding=200), "late": nn.Conv1d(4, 6, 3, 4, padding=1)}
        )
        self.memory = nn.GRU(6, 5, batch_first=True)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.body["early"](x))
        x, _ = self.memory(torch.relu(self.body["late"](x)).mT)
        return self.head(x.mean(dim=1))


LAYERS = {"A1": "body.early", "Belt": "body.late", "T2T3": "memory"}
AXES = {"A1": -1, "Belt": 2, "T2T3": 1}


def _model(**changes: object) -> LayerModel:
    settings: dict[str, object] = {
        "name": "theirs",
        "sampling_rate": 16_000,
        "preprocess": lambda waveform: waveform[:, None],
        "time_axis": AXES,
        "genres": ("a", "b", "c"),
    }
    return LayerModel(_Net(), **({"layers": LAYERS} | settings | changes))  # type: ignore[arg-type]


def _heard(seconds: float, seed: int = 0, rate: int = 16_000) -> HeardClip:
    return HeardClip(None, rate, np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)))


def test_layers_outputs_are_the_features() -> None:
    model = _model()
    assert model.layers == ("A1", "Belt", "T2T3")
    assert model.mapping == {layer: layer for layer in LAYERS}  # they are called as regions
    assert model.sampling_rate == 16_000
    assert model.frame_rate == {"A1": 100.0, "Belt": 25.0, "T2T3": 25.0}  # 16000/160, a quarter of it
    features = model.features([_heard(2.0), _heard(1.0, 1)])
    assert {layer: f.shape for layer, f in features[0].items()} == {
        "A1": (200, 4), "Belt": (50, 6), "T2T3": (50, 5),
    }  # fmt: skip
    net = model.module
    with torch.no_grad():
        heard = torch.from_numpy(_heard(2.0).waveform)[None, None]
        early = net.body["early"](heard)  # type: ignore[index, operator]
        memory, _ = net.memory(torch.relu(net.body["late"](torch.relu(early))).mT)  # type: ignore[index, operator]
        logits = net(heard)
    np.testing.assert_allclose(features[0]["A1"], early[0].T[:200].numpy(), atol=1e-6)
    np.testing.assert_allclose(features[0]["T2T3"], memory[0][:50].numpy(), atol=1e-6)
    expected = torch.softmax(logits.double(), dim=1).numpy()
    np.testing.assert_allclose(model.genre_probabilities([_heard(2.0)]), expected, atol=1e-7)
    assert all(not module._forward_hooks for module in net.modules())  # nothing is left on their module


def test_frequency_is_flattened_behind_time() -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            frames = x.unfold(1, 2205, 2205)  # (1, frames, 2205): ten a second
            return self.layer(frames.unflatten(2, (5, 441)).permute(0, 2, 3, 1))

    sound = np.arange(22_050, dtype=np.float32)
    model = LayerModel(Spectral(), {"A1": "layer"}, name="spectral")
    assert model.frame_rate == {"A1": 10.0}
    np.testing.assert_array_equal(model.features([HeardClip(None, 22_050, sound)])[0]["A1"], sound.reshape(10, 2205))


def test_wrong_descriptions_are_refused_with_the_remedy() -> None:
    with pytest.raises(UsageError, match=r"no submodule 'body.earl'; near it: body.early"):
        LayerModel(_Net(), {"A1": "body.earl"}, name="theirs")
    with pytest.raises(UsageError, match="no submodule 'xyz'; near it: body, "):
        LayerModel(_Net(), {"A1": "xyz"}, name="theirs")
    with pytest.raises(UsageError, match="'body.late' and 'body late' would both be named bodylate"):
        LayerModel(_Net(), {"body.late": "body.late", "body late": "memory"}, name="theirs")
    with pytest.raises(UsageError, match="'!' has no letter or digit"):
        LayerModel(_Net(), {"!": "memory"}, name="theirs")
    with pytest.raises(UsageError, match="mapping: there is no layer 'A2' among A1, Belt, T2T3"):
        _model(mapping={"A2": "A1"})
    with pytest.raises(UsageError, match="mapping: 'STG' is no region; the regions are A1, Belt, PB, T2T3"):
        _model(mapping={"A1": "STG"})
    how = {"name": "theirs", "sampling_rate": 16_000, "preprocess": lambda w: w[:, None]}
    with pytest.raises(UsageError, match="submodules of PB are not called"):
        LayerModel(_Net(), {"PB": "unused"}, **how)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="axis 1 of the submodule of A1 does not grow.*time_axis"):
        _model(time_axis=1)
    with pytest.raises(UsageError, match=r"gives the shape \(1, 4, \d+\).*set time_axis"):
        _model(time_axis=3)
    with pytest.raises(UsageError, match="frame rates are given for other layers"):
        _model(frame_rate={"A1": 100.0})
    with pytest.raises(UsageError, match="not a row of 2 logits"):
        _model(genres=("a", "b")).genre_probabilities([_heard(1.0)])
    with pytest.raises(NotComputable, match="no read-out"):
        _model(genres=()).genre_probabilities([_heard(1.0)])


def test_the_fingerprint_follows_weights_and_description() -> None:
    model = _model()
    assert _model().fingerprint == model.fingerprint
    assert _model(sampling_rate=8000).fingerprint != model.fingerprint
    assert _model(frame_rate={"A1": 100.0, "Belt": 25.0, "T2T3": 20.0}).fingerprint != model.fingerprint
    net = _Net()
    nn.init.zeros_(net.head.bias)
    other = LayerModel(
        net, LAYERS, name="theirs", sampling_rate=16_000, preprocess=lambda w: w[:, None], time_axis=AXES
    )
    assert other.fingerprint != model.fingerprint


def test_the_fingerprint_follows_what_is_in_no_tensor() -> None:
    def once(waveform: torch.Tensor) -> torch.Tensor:
        return waveform[:, None]

    def twice(waveform: torch.Tensor) -> torch.Tensor:
        return 2 * waveform[:, None]

    twice.__qualname__ = once.__qualname__

    def made(stage: nn.Module, preprocess: Callable[[torch.Tensor], torch.Tensor]) -> str:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv1d(1, 2, 3, stride=100), stage)
        rates = {"A1": 220.5}
        return LayerModel(net, {"A1": "1"}, name="m", preprocess=preprocess, frame_rate=rates).fingerprint

    same = made(nn.ReLU(), once)
    assert made(nn.ReLU(), once) == same
    assert made(nn.GELU(), once) != same
    assert made(nn.ReLU(), twice) != same


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's example, written down as an installed distribution: a module and its metadata."""
    example = re.search(r"```python\n(# mymodels/listener\.py.*?)```", DOCS.read_text("utf-8"), re.S)
    assert example is not None
    folder = tmp_path / "site"
    (folder / "mymodels").mkdir(parents=True)
    (folder / "mymodels" / "__init__.py").touch()
    (folder / "mymodels" / "listener.py").write_text(example[1])
    info = folder / "mymodels-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mymodels\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ban_bids.models]\nlistener = mymodels.listener:make\n")
    monkeypatch.syspath_prepend(folder)
    yield "mymodels.listener:make"
    for name in [name for name in sys.modules if name.startswith("mymodels")]:
        del sys.modules[name]


def test_the_guides_example_is_found_by_path_and_by_entry_point(package: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose one of ban, .*deepcnn.*ban-untrained, logmel.*listener"):
        load_model("nobody", None)
    by_path, by_name = load_model(package, None), load_model("listener", None)
    assert by_path.fingerprint == by_name.fingerprint
    assert by_name.name == "listener"
    assert by_name.layers == ("A1", "Belt", "PB", "T2T3")
    assert by_name.mapping == {layer: layer for layer in by_name.layers}
    features = by_name.features([_heard(1.5)])[0]
    for layer in by_name.layers:
        n = np.ceil(1.5 * by_name.frame_rate[layer])
        assert n - 1 <= len(features[layer]) <= n
        assert np.isfinite(features[layer]).all()
    # and through what lays features on the run's time line
    cache = FeatureCache(by_name, tmp_path / "cache")
    cache.compute([])
    assert np.isfinite(cache.silence("T2T3")).all()


def test_layers_of_any_number_and_name() -> None:
    names = {"body.early": "body.early", "L-01": "body.late", "3": "memory"}
    axes = {"body.early": -1, "L-01": 2, "3": 1}
    model = _model(layers=names, time_axis=axes)
    assert model.mapping is None
    assert layer_labels(model.layers) == {"body.early": "bodyearly", "L-01": "L01", "3": "3"}
    assert list(model.features([_heard(1.0)])[0]) == list(names)
    chosen = _model(layers=names, time_axis=axes, mapping={"3": "PB"})
    assert chosen.mapping == {"3": "PB"}
    assert chosen.fingerprint == model.fingerprint  # the mapping decides no feature
    assert _model(mapping={}).mapping is None
