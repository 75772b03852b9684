"""What a model costs: parameters, multiply-adds, seconds of audio a second of one processor."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from listeners import UNTRAINED
from torch.utils.flop_counter import FlopCounterMode

from ban_bids.models.config import FrontEndConfig, NetworkConfig
from ban_bids.models.low_level import MODELS
from ban_bids.models.network import AuditoryNetwork
from ban_bids.models.presets import LOW_LEVEL, build, preset

_COUNTED_SECONDS, _TIMED_SECONDS, _REPEATS = 10.0, 30.0, 5


def model_cost(name: str, n_genres: int) -> dict[str, float | None]:
    """Cost of any model of the comparison: see :func:`network_cost`; multiply-adds None where not counted."""
    if name in LOW_LEVEL:
        return low_level_cost(name, n_genres)
    return network_cost(preset(name.removesuffix(UNTRAINED)), n_genres)


def low_level_cost(name: str, n_genres: int) -> dict[str, float | None]:
    """Cost of a low-level model: the read-out's parameters, and the speed of the statistics it hears."""
    model = MODELS[name]()  # type: ignore[call-arg]
    rate = FrontEndConfig().sampling_rate
    n_statistics = len(model.summary(np.zeros(rate, np.float32)))
    return {
        "parameters": n_genres * (n_statistics + 1),
        "multiply_adds": None,
        "audio_seconds_per_cpu_second": round(speed(model.summary, rate), 1),
    }


def network_cost(config: NetworkConfig, n_genres: int) -> dict[str, float | None]:
    """Cost of a network, waveform to logits in float32 on one thread, one track at a time.

    Parameters
    ----------
    config : NetworkConfig
    n_genres : int

    Returns
    -------
    dict
        ``parameters``, ``multiply_adds`` a second of audio, ``audio_seconds_per_cpu_second``.
    """
    network = build(config, n_genres, 0).eval()
    rate = network.config.front_end.sampling_rate
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "multiply_adds": multiply_adds(network, rate),
        "audio_seconds_per_cpu_second": round(speed(lambda x: network(torch.from_numpy(x)[None]), rate), 1),
    }


def multiply_adds(network: AuditoryNetwork, rate: int) -> float:
    """Half the floating-point operations of convolutions and matrix products for a second of audio.

    Counted on 10 s; the Fourier transform and everything element by element are not counted.
    """
    counter = FlopCounterMode(display=False)
    # fused recurrent layers of oneDNN would hide their products from the counter
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TF32 acceleration")  # of Intel's GPUs
        with torch.backends.mkldnn.flags(enabled=False), torch.no_grad(), counter:
            network(torch.zeros(1, int(_COUNTED_SECONDS * rate)))
    return counter.get_total_flops() / 2 / _COUNTED_SECONDS


def speed(answer: Callable[[np.ndarray], object], rate: int) -> float:
    """Seconds of audio a second of processor time, on one thread: median of 5 tracks of 30 s."""
    rng = np.random.default_rng(0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    try:
        for k in range(_REPEATS + 1):
            waveform = rng.normal(0, 0.1, int(_TIMED_SECONDS * rate)).astype(np.float32)
            started = time.process_time()
            with torch.no_grad():
                answer(waveform)
            if k:  # the first one warms up
                seconds.append(time.process_time() - started)
    finally:
        torch.set_num_threads(before)
    return _TIMED_SECONDS / float(np.median(seconds))
