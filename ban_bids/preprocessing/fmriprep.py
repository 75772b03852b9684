"""fMRIPrep's derivatives taken as they are."""

from __future__ import annotations

from pathlib import Path

from ban_bids.errors import DataError
from ban_bids.inputs.dataset import Participant
from ban_bids.preprocessing.result import PreprocessedParticipant
from ban_bids.settings import Settings


def ingest(participant: Participant, folder: Path, settings: Settings) -> PreprocessedParticipant:
    """To follow in the next commit."""
    raise DataError(f"{folder}: not read yet")
