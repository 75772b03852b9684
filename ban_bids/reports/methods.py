"""The methods in words, for a report and to be pasted into a paper; the facts come from the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ban_bids import __version__
from ban_bids.derivatives.provenance import versions
from ban_bids.reports.citation import dataset_line
from ban_bids.settings import Encoding


def methods_text(facts: Mapping[str, Any], settings: Encoding) -> tuple[str, ...]:
    """Write the methods of one participant.

    Parameters
    ----------
    facts : mapping of str to value
        What happened; ``templates/methods.txt`` uses

        - ``model``, ``genre_split``: name of the model, and data and split that it was trained on, if known
        - ``regions``, ``acknowledgement``: where the regions come from, and what the terms of their data want said
        - ``held_out_rule``: the sentence of the held-out plan
        - ``n_runs``, ``n_held_out_runs``, ``n_folds``: runs, those with held-out volumes, and outer folds
        - ``n_repeats``: of each held-out clip; 1 or 0: no noise ceiling
        - ``n_voxels``: voxels that were predicted from each layer; from the fewest to the most where layers differ
        - ``dimensions``, ``confounds_sentence``, ``permutations``, ``behavior``: a sentence each; ``behavior`` is said
          of the model
        - those of ``ran`` of :class:`ban_bids.derivatives.summaries.ParticipantSummary` and
          :class:`ban_bids.derivatives.summaries.ModelSummary`.
    settings : Encoding
        What was asked for.

    Returns
    -------
    tuple of str
        Paragraphs of plain text; the first is the statement that this is a reconstruction. What is said of the model
        alone has a paragraph of its own, so that those of several models share the others.

    Raises
    ------
    jinja2.UndefinedError
        A fact is missing.
    """
    # plain text, escaped later by the page that shows it
    environment = Environment(loader=PackageLoader("ban_bids.reports"), autoescape=False, undefined=StrictUndefined)
    known = {"facts": facts, "dataset": dataset_line(facts["dataset"]), "settings": settings}
    text = environment.get_template("methods.txt").render(known, version=__version__, versions=versions())
    return tuple(" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip())
