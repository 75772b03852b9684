"""Checkpoints: weights and their card in one safetensors file, and the guard against leaks."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ban_bids import __version__
from ban_bids.audio.sameness import Identity, identify
from ban_bids.constants import SMALL_DATA
from ban_bids.errors import CheckpointError, LeakError
from ban_bids.files.atomic import write_bytes
from ban_bids.files.reading import opened
from ban_bids.models.candidate import ModelCard
from ban_bids.models.network import CONTROLS, AuditoryNetwork
from ban_bids.models.normalisation import normalisation
from ban_bids.models.presets import PRESETS, build, build_stored

_LOG = logging.getLogger(__name__)
_FORMAT = "ban-bids-checkpoint-1"
_KEY = "ban_bids"
_CONTROLS = "controls/"
"""Tensors ``controls/<control>/<buffer>``: normalisation of the network's controls on its training music."""
_PICKLE_SUFFIXES = {".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"}


def _refusal(path: Path, fault: str) -> CheckpointError:
    """What is wrong with a weights file, and the remedy that is the same whatever it is."""
    return CheckpointError(f"{path}: {fault}; give a .safetensors file written by ban-bids-train")


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide what a checkpoint holds."""
    libraries = ("torch", "torchaudio", "lightning", "numpy", "soundfile")
    return {"ban-bids": __version__} | {name: version(name) for name in libraries}


def save_checkpoint(path: Path, network: AuditoryNetwork, card: ModelCard | None, *, compact: bool = False) -> Path:
    """Write weights and card as one safetensors file, whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``.
    network : AuditoryNetwork
        Its state is stored in float32, on the CPU, and with it the statistics of its controls, if it has them.
    card : ModelCard or None
        None writes bare weights, which count as of unknown origin.
    compact : bool
        Round matrices of weights to float16, which halves the file; biases and statistics stay as they are. Of
        bfloat16, as small, the rounding would be eight times as coarse. :func:`load_checkpoint` gives float32 again.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    CheckpointError
        The file cannot be written, or weights are too large for float16.
    """
    controls = {
        f"{_CONTROLS}{control}/{name}": value
        for control, statistics in network.control_statistics.items()
        for name, value in statistics.items()
    }
    tensors = {**network.state_dict(), **controls}
    if compact:
        tensors |= {name: value.half() for name, value in network.named_parameters() if value.ndim > 1}
        if infinite := [name for name, value in tensors.items() if not value.isfinite().all()]:
            raise CheckpointError(f"{path}: {infinite[0]} is beyond float16 (65504) or not finite; store float32")
    return save_tensors(path, tensors, network.architecture, card)


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], architecture: str, card: ModelCard | None) -> Path:
    """Write named tensors with what they are; :func:`save_checkpoint` for models that are no networks."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: checkpoints are .safetensors files; choose such a name")
    state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {}
    if card is not None:
        about = {"format": _FORMAT, "architecture": architecture, "card": asdict(card)}
        # one entry only: safetensors writes several in an order that changes from run to run
        metadata[_KEY] = json.dumps(about, sort_keys=True)
    try:
        return write_bytes(path, save(state, metadata=metadata))
    except OSError as err:
        raise CheckpointError(f"{path}: cannot be written ({err.strerror}); choose another folder") from err


def load_checkpoint(path: Path) -> tuple[AuditoryNetwork, ModelCard | None]:
    """Read a checkpoint.

    Parameters
    ----------
    path : Path
        Written by :func:`save_checkpoint`.

    Returns
    -------
    network : AuditoryNetwork
        In evaluation mode, on the CPU; ``control_statistics`` is empty where the file holds none.
    card : ModelCard or None
        None: bare weights whose shapes are those of a preset; their origin is unknown.

    Raises
    ------
    CheckpointError
        For a missing file, a pickle, a damaged file, or weights of another architecture.
    """
    path = Path(path)
    tensors, architecture, card = load_tensors(path)
    state = {name: value for name, value in tensors.items() if not name.startswith(_CONTROLS)}
    if card is None:
        network = _from_shapes(path, state)
        _fill_controls(path, network, tensors)
        _LOG.warning("%s: no model card; which tracks trained these weights is unknown", path)
        return network, None
    try:
        network = build_stored(architecture, card.config, len(card.genres))
    except CheckpointError as err:
        raise CheckpointError(f"{path}: {err}") from err
    _fill(path, network, state)
    _fill_controls(path, network, tensors)
    return network, card


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], str, ModelCard | None]:
    """Read tensors, architecture and card, whatever the architecture is.

    Returns
    -------
    tensors : dict of Tensor
    architecture : str
        Empty for bare weights.
    card : ModelCard or None
        None for bare weights.

    Raises
    ------
    CheckpointError
        For a missing file, a pickle, a damaged file or card.
    """
    path = Path(path)
    state, metadata = _read(path)
    if _KEY not in metadata:
        return state, "", None
    try:
        about = json.loads(metadata[_KEY])
        if about["format"] != _FORMAT:
            raise _refusal(path, f"has the format {about['format']!r}, not {_FORMAT!r}")
        return state, str(about["architecture"]), ModelCard.from_dict(about["card"])
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as err:
        raise _refusal(path, f"the model card is damaged ({' '.join(str(err).split())})") from err


@dataclass(frozen=True)
class Overlap:
    """What a model's card says of some recordings; as text ``none``, ``unknown`` or how many it knows.

    Parameters
    ----------
    tracks : tuple of str
        Names of files whose recordings trained or validated the model, sorted.
    complete : bool
        Whether other forms of the model's tracks would have been found, too.
    notes : tuple of str
        What a reader of the scores should know.
    """

    tracks: tuple[str, ...]
    complete: bool
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(len(self.tracks)) if self.tracks else "none" if self.complete else "unknown"


def check_no_overlap(card: ModelCard | None, audio_paths: Iterable[Path], allow_overlap: bool = False) -> Overlap:
    """Find held-out recordings on which a model was trained or validated, by their sound; names decide nothing.

    Parameters
    ----------
    card : ModelCard or None
        None (weights without a card): nothing can be checked. A card without fingerprints (older versions):
        copies that are equal sample for sample are found, others are unknown.
    audio_paths : iterable of Path
        Audio files that are heard in held-out runs.
    allow_overlap : bool
        Return the tracks instead of raising.

    Returns
    -------
    Overlap
        Its notes are logged as warnings.

    Raises
    ------
    LeakError
        When there are some and ``allow_overlap`` is not set.
    DataError
        When a file cannot be decoded.
    """
    if card is None:
        overlap = Overlap((), False, ("weights without a model card: overlap with the held-out stimuli is unknown",))
    else:
        overlap = _overlap(card, {path: identify(path) for path in sorted(set(audio_paths))})
    tracks = overlap.tracks
    if tracks and card is not None and not allow_overlap:
        whose, remedy = "the model was", "train without them (ban-bids-train --exclude-stimuli, or --gtzan-dir)"
        if card.small_data:  # nobody chose them: the remedy must be one that a first call can take
            whose = f"the {SMALL_DATA} that are used without --weights and --gtzan-dir were"
            remedy = "give --gtzan-dir DIR, a folder of genres such as GTZAN, on which a model is trained without them"
        raise LeakError(
            f"{whose} trained or validated on {len(tracks)} tracks of the held-out runs ({_some(tracks)}); {remedy}, "
            "or pass --allow-overlap to mark every table"
        )
    if tracks:
        _LOG.warning("the model knows %d tracks of the held-out runs; every table says so", len(tracks))
    for note in overlap.notes:
        _LOG.warning(note)
    return overlap


def _overlap(card: ModelCard, files: Mapping[Path, Identity]) -> Overlap:
    """What a card says of files, and how far that can be relied on."""
    known = card.same_tracks(files)
    notes = []
    if not card.training_known:
        notes.append("the model's card does not list what trained it: overlap with the held-out stimuli is unknown")
    if not card.knows_sounds:
        notes.append(
            "the model's card holds no fingerprints of all its tracks: only copies equal sample for sample can be "
            "found, whether it heard others is unknown; train it again with this version"
        )
    strangers = {path: identity for path, identity in files.items() if path not in known}
    if namesakes := [path.name for path in strangers if path.stem in card.hashes]:
        sound = "another sound" if card.knows_sounds else "other samples"
        notes.append(
            f"held-out files that bear the name of a track that the model was trained or validated on, and hold "
            f"{sound}: {len(namesakes)} ({_some(namesakes)})"
        )
    if plain := [path.name for path, identity in strangers.items() if not identity.fingerprint.is_telling]:
        notes.append(
            "held-out files too short or too even for a fingerprint, of which only copies equal sample for sample "
            f"can be found: {len(plain)} ({_some(plain)})"
        )
    complete = card.knows_sounds and card.training_known
    return Overlap(tuple(sorted({path.stem for path in known})), complete, tuple(notes))


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:5])}{', …' if len(names) > 5 else ''}"


def _read(path: Path) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    """Tensors and metadata of a safetensors file; anything else is refused before it is opened."""
    if not path.is_file():
        raise _refusal(path, "no such weights file")
    with opened(path, remedy="give another file of weights") as file:
        head = file.read(9)
    # a zip archive (torch.save) or a bare pickle would run code when loaded; safetensors starts with any
    # eight bytes, then a brace
    pickled = head[8:] != b"{" and (head[:2] == b"PK" or head[:1] == b"\x80")
    if pickled or path.suffix.lower() in _PICKLE_SUFFIXES:
        raise _refusal(path, "is a pickle, which can run code when loaded")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, LookupError, RuntimeError) as err:
        raise _refusal(path, f"not a readable safetensors file ({err})") from err
    restored = {name: _restored(tensor) for name, tensor in tensors.items()}
    if senseless := next((name for name, tensor in restored.items() if not _makes_sense(name, tensor)), None):
        kind = f"{tensors[senseless].dtype}, not finite, or variances below 0"
        raise _refusal(path, f"the values of {senseless!r} make no sense ({kind})")
    return restored, metadata


def _makes_sense(name: str, tensor: torch.Tensor) -> bool:
    """Whether a network can compute with these numbers; integers are counts."""
    if not tensor.is_floating_point():
        return tensor.dtype == torch.int64
    usual = tensor.dtype in (torch.float32, torch.float64) and bool(tensor.isfinite().all())
    return usual and not (name.endswith("running_var") and bool((tensor < 0).any()))


def _restored(tensor: torch.Tensor) -> torch.Tensor:
    """Float32 of what was stored in half precision, exactly."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _from_shapes(path: Path, state: Mapping[str, torch.Tensor]) -> AuditoryNetwork:
    """Bare weights: the preset whose tensors have these names and shapes."""
    readout = state.get("readout.weight")
    for config in PRESETS.values():
        if readout is None or readout.ndim != 2:
            break
        network = build(config, readout.shape[0])
        if {k: v.shape for k, v in network.state_dict().items()} == {k: v.shape for k, v in state.items()}:
            _fill(path, network, state)
            return network
    raise _refusal(path, f"the weights are not those of a network of this version ({len(state)} tensors)")


def _fill(path: Path, network: AuditoryNetwork, state: Mapping[str, torch.Tensor]) -> None:
    own = network.state_dict()
    for name in own.keys() & state:
        if own[name].is_floating_point() != state[name].is_floating_point():
            raise _refusal(path, f"{name!r} holds {state[name].dtype}, not {own[name].dtype}")
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as err:
        first = (str(err).splitlines()[1:2] or [str(err)])[0].strip()[:120]
        raise _refusal(path, f"the weights do not fit the architecture on their card ({first})") from err
    network.eval()


def _fill_controls(path: Path, network: AuditoryNetwork, tensors: Mapping[str, torch.Tensor]) -> None:
    """Keep the statistics of the network's controls; none in files of earlier versions."""
    statistics: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(_CONTROLS):
            control, _, buffer = name.removeprefix(_CONTROLS).partition("/")
            statistics.setdefault(control, {})[buffer] = value
    shapes = {name: value.shape for name, value in normalisation(network).items()}
    for control, buffers in statistics.items():
        if {name: value.shape for name, value in buffers.items()} != shapes:
            raise _refusal(path, f"the statistics of its control {control!r} are not those of its architecture")
    if statistics and set(statistics) != set(CONTROLS):
        raise _refusal(path, f"it holds statistics of the controls {', '.join(statistics)}, not {', '.join(CONTROLS)}")
    network.control_statistics = {control: statistics[control] for control in CONTROLS if control in statistics}
