"""Make the results page and its pictures from the JSON of a comparison of models.

    python benchmarks/make_results.py [docs/results.json]

``benchmarks/compare_models.py`` writes the JSON. Beside it go ``results.md``, ``results.svg`` and
``results_curves.svg``. What lies beside it becomes part of the page: ``recurrence.json`` of
``benchmarks/recurrence.py``, and ``results_*.json``, comparisons on other collections.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from page_parts import NA, NONE, count, found, interval, millions, names, p_value, short, signed, spread, table
from recurrence_page import recurrence_section, turned
from results_pictures import curves, forest

_WHAT = {
    "ban": "BAN: four areas, lateral recurrence",
    "ban-feedforward": "BAN without recurrence",
    "ban-feedback": "BAN with feedback from the next area",
    "ban-small": "BAN with fewer channels and steps",
    "ban-small-untrained": "the small BAN with random weights, read out as `ban-untrained`",
    "ban-untrained": "BAN with random weights; logistic regression on what its read-out would get",
    "ban-feedforward-untrained": "the same without recurrence",
    "deepcnn": "conventional deep CNN of ResNet-18's size",
    "alexnet": "AlexNet-style CNN",
    "vgg": "VGG-style CNN",
    "crnn": "convolutional recurrent network",
    "logmel": "MFCC and log-mel statistics of whole tracks, logistic regression",
    "ban-wide": "BAN without recurrence, with more channels: as many parameters as BAN",
    "modulation": "spectro-temporal modulation energies of whole tracks, logistic regression",
}
_MEASURES = {
    "dimension": "dimension, raw",
    "dimension_z": "dimension, z-scored",
    "probe_modulation": "modulation energies, R²",
    "probe_genre": "genre, accuracy",
}
_HEARD_NOISE = (
    "Pink noise, from 20 Hz up, is mixed into the waveform of a held-out track; the ratio is that of the mean powers "
    "of the whole track. A track hears the same noise at every level, with every model and seed. Models are fitted "
    "as above: what noise they met in training, the settings below say."
)


def main(argv: Sequence[str]) -> None:
    """Write page and pictures beside the JSON."""
    source = Path(argv[0]) if argv else Path(__file__).resolve().parents[1] / "docs" / "results.json"
    results, recurrence, others = read(source)
    source.with_suffix(".md").write_text(page(results, recurrence, others), "utf-8")
    forest(results, ranked(results), source.with_suffix(".svg"))
    if learning := learning_curves(results):
        curves(learning, source.with_name("results_curves.svg"))


def read(source: Path) -> tuple[dict[str, Any], dict[str, Any] | None, list[dict[str, Any]]]:
    """The comparison, and what lies beside it: the recurrence study, and other collections."""
    recurrence = source.with_name("recurrence.json")
    return (
        json.loads(source.read_text("utf-8")),
        json.loads(recurrence.read_text("utf-8")) if recurrence.exists() else None,
        [json.loads(path.read_text("utf-8")) for path in sorted(source.parent.glob("results_*.json"))],
    )


def page(
    results: dict[str, Any], recurrence: dict[str, Any] | None = None, others: Sequence[dict[str, Any]] = ()
) -> str:
    """The page as Markdown; every number on it comes from the results."""
    blocks = ["# Results", _preface(results), "## Which choices were made on which data"]
    blocks += [results.get("choices") or "Not told: the comparison was summarised without `--choices`."]
    blocks += ["![Track accuracy of every model, and its difference to the reference](results.svg)"]
    blocks += ["## Accuracy", _accuracies(results), *_reading(results)]
    blocks += _noise(results) + _pieces(results) + _code(results)
    blocks += ["## Calibration", _calibrations(results), _about_calibration(results)]
    blocks += _curves(results)
    blocks += [] if recurrence is None else recurrence_section(recurrence)
    for other in others:
        blocks += [f"## {other['about']}", _preface(other), *_choices_of(other), _accuracies(other)]
        blocks += [*_reading(other), *_endings(other)]
        blocks += [block.replace("## ", "### ", 1) for block in _noise(other)]
    blocks += ["## Models and cost", _models(results), _costs(results), _ABOUT_COST]
    blocks += ["## Settings", _settings(results)]
    return "\n\n".join(blocks) + "\n"


_ABOUT_COST = (
    "Multiply-adds count convolutions and matrix products for a second of audio, not the Fourier "
    "transform. Training seconds are processor time of one thread and fold: of the steps and the crops "
    "they see for networks, of features and fit for the others. Speed is from the waveform to the "
    "answer in float32 on one thread, one track of 30 s at a time, which networks hear whole here: in its "
    "half-overlapping segments, as they answer above, it costs them about twice as much."
)


def ranked(results: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Models, the most accurate first."""
    return sorted(results["models"].items(), key=lambda m: (-m[1]["track_accuracy"]["value"], m[0]))


def learning_curves(results: dict[str, Any]) -> dict[str, Any]:
    """Model -> learning curve, of those that have one."""
    return {n: m["training"]["curve"] for n, m in ranked(results) if m.get("training", {}).get("curve")}


def _preface(results: dict[str, Any]) -> str:
    counts = set(results["genres"].values())
    per_genre = f"{counts.pop()} of each" if len(counts) == 1 else "unequally many of each"
    fixed = results.get("group") is not None and results["n_groups"] == results["folds"]
    folds = "each fold is one group, whatever the seed" if fixed else "a seed also draws the folds"
    seeds = "once" if results["seeds"] == 1 else f"with {results['seeds']} seeds ({folds})"
    about = results.get("about", "Real tracks of GTZAN")
    listed = (
        "These are not figures on GTZAN's fault-filtered split, which needs all its tracks, and they are not the "
        "paper's."
    )
    return (
        f"{about}: {results['n_tracks']} sounds of {len(results['genres'])} "
        f"classes, {per_genre}; {results['folds']} folds, {seeds}, the same for all models; "
        f"{_rule(results)}, on {results['hardware']}. Settings are the same for all networks."
        f"{' ' + listed if 'GTZAN' in about else ''}\n\n"
        "Made by `python benchmarks/make_results.py` from the JSON of\n\n"
        f"    {results['command']}"
    )


def _rule(results: dict[str, Any]) -> str:
    """How the end of every training was decided."""
    minutes = f"{results['cpu_minutes']:g} processor minutes a fold"
    if results["settings"].get("plateau") is None:
        return f"{minutes} for every network, whether or not it was still learning by then"
    return (
        "every network was trained until its training loss stopped falling (`plateau` "
        f"{results['settings']['plateau']}), for at most {minutes}"
    )


def _choices_of(results: dict[str, Any]) -> list[str]:
    return [results["choices"]] if results.get("choices") else []


def _accuracies(results: dict[str, Any]) -> str:
    several = results["seeds"] > 1
    header = ["model", "track accuracy", f"difference to `{results['reference']}`"]
    header += ["… over tracks and seeds"] if several else []
    rows = []
    for name, model in ranked(results):
        difference = model.get("difference")
        told = [signed(difference), *([spread(difference)] if several else [])]
        told += [NONE if difference is None else p_value(difference["p_holm"])]
        rows.append(
            [f"`{name}`", interval(model["track_accuracy"]), *told, interval(model["segment_accuracy"]),
             interval(model["macro_f1"])]
        )  # fmt: skip
    return table([*header, "p", "segment accuracy", "macro-F1"], rows)


def _reading(results: dict[str, Any]) -> list[str]:
    """What the intervals mean, and which differences are told by them."""
    reference, n, several = results["reference"], results["n_tracks"], results["seeds"] > 1
    differences = {k: m["difference"] for k, m in results["models"].items() if "difference" in m}
    told = {k: found(d, up="better", down="worse", neither="open") for k, d in differences.items()}
    better, worse, open_ = ([k for k in told if told[k] == how] for how in ("better", "worse", "open"))
    trainings = (
        "the column of tracks and seeds draws trainings too, and is rough where seeds are few" if several
        else "that other trainings would move them too is not in them"
    )  # fmt: skip
    lines = [
        f"In brackets: 95 % intervals. One of {n} tracks is {100 / n:.1f} points of accuracy. "
        f"The intervals come from {results['draws']:,} draws of {_drawn(results)} with replacement, "
        "the same draws for every model, so that differences are paired (segments of a track are not "
        f"independent and are drawn together). They say how far other tracks would move these figures; {trainings}. "
        f"{_about_p(results)}{_certainty(results)}",
        f"**A difference whose interval{' over tracks and seeds' if several else ''} includes 0 is not a finding.** "
        f"Higher than `{reference}` beyond its interval: {names(better)}. Lower: {names(worse)}. Not told apart from "
        f"`{reference}` by these tracks: {names(open_)}.",
    ]
    if better or worse:
        by_p = [k for k in (*better, *worse) if differences[k]["p_holm"] < 0.05]
        lines[-1] += (
            " Intervals are not corrected for the number of models; of the differences beyond them, these have a "
            f"corrected p under .05, too: {names(by_p)}."
        )
    without = differences.get("ban-feedforward")
    return [*lines, *([_recurrence(results, without)] if reference == "ban" and without is not None else [])]


def _about_p(results: dict[str, Any]) -> str:
    """Which test p is of, and what it does not know."""
    several, grouped = results["seeds"] > 1, results.get("group") is not None
    exchanged = "the differences of whole groups" if grouped else "the tracks' differences"
    test = f"exact test by the signs of {exchanged}, {'summed over seeds' if several else 'of these trainings'}"
    test = test if several or grouped else "exact paired test (McNemar's) of these trainings"
    warning = "; unlike the column of tracks and seeds it takes these trainings as given" if several else ""
    return f"p: {test}, corrected by Holm for the number of models{warning}."


def _certainty(results: dict[str, Any]) -> str:
    """What an interval without width does not say."""
    sure = [n for n, m in results["models"].items() if len({*m["track_accuracy"]["ci95"]}) == 1]
    if not sure:
        return ""
    n, what = results["n_tracks"], "tracks"
    if results.get("group") is not None:
        n, what = results["n_groups"], "groups"
    return (
        f" An interval without width is no certainty: {names(sure)} answered to all tracks alike, all right or all "
        f"wrong, and so does every draw of them; by {n} {what} alone, up to {100 * (1 - 0.025 ** (1 / n)):.1f} % of "
        "others may differ (Clopper and Pearson)."
    )


def _recurrence(results: dict[str, Any], without: dict[str, Any]) -> str:
    """What recurrence adds, by the interval that decides."""
    verdict = found(
        without, up="recurrence hurts", down="recurrence helps",
        neither="whether recurrence helps cannot be told from these tracks",
    )  # fmt: skip
    how = "in the same processor time" if results["settings"].get("plateau") is None else "each at its plateau"
    unfinished = sum(n for m in ("ban", "ban-feedforward") for why, n in _ended(results, m).items() if why != "plateau")
    how += f" but for {unfinished} of their trainings, which ended before" if unfinished and "plateau" in how else ""
    return f"Recurrence on less recurrence off, {how}: {signed(turned(without))}; {verdict}."


def _drawn(results: dict[str, Any]) -> str:
    """What is drawn for the intervals."""
    if results.get("group") is None:
        return f"{results['n_tracks']} tracks"
    few = "; of so few they are rough" if results["n_groups"] < 20 else ""
    return f"{results['n_groups']} whole groups (`{results['group']}`{few})"


def _heard(results: dict[str, Any], conditions: Sequence[str], mean: str) -> str:
    """Accuracy in conditions, and the mean over them with its paired difference."""
    rows = []
    for name, model in ranked(results):
        heard = model.get("heard", {})
        whole = heard.get(mean)
        rows.append(
            [f"`{name}`", *(short(heard.get(c)) for c in conditions), NA if whole is None else interval(whole),
             signed(None if whole is None else whole.get("difference"), _bounds(results))]
        )  # fmt: skip
    return table(["model", *conditions, "mean", f"difference to `{results['reference']}`"], rows)


def _bounds(results: dict[str, Any]) -> str:
    return "ci95_seeds" if results["seeds"] > 1 else "ci95"


def _has(results: dict[str, Any], condition: str) -> bool:
    return any(condition in m.get("heard", {}) for m in results["models"].values())


def _about_differences(results: dict[str, Any]) -> str:
    over = "tracks and seeds" if results["seeds"] > 1 else "tracks"
    return f"Intervals of differences are paired, over {over}; those of means are over tracks."


def _noise(results: dict[str, Any]) -> list[str]:
    conditions = [f"{snr} dB" for snr in results.get("snrs", ())]
    if not _has(results, "noise"):
        return []
    text = f"Track accuracy in noise, by signal-to-noise ratio. {_HEARD_NOISE} {_about_differences(results)}"
    return ["## In noise", _heard(results, conditions, "noise"), text]


def _pieces(results: dict[str, Any]) -> list[str]:
    lengths = results.get("pieces", {})
    conditions = [c for c in (f"{s:g} s" for s in lengths.get("seconds", ())) if _has(results, c)]
    if not conditions:
        return []
    text = (
        f"Share of pieces recognised, each on its own, by their length: {lengths['per track']} of every length from "
        f"every held-out track, the same for all models, at starts spread evenly over it. Chance is "
        f"{1 / len(results['genres']):.2f}. {_about_differences(results)}"
    )
    return ["## Short excerpts", _heard(results, conditions, "pieces"), text]


def _code(results: dict[str, Any]) -> list[str]:
    models = ranked(results)
    shown = [m for m in _MEASURES if any(model.get("measures", {}).get(m) for _, model in models)]
    if not shown:
        return []
    rows = []
    for name, model in models:
        measured = model.get("measures", {})
        difference = (measured.get("dimension") or {}).get("difference")
        rows.append([f"`{name}`", *(interval(measured.get(m)) for m in shown), signed(difference)])
    header = ["model", *(_MEASURES[m] for m in shown), f"raw dimension less that of `{results['reference']}`"]
    reasons = sorted({f"`{n}`: {why}" for n, m in models for why in m.get("not_measured", {}).values()})
    text = (
        "Of the last area (T2/T3; the only layer of a low-level model). Dimension: participation ratio "
        "(tr C)²/tr C² of the covariance over the frames of a fold's held-out tracks, of the features as they are and "
        "each divided by its standard deviation: on how many directions the activations are spread. It grows with the "
        f"number of tracks that are heard (here {_per_fold(results)} a fold): figures on other folds or collections "
        "are no match for these. Probes: linear; "
        "that of modulation energies is fitted on some of the held-out tracks and tested on others, that of genre on "
        "the training tracks (mean and deviation over time) and tested on the held-out ones. Means over trainings; "
        "in brackets Student's 95 % interval over seeds, in parentheses, where there are fewer than three seeds, the "
        "lowest and the highest training. These are measures of the code, not of its likeness to cortex."
    )
    return ["## What the last area holds", table(header, rows), " ".join([text, *(f"n/a: {r}." for r in reasons)])]


def _per_fold(results: dict[str, Any]) -> str:
    """How many tracks a fold holds out, in the mean."""
    n = results["n_tracks"] / results["folds"]
    return f"{n:.0f}" if n == int(n) else f"about {n:.0f}"


def _calibrations(results: dict[str, Any]) -> str:
    rows = [[f"`{n}`", interval(m["calibration_error"]), interval(m["brier_score"])] for n, m in ranked(results)]
    return table(["model", "expected calibration error", "Brier score"], rows)


def _about_calibration(results: dict[str, Any]) -> str:
    return (
        "On tracks. The calibration error has ten bins of equal width; where tracks are few it is too "
        "high, and its interval more so. The Brier score runs from 0 to 2; a model that always answers "
        f"with equal probabilities has {1 - 1 / len(results['genres']):.2f}."
    )


def _curves(results: dict[str, Any]) -> list[str]:
    if not learning_curves(results):
        return []
    return ["## Learning curves", "![Training loss against steps, one line a model](results_curves.svg)",
            *_endings(results)]  # fmt: skip


def _ended(results: dict[str, Any], model: str) -> dict[str, int]:
    """Why a model's trainings ended -> how many."""
    ended: dict[str, int] = results["models"][model].get("training", {}).get("ended", {})
    return ended


def _endings(results: dict[str, Any]) -> list[str]:
    """Which trainings came to their end."""
    ended = {n: _ended(results, n) for n, _ in ranked(results) if _ended(results, n)}
    if not ended:
        return []
    rows = [[f"`{n}`", *(str(e.get(why, 0)) for why in ("plateau", "time", "steps"))] for n, e in ended.items()]
    return [
        table(["model", "trainings that a plateau ended", "… the time", "… the steps"], rows),
        "A training that time or steps ended may have been still learning: its figures are those of an unfinished one.",
    ]


def _models(results: dict[str, Any]) -> str:
    return table(
        ["model", "what it is", "how it answers"],
        [[f"`{name}`", _WHAT.get(name, ""), m["kind"]] for name, m in ranked(results)],
    )


def _costs(results: dict[str, Any]) -> str:
    header = ["model", "parameters", "million multiply-adds a second of audio", "training, processor s a fold",
              "steps a fold", "times real time"]  # fmt: skip
    rows = [
        [
            f"`{name}`", count(m["parameters"]), millions(m["multiply_adds"]), f"{m['training_cpu_seconds']:.0f}",
            _steps(m), f"{m['audio_seconds_per_cpu_second']:.0f}",
        ]
        for name, m in ranked(results)
    ]  # fmt: skip
    return table(header, rows)


def _steps(model: Mapping[str, Any]) -> str:
    if not model["steps"]:
        return NONE
    low, high = model.get("training", {}).get("steps", (model["steps"],) * 2)
    return count(model["steps"]) if low == high else f"{count(model['steps'])} ({count(low)} to {count(high)})"


def _settings(results: dict[str, Any]) -> str:
    plain = {k: v for k, v in results["settings"].items() if not isinstance(v, dict)}
    inner = {f"{k}.{i}": v for k, d in results["settings"].items() if isinstance(d, dict) for i, v in d.items()}
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    said = ", ".join(f"`{k}` {v}" for k, v in {**plain, **inner}.items())
    return f"Training of every network: {said}.\n\nVersions: {versions}; code {', '.join(results['code'])}."


if __name__ == "__main__":
    main(sys.argv[1:])
