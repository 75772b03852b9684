#!/usr/bin/env python3
"""The section on the weights that come with the package, renewed from their card.

    python tools/shipped_card.py [--check | --write]

What the card in ``ban_bids/models/weights/ban.safetensors`` says goes into ``docs/models.md`` between its markers.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from ban_bids.constants import SHIPPED
from ban_bids.models.checkpoint import load_checkpoint
from ban_bids.models.network import fingerprint
from ban_bids.models.shipped import shipped_weights

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
_MARKED = re.compile(r"<!-- shipped: begin -->.*<!-- shipped: end -->", re.DOTALL)


def _by_genre(names: Iterable[str]) -> str:
    """``blues`` 00000 00002; … of GTZAN's names."""
    split = sorted(name.partition(".")[::2] for name in names)
    genres = groupby(split, key=lambda part: part[0])
    return "; ".join(f"{genre} {' '.join(number for _, number in part)}" for genre, part in genres) or "none"


def table(weights: Path) -> str:
    """What the card says, as a table.

    Parameters
    ----------
    weights : Path
        With a card.

    Returns
    -------
    str
        Markdown.
    """
    network, card = load_checkpoint(weights)
    if card is None:
        raise ValueError(f"{weights}: no card; make it by tools/train_shipped_weights.py")
    settings, content = card.settings, weights.read_bytes()
    n_weights = sum(value.numel() for value in network.parameters())
    budget = f" or {settings['max_minutes']:g} minutes" if settings["max_minutes"] else ""
    rows = {
        "file": f"`ban_bids/models/weights/{weights.name}`, {len(content) / 1e6:.2f} MB, "
        f"{n_weights} parameters in float16; SHA-256 `{hashlib.sha256(content).hexdigest()}`",
        "model": f"`{settings['preset']}`; `ModelFingerprint` `{fingerprint(network)}`",
        "classes": ", ".join(card.genres),
        "trained on": f"{len(card.training_hashes)} tracks: {_by_genre(card.training_hashes)}",
        "left out": f"{len(card.excluded)} tracks: {_by_genre(card.excluded)}",
        "validated on": f"{len(card.validation_hashes)} tracks",
        "sources": "; ".join(card.sources),
        "training": f"{card.metrics['steps']} steps, at most {settings['epochs']} epochs{budget}, seed "
        f"{settings['seed']}",
        "notes": "<br>".join(card.notes),
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(card.versions.items())),
    }
    lines = [f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def drawn(page: str, weights: Path) -> str:
    """Return the page with the table in its place."""
    block = f"<!-- shipped: begin -->\n{table(weights)}\n<!-- shipped: end -->"
    page, times = _MARKED.subn(lambda _: block, page)
    if times != 1:
        raise ValueError(f"{PAGE.name}: no markers '<!-- shipped: begin -->' and '<!-- shipped: end -->'")
    return page


def main() -> int:
    """Check or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare the page (default)")
    what.add_argument("--write", action="store_true", help="write the table into the page")
    write = parser.parse_args().write
    weights = shipped_weights(SHIPPED[0])
    assert weights is not None
    page = PAGE.read_text(encoding="utf-8")
    new = drawn(page, weights)
    if write:
        PAGE.write_text(new, encoding="utf-8")
    elif new != page:
        print(f"docs/{PAGE.name}: another table than the card gives; run python tools/shipped_card.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
