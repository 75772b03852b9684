"""What people heard in the scanner, from events and sounds alone: images need not be there."""

from __future__ import annotations

from pathlib import Path

from ban_bids.bids.metadata import Companions
from ban_bids.errors import DataError
from ban_bids.inputs.events import read_table
from ban_bids.inputs.hearing import Hearing, run_identity, run_orders
from ban_bids.inputs.runs import mark_lead_ins
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.types import HeardRun

_OWN = ("func/*_events.tsv", "func/*_bold.json", "func/*_bold.nii", "func/*_bold.nii.gz")
_SHARED = ("*_events.tsv", "*_bold.json")


def heard_runs(label: str, bids_dir: Path, stimuli: Stimuli) -> tuple[HeardRun, ...]:
    """One participant's runs in which clips were played.

    Parameters
    ----------
    label : str
        Without ``sub-``.
    bids_dir : Path
        The dataset.
    stimuli : Stimuli

    Returns
    -------
    tuple of HeardRun
        Lead-ins are marked; images are named, whether they are there or not.

    Raises
    ------
    DataError
        Events or sounds cannot be used.
    """
    own = [bids_dir / f"sub-{label}", *sorted(bids_dir.glob(f"sub-{label}/ses-*"))]
    found = [path for pattern in _OWN for folder in own for path in folder.glob(pattern)]
    shared = [path for pattern in _SHARED for folder in (bids_dir, *own) for path in folder.glob(pattern)]
    texts = [path for path in (*found, *shared) if path.suffix in (".tsv", ".json") and path.stat().st_size > 0]
    images = {run_identity(path): path for path in found if path.name.endswith((".nii", ".nii.gz"))}
    for events in (path for path in texts if path.suffix == ".tsv" and path not in shared):
        images.setdefault(run_identity(events), events.with_name(events.name.replace("_events.tsv", "_bold.nii.gz")))
    orders, _ = run_orders(images.values())
    heard = Hearing(Companions.of(texts), stimuli, read_table, orders).of(images.values())
    if heard.unfit:
        raise DataError(heard.unfit[0][1])
    return mark_lead_ins(heard.runs, stimuli.rules.lead_in)[0]
