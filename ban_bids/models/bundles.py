"""Pipelines of torchaudio by name: ``torchaudio:BUNDLE[=FILE]``."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn

from ban_bids.errors import CheckpointError, UsageError
from ban_bids.models.candidate import Candidate
from ban_bids.models.hidden import HOP_SECONDS, PIECE_SECONDS, Hearing, HiddenStates, card_of, piece_note, short_name
from ban_bids.models.huggingface import REFERENCES

_LOG = logging.getLogger(__name__)

PREFIX = "torchaudio:"

_DESCRIBED = {"HUBERT": "hubert", "WAVLM": "wavlm"}
"""First word of a bundle's name -> key of the references; all others are wav2vec 2.0's."""


def load_bundle(name: str, weights: Path | None, device: str, seed: int) -> Candidate:
    """Load ``torchaudio:BUNDLE``.

    Parameters
    ----------
    name : str
        The prefix and the name of a bundle in ``torchaudio.pipelines`` whose network hears waveforms: wav2vec 2.0,
        HuBERT, WavLM and those that were trained further to recognise speech.
    weights : Path or None
        File of weights as torchaudio publishes it. Without one it is looked for where torchaudio itself would keep
        it: ``hub/checkpoints`` under ``TORCH_HOME``.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    seed : int
        Not used: nothing is random.

    Returns
    -------
    Candidate
        Layers ``L00`` (what enters the first layer of the transformer) to the last. The card says
        that the tracks which trained it are not known.

    Raises
    ------
    UsageError
        For another bundle, or where there is no file.
    CheckpointError
        For weights that are damaged or another architecture's.
    """
    bundle = _bundle(name)
    path = weights or _kept(bundle)
    if not path.is_file():
        where = "there is no such file" if weights else "it is not there, and nothing is downloaded"
        raise UsageError(f"--model {name}: its weights are {path}: {where}; fetch it and write {name}=FILE")
    module = _module(name, bundle, path)
    rate = int(bundle.sample_rate)
    period = prod(stride for _, _, stride in bundle._params["extractor_conv_layer_config"])
    hearing = Hearing(
        rate,
        (period,) * (1 + bundle._params["encoder_num_layers"]),
        round(PIECE_SECONDS * rate),
        round(HOP_SECONDS * rate),
        _states,
        _normalised if bundle._normalize_waveform else _as_it_is,
    )
    label = name.removeprefix(PREFIX)
    notes = (piece_note(hearing),)
    _LOG.info("model %s: %s", name, notes[0])
    return HiddenStates(
        module,
        hearing,
        name=short_name(label),
        code=repr([sorted(bundle._params.items()), bundle._normalize_waveform, torchaudio.__version__]),
        device=device,
        card=card_of(label, [REFERENCES[_DESCRIBED.get(label.partition("_")[0], "wav2vec2")]], notes),
    )


def offered() -> list[str]:
    """Names of the bundles whose hidden states can be had."""
    pipelines = torchaudio.pipelines
    kind = pipelines.Wav2Vec2Bundle
    return sorted(name for name in vars(pipelines) if isinstance(getattr(pipelines, name), kind))


def _bundle(name: str) -> Any:
    label = name.removeprefix(PREFIX)
    if label not in offered():
        raise UsageError(f"--model {name}: no bundle of torchaudio with layers in time; choose {', '.join(offered())}")
    return getattr(torchaudio.pipelines, label)


def _kept(bundle: Any) -> Path:
    """Where torchaudio would keep the file, TORCH_HOME honoured."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(bundle._path).name


def _module(name: str, bundle: Any, path: Path) -> nn.Module:
    """The network without its read-out of letters, all of whose weights came from the file."""
    factories: Mapping[str, Any] = {
        "Wav2Vec2": torchaudio.models.wav2vec2_model,
        "WavLM": torchaudio.models.wavlm_model,
    }
    params = {key: value for key, value in bundle._params.items() if key != "aux_num_out"}
    module = factories[bundle._model_type](**params, aux_num_out=None)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        own = {key: value for key, value in state.items() if not key.startswith("aux.")}
        module.load_state_dict(own)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, AttributeError, pickle.UnpicklingError) as error:
        _LOG.exception("--model %s: the weights cannot be loaded", name)
        raise CheckpointError(
            f"--model {name}: {path} cannot be used ({type(error).__name__}): it is damaged, or not the weights of "
            "this bundle; the log has the traceback"
        ) from error
    return module


def _as_it_is(sound: np.ndarray) -> np.ndarray:
    return sound


def _normalised(sound: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 over the whole clip, as the bundle's own layer normalisation of the waveform."""
    heard = torch.from_numpy(sound)
    return nn.functional.layer_norm(heard, heard.shape).numpy()


def _states(module: Any, pieces: np.ndarray, device: torch.device) -> Sequence[Tensor]:
    """What enters the first layer, and what leaves each."""
    entering: list[Tensor] = []
    hook = module.encoder.transformer.layers[0].register_forward_pre_hook(
        lambda layer, given: entering.append(given[0])
    )
    try:
        states, _ = module.extract_features(torch.from_numpy(pieces).to(device))
    finally:
        hook.remove()
    return [entering[0], *states]
