"""YAML files, read with one message whatever is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ban_bids.errors import DataError
from ban_bids.files.reading import check_content, read_bytes, text_of

_LARGEST = 2**16
# texts under the tags of other types end in whatever their constructors raise
_FAULTS = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)


class _Plain(yaml.SafeLoader):
    """Without aliases: few bytes of them stand for more than any memory holds, or for something inside itself."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*name); write out what it stands for")
        return super().compose_node(parent, index)


def read_yaml(path: Path, *, remedy: str = "correct the file") -> Any:
    """Read a YAML file, which may as well be one of JSON.

    Parameters
    ----------
    path : Path
        UTF-8 or UTF-16.
    remedy : str
        End of the message where it cannot be read.

    Returns
    -------
    object
        Of Python's plain types only.

    Raises
    ------
    DataError
        It is missing, no ordinary file, larger than 64 KiB, damaged, nested too deep, or has aliases.
    """
    text = text_of(read_bytes(path, _LARGEST, remedy=remedy), path)
    try:
        content = yaml.load(text, Loader=_Plain)  # noqa: S506  a SafeLoader
        check_content(content)
    except _FAULTS as error:
        raise DataError(f"{path}: not readable YAML ({' '.join(str(error).split())}); {remedy}") from error
    return content
