"""A digest of what code does: sources, and the values that objects, functions and modules carry beside their tensors.

What a network gives depends on much that is in no stored tensor: a window's hop, a gain in a closure, a helper in the
same file. Whoever keeps features by a digest must have all of it in there: it may change where features would not, but
must not stay where they would.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import PurePath
from types import CodeType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, np.generic, np.dtype)
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
        numbers. Of objects that have no attributes, and of Python's own (loggers, locks), the class alone. Devices and
        folders count for nothing.

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
        if isinstance(value, _PLAIN):
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
            self._all("partial", value.func, value.args, value.keywords)
        elif inspect.ismethod(value):
            self._all("method", value.__func__, value.__self__)
        elif inspect.isfunction(value):
            self._function(value)
        elif inspect.isclass(value) or inspect.isbuiltin(value):
            self._word("class", _source(value))
        elif isinstance(value, nn.Module):
            own = _attributes(value, (*_TORCHS, *_WHERE))
            self._all("module", type(value), own, value._parameters, value._buffers, value._modules)
        elif isinstance(value, PurePath | torch.device):
            self._word("path", getattr(value, "name", ""))
        else:
            self._all("object", type(value), {} if _is_pythons(value) else _attributes(value, _WHERE))

    def _all(self, kind: str, *values: object) -> None:
        self._word(kind, str(len(values)))
        for value in values:
            self.add(value)

    def _container(self, value: Any) -> None:
        if isinstance(value, Mapping):
            self._all("mapping", *(part for item in value.items() for part in item))
        elif isinstance(value, set | frozenset):
            self._all("set", *sorted(map(code_digest, value)))
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
        for cell in value.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:  # not filled yet
                cells.append(None)
        self._word("function", _source(value))
        self._all("closed over", value.__defaults__, value.__kwdefaults__, cells)

    def _word(self, kind: str, text: str) -> None:
        for part in (kind.encode(), text.encode("utf-8", "surrogatepass")):
            self.digest.update(f"{len(part)}:".encode() + part)


def _attributes(value: object, without: Iterable[str]) -> dict[str, object]:
    return {name: held for name, held in getattr(value, "__dict__", {}).items() if name not in without}


def _is_pythons(value: object) -> bool:
    """Whether an object's class is of the standard library: what a logger or a lock holds changes by itself."""
    package = str(type(value).__module__).partition(".")[0]
    return package in sys.stdlib_module_names and not isinstance(value, SimpleNamespace)


def _source(code: Any) -> str:
    """What a function or class is written as, in which file; of torch's own, known by version, the name."""
    name = f"{getattr(code, '__module__', None)}.{code.__qualname__}"
    if name.startswith("torch."):  # slow to look up
        return f"{name} {torch.__version__}"
    texts = [name]
    for where in (code, sys.modules.get(str(code.__module__))):
        try:
            texts.append(inspect.getsource(where) if where is not None else "")
        except (OSError, TypeError):  # built in, or typed at a prompt
            texts.append(_compiled(getattr(where, "__code__", None)))
    return "\n".join(texts)


def _compiled(code: CodeType | None) -> str:
    """What a function without a file was compiled to."""
    if code is None:
        return ""
    constants = [_compiled(one) if isinstance(one, CodeType) else _ordered(one) for one in code.co_consts]
    return repr([code.co_code, code.co_names, constants])


def _ordered(constant: object) -> str:
    """A constant as text, sets in an order that is the same in every process."""
    return repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
