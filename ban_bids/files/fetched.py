"""Whether a file's content is here: datalad and git-lfs leave links or pointers for what was not fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ban_bids.errors import DataError
from ban_bids.files.reading import LONGEST_POINTER, Store, link_to, opened, pointer

Absence = Store | Literal["link", "absent"]


def absence(path: Path) -> Absence | None:
    """Say how a file is missing, if it is.

    Parameters
    ----------
    path : Path
        Where it should lie.

    Returns
    -------
    {"annex", "lfs", "link", "absent"} or None
        A link or pointer of git-annex (datalad) or git-lfs without its content; another link to nowhere; nothing
        at all. None: the file is there, or what is wrong with it only reading tells (rights).
    """
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        if not path.is_symlink():
            return "absent"
        return link_to(path)
    except (OSError, ValueError):
        return None
    return _pointer(path) if size < LONGEST_POINTER else None


def _pointer(path: Path) -> Store | None:
    """Kind of pointer that a small file is, if it is one."""
    try:
        with opened(path) as stream:
            return pointer(stream.read(64))
    except DataError:
        return None
