"""Any module with random or permuted weights: what untrained and permuted controls are made of.

Nothing of the trained weights may be left in an untrained module unseen. So all its parameters are overwritten with
NaN before its modules draw them anew, and where a NaN is left the module is refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from ban_bids.errors import NotComputable

_FROM_CONFIG = ("_init_weights", "init_weights")
_RESETS = ("reset_parameters", "_reset_parameters")
_NAMED = 4
_POWER_ITERATIONS = 30


def untrained_module(module: nn.Module, seed: int) -> nn.Module:
    """Return a module of the same architecture with random weights, on the CPU, in evaluation mode.

    Parameters
    ----------
    module : nn.Module
        It is not changed. Its parameters are drawn by the modules that own them or contain these (``reset_parameters``
        or ``_reset_parameters``, inner ones first, as when they were constructed); models of transformers, at any
        depth, are made anew from their ``config``. Parameters that are one tensor stay one. Weights under a
        parametrisation or ``weight_norm`` are drawn as the plain ones and decomposed.
    seed : int
        Decides all draws, whatever the state of the global generators, which are left as they were.

    Returns
    -------
    nn.Module
        Buffers are those of ``module`` (or of its ``config``); running statistics are to be measured anew.

    Raises
    ------
    NotComputable
        A parameter is drawn by no module; it is named, with the remedy. Or there is none at all, or the module can
        be neither copied nor made from its ``config``.
    """
    _check_weights(module)
    with _seeded(seed), torch.no_grad():
        rebuilt = {id(part): (part, _from_config(part)) for part in _pretrained(module)}
        fresh = _copy(module, {key: new for key, (_, new) in rebuilt.items()})
        done = {id(part) for _, new in rebuilt.values() for part in new.modules()}
        own = [part for part in _inner_first(fresh) if id(part) not in done]
        drawn_anew = [p for part in own for p in part.parameters(recurse=False) if _is_weight(p)]
        for parameter in drawn_anew:
            parameter.fill_(torch.nan)
        for part in own:
            _reset(part)
        _settle(fresh)
    _check_drawn(fresh)
    return fresh.eval()


def permuted_module(module: nn.Module, seed: int) -> nn.Module:
    """Return a copy whose weights are shuffled within each parameter: trained values, no learned structure.

    Parameters
    ----------
    module : nn.Module
        It is not changed.
    seed : int

    Returns
    -------
    nn.Module
        On the CPU, in evaluation mode. Its running statistics belong to the unshuffled weights: they are to be measured
        anew.

    Raises
    ------
    NotComputable
        There are no weights, or the module cannot be copied.
    """
    _check_weights(module)
    shuffled = _copy(module, {})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in shuffled.parameters():
            order = torch.randperm(weight.numel(), generator=generator)
            weight.copy_(weight.flatten()[order].view_as(weight))
        _settle(shuffled)
    return shuffled.eval()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what modules draw their weights from on the CPU, and put its state back."""
    python, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)


def _is_weight(parameter: Tensor) -> bool:
    return parameter.is_floating_point() or parameter.is_complex()


def _check_weights(module: nn.Module) -> None:
    if not any(_is_weight(parameter) for parameter in module.parameters()):
        raise NotComputable(f"{type(module).__name__} has no weights as parameters, so they cannot be randomised")
    for name, part in module.named_modules():
        if any(isinstance(hook, SpectralNorm) for hook in part._forward_pre_hooks.values()):
            raise NotComputable(
                f"{name} has torch's former spectral_norm, whose weights cannot be randomised; use "
                "torch.nn.utils.parametrizations.spectral_norm"
            )


def _pretrained(module: nn.Module) -> list[nn.Module]:
    """The outermost models of transformers, known by what they have: transformers need not be installed."""
    if hasattr(module, "config") and any(callable(getattr(module, name, None)) for name in _FROM_CONFIG):
        return [module]
    return [found for child in module.children() for found in _pretrained(child)]


def _from_config(module: Any) -> nn.Module:
    """A new object of this class from its configuration, of the same architecture and precision."""
    kind = type(module)
    try:
        fresh: nn.Module = kind(module.config)
    except Exception as err:  # somebody else's code may raise anything
        reason = f"{type(err).__name__}: {err}".splitlines()[0]
        raise NotComputable(f"{kind.__name__} cannot be made from its config alone ({reason})") from err
    own, new = module.state_dict(), fresh.state_dict()
    differing = sorted(own.keys() ^ new.keys()) or [key for key in own if own[key].shape != new[key].shape]
    if differing:
        raise NotComputable(
            f"{kind.__name__} made from its config is another architecture: {_listed(differing)} differ"
        )
    trained = dict(module.named_parameters(remove_duplicate=False))
    for name, parameter in fresh.named_parameters():
        parameter.data = parameter.data.to(trained[name].dtype)
    return fresh


def _copy(module: nn.Module, instead: dict[int, nn.Module]) -> nn.Module:
    """A copy on the CPU, in which some parts (by identity) are replaced and not copied."""
    for part, hook in _weight_norms(module):
        with torch.no_grad():  # the weight that is computed from the parameters must be copied without its graph
            setattr(part, hook.name, hook.compute_weight(part))
    try:
        return deepcopy(module, dict(instead)).cpu()
    except Exception as err:  # somebody else's code may raise anything
        reason = f"{type(err).__name__}: {err}".splitlines()[0]
        raise NotComputable(f"{type(module).__name__} cannot be copied ({reason})") from err


def _weight_norms(module: nn.Module) -> list[tuple[nn.Module, Any]]:
    """Modules under torch's former ``weight_norm``, with its hook."""
    return [
        (part, hook)
        for part in module.modules()
        for hook in part._forward_pre_hooks.values()
        if isinstance(hook, WeightNorm)
    ]


def _inner_first(module: nn.Module) -> list[nn.Module]:
    """All modules once, each after those that it contains."""
    found: dict[int, nn.Module] = {}

    def visit(part: nn.Module) -> None:
        for child in part.children():
            visit(child)
        found.setdefault(id(part), part)

    visit(module)
    return list(found.values())


def _reset(module: nn.Module) -> None:
    """Let a module draw its own parameters."""
    reset = next((found for name in _RESETS if callable(found := getattr(module, name, None))), None)
    if reset is None:
        return
    if parametrize.is_parametrized(module):
        _reset_parametrized(module)
        return
    hooks = [hook for part, hook in _weight_norms(module) if part is module]
    for hook in hooks:
        getattr(module, hook.name).fill_(torch.nan)
    _called(reset, module)
    for hook in hooks:
        weight = getattr(module, hook.name)
        getattr(module, f"{hook.name}_v").copy_(weight)
        getattr(module, f"{hook.name}_g").copy_(torch.norm_except_dim(weight, 2, hook.dim))


def _reset_parametrized(module: Any) -> None:
    """Draw the weights as the class does without parametrisations, then let these take them in."""
    plain: Any = object.__new__(type(module).__bases__[0])  # torch puts a class of its own above the original one
    names = list(module.parametrizations)
    weights = {name: nn.Parameter(torch.full_like(getattr(module, name), torch.nan)) for name in names}
    # its other parameters are the module's own: what is drawn for them is drawn in place
    inner = {name: part for name, part in module._modules.items() if name != "parametrizations"}
    plain.__dict__ = {**module.__dict__, "_parameters": {**module._parameters, **weights}, "_modules": inner}
    _called(next(getattr(plain, name) for name in _RESETS if hasattr(plain, name)), module)
    for name in names:
        try:
            setattr(module, name, weights[name].detach())
        except (NotImplementedError, RuntimeError) as err:
            raise NotComputable(f"the parametrisation of {name} has no right_inverse; give it one") from err


def _called(reset: Callable[[], object], module: nn.Module) -> None:
    try:
        reset()
    except Exception as err:  # somebody else's code may raise anything
        reason = f"{type(err).__name__}: {err}".splitlines()[0]
        raise NotComputable(f"reset_parameters of {type(module).__name__} raised {reason}") from err


def _settle(module: nn.Module) -> None:
    """What is computed from weights follows the new ones: spectral norms (power iterations) and ``weight_norm``."""
    for part in module.modules():
        if parametrize.is_parametrized(part):
            for name, chain in part.parametrizations.items():  # type: ignore[union-attr, operator]
                if any(True for _ in chain.buffers()):
                    chain.train()
                    for _ in range(_POWER_ITERATIONS):
                        getattr(part, name)
                    chain.eval()
    for part, hook in _weight_norms(module):
        setattr(part, hook.name, hook.compute_weight(part))


def _check_drawn(module: nn.Module) -> None:
    left = [name for name, p in module.named_parameters() if _is_weight(p) and bool(torch.isnan(p).any())]
    if left:
        raise NotComputable(
            f"no module draws {_listed(left)}: give the module that owns {'it' if len(left) == 1 else 'them'} "
            "a method reset_parameters"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
