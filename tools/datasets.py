#!/usr/bin/env python3
"""The page of datasets that are read as they are, renewed from skeletons of them.

    python tools/datasets.py [--check | --write]

Each dataset with rules of its own has a skeleton in ``tests/inputs/dataset_skeletons.py``: real names, tables and
lengths, no data. They are built in a temporary folder and read as a user's call would read them; runs, clips, held-out
runs and training rows go into ``docs/datasets.md`` between its markers.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "datasets.md"
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "inputs")]

from dataset_skeletons import BUILDERS, Published  # noqa: E402

from ban_bids.encoding.cleaning import nuisance_basis  # noqa: E402
from ban_bids.encoding.planned import Folds, participant_folds  # noqa: E402
from ban_bids.encoding.rows import RunRows, run_rows  # noqa: E402
from ban_bids.errors import NotComputable  # noqa: E402
from ban_bids.inputs.heldout import HeldOutPlan, held_out_plan  # noqa: E402
from ban_bids.inputs.read import read_dataset  # noqa: E402
from ban_bids.inputs.types import Dataset, Participant, Run  # noqa: E402
from ban_bids.settings import Encoding  # noqa: E402


@dataclass(frozen=True)
class Entry:
    """What people must know of a dataset: what it is, what to fetch and give, what nobody could verify."""

    what: str
    fetch: str
    options: str
    unverified: str


ENTRIES: Mapping[str, Entry] = {
    "ds003720": Entry(
        "Music genres (Nakai et al. 2021): 540 excerpts of 15 s of GTZAN",
        "images; GTZAN, which the dataset does not hold",
        "`--gtzan-dir` or `--stimuli-dir`: the folder with `genres/`",
        "nothing: the tables are the real ones",
    ),
    "ds000113": Entry(
        "studyforrest, 7 T: 25 pieces of music of 6 s, each 8 times (Hanke et al. 2015)",
        "`ses-auditoryperception` and the anatomy (`ses-forrestgump`); the 25 clips of the study",
        "`--stimuli-dir`: the folder with `ambient_000.wav` and so on; `--task-id auditoryperception` reads less",
        "layout as described by the study's logs and scripts (`stim`, `genre`), not by the release's tables",
    ),
    "ds002345": Entry(
        "Narratives (Nastase et al. 2021): 27 stories, one to seven per person",
        "images, `stimuli/`",
        "none",
        "numbers of volumes but for `task-pieman`",
    ),
    "ds003020": Entry(
        "Stories of The Moth (LeBel et al. 2023): up to 84 stories, one of them in 10 sessions",
        "images, `stimuli/`",
        "none",
        "that raw images have as many volumes as `respdict.json` says",
    ),
    "ds003643": Entry(
        "The Little Prince in English, Chinese or French (Li et al. 2022), nine sections",
        "images, `stimuli/`",
        '`-d fmriprep=...` (its combined echoes), or `--bids-filter-file` with `{"bold": {"echo": 2}}`',
        "onsets: 8 s (English) and 0 s (Chinese, French) as the README says, where the paper says 8 s for all",
    ),
    "ds004718": Entry(
        "The Little Prince in Cantonese, older listeners (Momenian et al. 2024), four runs",
        "images, `stimuli/`",
        "none; `--rules` with another `onset` where you know better",
        "onset: 0 s as in the authors' model; numbers of volumes",
    ),
    "ds004007": Entry(
        "Event structure of music (Williams et al. 2022): 16 pieces in each of two runs",
        "images, `stimuli/`",
        "none",
        "numbers of volumes",
    ),
    "ds004078": Entry(
        "SMN4Lang (Wang et al. 2022): 60 Chinese stories, a run each",
        "images, `stimuli/audio/`",
        "`--task-id RDR` reads less",
        "lengths of 59 stories, numbers of volumes",
    ),
}


@dataclass(frozen=True)
class Reading:
    """What one participant of a skeleton gives.

    Parameters
    ----------
    label : str
    runs : tuple of Run
    plan : HeldOutPlan
    folds : Folds or None
    reason : str
        Why there are no folds.
    """

    label: str
    runs: tuple[Run, ...]
    plan: HeldOutPlan
    folds: Folds | None
    reason: str = ""

    @property
    def training_rows(self) -> tuple[int, ...]:
        """Volumes that train each fold."""
        return tuple(len(fold.training) for fold in self.folds.folds) if self.folds else ()


def folds_of(runs: Sequence[Run], plan: HeldOutPlan) -> Folds:
    """Folds of rows with default settings, where no volume is left out and no confound is regressed out."""
    clips = tuple(dict.fromkeys(item.clip for run in runs for item in run.presentations))
    settings = Encoding()
    heard, nuisance = [], []
    for run in runs:
        rows = run_rows(run, run.reference_time, 0, scrubbed=(), clips=clips)
        heard.append(RunRows(run.name, rows, run.presentations))
        confounds = np.zeros((run.n_volumes, 0))
        nuisance.append(nuisance_basis(confounds, run.repetition_time, settings.high_pass, keep=rows.scored))
    return participant_folds(runs, heard, nuisance, plan=plan, settings=settings)


def reading(person: Participant, dataset: Dataset) -> Reading:
    """Held-out plan and folds of one participant."""
    plan = held_out_plan(person, dataset.selection, declared=dataset.held_out)
    try:
        return Reading(person.label, person.runs, plan, folds_of(person.runs, plan))
    except NotComputable as error:
        return Reading(person.label, person.runs, plan, None, str(error))


def read(skeleton: Published) -> list[Reading]:
    """Read a skeleton as a user's call does, and say what every participant gives."""
    dataset = read_dataset(skeleton.settings())
    return [reading(person, dataset) for person in dataset.usable]


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _runs(runs: Sequence[Run]) -> str:
    tasks = Counter(run.task for run in runs)
    named = ", ".join(f"{n} {task}" for task, n in tasks.items()) if len(tasks) <= 3 else f"{len(tasks)} tasks"
    named = next(iter(tasks)) if len(tasks) == 1 else named
    return f"{len(runs)} ({named})"


def _held_out(found: Reading) -> str:
    plan = found.plan
    if plan.leave_one_out:
        return plan.rule
    tasks = ", ".join(dict.fromkeys(run.task for run in found.runs if run.name in plan.held_out))
    return f"{len(plan.held_out)} runs of {tasks}: {plan.rule}"


def _training(found: Reading) -> str:
    rows = found.training_rows
    if not rows:
        return f"n/a: {found.reason.partition(': ')[2].partition(';')[0] or found.reason}"
    span = _thousands(min(rows)) + (f" to {_thousands(max(rows))}" if min(rows) < max(rows) else "")
    return span if len(rows) == 1 else f"{len(rows)} folds: {span}"


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def tables(readings: Mapping[str, Sequence[Reading]]) -> dict[str, str]:
    """Both tables of the page, by marker."""
    known = [_cells("dataset", "what it is", "fetch", "options", "not verified"), _cells(*["---"] * 5)]
    known += [
        _cells(
            f"[{key}](https://openneuro.org/datasets/{key})", entry.what, entry.fetch, entry.options, entry.unverified
        )
        for key, entry in ENTRIES.items()
    ]
    given = [_cells("dataset", "participant", "runs", "clips", "held out", "training rows"), _cells(*["---"] * 6)]
    for key in ENTRIES:
        for found in readings[key]:
            played = [item.clip for run in found.runs for item in run.presentations]
            clips = f"{_thousands(len(played))} played, {_thousands(len(set(played)))} distinct"
            given.append(_cells(key, found.label, _runs(found.runs), clips, _held_out(found), _training(found)))
    return {"datasets": "\n".join(known), "readings": "\n".join(given)}


def drawn(page: str, readings: Mapping[str, Sequence[Reading]]) -> str:
    """Return the page with both tables in their places."""
    for name, text in tables(readings).items():
        block = f"<!-- {name}: begin -->\n{text}\n<!-- {name}: end -->"
        page, times = re.subn(rf"<!-- {name}: begin -->.*<!-- {name}: end -->", lambda _, b=block: b, page, flags=re.S)
        if times != 1:
            raise ValueError(f"{PAGE.name}: no markers '<!-- {name}: begin -->' and '<!-- {name}: end -->'")
    return page


def read_all() -> Iterator[tuple[str, list[Reading]]]:
    """Build and read all skeletons."""
    with tempfile.TemporaryDirectory() as folder:
        for key, build in BUILDERS.items():
            yield key, read(build(Path(folder) / key / "bids"))


def main() -> int:
    """Check or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare the page (default)")
    what.add_argument("--write", action="store_true", help="write the tables into the page")
    write = parser.parse_args().write
    logging.disable(logging.WARNING)
    page = PAGE.read_text(encoding="utf-8")
    new = drawn(page, dict(read_all()))
    if write:
        PAGE.write_text(new, encoding="utf-8")
    elif new != page:
        print(f"{PAGE.relative_to(ROOT)}: other tables than the skeletons give; run python tools/datasets.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
