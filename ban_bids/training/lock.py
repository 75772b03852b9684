"""Train once for all processes that share an output, and reuse what fits."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from ban_bids.errors import CheckpointError
from ban_bids.files.locks import file_lock
from ban_bids.models.checkpoint import load_tensors
from ban_bids.training.datasets import read_collection
from ban_bids.training.resume import training_fingerprint
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.train import train_collection

_LOG = logging.getLogger(__name__)


def train_once(
    data_dir: Path,
    out: Path,
    exclude: Iterable[Path] = (),
    settings: TrainingSettings | None = None,
    *,
    nthreads: int = 1,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Train a network unless ``out`` already holds the result of the same data, exclusions and settings.

    A file lock beside ``out`` makes concurrent processes wait for the one that trains. The lock goes with the
    process that holds it, so a killed training blocks nobody.

    Parameters
    ----------
    data_dir, out, exclude
        As for :func:`ban_bids.training.train.train_model`.
    settings : TrainingSettings, optional
    nthreads, device, progress
        As for :func:`ban_bids.training.train.train_model`; they do not enter the comparison.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    DataError, UsageError
        As :func:`ban_bids.training.train.train_model`, and when the lock file cannot be written.
    """
    settings = TrainingSettings() if settings is None else settings
    out = Path(out)
    with file_lock(out.with_name(f".{out.name}.lock")):
        collection = read_collection(data_dir, exclude)
        wanted = training_fingerprint(collection, settings)
        found = _stored_fingerprint(out)
        if found == wanted:
            _LOG.info("%s: trained before on the same tracks with the same settings; used again", out)
            return out
        if found is not None:
            _LOG.warning("%s: trained on other tracks or with other settings; trained anew", out)
        return train_collection(
            collection, out, settings, nthreads=nthreads, device=device, progress=progress,
            extra={"fingerprint": wanted},
        )  # fmt: skip


def _stored_fingerprint(out: Path) -> str | None:
    """Fingerprint on the card of an earlier checkpoint; "" where there is one without it."""
    if not out.exists():
        return None
    try:
        *_, card = load_tensors(out)
    except CheckpointError as err:
        _LOG.warning("%s; trained anew", err)
        return ""
    return "" if card is None else str(card.settings.get("fingerprint", ""))
