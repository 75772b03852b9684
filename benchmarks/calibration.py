"""Do the numbers hold? Scores and p values of simulated participants, in every layout that people have.

    python benchmarks/calibration.py leaks [--n 40] [--out leaks.tsv] [--jobs 2]
    python benchmarks/calibration.py truth ...
    python benchmarks/calibration.py nulls [--power] ...

``leaks``: voxels answer the clips, the model's features are random and know nothing of them. c and r must be 0 and
p flat. ``truth``: predictions that explain all, a third, or nothing of what can be explained are scored as they
are; c must be what is true of them. (``fitted`` is the c of a ridge model that has all that is needed, which finite
data keep below 1; ``pooled`` takes all regions together, also those whose c is n/a.) ``nulls``: noise, and features
of other clips in every dataset; p must be flat. With ``--power`` voxels answer weakly, and shares are what is
found.

A dataset has 25 regions of 20 voxels, each region with noise and responses of its own, and goes through the
package's public functions: held-out plan, folds, design, ridge, tests, scores. Everything follows from the
dataset's number. ``--only`` takes lines whose name holds a text. With ``--out`` each dataset's figures are
appended to a table, and datasets that are there already, made by the same code, are not made again.

Standard errors are over datasets. Processor seconds are of all processes.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from simulated_listening import FILES, LEAKS, NULLS, TRUTH, Listener, Maker, Source, ToyStore, World, recording

import ban_bids
from ban_bids.app.scored import PreparedParticipant, prepare_participant, score_model
from ban_bids.encoding import design as design_module
from ban_bids.encoding import execute
from ban_bids.encoding.bold import held_out_bold
from ban_bids.encoding.fit import Fitting
from ban_bids.errors import BanBidsError
from ban_bids.scoring.bootstrap import explained_power, signal_power
from ban_bids.scoring.cortical import MeasuredRegions, cortical_score
from ban_bids.scoring.voxels import ScoredModel
from ban_bids.settings import Encoding

Found = dict[str, float | str]
QUESTIONS = ("sound", "specific")
AUTOCORRELATIONS = (0.2, 0.4, 0.7, 0.9)
EV = 0.3
"""Single-presentation explainable variance, of raw BOLD."""

FEATURES = {"leaks": 30, "truth": 6, "nulls": 6}
"""Of the model, each at every lag: many of them can take up a leak."""

WEAK = 0.03
_SHIFTED = 600
_LATENT = 5
_SHARES = tuple(f"{kind} {question} .05" for kind in ("region", "voxel") for question in QUESTIONS)
TABLES = {
    "leaks": ("c", "c missing", "r", *_SHARES),
    "truth": (
        "repeated rows",
        *(f"{name} error" for name in ("perfect", "third", "zero")),
        "perfect pooled",
        "fitted perfect",
        "fitted third",
    ),
    "nulls": (*_SHARES, *(share.replace(".05", ".001") for share in _SHARES)),
}
"""Statistics that are printed; those of p are per cent."""

_COLUMNS = ["code", "line", "dataset", "statistic", "value"]


@dataclass(frozen=True)
class Line:
    """One line of the table: a layout, the noise, and how strongly voxels answer (`WEAK`)."""

    subject: str
    layout: str
    autocorrelation: float = 0.4
    n_features: int = 6
    power: bool = False

    @property
    def name(self) -> str:
        """Unique among all lines."""
        kind = f"{self.subject} with response" if self.power else self.subject
        return f"{kind}: {self.layout}, AR {self.autocorrelation:g}, {self.n_features} features"


def lines(subject: str, *, only: str, n_features: int | None, power: bool) -> list[Line]:
    """Lines of a subject's table."""
    layouts: dict[str, Maker] = {"leaks": LEAKS, "truth": TRUTH, "nulls": NULLS}[subject]
    levels = AUTOCORRELATIONS if subject == "nulls" else (0.4,)
    n = FEATURES[subject] if n_features is None else n_features
    table = [Line(subject, layout, level, n, power) for layout in layouts for level in levels]
    return [line for line in table if only in line.name]


# One dataset


def leaks(line: Line, seed: int) -> Found:
    """Random features where voxels answer the clips."""
    world = World(LEAKS[line.layout](np.random.default_rng(seed)), seed)
    heard = world.response(Source(seed, world.n_regions * _LATENT, "response").course)
    answer = world.mixed(heard, shared=False) + world.hearing()
    bold = np.sqrt(EV) * answer / answer.std(axis=0) + np.sqrt(1 - EV) * world.noise(line.autocorrelation)
    ready = prepared(world, bold)
    scored = fitted(ready, Listener(n_features=line.n_features, sources=(random_features(line, seed),)))
    return {**scores(scored), **tests(ready, scored)}


def nulls(line: Line, seed: int) -> Found:
    """Noise, or with ``power`` a weak response to sound and to the model's features."""
    world = World(NULLS[line.layout](np.random.default_rng(seed)), seed)
    features = random_features(line, seed)
    bold = world.noise(line.autocorrelation)
    if line.power:
        hearing = world.hearing()
        bold = bold + np.sqrt(WEAK) * (
            hearing / hearing.std() + world.mixed(world.response(features.course), shared=True)
        )
    ready = prepared(world, bold)
    return tests(ready, fitted(ready, Listener(n_features=line.n_features, loudness=3.0, sources=(features,))))


def truth(line: Line, seed: int) -> Found:
    """Predictions that are given: all, a third and nothing of the response; and a fitted model that may know all."""
    world = World(TRUTH[line.layout](np.random.default_rng(seed)), seed)
    known, other = Source(seed, 2, "known"), Source(seed, 4, "other")
    first, second = (world.mixed(world.response(source.course), shared=True) for source in (known, other))
    scale = np.sqrt(EV)
    response = scale * (np.sqrt(1 / 3) * first + np.sqrt(2 / 3) * second)
    unrelated = world.mixed(world.response(Source(seed, 4, "unrelated").course), shared=True)
    given = {"perfect": response, "third": scale * np.sqrt(1 / 3) * first, "zero": 0.3 * scale * unrelated}
    bold = response + np.sqrt(1 - EV) * world.noise(line.autocorrelation)
    ready = prepared(world, bold)
    found = given_scores(ready, bold, response, given)
    for name, sources in (("perfect", (known, other)), ("third", (known,))):
        found[f"fitted {name}"] = scores(fitted(ready, Listener(sources=sources)))["c"]
    return found


def random_features(line: Line, seed: int) -> Source:
    """Courses that are unrelated to all else."""
    return Source(seed, line.n_features, "features")


SUBJECTS: dict[str, Callable[[Line, int], Found]] = {"leaks": leaks, "truth": truth, "nulls": nulls}


# The package's public functions


def settings() -> Encoding:
    """The package's own, but for fewer permutations and draws."""
    return Encoding(n_permutations=1000, n_bootstrap=100)


def prepared(world: World, bold: np.ndarray) -> PreparedParticipant:
    """Everything that models share."""
    regions = tuple(f"R{r}" for r in range(world.n_regions))
    tracks = {item.clip.track: item.clip.audio for run in world.layout.runs for item in run.presentations}
    first = {recording(track): audio for track, audio in reversed(tracks.items())}
    return prepare_participant(
        world.data(bold), world.layout.plan, Fitting(settings(), world.seed), regions=regions,
        recording={audio: first[recording(track)] for track, audio in tracks.items()},
    )  # fmt: skip


def fitted(ready: PreparedParticipant, model: Listener) -> ScoredModel:
    """A model's scores and tests."""
    laid = design_module.design(
        ready.data, model, ready.folds, n_components=ready.fitting.settings.n_components, cache=Path("unused")
    )
    return score_model(ready, laid)


def given_scores(
    ready: PreparedParticipant, bold: np.ndarray, response: np.ndarray, given: dict[str, np.ndarray]
) -> Found:
    """c less the truth of predictions of raw BOLD (all rows, V), cleaned and scaled as BOLD is."""
    data, index, repeats = ready.data, ready.folds.index, ready.tests.repeats
    if repeats is None:
        return {"reason": ready.tests.reasons["ceiling"]}
    cleaned = {name: cleaned_like(ready, bold, values) for name, values in {**given, "": response}.items()}
    signal = cleaned.pop("")
    held_out = held_out_bold(data.bold, ready.folds.folds, index, voxels=np.arange(data.bold.shape[1]))
    measured = MeasuredRegions(
        bold=held_out, labels=data.region, rows=ready.tests.rows, repeats=repeats, regions=ready.regions,
        ev_floor=ready.fitting.settings.ev_floor, n_bootstrap=ready.fitting.settings.n_bootstrap,
        seed=ready.fitting.seed,
    )  # fmt: skip
    inner = {name: np.zeros((len(ready.folds.folds), len(data.region))) for name in cleaned}
    score = cortical_score("given", cleaned, inner, measured)
    found: Found = {"repeated rows": len(repeats.index)}
    for name, values in cleaned.items():
        true = explained_share(values, signal, repeats.index, data.region)
        c = np.array([cell.value for cell in score.layers if cell.layer == name])
        found |= {name: float(np.nanmean(c)), f"{name} truth": float(true.mean())}
        found[f"{name} error"] = float(np.nanmean(c - true))
        cells = [score.statistics[name, region] for region in ready.regions]
        every = np.ones((1, len(cells[0].n)))
        explained, power = (sum(f(one, every)[0] for one in cells) for f in (explained_power, signal_power))
        found[f"{name} pooled"] = float(explained / power)
    return found


def cleaned_like(ready: PreparedParticipant, bold: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Held-out rows of values, cleaned and scaled as BOLD is there."""
    out, first = np.empty_like(values), 0
    for nuisance in ready.data.nuisance:
        rows = slice(first, first + len(nuisance.basis))
        out[rows] = nuisance.project(values[rows]) / nuisance.project(bold[rows]).std(axis=0)
        first = rows.stop
    held_out = out[ready.folds.index]
    for fold in ready.folds.folds:
        side, places = fold.held_out_side, np.searchsorted(ready.folds.index, fold.held_out)
        kept, measured = (side.project(table) for table in (held_out[places], ready.data.bold[fold.held_out]))
        for part in side.parts:
            kept[part.place] /= np.sqrt(np.sum(measured[part.place] ** 2, axis=0) / part.degrees)
        held_out[places] = kept
    return held_out


def explained_share(prediction: np.ndarray, signal: np.ndarray, index: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of each region's response that a prediction explains, without noise, on the repeated rows."""
    p, s = (values[index].mean(axis=1) for values in (prediction, signal))
    p, s = p - p.mean(axis=0), s - s.mean(axis=0)
    explained, power = np.sum(2 * p * s - p * p, axis=0), np.sum(s * s, axis=0)
    return np.bincount(labels, explained)[1:] / np.bincount(labels, power)[1:]


def scores(scored: ScoredModel) -> Found:
    """Means over regions of c and of the voxels' r."""
    cells = scored.cortical.layers
    c, r = (np.array([getattr(cell, name) for cell in cells], dtype=float) for name in ("value", "mean_r"))
    found: Found = {"c": float(np.nanmean(c)) if np.isfinite(c).any() else np.nan, "r": float(r.mean())}
    missing = [cell.reason for cell in cells if not np.isfinite(cell.value)]
    return {**found, "c missing": len(missing) / len(cells), **({"reason": missing[0]} if missing else {})}


def tests(ready: PreparedParticipant, scored: ScoredModel) -> Found:
    """Shares of p under .05 and .001, of regions and voxels, for each question; why there are none."""
    found: Found = {}
    if not ready.tests.plans:
        return {"reason": "; ".join(ready.tests.reasons.values())}
    for question in QUESTIONS:
        for kind, p in (("region", region_p(scored, question)), ("voxel", voxel_p(scored, question))):
            p = p[np.isfinite(p)]
            if p.size:
                found[f"{kind} {question} .05"] = float(np.mean(p < 0.05))
                found[f"{kind} {question} .001"] = float(np.mean(p < 0.001 + 1e-9))
    return found


def region_p(scored: ScoredModel, question: str) -> np.ndarray:
    """p of every region."""
    return np.array([test.p for test in scored.tests if test.question == question])


def voxel_p(scored: ScoredModel, question: str) -> np.ndarray:
    """p of every voxel."""
    maps = [values for (_, statistic), values in scored.maps.items() if statistic == f"p{question}"]
    return np.concatenate(maps) if maps else np.array([])


# All datasets of the table


def start_process() -> None:
    """Take features from the model instead of audio files; one thread."""
    import torch

    torch.set_num_threads(1)
    design_module.FeatureCache = ToyStore  # type: ignore[misc,assignment]
    crossing = getattr(execute, "crossing_factors", None)
    if crossing is not None and not isinstance(crossing, partial):
        execute.crossing_factors = partial(crossing, n_shifted=_SHIFTED)


def work(line: Line, seed: int) -> Found:
    """Figures of one dataset, and its processor seconds; a layout that is refused gives the reason."""
    start = time.process_time()
    try:
        found = SUBJECTS[line.subject](line, seed)
    except BanBidsError as refusal:
        found = {"reason": f"refused: {refusal}"}
    return {**found, "cpu": time.process_time() - start}


def results(table: Sequence[Line], n: int, *, known: pd.DataFrame, jobs: int) -> Iterator[tuple[Line, int, Found]]:
    """Figures of all datasets that are not known."""
    done = set(zip(known["line"], known["dataset"].astype(int)))
    todo = [(line, seed) for line in table for seed in range(n) if (line.name, seed) not in done]
    if jobs == 1:
        start_process()
        yield from ((line, seed, work(line, seed)) for line, seed in todo)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=start_process) as pool:
        waiting = {pool.submit(work, line, seed): (line, seed) for line, seed in todo}
        yield from ((*waiting[future], future.result()) for future in as_completed(waiting))


@cache
def code() -> str:
    """What figures depend on: a hash of the package and of this harness."""
    here = Path(__file__).resolve()
    files = [*Path(ban_bids.__file__).parent.rglob("*.py"), here, *FILES]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()[:12]


def as_rows(line: Line, seed: int, found: Found) -> pd.DataFrame:
    """A dataset's figures as rows of the table that is kept."""
    rows = [(code(), line.name, seed, statistic, value) for statistic, value in found.items()]
    return pd.DataFrame(rows, columns=_COLUMNS)


def load(path: Path | None) -> pd.DataFrame:
    """Rows that were made by this code."""
    if path is None or not path.exists():
        return pd.DataFrame(columns=_COLUMNS)
    table = pd.read_csv(path, sep="\t", dtype=str)
    return table[table["code"] == code()]


def statistics(rows: pd.DataFrame, line: Line) -> dict[str, np.ndarray]:
    """Every statistic of a line's datasets, without those that lack it."""
    mine = rows[(rows["line"] == line.name) & (rows["statistic"] != "reason")]
    grouped = mine.assign(value=mine["value"].astype(float)).dropna().groupby("statistic")["value"]
    return {str(name): values.to_numpy() for name, values in grouped}


def cell(values: np.ndarray | None, *, percent: bool) -> str:
    """Mean and standard error over datasets."""
    if values is None or not len(values):
        return "n/a"
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{100 * values.mean():.1f} ± {100 * error:.1f}" if percent else f"{values.mean():.3f} ± {error:.3f}"


def printed(rows: pd.DataFrame, table: Sequence[Line]) -> Iterator[str]:
    """The table in Markdown, and why cells are empty."""
    headings = TABLES[table[0].subject]
    yield "| layout | AR | " + " | ".join(headings) + " | datasets | CPU s |"
    yield "|---|---|" + "---|" * (len(headings) + 2)
    total, notes = 0.0, []
    for line in table:
        found = statistics(rows, line)
        seconds = found.get("cpu", np.array([]))
        total += seconds.sum()
        cells = [cell(found.get(name), percent=name.endswith((".05", ".001"))) for name in headings]
        yield " | ".join(
            (f"| {line.layout}", f"{line.autocorrelation:g}", *cells, f"{len(seconds)} | {seconds.sum():.0f} |")
        )
        reasons = rows.loc[(rows["line"] == line.name) & (rows["statistic"] == "reason"), "value"]
        if len(reasons):
            notes.append(f"{line.layout}, AR {line.autocorrelation:g}: in {len(reasons)} datasets, {reasons.iloc[0]}")
    yield ""
    yield from notes
    yield f"{total / 60:.1f} processor minutes"


def main(arguments: Iterable[str] | None = None) -> int:
    """Simulate, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=sorted(SUBJECTS))
    parser.add_argument("--n", type=int, default=40, help="datasets of every line")
    parser.add_argument("--only", default="", help="lines whose name holds this")
    parser.add_argument("--features", type=int, help="of the model")
    parser.add_argument("--power", action="store_true", help="nulls: with a weak response")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(None if arguments is None else list(arguments))
    table = lines(given.subject, only=given.only, n_features=given.features, power=given.power)
    known = load(given.out)
    made = [known]
    for line, seed, found in results(table, given.n, known=known, jobs=given.jobs):
        new = as_rows(line, seed, found)
        made.append(new.astype(str))
        if given.out is not None:
            new.to_csv(given.out, sep="\t", mode="a", header=not given.out.exists(), index=False)
    rows = pd.concat(made)
    print("\n".join(printed(rows, table)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
