"""Which model recognises genres best: the same tracks, folds and processor minutes for all.

    python benchmarks/compare_models.py --data DIR --out docs/results.json [--models NAME ...]
        [--names TEMPLATE --group FIELD] [--folds 5] [--cpu-minutes 2] [--seeds 1] [--nprocs 2] [--set NAME=VALUE ...]

Every (model, seed, fold) is a job of its own, on one thread. A network is trained for ``--cpu-minutes`` of
processor time per fold, whatever its steps cost. A job's answers are kept in ``--work``; a second run of the
same command goes on where the first one ended, and other settings make other jobs. ``--set`` changes training
settings of all networks alike (``--set ema=0.99 augmentation.mixup=0``). Models whose jobs are not all done
are left out of the summary, and named.

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
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import comparison_jobs as jobs
import numpy as np
import torch
from comparison_cost import model_cost
from comparison_jobs import Job, Outcome, Plan
from comparison_summary import N_DRAWS, compare, pool, times_right

from ban_bids.models.checkpoint import library_versions
from ban_bids.models.presets import LOW_LEVEL
from ban_bids.training.datasets import Data, Source, read_collection
from ban_bids.training.settings import TrainingSettings

_HARDWARE = "2 cores of an Intel Xeon with AMX, no GPU"
_EPOCHS = 1_000_000  # never reached: the budget ends every training
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is left to do and write the summary."""
    options = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    os.environ |= dict.fromkeys(_THREADS, "1")
    for name in options.models:
        jobs.check(name)
    base = TrainingSettings(epochs=_EPOCHS, max_minutes=options.cpu_minutes, budget_clock="cpu")
    folder = options.work or options.out.with_name(options.out.stem + "_jobs")
    folder.mkdir(parents=True, exist_ok=True)
    data = Data((Source(options.data, template=options.names),), group=options.group)
    plan = Plan(read_collection(data), options.folds, changed(base, options.set), folder)
    failed = _run(plan, options.models, options.seeds, options.nprocs) if options.nprocs else 0
    summary = summarise(plan, options)
    options.out.write_text(json.dumps(summary, indent=1) + "\n")
    _print(summary)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder of genres")
    add("--names", default="", metavar="TEMPLATE", help="fields of a track by its name, {speaker}_{take}")
    add("--group", default="", metavar="FIELD", help="folds keep tracks together that are alike in this field")
    add("--out", type=Path, required=True, metavar="JSON", help="summary to write")
    add("--models", nargs="+", default=jobs.default_models(), metavar="NAME", help="%(default)s")
    add("--reference", default="ban", help="model that the others are compared with (default: %(default)s)")
    add("--folds", type=int, default=5)
    add("--cpu-minutes", type=float, default=2.0, help="of training, per network and fold")
    add("--seeds", type=int, default=1, help="trainings per model and fold; a seed also draws the folds")
    add("--nprocs", type=int, default=2, help="jobs at a time; 0: only summarise what was done before")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="training settings")
    add("--work", type=Path, metavar="DIR", help="finished jobs (default: beside --out)")
    add("--hardware", default=_HARDWARE, help="in words, for the page (default: %(default)s)")
    return parser


def changed(settings: TrainingSettings, changes: Sequence[str]) -> TrainingSettings:
    """Settings with ``name=value`` or ``augmentation.name=value`` applied; values are JSON."""
    for change in changes:
        name, _, text = change.partition("=")
        try:
            value = json.loads(text)
            if name.startswith("augmentation."):
                inner = {name.removeprefix("augmentation."): value}
                settings = replace(settings, augmentation=replace(settings.augmentation, **inner))
            else:
                settings = replace(settings, **{name: value})
        except (TypeError, ValueError) as err:
            raise SystemExit(f"--set {change}: {err}") from err
    return settings


def _all_jobs(models: Sequence[str], n_seeds: int, n_folds: int) -> list[Job]:
    """Fold by fold, so that all models are equally far on whenever one looks."""
    return [Job(m, s, f) for s in range(n_seeds) for f in range(n_folds) for m in models]


def _run(plan: Plan, models: Sequence[str], n_seeds: int, nprocs: int) -> int:
    """Do the jobs that were not done before; return how many failed."""
    everything = _all_jobs(models, n_seeds, plan.n_folds)
    left = [job for job in everything if not plan.file_of(job).exists()]
    print(f"{len(everything)} jobs, {len(everything) - len(left)} done before", flush=True)
    failed = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(nprocs, mp_context=context) as executor:
        futures = {executor.submit(jobs.run, job, plan): job for job in left}
        for k, future in enumerate(as_completed(futures), 1):
            job = futures[future]
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
        f"{outcome.cpu_seconds:.0f} processor seconds"
    )


def summarise(plan: Plan, options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the results page tells, from the files of the jobs."""
    outcomes: dict[str, list[list[Outcome]]] = {}
    for model in options.models:
        files = [
            [plan.file_of(Job(model, seed, fold)) for fold in range(plan.n_folds)] for seed in range(options.seeds)
        ]
        if all(file.exists() for folds in files for file in folds):
            outcomes[model] = [[jobs.load(file) for file in folds] for folds in files]
        else:
            print(f"{model}: left out, its jobs are not all done", file=sys.stderr)
    if options.reference not in outcomes:
        raise SystemExit(f"--reference {options.reference}: has no result to compare the others with")
    genres = plan.collection.genres
    pooled = {model: [pool(folds, genres) for folds in seeds] for model, seeds in outcomes.items()}
    figures = compare({m: [answers for _, answers in seeds] for m, seeds in pooled.items()}, options.reference)
    codes = sorted({o.code for seeds in outcomes.values() for folds in seeds for o in folds})
    if len(codes) > 1:
        print("the code of models or training changed between jobs: run all anew", file=sys.stderr)
    models = {}
    for model, seeds in pooled.items():
        trained = [outcome for folds in outcomes[model] for outcome in folds]
        models[model] = {
            **jobs.about(model),
            **figures[model],
            **model_cost(model, len(genres)),
            "training_cpu_seconds": round(float(np.mean([o.cpu_seconds for o in trained])), 1),
            "steps": round(float(np.mean([o.steps for o in trained]))),
            **({"segment_accuracy": None} if model in LOW_LEVEL else {}),  # they hear whole tracks
            "not_recognised": [_wrong(names, answers) for names, answers in seeds],
        }
    return {**_frame(plan, options, codes), "models": models}


def _wrong(names: Sequence[str], answers: Any) -> list[str]:
    return [n for n, right in zip(names, times_right([answers])) if not right]


def _frame(plan: Plan, options: argparse.Namespace, codes: Sequence[str]) -> dict[str, Any]:
    """What was done, in words and settings, without a path of the machine."""
    settings = asdict(plan.settings)
    for name in ("preset", "split", "seed", "epochs"):
        del settings[name]
    words = [f"--models {' '.join(options.models)}", f"--folds {options.folds}"]
    words += [f"--names '{options.names}'"] if options.names else []
    words += [f"--group {options.group}"] if options.group else []
    words += [f"--cpu-minutes {options.cpu_minutes:g}", f"--seeds {options.seeds}"]
    words += [f"--set {' '.join(options.set)}"] if options.set else []
    tracks = plan.collection.tracks
    return {
        "command": " ".join(["python benchmarks/compare_models.py --data DIR --out docs/results.json", *words]),
        "hardware": options.hardware,
        "versions": {**library_versions(), "threads of a job": "1"},
        "code": list(codes),
        "n_tracks": len(tracks),
        "genres": {g: sum(t.genre == g for t in tracks) for g in plan.collection.genres},
        "folds": options.folds,
        "group": options.group or None,
        "seeds": options.seeds,
        "cpu_minutes": options.cpu_minutes,
        "reference": options.reference,
        "draws": N_DRAWS,
        "settings": settings,
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
