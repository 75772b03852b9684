"""``ban-bids-train``: train BAN on a folder of genres, or evaluate a checkpoint on one."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ban_bids import __version__
from ban_bids.cli.environment import exit_status, temporary_folder
from ban_bids.cli.watch import watched
from ban_bids.constants import DEFAULT_SEED
from ban_bids.errors import UsageError
from ban_bids.files.room import told_when_full
from ban_bids.files.shown import LogFormatter

if TYPE_CHECKING:
    from ban_bids.training.tracks import Data

_SETTINGS = (
    "preset", "split", "seed", "epochs", "plateau", "max_minutes", "budget_clock",
    "batch_size", "crop_seconds", "learning_rate", "patience",
)  # fmt: skip
_NAMED = re.compile(r"([A-Za-z][\w-]*)=(.+)")
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default, which is then watched: see
        `ban_bids.cli.watch`.

    Returns
    -------
    int
        0, or the exit status of the error that was reported: 2 for usage, 65 for data; 143 after SIGTERM.
    """
    if argv is not None:
        return _main(argv)
    return watched("ban-bids-train", lambda _: _main(None), lambda: "the same command goes on from the last state kept")


def _main(argv: Sequence[str] | None) -> int:
    options = _parser().parse_args(argv)
    level = logging.WARNING if options.quiet else logging.INFO
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.ERROR if _is_helper(options) else level, handlers=[handler])
    return exit_status("ban-bids-train", lambda: _run(options), lambda: _left_behind(options))


def _run(options: argparse.Namespace) -> int:
    folders = [path.absolute().parent for path in (options.out, options.report, options.cache_dir) if path is not None]
    with temporary_folder(folders):
        _check(options)
        with told_when_full(*_written(options)):
            if options.evaluate is not None:
                _evaluate(options)
            else:
                _train(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ban-bids-train",
        description="Train BAN, the brain-like auditory network, on a folder that holds one folder per genre or other "
        "class (GTZAN in any of its usual layouts, .wav .au .flac .mp3), or evaluate a checkpoint on one. "
        "A training that was interrupted goes on when the same command is given again.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "--data",
        nargs="+",
        action="extend",
        required=True,
        metavar="[NAME=]DIR",
        help="folder of genres, or of other classes; the network is kept for the first one, every further one is a "
        "task with a read-out of its own that is left behind after training",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="CKPT", help="checkpoint to write (.safetensors)")
    what.add_argument(
        "--evaluate", type=Path, metavar="CKPT", help="print this checkpoint's accuracy on --data as JSON"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="with --evaluate: also measure the code on tracks that did not train it (effective dimension, linear "
        "probes, profile), and write tables and pictures into DIR",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="warnings and errors only")
    _add_tracks(parser.add_argument_group("tracks"))
    _add_training(parser.add_argument_group("training"))
    _add_hardware(parser.add_argument_group("hardware"))
    return parser


def _add_tracks(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--names",
        nargs="+",
        action="extend",
        default=[],
        metavar="[NAME=]TEMPLATE",
        help="fields of a recording by its name without the suffix, such as '{digit}_{speaker}_{take}'; with several "
        "--data after the NAME of the one that is meant",
    )
    add(
        "--table",
        nargs="+",
        action="extend",
        default=[],
        metavar="[NAME=]TSV",
        help="the same from a table with the column file (relative to the folder, or the name alone) and one column "
        "per field",
    )
    add(
        "--heads", nargs="+", action="extend", default=[], metavar="FIELD",
        help="fields that are tasks too, with a read-out of their own that is left behind",
    )  # fmt: skip
    add("--group", default="", metavar="FIELD", help="no split divides recordings that are alike in this field")
    add(
        "--split",
        help="fault-filtered (torchaudio's lists of GTZAN), fmri-safe (the same without the tracks of "
        "ds003720's Test runs and their twins), stratified, kfold-I-of-N, all (none validates), or random, which "
        "leaks (default: fault-filtered; data that is not GTZAN is split by track, or by --group, stratified by "
        "genre)",
    )
    add(
        "--exclude-stimuli",
        type=Path,
        metavar="PATH",
        help="leave these recordings out, known by their sound: a BIDS dataset (tracks of its held-out "
        "runs), a folder of audio, or a text file with one path per line",
    )
    add(
        "--cache-dir",
        type=Path,
        metavar="DIR",
        help="where decoded audio is kept for the next training (default: $BAN_BIDS_CACHE, or ban-bids in "
        "the user's folder of caches)",
    )
    add("--test-task", nargs="+", default=[], metavar="TASK", help="held-out tasks of --exclude-stimuli")
    add("--test-runs", nargs="+", default=[], metavar="RUN", help="its held-out runs; all: every run")


def _add_training(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--preset",
        help="ban, ban-feedforward, ban-feedback, ban-small, or a network to compare with: deepcnn, "
        "alexnet, vgg, crnn; or the read-out of a low-level model: logmel, modulation (default: ban)",
    )
    add("--seed", type=int, help=f"of weights, split and crops (default: {DEFAULT_SEED})")
    add("--epochs", type=int, help="passes over the tracks at most, one crop each (default: 1000)")
    add(
        "--plateau",
        type=float,
        metavar="SHARE",
        help="end when the training loss fell, over the last quarter of the steps, by less than this share of its "
        "whole fall; the learning rate then falls over half as many steps again. 0: use all epochs or minutes "
        "(default: 0.03)",
    )
    add("--max-minutes", type=float, metavar="M", help="shorten the schedule to end within M minutes")
    add(
        "--budget-clock",
        choices=("wall", "cpu"),
        help="clock of --max-minutes: wall, or cpu, the processor time of the training, which gives models "
        "that are compared the same work whatever else runs on the machine (default: wall)",
    )
    add("--batch-size", type=int, metavar="N", help="crops per step and process (default: 16)")
    add("--crop-seconds", type=float, metavar="S", help="length of a crop (default: 5.12)")
    add("--learning-rate", type=float, metavar="R", help="highest of the schedule (default: 0.003)")
    add(
        "--early-stopping",
        type=int,
        metavar="EPOCHS",
        dest="patience",
        help="stop when the loss on a sixth of the training tracks, held out for this, has not fallen for so "
        "long, and take the best weights; the validation tracks play no part (default: off)",
    )


def _add_hardware(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    add("--omp-nthreads", type=int, default=1, metavar="N", help="CPU threads per process (default: 1)")
    add("--devices", type=int, default=1, metavar="N", help="GPUs per node, or processes on a CPU (default: 1)")
    add("--num-nodes", type=int, default=1, metavar="N", help="nodes of a cluster's job (default: 1)")
    add("--strategy", default="auto", metavar="NAME", help="Lightning's, e.g. ddp (default: auto)")
    add("--compile", action="store_true", help="torch.compile, on CUDA; pays in long trainings")


def _check(options: argparse.Namespace) -> None:
    """Refuse options that would do nothing in what was asked for."""
    from ban_bids.models.presets import LOW_LEVEL  # torch takes a second to import

    trains = {**dict.fromkeys(_SETTINGS), "devices": 1, "num_nodes": 1, "strategy": "auto", "compile": False}
    changed = [name for name, default in trains.items() if getattr(options, name) != default]
    if options.evaluate is not None and changed:
        raise UsageError(f"{_spelled(changed[0])} has no effect with --evaluate; drop it")
    of_data = [name for name in ("names", "table", "heads", "group") if getattr(options, name)]
    if options.evaluate is not None and of_data:
        raise UsageError(f"--{of_data[0]} has no effect with --evaluate; drop it")
    if options.evaluate is not None and len(options.data) > 1:
        raise UsageError("--evaluate answers the main task alone; give one --data")
    if options.evaluate is None and options.report is not None:
        raise UsageError("--report has no effect without --evaluate; evaluate the checkpoint afterwards")
    of_networks = [name for name in changed if name not in ("preset", "split", "seed")]
    if options.preset in LOW_LEVEL and of_networks:
        raise UsageError(f"{_spelled(of_networks[0])} has no effect with --preset {options.preset}; drop it")
    if options.omp_nthreads < 1:
        raise UsageError(f"--omp-nthreads {options.omp_nthreads}: must be 1 or more")


def _spelled(name: str) -> str:
    return "--early-stopping" if name == "patience" else f"--{name.replace('_', '-')}"


def _train(options: argparse.Namespace) -> None:
    from ban_bids.training.cache import AudioCache
    from ban_bids.training.settings import Parallel, TrainingSettings
    from ban_bids.training.train import train_model

    chosen = {name: getattr(options, name) for name in _SETTINGS if getattr(options, name) is not None}
    if "plateau" in chosen:
        chosen["plateau"] = chosen["plateau"] or None
    out = train_model(
        _data(options),
        options.out,
        TrainingSettings(**chosen),
        exclude=_excluded(options),
        nthreads=options.omp_nthreads,
        device=options.device,
        cache=AudioCache(options.cache_dir),
        parallel=Parallel(options.devices, options.num_nodes, options.strategy, options.compile),
    )
    if not _is_helper(options):
        print(out)


def _data(options: argparse.Namespace) -> Data:
    """The folders of ``--data``, each with its fields."""
    from ban_bids.training.tracks import Data, Source

    sources = [Source(folder, name) for name, folder in map(_named, options.data)]
    names = [source.name for source in sources]
    templates, tables = (_by_source(f"--{what}", getattr(options, what), names) for what in ("names", "table"))
    sources = [
        Source(
            source.folder, source.name, templates.get(source.name, ""),
            Path(tables[source.name]) if source.name in tables else None,
        )
        for source in sources
    ]  # fmt: skip
    return Data(tuple(sources), tuple(options.heads), options.group)


def _named(word: str) -> tuple[str, Path]:
    """Name and folder of ``NAME=DIR``; a path that exists is a path, whatever signs are in it."""
    match = _NAMED.fullmatch(word)
    return ("", Path(word)) if match is None or Path(word).exists() else (match[1], Path(match[2]))


def _by_source(option: str, words: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Name of a folder -> what was said of it; with one folder its name need not be given."""
    said: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (sign and name in names):
            name, value = names[0], word
            if len(names) > 1:
                raise UsageError(f"{option} {word}: say of which --data, as in {option} {names[-1]}={word}")
        if name in said:
            raise UsageError(f"{option}: is given twice for {name}; keep one")
        said[name] = value
    return said


def _is_helper(options: argparse.Namespace) -> bool:
    """Whether this is one of several processes, but not the first, which speaks for all."""
    several = options.devices * options.num_nodes > 1
    return several and any(os.environ.get(name, "0") != "0" for name in _RANKS)


def _written(options: argparse.Namespace) -> list[Path]:
    """Where something is written: the checkpoint or the report, and the folder of temporary files."""
    target = options.report if options.out is None else options.out
    return [path for path in (target, Path(tempfile.gettempdir())) if path is not None]


def _left_behind(options: argparse.Namespace) -> str:
    """What an interrupted training can be taken up again from."""
    from ban_bids.training.records import state_path

    if options.out is not None and state_path(options.out).exists():
        return f"the same command goes on from {state_path(options.out)}"
    return "nothing was written"


def _evaluate(options: argparse.Namespace) -> None:
    import torch

    from ban_bids.training.cache import AudioCache
    from ban_bids.training.evaluate import evaluate_checkpoint
    from ban_bids.training.settings import ONE_PROCESS, check_hardware

    check_hardware(options.device, ONE_PROCESS)
    torch.set_num_threads(options.omp_nthreads)
    evaluation = evaluate_checkpoint(
        options.evaluate, _named(options.data[0])[1], _excluded(options),
        device=options.device, cache=AudioCache(options.cache_dir),
    )  # fmt: skip
    if options.report is not None:
        from ban_bids.training.code_measures.comparison import compare_code
        from ban_bids.training.evaluation_report import write_report  # matplotlib takes a second to import

        code = compare_code(options.evaluate, evaluation.untrained_parts, device=options.device)
        evaluation = replace(evaluation, code=code)
        write_report(evaluation, options.report)
    print(json.dumps(evaluation.to_dict(), indent=2))


def _excluded(options: argparse.Namespace) -> list[Path]:
    """Audio files that ``--exclude-stimuli`` names."""
    from ban_bids.training.splits import named_tracks

    return named_tracks(
        options.exclude_stimuli, _named(options.data[0])[1], test_tasks=options.test_task, test_runs=options.test_runs
    )


if __name__ == "__main__":
    sys.exit(main())
