"""Make the page and the picture of speed from the JSON of the benchmarks.

    python benchmarks/make_speed.py [docs/speed.json]

``benchmarks/encoding_speed.py``, ``encoding_scaling.py``, ``scoring_speed.py``, ``whole_participant.py``,
``memory_held.py`` and ``scale.py`` each write a section of the JSON. Beside it go ``speed.md`` and, where there is a
section of scaling, ``speed.svg``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_Found = dict[str, Any]
_OURS, _THEIRS, _INK = "#0072b2", "#d55e00", "#7a7f87"
_PARTS = {
    "joint": "joint model, lattice of weightings, every penalty",
    "draws": "joint model, weightings drawn at random as himalaya draws its own, every penalty",
    "default": "joint model as `ban-bids` fits it: refined weights, penalties by climbing",
    "unique": "the same and the model without each layer, for unique variance",
    "same": "joint model on the weightings that himalaya was given",
    "himalaya": "himalaya's random search on them",
    "singles": "every layer alone",
}
_FACTORS = {
    "rows": "training rows",
    "voxels": "voxels",
    "features": "feature columns",
    "weightings": "weightings",
}
_PIPELINE = "benchmarks/scoring_speed.py"


def main(argv: Sequence[str]) -> None:
    """Write page and picture beside the JSON."""
    source = Path(argv[0]) if argv else Path(__file__).with_name("speed.json")
    speed = json.loads(source.read_text("utf-8"))
    source.with_suffix(".md").write_text(page(speed), "utf-8")
    if "scaling" in speed:
        picture(speed["scaling"], source.with_suffix(".svg"))


def page(speed: _Found) -> str:
    """The page as Markdown; every number on it comes from the JSON."""
    blocks = [
        "# Speed of encoding",
        "Simulated features and BOLD, wall-clock seconds, each measurement in a process of its own; its peak "
        'memory is that of the whole process, libraries and data included. "MB" are 2^20 bytes. This page '
        "and its picture are made by `python benchmarks/make_speed.py` from `speed.json`.",
    ]
    for section, make in _SECTIONS:
        if section in speed:
            blocks += make(speed[section])
    blocks += [
        "## Kernels by pytest-benchmark",
        "    pip install -e .[bench]\n    python -m pytest benchmarks/bench_encoding.py",
        "times one decomposition, left-out losses, the refit, voxel p values and himalaya's search at a "
        "moderate size; the test command does not collect it.",
    ]
    return "\n\n".join(blocks) + "\n"


def _whole(found: _Found) -> list[str]:
    """One participant from raw images to tables."""
    shape = " × ".join(map(str, found["shape"]))
    rows = [
        [stage["stage"], f"{stage['minutes']:.2f}", f"{stage['cpu_min']:.2f}", _gib(stage["peak_gib"])]
        for stage in found["stages"]
    ]
    rows.append(["**all**", *(f"**{found[key]:.2f}**" for key in ("wall_min", "cpu_min", "peak_gib"))])
    steps = [
        [step["step"], str(step["times"]), _seconds(step["seconds"]), _seconds(step["longest_s"])]
        for step in found["steps"] if step["seconds"] >= 1
    ]  # fmt: skip
    disk = ", ".join(f"{name} {size['end']:.1f} GiB ({size['peak']:.1f})" for name, size in found["disk_gib"].items())
    failed = f" The app ended with status {found['status']}." if found["status"] else ""
    return [
        "## A whole participant, from raw images to tables",
        f"A simulated participant: {found['runs_training']} training and {found['runs_test']} held-out runs of "
        f"{found['volumes']} volumes, {shape} voxels of {found['voxel']:g} mm; models {', '.join(found['models'])}, "
        f"of random weights, with their controls; one call with `--nprocs {found['nprocs']} --omp-nthreads "
        f"{found['omp_nthreads']} --mem {found['mem']}`, nothing extrapolated.{failed} Memory is that of all "
        f"processes together, shared pages counted once. {_machine(found['hardware'])}",
        _table(["stage", "minutes", "processor minutes", "peak GiB"], rows),
        f"On disk in the end (and at most): {disk}.",
        "Steps of preprocessing, all runs together:",
        _table(["step", "times", "seconds", "the longest"], steps),
        f"    {found['command']}",
    ]


def _gib(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"


def _headline(found: _Found) -> list[str]:
    size, parts = found["size"], found["parts"]
    rows = [
        [
            text, parts[name]["backend"], _count(parts[name]["voxels"]), str(parts[name]["weightings"]),
            _seconds(parts[name].get("wall_s")), _count(parts[name].get("peak_mb")),
            _score(parts[name].get("cv_score")), _score(parts[name].get("held_out_rsquare")),
        ]
        for name, text in _PARTS.items() if name in parts
    ]  # fmt: skip
    header = ["what", "arrays", "voxels", "weightings", "seconds", "peak MB", "inner CV score", "held-out R²"]
    blocks = [
        "## At ds003720's size",
        f"{size['runs']} training runs of {size['volumes']} rows, as many inner folds, "
        f"{size['held_out_runs']} held-out runs; {size['layers']} layers of {size['components']} components "
        f"at {size['lags']} lags ({_count(size['columns'])} columns); {found['alphas']} penalties; search, "
        f"refit and prediction; `--mem {found['mem_mb']}`. "
        f"{_machine(found['hardware'])} "
        "The CV score is minus the mean squared error of left-out rows, averaged over voxels. Weightings of "
        "the default are those before refinement.",
        _table(header, rows),
        *_against(found),
        _failures(parts),
        f"    {found['command']}",
    ]
    return [block for block in blocks if block]


def _against(found: _Found) -> list[str]:
    """Seconds and scores beside himalaya's, as computed and no rounder."""
    parts = found["parts"]
    theirs, same, joint = (parts.get(name, {}) for name in ("himalaya", "same", "joint"))
    said = []
    if "scaled_wall_s" in theirs and "wall_s" in joint:
        more = joint["voxels"] / theirs["voxels"]
        fewer = (
            f" and its voxels are {_count(theirs['voxels'])}, ours {_count(joint['voxels'])}"
            if more != 1 else ""
        )  # fmt: skip
        said.append(
            f"himalaya's search was measured on {theirs['weightings']} of {joint['weightings']} weightings "
            f"and scaled to all of them: **{_count(theirs['scaled_wall_s'])} s, "
            f"{theirs['scaled_wall_s'] / joint['wall_s']:.1f} times ours**{fewer}."
        )
    if "cv_score" in theirs and "cv_score" in same:
        said.append(
            "On the same weightings, penalties, folds and voxels, ours less himalaya's: CV score "
            f"{same['cv_score'] - theirs['cv_score']:+.1e}, held-out R² "
            f"{same['held_out_rsquare'] - theirs['held_out_rsquare']:+.1e}."
        )
    if "cv_score" in joint and "cv_score" in parts.get("draws", {}):
        gain = joint["cv_score"] - parts["draws"]["cv_score"]
        said.append(
            f"The lattice's CV score less that of as many random weightings (which himalaya's search would "
            f"reach, solvers being equal): {gain:+.1e}."
        )
    return [" ".join(said)] if said else []


def _pipeline(found: _Found) -> list[str]:
    took = found["found"]
    blocks = [
        "## One model in one participant",
        f"{_count(found['voxels'])} voxels of BOLD on disk, {found['runs']} training and "
        f"{found['held_out_runs']} held-out runs of {found['clips']} clips, {_count(took.get('columns'))} "
        f"columns, {_count(found['permutations'])} permutations, `--mem {found['mem_mb']}`, "
        f"{found['backend']}. {_machine(found['hardware'])}",
    ]
    if "failed" in took:
        return [*blocks, f"Failed: {took['failed']}.", f"    {found['command']}"]
    stages = [[name, _seconds(seconds)] for name, seconds in took["stages_wall_s"].items()]
    return [
        *blocks,
        _table(["stage", "seconds"], [*stages, ["**all**", f"**{_seconds(took['wall_s'])}**"]]),
        f"Peak memory {_count(took['own_peak_mb'])} MB without pages of the BOLD file, which the system "
        f"takes back when it needs to; {_count(took['peak_mb'])} MB with them. "
        f"Slabs of voxels: {took['slabs']}.",
        f"    {found['command']}",
    ]


def _scaling(found: _Found) -> list[str]:
    base = ", ".join(f"{_count(value)} {_FACTORS[name]}" for name, value in found["base"].items())
    rows = []
    for factor, both in found["curves"].items():
        theirs = {one["value"]: one for one in both["himalaya"]}
        for ours in both["ours"]:
            other = theirs.get(ours["value"], {})
            rows.append([
                _FACTORS[factor], _count(ours["value"]), _seconds(ours.get("seconds")),
                _seconds(other.get("seconds")), _ratio(ours, other), _count(ours.get("peak_mb")),
                _count(other.get("peak_mb")), _difference(ours, other),
            ])  # fmt: skip
    header = ["varied", "to", "ours, s", "himalaya, s", "times", "ours, MB", "himalaya, MB",
              "CV score, ours less himalaya's"]  # fmt: skip
    return [
        "## Scaling",
        f"One factor at a time around {base}; {found['inner_folds']} inner folds, {found['alphas']} "
        "penalties, every penalty at every weighting; search, refit and prediction; the quickest of repeated "
        f"measurements. {_machine(found['hardware'])} himalaya ({found['himalaya_backend']} arrays, its "
        f"quicker ones here) searched {found['himalaya_weightings']} weightings and its time is scaled "
        "to as many as ours, except where weightings are varied: there it searched all. It was stopped after "
        f"{found['seconds_at_most']:g} s (–), and not asked for larger sizes. Scores are compared where both "
        "searched the same weightings.",
        "![Seconds of ours and of himalaya's search against four factors](speed.svg)",
        _table(header, rows),
        f"    {found['command']}",
    ]


def _scale(found: _Found) -> list[str]:
    """Many people, many models."""
    rows = [
        [
            f"{title}{' (did not finish)' if one.get('status') else ''}", _seconds(one.get("wall_s")),
            _seconds(one.get("cpu_s")), _count(one.get("peak_mb")),
        ]
        for title, one in found["rows"].items()
    ]  # fmt: skip
    return [
        "## Many people and many models",
        "Phantoms: a dataset of 1 000 participants of 10 runs; output directories with two models, ten statistics a "
        "layer, maps of 97 × 115 × 97 voxels, 60 repeated clips; of many models in many people, tables and draws "
        "alone. Memory is that of all processes together, shared pages counted once. Wall-clock seconds are of a "
        f"machine that others used as well. {_machine(found['hardware'])}",
        _table(["what", "seconds", "processor seconds", "peak MB"], rows),
        f"    {found['command']}",
    ]


def _memory(found: _Found) -> list[str]:
    """Whether ``--mem`` is held."""
    rows = [
        [
            one["asked"], f"{one['peak_gib']:.2f}", f"{one['without_files_gib']:.2f}", f"{one['wall_min']:.1f}",
            f"{one['cpu_min']:.1f}", _score(one["tables_differ_by"]), _percent(one["voxels_differ"]),
            str(one["status"]),
        ]
        for one in found["sizes"]
    ]  # fmt: skip
    header = ["`--mem`", "peak GiB", "without pages of files", "minutes", "processor minutes"]
    return [
        "## Limits of memory",
        f"{found['what']} Memory is that of all processes together, shared pages counted once, five times a "
        "second. Differences are to the first row: the most in a number of the score tables, and the largest share of "
        "a map's voxels beyond 0.002, where float32's rounding chose another of two penalties or layers that are as "
        "good as each other. "
        f"{_machine(found['hardware'])}",
        _table([*header, "tables differ by", "voxels differ", "exit status"], rows),
        f"    {found['command']}",
    ]


_SECTIONS = (
    ("whole", _whole),
    ("memory", _memory),
    ("scale", _scale),
    ("headline", _headline),
    ("pipeline", _pipeline),
    ("scaling", _scaling),
)


def _ratio(ours: _Found, theirs: _Found) -> str:
    if "seconds" not in ours or "seconds" not in theirs:
        return "–"
    return f"{theirs['seconds'] / ours['seconds']:.1f}"


def _difference(ours: _Found, theirs: _Found) -> str:
    same = ours.get("measured_weightings") == theirs.get("measured_weightings")
    if not same or "cv_score" not in ours or "cv_score" not in theirs:
        return "–"
    return f"{ours['cv_score'] - theirs['cv_score']:+.1e}"


def _machine(hardware: _Found) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in hardware["versions"].items())
    gpu = f" and {hardware['gpu']}" if "gpu" in hardware else ""
    chip = f"{hardware['processor']}, {hardware['threads']} threads{gpu}"
    return f"{chip}; Python {hardware['python']}, {versions}."


def _failures(parts: _Found) -> str:
    failed = [f"{_PARTS[name]}: {part['failed']}" for name, part in parts.items() if "failed" in part]
    return "Not measured: " + "; ".join(failed) + "." if failed else ""


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else _count(value)


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}".replace(",", " ")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def picture(scaling: _Found, out: Path) -> None:
    """Seconds against each factor, both axes logarithmic, as SVG that is read on light and dark pages."""
    # a fixed salt and no date: the same results make the same file
    style = {"svg.hashsalt": "ban-bids", "svg.fonttype": "none", "font.family": "sans-serif"}
    ink = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK)
    with rc_context({**style, **ink}):
        figure = Figure(figsize=(9, 6.4), layout="constrained")
        panels = figure.subplots(2, 2, sharey=True).ravel()
        for axes, (factor, both) in zip(panels, scaling["curves"].items()):
            _curves(axes, both)
            axes.axvline(scaling["base"][factor], color=_INK, ls=":", lw=1)
            axes.set_xlabel(_FACTORS[factor])
        for axes in panels[::2]:
            axes.set_ylabel("seconds")
        told = panels[0].get_legend_handles_labels()
        figure.legend(*told, loc="outside lower center", ncols=2, frameon=False)
        figure.suptitle("Joint model: search, refit and prediction (dotted: the base size)", fontsize=11)
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)


def _curves(axes: Axes, both: _Found) -> None:
    for name, colour, mark in (("ours", _OURS, "o"), ("himalaya", _THEIRS, "s")):
        points = [(one["value"], one["seconds"]) for one in both[name] if "seconds" in one]
        label = "closed form (ours)" if name == "ours" else "himalaya's random search"
        axes.plot(*zip(*points), marker=mark, color=colour, lw=2, label=label)
    axes.set(xscale="log", yscale="log")
    values = [one["value"] for one in both["ours"]]
    axes.set_xticks(values, [_count(value) for value in values])
    axes.minorticks_off()
    axes.grid(color=_INK, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(sys.argv[1:])
