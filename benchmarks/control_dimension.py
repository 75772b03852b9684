"""Effective dimension of T2/T3 for a trained network and its controls, by the sounds of their normalisation.

Trains BAN briefly on a folder of genres, then lets the network and its untrained and permuted controls hear the
validation tracks. The controls' normalisation comes from smoothed noise, as formerly, from the trained
network's own training music (kept in its checkpoint), and from other clips (as for weights without these statistics).
The effective dimension is the participation ratio of the covariance over frames, (tr C)^2 / tr(C^2).

    python benchmarks/control_dimension.py GENRES [--cpu-minutes 1.5]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ban_bids.audio.waveforms import HeardClip, load_waveform
from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.models.controls import control_networks, sound_batches
from ban_bids.models.network import AuditoryNetwork, NetworkModel
from ban_bids.models.normalisation import measure_normalisation, set_normalisation
from ban_bids.training.code_measures.dimension import Scatter, effective_dimension
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.train import train_model


def noise(network: AuditoryNetwork) -> list[torch.Tensor]:
    """Log-mel noise of unit variance, smoothed over 80 ms and three mel bands."""
    n_mels = network.config.front_end.n_mels
    made = torch.randn(8, 1, n_mels + 2, 512 + 3, generator=torch.Generator().manual_seed(0))
    made = torch.nn.functional.avg_pool2d(made, (3, 4), stride=1)
    return [made / made.std()]


def dimension(network: AuditoryNetwork, heard: list[HeardClip]) -> float:
    """Participation ratio of T2/T3's covariance over all frames of the clips."""
    scatter = Scatter()
    for clip in NetworkModel(network).features(heard):
        scatter.add(clip["T2T3"])
    return effective_dimension(scatter).raw


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("genres", type=Path)
    parser.add_argument("--cpu-minutes", type=float, default=1.5)
    parser.add_argument("--preset", default="ban")
    given = parser.parse_args()
    settings = TrainingSettings(preset=given.preset, max_minutes=given.cpu_minutes, budget_clock="cpu", seed=1)
    with TemporaryDirectory() as folder:
        path = train_model(given.genres, Path(folder) / "w.safetensors", settings, device="cpu", progress=False)
        network, card = load_checkpoint(path)
    assert card is not None
    rate = network.config.front_end.sampling_rate
    files = sorted(given.genres.glob("*/*"))
    tracks = {name: [path for path in files if path.stem in hashes] for name, hashes in (
        ("training", card.training_hashes), ("validation", card.validation_hashes))}  # fmt: skip
    heard = [HeardClip(None, rate, load_waveform(path, 0, 15, rate)) for path in tracks["validation"]]
    others = sound_batches(network.front_end, (clip.waveform for clip in heard))
    print(f"{len(tracks['training'])} training tracks, {len(heard)} validation tracks, 15 s each; "
          f"track accuracy {card.metrics['track_accuracy']:.2f}")  # fmt: skip
    print(f"trained       {dimension(network, heard):5.1f}")
    print("control       noise  training music  other clips")
    for name, control in control_networks(network):
        measure_normalisation(control, noise(control), control.from_frames)
        found = [dimension(control, heard)]
        set_normalisation(control, network.control_statistics[name])
        found.append(dimension(control, heard))
        measure_normalisation(control, others, control.from_frames)
        found.append(dimension(control, heard))
        print(f"{name:12s} {found[0]:6.1f} {found[1]:15.1f} {found[2]:12.1f}")
    print(f"{time.process_time():.0f} processor seconds")


if __name__ == "__main__":
    main()
