"""Controls hear the same sounds as the trained network: statistics against plain averages, and through the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ban_bids.audio.waveforms import HeardClip, render_clip
from ban_bids.errors import CheckpointError, DataError, UsageError
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import ModelCard
from ban_bids.models.checkpoint import load_checkpoint, save_checkpoint
from ban_bids.models.controls import (
    Control,
    clip_batches,
    control_models,
    control_networks,
    control_statistics,
    measured_model,
    sound_batches,
)
from ban_bids.models.network import CONTROLS, NetworkModel, fingerprint
from ban_bids.models.normalisation import measure_normalisation, normalisation
from ban_bids.models.presets import PRESETS, build
from ban_bids.models.registry import load_model

RATE = 22_050


def _trained(seed: int = 7):
    network = build(PRESETS["ban-small"], 3, seed)
    network.front_end.mean.fill_(-2.0)
    frames = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    measure_normalisation(network, [frames], network.from_frames)
    return network


def _inputs_of_norms(network, batches) -> dict[str, list[torch.Tensor]]:
    """What every normalisation is given when each batch is normalised by its own statistics."""
    heard: dict[str, list[torch.Tensor]] = {}
    hooks = [
        module.register_forward_pre_hook(lambda m, given, name=name: heard.setdefault(name, []).append(given[0]))
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    with torch.no_grad():
        for batch in batches:
            network.from_frames(batch)
    for hook in hooks:
        hook.remove()
    return heard


def test_statistics_of_controls_are_the_plain_averages_over_the_batches() -> None:
    network = _trained()
    before = fingerprint(network)
    batches = [torch.randn(5, 1, 64, 48, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    found = control_statistics(network, lambda: iter(batches))
    assert fingerprint(network) == before  # the trained one stays as it is
    assert tuple(found) == CONTROLS
    for name, control in control_networks(network):
        for norm, inputs in _inputs_of_norms(control, batches).items():
            means = torch.stack([x.mean(dim=(0, 2, 3)) for x in inputs]).mean(dim=0)
            variances = torch.stack([x.transpose(0, 1).flatten(1).var(dim=1) for x in inputs]).mean(dim=0)
            torch.testing.assert_close(found[name][f"{norm}.running_mean"], means, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found[name][f"{norm}.running_var"], variances, rtol=1e-4, atol=1e-5)


def test_any_module_is_measured_and_nothing_else_in_it_is_random() -> None:
    module = nn.Sequential(nn.Dropout(0.9), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.LayerNorm(3))
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    measure_normalisation(module, [x])
    with torch.no_grad():
        torch.testing.assert_close(module[2].running_mean, module[1](x).mean(0))
    assert not any(part.training for part in module.modules()) and module[2].momentum == 0.1


def test_statistics_go_through_the_file_and_the_controls_have_them(tmp_path: Path, music: list[Clip]) -> None:
    network = _trained()
    batches = clip_batches(network.front_end, music)
    network.control_statistics = control_statistics(network, lambda: batches)
    path = save_checkpoint(tmp_path / "w.safetensors", network, ModelCard(network.config.to_dict(), ("a", "b", "c")))
    again, _ = load_checkpoint(path)
    assert fingerprint(again) == fingerprint(network)
    controls = control_models(load_model("ban", path))
    assert controls.notes == () and [c.name for c in controls.models[-2:]] == ["logmel", "modulation"]
    for name, control in zip(CONTROLS, controls.models):
        assert control.name == f"bansmall{name}" and isinstance(control, Control)
        for buffer, value in normalisation(control.build().network).items():
            assert torch.equal(value, network.control_statistics[name][buffer])
    # bare weights keep them too; the file of an earlier version has none
    bare, _ = load_checkpoint(save_checkpoint(tmp_path / "bare.safetensors", network, None))
    assert bare.control_statistics.keys() == network.control_statistics.keys()
    old = {name: value for name, value in load_file(path).items() if not name.startswith("controls/")}
    save_file(old, tmp_path / "old.safetensors")
    earlier, _ = load_checkpoint(tmp_path / "old.safetensors")
    assert fingerprint(earlier) == fingerprint(network) and earlier.control_statistics == {}
    small = sum(value.numel() for stats in network.control_statistics.values() for value in stats.values())
    assert 4 * small < 100_000


def test_damaged_statistics_are_refused(tmp_path: Path) -> None:
    network = _trained()
    frames = [torch.randn(2, 1, 64, 48)]
    network.control_statistics = control_statistics(network, lambda: frames)
    tensors = load_file(save_checkpoint(tmp_path / "w.safetensors", network, None))
    broken = {
        name: value for name, value in tensors.items() if not name.endswith("permuted/areas.A1.norms.0.running_var")
    }
    assert len(broken) == len(tensors) - 1
    save_file(broken, tmp_path / "broken.safetensors")
    with pytest.raises(CheckpointError, match="control 'permuted'"):
        load_checkpoint(tmp_path / "broken.safetensors")
    fewer = {name: value for name, value in tensors.items() if "untrained3" not in name}
    save_file(fewer, tmp_path / "fewer.safetensors")
    with pytest.raises(CheckpointError, match="statistics of the controls"):
        load_checkpoint(tmp_path / "fewer.safetensors")


def test_segments_hold_the_sounds_one_after_the_other(music: list[Clip]) -> None:
    front_end = _trained().front_end
    sounds = [render_clip(clip, RATE) for clip in music]
    batches = sound_batches(front_end, sounds)
    tape = torch.cat([front_end(torch.from_numpy(sound)[None]) for sound in sounds], dim=3)
    n = tape.shape[3] // 256
    assert n > 1 and [tuple(batch.shape) for batch in batches] == [(n, 1, 64, 256)]
    torch.testing.assert_close(batches[0][1], tape[0, :, :, 256:512])
    short = sound_batches(front_end, [sounds[0][: RATE // 2]])
    assert short[0].shape[3] < 256
    with pytest.raises(DataError, match="no sound"):
        sound_batches(front_end, [])


def test_many_clips_are_sampled_evenly_and_the_order_does_not_matter(music: list[Clip], monkeypatch) -> None:
    from ban_bids.models import controls

    front_end = _trained().front_end
    monkeypatch.setattr(controls, "MEASURED_SECONDS", 3 * 5.12)
    heard: list[Clip] = []

    def render(clip: Clip, rate: int):
        heard.append(clip)
        return render_clip(clip, rate)

    monkeypatch.setattr(controls, "render_clip", render)
    one = clip_batches(front_end, music)
    assert [clip.track for clip in heard] == ["tune0", "tune2", "tune4"]
    assert all(clip.duration <= 5.12 and clip.start >= 0.25 for clip in heard)
    two = clip_batches(front_end, [*reversed(music), music[0]])
    assert torch.equal(torch.cat(one), torch.cat(two))


def test_random_weights_are_used_only_after_they_heard_something(music: list[Clip]) -> None:
    model = load_model("ban-small-untrained", None, seed=4)
    sound = HeardClip(None, RATE, render_clip(music[0], RATE))
    with pytest.raises(UsageError, match="has not been measured"):
        model.features([sound])
    ready, notes = measured_model(model, music)
    assert "dataset's own clips" in notes[0] and ready.name == model.name and ready.card == model.card
    expected = build(PRESETS["ban-small"], 2, 4)
    measure_normalisation(expected, clip_batches(expected.front_end, music), expected.from_frames)
    assert ready.fingerprint == fingerprint(expected) != model.fingerprint
    assert ready.fingerprint != measured_model(model, music[:3])[0].fingerprint
    assert all(0.01 < area.std() < 20 for area in ready.features([sound])[0].values())
    assert measured_model(ready, ())[0] is ready  # a model that is ready stays as it is
    assert isinstance(ready, NetworkModel)
