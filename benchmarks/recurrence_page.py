"""The section of the results page on recurrence, from the JSON of ``benchmarks/recurrence.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from page_parts import NA, count, found, interval, millions, short, signed, table

_WHAT = {
    "steps": "at equal steps",
    "time": "at equal processor time",
    "plateau": "each trained until its loss stopped falling",
}
_FIGURES = ("track accuracy", "mean in noise", "mean of short excerpts", "dimension of T2/T3, raw")
_PARTNERS = {"ban-feedforward": "without recurrence", "ban-wide": "without recurrence, as many parameters"}


def recurrence_section(study: dict[str, Any]) -> list[str]:
    """Blocks of Markdown."""
    arms = [arm for arm in ("ban", *_PARTNERS) if any(arm in models for models in study["models"].values())]
    blocks = ["## What recurrence buys", _preface(study)]
    blocks += [study["choices"]] if study.get("choices") else []
    for regime, models in study["models"].items():
        shown = [arm for arm in arms if arm in models]
        blocks += [f"### {_WHAT[regime][0].upper()}{_WHAT[regime][1:]}", _arms(shown, models), _verdict(shown, models)]
    regime = study["unrollings_in"]
    cheaper = [m for m in study["models"].get(regime, {}) if m not in _PARTNERS]
    if len(cheaper) > 1:
        blocks += ["### Cheaper unrollings", _unrollings(cheaper, study), _about_unrollings(study)]
    for regime, told in study["time_course"].items():
        blocks += [f"### Later steps for harder sounds? ({_WHAT[regime]})", _steps(told), _harder(told)]
    return blocks


def _preface(study: dict[str, Any]) -> str:
    return (
        f"{study['about']}: {study['n_tracks']} sounds, {study['folds']} folds, {study['seeds']} seeds, the same for "
        "all networks. `ban-wide` has more channels and no recurrence, so that it has as many parameters as `ban`: "
        + ", ".join(f"`{m}` {count(c['parameters'])}" for m, c in study["cost"].items() if m in ("ban", *_PARTNERS))
        + ". Differences are `ban` less the other, paired; their intervals are over tracks and seeds (over seeds alone "
        "for the dimension), and are not corrected for their number. Noise and excerpts as above.\n\n"
        f"    {study['command']}"
    )


def _figures(model: dict[str, Any]) -> list[dict[str, Any] | None]:
    """Each of :data:`_FIGURES`, with ``difference`` in its model's direction (less ``ban``)."""
    accuracy = {**model["track_accuracy"], "difference": model.get("difference")}
    heard = model["heard"]
    return [accuracy, heard.get("noise"), heard.get("pieces"), model["measures"].get("dimension")]


def _arms(arms: Sequence[str], models: dict[str, Any]) -> str:
    """A row per figure, a column per arm, and BAN less each of the others."""
    others = [arm for arm in arms if arm != "ban"]
    figures = {arm: _figures(models[arm]) for arm in arms}
    rows = [
        [name, *(interval(figures[arm][k]) for arm in arms), *(_less(figures[arm][k]) for arm in others)]
        for k, name in enumerate(_FIGURES)
    ]
    rows.append(["steps, mean", *(count(models[arm]["steps"]) for arm in arms), *([""] * len(others))])
    seconds = [f"{models[arm]['training_cpu_seconds']:.0f}" for arm in arms]
    rows.append(["processor seconds, mean", *seconds, *([""] * len(others))])
    ended = [models[arm]["training"]["ended"] for arm in arms]
    if any("plateau" in e for e in ended):
        told = [f"{e.get('plateau', 0)} of {sum(e.values())}" for e in ended]
        rows.append(["trainings that a plateau ended", *told, *([""] * len(others))])
    return table(["", *(f"`{arm}`" for arm in arms), *(f"less `{arm}`" for arm in others)], rows)


def _less(figure: dict[str, Any] | None) -> str:
    difference = None if figure is None else figure.get("difference")
    return NA if difference is None else signed(turned(difference), "ci95")


def turned(difference: dict[str, Any]) -> dict[str, Any]:
    """The other way round, with the widest interval that there is as ``ci95``."""
    bounds = difference.get("ci95_seeds") or difference.get("ci95")
    return {"value": -difference["value"], "ci95": None if bounds is None else [0.0 - b for b in bounds[::-1]]}


def _verdict(arms: Sequence[str], models: dict[str, Any]) -> str:
    """Which differences are told by their intervals."""
    lines = []
    for arm in arms[1:]:
        for name, figure in zip(_FIGURES, _figures(models[arm])):
            difference = None if figure is None else figure.get("difference")
            if difference is None or turned(difference)["ci95"] is None:
                continue
            said = found(turned(difference), up="higher", down="lower", neither="")
            lines += [f"{name} {said} than {_PARTNERS[arm]}"] if said else []
    if not lines:
        return "No difference is told apart from none by these tracks and seeds."
    return f"Of `ban`, beyond the intervals: {'; '.join(lines)}. No other difference is told apart from none."


def _unrollings(models: Sequence[str], study: dict[str, Any]) -> str:
    of, cost = study["models"][study["unrollings_in"]], study["cost"]
    rows = []
    for model in models:
        accuracy = of[model]["track_accuracy"]
        difference = of[model].get("difference")
        rows.append(
            [
                "-".join(map(str, cost[model]["unrolling"])), interval(accuracy),
                signed(difference, "ci95_seeds" if difference and "ci95_seeds" in difference else "ci95"),
                short(of[model]["heard"].get("noise")),
                f"{cost[model]['forward_ms']:.0f} + {cost[model]['backward_ms']:.0f}",
                millions(cost[model]["multiply_adds"]), f"{cost[model]['audio_seconds_per_cpu_second']:.0f}",
            ]
        )  # fmt: skip
    header = ["steps of A1, Belt, PB, T2/T3", "track accuracy", "difference to `ban`", "mean in noise",
              "forward + backward, ms a batch", "million multiply-adds a second", "times real time"]  # fmt: skip
    return table(header, rows)


def _about_unrollings(study: dict[str, Any]) -> str:
    return (
        f"Trained with {study['regimes'][study['unrollings_in']]}. Milliseconds are processor time of one thread for a "
        "training batch of default size in the precision that training takes; that an interval includes 0 does not "
        "show that two unrollings are equal."
    )


def _steps(told: dict[str, Any]) -> str:
    """Accuracy after every step, in all conditions, by the probes."""
    accuracy = told["probe"]["accuracy"]
    n_steps = len(next(iter(accuracy.values())))
    rows = [
        [c, *(f"{a:.2f}" for a in steps), signed(told["probe"]["gain"][c], _widest(told["probe"]["gain"][c]))]
        for c, steps in accuracy.items()
    ]
    return table(["heard", *(f"step {k + 1}" for k in range(n_steps)), "last less first"], rows)


def _widest(figure: dict[str, Any]) -> str:
    return "ci95_seeds" if "ci95_seeds" in figure else "ci95"


def _harder(told: dict[str, Any]) -> str:
    lines = [
        "Accuracy after each step of T2/T3, by a linear read-out per step that was fitted on the training tracks "
        "(penalty fixed beforehand). Difficulty is never the network's own: it is the noise that was added, or the "
        "margin of another model. Steps that differ at random give 0 in both. A first step that is right already "
        "leaves no room for a gain: that is part of what is asked."
    ]
    for kind, name in (("probe", "a read-out per step"), ("readout", "the network's own read-out")):
        harder, ease = told[kind]["harder"], told[kind]["ease"]
        said = found(
            harder, up="later steps add more in noise", down="later steps add less in noise",
            neither="that later steps add more in noise is not told",
        )  # fmt: skip
        line = f"* By {name}: gain from first to last step at 0 and −5 dB less that in quiet: "
        line += f"{signed(harder, _widest(harder))}; {said}. "
        if ease is None:
            line += f"Ease of pieces: n/a, {told[kind]['why_no_ease']}."
        else:
            changed = told[kind]["changed"]
            said = found(
                ease, up="later steps add more for harder pieces", down="later steps add less for harder pieces",
                neither="that later steps add more for harder pieces is not told",
            )  # fmt: skip
            counts = "; ".join(f"{half} half {n['gained']} gained, {n['lost']} lost" for half, n in changed.items())
            line += (
                "Pieces of 2 s that the last step recognises and the first does not, less those the other way round, "
                "in the harder half of them less in the easier half, by the margin of the log-mel model on the same "
                "piece: "
                f"{signed(ease, _widest(ease))} ({counts}); {said}."
            )
        lines.append(line)
    return "\n".join([lines[0], "", *lines[1:]])
