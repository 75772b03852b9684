"""What PyTorch does to a network: export, compilation, autocast, memory formats; the numbers stay."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from noise import hear_noise
from torch.export import Dim

from ban_bids.constants import AREAS
from ban_bids.models.ban import BAN
from ban_bids.models.config import PRESETS

RATE = 22_050


@pytest.fixture(autouse=True)
def _no_compiled_code_is_left() -> Iterator[None]:
    yield
    torch.compiler.reset()


@pytest.fixture(scope="module")
def network() -> BAN:
    return _network()


def _network() -> BAN:
    """Everything switched on, two steps: what is compiled is the unrolled loop."""
    ban = BAN(replace(PRESETS["ban-small"], feedback=True), n_genres=10, seed=3)
    hear_noise(ban)
    return ban


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _close(one: tuple, two: tuple, rtol: float = 1e-4, atol: float = 1e-4) -> None:
    torch.testing.assert_close(one[0], two[0], rtol=rtol, atol=atol)
    assert list(one[1]) == list(two[1]) == list(AREAS)
    for label in AREAS:
        torch.testing.assert_close(one[1][label], two[1][label], rtol=rtol, atol=atol)


def test_exported_for_any_batch_and_length(network: BAN) -> None:
    """Both dynamic; from the second frame of T2T3 on, that is more than 80 ms."""
    dynamic = {"waveform": {0: Dim.AUTO, 1: Dim.AUTO}, "every_step": None}
    exported = torch.export.export(network, (_noise(2, RATE),), {"every_step": True}, dynamic_shapes=dynamic)
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    again = torch.export.load(file).module()
    with torch.no_grad():
        for shape in ((1, 1800), (1, RATE), (3, 40_123)):
            sound = _noise(*shape, seed=1)
            _close(again(sound, every_step=True), network(sound, every_step=True))


def test_exported_with_channels_and_another_rate(network: BAN) -> None:
    """Any batch; torchaudio's resampling fixes the length."""
    dynamic = {"waveform": {0: Dim.AUTO}, "sampling_rate": None}
    exported = torch.export.export(network, (_noise(2, 2, 44_100),), {"sampling_rate": 44_100}, dynamic_shapes=dynamic)
    sound = _noise(3, 2, 44_100, seed=1)
    with torch.no_grad():
        expected = network(sound, sampling_rate=44_100)
        torch.testing.assert_close(exported.module()(sound, sampling_rate=44_100), expected)


def test_compiled_whole_it_says_the_same(network: BAN) -> None:
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        sound = _noise(2, RATE)
        _close(compiled(sound, every_step=True), network(sound, every_step=True))


def test_compiled_training_has_the_same_gradients() -> None:
    frames, gradients = _noise(3, 1, 64, 64) * 10, []
    for compile_it in (False, True):
        network = _network().train()
        network.dropout.p = 0.0
        function = torch.compile(network.from_frames, backend="aot_eager", fullgraph=True)
        logits, _ = (function if compile_it else network.from_frames)(frames)
        logits.square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for eager, compiled in zip(*gradients):
        torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4 * float(eager.abs().max()))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler (g++) for a CPU")
def test_inductor_says_the_same() -> None:
    network = BAN(PRESETS["ban-feedforward"], seed=3).eval()
    compiled = torch.compile(network.areas["Belt"], backend="inductor", fullgraph=True)
    with torch.no_grad():
        below = _noise(1, 16, 32, 40)
        heard = network.areas["Belt"].hear(below)
        expected = network.areas["Belt"](heard, None, None, 0)
        torch.testing.assert_close(compiled(heard, None, None, 0), expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_autocast_stays_near(network: BAN) -> None:
    sound = _noise(2, 2 * RATE)
    with torch.no_grad():
        _, full = network(sound, return_areas=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits, half = network(sound, return_areas=True)
    assert torch.isfinite(logits).all()
    for label in AREAS:
        assert half[label].dtype == torch.bfloat16
        pair = torch.stack([half[label].float().flatten(), full[label].flatten()])
        assert float(torch.corrcoef(pair)[0, 1]) > 0.999


def test_memory_format_changes_no_number(network: BAN) -> None:
    sound = _noise(2, RATE)
    plain = _network().to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        last, contiguous = network(sound, return_areas=True), plain(sound, return_areas=True)
    _close(contiguous, last)
    for label in AREAS:
        assert last[1][label].is_contiguous(memory_format=torch.channels_last)
        assert contiguous[1][label].is_contiguous()


def test_the_same_twice_bit_for_bit(network: BAN) -> None:
    """Forward and one step of training; two networks of one seed."""
    results = []
    for _ in range(2):
        ban = BAN(network.config, n_genres=10, seed=3)
        hear_noise(ban)
        with torch.no_grad():
            forward = ban(_noise(2, RATE))
        ban.train()
        torch.manual_seed(0)
        ban(_noise(3, RATE, seed=2)).square().sum().backward()
        results.append([forward, *(parameter.grad for parameter in ban.parameters())])
    for one, two in zip(*results):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
