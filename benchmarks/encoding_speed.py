"""How long does encoding take at ds003720's size, and how much memory? Beside himalaya's random search.

    python benchmarks/encoding_speed.py [--out docs/speed.json] [--voxels 5000] [--parts ...] [...]

Simulates the dataset (`encoding_data`), runs each part in a fresh process (`encoding_tasks`), prints a line
of JSON for each, and puts all of them under "headline" in the file that ``benchmarks/make_speed.py`` reads.
himalaya gets its quickest backend on this machine (tried first, on a smaller problem), all threads, every
voxel, and the first ``--himalaya-weightings`` of the weightings that ours searches; its time
is scaled to all of them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import encoding_tasks as tasks
from encoding_data import Size
from encoding_tasks import Work
from measuring import Found, hardware, in_child, least, parser, scratch_folder

PARTS = ("joint", "draws", "default", "unique", "same", "himalaya", "singles")


def parsed() -> argparse.Namespace:
    numbers = {
        "voxels": 5000, "single-voxels": 50_000, "runs": 12, "volumes": 400, "held-out-runs": 6,
        "components": 64, "layers": 4, "weightings": 50, "alphas": 10, "threads": 2, "mem-mb": 4096,
        "himalaya-weightings": 2,
    }  # fmt: skip
    options = parser(__doc__, numbers)
    options.add_argument("--himalaya-voxels", type=int, help="fewer voxels for himalaya; scaled, and said so")
    options.add_argument("--backend", default="numpy", help="ours: numpy, torch or torch_cuda")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    return options.parse_args()


def main() -> int:
    """Measure all parts; exit status 1 where one failed."""
    given = parsed()
    with scratch_folder(given.scratch) as folder:
        found = measured(given, folder)
    size = size_of(given)
    headline = {
        "command": f"python benchmarks/encoding_speed.py {shlex.join(told(sys.argv[1:]))}".strip(),
        "hardware": hardware(given.threads, given.backend),
        "size": {**vars(size), "rows": size.rows, "columns": size.columns},
        "weightings": given.weightings, "alphas": given.alphas, "mem_mb": given.mem_mb,
        "backend": given.backend, "parts": found,
    }  # fmt: skip
    if given.out:
        put(given.out, "headline", headline)
    return int(any("failed" in part for part in found.values()))


def put(out: Path, section: str, found: Found) -> None:
    """Write one section of a JSON file and leave the others."""
    whole = json.loads(out.read_text("utf-8")) if out.exists() else {}
    out.write_text(json.dumps({**whole, section: found}, indent=1) + "\n", "utf-8")


def told(arguments: list[str]) -> list[str]:
    """The arguments without folders of this machine."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument != "--scratch":
            kept.append(argument)
        skip = argument == "--scratch"
    return kept


def size_of(given: argparse.Namespace) -> Size:
    return Size(
        given.voxels, given.runs, given.volumes, given.held_out_runs, given.layers, given.components
    )  # fmt: skip


def measured(given: argparse.Namespace, folder: Path) -> dict[str, Found]:
    """Run the parts that were asked for, in order: the joint models share their data and the joint choice."""
    size, found = size_of(given), {}
    ours = Work(size, folder / "joint", given.weightings, given.alphas, given.mem_mb, given.threads, given.backend)

    def part(name: str, work: Work, task: Callable[..., Found], *args: object) -> None:
        if name in given.parts:
            found[name] = {"voxels": work.size.voxels, "weightings": work.weightings, "backend": work.backend,
                           **in_child(task, work, *args, threads=given.threads)}  # fmt: skip
            print(json.dumps({name: found[name]}), flush=True)

    if set(given.parts) - {"singles"}:
        in_child(tasks.prepare, size, ours.folder)
    part("draws", replace(ours, draws=True), tasks.joint)
    part("joint", ours, tasks.joint)
    part("default", replace(ours, weightings=21), tasks.joint, None, True, False)
    part("unique", replace(ours, weightings=21), tasks.unique)
    if {"same", "himalaya"} & set(given.parts):
        against(given, ours, part)
        scale(given, found)
    if "singles" in given.parts:
        many = replace(ours, size=replace(size, voxels=given.single_voxels), folder=folder / "singles")
        in_child(tasks.prepare, many.size, many.folder)
        part("singles", replace(many, weightings=1), tasks.singles)
    return found


def against(given: argparse.Namespace, ours: Work, part: Callable[..., None]) -> None:
    """Ours and himalaya's on the same weightings, penalties, voxels and folds."""
    few = replace(ours, weightings=min(given.himalaya_weightings, given.weightings))
    if given.himalaya_voxels:
        few = replace(few, size=replace(few.size, voxels=given.himalaya_voxels), folder=ours.folder / "few")
        in_child(tasks.prepare, few.size, few.folder)
    part("same", few, tasks.joint, given.weightings)
    if "himalaya" in given.parts:
        backend = quickest(given.threads, ours.folder / "trial")
        part("himalaya", replace(few, backend=backend), tasks.himalaya, given.weightings)


def scale(given: argparse.Namespace, found: dict[str, Found]) -> None:
    """Scale himalaya's search to all weightings, and to all voxels as if nothing but weightings cost time."""
    theirs = found.get("himalaya", {"failed": ""})
    if "failed" in theirs:
        return
    search = theirs["fit_wall_s"] * given.weightings / theirs["weightings"]
    theirs["scaled_wall_s"] = round(search + theirs["prediction_wall_s"], 1)


def quickest(threads: int, folder: Path) -> str:
    """Return himalaya's quicker backend on a CPU, tried on a problem of a quarter of the rows."""
    work = Work(Size(voxels=500, runs=4, volumes=200, held_out_runs=1, components=16), folder, 2)
    in_child(tasks.prepare, work.size, folder)
    seconds = {}
    for backend in ("numpy", "torch"):
        one = replace(work, backend=backend)
        found = least(lambda one=one: in_child(tasks.himalaya, one, threads=threads), 2)  # type: ignore[misc]
        seconds[backend] = found.get("fit_wall_s", float("inf"))
    print(json.dumps({"himalaya's backends": seconds}), flush=True)
    return min(seconds, key=lambda name: seconds[name])


if __name__ == "__main__":
    sys.exit(main())
