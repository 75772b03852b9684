"""Controls of anybody's module: nothing trained is left in them, what cannot be made is refused by name."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from ban_bids.audio.waveforms import HeardClip, render_clip
from ban_bids.encoding.features import FeatureCache, averaged
from ban_bids.errors import DataError, NotComputable
from ban_bids.inputs.types import Clip
from ban_bids.models.controls import Control, control_models
from ban_bids.models.foreign import LayerModel
from ban_bids.models.random_weights import permuted_module, untrained_module

RATE = 8000


class _Cnn(nn.Module):
    """Frames of a waveform through a convolution and a normalisation with running statistics."""

    def __init__(self, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 6, 200, 80, padding=60)
        self.norm = nn.BatchNorm1d(6) if norm is None else norm
        self.last = nn.Conv1d(6, 4, 2, 2)

    def forward(self, sound: Tensor) -> Tensor:
        out: Tensor = self.last(torch.relu(self.norm(self.conv(sound[:, None]))))
        return out


class _Encoder(nn.Module):
    """A transformer encoder behind a convolution whose weight is decomposed."""

    def __init__(self, decompose: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.conv = decompose(nn.Conv1d(1, 8, 160, 80))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, sound: Tensor) -> Tensor:
        out: Tensor = self.encoder(self.conv(sound[:, None]).mT)
        return out


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 5), nn.Linear(5, 7)
        self.head.weight = self.embedding.weight


class _Bare(nn.Module):
    """A parameter that no method draws."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 3, 80, 80)
        self.gain = nn.Parameter(torch.ones(3, 1))

    def forward(self, sound: Tensor) -> Tensor:
        out: Tensor = self.conv(sound[:, None]) * self.gain
        return out


class _Drawn(_Bare):
    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.gain.copy_(torch.from_numpy(np.random.normal(size=(3, 1))))


def _former_weight_norm(conv: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(conv, dim=2)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "batch normalisation": _Cnn,
    "lstm": lambda: nn.LSTM(3, 4, 2, bidirectional=True),
    "attention": lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True),
    "weight norm": lambda: _Encoder(lambda conv: parametrizations.weight_norm(conv, dim=2)),
    "former weight norm": lambda: _Encoder(_former_weight_norm),
    "spectral norm": lambda: _Encoder(parametrizations.spectral_norm),
    "tied": _Tied,
    "own reset": _Drawn,
}


def _trained(make: Callable[[], nn.Module]) -> nn.Module:
    """A module none of whose parameters is where its initialisation left it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        module = make()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape) + 0.1)
    return module.eval()


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _assert_nothing_trained_is_left(trained: nn.Module, fresh: nn.Module) -> None:
    """No number of any parameter is the trained one; constants (biases, gains of norms) are constants."""
    before = dict(trained.named_parameters())
    assert before.keys() == dict(fresh.named_parameters()).keys()
    for name, parameter in fresh.named_parameters():
        assert parameter.isfinite().all(), name
        assert not (parameter == before[name]).any(), name


@pytest.mark.parametrize("kind", MODULES)
def test_nothing_trained_is_left_in_an_untrained_module(kind: str) -> None:
    trained = _trained(MODULES[kind])
    before = _state(trained)
    fresh = untrained_module(trained, 1)
    _assert_nothing_trained_is_left(trained, fresh)
    torch.testing.assert_close(_state(trained), before, rtol=0, atol=0)
    torch.manual_seed(99)
    again, other = untrained_module(trained, 1), untrained_module(trained, 2)
    torch.testing.assert_close(_state(again), _state(fresh), rtol=0, atol=0)
    differ = [name for name, value in fresh.named_parameters() if not torch.equal(value, other.get_parameter(name))]
    assert differ and all(name in differ or len(value.unique()) == 1 for name, value in fresh.named_parameters())


def test_weights_have_the_size_that_their_modules_give_them() -> None:
    for make in (MODULES["weight norm"], MODULES["former weight norm"], MODULES["spectral norm"]):
        fresh: Any = untrained_module(_trained(make), 3)
        bound = 1 / np.sqrt(160)  # torch draws uniformly within this
        weight = fresh.conv.parametrizations.weight.original if make is MODULES["spectral norm"] else fresh.conv.weight
        assert 0.9 * bound < weight.abs().max() <= bound * (1 + 1e-5)
        with torch.no_grad():  # and the weight that is used is the one that the parameters stand for
            sound = torch.randn(1, 1, 400)
            expected = torch.nn.functional.conv1d(sound, fresh.conv.weight, fresh.conv.bias, 80)
            torch.testing.assert_close(fresh.conv(sound), expected)
        if make is MODULES["spectral norm"]:
            for module in (fresh, permuted_module(_trained(make), 0)):
                assert torch.linalg.matrix_norm(module.conv.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
    attention: Any = untrained_module(_trained(MODULES["attention"]), 3)
    assert not attention.out_proj.bias.any()  # drawn by the layer in it, then zeroed by the one around


def test_tied_weights_stay_tied() -> None:
    for randomised in (untrained_module(_trained(_Tied), 1), permuted_module(_trained(_Tied), 1)):
        assert randomised.head.weight is randomised.embedding.weight  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", MODULES)
def test_permutation_keeps_the_values_of_every_tensor(kind: str) -> None:
    trained = _trained(MODULES[kind])
    before = _state(trained)
    shuffled = permuted_module(trained, 0)
    torch.testing.assert_close(_state(trained), before, rtol=0, atol=0)
    for name, parameter in shuffled.named_parameters():
        old = trained.get_parameter(name)
        assert torch.equal(old.flatten().sort().values, parameter.flatten().sort().values), name
        assert parameter.numel() < 6 or not torch.equal(old, parameter), name


def test_global_generators_are_left_as_they_were() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[union-attr, index]
    untrained_module(_trained(_Drawn), 1)
    permuted_module(_trained(_Drawn), 1)
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[2]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]


def test_what_cannot_be_drawn_is_refused_by_name() -> None:
    with pytest.raises(NotComputable, match="no module draws gain: .*owns it a method reset_parameters"):
        untrained_module(_trained(_Bare), 1)
    many = nn.ModuleDict({f"m{k}": _Bare() for k in range(6)})
    with pytest.raises(NotComputable, match=r"m0.gain, m1.gain, m2.gain, m3.gain and 2 more: .* owns them"):
        untrained_module(many, 1)
    permuted_module(_trained(_Bare), 1)  # needs no drawing
    with pytest.raises(NotComputable, match="Flatten has no weights"):
        permuted_module(nn.Flatten(), 1)
    former = _Encoder(nn.utils.spectral_norm)
    for randomise in (untrained_module, permuted_module):
        with pytest.raises(NotComputable, match="conv has torch's former spectral_norm.*parametrizations"):
            randomise(former, 1)

    class Partly(nn.Linear):
        def reset_parameters(self) -> None:
            nn.init.zeros_(self.weight)  # and the bias stays as it was trained

    with pytest.raises(NotComputable, match="no module draws bias"):
        untrained_module(Partly(3, 2).requires_grad_(False), 1)

    class Raising(nn.Linear):
        calls = 0

        def reset_parameters(self) -> None:
            self.calls += 1
            if self.calls > 1:
                raise KeyError("gone")

    with pytest.raises(NotComputable, match="reset_parameters of Raising raised KeyError: 'gone'"):
        untrained_module(Raising(3, 2), 1)


def _wav2vec2() -> nn.Module:
    transformers = pytest.importorskip("transformers", reason="needs transformers: ban-bids[pretrained]")
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=(8, 8),
        conv_kernel=(10, 8), conv_stride=(5, 4), num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    model: nn.Module = transformers.Wav2Vec2Model(config)
    return model


@pytest.mark.parametrize("wrapped", [False, True])
def test_transformers_are_made_anew_from_their_config(wrapped: bool) -> None:
    def make() -> nn.Module:
        return nn.Sequential(_wav2vec2(), nn.Linear(16, 3)) if wrapped else _wav2vec2()

    trained = _trained(make)
    fresh = untrained_module(trained, 1)
    _assert_nothing_trained_is_left(trained, fresh)
    assert not fresh.training and type(fresh) is type(trained)
    torch.testing.assert_close(_state(untrained_module(trained, 1)), _state(fresh), rtol=0, atol=0)
    position = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"
    name = f"0.{position}" if wrapped else position
    assert not torch.equal(untrained_module(trained, 2).get_parameter(name), fresh.get_parameter(name))
    assert untrained_module(trained.half(), 1).get_parameter(name).dtype == torch.float16


def test_transformers_that_their_config_does_not_describe_are_refused() -> None:
    changed: Any = _wav2vec2()
    changed.extra = nn.Linear(2, 2)
    with pytest.raises(NotComputable, match="made from its config is another architecture: extra.bias, extra.weight"):
        untrained_module(changed, 1)

    class Odd(nn.Linear):
        config = {"width": 3}

        def init_weights(self) -> None: ...

    with pytest.raises(NotComputable, match="Odd cannot be made from its config alone .TypeError"):
        untrained_module(Odd(3, 2), 1)


def _model(module: nn.Module, **layers: str) -> LayerModel:
    return LayerModel(module, layers or {"A1": "last"}, name="theirs", sampling_rate=RATE)


def _heard(music: list[Clip]) -> list[Tensor]:
    return [torch.from_numpy(render_clip(clip, RATE))[None] for clip in music]


@pytest.mark.parametrize("batch", [True, False])
def test_normalisation_is_the_plain_average_over_the_clips(batch: bool, music: list[Clip]) -> None:
    norm = nn.BatchNorm1d(6) if batch else nn.InstanceNorm1d(6, affine=True, track_running_stats=True)
    trained = _trained(lambda: _Cnn(norm))
    before = _state(trained)
    controls = control_models(_model(trained), music)
    assert [c.name for c in controls.models] == [
        *(f"theirsuntrained{k}" for k in range(1, 6)), "theirspermuted", "logmel", "modulation",
    ]  # fmt: skip
    assert not controls.missing and len(controls.notes) == 1 and "dataset's own clips" in controls.notes[0]
    bare = [untrained_module(trained, 1), permuted_module(trained, 0)]
    for control, module in zip((controls.models[0], controls.models[5]), bare):
        assert isinstance(control, Control)
        built: Any = control.build()
        with torch.no_grad():
            inputs = [module.conv(sound[:, None])[0] for sound in _heard(music)]  # type: ignore[union-attr, operator]
        means = torch.stack([x.mean(dim=1) for x in inputs]).mean(dim=0)
        variances = torch.stack([x.var(dim=1) for x in inputs]).mean(dim=0)
        torch.testing.assert_close(built.module.norm.running_mean, means, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(built.module.norm.running_var, variances, rtol=1e-4, atol=1e-6)
        # the features are those of the module so normalised
        heard = HeardClip(music[0], RATE)
        normalised = (inputs[0] - means[:, None]) / (variances[:, None] + 1e-5).sqrt()
        normalised = normalised * module.norm.weight[:, None] + module.norm.bias[:, None]  # type: ignore[union-attr, index]
        with torch.no_grad():
            expected = module.last(torch.relu(normalised)[None])[0].T  # type: ignore[union-attr, operator]
        found = control.features([heard])[0]["A1"]
        np.testing.assert_allclose(found, expected[: len(found)].numpy(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(_state(trained), before, rtol=0, atol=0)
    with pytest.raises(DataError, match="no sound"):
        control_models(_model(trained))
    reordered, fewer = control_models(_model(trained), reversed(music)), control_models(_model(trained), music[:2])
    assert [c.fingerprint for c in reordered.models] == [c.fingerprint for c in controls.models]
    assert not {c.fingerprint for c in fewer.models[:6]} & {c.fingerprint for c in controls.models}


def test_without_running_statistics_nothing_is_measured_and_said() -> None:
    controls = control_models(_model(_trained(lambda: _Cnn(nn.GroupNorm(2, 6)))))
    assert len(controls.models) == 8 and not controls.notes and not controls.missing
    prints = {c.fingerprint for c in controls.models}
    other = control_models(_model(_Cnn(nn.GroupNorm(2, 6))))
    assert len(prints) == 8 and len(prints & {c.fingerprint for c in other.models}) == 2  # the low-level ones


def test_what_cannot_be_made_is_named_and_the_rest_goes_on() -> None:
    controls = control_models(_model(_trained(_Bare), A1="conv"))
    assert [c.name for c in controls.models] == ["theirspermuted", "logmel", "modulation"]
    assert [name for name, _ in controls.missing] == ["theirsuntrained"] and "draws gain" in controls.missing[0][1]
    drawn = control_models(_model(_trained(_Drawn), A1="conv"))
    assert len(drawn.models) == 8 and not drawn.missing

    class Own:
        name, fingerprint = "own", "x"

    own = control_models(Own())  # type: ignore[arg-type]
    assert [c.name for c in own.models] == ["logmel", "modulation"]
    assert [name for name, _ in own.missing] == ["ownuntrained", "ownpermuted"]
    assert all("with_module" in why for _, why in own.missing)


def test_a_control_is_made_once_for_its_features_and_then_given_back(music: list[Clip], tmp_path: Path) -> None:
    control = control_models(_model(_trained(_Cnn)), music).models[0]
    assert isinstance(control, Control)
    made, build = [], control.build
    control.build = lambda: made.append(build()) or made[-1]  # type: ignore[func-returns-value]
    cache = FeatureCache(control, tmp_path)
    cache.compute(music * 2)
    assert len(made) == 1 and control._built is None
    cache.compute(music)
    assert len(made) == 1  # nothing is made for features that are on disk
    frames = cache.load(music[0], "A1")
    whole = made[0].features([HeardClip(music[0], RATE)])[0]["A1"]
    np.testing.assert_array_equal(frames, averaged(whole, round(control.frame_rate["A1"] / cache.frame_rate("A1"))))
    with pytest.raises(NotComputable, match="theirsuntrained1 is a control"):
        control.genre_probabilities([])


def test_features_that_are_not_finite_are_not_scored() -> None:
    module = _trained(lambda: _Cnn(nn.Identity()))
    with torch.no_grad():
        module.conv.weight.fill_(1e38)  # type: ignore[union-attr, operator]
        module.last.weight.fill_(1e38)  # type: ignore[union-attr, operator]
    control = control_models(_model(module)).models[5]
    sound = HeardClip(None, RATE, np.random.default_rng(0).normal(size=RATE))
    with pytest.raises(NotComputable, match="features of A1 are not finite"):
        control.features([sound])
