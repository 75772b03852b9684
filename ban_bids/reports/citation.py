"""``logs/CITATION.md``: what to cite of all that ran in a derivatives folder, from its summaries and versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ban_bids import __version__
from ban_bids.derivatives.summaries import ModelSummary, all_summaries, log_label
from ban_bids.files.atomic import write_text
from ban_bids.files.json import read_json
from ban_bids.files.shown import one_line

CITATION = "logs/CITATION.md"


def write_citation(root: Path) -> Path:
    """Write ``logs/CITATION.md``: software with versions, data, and models that made what is in the folder.

    What did not run is not named: of fMRIPrep's derivatives neither ANTs nor N4, of the closed form no himalaya.

    Parameters
    ----------
    root : Path
        The derivatives folder.

    Returns
    -------
    Path
    """
    people, models = all_summaries(root)
    ran = [person.ran for person in people if person.ran]
    scored = [model.ran for model in models if model.ran]
    sources = _each(str(one["preprocessed_by"]) for one in ran)
    facts = {
        "version": __version__,
        "versions": _versions(root, models),
        "sources": sources,
        "own": "ban-bids" in sources,
        "fmriprep": [source.removeprefix("fmriprep-") for source in sources if source.startswith("fmriprep")],
        "nilearn_confounds": any(one["confounds"] != "motion12" for one in ran),
        "template": any(one["space"] == "MNI152NLin2009cAsym" for one in ran),
        "atlases": _each(line for one in ran for line in one["atlas_references"]),
        "datasets": _each(dataset_line(one["dataset"]) for one in ran),
        "solvers": {str(one["solver"]) for one in scored},
        **{name: any(one[name] for one in scored) for name in ("joint", "ceiling", "behavior", "trained")},
        "models": _of_models(models),
    }
    environment = Environment(
        loader=PackageLoader("ban_bids.reports"), autoescape=False, undefined=StrictUndefined,
        finalize=lambda value: one_line(value).replace("<", "&lt;"),  # Markdown, in which HTML would be taken as such
    )  # fmt: skip
    text = environment.get_template("citation.txt").render(**facts)
    return write_text(root / CITATION, text.rstrip("\n") + "\n")


def dataset_line(dataset: Mapping[str, Any]) -> str:
    """Authors, name and DOI of a dataset, as far as its description has them."""
    authors, doi = ", ".join(dataset["authors"]), str(dataset["doi"] or "").removeprefix("doi:")
    parts = (f"{authors}." if authors else "", f"{dataset['name']}.", f"doi:{doi}" if doi else "(it states no DOI)")
    return " ".join(filter(None, parts))


def _versions(root: Path, models: Iterable[ModelSummary]) -> dict[str, str]:
    """Package -> its version in the calls that scored the models; several where calls differ."""
    found: dict[str, list[str]] = {}
    for model in models:
        path = root / "logs" / f"{log_label(model.participant, model.task, model.model)}_versions.json"
        for name, version in read_json(path).items():
            found.setdefault(name, []).append(str(version))
    return {name: " and ".join(_each(versions)) for name, versions in found.items()}


def _of_models(models: Iterable[ModelSummary]) -> dict[str, Sequence[str]]:
    """Reference -> models that it describes."""
    found: dict[str, list[str]] = {}
    for model in models:
        for reference in model.ran.get("references", ()):
            found.setdefault(str(reference), []).append(model.model)
    return {reference: _each(names) for reference, names in found.items()}


def _each(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
