"""Any PyTorch audio module as a model for ban-bids: its named layers stand for areas."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchaudio.functional import resample

from ban_bids.constants import SAMPLING_RATE
from ban_bids.errors import NotComputable, UsageError
from ban_bids.models.candidate import resolve_device
from ban_bids.models.checkpoint import ModelCard

_PROBE_SECONDS = (4.0, 8.0)


class LayerModel:
    """A module whose layers' outputs are the areas; see :class:`ban_bids.models.candidate.AudioModel`.

    Parameters
    ----------
    module : nn.Module
        Put into evaluation mode. It hears one waveform at a time.
    areas : dict of str to str
        Area (alphanumeric) -> dotted name of a layer, as in ``module.named_modules()``. Areas that are to be
        held against the regions of the same name are called A1, Belt, PB and T2T3.
    name : str
        ``[a-z][a-z0-9]*``; enters file names.
    sampling_rate : int
        That the module expects, Hz; waveforms come at 22 050 Hz and are resampled.
    preprocess : callable, optional
        Waveform, (1, samples), to what ``module`` takes. The waveform itself otherwise.
    time_axis : int or dict of str to int
        Axis of time in the layers' outputs, the same for all or by area; axis 0 is the batch.
    frame_rate : dict of str to float, optional
        Frames a second of every area. Without it two probes of noise tell, by how many frames four more
        seconds add.
    genres : sequence of str
        Classes of the module's output, if that is a row of logits.
    card : ModelCard, optional
        Which tracks trained the weights; without one the overlap with the stimuli is "unknown".
    device : str
        ``cpu``, ``cuda`` or ``auto``.

    Raises
    ------
    UsageError
        For a layer that the module does not have (the nearest names are listed) or that is not called, an
        area's name that cannot enter file names, an axis that is not time.
    """

    def __init__(
        self,
        module: nn.Module,
        areas: Mapping[str, str],
        *,
        name: str,
        sampling_rate: int = SAMPLING_RATE,
        preprocess: Callable[[Tensor], Any] | None = None,
        time_axis: int | Mapping[str, int] = -1,
        frame_rate: Mapping[str, float] | None = None,
        genres: Sequence[str] = (),
        card: ModelCard | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = resolve_device(device)
        self.module = module.eval().to(self.device)
        self.name = name
        self.layers = tuple(areas)
        self.genres = tuple(genres)
        self.card = card
        self._rate = sampling_rate
        self._preprocess = preprocess
        self._axis = {area: time_axis if isinstance(time_axis, int) else time_axis[area] for area in areas}
        self._layers = {area: _layer(module, area, layer) for area, layer in areas.items()}
        self.frame_rate = dict(frame_rate) if frame_rate is not None else self._probed()
        if set(self.frame_rate) != set(areas):
            raise UsageError(f"model {name}: frame rates are given for other areas than {', '.join(areas)}")
        self.fingerprint = self._fingerprint(areas)

    def features(self, waveforms: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Outputs of the layers for each waveform.

        Parameters
        ----------
        waveforms : sequence of ndarray, (n_samples,)
            Mono, 22 050 Hz.

        Returns
        -------
        list of dict
            Area -> float32 array, (n_frames, n_features), at most as many frames as fit the waveform.
        """
        out = []
        for waveform in waveforms:
            seconds = len(waveform) / SAMPLING_RATE
            _, caught = self._run(waveform)
            out.append(
                {
                    area: frames[: max(1, ceil(seconds * self.frame_rate[area] - 1e-6))]
                    for area, frames in caught.items()
                }
            )
        return out

    def genre_probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Softmax of the module's output, (n_waveforms, n_genres).

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
        for waveform in waveforms:
            logits, _ = self._run(waveform)
            if not isinstance(logits, Tensor) or logits.shape != (1, len(self.genres)):
                raise UsageError(
                    f"model {self.name}: its output is not a row of {len(self.genres)} logits; "
                    "leave genres empty, or let the module end in its read-out"
                )
            rows.append(torch.softmax(logits[0].double(), dim=0).cpu().numpy())
        return np.stack(rows)

    def _run(self, waveform: np.ndarray) -> tuple[Any, dict[str, np.ndarray]]:
        """The module's output and every area's frames, (n_frames, n_features), for one waveform."""
        sound = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))[None]
        caught: dict[str, Tensor] = {}
        with ExitStack() as hooks, torch.no_grad():
            heard = resample(sound, SAMPLING_RATE, self._rate).to(self.device)
            for area, layer in self._layers.items():
                handle = layer.register_forward_hook(_keep(caught, area))
                hooks.callback(handle.remove)
            output = self.module(heard if self._preprocess is None else self._preprocess(heard))
        silent = [area for area in self.layers if area not in caught]
        if silent:
            raise UsageError(f"model {self.name}: the layers of {', '.join(silent)} are not called by the module")
        return output, {area: self._frames(area, caught[area]) for area in self.layers}

    def _frames(self, area: str, output: Tensor) -> np.ndarray:
        axis = self._axis[area]
        if output.ndim < 2 or not -output.ndim < axis < output.ndim or axis == 0 or len(output) != 1:
            raise UsageError(
                f"model {self.name}: the layer of {area} gives the shape {tuple(output.shape)}; "
                f"axis 0 must be a batch of one and axis {axis} time: set time_axis"
            )
        return output[0].movedim(axis - 1 if axis > 0 else axis, 0).flatten(1).float().cpu().numpy()

    def _probed(self) -> dict[str, float]:
        """Frames a second from how many more a longer sound gives: what the edges cost cancels."""
        rng = np.random.default_rng(0)
        short, long = (self._run(rng.normal(0, 0.1, round(s * SAMPLING_RATE)))[1] for s in _PROBE_SECONDS)
        rates = {}
        for area in self.layers:
            more = len(long[area]) - len(short[area])
            if more <= 0:
                raise UsageError(
                    f"model {self.name}: axis {self._axis[area]} of the layer of {area} does not grow "
                    "with the sound, so it is not time; set time_axis"
                )
            rates[area] = more / (_PROBE_SECONDS[1] - _PROBE_SECONDS[0])
        return rates

    def _fingerprint(self, areas: Mapping[str, str]) -> str:
        """SHA-256 over the weights, the code and everything else that decides features; it keys caches."""
        # strides and activations are in no tensor, and what code does is not in its name
        code = [_source(self._preprocess), *sorted({_source(type(m)) for m in self.module.modules()})]
        about = [self.name, dict(areas), self._axis, self._rate, self.frame_rate, repr(self.module), code]
        digest = hashlib.sha256(repr(about).encode())
        for key, value in sorted(self.module.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
        return digest.hexdigest()


def _keep(caught: dict[str, Tensor], area: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        # recurrent layers and attention give their states beside the output
        first = output[0] if isinstance(output, tuple | list) else output
        if not isinstance(first, Tensor):
            raise UsageError(f"the layer of {area} gives {type(first).__name__}, not a tensor")
        caught[area] = first

    return hook


def _source(code: Any) -> str:
    """What a function, or the class of an object, is written as; its name where that is not to be had."""
    kind = code if inspect.isroutine(code) or inspect.isclass(code) else type(code)
    if str(kind.__module__).startswith("torch."):  # known by name, and slow to look up
        return str(kind.__qualname__)
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return str(kind.__qualname__)


def _layer(module: nn.Module, area: str, name: str) -> nn.Module:
    """The submodule of this dotted name."""
    if not area.isalnum() or not area.isascii():
        raise UsageError(f"area {area!r}: names of areas are letters and digits, for they enter file names")
    known = dict(module.named_modules())
    if name in known and name:
        return known[name]
    near = get_close_matches(name, known, n=4, cutoff=0.5) or [key for key in known if key][:8]
    raise UsageError(f"area {area}: the module has no layer {name!r}; near it: {', '.join(near)}")
