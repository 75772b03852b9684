"""Read back what ban-bids wrote; nothing else, the raw dataset least of all, is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ban_bids.bids.names import DerivativeName, parse_name, sidecar
from ban_bids.derivatives.comparisons import COLUMNS as COMPARISON_COLUMNS
from ban_bids.derivatives.comparisons import GROUP_FILE
from ban_bids.derivatives.confusions import COLUMNS as CONFUSION_COLUMNS
from ban_bids.derivatives.draws import Draws, read_draws
from ban_bids.derivatives.filters import filtered, may_match
from ban_bids.derivatives.quality import COLUMNS
from ban_bids.errors import DataError, UsageError
from ban_bids.files.json import read_json
from ban_bids.files.tsv import read_tsv

_MAP_KEYS = {
    "model": "Model",
    "layer": "Layer",
    "stat": "Statistic",
    "n_repeats": "NumberOfRepeats",
    "model_fingerprint": "ModelFingerprint",
}
"""Columns of the table of maps that stand in their JSON files, and the keys there."""

_TABLE_KEYS = {
    "model_fingerprint": "ModelFingerprint",
    "weights": "Weights",
    "sessions": "Sessions",
    "atlas": "Atlas",
    "feature_reduction": "FeatureReduction",
    "definitions": "DefinitionsVersion",
}
"""The same for score tables."""

_MAP_COLUMNS = ["path", "participant", "task", "space", *_MAP_KEYS, "json"]
_FILE_COLUMNS = ["path", "participant", "task", "model", *_TABLE_KEYS]
_DRAW_COLUMNS = ["path", "participant", "task", "model"]
_CONFUSION_COLUMNS = ["participant", "task", "model", *CONFUSION_COLUMNS]
_SCORE_COLUMNS = ["participant", "task", "model", "control_of"]
_NUMBERS = ("value", "ci_low", "ci_high", "rho", "rho_ci_low", "rho_ci_high", "committed", "p")
_QUALITY_COLUMNS = list(COLUMNS)[:-1]


@dataclass(frozen=True)
class Regions:
    """A participant's auditory regions.

    Parameters
    ----------
    image : Path
        Integer label image; nilearn takes it as a labels image.
    table : DataFrame
        Columns ``index``, ``name``, ``abbreviation``, ``n_voxels``, ...
    """

    image: Path
    table: pd.DataFrame

    def index(self, name: str) -> int:
        """Label of a region in the image.

        Raises
        ------
        UsageError
            There is no such region, or the atlas does not have it.
        """
        table = self.table
        index = table.loc[(table["name"] == name) | (table["abbreviation"] == name), "index"]
        if index.empty:
            raise UsageError(f"region '{name}' is unknown: choose from {', '.join(table['abbreviation'])}")
        if index.isna().all():
            raise UsageError(f"region '{name}' is n/a: {table.loc[index.index[0], 'reason']}")
        return int(index.iloc[0])


@dataclass(frozen=True)
class Derivatives:
    """A folder that ban-bids wrote. Made by :func:`load_derivatives`; every call reads the files anew."""

    root: Path

    @property
    def participants(self) -> tuple[str, ...]:
        """Labels (without ``sub-``) of all participants that have a folder, sorted."""
        return tuple(sorted(p.name[4:] for p in self.root.glob("sub-*") if p.is_dir()))

    def maps(self, **filters: Any) -> pd.DataFrame:
        """Statistical maps of participants.

        Parameters
        ----------
        **filters
            Column = value or list of values, e.g. ``layer="T2T3", stat=["r", "psound"]``; None finds maps
            without the property (noise ceilings belong to no model). One participant's label is taken with or without
            ``sub-``.

        Returns
        -------
        DataFrame
            Columns ``path`` (str, as nilearn takes it), ``participant``, ``task``, ``space``,
            ``model``, ``layer``, ``stat``, ``n_repeats``, ``model_fingerprint``, ``json``.
            Model, layer, statistic come from the JSON files. Empty where nothing matches.

        Raises
        ------
        UsageError
            A filter is no column.
        DataError
            A JSON file is damaged or its image is missing.
        """
        if isinstance(label := filters.get("participant"), str):
            filters = {**filters, "participant": label.removeprefix("sub-")}
        # among the maps of 500 people only the JSON files are opened that may be asked for
        files = self._participant_files("*_statmap.json", filters.get("participant"))
        rows = [_map_row(path) for path in files if may_match(parse_name(path), filters)]
        return filtered(pd.DataFrame(rows, columns=_MAP_COLUMNS), filters)

    def group_maps(self, **filters: Any) -> pd.DataFrame:
        """Maps of the group level; see :meth:`maps`."""
        files = sorted(self.root.glob("group_*_statmap.json"))
        rows = [_map_row(path) for path in files if may_match(parse_name(path), filters)]
        columns = [column for column in _MAP_COLUMNS if column not in ("participant", "task")]
        return filtered(pd.DataFrame(rows, columns=columns), filters)

    def scores(self, participant: str | None = None, **filters: Any) -> pd.DataFrame:
        """Score tables, all participants one below the other.

        Parameters
        ----------
        participant : str, optional
            Label, with or without ``sub-``.
        **filters
            Column = value or list of values.

        Returns
        -------
        DataFrame
            ``participant``, ``task``, ``model``, ``control_of`` (the scored model beside which a control
            stands), then the columns of the tables. The JSON file beside each table defines them.

        Raises
        ------
        UsageError
            A filter is no column.
        """
        tables = [_score_table(path) for path in self._participant_files("*_bas.json", participant)]
        if not tables:  # of which nobody knows the columns
            return _joined([], [*_SCORE_COLUMNS, *(name for name in filters if name not in _SCORE_COLUMNS)])
        return filtered(_joined(tables, _SCORE_COLUMNS), filters, participant)

    def score_files(self, participant: str | None = None) -> pd.DataFrame:
        """Score tables as files.

        Parameters
        ----------
        participant : str, optional
            Label, with or without ``sub-``.

        Returns
        -------
        DataFrame
            Columns ``path``, ``participant``, ``task``, ``model``, ``model_fingerprint``, ``weights``, ``sessions``,
            ``atlas``, ``feature_reduction``, ``definitions``.
        """
        rows = []
        for path in self._participant_files("*_bas.json", participant):
            name, content = parse_name(path), read_json(path)
            row = {"path": str(sidecar(path, ".tsv")), "participant": name.participant, "task": name.task}
            row |= {"model": _model(content, name)} | {key: content.get(name) for key, name in _TABLE_KEYS.items()}
            rows.append({**row, "sessions": tuple(row["sessions"] or ())})
        return pd.DataFrame(rows, columns=_FILE_COLUMNS)

    def draw_files(self, participant: str | None = None) -> pd.DataFrame:
        """Files of what paired comparisons need.

        Parameters
        ----------
        participant : str, optional
            Label, with or without ``sub-``.

        Returns
        -------
        DataFrame
            Columns ``path``, ``participant``, ``task``, ``model``.
        """
        rows = []
        for path in self._participant_files("*_draws.json", participant):
            name, content = parse_name(path), read_json(path)
            rows.append((str(sidecar(path, ".npz")), name.participant, name.task, _model(content, name)))
        return pd.DataFrame(rows, columns=_DRAW_COLUMNS)

    def draws(self, participant: str | None = None, **filters: Any) -> tuple[Draws, ...]:
        """Per-clip statistics of every score, and the draws of B, from which models are compared in the same draws.

        Parameters
        ----------
        participant : str, optional
            Label, with or without ``sub-``.
        **filters
            ``task`` or ``model`` (the scored one; its controls are in the same file) = value or list of values.

        Returns
        -------
        tuple of Draws
            One per participant, task and scored model.

        Raises
        ------
        UsageError
            A filter is no column.
        DataError
            A file is missing, damaged or of another format.
        """
        files = filtered(self.draw_files(participant), filters, participant)
        return tuple(read_draws(Path(path)) for path in files["path"])

    def confusions(self, participant: str | None = None, **filters: Any) -> pd.DataFrame:
        """Which genres people, and each model, take for which, all participants one below the other.

        Parameters
        ----------
        participant : str, optional
            Label, with or without ``sub-``. What people answered is the dataset's: all participants' tables
            repeat it.
        **filters
            Column = value or list of values, e.g. ``model="ban"``, ``genre="jazz"``.

        Returns
        -------
        DataFrame
            ``participant``, ``task``, ``model``, then the columns of
            :data:`ban_bids.derivatives.confusions.COLUMNS`: a row per model, genre and answer.

        Raises
        ------
        UsageError
            A filter is no column.
        """
        tables = []
        for path in self._participant_files("*_confusion.json", participant):
            name, content = parse_name(path), read_json(path)
            table = read_tsv(sidecar(path, ".tsv"))
            known = (name.participant, name.task, _model(content, name))
            for position, (column, value) in enumerate(zip(_CONFUSION_COLUMNS, known, strict=False)):
                table.insert(position, column, value)
            tables.append(table)
        return filtered(_joined(tables, _CONFUSION_COLUMNS), filters, participant)

    def comparisons(self, participant: str | None = None, **filters: Any) -> pd.DataFrame:
        """Paired differences and ranks of the models of each participant, one participant below the other.

        Parameters
        ----------
        participant : str, optional
            Label, with or without ``sub-``.
        **filters
            Column = value or list of values, e.g. ``kind="models"``, ``row=["C", "BAS"]``.

        Returns
        -------
        DataFrame
            Columns of :data:`ban_bids.derivatives.comparisons.COLUMNS`; empty where nothing matches.

        Raises
        ------
        UsageError
            A filter is no column.
        """
        files = self._participant_files("*_comparison.json", participant)
        tables = [read_tsv(sidecar(path, ".tsv")) for path in files]
        return filtered(_joined(tables, list(COMPARISON_COLUMNS)), filters, participant)

    def group_comparison(self) -> pd.DataFrame:
        """Paired differences and ranks of the group level, then those of its participants; columns as `comparisons`.

        Raises
        ------
        DataError
            The group level has not run.
        """
        return self._group_table(GROUP_FILE)

    def score_definitions(self, participant: str | None = None) -> dict[str, str]:
        """What each column of the score tables (of one participant) means, from their JSON files."""
        return _definitions(self._participant_files("*_bas.json", participant))

    def group_definitions(self) -> dict[str, str]:
        """What each column of the group's score table means."""
        return _definitions([self.root / "group_bas.json"])

    def regions(self, participant: str, space: str | None = None) -> Regions:
        """Auditory regions of one participant.

        Parameters
        ----------
        participant : str
            Label, with or without ``sub-``.
        space : str, optional
            Needed where there are several.

        Returns
        -------
        Regions

        Raises
        ------
        DataError
            There is no image of regions, or several.
        """
        label = participant.removeprefix("sub-")
        tables = [
            path
            for path in self._participant_files("*_desc-auditory_dseg.tsv", label)
            if space in (None, parse_name(path).space)
        ]
        if len(tables) != 1:
            spaces = ", ".join(str(parse_name(path).space) for path in tables) or "none"
            raise DataError(
                f"{self.root}: need one image of regions of participant {label}, found spaces: {spaces}; "
                "choose one, or run the participant level"
            )
        return Regions(sidecar(tables[0], ".nii.gz"), read_tsv(tables[0]))

    def quality(self, participant: str | None = None, **filters: Any) -> pd.DataFrame:
        """Measures of quality of preprocessing, all participants one below the other.

        Parameters
        ----------
        participant : str, optional
            Label, with or without ``sub-``.
        **filters
            Column = value or list of values, e.g. ``measure="fd_mean"``, ``warning=True``.

        Returns
        -------
        DataFrame
            ``participant``, ``scope`` (run, participant, region), ``run``, ``region``, ``measure``,
            ``value``, ``unit``, ``threshold``, ``warning``, ``reason``. The JSON file beside each table
            defines the measures.

        Raises
        ------
        UsageError
            A filter is no column.
        """
        tables = []
        for folder in self._folders(participant):
            for path in sorted(folder.glob("sub-*_desc-quality_qc.tsv")):
                table = read_tsv(path)
                table.insert(0, "participant", parse_name(path).participant)
                tables.append(table)
        return filtered(_joined(tables, _QUALITY_COLUMNS), filters, participant)

    def group_quality(self) -> pd.DataFrame:
        """Measures of quality of all members of the group, with the column ``outlier`` (low, high).

        Raises
        ------
        DataError
            The group level has not run.
        """
        return self._group_table("group_quality.tsv")

    def group_scores(self) -> pd.DataFrame:
        """Score table of the group level.

        Raises
        ------
        DataError
            The group level has not run.
        """
        return self._group_table("group_bas.tsv")

    def _group_table(self, name: str) -> pd.DataFrame:
        path = self.root / name
        if not path.is_file():
            raise DataError(f"{path}: not there; run 'ban-bids BIDS_DIR {self.root} group' first")
        return read_tsv(path)

    def _participant_files(self, pattern: str, participant: Any = None) -> Iterator[Path]:
        # the pattern starts with sub-, so that files which are just being written (.tmp-…) never match
        for folder in self._folders(participant):
            yield from sorted(folder.glob(f"func/sub-{pattern}"))

    def _folders(self, participant: Any = None) -> list[Path]:
        """Folders of all participants, or of one: whoever asks for one must not read those of 999 others."""
        if isinstance(participant, str):
            label = participant.removeprefix("sub-")
            own = self.root / f"sub-{label}"
            return [own] if own.parent == self.root and own.is_dir() else []
        return sorted(folder for folder in self.root.glob("sub-*") if folder.is_dir())


def load_derivatives(output_dir: str | Path) -> Derivatives:
    """Open a folder of ban-bids derivatives.

    Parameters
    ----------
    output_dir : str or Path
        ``OUTPUT_DIR`` of the run.

    Returns
    -------
    Derivatives

    Raises
    ------
    DataError
        The folder does not exist or was not written by ban-bids.

    Examples
    --------
    >>> from ban_bids import load_derivatives
    >>> from nilearn import plotting
    >>> maps = load_derivatives("out").maps(layer="T2T3", stat="r")  # doctest: +SKIP
    >>> plotting.plot_stat_map(maps.path[0])  # doctest: +SKIP
    """
    root = Path(output_dir)
    description = root / "dataset_description.json"
    if not description.is_file():
        raise DataError(f"{root}: no dataset_description.json; give the output directory of a ban-bids run")
    made_by = read_json(description).get("GeneratedBy")
    entries = made_by if isinstance(made_by, list) else []
    if not any(isinstance(entry, dict) and entry.get("Name") == "ban-bids" for entry in entries):
        raise DataError(f"{description}: not generated by ban-bids; give the output directory of a ban-bids run")
    return Derivatives(root)


def _map_row(json_path: Path) -> dict[str, Any]:
    name, content = parse_name(json_path), read_json(json_path)
    image = sidecar(json_path, ".nii.gz")
    if not image.is_file():
        raise DataError(f"{image}: missing beside {json_path.name}; run the participant level again")
    return {
        "path": str(image),
        "participant": name.participant,
        "task": name.task,
        "space": name.space,
        **{column: content.get(key) for column, key in _MAP_KEYS.items()},
        "json": str(json_path),
    }


def _score_table(json_path: Path) -> pd.DataFrame:
    name, content = parse_name(json_path), read_json(json_path)
    table = read_tsv(sidecar(json_path, ".tsv"), numbers=_NUMBERS)
    model = _model(content, name)
    facts = {"participant": name.participant, "task": name.task, "model": model, "control_of": model}
    for position, (column, value) in enumerate(facts.items()):
        if column not in table:
            table.insert(position, column, value)
    if "role" in table:
        table["control_of"] = table["control_of"].where(table["role"] == "control")
    return table


def _model(content: dict[str, Any], name: DerivativeName) -> str | None:
    stated = content.get("Model")
    return stated if isinstance(stated, str) else name.desc


def _definitions(paths: Iterable[Path]) -> dict[str, str]:
    """Column -> its description, from the JSON files of tables."""
    facts = [item for path in paths for item in read_json(path).items()]
    return {name: text.get("Description", "") for name, text in facts if isinstance(text, dict)}


def _joined(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Tables one below the other; an empty one with these columns where there is none."""
    if not tables:
        return pd.DataFrame(columns=columns)
    # an all-missing column has no type to speak of, and says nothing on the type of the others'
    return pd.concat([table.astype(object) for table in tables], ignore_index=True).infer_objects()


def remove_stale_maps(root: Path, written: Sequence[Path], **labels: str) -> None:
    """Remove maps of a model that an earlier call wrote and this one did not, e.g. of layers that it has no more.

    Parameters
    ----------
    root : Path
        The derivatives folder.
    written : sequence of Path
        Images that stay.
    **labels : str
        ``participant``, ``task``, ``space`` and ``model``: only their maps are looked at.
    """
    for path in set(load_derivatives(root).maps(**labels)["path"]) - {str(path) for path in written}:
        sidecar(Path(path)).unlink(missing_ok=True)
        Path(path).unlink(missing_ok=True)
