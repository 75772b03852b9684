"""Weights that come with the package, so that a first call needs no other data than its own.

``tools/train_shipped_weights.py`` makes them; ``docs/models.md`` shows their card.
"""

from __future__ import annotations

from pathlib import Path

from ban_bids.constants import SHIPPED

FOLDER = Path(__file__).with_name("weights")
"""Holds ``<model>.safetensors`` of every model in :data:`ban_bids.constants.SHIPPED`."""


def shipped_weights(name: str) -> Path | None:
    """Weights file of a model, as it is called by ``--model``; None for models whose weights do not ship."""
    return FOLDER / f"{name}.safetensors" if name in SHIPPED else None
