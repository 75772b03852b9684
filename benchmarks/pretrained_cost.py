"""What pretrained networks cost: ``python benchmarks/pretrained_cost.py [--models NAME …] [--clip 15] [--minutes 1]``.

Networks of the true sizes with random weights are written as their publishers write them, then loaded by name in a
fresh process and asked for all layers of noise. Prints processor and wall seconds per minute of sound, of loading,
the most memory of the process, and the size of the features.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import Found, Watch, in_child

from ban_bids.audio.waveforms import HeardClip
from ban_bids.models.registry import load_model

_LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
_NORM: dict[str, Any] = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
_SMALL: dict[str, Any] = {
    "d_model": 768,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "encoder_attention_heads": 12,
    "decoder_attention_heads": 12,
    "encoder_ffn_dim": 3072,
    "decoder_ffn_dim": 3072,
}


def _transformers(kind: str, folder: Path, **settings: Any) -> str:
    import transformers

    config = getattr(transformers, f"{kind}Config")(**settings)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    extractor = {"Whisper": "Whisper", "AST": "AST"}.get(kind, "Wav2Vec2")
    getattr(transformers, f"{extractor}FeatureExtractor")().save_pretrained(folder)
    return f"hf:{folder}"


def _torchaudio(bundle: str, folder: Path) -> str:
    import torchaudio

    params = {**getattr(torchaudio.pipelines, bundle)._params, "aux_num_out": None}
    folder.mkdir()
    torch.save(torchaudio.models.wav2vec2_model(**params).state_dict(), folder / "weights.pth")
    return f"torchaudio:{bundle}={folder / 'weights.pth'}"


MODELS: dict[str, Callable[[Path], str]] = {
    "wav2vec2-large": lambda folder: _transformers("Wav2Vec2", folder, **_LARGE, **_NORM),
    "wavlm-large": lambda folder: _transformers("WavLM", folder, **_LARGE, **_NORM),
    "ast-base": lambda folder: _transformers("AST", folder),
    "whisper-small": lambda folder: _transformers("Whisper", folder, **_SMALL),
    "torchaudio-wav2vec2-base": lambda folder: _torchaudio("WAV2VEC2_BASE", folder),
}


def make(name: str, folder: Path) -> Found:
    """Write a network with random weights."""
    torch.manual_seed(0)
    return {"request": MODELS[name](folder / name)}


def hear(request: str, clip: float, minutes: float) -> Found:
    """Load it and compute all layers."""
    label, _, weights = request.partition("=") if request.startswith("torchaudio") else (request, "", "")
    with Watch() as loading:
        model = load_model(label, Path(weights) if weights else None)
    rate = model.sampling_rate
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, round(clip * rate)).astype(np.float32) for _ in range(round(minutes * 60 / clip))]
    size = 0
    with Watch() as hearing:
        for sound in sounds:  # one by one, as they would be written to the cache
            size += sum(frames.nbytes for frames in model.features([HeardClip(None, rate, sound)])[0].values())
    heard = len(sounds) * clip / 60
    return {
        "layers": len(model.layers),
        "load_cpu_s": loading.cpu,
        "cpu_s_per_min": hearing.cpu / heard,
        "wall_s_per_min": hearing.wall / heard,
        "mb_per_min": size / heard / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--clip", type=float, default=15.0, help="seconds of each clip")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    columns = ("layers", "load_cpu_s", "cpu_s_per_min", "wall_s_per_min", "mb_per_min", "peak_mb", "own_peak_mb")
    print("| model | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name in options.models:
        with tempfile.TemporaryDirectory() as place:
            made = in_child(make, name, Path(place), threads=options.threads)
            found = in_child(hear, made["request"], options.clip, options.minutes, threads=options.threads)
        print(f"| {name} | " + " | ".join(f"{found[column]:.4g}" for column in columns) + " |", flush=True)


if __name__ == "__main__":
    main()
