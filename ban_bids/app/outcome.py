"""How a call ended: one line per participant and model, for the closing table and the exit status."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ban_bids.constants import NOT_AVAILABLE, OUT_OF_MEMORY
from ban_bids.errors import BanBidsError
from ban_bids.files.atomic import write_text
from ban_bids.files.shown import one_line
from ban_bids.reports.models import interval

_LOG = logging.getLogger(__name__)
_ALLOCATION = (
    "DefaultCPUAllocator",
    "OutOfMemoryError",
    "bad_alloc",
    "Cannot allocate memory",
    "can't start new thread",
)
"""In what libraries say where memory runs out and they raise another error."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """How one participant, or one model in it, ended.

    Parameters
    ----------
    participant : str
        Without ``sub-``.
    model : str or None
        None where the participant failed before any model.
    table : DataFrame or None
        Score table of a finished model.
    report : Path or None
    failure : str or None
        Why it failed.
    """

    participant: str
    model: str | None = None
    table: pd.DataFrame | None = None
    report: Path | None = None
    failure: str | None = None


@contextmanager
def failure_logged(logs: Path, label: str, stop: bool) -> Iterator[list[str]]:
    """Turn an exception into one line, its traceback into ``<logs>/<label>_crash.txt``.

    Parameters
    ----------
    logs : Path
        Folder of the logs.
    label : str
        ``sub-01``, or a model's in it.
    stop : bool
        Let the exception through (``--stop-on-first-crash``).

    Yields
    ------
    list of str
        Empty; holds the reason after an exception.
    """
    reason: list[str] = []
    try:
        yield reason
    except (
        BanBidsError, OSError, ValueError, RuntimeError, ArithmeticError, LookupError, MemoryError
    ) as error:  # fmt: skip
        if stop:
            raise
        crash = logs / f"{label}_crash.txt"
        where = f"see {crash}"
        try:
            write_text(crash, traceback.format_exc())
        except (BanBidsError, OSError) as hindrance:  # a full disk stops neither the others nor the table
            where = f"its traceback cannot be kept: {hindrance}"
            _LOG.debug("%s", traceback.format_exc())
        reason.append(_reason(error, where))
        _LOG.error("%s failed: %s", label, reason[0])


def _reason(error: Exception, where: str) -> str:
    """Why somebody failed, in one line, and where more is told."""
    if isinstance(error, BanBidsError):
        return str(error)
    text = one_line(f"{type(error).__name__}: {error}")
    if isinstance(error, MemoryError) or any(words in text for words in _ALLOCATION):
        return f"out of memory ({text}); {OUT_OF_MEMORY} ({where})"
    return f"{text} ({where})"


def show_table(outcomes: Sequence[Outcome]) -> None:
    """Print the closing table: participant, model, status, C, B, BAS, report.

    Parameters
    ----------
    outcomes : sequence of Outcome
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title="ban-bids", title_justify="left")
    for column in ("participant", "model", "status", "C", "B", "BAS"):
        table.add_column(column, no_wrap=column != "status")
    table.add_column("report, or why it failed", overflow="fold")
    for outcome in outcomes:
        done = outcome.failure is None
        scores = [_score(outcome.table, name) for name in ("C", "B", "BAS")]
        where = str(outcome.report) if done else str(outcome.failure)
        status = "done" if done else "failed"
        table.add_row(f"sub-{outcome.participant}", one_line(outcome.model or ""), status, *scores, one_line(where))
    # wide enough for a path where nobody looks at a terminal
    width = None if sys.stdout.isatty() else 160
    Console(file=sys.stdout, width=width, markup=False, emoji=False).print(table)


def _score(table: pd.DataFrame | None, name: str) -> str:
    if table is None:
        return NOT_AVAILABLE
    rows = table[(table["row"] == name) & (table["role"] == "scored")]
    return NOT_AVAILABLE if rows.empty else interval(*rows[["value", "ci_low", "ci_high"]].iloc[0])
