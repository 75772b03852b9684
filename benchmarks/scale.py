"""Many people and many models: what reading, the group level and the comparison of models take.

    python benchmarks/scale.py FOLDER [--only reading group comparison lazy] [--participants 1000] [--runs 10]
        [--members 500] [--listeners 100] [--models 20] [--out docs/speed.json]

FOLDER receives phantoms, which a second call takes as they are:

reading
    ``--dry-run`` of one participant and of all, in a dataset of 1 000 x 10 runs: images of 2 x 2 x 2 voxels, 100 short
    sounds, events in another order for everybody, a sidecar for each run. With the system's cache of files dropped
    before (where this user may), and as it is.
group
    the group level of 500 participants: two models of four layers and their joint model, ten statistics each, of maps
    of r of 97 x 115 x 97 voxels (MNI at 2 mm), 60 repeated clips, seven controls.
comparison
    the group level of 20 models in 100 participants, without maps.
lazy
    ``load_derivatives`` of the 500: one participant's maps, everybody's maps of r, everybody's scores.

Each is a process of its own; memory is that of all its processes, shared pages once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from large_output import Size, make_output
from measuring import Found, ProcessTree, Watch, hardware, in_child
from reading import make_many

_CACHES = Path("/proc/sys/vm/drop_caches")


def command(*arguments: str | Path) -> Found:
    """Run ``ban-bids``: wall and processor seconds, and most memory of all processes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ban_bids", *map(str, arguments)], env=environment, stdout=subprocess.DEVNULL
    )
    with ProcessTree(process.pid) as tree:
        status = process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found: Found = {"wall_s": round(time.perf_counter() - started, 2), "cpu_s": round(cpu, 2)}
    return {**found, "peak_mb": round(1024 * tree.peak_gib()), "status": status}


def drop_caches() -> bool:
    """Have the system forget the files that it has read; False where this user may not."""
    os.sync()
    try:
        _CACHES.write_text("3")
    except OSError:
        return False
    return True


def reading(folder: Path, options: argparse.Namespace) -> dict[str, Found]:
    """Dry runs of one participant and of all."""
    root, out = folder / "bids", folder / "out"
    if not root.exists():
        make_many(root, options.participants, options.runs, 20, sidecars=True)
    one = (root, out, "participant", "--dry-run", "--participant-label", "0001")
    cold = {"--dry-run of one, files not cached": command(*one)} if drop_caches() else {}
    return {**cold, "--dry-run of one": command(*one), "--dry-run of all": command(*one[:4])}


def group(folder: Path, options: argparse.Namespace) -> dict[str, Found]:
    """The group level of maps."""
    root = _output(folder / "group", Size(options.members, 2, made=5))
    return {f"group of {options.members}": _group_level(root)}


def comparison(folder: Path, options: argparse.Namespace) -> dict[str, Found]:
    """The group level of many models."""
    root = _output(folder / "comparison", Size(options.listeners, options.models, maps=False))
    return {f"{options.models} models in {options.listeners}": _group_level(root)}


def _output(folder: Path, size: Size) -> Path:
    root = folder / "out"
    if not root.exists():
        (folder / "bids").mkdir(parents=True)  # which the group level does not read
        make_output(root, size)
    return root


def _group_level(root: Path) -> Found:
    return command(root.parent / "bids", root, "group", "-w", root.parent / "work")


def lazy(folder: Path, options: argparse.Namespace) -> dict[str, Found]:
    """Reading back."""
    root = _output(folder / "group", Size(options.members, 2, made=5))
    return {
        f"load_derivatives: {what}": in_child(read_back, root, what, threads=1)
        for what in ("maps of one", "maps of r", "scores")
    }


def read_back(root: Path, what: str) -> Found:
    """One question to the derivatives."""
    from ban_bids import load_derivatives

    with Watch() as watch:
        out = load_derivatives(root)
        asked = {"maps of one": {"participant": "0001"}, "maps of r": {"stat": "r"}}
        table = out.scores() if what == "scores" else out.maps(**asked[what])
    return {**watch.found(), "rows": len(table)}


_PARTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Found]]] = {
    "reading": reading,
    "group": group,
    "comparison": comparison,
    "lazy": lazy,
}


def main() -> None:
    """Measure the parts that are asked for, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=list(_PARTS))
    for name, default in (("participants", 1000), ("runs", 10), ("members", 500), ("listeners", 100), ("models", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, help="JSON to put the results into")
    options = parser.parse_args()
    found: dict[str, Found] = {}
    for part in options.only:
        for title, numbers in _PARTS[part](options.folder.absolute(), options).items():
            found[title] = numbers
            print(f"{title}: {numbers}", flush=True)
    if options.out is not None:
        speed = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
        rows = {**speed.get("scale", {}).get("rows", {}), **found}
        speed["scale"] = {"command": "python benchmarks/scale.py FOLDER --out docs/speed.json", "rows": rows}
        speed["scale"]["hardware"] = hardware(1)
        options.out.write_text(json.dumps(speed, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
