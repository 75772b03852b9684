"""Control models beside every score: untrained networks, permuted weights, log-mel.

A trained network's normalisation is measured on its training music. So is that of its controls, at the end of the
training and on the same crops (:func:`control_statistics`, kept in the checkpoint): a control differs in its weights
only, not in the sounds to which its activations were scaled. Weights that came without these statistics get controls
that were measured on the dataset's own clips.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ban_bids.audio.waveforms import render_clip
from ban_bids.errors import DataError
from ban_bids.inputs.types import Clip
from ban_bids.models.candidate import Candidate
from ban_bids.models.front_end import FrontEnd
from ban_bids.models.low_level import LogMelModel
from ban_bids.models.network import (
    CONTROLS,
    UNTRAINED_SEEDS,
    AuditoryNetwork,
    NetworkModel,
    measure_normalisation,
    normalisation,
    set_normalisation,
)
from ban_bids.models.presets import build

_LOG = logging.getLogger(__name__)

PERMUTED_SEED = 0
"""Of the permutation of weights; fixed like those of untrained weights, whatever ``--random-seed`` is."""

SEGMENT_FRAMES = 256
"""Log-mel frames of the segments on which a normalisation is measured: 5.12 s, as training crops."""

MEASURED_SECONDS = 655.36
"""Sound of the dataset on which a normalisation is measured, at most: 128 segments."""

_BATCH = 32


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


def permuted_network(network: AuditoryNetwork, seed: int) -> AuditoryNetwork:
    """Return a copy whose weights are shuffled within each tensor: trained values, no learned structure.

    Its normalisation is to be measured anew: the old statistics belonged to the unshuffled weights.
    """
    shuffled = deepcopy(network).cpu()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in shuffled.modules():
            # every layer's own tensors, whatever the layer; the front end has none
            for weight in module.parameters(recurse=False):
                order = torch.randperm(weight.numel(), generator=generator)
                weight.copy_(weight.flatten()[order].view_as(weight))
    return shuffled


def control_networks(network: AuditoryNetwork) -> Iterator[tuple[str, AuditoryNetwork]]:
    """Name and network of each control, one at a time; their normalisation is not measured."""
    for name, seed in zip(CONTROLS, UNTRAINED_SEEDS):
        yield name, untrained_network(network, seed)
    yield CONTROLS[-1], permuted_network(network, PERMUTED_SEED)


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
        Control -> :func:`~ban_bids.models.network.normalisation` of it.
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
    distinct = sorted(set(clips), key=lambda clip: (str(clip.audio), clip.start, clip.duration))
    rate = front_end.config.sampling_rate
    fitting = min(len(distinct), int(MEASURED_SECONDS * rate / (SEGMENT_FRAMES * front_end.config.hop)))
    chosen = [distinct[i * len(distinct) // fitting] for i in range(fitting)]

    def middle(clip: Clip) -> Clip:
        seconds = min(clip.duration, MEASURED_SECONDS / fitting)
        return replace(clip, start=clip.start + (clip.duration - seconds) / 2, duration=seconds)

    return sound_batches(front_end, (render_clip(middle(clip), rate) for clip in chosen))


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


def control_models(model: Candidate, clips: Iterable[Clip] = ()) -> tuple[list[Candidate], tuple[str, ...]]:
    """Return the controls of a model.

    Parameters
    ----------
    model : Candidate
        The model that is scored.
    clips : iterable of Clip
        The dataset's, on which the controls' normalisation is measured where the model's weights came without their
        statistics.

    Returns
    -------
    controls : list of Candidate
        ``<name>untrained1`` …, ``<name>permuted``, ``logmel``. For any other model than our networks
        only ``logmel``, and a warning is logged: random weights need the model's own architecture. The
        log-mel model itself has none.
    notes : tuple of str
        What had to be chosen.
    """
    if isinstance(model, LogMelModel):
        return [], ()
    if not isinstance(model, NetworkModel):
        _LOG.warning("model %s is not a network of ours: untrained and permuted controls are n/a", model.name)
        return [LogMelModel()], ()
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
    controls: list[Candidate] = []
    for name, control in control_networks(network):
        set_normalisation(control, statistics[name])
        controls.append(NetworkModel(control, name=model.name + name, device=device))
    return [*controls, LogMelModel(network.config.front_end)], notes
