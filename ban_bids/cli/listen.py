"""``ban-bids-listen``: collect people's choices on a dataset's clips, and bring them into the dataset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ban_bids import __version__
from ban_bids.cli.environment import exit_status, set_logging
from ban_bids.cli.options import label, seed, whole
from ban_bids.constants import DEFAULT_SEED
from ban_bids.files.shown import shown


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ban-bids-listen``.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name.

    Returns
    -------
    int
        0; 2 for usage, 65 for data; 130 where interrupted.
    """
    options = _parser().parse_args(argv)
    set_logging(0)
    return exit_status("ban-bids-listen", lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ban-bids-listen",
        description="Collect people's choices on the clips of a listening dataset: make a web experiment, serve it, "
        "and import the answers as BIDS tables, from which ban-bids computes the behavioural score.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_make(commands.add_parser("make", help="make the experiment's folder from a dataset"))
    _add_serve(commands.add_parser("serve", help="serve an experiment to browsers"))
    _add_import(commands.add_parser("import", help="write answers into the dataset as sub-*/beh/*_beh.tsv"))
    _add_plan(commands.add_parser("plan", help="how many people and clips are needed"))
    return parser


def _add_make(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    parser.set_defaults(run=_make)
    add("bids_dir", type=Path, metavar="BIDS_DIR", help="the dataset; nothing is written into it")
    add("out", type=Path, metavar="OUT", help="the experiment's folder; must not hold one")
    add("--clips", type=Path, metavar="FILE", help="table of clips (stim_file, genre; start, duration) instead of the "
        "held-out runs'")  # fmt: skip
    add("--choices", nargs="+", metavar="NAME", help="what can be answered (default: the clips' genres)")
    add("--people", type=whole(1, 999), default=20, metavar="N", help="personal links (default: %(default)s)")
    add(
        "--participants", nargs="+", type=label("sub-"), metavar="LABEL", help="people, instead of listener01 and so on"
    )
    add("--repeats", type=whole(0), default=6, metavar="N", help="clips judged twice (default: %(default)s)")
    add("--checks", type=whole(0), default=2, metavar="N", help="checks of attention (default: %(default)s)")
    add("--practice", type=whole(0), default=3, metavar="N", help="practice trials (default: %(default)s)")
    add("--confidence", action="store_true", help="ask for a confidence after each choice")
    add("--task", type=label("task-"), default="genre", help="task label of the answers' tables (default: %(default)s)")
    add("--stimuli-dir", type=Path, metavar="DIR", help="where the audio files are, if not in BIDS_DIR/stimuli")
    add("--rules", "--profile", dest="profile", type=Path, metavar="FILE", help="how to read the events, instead of "
        "the dataset's own rules")  # fmt: skip
    add("--seed", type=seed, default=DEFAULT_SEED, help="of the orders (default: %(default)s)")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    parser.set_defaults(run=_serve)
    add("out", type=Path, metavar="OUT", help="the experiment's folder")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)")
    add("--port", type=whole(0, 65535), default=8000, help="port; 0 takes a free one (default: %(default)s)")


def _add_import(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    parser.set_defaults(run=_import)
    add("answers", type=Path, metavar="ANSWERS", help="an experiment's folder, or a table or folder of tables "
        "(.csv, .tsv, .json of jsPsych, PsychoPy, Qualtrics)")  # fmt: skip
    add("bids_dir", type=Path, metavar="BIDS_DIR", help="the dataset; sub-*/beh and participants.tsv are written")
    add("--columns", type=Path, metavar="FILE", help="TOML that tells which columns of the tables hold what")
    add("--task", type=label("task-"), help="task label of the tables (default: the experiment's, or genre)")
    add("--replace", action="store_true", help="replace tables of an earlier import")
    add("--stimuli-dir", type=Path, metavar="DIR", help="where the audio files are, if not in BIDS_DIR/stimuli")


def _add_plan(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    parser.set_defaults(run=_plan)
    add("--people", type=whole(1), nargs="+", default=[5, 10, 20, 40], metavar="N", help="tried (default: %(default)s)")
    add("--clips", type=whole(2), nargs="+", default=[30, 60, 120], metavar="N", help="tried (default: %(default)s)")
    add("--choices", type=whole(2, 50), default=10, metavar="N", help="genres (default: %(default)s)")
    add("--accuracy", type=float, default=0.7, help="people's share of right answers (default: %(default)s)")
    add("--simulations", type=whole(1), default=100, metavar="N", help="of each cell (default: %(default)s)")
    add("--seed", type=seed, default=DEFAULT_SEED, help="of the simulations (default: %(default)s)")


def _make(options: argparse.Namespace) -> int:
    from ban_bids.listen.make import Request, make_experiment

    request = Request(
        task=options.task, choices=tuple(options.choices or ()), people=options.people,
        participants=tuple(options.participants or ()), repeats=options.repeats, checks=options.checks,
        practice=options.practice, confidence=options.confidence, seed=options.seed,
    )  # fmt: skip
    made = make_experiment(
        options.bids_dir, options.out, request, clips=options.clips, profile=options.profile,
        stimuli_dir=options.stimuli_dir,
    )  # fmt: skip
    print(shown(made))
    return 0


def _serve(options: argparse.Namespace) -> int:
    from ban_bids.listen.server import serve

    serve(options.out, options.host, options.port)
    return 0


def _import(options: argparse.Namespace) -> int:
    from ban_bids.listen.importing import import_answers

    told = import_answers(
        options.answers, options.bids_dir, columns=options.columns, task=options.task, replace=options.replace,
        stimuli_dir=options.stimuli_dir,
    )  # fmt: skip
    print(shown(told))
    return 0


def _plan(options: argparse.Namespace) -> int:
    from ban_bids.listen.plan import plan_table

    print(
        plan_table(
            options.people, options.clips, n_choices=options.choices, accuracy=options.accuracy,
            n_simulations=options.simulations, seed=options.seed,
        ).to_string(index=False)
    )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
