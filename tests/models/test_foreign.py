"""Models from outside the package: any module's layers, found by name and by entry point."""

from __future__ import annotations

import importlib
import linecache
import logging
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from ban_bids.audio.waveforms import HeardClip
from ban_bids.encoding.features import FeatureCache
from ban_bids.errors import NotComputable, UsageError
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import layer_labels
from ban_bids.models.foreign import LayerModel
from ban_bids.models.frame_rates import fault_of, measured_rates
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


def test_a_layer_is_what_it_gave_and_not_what_came_next_made_of_it() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.relu = nn.Conv1d(1, 4, 441, 441), nn.ReLU(inplace=True)
            self.second = nn.Conv1d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.conv(x))
            y = self.second(x)
            y += x
            return y

    net, heard = InPlace(), _heard(1.0, rate=22_050)
    layers = {"conv": "conv", "rectified": "relu", "second": "second"}
    features = LayerModel(net, layers, name="m", preprocess=lambda w: w[:, None]).features([heard])[0]
    with torch.no_grad():
        conv = net.conv(torch.from_numpy(heard.waveform)[None, None])
        expected = {"conv": conv, "rectified": conv.relu(), "second": net.second(conv.relu())}
    assert (features["conv"] < 0).any()
    for layer, output in expected.items():
        np.testing.assert_allclose(features[layer], output[0].T.numpy(), atol=1e-6, err_msg=layer)


class _Gain(nn.Module):
    """What it does is in an attribute and in a buffer that is not stored."""

    def __init__(self, gain: float, shift: float = 0.0) -> None:
        super().__init__()
        self.gain = gain
        self.register_buffer("shift", torch.full((1,), shift), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x - self.shift


def _scaled(waveform: Tensor, gain: float = 1.0) -> Tensor:
    return gain * waveform[:, None]


def _closure(gain: float) -> Callable[[Tensor], Tensor]:
    return lambda waveform: gain * waveform[:, None]


class _Scaler:
    def __init__(self, gain: float) -> None:
        self.gain = {"each": [gain]}
        self.log = logging.getLogger("scaler")

    def __call__(self, waveform: Tensor) -> Tensor:
        return self.scaled(waveform)

    def scaled(self, waveform: Tensor) -> Tensor:
        return self.gain["each"][0] * waveform[:, None]


@pytest.mark.parametrize(
    "preprocess",
    [
        lambda gain: partial(_scaled, gain=gain),
        _closure,
        _Scaler,
        lambda gain: _Scaler(gain).scaled,
        lambda gain: nn.Sequential(nn.Unflatten(0, (1, 1)), _Gain(gain)),
    ],
    ids=["partial", "closure", "object", "method", "module"],
)
def test_features_are_made_anew_where_the_preprocessing_does_something_else(
    preprocess: Callable[[float], Callable[[Tensor], Tensor]], tmp_path: Path
) -> None:
    audio = tmp_path / "noise.wav"
    soundfile.write(audio, np.random.default_rng(0).normal(0, 0.1, 22_050), 22_050)
    clip = Clip(audio, 0.0, 1.0, "noise")

    def kept(gain: float) -> tuple[str, np.ndarray]:
        torch.manual_seed(0)
        model = LayerModel(
            nn.Sequential(nn.Conv1d(1, 2, 441, stride=441)), {"A1": "0"}, name="m", preprocess=preprocess(gain),
            frame_rate={"A1": 50.0},
        )  # fmt: skip
        model.module[0].bias.data.zero_()  # type: ignore[index, union-attr]
        cache = FeatureCache(model, tmp_path / "features")
        cache.compute([clip])
        return model.fingerprint, cache.load(clip, "A1")

    (once, quiet), (again, same), (other, loud) = kept(1.0), kept(1.0), kept(2.0)
    assert once == again and once != other
    np.testing.assert_array_equal(quiet, same)
    np.testing.assert_allclose(loud, 2 * quiet, rtol=1e-5)


def test_the_fingerprint_follows_attributes_and_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(stage: nn.Module, preprocess: Callable[[Tensor], Tensor]) -> str:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv1d(1, 2, 3, stride=100), stage)
        return LayerModel(net, {"A1": "1"}, name="m", preprocess=preprocess, frame_rate={"A1": 220.5}).fingerprint

    same = made(_Gain(1.0), _scaled)
    assert made(_Gain(1.0), _scaled) == same
    assert len({same, made(_Gain(2.0), _scaled), made(_Gain(1.0, 0.5), _scaled)}) == 3

    moved = _Gain(1.0)
    moved.device = torch.device("cuda")  # type: ignore[assignment]
    assert made(moved, _scaled) == same  # one model, wherever it runs

    # a helper in the same file
    def in_file(body: str) -> str:
        (tmp_path / "their_helpers.py").write_text(
            f"def helper(w):\n    return {body}\n\n\ndef prepare(w):\n    return helper(w)[:, None]\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        sys.modules.pop("their_helpers", None)
        linecache.clearcache()
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        return made(nn.ReLU(), importlib.import_module("their_helpers").prepare)

    assert in_file("2 * w") != in_file("w.abs()")


class _Slow(nn.Module):
    """Means of 512, 2048 and 16384 samples: 43.07, 10.77 and 1.346 frames a second."""

    def __init__(self, first: int = 512) -> None:
        super().__init__()
        self.fast, self.mid, self.slow = nn.AvgPool1d(first), nn.AvgPool1d(4), nn.AvgPool1d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.slow(self.mid(self.fast(x.abs())))


def test_rates_of_few_frames_a_second_are_measured_exactly() -> None:
    model = LayerModel(_Slow(), {k: k for k in ("fast", "mid", "slow")}, name="slow", preprocess=lambda w: w[:, None])
    assert model.frame_rate == {"fast": 22_050 / 512, "mid": 22_050 / 2048, "slow": 22_050 / 16_384}
    # and so a click late in a long clip is where it was heard
    at = 56.1
    sound = np.zeros(60 * 22_050, np.float32)
    sound[round(at * 22_050)] = 1.0
    for layer, frames in model.features([HeardClip(None, 22_050, sound)])[0].items():
        frame = int(frames[:, 0].argmax())
        assert frame / model.frame_rate[layer] <= at <= (frame + 1) / model.frame_rate[layer], layer


@pytest.mark.parametrize("samples", [511, 512.3, 13_000, 70_000])
def test_rates_of_other_frames(samples: float) -> None:
    calls: list[int] = []

    def count(n: int) -> dict[str, int]:
        calls.append(n)
        slower = {"third": int(n // samples // 3), "windows": n // 20_000 * 8} if samples < 20_000 else {}
        return {"first": int(n // samples), **slower}

    rates = measured_rates(count, 22_050)
    expected = {"first": 22_050 / samples, "third": 22_050 / 3 / samples, "windows": 22_050 / 2500}
    assert rates == pytest.approx({layer: expected[layer] for layer in rates}, rel=2e-3)
    assert len(calls) <= 70


@pytest.mark.parametrize(
    ("rate", "count"),
    [
        (100.0, lambda n: n / 220.5 + 1),  # a network at 16 kHz that is given 22 050
        (100.0, lambda n: -(-n // 66_150) * 300),  # whole windows of 3 s, padded
        (100.0, lambda n: n // 110_250 * 500),  # of 5 s, the rest dropped
        (100.0, lambda n: -(-n // 220_500) * 1000),
        (0.1, lambda n: -(-n // 220_500)),
    ],
)
def test_rates_of_windows_and_of_other_sampling_rates(rate: float, count: Callable[[int], float]) -> None:
    assert measured_rates(lambda n: {"A1": int(count(n))}, 22_050) == pytest.approx({"A1": rate}, rel=5e-4)


@pytest.mark.parametrize(("short", "long", "window"), [(20.0, 40.0, 30.0), (4.0, 8.0, 5.0), (62.0, 64.1, 30.0)])
def test_windows_that_are_padded_hold_more_than_fits(short: float, long: float, window: float) -> None:
    few, many = (int(-(-seconds // window) * window * 50) for seconds in (short, long))
    assert not fault_of(50.0, 1, (short, (1, few, 8)), (long, (1, many, 8)))
    assert "correct frame_rate" in fault_of(50.0, 1, (short, (1, round(short * 75), 8)), (15.3, (1, 1148, 8)))


class _Crop(nn.Module):
    """Hears ten seconds, then nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.AvgPool1d(2205)

    def forward(self, x: Tensor) -> Tensor:
        return self.mean(x[:, None, : 10 * 22_050])


class _Rows(nn.Module):
    """Frames before samples: (1, time, 2205)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.unfold(1, 2205, 2205))


def test_frames_that_do_not_lie_on_the_sound_are_refused() -> None:
    silence, clip, short = (HeardClip.silence(seconds, 22_050) for seconds in (4.0, 15.0, 8.0))
    model = LayerModel(_Crop(), {"A1": "mean"}, name="m")
    assert [len(f["A1"]) for f in model.features([silence, short])] == [40, 80]
    with pytest.raises(UsageError, match="does not hear the end of a sound"):
        model.features([clip])
    for axis, rate, message in ((-1, 10.0, "set time_axis"), (1, 5.0, "correct frame_rate"), (1, 20.0, "is wrong")):
        model = LayerModel(_Rows(), {"A1": "layer"}, name="m", time_axis=axis, frame_rate={"A1": rate})
        with pytest.raises(UsageError, match=message):
            model.features([silence, clip])
    model = LayerModel(_Rows(), {"A1": "layer"}, name="m", time_axis=1, frame_rate={"A1": 10.0})
    assert [len(f["A1"]) for f in model.features([silence, clip])] == [40, 150]


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
