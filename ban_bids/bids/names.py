"""BIDS names: built and taken apart here and nowhere else; those of the derivatives are read back without loss.

Readers take model, layer and statistic from a map's JSON file, not from its name: a ``desc`` value is
alphanumeric, so ``banfeedforwardT2T3`` cannot be split for certain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ban_bids.errors import UsageError

_ORDER = (
    ("sub", "participant"),
    ("ses", "session"),
    ("task", "task"),
    ("space", "space"),
    ("res", "res"),
    ("desc", "desc"),
    ("stat", "stat"),
)
_FIELD_OF = dict(_ORDER)
_BEFORE_OTHERS = ("sub", "ses", "task")
_LABEL = re.compile(r"[0-9a-zA-Z]+")
_PLUS_LABEL = re.compile(r"[0-9a-zA-Z+]+")
_ANY_NAME = re.compile(rf"(?:[0-9a-zA-Z]+-{_PLUS_LABEL.pattern}_)*[0-9a-zA-Z]+\.[^/]+")
_GROUP = "group"

LONG_NAMES = {
    "ses": "session", "task": "task", "acq": "acquisition", "ce": "ceagent", "rec": "reconstruction",
    "dir": "direction", "run": "run", "echo": "echo", "part": "part", "chunk": "chunk", "proc": "proc",
    "recording": "recording", "space": "space", "inv": "inv", "mt": "mt", "flip": "flip",
}  # fmt: skip
"""Names by which filter files, as pybids, know the entities of images."""


@dataclass(frozen=True)
class DerivativeName:
    """The parts of one derivative's file name.

    Parameters
    ----------
    suffix : str
        Last part before the extension: ``statmap``, ``dseg``, ``bas``, ...
    extension : str
        With its dot: ``.nii.gz``, ``.tsv``, ``.json``.
    participant, session, task, space, res, desc, stat : str, optional
        Entity labels of letters, digits and plus signs. Without a participant the name is the group's.
    others : tuple of (str, str)
        Entities between the task and the space, in order: those that only the raw file has (``acq``, ``run``), and
        ``from``, ``to`` and ``mode`` of a transform.
    """

    suffix: str
    extension: str
    participant: str | None = None
    session: str | None = None
    task: str | None = None
    space: str | None = None
    res: str | None = None
    desc: str | None = None
    stat: str | None = None
    others: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, entities: Iterable[tuple[str, str]], suffix: str, extension: str, **labels: str) -> DerivativeName:
        """Name of what is made from a raw file: it keeps that file's entities.

        Parameters
        ----------
        entities : iterable of (str, str)
            Of the raw file, and others that have no field of their own.
        suffix : str
            Empty for pictures, which have none.
        extension : str
            With its dot.
        **labels : str
            Of the derivative itself: ``space``, ``desc``.
        """
        pairs = tuple(entities)
        fields = {_FIELD_OF[key]: label for key, label in pairs if key in _FIELD_OF}
        others = tuple((key, label) for key, label in pairs if key not in _FIELD_OF)
        return cls(suffix, extension, others=others, **fields, **labels)

    def __post_init__(self) -> None:
        for entity, value in self._labels():
            if not _PLUS_LABEL.fullmatch(value):  # BIDS 1.11 allows plus signs
                raise UsageError(f"{entity}-{value} cannot stand in a file name: use letters, digits and + only")

    def _labels(self) -> list[tuple[str, str]]:
        return [(entity, value) for entity, field in _ORDER if (value := getattr(self, field)) is not None]

    def __str__(self) -> str:
        labels = self._labels()
        n_first = sum(entity in _BEFORE_OTHERS for entity, _ in labels)
        pairs = [*labels[:n_first], *self.others, *labels[n_first:]]
        group = [_GROUP] if self.participant is None else []
        return "_".join([*group, *map("-".join, pairs), *filter(None, [self.suffix])]) + self.extension

    def path(self, root: Path, datatype: str = "func") -> Path:
        """Where the file lies in the derivatives folder.

        Parameters
        ----------
        root : Path
            The derivatives folder (``OUTPUT_DIR``).
        datatype : str
            ``func`` or ``anat``; unused for the group's files, which lie in ``root`` itself.

        Returns
        -------
        Path
        """
        if self.participant is None:
            return root / str(self)
        folder = root / f"sub-{self.participant}"
        if self.session is not None:
            folder /= f"ses-{self.session}"
        return folder / datatype / str(self)


def parse_name(name: str | Path) -> DerivativeName:
    """Read a file name that :class:`DerivativeName` built.

    Parameters
    ----------
    name : str or Path
        File name; folders before it are ignored.

    Returns
    -------
    DerivativeName
        ``str(parse_name(x)) == x`` for every built name.

    Raises
    ------
    UsageError
        The name has an entity that ban-bids does not write, or has none at all.
    """
    base = Path(name).name
    stem, dot, extension = base.partition(".")
    *entities, suffix = stem.split("_")
    fields: dict[str, str] = {}
    for position, part in enumerate(entities):
        if part == _GROUP and position == 0:
            continue
        key, dash, value = part.partition("-")
        if not dash or key not in _FIELD_OF or _FIELD_OF[key] in fields:
            raise UsageError(f"{base}: '{part}' is no part of a ban-bids file name")
        fields[_FIELD_OF[key]] = value
    if not entities and suffix != _GROUP:
        raise UsageError(f"{base}: not the name of a ban-bids derivative")
    return DerivativeName(suffix, dot + extension, others=(), **fields)


def entities(path: Path) -> tuple[tuple[str, str], ...]:
    """Entities of any BIDS file name in order, short keys and labels as spelled."""
    return _entities(path.name)


@lru_cache(maxsize=4096)  # a run's name is taken apart a dozen times
def _entities(name: str) -> tuple[tuple[str, str], ...]:
    parts = (part.partition("-") for part in name.partition(".")[0].split("_"))
    return tuple((key, label) for key, dash, label in parts if dash)


def entity(path: Path, key: str) -> str | None:
    """Label of one entity of a BIDS file name (``entity(path, "ses")``); None where it has none."""
    return dict(entities(path)).get(key)


def file_suffix(path: Path) -> str:
    """Suffix of any BIDS file name (``bold``)."""
    return path.name.partition(".")[0].rpartition("_")[2]


def is_bids_name(name: str) -> bool:
    """Whether a file's name is entities (``key-label``, each once), a suffix and an extension, and nothing else."""
    keys = [part.partition("-")[0] for part in name.split("_")[:-1]]
    return _ANY_NAME.fullmatch(name) is not None and len(set(keys)) == len(keys)


def task_label(text: str) -> str:
    """Keep what may stand in a raw file's label: letters, digits and plus signs (``music+speech``).

    Raises
    ------
    UsageError
        Nothing is left.
    """
    kept = "".join(_PLUS_LABEL.findall(text))
    if not kept:
        raise UsageError(f"'{text}' has no letter or digit to name a file by: give the task another name")
    return kept


def alphanumeric(text: str) -> str:
    """Keep the ASCII letters and digits of a name that is ban-bids' own (a model's, a layer's).

    Parameters
    ----------
    text : str
        For instance a model's name, ``ban-feedforward``.

    Returns
    -------
    str
        ``banfeedforward``.

    Raises
    ------
    UsageError
        Nothing is left.
    """
    kept = "".join(_LABEL.findall(text))
    if not kept:
        raise UsageError(f"'{text}' has no letter or digit to name a file by: give the model another name")
    return kept


def map_name(
    participant: str | None,
    *,
    stat: str,
    space: str,
    task: str | None = None,
    model: str | None = None,
    layer: str | None = None,
    res: str | None = None,
) -> DerivativeName:
    """Name of a statistical map.

    Parameters
    ----------
    participant : str or None
        Label without ``sub-``; None for a group map.
    stat : str
        ``r``, ``rsquare``, ``ccnorm``, ``p``, ``q``, ``share``, ``unique``, ``ev``, ``ccmax``, or
        ``mean``, ``t`` at the group level.
    space : str
        Template space.
    task : str, optional
        Held-out task; group maps have none.
    model, layer : str, optional
        Both or neither; maps that belong to no model (``ev``, ``ccmax``) have no ``desc-``.
    res : str, optional
        Voxel size.

    Returns
    -------
    DerivativeName
    """
    if (model is None) != (layer is None):
        raise UsageError("a map's name needs both model and layer, or neither")
    desc = alphanumeric(model) + alphanumeric(layer) if model is not None and layer is not None else None
    return DerivativeName(
        suffix="statmap",
        extension=".nii.gz",
        participant=participant,
        task=task_label(task) if task else None,
        space=space,
        res=res,
        desc=desc,
        stat=stat,
    )


def bas_name(participant: str, task: str, model: str) -> DerivativeName:
    """Name of a participant's score table, ``sub-01_task-T_desc-ban_bas.tsv``."""
    return DerivativeName("bas", ".tsv", participant, task=task_label(task), desc=alphanumeric(model))


def draws_name(participant: str, task: str, model: str) -> DerivativeName:
    """Name of what paired comparisons need of a model, ``sub-01_task-T_desc-ban_draws.npz``."""
    return DerivativeName("draws", ".npz", participant, task=task_label(task), desc=alphanumeric(model))


def confusion_name(participant: str, task: str, model: str) -> DerivativeName:
    """Name of what people and a model answered to each genre, ``sub-01_task-T_desc-ban_confusion.tsv``."""
    return DerivativeName("confusion", ".tsv", participant, task=task_label(task), desc=alphanumeric(model))


def comparison_name(participant: str, task: str) -> DerivativeName:
    """Name of a participant's comparison of models, ``sub-01_task-T_comparison.tsv``."""
    return DerivativeName("comparison", ".tsv", participant, task=task_label(task))


def region_name(participant: str, space: str) -> DerivativeName:
    """Name of the image of auditory regions, ``sub-01_space-S_desc-auditory_dseg.nii.gz``."""
    return DerivativeName("dseg", ".nii.gz", participant, space=space, desc="auditory")


def sidecar(path: Path, extension: str = ".json") -> Path:
    """The file of the same name with another extension, whatever dots the first one has.

    Parameters
    ----------
    path : Path
        ``…_statmap.nii.gz`` or ``…_bas.tsv``.
    extension : str
        With its dot.

    Returns
    -------
    Path
    """
    return path.with_name(path.name.partition(".")[0] + extension)
