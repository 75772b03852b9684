"""Text that others chose (labels, names of files), shown so that it does nothing to a terminal, a log or a page."""

from __future__ import annotations

import logging
import re
from typing import Any

_ACTIVE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f"  # control characters but for tab and line end: escape sequences begin with one
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"  # what turns the direction of writing, other line ends
    "\ud800-\udfff\U000e0000-\U000e007f]"  # half letters (names that are no UTF-8), invisible tags
)


def shown(text: object) -> str:
    r"""Text with everything that is not seen but does something written as an escape (``\x1b``, ``\u202e``).

    Parameters
    ----------
    text : object
        Its text is taken.

    Returns
    -------
    str
        Letters of all scripts, tabs and line ends stay.
    """
    return _ACTIVE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text))


def one_line(text: object) -> str:
    """:func:`shown`, line ends as escapes too: what is one message cannot look like several."""
    return shown(text).replace("\n", "\\n")


class LogFormatter(logging.Formatter):
    """A log's lines by :func:`shown`; further lines of a message are indented, so that none looks like another's."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Format a record whose message is put together."""
        record.message = shown(record.message).replace("\n", "\n    ")
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Format a traceback."""
        return shown(super().formatException(ei))


def without_formulas(figure: Any) -> Any:
    """A figure of matplotlib whose texts are shown as they are: a dollar sign in a label begins no formula."""
    for artist in figure.findobj(lambda artist: hasattr(artist, "set_parse_math")):
        artist.set_parse_math(False)
    return figure
