"""Features from files, one per clip: ``features:FOLDER``."""

from __future__ import annotations

from pathlib import Path

from ban_bids.errors import UsageError
from ban_bids.models.candidate import Candidate


def load_stored(name: str, weights: Path | None, device: str, seed: int) -> Candidate:
    """Load ``features:FOLDER``; parameters as `ban_bids.models.registry.load_model`."""
    raise UsageError(f"--model {name}: not there yet")
