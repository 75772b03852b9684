"""A digest of what code does: sources, and the values that objects, functions and modules carry beside their tensors.

What a network gives depends on much that is in no stored tensor: a window's hop, a gain in a closure, a helper in the
same file. Whoever keeps features by a digest must have all of it in there: it may change where features would not, but
must not stay where they would.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import PurePath
from types import CodeType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None), range, slice, torch.dtype, np.generic, np.dtype)
_TORCHS = tuple(vars(nn.Module()))
"""Attributes that every module has: hooks, and the tensors and modules, which are walked as such."""

_WHERE = ("device", "_device")
"""Attributes that say where something runs: who scores some participants on a GPU has one model all the same."""

_DEEPEST = 100


def code_digest(*values: object) -> str:
    """SHA-256 over all that decides what functions, modules and other objects do.

    Parameters
    ----------
    *values : object
        Of functions the source, of the file that it is in too, defaults and what they close over; of objects the class
        in the same way and every attribute; of modules also buffers and parameters; of arrays and tensors all
        numbers; of TorchScript its code. Of objects that have no attributes, of those in sets, and of Python's own
        (loggers, locks), the class alone. Devices (what is called ``device``) and folders count for nothing.

    Returns
    -------
    str
        Hexadecimal, the same in every process.
    """
    walk = _Walk()
    for value in values:
        walk.add(value)
    return walk.digest.hexdigest()


class _Walk:
    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._seen: dict[int, tuple[int, object]] = {}  # objects are kept: no two may have one address
        self._depth = 0

    def add(self, value: Any) -> None:
        """One value, and all that it holds; what was there already by its number."""
        if isinstance(value, str) and PurePath(value).is_absolute():
            self._word("path", PurePath(value).name)
        elif isinstance(value, _PLAIN):
            self._word(type(value).__name__, repr(value))
        elif id(value) in self._seen:
            self._word("again", str(self._seen[id(value)][0]))
        else:
            self._seen[id(value)] = len(self._seen), value
            self._depth += 1
            if self._depth < _DEEPEST:
                self._add_new(value)
            self._depth -= 1

    def _add_new(self, value: Any) -> None:
        if isinstance(value, Tensor | np.ndarray):
            self._array(value)
        elif isinstance(value, Mapping | set | frozenset | list | tuple):
            self._container(value)
        elif isinstance(value, partial):
            self._all("partial", value.func, value.args, _without(value.keywords, _WHERE))
        elif inspect.ismethod(value):
            self._all("method", value.__func__, value.__self__)
        elif inspect.isfunction(value):
            self._function(value)
        elif inspect.isclass(value) or inspect.isbuiltin(value):
            self._word("class", _source(value))
        elif isinstance(value, nn.Module):
            self._module(value)
        elif isinstance(value, PurePath | torch.device):
            self._word("path", getattr(value, "name", ""))
        else:
            self._object(value)

    def _module(self, value: nn.Module) -> None:
        if isinstance(value, torch.jit.ScriptModule):  # numbers in it go by what was compiled before
            self._word("script", re.sub(r"\.?___torch_mangle_\d+", "", str(getattr(value, "code", ""))))
        own = _attributes(value, (*_TORCHS, *_WHERE))
        self._all("module", type(value), own, value._parameters, value._buffers, value._modules)

    def _object(self, value: Any) -> None:
        own = _attributes(value, _WHERE)
        cached = {name: own[name] for name in own if name == "__wrapped__"}  # what lru_cache wraps
        self._all("object", type(value), cached if _is_pythons(value) else own)

    def _all(self, kind: str, *values: object) -> None:
        self._word(kind, str(len(values)))
        for value in values:
            self.add(value)

    def _container(self, value: Any) -> None:
        if isinstance(value, Mapping):
            self._all("mapping", *(part for item in value.items() for part in item))
        elif isinstance(value, set | frozenset):
            # of objects in it, which may lead back to it, the class alone
            self._all("set", *sorted(repr(one) if _is_plain(one) else _source(type(one)) for one in value))
        else:
            self._all(type(value).__name__, *value)

    def _array(self, value: Tensor | np.ndarray) -> None:
        self._word(str(value.dtype), str(tuple(value.shape)))
        if isinstance(value, Tensor):
            if value.layout is not torch.strided or value.is_meta or value.is_quantized:
                return
            raw = value.detach().cpu().resolve_conj().resolve_neg().contiguous().flatten()
            self.digest.update(raw.view(torch.uint8).numpy().tobytes() if raw.numel() else b"")
        elif value.dtype.hasobject:
            self._container(value.tolist() if value.ndim else [value.item()])
        else:
            self.digest.update(np.ascontiguousarray(value).tobytes())

    def _function(self, value: Any) -> None:
        cells = []
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                cells.append(None if name in _WHERE else cell.cell_contents)
            except ValueError:  # not filled yet
                cells.append(None)
        self._word("function", _source(value))
        self._all("closed over", value.__defaults__, value.__kwdefaults__, cells)

    def _word(self, kind: str, text: str) -> None:
        for part in (kind.encode(), text.encode("utf-8", "surrogatepass")):
            self.digest.update(f"{len(part)}:".encode() + part)


def _attributes(value: object, without: Iterable[str]) -> dict[str, object]:
    slots = (vars(one).get("__slots__", ()) for one in type(value).__mro__)
    names = [name for some in slots for name in ((some,) if isinstance(some, str) else some)]
    held = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return _without(held | getattr(value, "__dict__", {}), ("__dict__", "__weakref__", *without))


def _without(held: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
    return {name: one for name, one in held.items() if name not in names}


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(map(_is_plain, value)))


def _is_pythons(value: object) -> bool:
    """Whether an object's class is of the standard library: what a logger or a lock holds changes by itself."""
    package = str(type(value).__module__).partition(".")[0]
    return package in sys.stdlib_module_names and not isinstance(value, SimpleNamespace)


def _source(code: Any) -> str:
    """What a function or class is written as, in which file; of torch's own, known by version, the name."""
    name = f"{getattr(code, '__module__', None)}.{code.__qualname__}"
    if name.startswith("torch."):  # slow to look up
        return f"{name} {torch.__version__.partition('+')[0]}"  # +cpu, +cu130: one model, wherever it runs
    texts = [name]
    for where in (code, sys.modules.get(str(code.__module__))):
        try:
            texts.append(inspect.getsource(where) if where is not None else "")
        except (OSError, TypeError):  # built in, or typed at a prompt
            texts.append(_typed(where))
    return "\n".join(texts)


def _typed(code: Any) -> str:
    """What a function, or all of a class, was compiled to: there is no file of what was typed into a notebook."""
    functions = vars(code).values() if inspect.isclass(code) else (code,)
    return "".join(_compiled(getattr(getattr(one, "__func__", one), "__code__", None)) for one in functions)


def _compiled(code: CodeType | None) -> str:
    """What a function without a file was compiled to."""
    if code is None:
        return ""
    constants = [_compiled(one) if isinstance(one, CodeType) else _ordered(one) for one in code.co_consts]
    return repr([code.co_code, code.co_names, constants])


def _ordered(constant: object) -> str:
    """A constant as text, sets in an order that is the same in every process."""
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
