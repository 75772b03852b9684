"""Audio models of transformers, from a folder: ``hf:FOLDER``.

Nothing is downloaded and no code but that of transformers is run. The folder is one that ``save_pretrained`` writes, or
that of a hub's repository; a repository's name stands for what lies in the user's cache.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ban_bids.errors import CheckpointError, DataError, UsageError
from ban_bids.files.json import read_json
from ban_bids.models.candidate import Candidate
from ban_bids.models.hidden import HOP_SECONDS, PIECE_SECONDS, Hearing, HiddenStates, card_of, piece_note, short_name

_LOG = logging.getLogger(__name__)

PREFIX = "hf:"

REFERENCES: Mapping[str, str] = {
    "wav2vec2": "Baevski A, Zhou H, Mohamed A, Auli M. wav2vec 2.0: A framework for self-supervised learning of speech "
    "representations. NeurIPS 33, 2020",
    "hubert": "Hsu W-N, Bolte B, Tsai Y-HH, et al. HuBERT: Self-supervised speech representation learning by masked "
    "prediction of hidden units. IEEE/ACM TASLP 29:3451-3460, 2021",
    "wavlm": "Chen S, Wang C, Chen Z, et al. WavLM: Large-scale self-supervised pre-training for full stack speech "
    "processing. IEEE J Sel Top Signal Process 16:1505-1518, 2022",
    "data2vec-audio": "Baevski A, Hsu W-N, Xu Q, et al. data2vec: A general framework for self-supervised learning in "
    "speech, vision and language. ICML, 2022",
    "whisper": "Radford A, Kim JW, Xu T, et al. Robust speech recognition via large-scale weak supervision. ICML, 2023",
    "audio-spectrogram-transformer": "Gong Y, Chung Y-A, Glass J. AST: Audio spectrogram transformer. Interspeech "
    "571-575, 2021",
    "clap": "Wu Y, Chen K, Zhang T, et al. Large-scale contrastive language-audio pretraining with feature fusion and "
    "keyword-to-caption augmentation. ICASSP, 2023",
    "mert_model": "Li Y, Yuan R, Zhang G, et al. MERT: Acoustic music understanding model with large-scale "
    "self-supervised training. ICLR, 2024",
}
"""Kind of model -> the publication that describes it."""

_MERT_AS_HUBERT = {"feature_extractor_cqt": False, "deepnorm": False}
_UNUSED = ("masked_spec_embed",)  # stands for masked frames, which there are in training only
_MAX_WIDTH = 1024
_PROBE_SECONDS = (1, 2)
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
_INSTALL = "pip install 'ban-bids[pretrained]'"


@dataclass(frozen=True)
class _Found:
    """What lies in a folder, read but for the weights."""

    name: str
    folder: Path
    kind: str
    config: Any
    extractor: Any
    notes: tuple[str, ...] = ()

    @property
    def sampling_rate(self) -> int:
        return int(self.extractor.sampling_rate)

    def refuse(self, reason: str) -> UsageError:
        return UsageError(f"--model {self.name}: {reason}")


def load_huggingface(name: str, weights: Path | None, device: str, seed: int) -> Candidate:
    """Load ``hf:FOLDER``.

    Parameters
    ----------
    name : str
        The prefix and a folder, or the name of a repository that lies in the user's cache (``HF_HUB_CACHE``,
        ``HUGGINGFACE_HUB_CACHE``, ``HF_HOME``).
    weights : Path or None
        None: they lie in the folder.
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
        There is no such folder, transformers is not installed or does not know the model, it needs foreign code, or
        it gives no hidden states in time.
    CheckpointError
        Weights that are missing, damaged or another architecture's.
    """
    if weights is not None:
        raise UsageError(f"--model {name}: its weights lie in the folder; drop --weights {weights}")
    try:
        import transformers
    except ImportError as error:
        raise UsageError(f"--model {name}: needs transformers; {_INSTALL}") from error
    with _quiet(transformers):
        found = _read(name, _folder(name))
        module, hearing, fixed = _FAMILIES[found.config.model_type](found)
    notes = (*found.notes, piece_note(hearing, fixed=fixed))
    _LOG.info("model %s: %s", name, "; ".join(notes))
    settings = [found.config.to_json_string(use_diff=False), found.extractor.to_json_string()]
    label = _short(found.folder)
    return HiddenStates(
        module,
        hearing,
        name=label,
        code=repr([*settings, transformers.__version__]),
        device=device,
        card=card_of(label, [REFERENCES[found.kind]] if found.kind in REFERENCES else [], notes),
    )


# --- what lies in the folder


def hub_cache() -> Path:
    """Folder of the hub's cache, as the environment says."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    xdg = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or str(Path(xdg) / "huggingface")
    return Path(home).expanduser() / "hub"


def _folder(name: str) -> Path:
    text = name.removeprefix(PREFIX)
    folder = Path(text).expanduser()
    if folder.is_dir():
        return folder.absolute()
    if not _REPOSITORY.fullmatch(text):
        raise UsageError(f"--model {name}: there is no folder {text or '(nothing)'}; write {PREFIX}FOLDER")
    from huggingface_hub import snapshot_download

    cache = hub_cache()
    try:
        return Path(snapshot_download(text, cache_dir=cache, local_files_only=True))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--model {name}: there is no such folder, nor is {text} in the cache {cache}; nothing is downloaded: "
            f"fetch it beforehand (hf download {text})"
        ) from error


def _short(folder: Path) -> str:
    """A folder's name, of a snapshot in the hub's cache the repository's."""
    in_cache = folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--")
    return short_name(folder.parent.parent.name.rpartition("--")[2] if in_cache else folder.name)


def _read(name: str, folder: Path) -> _Found:
    """Configuration and preprocessing of a model, in the classes of transformers."""
    from transformers import CONFIG_MAPPING

    path = folder / "config.json"
    written = _json(name, path)
    kind = str(written.get("model_type"))
    notes: tuple[str, ...] = ()
    if kind == "mert_model" and all(written.get(key, off) == off for key, off in _MERT_AS_HUBERT.items()):
        known, notes = "hubert", ("without its optional parts MERT is a HuBERT, and is run as one",)
    elif kind in CONFIG_MAPPING:
        known = kind
    elif "auto_map" in written:
        raise UsageError(
            f"--model {name}: model type {kind!r} needs foreign code (auto_map in {path}), which is never run; "
            "wrap it yourself: torch:package.module:factory"
        )
    else:
        raise UsageError(f"--model {name}: {path} is of model type {kind!r}, which transformers does not know")
    if known not in _FAMILIES:
        raise UsageError(
            f"--model {name}: the layers of model type {kind!r} cannot be laid on sound here, those of "
            f"{', '.join(_FAMILIES)} can; wrap others yourself: torch:package.module:factory"
        )
    # other code than that of transformers is not even named in what it is given
    plain = {key: value for key, value in written.items() if key not in ("auto_map", "model_type", "architectures")}
    config = _tried(name, f"{path} cannot be used", lambda: CONFIG_MAPPING[known].from_dict(plain))
    extractor, more = _extractor(name, folder, known, config)
    return _Found(name, folder, kind, config, extractor, (*notes, *more))


def _json(name: str, path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UsageError(f"--model {name}: there is no {path}; give a folder that transformers' save_pretrained wrote")
    try:
        return read_json(path, remedy="fetch it again")
    except DataError as error:
        raise UsageError(f"--model {name}: {error}") from error


def _extractor(name: str, folder: Path, kind: str, config: Any) -> tuple[Any, tuple[str, ...]]:
    """The feature extractor of transformers, with a note where the folder has none."""
    import transformers
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES as classes

    path = folder / "preprocessor_config.json"
    standard = classes[kind]
    if path.is_file() or (folder / "processor_config.json").is_file():
        load = transformers.AutoFeatureExtractor.from_pretrained
        made = _tried(
            name,
            f"{path} cannot be used",
            lambda: load(folder, local_files_only=True, trust_remote_code=False),
        )
        if type(made).__name__.removesuffix("Fast") != standard:
            raise UsageError(f"--model {name}: {path} is {type(made).__name__}'s, not {standard}'s; fetch it again")
        return made, ()
    # the rate at which a model was trained is in some configurations
    given = {"sampling_rate": config.sample_rate} if hasattr(config, "sample_rate") else {}
    made = getattr(transformers, standard)(**given)
    return made, (
        f"{folder} has no preprocessor_config.json: the defaults of {standard} are taken, {made.sampling_rate} Hz",
    )


# --- weights


def _module(found: _Found, part: str = "") -> nn.Module:
    """The model, or a named part of it, all of whose weights came from the folder, as 32-bit floats."""
    from transformers import MODEL_MAPPING

    kind: Any = MODEL_MAPPING[type(found.config)]
    try:
        model, info = kind.from_pretrained(
            found.folder, config=found.config, local_files_only=True, output_loading_info=True, weights_only=True
        )
    except Exception as error:  # whatever reads damaged files may raise anything
        _LOG.exception("--model %s: the weights cannot be loaded", found.name)
        raise CheckpointError(
            f"--model {found.name}: the weights in {found.folder} cannot be used with its config.json "
            f"({_first_line(error)}); fetch the folder again"
        ) from error
    _check_complete(found, model, part, info)
    return (model.get_submodule(part) if part else model).float()


def _check_complete(found: _Found, model: nn.Module, part: str, info: Mapping[str, Any]) -> None:
    """Refuse weights that were made up because the files have none of the name, and layers that are left over."""
    own = (f"{part}.",) if part else tuple(f"{child}." for child, _ in model.named_children())
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    for fault, keys in (
        ("lack", (*info["missing_keys"], *info.get("mismatched_keys", ()))),
        ("have more than", info["unexpected_keys"]),
    ):
        names = sorted(str(key[0] if isinstance(key, tuple) else key).removeprefix(prefix) for key in keys)
        if wrong := [key for key in names if key.startswith(own) and key not in _UNUSED]:
            raise CheckpointError(
                f"--model {found.name}: the weights in {found.folder} {fault} what config.json describes "
                f"({wrong[0]}{' …' if len(wrong) > 1 else ''}): they are another architecture's; fetch the folder again"
            )


def _tried(name: str, failure: str, load: Callable[[], Any]) -> Any:
    """Result of a function of transformers, whatever it raises as one line of ours."""
    try:
        return load()
    except Exception as error:  # damaged files make it raise anything
        _LOG.exception("--model %s: %s", name, failure)
        raise UsageError(f"--model {name}: {failure} ({_first_line(error)}); fetch the folder again") from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Neither bars nor reports of loading: what is wrong with weights is an error here."""
    told = transformers.utils.logging
    verbosity, bars = told.get_verbosity(), told.is_progress_bar_enabled()
    told.set_verbosity_error()
    told.disable_progress_bar()
    try:
        yield
    finally:
        told.set_verbosity(verbosity)
        if bars:
            told.enable_progress_bar()


# --- families: module, how it hears, and how clips shorter than a fixed window are filled up


_Loaded = tuple[nn.Module, Hearing, str]
_Extracting = Callable[[Any, nn.Module, np.ndarray, torch.device], Sequence[Tensor]]


def _waves(found: _Found) -> _Loaded:
    """Networks of waveforms, as wav2vec 2.0: of any length, normalised over the whole clip where it is asked for."""
    module = _module(found)
    rate = found.sampling_rate
    return (
        module,
        Hearing(
            rate,
            _periods(found, module),
            round(PIECE_SECONDS * rate),
            round(HOP_SECONDS * rate),
            _wave_states,
            partial(_normalised, found.extractor),
        ),
        "",
    )


def _normalised(extractor: Any, sound: np.ndarray) -> np.ndarray:
    return np.asarray(extractor(sound, sampling_rate=extractor.sampling_rate)["input_values"][0], dtype=np.float32)


def _wave_states(module: nn.Module, pieces: np.ndarray, device: torch.device) -> Sequence[Tensor]:
    return module(input_values=torch.from_numpy(pieces).to(device), output_hidden_states=True).hidden_states


def _periods(found: _Found, module: nn.Module) -> tuple[int, ...]:
    """Samples per frame of each layer: counted, and a multiple of the convolutions' stride."""
    rng = np.random.default_rng(0)
    rate, stride = found.sampling_rate, found.config.inputs_to_logits_ratio
    device = torch.device("cpu")
    with torch.no_grad():
        counts = [
            [
                layer.shape[1]
                for layer in _wave_states(
                    module.eval(), rng.normal(size=(1, seconds * rate)).astype(np.float32), device
                )
            ]
            for seconds in _PROBE_SECONDS
        ]
    periods = []
    for short, long in zip(*counts):
        period = stride * max(1, round(rate / stride / max(1, long - short)))
        if abs(rate / period - (long - short)) > 1:
            raise found.refuse(
                f"a second of sound gives {long - short} frames, which no multiple of its stride of {stride} samples "
                "explains: its layers cannot be laid on the sound"
            )
        periods.append(period)
    return tuple(periods)


def _sliding(found: _Found, periods: Sequence[float], window: int, hop_seconds: float, states: _Extracting) -> Hearing:
    """A fixed window slid over the sound; its frames must be whole numbers of samples."""
    whole = tuple(round(period) for period in periods)
    if any(abs(period - samples) > 1e-6 for period, samples in zip(periods, whole)):
        raise found.refuse("its frames are no whole numbers of samples: they cannot be laid on the sound")
    rate = found.sampling_rate
    return Hearing(rate, whole, window, round(hop_seconds * rate), partial(states, found.extractor))


def _whisper(found: _Found) -> _Loaded:
    """The encoder: 30 s, two frames of the spectrogram for one of its own."""
    extractor, config = found.extractor, found.config
    period = 2 * extractor.hop_length
    if extractor.n_samples != period * config.max_source_positions:
        raise found.refuse(
            f"its preprocessing makes windows of {extractor.n_samples} samples, its encoder hears "
            f"{period * config.max_source_positions}; fetch the folder again"
        )
    periods = [period] * (config.encoder_layers + 1)
    hop = extractor.n_samples / found.sampling_rate * 2 / 3
    return _module(found, "encoder"), _sliding(found, periods, extractor.n_samples, hop, _whisper_states), "silence"


def _whisper_states(extractor: Any, module: nn.Module, pieces: np.ndarray, device: torch.device) -> Sequence[Tensor]:
    given = extractor(list(pieces), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    return module(given["input_features"].to(device), output_hidden_states=True).hidden_states


def _ast(found: _Found) -> _Loaded:
    """Patches of a spectrogram of 10 ms frames; those of one time are averaged over frequency."""
    extractor, config = found.extractor, found.config
    if (extractor.max_length, extractor.num_mel_bins) != (config.max_length, config.num_mel_bins):
        raise found.refuse(
            f"its preprocessing makes {extractor.max_length} frames of {extractor.num_mel_bins} bands, config.json "
            f"says {config.max_length} of {config.num_mel_bins}; fetch the folder again"
        )
    frame = found.sampling_rate / 100  # Kaldi's filter bank, whatever the rate
    periods = [frame * config.time_stride] * (config.num_hidden_layers + 1)
    window = round(frame * config.max_length)
    hearing = _sliding(found, periods, window, window / found.sampling_rate / 2, _ast_states)
    return _module(found), hearing, "an empty spectrogram"


def _ast_states(extractor: Any, module: nn.Module, pieces: np.ndarray, device: torch.device) -> Sequence[Tensor]:
    given = extractor(list(pieces), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    config: Any = module.config
    bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    states = module(given["input_values"].to(device), output_hidden_states=True).hidden_states
    # two tokens that stand for no time, then bands by times
    return [narrowed(state[:, 2:].unflatten(1, (bands, -1)).transpose(1, 2)) for state in states]


def _clap(found: _Found) -> _Loaded:
    """The audio tower, a Swin transformer: the spectrogram is cut in parts that lie above each other as an image."""
    extractor, config = found.extractor, found.config.audio_config
    fusion = {"truncation": "fusion" if config.enable_fusion else "rand_trunc"}
    if any("preprocessor_config.json" in note for note in found.notes):
        extractor.truncation = fusion["truncation"]
    elif extractor.truncation != fusion["truncation"]:
        raise found.refuse(f"its preprocessing says {extractor.truncation!r}, its config {fusion['truncation']!r}")
    parts = config.spec_size // config.num_mel_bins
    columns = [config.spec_size // config.patch_stride[1] // 2**stage for stage in range(len(config.depths))]
    window = int(extractor.nb_max_samples)
    # the last stage is not made coarser
    periods = [window / (parts * count) for count in (*columns, columns[-1])]
    hearing = _sliding(found, periods, window, window / found.sampling_rate / 2, _clap_states)
    return _module(found, "audio_model"), hearing, _FILLED[extractor.padding]


_FILLED = {
    "repeatpad": "repetitions as often as they fit, then silence",
    "repeat": "repetitions",
    "pad": "silence",
}


def _clap_states(extractor: Any, module: nn.Module, pieces: np.ndarray, device: torch.device) -> Sequence[Tensor]:
    given = extractor(list(pieces), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    config: Any = module.config
    # no window is longer than what it hears; the extractor would call one so at random
    longer = torch.zeros(len(pieces), 1, dtype=torch.bool, device=device)
    states = module(
        input_features=given["input_features"].float().to(device), is_longer=longer, output_hidden_states=True
    ).hidden_states
    parts = config.spec_size // config.num_mel_bins
    # (channels, parts · bands, columns) to (parts · columns, bands, channels)
    images = [state.unflatten(2, (parts, -1)) for state in states]
    return [narrowed(image.permute(0, 2, 4, 3, 1).flatten(1, 2)) for image in images]


def narrowed(states: Tensor) -> Tensor:
    """Join frequency and channels, neighbouring frequencies averaged until no frame is wider than 1024.

    Parameters
    ----------
    states : Tensor, (batch, frames, bands, channels)

    Returns
    -------
    Tensor, (batch, frames, kept · channels)
        As many bands are kept as divide the number of bands; one where the channels alone are more.
    """
    bands, channels = states.shape[2:]
    kept = max(n for n in range(1, bands + 1) if bands % n == 0 and (n == 1 or n * channels <= _MAX_WIDTH))
    return states.unflatten(2, (kept, bands // kept)).mean(dim=3).flatten(2)


_FAMILIES: Mapping[str, Callable[[_Found], _Loaded]] = {
    **dict.fromkeys(
        (
            "wav2vec2",
            "hubert",
            "wavlm",
            "data2vec-audio",
            "unispeech",
            "unispeech-sat",
            "wav2vec2-conformer",
            "sew",
            "sew-d",
        ),
        _waves,
    ),
    "whisper": _whisper,
    "audio-spectrogram-transformer": _ast,
    "clap": _clap,
}
"""Model type -> what loads it; beside these, MERT where it is a HuBERT."""
