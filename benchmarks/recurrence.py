"""What recurrence buys: BAN with and without it at equal steps, equal processor time and equal parameters.

    python benchmarks/recurrence.py --data DIR --out docs/recurrence.json [--steps 1500] [--cpu-minutes 6]
        [--plateau-minutes 30] [--regimes steps time plateau] [--seeds 5] [--folds 5] [--nprocs 2]

Three *regimes* end a training: ``steps`` (the same number for all), ``time`` (the same processor time for all) and
``plateau`` (when the loss stops falling, at most ``--plateau-minutes``). In each, BAN
stands beside BAN without recurrence (``ban-feedforward``) and beside one without recurrence that is as wide as it takes
to have as many parameters (``ban-wide``). Cheaper unrollings (``ban-steps-1223`` makes one step in A1, two in Belt and
PB, three in T2T3) are trained in the regime ``--unrollings-in``. Every network is asked after each step of its last
area too (``time_course.py``). Jobs are those of ``compare_models.py``: kept, taken up again, independent; with the same
``--work`` and ``--plateau-minutes`` equal to its ``--cpu-minutes``, trainings on a plateau are made once for both.

``benchmarks/make_results.py`` makes a section of the results page from the file that this writes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from compare_models import (
    add_common,
    changed,
    codes_of,
    collection_of,
    figures_of,
    finished,
    frame,
    groups_of,
    run_jobs,
    work_folder,
)
from comparison_cost import network_cost
from comparison_jobs import Job, Plan, check_folds, jobs_of
from comparison_summary import Trainings
from recurrence_variants import UNROLLINGS, step_cost, unrolling_name
from time_course import time_course

from ban_bids.models.presets import preset
from ban_bids.training.settings import TrainingSettings
from ban_bids.training.splits import split_tracks

REFERENCE = "ban"
ARMS = (REFERENCE, "ban-feedforward", "ban-wide")
JUDGE = "logmel"
"""Says how hard a piece of sound is."""

_ENDLESS = 1_000_000
_REGIMES = ("steps", "time", "plateau")


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is left to do and write the summary."""
    options = _parser().parse_args(argv)
    if options.unrollings_in not in options.regimes:
        raise SystemExit(f"--unrollings-in {options.unrollings_in}: is not among --regimes {' '.join(options.regimes)}")
    plans = plans_of(options)
    check_folds(plans[options.regimes[0]], options.seeds)
    todo = [(job, plan) for regime, plan in plans.items() for job in _jobs(options, regime)]
    failed = run_jobs(todo, options.nprocs, first="recurrence_variants") if options.nprocs else 0
    summary = summarise(plans, options)
    options.out.write_text(json.dumps(summary, indent=1) + "\n")
    _print(summary)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--steps", type=int, default=1500, help="of every training in the regime of equal steps")
    add("--cpu-minutes", type=float, default=6.0, help="of every training in the regime of equal time")
    add("--regimes", nargs="+", default=_REGIMES, choices=_REGIMES, help="how trainings end (default: all three)")
    add("--plateau-minutes", type=float, default=30.0, help="at most, in the third regime")
    add("--unrollings-in", default="steps", choices=_REGIMES, help="regime of the cheaper unrollings")
    add("--seeds", type=int, default=5, help="trainings per network, regime and fold; a seed also draws the folds")
    add_common(parser)
    return parser


def plans_of(options: argparse.Namespace) -> dict[str, Plan]:
    """Regime -> what its jobs share."""
    base = changed(TrainingSettings(epochs=_ENDLESS, budget_clock="cpu", controls=False), options.set)
    plan = Plan(
        collection_of(options), options.folds, base, work_folder(options),
        keep=options.keep, device=options.device,
    )  # fmt: skip
    if base.plateau is None and "plateau" in options.regimes:
        raise SystemExit("--set plateau=null: leaves nothing that ends a training in the regime plateau")
    settings = {
        "steps": replace(base, epochs=epochs_for(options.steps, plan), plateau=None),
        "time": replace(base, max_minutes=options.cpu_minutes, plateau=None),
        "plateau": replace(base, max_minutes=options.plateau_minutes),
    }
    return {regime: replace(plan, settings=settings[regime]) for regime in options.regimes}


def epochs_for(n_steps: int, plan: Plan) -> int:
    """Epochs of the first fold that make at least so many steps."""
    settings = plan.settings_of(Job(REFERENCE, 0, 0))
    n_training = len(split_tracks(plan.collection.tracks, settings.split, settings.seed).training)
    per_epoch = n_training // min(settings.batch_size, n_training)
    return -(-n_steps // per_epoch)


def models_of(regime: str, options: argparse.Namespace) -> list[str]:
    """Networks that are trained in a regime."""
    unrolled = [unrolling_name(steps) for steps in UNROLLINGS] if regime == options.unrollings_in else []
    return [*ARMS, *unrolled]


def _jobs(options: argparse.Namespace, regime: str) -> list[Job]:
    # the judge does not depend on how networks are trained
    models = [*models_of(regime, options), *([JUDGE] if regime == options.regimes[0] else [])]
    return list(jobs_of(models, options.seeds, options.folds))


def summarise(plans: Mapping[str, Plan], options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the page tells, from the files of the jobs."""
    first = plans[options.regimes[0]]
    genres = first.collection.genres
    outcomes: dict[str, dict[str, Trainings]] = {
        regime: dict(finished(plan, models_of(regime, options), options.seeds)) for regime, plan in plans.items()
    }
    judge = finished(first, [JUDGE], options.seeds).get(JUDGE)
    done = {regime: of_regime for regime, of_regime in outcomes.items() if REFERENCE in of_regime}
    if not done:
        raise SystemExit(f"no regime has all jobs of {REFERENCE} done: there is nothing to compare with")
    trained = sorted({model for of_regime in done.values() for model in of_regime})
    words = [f"--steps {options.steps}", f"--cpu-minutes {options.cpu_minutes:g}"]
    words += [f"--plateau-minutes {options.plateau_minutes:g} --regimes {' '.join(options.regimes)}"]
    words += [f"--unrollings-in {options.unrollings_in} --seeds {options.seeds} --folds {options.folds}"]
    command = " ".join(["python benchmarks/recurrence.py --data DIR --out docs/recurrence.json", *words])
    return {
        **frame(first, options, command),
        "code": codes_of(models for of_regime in done.values() for models in of_regime.values()),
        "reference": REFERENCE,
        "regimes": {regime: _limit(regime, options) for regime in done},
        "unrollings_in": options.unrollings_in,
        "models": {
            regime: figures_of(of_regime, REFERENCE, plans[regime]) for regime, of_regime in done.items()
        },
        "cost": {model: _cost(model, len(genres)) for model in trained},
        "time_course": {
            regime: time_course(of_regime[REFERENCE], judge, genres, groups_of(plans[regime]))
            for regime, of_regime in done.items()
        },
    }  # fmt: skip


def _limit(regime: str, options: argparse.Namespace) -> str:
    """How a regime ends its trainings, in words."""
    return {
        "steps": f"{options.steps} steps each",
        "time": f"{options.cpu_minutes:g} processor minutes each",
        "plateau": f"until the training loss stops falling, at most {options.plateau_minutes:g} processor minutes",
    }[regime]


def _cost(model: str, n_genres: int) -> dict[str, Any]:
    config = preset(model)
    return {**network_cost(config, n_genres), **step_cost(model, n_genres), "unrolling": list(config.steps)}  # type: ignore[attr-defined]


def _print(summary: dict[str, Any]) -> None:
    for regime, models in summary["models"].items():
        for model, figures in models.items():
            line = f"{regime:8} {model:18} {figures['track_accuracy']['value']:.3f}"
            if (difference := figures.get("difference")) is not None:
                line += f"  difference {difference['value']:+.3f} {difference.get('ci95_seeds', difference['ci95'])}"
            print(f"{line}  {figures['steps']} steps, {figures['training_cpu_seconds']:.0f} processor s")


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
