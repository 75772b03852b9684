"""Make the results page and its picture from the JSON of a comparison of models.

    python benchmarks/make_results.py [docs/results.json]

``benchmarks/compare_models.py`` writes the JSON. Beside it go ``results.md`` and ``results.svg``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_WHAT = {
    "ban": "BAN: four areas, lateral recurrence",
    "ban-feedforward": "BAN without recurrence",
    "ban-feedback": "BAN with feedback from the next area",
    "ban-small": "BAN with fewer channels and steps",
    "ban-untrained": "BAN with random weights; logistic regression on what its read-out would get",
    "ban-feedforward-untrained": "the same without recurrence",
    "deepcnn": "conventional deep CNN of ResNet-18's size",
    "alexnet": "AlexNet-style CNN",
    "vgg": "VGG-style CNN",
    "crnn": "convolutional recurrent network",
    "logmel": "MFCC and log-mel statistics of whole tracks, logistic regression",
    "modulation": "spectro-temporal modulation energies of whole tracks, logistic regression",
}
_COLOUR, _GREY = "#14527a", "#8a8f98"


def main(argv: Sequence[str]) -> None:
    """Write page and picture beside the JSON."""
    source = Path(argv[0]) if argv else Path(__file__).with_name("results.json")
    results = json.loads(source.read_text("utf-8"))
    source.with_suffix(".md").write_text(page(results), "utf-8")
    picture(results, source.with_suffix(".svg"))


def page(results: dict[str, Any]) -> str:
    """The page as Markdown; every number on it comes from the results."""
    blocks = [
        "# Results",
        _preface(results),
        "![Track accuracy of every model, and its difference to the reference](results.svg)",
        "## Accuracy",
        _accuracies(results),
        _reading(results),
        "## Cost",
        _costs(results),
        "Multiply-adds count convolutions and matrix products for a second of audio, not the Fourier "
        "transform. Training seconds are processor time of one thread and fold: of the steps and the crops "
        "they see for networks, of features and fit for the others. Speed is from the waveform to the "
        "answer in float32 on one thread, one track of 30 s at a time.",
        "## Calibration",
        _calibrations(results),
        "On tracks. The calibration error has ten bins of equal width; where tracks are few it is too "
        "high, and its interval more so. The Brier score runs from 0 to 2; a model that always answers "
        f"with equal probabilities has {1 - 1 / len(results['genres']):.2f}.",
        "## Settings",
        _settings(results),
    ]
    return "\n\n".join(blocks) + "\n"


def _ranked(results: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(results["models"].items(), key=lambda m: (-m[1]["track_accuracy"]["value"], m[0]))


def _preface(results: dict[str, Any]) -> str:
    counts = set(results["genres"].values())
    per_genre = f"{counts.pop()} a genre" if len(counts) == 1 else "unequally many a genre"
    seeds = "once" if results["seeds"] == 1 else f"with {results['seeds']} seeds"
    return (
        f"Genre recognition on {results['n_tracks']} real tracks of GTZAN ({len(results['genres'])} genres, "
        f"{per_genre}, 30 s each), {results['folds']}-fold by track, {seeds}: the same folds, "
        f"{results['cpu_minutes']:g} processor minutes a fold for every network, on {results['hardware']}. "
        "The hyperparameters are the same for all networks. They were chosen for `ban`, on inner folds of "
        "the first fold's training tracks: that favours it over the other networks, and its figures on the "
        "other folds are not wholly untouched by the choice. These are not figures on GTZAN's "
        "fault-filtered split, which needs all its tracks, and they are not the paper's.\n\nThis page and "
        "its picture are made by `python benchmarks/make_results.py` from `results.json`, and that by\n\n    "
        f"{results['command']}"
    )


def _accuracies(results: dict[str, Any]) -> str:
    reference = results["reference"]
    header = [
        "model",
        "",
        "track accuracy",
        f"difference to `{reference}`",
        "p",
        "segment accuracy",
        "macro-F1",
    ]
    rows = []
    for name, model in _ranked(results):
        difference = model.get("difference")
        told = ["–", "–"] if difference is None else [_signed(difference), _p(difference["p_holm"])]
        segments = model["segment_accuracy"]
        rows.append(
            [
                f"`{name}`", _WHAT.get(name, ""), _interval(model["track_accuracy"]), *told,
                "n/a" if segments is None else _interval(segments), _interval(model["macro_f1"]),
            ]
        )  # fmt: skip
    return _table(header, rows)


def _reading(results: dict[str, Any]) -> str:
    """What the intervals mean, and which differences are told by them."""
    reference, n = results["reference"], results["n_tracks"]
    differences = {k: m["difference"] for k, m in results["models"].items() if "difference" in m}
    better = [k for k, d in differences.items() if d["ci95"][0] > 0]
    worse = [k for k, d in differences.items() if d["ci95"][1] < 0]
    open_ = [k for k in differences if k not in (*better, *worse)]
    lines = [
        f"In brackets: 95 % intervals. {n} tracks are few: one track is {100 / n:.1f} points of accuracy. "
        f"The intervals come from {results['draws']:,} draws of {n} tracks with replacement, "
        "the same draws for every model, so that differences are paired (segments of a track are not "
        "independent and are drawn together). They say how far other tracks would move these figures; that "
        "other trainings would move them too is not in them. p: exact paired test (McNemar's where there is "
        "one seed), corrected by Holm for the number of models compared.",
        f"**A difference whose interval includes 0 is not a finding.** Higher than `{reference}` beyond its "
        f"interval: {_names(better)}. Lower: {_names(worse)}. Not told apart from `{reference}` by these "
        f"tracks: {_names(open_)}.",
    ]
    without = differences.get("ban-feedforward")
    if reference == "ban" and without is not None:
        low, high = without["ci95"]
        verdict = (
            "recurrence helps" if high < 0 else "recurrence hurts" if low > 0
            else "whether recurrence helps cannot be told from these tracks"
        )  # fmt: skip
        lines.append(
            f"Recurrence on less recurrence off, in the same processor time: {-without['value']:+.3f} "
            f"[{-high:+.3f}, {-low:+.3f}]; {verdict}."
        )
    return "\n\n".join(lines)


def _costs(results: dict[str, Any]) -> str:
    header = ["model", "how", "parameters", "million multiply-adds a second of audio",
              "training, processor s a fold", "steps a fold", "times real time"]  # fmt: skip
    rows = [
        [
            f"`{name}`", m["kind"], _count(m["parameters"]), _millions(m["multiply_adds"]),
            f"{m['training_cpu_seconds']:.0f}", _count(m["steps"]) if m["steps"] else "–",
            f"{m['audio_seconds_per_cpu_second']:.0f}",
        ]
        for name, m in _ranked(results)
    ]  # fmt: skip
    return _table(header, rows)


def _calibrations(results: dict[str, Any]) -> str:
    rows = [
        [f"`{name}`", _interval(m["calibration_error"]), _interval(m["brier_score"])] for name, m in _ranked(results)
    ]
    return _table(["model", "expected calibration error", "Brier score"], rows)


def _settings(results: dict[str, Any]) -> str:
    plain = {k: v for k, v in results["settings"].items() if not isinstance(v, dict)}
    inner = {f"{k}.{i}": v for k, d in results["settings"].items() if isinstance(d, dict) for i, v in d.items()}
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    said = ", ".join(f"`{k}` {v}" for k, v in {**plain, **inner}.items())
    return f"Training of every network: {said}.\n\nVersions: {versions}; code {', '.join(results['code'])}."


def _interval(figure: dict[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['value']:.3f} [{low:.3f}, {high:.3f}]"


def _signed(figure: dict[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['value']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}"


def _count(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def _millions(value: float | None) -> str:
    return "n/a" if value is None else f"{value / 1e6:.1f}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def picture(results: dict[str, Any], out: Path) -> None:
    """Accuracies and paired differences with their intervals, as SVG."""
    ranked = _ranked(results)[::-1]
    names, reference = [name for name, _ in ranked], results["reference"]
    # a fixed salt and no date: the same results make the same file
    with rc_context({"svg.hashsalt": "ban-bids", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(9.5, 1.5 + 0.34 * len(ranked)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _forest(left, [m["track_accuracy"] for _, m in ranked], names, reference)
        left.axvline(1 / len(results["genres"]), color=_GREY, ls=":", lw=1)
        left.set_xlabel("track accuracy, 95 % interval\n(dotted: chance)")
        left.set_xlim(0, 1)
        left.set_yticks(range(len(names)), names)
        left.set_ylim(-0.6, len(names) - 0.4)
        none = {"value": None, "ci95": None}
        _forest(right, [m.get("difference", none) for _, m in ranked], names, reference)
        right.axvline(0, color=_GREY, ls=":", lw=1)
        right.set_xlabel(f"difference to {reference}, paired 95 % interval\n(across 0: not a finding)")
        figure.savefig(out, format="svg", metadata={"Date": None})


def _forest(axes: Axes, figures: Sequence[dict[str, Any]], names: Sequence[str], reference: str) -> None:
    for row, (figure, name) in enumerate(zip(figures, names)):
        if figure["value"] is None:
            axes.text(0, row, "reference", ha="center", va="center", fontsize=8, backgroundcolor="white")
            continue
        colour = _COLOUR if name.startswith(reference) else _GREY
        axes.plot(figure["ci95"], [row, row], color=colour, lw=2)
        axes.plot(figure["value"], row, "o", color=colour)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(sys.argv[1:])
