"""Folders of small random models of transformers, as ``save_pretrained`` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

_TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
_WAVES: dict[str, Any] = {
    **_TOWER,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 8, 4),
    "conv_stride": (10, 8, 4),  # 320 samples in all, as the true ones
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}


def configs() -> dict[str, Any]:
    """Kind -> configuration of a small model with all parts of a true one."""
    t = transformers
    audio = {
        "spec_size": 32, "num_mel_bins": 8, "patch_size": 4, "patch_stride": [4, 4], "patch_embeds_hidden_size": 8,
        "hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2], "window_size": 2, "enable_fusion": False,
        "projection_dim": 8,
    }  # fmt: skip
    text = {"vocab_size": 20, **_TOWER, "num_hidden_layers": 1, "max_position_embeddings": 16}
    return {
        "wav2vec2": t.Wav2Vec2Config(**_WAVES),
        "wav2vec2large": t.Wav2Vec2Config(**_WAVES, **_NORM),
        "hubert": t.HubertConfig(**_WAVES),
        "wavlm": t.WavLMConfig(**_WAVES, num_buckets=8, max_bucket_distance=16),
        "data2vec": t.Data2VecAudioConfig(**_WAVES, conv_pos_kernel_size=3),
        "unispeech": t.UniSpeechConfig(**_WAVES),
        "unispeechsat": t.UniSpeechSatConfig(**_WAVES),
        "conformer": t.Wav2Vec2ConformerConfig(**_WAVES, conv_depthwise_kernel_size=5),
        "sew": t.SEWConfig(**_WAVES, squeeze_factor=2),
        "sewd": t.SEWDConfig(**_WAVES, squeeze_factor=2, max_position_embeddings=32, position_buckets=16),
        "whisper": t.WhisperConfig(
            vocab_size=30, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=16,
            max_source_positions=100, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        ),
        "ast": t.ASTConfig(**_TOWER, max_length=128, num_mel_bins=32),
        "clap": t.ClapConfig(text_config=text, audio_config=audio, projection_dim=8),
    }  # fmt: skip


def extractor(kind: str) -> Any:
    """The feature extractor that fits the small model of this kind."""
    t = transformers
    if kind == "whisper":
        return t.WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    if kind == "ast":
        return t.ASTFeatureExtractor(max_length=128, num_mel_bins=32)
    if kind == "clap":
        return t.ClapFeatureExtractor(
            feature_size=8, sampling_rate=16_000, hop_length=160, max_length_s=1, fft_window_size=400,
            frequency_max=8000, truncation="rand_trunc",
        )  # fmt: skip
    return t.Wav2Vec2FeatureExtractor(do_normalize=True)


def save(kind: str, folder: Path, *, config: Any = None, with_extractor: bool = True, seed: int = 0) -> Path:
    """Write a small model with random weights; none of them is zero or one throughout."""
    torch.manual_seed(seed)
    config = config or configs()[kind]
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn_like(buffer))
    model.save_pretrained(folder)
    if with_extractor:
        extractor(kind).save_pretrained(folder)
    return folder


def rewritten(folder: Path, **changes: Any) -> Path:
    """The same folder, keys of its config.json changed or (None) removed."""
    path = folder / "config.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return folder
