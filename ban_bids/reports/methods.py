"""The methods in words, for a report and to be pasted into a paper; the facts come from the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ban_bids import __version__
from ban_bids.settings import Encoding


def methods_text(facts: Mapping[str, Any], settings: Encoding) -> tuple[str, ...]:
    """Write the methods of one participant.

    Parameters
    ----------
    facts : mapping of str to value
        What happened; ``templates/methods.txt`` uses

        - ``model``, ``genre_split``: name of the model, and data and split that it was trained on, if known
        - ``preprocessing``: where the preprocessed images come from, ``ban-bids`` or ``fMRIPrep 23.2.1``
        - ``space``, ``n_voxels``: template space of the output, and voxels that were predicted
        - ``regions``, ``acknowledgement``: where the regions come from, and what the terms of their data want said
        - ``held_out_rule``: the sentence of the held-out plan
        - ``n_runs``, ``n_held_out_runs``, ``n_folds``: runs, those with held-out volumes, and outer folds
        - ``n_repeats``: of each held-out clip; 1 or 0: no noise ceiling
        - ``dimensions``, ``confounds``, ``permutations``, ``behavior``: a sentence each.
    settings : Encoding
        What was asked for; ``solver`` says whether himalaya is named.

    Returns
    -------
    tuple of str
        Paragraphs of plain text; the first is the statement that this is a reconstruction.

    Raises
    ------
    jinja2.UndefinedError
        A fact is missing.
    """
    # plain text, escaped later by the page that shows it
    environment = Environment(loader=PackageLoader("ban_bids.reports"), autoescape=False, undefined=StrictUndefined)
    text = environment.get_template("methods.txt").render(facts=facts, settings=settings, version=__version__)
    return tuple(" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip())
