"""Any PyTorch audio module as a candidate: outputs of its named submodules are the layers."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ban_bids.audio.waveforms import HeardClip
from ban_bids.constants import SAMPLING_RATE
from ban_bids.errors import NotComputable, UsageError
from ban_bids.models.candidate import ModelCard, check_mapping, layer_labels, mapping_by_name, waveforms
from ban_bids.models.code_digest import code_digest
from ban_bids.models.devices import resolve_device
from ban_bids.models.frame_rates import LONGEST, fault_of, measured_rates
from ban_bids.models.pieces import is_long

_LOG = logging.getLogger(__name__)


class LayerModel:
    """A module as a :class:`~ban_bids.models.candidate.Candidate`; it hears one waveform at a time.

    Parameters
    ----------
    module : nn.Module
        Put into evaluation mode.
    layers : dict of str to str
        Layer -> dotted name of a submodule, as in ``module.named_modules()``. Any names whose letters and
        digits differ.
    name : str
        ``[a-z][a-z0-9]*``; enters file names.
    sampling_rate : int
        That the module expects, Hz; sound is given at it.
    preprocess : callable, optional
        Waveform, (1, samples), to what ``module`` takes. The waveform itself otherwise.
    time_axis : int or dict of str to int
        Axis of time in the layers' outputs, the same for all or by layer; axis 0 is the batch.
    frame_rate : dict of str to float, optional
        Frames per second of every layer. Without it they are measured: noise of 4 to 8 s (up to 32 s for layers of
        few frames, or of whole windows) is heard ten to seventy times, see :mod:`ban_bids.models.frame_rates`.
    mapping : dict of str to str, optional
        Layer -> region (A1, Belt, PB, T2T3) that it stands for; empty where none does. Without it, layers that
        are called as regions stand for these, and others for none.
    genres : sequence of str
        Classes of the module's output, if that is a row of logits.
    card : ModelCard, optional
        Which tracks trained the weights; without one the overlap with the stimuli is "unknown".
    device : str
        ``cpu``, ``cuda`` or ``auto``.

    Raises
    ------
    UsageError
        For a submodule that the module does not have (the nearest names are listed) or that is not called,
        names of layers that are the same in files, an axis that is not time, a mapping of other layers or
        to no region.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Mapping[str, str],
        *,
        name: str,
        sampling_rate: int = SAMPLING_RATE,
        preprocess: Callable[[Tensor], Any] | None = None,
        time_axis: int | Mapping[str, int] = -1,
        frame_rate: Mapping[str, float] | None = None,
        mapping: Mapping[str, str] | None = None,
        genres: Sequence[str] = (),
        card: ModelCard | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = resolve_device(device)
        self.module = module.eval().to(self.device)
        self.name = name
        self.layers = tuple(layers)
        self.sampling_rate = sampling_rate
        self.mapping: Mapping[str, str] | None = (
            mapping_by_name(self.layers) if mapping is None else dict(mapping) or None
        )
        self.genres = tuple(genres)
        self.card = card
        self._preprocess = preprocess
        layer_labels(self.layers)
        check_mapping(self.mapping, self.layers)
        self._axis = {layer: time_axis if isinstance(time_axis, int) else time_axis[layer] for layer in layers}
        self._submodules = {layer: _submodule(module, layer, path) for layer, path in layers.items()}
        self._heard_before: dict[str, tuple[float, tuple[int, ...]]] = {}
        self.frame_rate: Mapping[str, float] = self._probed() if frame_rate is None else dict(frame_rate)
        if set(self.frame_rate) != set(layers):
            raise UsageError(f"model {name}: frame rates are given for other layers than {', '.join(layers)}")
        self._paths = dict(layers)
        self.fingerprint = self._fingerprint(layers)

    def with_module(self, module: nn.Module, name: str) -> LayerModel:
        """Return the same layers of another module of this architecture, without read-out and card."""
        return LayerModel(
            module,
            self._paths,
            name=name,
            sampling_rate=self.sampling_rate,
            preprocess=self._preprocess,
            time_axis=self._axis,
            frame_rate=self.frame_rate,
            mapping=self.mapping or {},
            device=str(self.device),
        )

    def features(self, clips: Sequence[HeardClip]) -> list[dict[str, np.ndarray]]:
        """Outputs of the layers for each clip.

        Parameters
        ----------
        clips : sequence of HeardClip
            At the model's sampling rate.

        Returns
        -------
        list of dict
            Layer -> float32 array, (n_frames, n_features), at most as many frames as fit the clip.
        """
        for clip in clips:
            if is_long(clip):
                _LOG.warning(
                    "model %s hears all %.0f s of %s at once, for nothing is known of how far its layers hear: that "
                    "may take gigabytes",
                    self.name,
                    clip.seconds,
                    clip,
                )
        return [self._features(waveform) for waveform in waveforms(clips, self.sampling_rate)]

    def _features(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
        seconds = len(waveform) / self.sampling_rate
        outputs = self._run(waveform)[1]
        features = {layer: self._frames(layer, output) for layer, output in outputs.items()}
        for layer, output in outputs.items():
            self._check_times(layer, (seconds, tuple(output.shape)))
        n_frames = {layer: max(1, ceil(seconds * rate - 1e-6)) for layer, rate in self.frame_rate.items()}
        return {layer: frames[: n_frames[layer]] for layer, frames in features.items()}

    def _check_times(self, layer: str, heard: tuple[float, tuple[int, ...]]) -> None:
        """Refuse frames that cannot lie where the frame rate puts them, by the first sound that was heard."""
        before = self._heard_before.setdefault(layer, heard)
        if fault := fault_of(self.frame_rate[layer], self._axis[layer], heard, before):
            raise UsageError(f"model {self.name}: the submodule of {layer} gives {fault}")

    def genre_probabilities(self, clips: Sequence[HeardClip]) -> np.ndarray:
        """Softmax of the module's output, (n_clips, n_genres).

        Raises
        ------
        NotComputable
            Without genres.
        UsageError
            When the output is not a row of as many logits.
        """
        if not self.genres:
            raise NotComputable(f"model {self.name} has no read-out of genres")
        rows = []
        for waveform in waveforms(clips, self.sampling_rate):
            logits, _ = self._run(waveform)
            if not isinstance(logits, Tensor) or logits.shape != (1, len(self.genres)):
                raise UsageError(
                    f"model {self.name}: its output is not a row of {len(self.genres)} logits; "
                    "leave genres empty, or let the module end in its read-out"
                )
            rows.append(torch.softmax(logits[0].double(), dim=0).cpu().numpy())
        return np.stack(rows)

    def _run(self, waveform: np.ndarray) -> tuple[Any, dict[str, Tensor]]:
        """The module's output and every layer's, for one waveform."""
        sound = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))[None].to(self.device)
        outputs: dict[str, Tensor] = {}
        with ExitStack() as hooks, torch.no_grad():
            for layer, submodule in self._submodules.items():
                hooks.callback(submodule.register_forward_hook(_keep(outputs, layer)).remove)
            result = self.module(sound if self._preprocess is None else self._preprocess(sound))
        if silent := [layer for layer in self.layers if layer not in outputs]:
            raise UsageError(f"model {self.name}: the submodules of {', '.join(silent)} are not called by the module")
        return result, {layer: outputs[layer] for layer in self.layers}

    def _frames(self, layer: str, output: Tensor) -> np.ndarray:
        axis = self._axis[layer]
        if output.ndim < 2 or not -output.ndim < axis < output.ndim or axis == 0 or len(output) != 1:
            raise UsageError(
                f"model {self.name}: the submodule of {layer} gives the shape {tuple(output.shape)}; "
                f"axis 0 must be a batch of one and axis {axis} time: set time_axis"
            )
        return output[0].movedim(axis - 1 if axis > 0 else axis, 0).flatten(1).float().cpu().numpy()

    def _probed(self) -> dict[str, float]:
        """Frames per second, measured."""
        noise = np.random.default_rng(0).normal(0, 0.1, round(LONGEST * self.sampling_rate)).astype(np.float32)

        def count(samples: int) -> dict[str, int]:
            outputs = self._run(noise[:samples])[1]
            return {layer: len(self._frames(layer, output)) for layer, output in outputs.items()}

        rates = measured_rates(count, self.sampling_rate)
        if slow := [layer for layer, rate in rates.items() if rate <= 0]:
            raise UsageError(
                f"model {self.name}: axis {self._axis[slow[0]]} of the submodule of {slow[0]} does not grow "
                "with the sound, so it is not time; set time_axis (or frame_rate, for a module of a fixed length)"
            )
        return rates

    def _fingerprint(self, layers: Mapping[str, str]) -> str:
        """SHA-256 over the weights, the code and everything else that decides features; it keys caches."""
        # strides and activations are in no tensor, and what code does is not in its name
        code = code_digest(self._preprocess, self.module)
        settings = [self.name, dict(layers), self._axis, self.sampling_rate, self.frame_rate, repr(self.module), code]
        return module_digest(self.module, settings)


def module_digest(module: nn.Module, settings: object) -> str:
    """SHA-256 over settings, as they are written, and every stored tensor of a module."""
    digest = hashlib.sha256(repr(settings).encode())
    for key, value in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().float().numpy())
    return digest.hexdigest()


def _keep(outputs: dict[str, Tensor], layer: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        # recurrent layers and attention give their states beside the output
        first = output[0] if isinstance(output, tuple | list) else output
        if not isinstance(first, Tensor):
            raise UsageError(f"the submodule of {layer} gives {type(first).__name__}, not a tensor")
        outputs[layer] = first.detach().clone()  # what comes next may change it in place: rectify it, add to it

    return hook


def _submodule(module: nn.Module, layer: str, path: str) -> nn.Module:
    """The submodule of this dotted name."""
    submodules = {name: submodule for name, submodule in module.named_modules() if name}
    if path in submodules:
        return submodules[path]
    near = get_close_matches(path, submodules, n=4, cutoff=0.5) or list(submodules)[:8]
    raise UsageError(f"layer {layer}: the module has no submodule {path!r}; near it: {', '.join(near)}")
