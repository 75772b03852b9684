"""Ask which layer of a PyTorch model predicts which part of (simulated) auditory cortex, through the Python API.

python examples/score_a_torch_model.py

Four runs of noise bursts are simulated. Voxels of one region follow the model's shallow layer, voxels of the other its
deep one, each with a delay of a few seconds and noise on top. Ridge models are fitted on three runs, voxel by voxel,
and predict the fourth; a table has the mean correlation per layer (rows) and region (columns).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

from ban_bids.audio.waveforms import HeardClip
from ban_bids.encoding.ridge.bands import FeatureBands
from ban_bids.encoding.ridge.hyperparameters import Hyperparameters
from ban_bids.encoding.ridge.solvers import BandedRidge
from ban_bids.encoding.timeline import lags, lay_features, steps
from ban_bids.inputs.types import Clip
from ban_bids.models.foreign import LayerModel

TR, CLIP_SECONDS, CLIPS_PER_RUN, RUNS, VOXELS = 2.0, 6.0, 12, 4, 20
RATE = 22_050
RNG = np.random.default_rng(0)


def make_model() -> LayerModel:
    """Return two convolutions with random weights, each behind a rectifier."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv1d(1, 12, 1024, stride=512),
        torch.nn.ReLU(),
        torch.nn.Conv1d(12, 12, 16, stride=4),
        torch.nn.ReLU(),
    )
    layers = {"shallow": "1", "deep": "3"}
    return LayerModel(module, layers, name="toy", preprocess=lambda waveform: waveform[:, None], time_axis=-1)


def make_clips(folder: Path) -> list[Clip]:
    """Write one file of band-limited noise per clip, each of another colour and rhythm."""
    clips = []
    seconds = np.arange(int(CLIP_SECONDS * RATE)) / RATE
    for k in range(RUNS * CLIPS_PER_RUN):
        tones = RNG.uniform(100, 4000, 5)
        sound = sum(np.sin(2 * np.pi * f * seconds + RNG.uniform(0, 6)) for f in tones)
        sound *= 0.05 * (1.2 + np.sin(2 * np.pi * RNG.uniform(0.3, 3) * seconds))
        path = folder / f"clip{k:02d}.wav"
        soundfile.write(path, sound, RATE)
        clips.append(Clip(path, 0.0, CLIP_SECONDS, path.stem))
    return clips


def lagged_features(model: LayerModel, clips: list[Clip]) -> dict[str, list[np.ndarray]]:
    """Features of every layer and run, (n_volumes, n_lags · n_features), z-scored in the run."""
    heard = model.features([HeardClip(clip, RATE) for clip in clips])
    silence = model.features([HeardClip.silence(4.0, RATE)])[0]
    onsets = np.arange(CLIPS_PER_RUN) * CLIP_SECONDS
    times = np.arange(TR / 2, CLIPS_PER_RUN * CLIP_SECONDS, TR)
    features: dict[str, list[np.ndarray]] = {layer: [] for layer in model.layers}
    for layer in model.layers:
        for run in range(RUNS):
            frames = [one[layer] for one in heard[run * CLIPS_PER_RUN : (run + 1) * CLIPS_PER_RUN]]
            durations = [CLIP_SECONDS] * CLIPS_PER_RUN
            edges, values = steps(onsets, durations, frames, rate=model.frame_rate[layer], silence=silence[layer][-1])
            lagged = lay_features(edges, values, times, width=TR, delays=lags(TR, 9.0, 2.0)).lagged()
            features[layer].append((lagged - lagged.mean(axis=0)) / (lagged.std(axis=0) + 1e-6))
    return features


def simulate(features: list[np.ndarray]) -> list[np.ndarray]:
    """BOLD of a region whose voxels each follow a random mixture of lagged features, as strong as the noise."""
    mixture = RNG.standard_normal((features[0].shape[1], VOXELS))
    signals = [run @ mixture for run in features]
    scale = np.concatenate(signals).std(axis=0)
    return [signal / scale + RNG.standard_normal(signal.shape) for signal in signals]


def held_out_r(features: list[np.ndarray], bold: list[np.ndarray]) -> float:
    """Mean over voxels of r between predicted and measured BOLD of the last run."""
    centred = [(run - run.mean(axis=0)).astype(np.float32) for run in bold]
    rows = [run.astype(np.float32) for run in features]
    groups = np.repeat(np.arange(RUNS - 1), [len(run) for run in rows[:-1]])
    training = np.concatenate(rows[:-1])
    scale = np.float32(1 / np.sqrt(np.mean(np.sum(training**2, axis=1))))  # the kernel's mean diagonal becomes 1
    ridge = BandedRidge(Hyperparameters(alphas=[10.0**e for e in range(-4, 6)]))
    ridge.fit(FeatureBands([training * scale]), np.concatenate(centred[:-1]), groups)
    prediction = ridge.predict(FeatureBands([rows[-1] * scale]))
    return float(np.mean([np.corrcoef(p, y)[0, 1] for p, y in zip(prediction.T, centred[-1].T, strict=True)]))


def main() -> None:
    """Simulate, fit, print."""
    model = make_model()
    with tempfile.TemporaryDirectory() as folder:
        features = lagged_features(model, make_clips(Path(folder)))
    regions = {"follows shallow": simulate(features["shallow"]), "follows deep": simulate(features["deep"])}
    print(f"{'layer':10s}" + "".join(f"{name:>18s}" for name in regions))
    for layer in model.layers:
        print(f"{layer:10s}" + "".join(f"{held_out_r(features[layer], bold):18.3f}" for bold in regions.values()))


if __name__ == "__main__":
    main()
