"""Which model hears best: the same tracks, folds and rule for the end of training for all.

    python benchmarks/compare_models.py --data DIR --out docs/results.json [--models NAME ...]
        [--names TEMPLATE --group FIELD] [--folds 5] [--cpu-minutes 30]
        [--seeds 3] [--nprocs 2] [--set NAME=VALUE ...] [--choices FILE]

Every (model, seed, fold) is a job of its own, on one thread. ``--set`` changes training settings of all networks
alike (``--set augmentation.mixup=0 objective.dimension=0``). With ``plateau``, as by default, a network is trained
until its loss stops falling, and ``--cpu-minutes`` is the most that it may take; with ``--set plateau=null`` it is
what every network takes, whatever its steps cost. While a job has its model at hand, the held-out tracks are heard in
quiet, in noise and in pieces (``hearing.py``) and its last layer is measured (``last_layer.py``). Answers and numbers
are kept in ``--work``; a second run of the same command goes on where the first one ended, also within a training,
and other settings make other jobs. Models whose jobs are not all done are left out of the summary, and named.
``--work benchmarks/outcomes`` takes what was trained for the results page; ``--nprocs 0`` summarises it alone.

``benchmarks/make_results.py`` makes the results page from the file that this writes. No audio is in it, nor
anything that was computed from audio but which tracks were recognised.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import comparison_jobs as jobs
import torch
from comparison_cost import model_cost
from comparison_jobs import Job, Outcome, Plan, jobs_of
from comparison_summary import N_DRAWS, Trainings, compare, conditions, measures, pool, times_right, trainings
from hearing import N_PIECES, PIECES, SNRS
from listeners import about

from ban_bids.models.checkpoint import library_versions
from ban_bids.models.presets import LOW_LEVEL
from ban_bids.training.datasets import Collection, Data, Source, read_collection
from ban_bids.training.grouped import group_of
from ban_bids.training.settings import TrainingSettings

_HARDWARE = "2 cores of an Intel Xeon with AMX, no GPU"
_EPOCHS = 1_000_000  # never reached: the budget ends every training
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is left to do and write the summary."""
    options = _parser().parse_args(argv)
    for name in options.models:
        jobs.check(name)
    base = TrainingSettings(epochs=_EPOCHS, max_minutes=options.cpu_minutes, budget_clock="cpu", controls=False)
    plan = Plan(
        collection_of(options), options.folds, changed(base, options.set), work_folder(options),
        keep=options.keep, device=options.device,
    )  # fmt: skip
    jobs.check_folds(plan, options.seeds)
    todo = [(job, plan) for job in jobs_of(options.models, options.seeds, options.folds)]
    failed = run_jobs(todo, options.nprocs) if options.nprocs else 0
    summary = summarise(plan, options)
    options.out.write_text(json.dumps(summary, indent=1) + "\n")
    _print(summary)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--models", nargs="+", default=jobs.default_models(), metavar="NAME", help="%(default)s")
    add("--reference", default="ban", help="model that the others are compared with (default: %(default)s)")
    add("--cpu-minutes", type=float, default=30.0, help="of training, per network and fold; with a plateau: at most")
    add("--seeds", type=int, default=1, help="trainings per model and fold; a seed also draws the folds")
    add_common(parser)
    return parser


def add_common(parser: argparse.ArgumentParser) -> None:
    """Options of every comparison."""
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder of genres")
    add("--names", default="", metavar="TEMPLATE", help="fields of a track by its name, {speaker}_{take}")
    add("--group", default="", metavar="FIELD", help="folds keep tracks together that are alike in this field")
    add("--out", type=Path, required=True, metavar="JSON", help="summary to write")
    add("--folds", type=int, default=5)
    add("--nprocs", type=int, default=2, help="jobs at a time; 0: only summarise what was done before")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="training settings")
    add("--work", type=Path, metavar="DIR", help="finished jobs (default: beside --out)")
    add("--keep", action="store_true", help="keep the weights of trained networks in DIR/weights of --work")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="on which networks are trained (default: %(default)s)")
    add("--about", default="Real tracks of GTZAN", metavar="TEXT", help="what the sounds are (default: %(default)s)")
    add("--hardware", default=_HARDWARE, help="in words, for the page (default: %(default)s)")
    add("--choices", type=Path, metavar="FILE", help="Markdown for the page: which choices were made on which data")


def collection_of(options: argparse.Namespace) -> Collection:
    """The tracks that all models are trained on and asked about."""
    return read_collection(Data((Source(options.data, template=options.names),), group=options.group))


def work_folder(options: argparse.Namespace) -> Path:
    """Where finished jobs lie, made; also sets what all their processes inherit."""
    logging.basicConfig(level=logging.WARNING)
    os.environ |= dict.fromkeys(_THREADS, "1")
    folder: Path = options.work or options.out.with_name(options.out.stem + "_jobs")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def changed(settings: TrainingSettings, changes: Sequence[str]) -> TrainingSettings:
    """Settings with ``name=value`` or ``augmentation.name=value`` (or ``objective``) applied; values are JSON."""
    for change in changes:
        name, _, text = change.partition("=")
        try:
            value = json.loads(text)
            part, _, inner = name.rpartition(".")
            if part:
                value, name = replace(getattr(settings, part), **{inner: value}), part
            settings = replace(settings, **{name: value})
        except (AttributeError, TypeError, ValueError) as err:
            raise SystemExit(f"--set {change}: {err}") from err
    return settings


def run_jobs(todo: Sequence[tuple[Job, Plan]], nprocs: int, first: str = "comparison_jobs") -> int:
    """Do the jobs that were not done before; return how many failed. Every process first imports the module named."""
    left = [(job, plan) for job, plan in todo if not plan.file_of(job).exists()]
    print(f"{len(todo)} jobs, {len(todo) - len(left)} done before", flush=True)
    failed = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(nprocs, context, import_module, (first,)) as executor:
        futures = {executor.submit(jobs.run, job, plan): (job, plan) for job, plan in left}
        for k, future in enumerate(as_completed(futures), 1):
            job, plan = futures[future]
            what = f"[{k}/{len(left)}] {job.model} seed {job.seed} fold {job.fold}:"
            if (error := future.exception()) is not None:
                failed += 1
                print(f"{what} failed: {type(error).__name__}: {error}", flush=True)
                continue
            print(what, _summary_line(jobs.load(future.result()), plan.collection.genres), flush=True)
    return failed


def _summary_line(outcome: Outcome, genres: Sequence[str]) -> str:
    _, answers = pool([outcome], genres)
    return (
        f"{times_right([answers]).sum()} of {len(answers.truth)} tracks, {outcome.steps} steps, "
        f"{outcome.cpu_seconds:.0f} processor seconds{f', ended by {outcome.ended}' if outcome.ended else ''}"
    )


def finished(plan: Plan, models: Iterable[str], n_seeds: int) -> dict[str, list[list[Outcome]]]:
    """Outcomes by model, seed and fold; models whose jobs are not all done are left out, and named."""
    outcomes = {}
    for model in models:
        files = [[plan.file_of(Job(model, seed, fold)) for fold in range(plan.n_folds)] for seed in range(n_seeds)]
        if all(file.exists() for folds in files for file in folds):
            outcomes[model] = [[jobs.load(file) for file in folds] for folds in files]
        else:
            print(f"{model}: left out, its jobs are not all done", file=sys.stderr)
    return outcomes


def groups_of(plan: Plan) -> list[str]:
    """Of the tracks, sorted by their names."""
    return [group_of(track) for track in sorted(plan.collection.tracks, key=lambda track: track.name)]


def figures_of(outcomes: dict[str, Trainings], reference: str, plan: Plan) -> dict[str, dict[str, Any]]:
    """All that the outcomes tell of every model, beside the reference."""
    if reference not in outcomes:
        raise SystemExit(f"--reference {reference}: has no result to compare the others with")
    genres, groups = plan.collection.genres, groups_of(plan)
    pooled = {model: [pool(folds, genres) for folds in seeds] for model, seeds in outcomes.items()}
    compared = compare({m: [answers for _, answers in seeds] for m, seeds in pooled.items()}, reference, groups)
    heard, measured = conditions(outcomes, reference, genres, groups), measures(outcomes, reference)
    return {
        model: {
            **compared[model],
            "heard": heard[model],
            "measures": measured[model],
            "not_measured": _reasons(outcomes[model]),
            **trainings(outcomes[model]),
            "not_recognised": [_wrong(names, answers) for names, answers in pooled[model]],
        }
        for model in outcomes
    }


def _reasons(seeds: Trainings) -> dict[str, str]:
    """Why a measure is n/a: the first of all trainings in which it is."""
    first: dict[str, str] = {}
    for outcome in (o for folds in seeds for o in folds):
        first = {**outcome.not_measured, **first}
    return first


def codes_of(outcomes: Iterable[Trainings]) -> list[str]:
    """Hashes of the code that made the outcomes; more than one is told."""
    codes = sorted({o.code for seeds in outcomes for folds in seeds for o in folds})
    if len(codes) > 1:
        print("the code of models or training changed between jobs: run all anew", file=sys.stderr)
    return codes


def summarise(plan: Plan, options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the results page tells, from the files of the jobs."""
    outcomes = finished(plan, options.models, options.seeds)
    genres = plan.collection.genres
    models = {
        model: {
            **about(model),
            **figures,
            **model_cost(model, len(genres)),
            **({"segment_accuracy": None} if model in LOW_LEVEL else {}),  # they hear whole tracks
        }
        for model, figures in figures_of(outcomes, options.reference, plan).items()
    }
    words = [f"--models {' '.join(options.models)}", f"--folds {options.folds}"]
    words += [f"--cpu-minutes {options.cpu_minutes:g}", f"--seeds {options.seeds}"]
    command = " ".join([f"python benchmarks/compare_models.py --data DIR --out docs/{options.out.name}", *words])
    return {
        **frame(plan, options, command),
        "code": codes_of(outcomes.values()),
        "cpu_minutes": options.cpu_minutes,
        "reference": options.reference,
        "models": models,
    }


def _wrong(names: Sequence[str], answers: Any) -> list[str]:
    return [n for n, right in zip(names, times_right([answers])) if not right]


def frame(plan: Plan, options: argparse.Namespace, command: str) -> dict[str, Any]:
    """What was done, in words and settings, without a path of the machine."""
    settings = asdict(plan.settings)
    for name in ("preset", "split", "seed", "epochs"):
        del settings[name]
    tracks = plan.collection.tracks
    words = [f"--names '{options.names}'"] if options.names else []
    words += [f"--group {options.group}"] if options.group else []
    words += [f"--set {' '.join(options.set)}"] if options.set else []
    choices = None if options.choices is None else options.choices.read_text("utf-8").strip()
    return {
        "command": " ".join([command, *words]),
        "about": options.about,
        "hardware": options.hardware,
        "device": options.device,
        "versions": {**library_versions(), "threads of a job": "1"},
        "n_tracks": len(tracks),
        "genres": {g: sum(t.genre == g for t in tracks) for g in plan.collection.genres},
        "folds": options.folds,
        "group": options.group or None,
        "n_groups": len({group_of(t) for t in tracks}),
        "seeds": options.seeds,
        "snrs": SNRS,
        "pieces": {"seconds": PIECES, "per track": N_PIECES},
        "draws": N_DRAWS,
        "settings": settings,
        "choices": choices,
    }


def _print(summary: dict[str, Any]) -> None:
    for name, model in sorted(summary["models"].items(), key=lambda m: -m[1]["track_accuracy"]["value"]):
        accuracy, difference = model["track_accuracy"], model.get("difference")
        line = f"{name:22} {accuracy['value']:.3f} {accuracy['ci95']}  F1 {model['macro_f1']['value']:.3f}"
        if difference is not None:
            line += f"  difference {difference['value']:+.3f} {difference['ci95']} p {difference['p']:.3f}"
        print(f"{line}  {model['steps']} steps  {model['audio_seconds_per_cpu_second']:.0f} x real time")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
