"""``ban-bids``: from the command line to settings, and on to the pipeline."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ban_bids import __version__
from ban_bids.app.ended import NOTHING, Ended
from ban_bids.cli.config import read_config
from ban_bids.cli.environment import (
    available_cpus,
    check_folders,
    check_length,
    exit_status,
    remove_empty,
    set_environment,
    set_logging,
)
from ban_bids.cli.options import make_parser, spelled
from ban_bids.cli.watch import watched
from ban_bids.errors import BanBidsError, DataError, UsageError
from ban_bids.files.room import told_when_full
from ban_bids.files.shown import shown
from ban_bids.preprocessing.checks import check_confounds, check_names, read_plugin_file
from ban_bids.settings import ModelRequest, Settings

_MOST_THREADS = 8


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Turn a command line into settings.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; those of the process by default.

    Returns
    -------
    Settings
        With absolute paths; options of ``--config-file`` stand where the command line says nothing.

    Raises
    ------
    UsageError
        Options that contradict each other or name what is not there.
    SystemExit
        From argparse: ``--help``, ``--version``, or arguments that it cannot parse (status 2).
    """
    parser = make_parser(__version__)
    options = vars(parser.parse_args(spelled(sys.argv[1:] if arguments is None else arguments)))
    config_file: Path | None = options.pop("config_file", None)
    if config_file is not None:
        options = read_config(config_file) | options
    if not options.get("high_pass", 1.0) > 0:
        raise UsageError(f"--high-pass {options['high_pass']}: write a period in seconds")
    settings = _settings(options)
    check(settings)
    return settings


def _settings(options: Mapping[str, Any]) -> Settings:
    """Settings under their own names; what is absent keeps its default."""
    values = dict(options)
    values |= _requests(values.pop("model", None), values.pop("weights", None))
    if "space" in values:
        values |= _space(values.pop("space"), values.get("res"))
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(dict.fromkeys(value))
    values.setdefault("work_dir", values["output_dir"] / "work")
    values.setdefault("nprocs", available_cpus())
    values.setdefault("omp_nthreads", min(values["nprocs"], _MOST_THREADS))
    return Settings.of(**values)


def _requests(models: Sequence[ModelRequest] | None, weights: Path | None) -> dict[str, tuple[ModelRequest, ...]]:
    """Requests of models, ``--weights`` being those of the only one."""
    requests = tuple(dict.fromkeys(models or (ModelRequest(),)))
    if weights is not None:
        if len(requests) > 1 or requests[0].weights is not None:
            raise UsageError(f"--weights {weights}: whose are they? Write --model NAME={weights} instead")
        requests = (replace(requests[0], weights=weights),)
    return {"requests": requests}


def _space(spaces: Sequence[tuple[str, str | None]], res: str | None) -> dict[str, str]:
    (name, modifier), *others = spaces
    if others:
        raise UsageError(f"--space {' '.join(name for name, _ in spaces)}: give one output space per call")
    if modifier and res and modifier != res:
        raise UsageError(f"--space {name}:res-{modifier} contradicts --res {res}; give one of them")
    return {"space": name, "res": modifier} if modifier else {"space": name}


def check(settings: Settings) -> None:
    """Check options against each other and paths for being there; nothing is written.

    Raises
    ------
    UsageError
        Names the option and the remedy.
    """
    check_folders(settings.selection.bids_dir, settings.compute.work_dir, settings.output)
    if settings.level == "group":
        return
    check_length(settings.compute.work_dir)
    _check_paths(settings)
    check_names(settings.preprocessing)
    check_confounds(settings.preprocessing)
    if settings.compute.use_plugin is not None:
        read_plugin_file(settings.compute.use_plugin)


def _check_paths(settings: Settings) -> None:
    """Refuse options that name a file or folder that is not there."""
    selection, preprocessing, models = settings.selection, settings.preprocessing, settings.models
    files: list[tuple[str, str | Path | None]] = [
        ("--bids-filter-file", selection.bids_filter_file),
        ("--behavior", selection.behavior),
        ("--rules", selection.rules),
        ("--atlas", preprocessing.atlas),
        ("--use-plugin", settings.compute.use_plugin),
        *((f"weights of {request.name}:", request.weights) for request in models.requests),
    ]
    folders = [
        ("BIDS_DIR", selection.bids_dir),
        ("--gtzan-dir", models.gtzan_dir),
        ("--stimuli-dir", selection.stimuli_dir),
        *((f"--derivatives {name}={path}:", path) for name, path in preprocessing.derivatives),
    ]
    for option, path in files:
        if isinstance(path, Path) and not path.is_file():
            raise UsageError(f"{option} {path}: no such file; correct the path")
    for option, folder in folders:
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{option} {folder}: no such folder; correct the path")


def _run(settings: Settings, ended: Ended = NOTHING) -> int:
    set_logging(settings.output.verbosity)
    if settings.output.dry_run and settings.level == "participant":
        return _dry_run(settings)
    with told_when_full(settings.output.output_dir, settings.compute.work_dir):
        return _run_in_folders(settings, ended)


def _run_in_folders(settings: Settings, ended: Ended) -> int:
    # the group level as well: a container may have no other folder for matplotlib's cache
    new_folders = set_environment(settings.compute.work_dir, settings.compute.omp_nthreads)
    try:
        status = _run_level(settings, ended)
    except BanBidsError:
        remove_empty(new_folders)
        raise
    if settings.compute.clean_workdir and status == 0:
        from ban_bids.app.work_folder import clean_work_folder

        clean_work_folder(settings.compute.work_dir)
    elif settings.level == "group":
        remove_empty(new_folders)
    return status


def _dry_run(settings: Settings) -> int:
    """Print what would be used; the status of unusable data where nobody can be."""
    from ban_bids.inputs.derivatives import with_checked_derivatives
    from ban_bids.inputs.describe import anybody_usable, describe_files
    from ban_bids.inputs.read import read_dataset

    dataset = with_checked_derivatives(read_dataset(settings, keep_unusable=True), settings)
    print(shown(describe_files(dataset, settings.models, everything=settings.output.verbosity > 0)))
    return 0 if anybody_usable(dataset) else DataError.exit_status


def _run_level(settings: Settings, ended: Ended) -> int:
    if settings.level == "group":
        from ban_bids.app.group import group_level

        return group_level(settings.output.output_dir, settings)
    from ban_bids.app.participant import participant_level

    return participant_level(settings, ended=ended)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ban-bids``.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default, which is then watched: see
        `ban_bids.cli.watch`.

    Returns
    -------
    int
        0; 2 for usage, 65 for data, 1 where a participant failed; 128 and the number of a signal that ended it, 143
        for SIGTERM, 130 where interrupted.
    """

    def work(ended: Ended) -> int:
        return exit_status("ban-bids", lambda: _run(parse(argv), ended))

    if argv is not None:
        return work(NOTHING)
    return watched("ban-bids", work, lambda: "finished work is kept, and the same command goes on from there")


if __name__ == "__main__":
    sys.exit(main())
