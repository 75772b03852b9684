"""What the image holds, and what it does not: labels, user, lists of contents, byte code, size."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from docker_engine import CONFINED, docker

MOST_BYTES = 3_000_000_000
"""Of an image for CPUs."""
_LISTS = "/opt/ban-bids/share/doc/ban-bids"

_INSTALLED = """
from importlib.metadata import distributions
print(*sorted({f"{d.name.lower().replace('_', '-')}=={d.version}" for d in distributions()}), sep="\\n")
"""

_UNCOMPILED = """
import importlib.util, sys
from pathlib import Path
import ban_bids.cli.run, ban_bids.cli.options
ban_bids.cli.options.make_parser("1").format_help()
for module in list(sys.modules.values()):
    source = getattr(module, "__file__", None) or ""
    if source.startswith("/opt/") and source.endswith(".py"):
        code = Path(importlib.util.cache_from_source(source))
        # flags 1: the hash of the source stands for its time, and nobody looks at the source again
        if not code.is_file() or code.read_bytes()[4:8] != b"\\x01\\0\\0\\0":
            print(source)
"""

_LEFT_OVER = """
from pathlib import Path
root = Path("/opt/ban-bids/lib")
print(*(path for end in ("h", "hpp", "a", "pyx", "pxd") for path in root.rglob(f"*.{end}")), sep="\\n")
print(*(path for path in root.rglob("tests") if path.is_dir()), sep="\\n")
print(*(path for name in ("pip", "uv") for path in root.glob(f"*/site-packages/{name}")), sep="\\n")
print(*Path("/var/lib/apt/lists").glob("*_Packages"), sep="\\n")
"""


_IMPORTED = """
import importlib, pkgutil
import ban_bids
for module in pkgutil.walk_packages(ban_bids.__path__, "ban_bids."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.fixture(scope="module")
def about(image: str) -> dict[str, object]:
    """What the engine knows about the image."""
    (found,) = json.loads(docker("image", "inspect", image))
    return found


def test_labels_say_what_it_is(about: dict) -> None:
    labels = about["Config"]["Labels"]
    names = ("title", "description", "version", "revision", "source", "created", "licenses")
    assert all(labels.get(f"org.opencontainers.image.{name}") for name in names), labels
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_nobody_is_root_by_default(about: dict, image: str) -> None:
    assert about["Config"]["User"] not in ("", "root", "0", "0:0")
    assert docker("run", "--rm", "--network", "none", "--entrypoint", "id", image, "-u").strip() == "1000"


def test_an_image_for_cpus_is_small(about: dict, inside: Callable[..., str]) -> None:
    if inside("python", "-c", "import torch; print(torch.version.cuda)").strip() != "None":
        pytest.skip("this image has PyTorch's build for CUDA")
    assert about["Size"] <= MOST_BYTES


def test_the_bill_of_materials_and_the_licences_name_all_that_is_installed(inside: Callable[..., str]) -> None:
    installed = set(inside("python", "-c", _INSTALLED).split())
    bill = json.loads(inside("cat", f"{_LISTS}/sbom.cdx.json"))
    parts = [*bill["components"], bill["metadata"]["component"]]
    listed = {f"{part['name'].lower().replace('_', '-')}=={part['version']}" for part in parts}
    assert bill["bomFormat"] == "CycloneDX" and len(installed) > 100
    assert not installed - listed
    licences = inside("cat", f"{_LISTS}/licenses.md").lower().replace("_", "-")
    assert not [name for name in installed if f"| {name.partition('==')[0]} " not in licences]
    assert inside("head", "-n", "3", f"{_LISTS}/LICENSE").split()[:2] == ["Apache", "License"]


def test_nothing_to_build_or_to_test_with_is_left(inside: Callable[..., str]) -> None:
    assert inside("python", "-c", _LEFT_OVER).split() == []


def test_what_help_reads_is_compiled(inside: Callable[..., str]) -> None:
    assert inside("python", "-c", _UNCOMPILED).split() == []


def test_the_programs_start(inside: Callable[..., str]) -> None:
    assert inside("ban-bids", "--version").startswith("ban-bids ")
    for program in ("ban-bids", "ban-bids-demo", "ban-bids-train"):
        assert inside(program, "--help").startswith("usage: ")


def test_what_was_taken_out_is_not_missed(image: str) -> None:
    # matplotlib wants a folder to write into, which ban-bids gives it in the work folder
    confined = ("run", "--rm", *CONFINED, "--tmpfs", "/tmp")
    docker(*confined, "--entrypoint", "python", image, "-c", _IMPORTED)
