"""What every typed interface shares: a version, and inputs and outputs read from one function's annotations."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from nipype.interfaces.base import BaseInterfaceInputSpec, File, SimpleInterface, TraitedSpec, isdefined, traits

VERSION = "6"
"""Part of every node's hash: raise it when a step's result changes, so that cached nodes are done again."""


class InputSpec(BaseInterfaceInputSpec):
    """Inputs of a step."""

    version = traits.Str(VERSION, usedefault=True, desc="version of the step")


class Step(SimpleInterface):
    """A step with its results by name; it writes into its node's folder only.

    A subclass defines a static method ``compute``. Its parameters are the step's inputs (but for ``folder``, the
    node's), with types by their annotations: a Path is a file that exists and is hashed by its content; a
    parameter without default is mandatory. It returns the step's outputs by name.

    Parameters
    ----------
    files : str
        Names of the outputs that are files; of the class, as the following.
    **others : type
        Other outputs with their types.
    """

    compute: ClassVar[Callable[..., dict[str, Any]]]

    def __init_subclass__(cls, files: str = "", **others: Any) -> None:
        super().__init_subclass__()
        if "compute" not in vars(cls):
            return
        hints = get_type_hints(cls.compute)
        parameters = {name: item for name, item in signature(cls.compute).parameters.items() if name != "folder"}
        inputs = {
            name: _trait(hints[name], mandatory=parameter.default is Parameter.empty)
            for name, parameter in parameters.items()
        }
        outputs = {name: _trait(kind) for name, kind in (dict.fromkeys(files.split(), Path) | others).items()}
        cls.input_spec = _spec(cls, "input_spec", InputSpec, inputs)
        cls.output_spec = _spec(cls, "output_spec", TraitedSpec, outputs)

    def _run_interface(self, runtime: Any) -> Any:
        hints = get_type_hints(self.compute)
        values = {name: value for name, value in self.inputs.get().items() if name in hints and isdefined(value)}
        for name, value in values.items():
            if Path in (hints[name], *get_args(hints[name])):
                values[name] = _mapped(value, str, Path)
        if "folder" in hints:
            values["folder"] = Path(runtime.cwd)
        self._results.update({name: _mapped(value, Path, str) for name, value in self.compute(**values).items()})
        return runtime


def _spec(owner: type, name: str, base: type, fields: dict[str, Any]) -> Any:
    """Class of inputs or outputs, found again as ``owner.name`` by processes that it is sent to."""
    place = {"__module__": owner.__module__, "__qualname__": f"{owner.__qualname__}.{name}"}
    return type(base)(name, (base,), {**fields, **place})


def _trait(hint: Any, **metadata: Any) -> Any:
    """Nipype's trait for an annotation."""
    kinds = get_args(hint)
    if NoneType in kinds:
        return _trait(kinds[0], **metadata)
    if get_origin(hint) is list:
        return traits.List(_trait(kinds[0]), **metadata)
    if hint is Path:
        return File(exists=True, **metadata)
    simple = {str: traits.Str, int: traits.Int, float: traits.Float, bool: traits.Bool, dict: traits.Dict}
    return simple[get_origin(hint) or hint](**metadata)


def _mapped(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Change a value, or the values of a list, where they are of a kind."""
    if isinstance(value, list):
        return [_mapped(item, kind, change) for item in value]
    return change(value) if isinstance(value, kind) else value
