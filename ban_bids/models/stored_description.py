"""``features.json``: what features from files say of their model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ban_bids.errors import DataError
from ban_bids.files.json import read_json
from ban_bids.files.reading import as_number
from ban_bids.models.candidate import ModelCard

_LONGEST = 64
"""Letters of names that enter file names, of which file systems take 255."""


@dataclass(frozen=True)
class Description:
    """What ``features.json`` says.

    Parameters
    ----------
    name : str
        ``[a-z][a-z0-9]*``; enters file names.
    layers : dict of str to float
        Layer -> frames per second, in order from the sound on. In the file a list of objects with ``name`` and
        ``frame_rate``: objects of JSON have no order.
    mapping : dict of str to str
        Layer -> region that it stands for.
    references : tuple of str
        Publications that describe the model.
    training : str or dict
        What trained the model. In words; or an object with ``split`` (words), ``hashes`` and ``fingerprints``
        (track -> text, see :class:`~ban_bids.models.candidate.ModelCard`), with which the overlap with the stimuli is
        known. ``{"hashes": {}}``: nothing did.
    sampling : str
        How the features were made, for readers.
    tolerance : int
        Whole frames by which a file may be shorter or longer than its sound.
    """

    name: str
    layers: dict[str, float]
    mapping: dict[str, str]
    references: tuple[str, ...]
    training: str | dict[str, Any] | None
    sampling: str
    tolerance: int

    @classmethod
    def read(cls, path: Path) -> Description:
        """Read and check the file.

        Raises
        ------
        DataError
            It is missing or no JSON; a key is missing, unknown or of another type.
        """
        if not path.is_file():
            raise DataError(f"{path}: not there; it names the model and its layers with their frame rates")
        content = read_json(path)
        known = {"name", "layers", "mapping", "references", "training", "sampling", "tolerance"}
        if unknown := sorted(content.keys() - known):
            raise DataError(f"{path}: unknown key {unknown[0]!r}; the keys are {', '.join(sorted(known))}")
        training = content.get("training")
        if isinstance(training, dict):
            _check_training(path, training)
        elif training is not None:
            _text(path, content, "training")
        tolerance = content.get("tolerance", 1)
        if not isinstance(tolerance, int) or isinstance(tolerance, bool) or tolerance < 0:
            raise DataError(f"{path}: tolerance must be a number of whole frames, not {tolerance!r}")
        references = content.get("references", [])
        if not isinstance(references, list) or not all(isinstance(one, str) for one in references):
            raise DataError(f"{path}: references must be a list of texts")
        return cls(
            name=_name(path, content),
            layers=_layers(path, content.get("layers")),
            mapping=_texts(path, content, "mapping"),
            references=tuple(references),
            training=training,
            sampling=_text(path, content, "sampling") if "sampling" in content else "",
            tolerance=tolerance,
        )

    @property
    def card(self) -> ModelCard | None:
        """What is known of the weights; None without references and training."""
        if self.training is None and not self.references:
            return None
        told: dict[str, Any] = (
            self.training if isinstance(self.training, dict) else {"split": self.training or "unknown"}
        )
        return ModelCard(
            {"name": self.name},
            (),
            split=told.get("split", "unknown"),
            training_hashes=told.get("hashes", {}),
            fingerprints=told.get("fingerprints", {}),
            references=self.references,
            notes=(self.sampling,) if self.sampling else (),
            training_known="hashes" in told,
        )


def _text(path: Path, content: Mapping[str, Any], key: str) -> str:
    if not isinstance(content.get(key), str) or not content[key].strip():
        raise DataError(f"{path}: {key} must be a text, not {content.get(key)!r}")
    return str(content[key])


def _name(path: Path, content: Mapping[str, Any]) -> str:
    name = _text(path, content, "name")
    if not re.fullmatch(rf"[a-z][a-z0-9]{{0,{_LONGEST - 1}}}", name):
        raise DataError(
            f"{path}: name {name[:80]!r} enters file names; write lower-case letters and digits, at most {_LONGEST}"
        )
    return name


def _texts(path: Path, content: Mapping[str, Any], key: str) -> dict[str, str]:
    values = content.get(key, {})
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise DataError(f"{path}: {key} must be an object of texts")
    return values


def _check_training(path: Path, training: Mapping[str, Any]) -> None:
    if unknown := sorted(training.keys() - {"split", "hashes", "fingerprints"}):
        raise DataError(f"{path}: unknown key {unknown[0]!r} in training; the keys are split, hashes, fingerprints")
    if "split" in training:
        _text(path, training, "split")
    for key in ("hashes", "fingerprints"):
        _texts(path, training, key)


def _layers(path: Path, layers: Any) -> dict[str, float]:
    remedy = 'layers must be a list such as [{"name": "conv1", "frame_rate": 50.0}, …], in order from the sound on'
    if not isinstance(layers, list) or not layers or not all(isinstance(one, dict) for one in layers):
        raise DataError(f"{path}: {remedy}")
    rates: dict[str, float] = {}
    for layer in layers:
        name, rate = layer.get("name"), layer.get("frame_rate")
        if layer.keys() != {"name", "frame_rate"} or not isinstance(name, str) or (as_number(rate) or 0.0) <= 0:
            raise DataError(f"{path}: {layer!r} is no layer; {remedy}")
        if len(name) > _LONGEST:
            raise DataError(f"{path}: layer {name[:40]!r}… enters file names; write at most {_LONGEST} letters")
        if name in rates:
            raise DataError(f"{path}: layer {name!r} is there twice; rename one")
        rates[name] = float(rate)
    return rates
