"""Networks that give their hidden states: sound in pieces in, the frames of every layer joined on the clip's time.

Waveform networks hear clips of up to 20 s whole and longer ones in overlapping pieces, so that a story needs no more
memory than its features; networks of a fixed window have it slid over the sound. In both cases the frames of two
neighbouring pieces meet in the middle of their overlap, where each has heard as much on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, lcm

import numpy as np
import torch
from torch import Tensor, nn

from ban_bids.audio.waveforms import HeardClip
from ban_bids.bids.names import alphanumeric
from ban_bids.errors import NotComputable, UsageError
from ban_bids.models.candidate import ModelCard, waveforms
from ban_bids.models.devices import resolve_device
from ban_bids.models.foreign import module_digest

LEAST_RATE = 10.0
"""Frames per second that every layer keeps: neighbouring frames are averaged as long as so many are left.

Volumes of fMRI last several such frames; 24 layers at 50 frames a second would fill the disk and the memory.
"""

PIECE_SECONDS, HOP_SECONDS = 20.0, 15.0
"""Length of the pieces in which waveform networks hear longer clips, and the step from one to the next.

20 s is the longest crop that wav2vec 2.0 was trained on; with 24 layers a longer one takes gigabytes.
"""

_SHORTEST_SECONDS = 0.1
_BATCH_SECONDS_CUDA = 120.0
_CODE = 1
"""Of this module in fingerprints; to be raised when features change."""

States = Callable[[nn.Module, np.ndarray, torch.device], Sequence[Tensor]]
"""Module, pieces of equal length (n_pieces, n_samples) and device to each layer's (n_pieces, n_frames, n_features)."""


def _itself(sound: np.ndarray) -> np.ndarray:
    return sound


@dataclass(frozen=True)
class Hearing:
    """How a network is given sound, and where its frames lie in time.

    Parameters
    ----------
    sampling_rate : int
        Hz.
    periods : tuple of int
        Samples from one frame to the next, of every layer in order.
    window, hop : int
        Samples that are heard at once at most, and between the starts of two pieces; the hop is rounded down to
        whole frames of all layers.
    states : callable
        Module, pieces of equal length and device to the states of each layer, as ``States``.
    prepare : callable
        Applied to a whole clip before it is cut, float32 (n_samples,) to the same.
    least_rate : float
        Frames per second that averaging leaves.
    """

    sampling_rate: int
    periods: tuple[int, ...]
    window: int
    hop: int
    states: States
    prepare: Callable[[np.ndarray], np.ndarray] = _itself
    least_rate: float = LEAST_RATE

    @property
    def averaged(self) -> tuple[int, ...]:
        """How many frames of each layer are averaged into one."""
        return tuple(max(1, int(self.sampling_rate / period / self.least_rate + 1e-9)) for period in self.periods)

    @property
    def steps(self) -> tuple[int, ...]:
        """Samples from one averaged frame to the next, by layer."""
        return tuple(period * count for period, count in zip(self.periods, self.averaged))

    @property
    def stride(self) -> int:
        """Samples between the starts of two pieces: the hop in whole frames of all layers."""
        unit = lcm(*self.steps)
        return max(1, self.hop // unit) * unit

    def pieces(self, n_samples: int) -> list[tuple[int, int, int]]:
        """Cut a clip.

        Parameters
        ----------
        n_samples : int
            Length of the clip.

        Returns
        -------
        list of (int, int, int)
            Start of each piece, and the part of the clip that is taken from it (from, to), in samples.
            All are whole frames of every layer, but for the last end.
        """
        unit = lcm(*self.steps)
        last = max(0, ceil((n_samples - self.window) / unit)) * unit
        starts = [*range(0, last, self.stride), last]
        meet = [(a + b + self.window) // 2 // unit * unit for a, b in pairwise(starts)]
        return list(zip(starts, [0, *meet], [*meet, n_samples]))


class HiddenStates:
    """A network's hidden states as a :class:`~ban_bids.models.candidate.Candidate`: layers ``L00``, ``L01``, …

    Parameters
    ----------
    module : nn.Module
        Put into evaluation mode.
    hearing : Hearing
    name : str
        ``[a-z][a-z0-9]*``; enters file names.
    code : str
        Whatever decides features beside weights and shapes: configuration, preprocessing, versions.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    card : ModelCard, optional
        See :func:`ban_bids.models.hidden.card_of`.
    batch_seconds : float, optional
        Pieces of equal length go together up to this sum; 120 s on a GPU, one piece at a time on a CPU. Nothing is
        ever padded to the length of another clip.
    """

    mapping: Mapping[str, str] | None = None
    genres: tuple[str, ...] = ()

    def __init__(
        self,
        module: nn.Module,
        hearing: Hearing,
        *,
        name: str,
        code: str,
        device: str = "cpu",
        card: ModelCard | None = None,
        batch_seconds: float | None = None,
    ) -> None:
        self.device = resolve_device(device)
        self.module = module.eval().to(self.device)
        self.hearing = hearing
        self.name = name
        self.layers = tuple(f"L{k:02d}" for k in range(len(hearing.periods)))
        self.sampling_rate = hearing.sampling_rate
        self.frame_rate: Mapping[str, float] = {
            layer: hearing.sampling_rate / step for layer, step in zip(self.layers, hearing.steps)
        }
        self.card = card
        self._code = code
        on_gpu = self.device.type == "cuda"
        self._batch_seconds = batch_seconds or (_BATCH_SECONDS_CUDA if on_gpu else 0.0)
        how = (hearing.sampling_rate, hearing.periods, hearing.window, hearing.hop, hearing.averaged)
        self.fingerprint = module_digest(module, [_CODE, name, code, how])

    def with_module(self, module: nn.Module, name: str) -> HiddenStates:
        """Return the same layers of another module of this architecture, without card."""
        return HiddenStates(
            module,
            self.hearing,
            name=name,
            code=self._code,
            device=str(self.device),
            batch_seconds=self._batch_seconds,
        )

    def features(self, clips: Sequence[HeardClip]) -> list[dict[str, np.ndarray]]:
        """Hidden states of every layer for each clip.

        Parameters
        ----------
        clips : sequence of HeardClip
            At the model's sampling rate.

        Returns
        -------
        list of dict
            Layer -> float32 array, (n_frames, n_features), at most as many frames as fit the clip.
        """
        sounds = [self._ready(sound) for sound in waveforms(clips, self.sampling_rate)]
        plans = [self.hearing.pieces(len(sound)) for sound in sounds]
        parts: dict[tuple[int, int], list[np.ndarray]] = {}
        for batch in self._batches(sounds, plans):
            stacked = np.stack([self._piece(sounds[clip], plans[clip][k][0]) for clip, k in batch])
            for (clip, k), frames in zip(batch, self._frames(stacked)):
                parts[clip, k] = [
                    self._taken(plans[clip][k], step, layer) for step, layer in zip(self.hearing.steps, frames)
                ]
        return [
            {
                layer: np.concatenate([parts[clip, k][place] for k in range(len(plan))])
                for place, layer in enumerate(self.layers)
            }
            for clip, plan in enumerate(plans)
        ]

    def features_in_pieces(self, clip: HeardClip) -> Iterator[dict[str, np.ndarray]]:
        """Hidden states of a long clip, as :meth:`features` piece by piece.

        Yields
        ------
        dict
            Layer -> float32 array, (n_frames, n_features), of the next frames.
        """
        sound = self._ready(waveforms([clip], self.sampling_rate)[0])
        plan = self.hearing.pieces(len(sound))
        for batch in self._batches([sound], [plan]):  # all but the last are equally long: they come in order
            stacked = np.stack([self._piece(sound, plan[k][0]) for _, k in batch])
            for (_, k), frames in zip(batch, self._frames(stacked)):
                taken = (self._taken(plan[k], step, layer) for step, layer in zip(self.hearing.steps, frames))
                yield dict(zip(self.layers, taken))

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        """Hidden states are no read-out: NotComputable."""
        raise NotComputable(f"model {self.name} has no read-out of genres")

    def _ready(self, sound: np.ndarray) -> np.ndarray:
        """The prepared clip, silence behind it where it is shorter than any network can hear."""
        sound = self.hearing.prepare(np.ascontiguousarray(sound, dtype=np.float32))
        return np.pad(sound, (0, max(0, round(_SHORTEST_SECONDS * self.sampling_rate) - len(sound))))

    def _piece(self, sound: np.ndarray, start: int) -> np.ndarray:
        return sound[start : start + self.hearing.window]

    def _batches(
        self, sounds: Sequence[np.ndarray], plans: Sequence[list[tuple[int, int, int]]]
    ) -> Iterator[list[tuple[int, int]]]:
        """Clip and number of pieces that are heard together; all of a batch are equally long."""
        by_length: dict[int, list[tuple[int, int]]] = {}
        for clip, (sound, plan) in enumerate(zip(sounds, plans)):
            for k, (start, _, _) in enumerate(plan):
                by_length.setdefault(len(self._piece(sound, start)), []).append((clip, k))
        for length, pieces in by_length.items():
            size = max(1, int(self._batch_seconds * self.sampling_rate / length))
            for first in range(0, len(pieces), size):
                yield pieces[first : first + size]

    def _frames(self, pieces: np.ndarray) -> list[list[np.ndarray]]:
        """Averaged frames of each piece and layer; what lies behind the sound is left out."""
        with torch.no_grad():
            states = self.hearing.states(self.module, pieces, self.device)
        if len(states) != len(self.layers):
            raise UsageError(f"model {self.name}: gives {len(states)} layers of {len(self.layers)}")
        layers = []
        for layer, period, count in zip(states, self.hearing.periods, self.hearing.averaged):
            heard = layer[:, : max(1, ceil(pieces.shape[1] / period))]
            layers.append(average(heard.float(), count).cpu().numpy())
        return [[layer[k] for layer in layers] for k in range(len(pieces))]

    @staticmethod
    def _taken(piece: tuple[int, int, int], step: int, frames: np.ndarray) -> np.ndarray:
        """The frames of one layer that stand for this part of the clip."""
        start, begin, end = piece
        return frames[(begin - start) // step : max(1, ceil((end - start) / step))]


def average(frames: Tensor, count: int) -> Tensor:
    """Means of ``count`` neighbouring frames, (batch, frames, features); the last are of those that are left."""
    whole = frames.shape[1] // count
    means = frames[:, : whole * count].unflatten(1, (whole, count)).mean(dim=2) if whole else frames[:, :0]
    if rest := frames[:, whole * count :].shape[1]:
        means = torch.cat([means, frames[:, -rest:].mean(dim=1, keepdim=True)], dim=1)
    return means


def short_name(text: str) -> str:
    """Lower-case letters and digits of a name, beginning with a letter, as models are called in files."""
    label = alphanumeric(text).lower()
    return label if label[:1].isalpha() else f"m{label}"


def card_of(name: str, references: Sequence[str], notes: Sequence[str]) -> ModelCard:
    """Card of a network of which the publications are known and the tracks that trained it are not."""
    return ModelCard({"name": name}, (), references=tuple(references), notes=tuple(notes), training_known=False)


def piece_note(hearing: Hearing, *, fixed: str = "") -> str:
    """In words, how a model hears; ``fixed`` says how shorter clips are filled up to a fixed window."""
    seconds, step = (f"{samples / hearing.sampling_rate:.4g} s" for samples in (hearing.window, hearing.stride))
    if fixed:
        how = f"hears windows of {seconds}, every {step} of longer clips, shorter ones filled up with {fixed}"
    else:
        how = f"hears clips of up to {seconds} whole, of longer ones {seconds} every {step}"
    return (
        f"{how}; it is not causal: every frame knows all of its window; neighbouring frames are averaged as long as "
        f"{hearing.least_rate:g} per second are left"
    )
