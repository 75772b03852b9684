"""README's ``docker run`` lines do what they say: without network, on a read-only root, as a user nobody knows."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
from docker_engine import CONFINED, STRANGER, docker

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
_SHIPPED = ROOT / "ban_bids" / "models" / "weights"
_QUICK = (
    "--sloppy", "--controls", "low-level", "--voxels", "auditory", "--n-permutations", "200",
    "--weights", "/shipped/ban.safetensors",
)  # fmt: skip
"""What a trial can do without; BAN is trained until its loss stops falling, and the demo trains in the image, too."""


def docker_lines(text: str) -> list[str]:
    """The ``docker run`` lines of a page, each in one piece."""
    return re.findall(r"^ *(docker run .+)$", text.replace("\\\n", " "), re.MULTILINE)


def confined(line: str, image: str, folders: Mapping[str, Path]) -> list[str]:
    """A line's arguments of docker, with this machine's folders and image, and nothing allowed that it does not ask."""
    words = shlex.split(line.replace("$(id -u):$(id -g)", STRANGER), comments=True)
    words = [image if word == "ban-bids" else word for word in words]
    mounts = [at for at, word in enumerate(words, 1) if word == "-v"]
    assert mounts, f"nothing is mounted: {line}"
    for at in mounts:
        host, _, rest = words[at].partition(":")
        assert Path(host).parent == Path("/data"), f"no folder of ours stands for {host}"
        words[at] = f"{folders[Path(host).name]}:{rest}"
    assert STRANGER in words, f"the files would be root's or another's: {line}"
    # ban-bids makes its temporary folder in the work folder; the other programs have none
    room = ("--tmpfs", "/tmp") if "--entrypoint" in words else ()
    return [*words[1:2], *CONFINED, *room, *words[2:]]


def test_lines_are_found_and_pointed_at_our_folders() -> None:
    text = "\n\n    docker run --rm -u $(id -u):$(id -g) -v /data/a:/bids:ro \\\n      ban-bids /bids group  # x\n"
    (line,) = docker_lines(text)
    words = confined(line, "other:1", {"a": Path("/tmp/a")})
    assert words[:3] == ["run", "--network", "none"]
    assert words[-5:] == ["-v", "/tmp/a:/bids:ro", "other:1", "/bids", "group"]
    with pytest.raises(AssertionError, match="no folder of ours"):
        confined(line.replace("/data/a", "/home/a"), "other:1", {})


def test_readme_shows_both_levels_and_the_check() -> None:
    lines = docker_lines((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [sum(word in line for line in lines) for word in (" participant", " group", "ban-bids-demo")] == [1, 1, 1]


@pytest.fixture(scope="module")
def done(image: str, folders: Mapping[str, Path]) -> Path:
    """The output folder after all lines; the demo's lies beside it."""
    for line in docker_lines((ROOT / "README.md").read_text(encoding="utf-8")):
        words = confined(line, image, folders)
        if " participant" in line:
            words = [words[0], "-v", f"{_SHIPPED}:/shipped:ro", *words[1:], *_QUICK]
        docker(*words)
    return folders["out"]


def test_both_levels_leave_their_tables(done: Path) -> None:
    assert (done / "sub-01.html").is_file() and (done / "group.html").is_file()
    with (done / "group_bas.tsv").open(encoding="utf-8", newline="") as file:
        rows = {row["row"] for row in csv.DictReader(file, delimiter="\t")}
    assert {"C", "B", "BAS"} <= rows


def test_the_description_names_the_image(done: Path, image: str) -> None:
    description = json.loads((done / "dataset_description.json").read_text(encoding="utf-8"))
    container = description["GeneratedBy"][0]["Container"]
    assert container["Type"] == "docker" and container["Tag"].startswith("ban-bids:")


def test_everything_belongs_to_the_user_who_ran_it(done: Path) -> None:
    assert {path.stat().st_uid for path in done.rglob("*")} == {int(STRANGER.partition(":")[0])}


def test_the_check_ends_with_its_scores(done: Path) -> None:
    assert (done.parent / "demo" / "small" / "out" / "group_bas.tsv").is_file()
