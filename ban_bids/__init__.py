"""ban-bids: how brain-like is an auditory network, measured on people listening to music?"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ban_bids.app.score import score as score
    from ban_bids.derivatives.read import load_derivatives as load_derivatives
    from ban_bids.models.ban import BAN as BAN

__version__ = version("ban-bids")
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
