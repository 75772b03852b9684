"""How do time and memory of the joint model grow with rows, voxels, features and weightings? Beside himalaya.

    python benchmarks/encoding_scaling.py [--out docs/speed.json] [--quick] [--threads 2]

One factor at a time is varied around a base size; every measurement has a fresh process, short ones are
repeated and the quickest is kept. Ours searches every penalty at every weighting, as himalaya does. himalaya
is measured on ``--himalaya-weightings`` weightings and its search scaled to as many as ours has, except where
weightings are what is varied; it is stopped after ``--seconds``, and larger sizes are then left out.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import encoding_tasks as tasks
from encoding_data import Size
from encoding_speed import put, quickest, told
from encoding_tasks import Work
from measuring import Found, hardware, in_child, least, parser, scratch_folder

BASE = Size(voxels=1000, runs=8, volumes=150, held_out_runs=1, components=16)
WEIGHTINGS = 10
FACTORS = {
    "rows": (600, 1200, 2400, 4800),
    "voxels": (250, 1000, 4000, 16000),
    "features": (224, 448, 896, 1792),
    "weightings": (5, 10, 20, 40),
}
QUICK_BASE = Size(voxels=100, runs=4, volumes=40, held_out_runs=1, components=4)
QUICK_FACTORS = {"rows": (160, 320), "voxels": (100, 200), "features": (112, 224), "weightings": (5, 10)}


@dataclass(frozen=True)
class Plan:
    """What is varied around what, and how it is measured."""

    base: Size
    factors: dict[str, tuple[int, ...]]
    threads: int
    mem_mb: int
    himalaya_weightings: int
    seconds: float
    repeats: int
    backend: str = "numpy"

    def work(self, factor: str, value: int, folder: Path) -> Work:
        """Return the base with one factor changed."""
        base, weightings = self.base, WEIGHTINGS
        if factor == "rows":
            base = replace(base, volumes=value // base.runs)
        elif factor == "voxels":
            base = replace(base, voxels=value)
        elif factor == "features":
            base = replace(base, components=value // (base.layers * base.lags))
        else:
            weightings = value
        return Work(base, folder / f"{factor}{value}", weightings, 10, self.mem_mb, self.threads)


def parsed() -> argparse.Namespace:
    numbers = {
        "threads": 2, "mem-mb": 4096, "himalaya-weightings": 2, "seconds": 60, "repeats": 2
    }  # fmt: skip
    options = parser(__doc__, numbers)
    options.add_argument("--quick", action="store_true", help="tiny sizes, to try the program")
    return options.parse_args()


def main() -> int:
    """Measure all curves; exit status 1 where one of ours failed."""
    given = parsed()
    with scratch_folder(given.scratch) as folder:
        plan = Plan(
            QUICK_BASE if given.quick else BASE, QUICK_FACTORS if given.quick else FACTORS, given.threads,
            given.mem_mb, given.himalaya_weightings, given.seconds, given.repeats,
            quickest(given.threads, folder / "trial"),
        )  # fmt: skip
        curves = {factor: curve(plan, factor, folder) for factor in plan.factors}
    found = {
        "command": f"python benchmarks/encoding_scaling.py {shlex.join(told(sys.argv[1:]))}".strip(),
        "hardware": hardware(given.threads),
        "base": {
            "rows": plan.base.rows, "voxels": plan.base.voxels, "features": plan.base.columns,
            "weightings": WEIGHTINGS,
        },
        "inner_folds": plan.base.runs, "alphas": 10, "mem_mb": plan.mem_mb,
        "himalaya_backend": plan.backend, "himalaya_weightings": plan.himalaya_weightings,
        "seconds_at_most": plan.seconds, "curves": curves,
    }  # fmt: skip
    if given.out:
        put(given.out, "scaling", found)
    return int(any("failed" in one for both in curves.values() for one in both["ours"]))


def curve(plan: Plan, factor: str, folder: Path) -> dict[str, list[Found]]:
    """Measure both solvers at every value of one factor."""
    ours: list[Found] = []
    theirs: list[Found] = []
    for value in plan.factors[factor]:
        work = plan.work(factor, value, folder)
        in_child(tasks.prepare, work.size, work.folder)
        ours.append({"value": value, **of_ours(plan, work)})
        if not any("failed" in one for one in theirs):
            few = work.weightings if factor == "weightings" else plan.himalaya_weightings
            theirs.append({"value": value, **of_himalaya(plan, work, few)})
        print(json.dumps({factor: value, "ours": ours[-1], "himalaya": theirs[-1]}), flush=True)
        for file in work.folder.iterdir():  # the next ones need the disk
            file.unlink()
    return {"ours": ours, "himalaya": theirs}


def of_ours(plan: Plan, work: Work) -> Found:
    found = least(lambda: in_child(tasks.joint, work, threads=plan.threads), plan.repeats)
    return kept(found, work.weightings, found.get("wall_s"))


def of_himalaya(plan: Plan, work: Work, weightings: int) -> Found:
    """Measure few weightings, of the grid that ours has; only the search is scaled to all of them."""
    few = replace(work, weightings=weightings, backend=plan.backend)
    found = least(
        lambda: in_child(
            tasks.himalaya, few, work.weightings, threads=plan.threads, seconds=plan.seconds
        ),
        plan.repeats,
    )  # fmt: skip
    if "failed" in found:
        return kept(found, weightings, None)
    whole = found["fit_wall_s"] * work.weightings / weightings + found["prediction_wall_s"]
    return kept(found, weightings, whole)


def kept(found: Found, weightings: int, seconds: float | None) -> Found:
    names = ("failed", "peak_mb", "cv_score", "repeats")
    told_of = {name: found[name] for name in names if name in found}
    if seconds is not None:
        told_of["seconds"] = round(seconds, 3)
    return {**told_of, "measured_weightings": weightings}


if __name__ == "__main__":
    sys.exit(main())
