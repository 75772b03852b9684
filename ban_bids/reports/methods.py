"""The methods in words, for a report and to be pasted into a paper; the facts come from the run."""

from __future__ import annotations

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from ban_bids import __version__
from ban_bids.constants import ATLASES
from ban_bids.preprocessing.atlases import atlas_of
from ban_bids.settings import Encoding


@dataclass(frozen=True)
class MethodsFacts:
    """What the text needs to know of one run.

    Parameters
    ----------
    model : str
        Name of the model.
    preprocessing : str
        Where the preprocessed images come from: ``ban-bids`` or ``fMRIPrep 23.2.1``.
    space : str
        Template space of the output.
    held_out_rule : str
        The sentence of the held-out plan.
    n_training_runs, n_held_out_runs : int
        Numbers of runs.
    n_repeats : int
        Presentations of each held-out clip; 1 or 0: no noise ceiling.
    dimensions : str
        A sentence: how many components or features of each layer were used.
    n_voxels : int
        Voxels that were predicted.
    permutations : str
        A sentence: how many permutations p values rest on, or why there are none.
    rest : bool
        Whether held-out runs have volumes outside clips.
    behavior : str
        A sentence: where human choices come from, or why B is n/a.
    genre_split : str
        Data and split that the model was trained on, if known.
    confounds : str
        A sentence: what was regressed out beside trends and drifts, and by which strategy.
    regions : str
        Where the regions come from.
    acknowledgement : str
        What the terms of the regions' data want said.
    """

    model: str
    preprocessing: str
    space: str
    held_out_rule: str
    n_training_runs: int
    n_held_out_runs: int
    n_repeats: int
    dimensions: str
    n_voxels: int
    permutations: str
    rest: bool
    behavior: str
    genre_split: str = "unknown"
    confounds: str = ""
    regions: str = atlas_of(ATLASES[0]).regions
    acknowledgement: str = ""


def methods_text(facts: MethodsFacts, settings: Encoding) -> tuple[str, ...]:
    """Write the methods of one participant.

    Parameters
    ----------
    facts : MethodsFacts
        What happened.
    settings : Encoding
        What was asked for; ``solver`` says whether himalaya is named.

    Returns
    -------
    tuple of str
        Paragraphs of plain text; the first is the statement that this is a reconstruction.
    """
    # plain text, escaped later by the page that shows it
    environment = Environment(loader=PackageLoader("ban_bids.reports"), autoescape=False, undefined=StrictUndefined)
    text = environment.get_template("methods.txt").render(facts=facts, settings=settings, version=__version__)
    return tuple(" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip())
