"""Are region p values flat where nothing was heard? Random relabellings of a dataset without responses.

    python benchmarks/null_relabellings.py BIDS_DIR OUTPUT_DIR WEIGHTS [--n 100] [--test-runs all] [--tracks DIR]

OUTPUT_DIR holds a finished participant level, whose preprocessed images are used. Each relabelling deals the
clips anew to the presentations of all runs, or, with --tracks, another WAV file of DIR to each presentation;
onsets and BOLD stay. Prints, for every layer in its own region,
for both questions, the share of p values under .01, .05, .1, .5 and a Kolmogorov-Smirnov test against the uniform
distribution, and the processor seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from ban_bids.app.scored import prepare_participant
from ban_bids.audio.sameness import recordings
from ban_bids.constants import AREAS
from ban_bids.encoding.bold import load_participant
from ban_bids.encoding.crossed import CrossingFactor, crossing_factors, tested
from ban_bids.encoding.design import design
from ban_bids.encoding.fit import Fitting, encode
from ban_bids.encoding.significance import null_from_sums, roi_p, roi_sums
from ban_bids.errors import NotComputable
from ban_bids.inputs.heldout import held_out_plan
from ban_bids.inputs.read import read_dataset
from ban_bids.models.registry import load_model
from ban_bids.preprocessing.result import PreprocessedParticipant
from ban_bids.preprocessing.run import preprocess
from ban_bids.settings import Encoding, ModelRequest, Settings


def relabelled(
    pre: PreprocessedParticipant, rng: np.random.Generator, tracks: Sequence[Path]
) -> PreprocessedParticipant:
    """The same images with clips dealt anew, or another track for each presentation."""
    clips = [item.clip for run in pre.runs for item in run.run.presentations]
    if tracks:
        chosen = rng.choice(len(tracks), len(clips), replace=False)
        clips = [replace(clip, audio=tracks[k], start=0.0, track=tracks[k].stem) for clip, k in zip(clips, chosen)]
    dealt = iter([clips[i] for i in rng.permutation(len(clips))])
    runs = tuple(
        replace(
            run,
            run=replace(
                run.run,
                presentations=tuple(replace(item, clip=next(dealt)) for item in run.run.presentations),
            ),
        )
        for run in pre.runs
    )
    participant = replace(pre.participant, runs=tuple(run.run for run in runs))
    return replace(pre, participant=participant, runs=runs)


def region_p(
    pre: PreprocessedParticipant, settings: Settings, seed: int, recording: Mapping[Path, Path]
) -> dict[str, float]:
    """P of every layer in its own region, by question."""
    encoding = settings.encoding
    data = load_participant(pre, encoding, settings.compute.work_dir / "tmp")
    model = load_model("ban", settings.models.requests[0].weights, "cpu")
    plan, fitting = held_out_plan(pre.participant, settings.selection), Fitting(encoding, seed)
    prepared = prepare_participant(data, plan, fitting, recording=recording)
    tests, cache = prepared.tests, settings.compute.work_dir / "features"
    laid = design(data, model, prepared.folds, n_components=encoding.n_components, cache=cache)
    factors = crossing_factors(data, laid, tests.plans, fitting=fitting)
    voxels = np.flatnonzero((data.region > 0) & data.usable)
    held = encode(data, laid, fitting, voxels=voxels, joint=False).held_out
    found = {}
    for question, asked in tests.plans.items():
        for k, layer in enumerate(AREAS):
            predicted = tested(held, question)[layer]
            sums = roi_sums(asked, predicted, held.bold, labels=data.region[voxels], n_regions=len(AREAS))
            factor = factors.get((question, layer), CrossingFactor()).regions
            found[f"{question} {layer}"] = float(roi_p(*null_from_sums(asked, sums, factor=factor))[k])
    return found


def tell(table: Sequence[dict[str, float]]) -> None:
    """Print shares of p and their test."""
    computed = [row for row in table if row]
    print(f"{len(computed)} of {len(table)} relabellings could be tested")
    for layer in sorted({key for row in computed for key in row}):
        p = np.array([row[layer] for row in computed if layer in row])
        shares = {f"<{level}": float(np.mean(p < level)) for level in (0.01, 0.05, 0.1, 0.5)}
        test = stats.kstest(p, "uniform")
        print(f"{layer} ({len(p)})", json.dumps(shares), f"KS D={test.statistic:.3f} p={test.pvalue:.3f}")


def main() -> int:
    """Run the relabellings and print the distribution."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bids_dir", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--test-runs", nargs="+", default=["all"])
    parser.add_argument("--tracks", type=Path)
    given = parser.parse_args()
    work = given.output_dir.resolve() / "work"
    settings = Settings.of(
        given.bids_dir.resolve(), given.output_dir.resolve(), "participant", work_dir=work,
        requests=(ModelRequest(weights=given.weights),), test_runs=tuple(given.test_runs), nprocs=1,
        encoding=Encoding(n_permutations=10_000),
    )  # fmt: skip
    participant = read_dataset(settings).usable[0]
    pre = preprocess([participant], settings)[participant.label]
    if not isinstance(pre, PreprocessedParticipant):
        raise pre
    tracks = sorted(given.tracks.rglob("*.wav")) if given.tracks else []
    recording = recordings(tracks or [item.clip.audio for run in participant.runs for item in run.presentations])
    table = []
    for k in range(given.n):
        changed = relabelled(pre, np.random.default_rng(k), tracks)
        try:
            table.append(region_p(changed, settings, k, recording))
        except NotComputable as why:
            print(k, why, file=sys.stderr)
            table.append({})
        print(k, table[-1], file=sys.stderr, flush=True)
    tell(table)
    print(f"{time.process_time():.0f} processor seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
