"""Control models beside every score: untrained networks, permuted weights, log-mel, modulation.

A trained network's normalisation is measured on its training music. So is that of its controls, at the end of the
training and on the same crops (:func:`control_statistics`, kept in the checkpoint): a control differs in its weights
only, not in the sounds to which its activations were scaled. Weights that came without these statistics get controls
that were measured on the dataset's own clips; so do other people's modules that have running statistics.

A control's module is made when features are asked for, so that there is one at a time beside the model.
"""

from __future__ import annotations

import gc
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ban_bids.audio.waveforms import HeardClip, content_hash, render_clip
from ban_bids.errors import DataError, NotComputable
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import Candidate, ModelCard
from ban_bids.models.front_end import FrontEnd
from ban_bids.models.low_level import LogMelModel, LowLevelModel, ModulationModel
from ban_bids.models.network import CONTROLS, UNTRAINED_SEEDS, AuditoryNetwork, NetworkModel
from ban_bids.models.normalisation import measure_normalisation, normalisation, set_normalisation
from ban_bids.models.pieces import in_pieces
from ban_bids.models.presets import build
from ban_bids.models.random_weights import permuted_module, untrained_module

PERMUTED_SEED = 0
"""Of the permutation of weights; fixed like those of untrained weights, whatever ``--random-seed`` is."""

SEGMENT_FRAMES = 256
"""Log-mel frames of the segments on which a normalisation is measured: 5.12 s, as training crops."""

MEASURED_SECONDS = 655.36
"""Sound of the dataset on which a normalisation is measured, at most: 128 segments."""

_BATCH = 32
_VERSION = 1  # of how weights are drawn, permuted and normalised: it enters fingerprints


def untrained_network(network: AuditoryNetwork, seed: int) -> AuditoryNetwork:
    """Return a network of the same architecture and front end with random weights, its normalisation not measured.

    Parameters
    ----------
    network : AuditoryNetwork
        Gives configuration, width of the read-out and front-end statistics; it is not changed.
    seed : int
        Of the weights.
    """
    fresh = build(network.config, network.readout.out_features, seed)
    fresh.front_end.load_state_dict(network.front_end.state_dict())
    return fresh


def control_networks(network: AuditoryNetwork) -> Iterator[tuple[str, AuditoryNetwork]]:
    """Name and network of each control, one at a time; their normalisation is not measured."""
    for kind, make in _control_makers(network):
        yield kind, make()


def _control_makers(network: AuditoryNetwork) -> list[tuple[str, Callable[[], Any]]]:
    """Name of each control, and what makes its network."""
    untrained = [partial(untrained_network, network, seed) for seed in UNTRAINED_SEEDS]
    return list(zip(CONTROLS, [*untrained, partial(permuted_module, network, PERMUTED_SEED)], strict=True))


def control_statistics(
    network: AuditoryNetwork, batches: Callable[[], Iterable[Tensor]]
) -> dict[str, dict[str, Tensor]]:
    """Measure the normalisation of a network's controls on given sounds.

    Parameters
    ----------
    network : AuditoryNetwork
        The trained network; it is not changed.
    batches : callable
        Gives, each time anew, standardised log-mel frames, (batch, 1, mels, frames).

    Returns
    -------
    dict of dict of Tensor
        Control -> :func:`~ban_bids.models.normalisation.normalisation` of it.
    """
    statistics = {}
    for name, control in control_networks(network):
        measure_normalisation(control, batches(), control.from_frames)
        statistics[name] = normalisation(control)
    return statistics


def sound_batches(front_end: FrontEnd, sounds: Iterable[np.ndarray]) -> list[Tensor]:
    """Standardised log-mel frames of sounds, one after the other, in segments of 5.12 s.

    Parameters
    ----------
    front_end : FrontEnd
        Of the network whose normalisation is measured.
    sounds : iterable of ndarray, (n_samples,)
        At the front end's sampling rate; what is over at the end of the last segment is left out.

    Returns
    -------
    list of Tensor, (batch, 1, mels, frames)
        Of nearly equal batches: each counts the same in the average.

    Raises
    ------
    DataError
        Without any sound.
    """
    with torch.no_grad():
        frames = [front_end(torch.from_numpy(np.asarray(sound, dtype=np.float32))[None]) for sound in sounds]
    if not frames:
        raise DataError("there is no sound on which a network's normalisation could be measured")
    tape = torch.cat(frames, dim=3)
    length = min(SEGMENT_FRAMES, tape.shape[3])
    n_segments = tape.shape[3] // length
    segments = torch.cat(tape[..., : n_segments * length].split(length, dim=3))
    return list(segments.tensor_split(-(-n_segments // _BATCH)))


def clip_batches(front_end: FrontEnd, clips: Iterable[Clip]) -> list[Tensor]:
    """Standardised log-mel frames of the middle of clips, see :func:`sound_batches`.

    At most :data:`MEASURED_SECONDS` in all: as many clips as fit by 5.12 s each, spread evenly over all of them
    (sorted by file and start), and of each as much as then fits.
    """
    distinct = frozenset(clips)
    rate = front_end.config.sampling_rate
    fitting = min(len(distinct), int(MEASURED_SECONDS * rate / (SEGMENT_FRAMES * front_end.config.hop)))
    chosen = _evenly(distinct, fitting)

    def middle(clip: Clip) -> Clip:
        seconds = min(clip.duration, MEASURED_SECONDS / fitting)
        return replace(clip, start=clip.start + (clip.duration - seconds) / 2, duration=seconds)

    return sound_batches(front_end, (render_clip(middle(clip), rate) for clip in chosen))


def _evenly(clips: frozenset[Clip], n: int) -> list[Clip]:
    """Return this many clips, spread evenly over all of them, sorted by file and start."""
    ordered = sorted(clips, key=lambda clip: (str(clip.audio), clip.start, clip.duration))
    return [ordered[i * len(ordered) // n] for i in range(n)]


def measured_model(model: Candidate, clips: Iterable[Clip]) -> tuple[Candidate, tuple[str, ...]]:
    """Return the model ready to be used: a network with random weights gets its normalisation from clips.

    Parameters
    ----------
    model : Candidate
        Returned as it is, unless it is a :class:`NetworkModel` that is not ``measured``.
    clips : iterable of Clip
        The dataset's.

    Returns
    -------
    model : Candidate
        Its fingerprint changes with the statistics.
    notes : tuple of str
        What was done.
    """
    if not isinstance(model, NetworkModel) or model.measured:
        return model, ()
    network = deepcopy(model.network).cpu()
    measure_normalisation(network, clip_batches(network.front_end, clips), network.from_frames)
    ready = NetworkModel(network, model.genres, model.card, name=model.name, device=str(model.device))
    return ready, (f"the normalisation of {model.name} was measured on the dataset's own clips",)


class Control:
    """A control of a model as a :class:`~ban_bids.models.candidate.Candidate`: the same layers of another module.

    Parameters
    ----------
    model : Candidate
        Whose control it is.
    kind : str
        ``untrained1`` …, ``permuted``; behind the model's name it is the control's.
    depends_on : sequence
        What decides the features beside the model and the kind; enters the fingerprint.
    build : callable
        Makes the candidate. It is kept from the first call of :meth:`features` until :meth:`release`.
    """

    def __init__(
        self, model: Candidate, kind: str, depends_on: Sequence[object], build: Callable[[], Candidate]
    ) -> None:
        self.build = build
        self.name = model.name + kind
        self.layers = model.layers
        self.frame_rate: Mapping[str, float] = model.frame_rate
        self.sampling_rate = model.sampling_rate
        self.mapping: Mapping[str, str] | None = model.mapping
        self.genres: tuple[str, ...] = ()
        self.card: ModelCard | None = None
        self.device = getattr(model, "device", "")
        parts = [model.fingerprint, kind, _VERSION, torch.__version__, *depends_on]
        self.fingerprint = hashlib.sha256(repr(parts).encode()).hexdigest()
        self._built: Candidate | None = None

    def features(self, clips: Sequence[HeardClip]) -> list[dict[str, np.ndarray]]:
        """As :class:`~ban_bids.models.candidate.Candidate`.

        Raises
        ------
        NotComputable
            The module cannot be made, or its features are not finite.
        """
        features = self._module().features(clips)
        for frames in features:
            self._check_finite(frames)
        return features

    def features_in_pieces(self, clip: HeardClip) -> Iterator[dict[str, np.ndarray]]:
        """Features of a long clip piece by piece, or at once where the model itself hears it whole."""
        parts: Iterable[dict[str, np.ndarray]] | None = in_pieces(self._module(), clip)
        for frames in self._module().features([clip]) if parts is None else parts:
            self._check_finite(frames)
            yield frames

    def _module(self) -> Candidate:
        if self._built is None:
            self._built = self.build()
        return self._built

    def _check_finite(self, frames: Mapping[str, np.ndarray]) -> None:
        if broken := [layer for layer in self.layers if not np.isfinite(frames[layer]).all()]:
            raise NotComputable(f"features of {broken[0]} are not finite with these weights")

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        """Raise NotComputable: a control has no read-out."""
        raise NotComputable(f"{self.name} is a control: its read-out was not trained")

    def release(self) -> None:
        """Give the module's memory back; it is made anew when features are asked for."""
        self._built = None
        gc.collect()  # modules of transformers refer to themselves: without it two controls would be there at once


@dataclass(frozen=True, eq=False)
class Controls:
    """The controls of one model.

    Parameters
    ----------
    models : tuple of Candidate
        ``<name>untrained1`` …, ``<name>permuted``, ``logmel``, ``modulation``.
    missing : tuple of (str, str)
        Controls that cannot be made, and why.
    notes : tuple of str
        What had to be chosen.
    """

    models: tuple[Candidate, ...]
    missing: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def control_models(model: Candidate, clips: Iterable[Clip] = (), *, random_weights: bool = True) -> Controls:
    """Return the controls of a model.

    Parameters
    ----------
    model : Candidate
        The model that is scored: a network of ours; or one with ``module`` and ``with_module(module, name)``, which
        gives the same layers of another module. Others get low-level controls only.
    clips : iterable of Clip
        The dataset's, on which the controls' normalisation is measured where no statistics came with the weights.
    random_weights : bool
        Whether untrained and permuted ones are wanted, where the model can have them.

    Returns
    -------
    Controls
        Low-level models are no controls of themselves; they have no weights that could be randomised.

    Raises
    ------
    DataError
        A normalisation is to be measured, and there are no clips.
    """
    if isinstance(model, LowLevelModel):
        randomised = Controls(())
    elif not random_weights:
        reason = "not asked for: give --controls basic"
        randomised = Controls((), tuple((model.name + kind, reason) for kind in ("untrained", "permuted")))
    elif isinstance(model, NetworkModel):
        randomised = _network_controls(model, clips)
    elif isinstance(getattr(model, "module", None), nn.Module) and hasattr(model, "with_module"):
        randomised = _module_controls(model, clips)
    else:
        reason = "random weights need a PyTorch module, which this model does not offer (module, with_module)"
        randomised = Controls((), tuple((model.name + kind, reason) for kind in ("untrained", "permuted")))
    front_end = model.network.config.front_end if isinstance(model, NetworkModel) else None
    low_level = (LogMelModel(front_end), ModulationModel())
    beside = tuple(control for control in low_level if control.name != model.name)
    return replace(randomised, models=(*randomised.models, *beside))


def _network_controls(model: NetworkModel, clips: Iterable[Clip]) -> Controls:
    """Those of a network of ours, normalised on its training music where its weights came with the statistics."""
    network, device = model.network, str(model.device)
    statistics = network.control_statistics
    notes: tuple[str, ...] = ()
    if not statistics:
        on_cpu = deepcopy(network).cpu()
        batches = clip_batches(on_cpu.front_end, clips)
        statistics = control_statistics(on_cpu, lambda: batches)
        notes = (
            f"the weights of {model.name} hold no statistics of its controls: the normalisation of the untrained and "
            "permuted ones was measured on the dataset's own clips, not on its training music",
        )

    def control(kind: str) -> Control:
        def build() -> Candidate:
            made = dict(_control_makers(network))[kind]()
            set_normalisation(made, statistics[kind])
            return NetworkModel(made, name=model.name + kind, device=device)

        digest = hashlib.sha256()
        for key, value in sorted(statistics[kind].items()):
            digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
        return Control(model, kind, [digest.hexdigest()], build)

    return Controls(tuple(control(kind) for kind in CONTROLS), notes=notes)


def _module_controls(model: Any, clips: Iterable[Clip]) -> Controls:
    """Those of anybody's module; what cannot be made is found out here and not in the first participant."""
    makers = {f"untrained{seed}": partial(untrained_module, model.module, seed) for seed in UNTRAINED_SEEDS}
    makers["permuted"] = partial(permuted_module, model.module, PERMUTED_SEED)
    missing = {}
    for kind, tried in (("untrained", CONTROLS[0]), ("permuted", CONTROLS[-1])):
        try:
            makers[tried]()
        except NotComputable as reason:
            missing[kind] = str(reason)
        gc.collect()
    measured = bool(normalisation(model.module))
    heard = _whole_clips(clips) if measured else []

    def control(kind: str, make: Callable[[], nn.Module]) -> Control:
        def build() -> Candidate:
            made: Candidate = model.with_module(make(), model.name + kind)
            if measured:
                sounds = ([HeardClip(clip, made.sampling_rate)] for clip in heard)
                measure_normalisation(made.module, sounds, made.features)  # type: ignore[attr-defined]
            return made

        sounds = [(content_hash(clip.audio), clip.start, clip.duration, clip.fade, clip.rms) for clip in heard]
        return Control(model, kind, [_version(model.module), sounds], build)

    models = tuple(control(kind, make) for kind, make in makers.items() if kind.rstrip("12345") not in missing)
    notes = (
        f"the normalisation of {model.name}'s untrained and permuted controls was measured on the dataset's own clips",
    )
    return Controls(
        models, tuple((model.name + kind, why) for kind, why in missing.items()), notes if measured and models else ()
    )


def _whole_clips(clips: Iterable[Clip]) -> list[Clip]:
    """Clips on which a module's normalisation is measured: about :data:`MEASURED_SECONDS` of whole ones."""
    distinct = frozenset(clips)
    if not distinct:
        raise DataError("there is no sound on which a network's normalisation could be measured")
    seconds = sum(clip.duration for clip in distinct) / len(distinct)
    return _evenly(distinct, min(len(distinct), max(1, int(MEASURED_SECONDS / seconds))))


def _version(module: nn.Module) -> str:
    """Version of the package that a module's class is from: it decides how weights are drawn."""
    package = type(module).__module__.partition(".")[0]
    return f"{package} {getattr(sys.modules.get(package), '__version__', '')}"
