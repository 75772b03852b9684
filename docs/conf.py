"""Sphinx: Markdown pages by MyST, API pages from the numpydoc docstrings of every room.

python -m sphinx -W --keep-going docs docs/_build/html
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any, get_origin

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from ban_bids import __version__

project = "ban-bids"
author = "The ban-bids developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"ban-bids {release}"
html_show_copyright = False

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types, with shapes and units
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

_API = "api"
_NO_PAGE = {"ban_bids.__main__"}


def modules_of(room: str) -> list[str]:
    """Names of a room and of all modules in it, the room first."""
    package = import_module(room)
    inside = pkgutil.walk_packages(package.__path__, f"{room}.") if hasattr(package, "__path__") else ()
    return [room, *sorted(module.name for module in inside if module.name not in _NO_PAGE)]


def rooms() -> list[str]:
    """Rooms and modules directly below the package."""
    package = import_module("ban_bids")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__, "ban_bids.") if m.name not in _NO_PAGE)


def write_api_pages(app: Sphinx) -> None:
    """Write a page per room, which autodoc fills; they are made anew by every build."""
    folder = Path(app.srcdir) / _API
    folder.mkdir(exist_ok=True)
    for room in rooms():
        lines = [f"# {room}", ""]
        for module in modules_of(room):
            lines += [f"## {module}", ""] if module != room else []
            lines += ["```{eval-rst}", f".. automodule:: {module}", "   :members:", "   :show-inheritance:", "```", ""]
        page, text = folder / f"{room.removeprefix('ban_bids.')}.md", "\n".join(lines)
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def refuse_dangling(app: Sphinx, env: BuildEnvironment, node: pending_xref, contents: nodes.Element) -> None:
    """Warn of a reference to a name that is not there; Sphinx alone passes over it."""
    target = str(node.get("reftarget", ""))
    private = any(part.startswith("_") for part in target.split("."))
    ours = target.startswith("ban_bids") or (node.get("reftype") == "obj" and "." not in target)
    if node.get("refdomain") == "py" and ours and not private:
        logging.getLogger(__name__).warning("no such name: %s", target, location=node)


def skip_member(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out what autodoc cannot show.

    Aliases of types (``Chord = tuple[…]``) have no signature that it could format; ``set_fit_request`` and its like are
    put on every estimator by scikit-learn, with references to its own pages.
    """
    alias = get_origin(obj) is not None
    return True if alias or (name.startswith("set_") and name.endswith("_request")) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect what is ours."""
    app.connect("builder-inited", write_api_pages)
    app.connect("missing-reference", refuse_dangling)
    app.connect("autodoc-skip-member", skip_member)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
