"""The image that is tested, ``ban-bids`` or what ``BAN_BIDS_IMAGE`` names, and what it may and may not do.

These tests need a Docker engine and the image, nothing of ban-bids' own environment. Where somebody named an image,
its absence is a failure; elsewhere it is a reason to skip.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from docker_engine import CONFINED, docker

Run = Callable[..., str]
"""Runs a program in the image and returns what it printed."""

_DATASET = """
from operator import attrgetter
from pathlib import Path
from ban_bids.demo.build import make_demo
from ban_bids.demo.plan import SIZES

# no network is trained: the checkpoint's name is enough to go on
make_demo(Path("/made"), SIZES["small"], 1, 0, 2, train=attrgetter("out"))
"""


@pytest.fixture(scope="session")
def image() -> str:
    """Name of the image; skips where there is no engine or no image, unless somebody named one."""
    named = os.environ.get("BAN_BIDS_IMAGE")
    name, give_up = named or "ban-bids", pytest.fail if named else pytest.skip
    try:
        asked = subprocess.run(["docker", "image", "inspect", name], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        give_up("docker is not installed")
    if asked.returncode:
        give_up(f"no image {name} here: {asked.stderr.strip().splitlines()[-1]}")
    return name


@pytest.fixture(scope="session")
def inside(image: str) -> Run:
    """A program of the image, confined as much as can be: `inside("python", "-c", ...)`."""
    return lambda program, *arguments: docker("run", "--rm", *CONFINED, "--entrypoint", program, image, *arguments)


@pytest.fixture(scope="session")
def folders(image: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What README's lines find under ``/data``: a phantom dataset, its training tracks, folders to write into."""
    root = tmp_path_factory.mktemp("container")
    places = {"ds003720": root / "made" / "bids", "gtzan": root / "made" / "genres"}
    places |= {name: root / name for name in ("out", "demo")}
    for folder in (root / "made", places["out"], places["demo"]):
        folder.mkdir()
        folder.chmod(0o777)  # the container's user is another than ours
    mount = f"{root / 'made'}:/made"
    docker("run", "--rm", *CONFINED, "-v", mount, "-w", "/made", "--entrypoint", "python", image, "-c", _DATASET)
    return places
