"""ban-bids: how brain-like is an auditory network, measured on people listening to music?"""

from __future__ import annotations

import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ban_bids.app.score import score as score
    from ban_bids.derivatives.read import load_derivatives as load_derivatives
    from ban_bids.models.ban import BAN as BAN


def _version(project: Path) -> str:
    """Version of the checkout that holds this file, whatever was installed from it before; else of the installation."""
    if project.is_file():
        about = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {})
        if about.get("name") == "ban-bids":
            return str(about["version"])
    return version("ban-bids")


__version__ = _version(Path(__file__).parents[1] / "pyproject.toml")
__all__ = ["BAN", "__version__", "load_derivatives", "score"]

_LAZY = {
    "BAN": "ban_bids.models.ban",
    "load_derivatives": "ban_bids.derivatives.read",
    "score": "ban_bids.app.score",
}


def __getattr__(name: str) -> Any:
    # torch and nilearn take seconds to import; `ban-bids --help` must not wait for them
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'ban_bids' has no attribute {name!r}")
