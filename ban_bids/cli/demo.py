"""``ban-bids-demo``: a synthetic dataset with known truth, and the whole path run on it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from ban_bids import __version__
from ban_bids.cli.environment import available_cpus, exit_status, set_logging, temporary_folder
from ban_bids.cli.options import seed, whole
from ban_bids.cli.watch import watched
from ban_bids.constants import DEFAULT_SEED
from ban_bids.demo.countdown import Countdown, demo_steps, is_news, stage_of
from ban_bids.demo.networks import NETWORKS
from ban_bids.errors import UsageError
from ban_bids.files.room import told_when_full

_WORK, _LOG_FILE = "work", "ban-bids.log"
_UNFINISHED = ".unfinished"
"""File in a demo's folder until it is finished: what was asked for, so that the same command goes on."""
_OTHERS = ("ban-untrained", "logmel")
"""Models beside the networks that are trained."""

_QUICK = ("--controls", "low-level", "--voxels", "auditory", "--sloppy", "--omp-nthreads", "1")
"""What a trial can do without; two threads per process cost a quarter more processor time than one."""

_PARTS = ("bids", "truth", "genres", "out", _WORK)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ban-bids-demo",
        description="Write a synthetic BIDS dataset (DIR/bids) with its ground truth (DIR/truth), train BAN, BAN "
        "without recurrence and a deep CNN on synthesised music (DIR/genres, DIR/ban.safetensors and so on), run "
        "ban-bids on it (DIR/out), and print how much of the truth was recovered.",
    )
    add = parser.add_argument
    add("--version", action="version", version=f"%(prog)s {__version__}")
    add("directory", type=Path, metavar="DIR", help="folder to write into; made if it is not there")
    add("--data-only", action="store_true", help="stop before running ban-bids")
    add("--participants", type=whole(1, 99), metavar="N", help="people (default: 2; 1 with --size small)")
    add("--size", choices=("small", "full"), default="full", help="how much data (default: full)")
    add("--seed", type=seed, default=DEFAULT_SEED, help="everything follows from it (default: %(default)s)")
    add("--nprocs", type=whole(1), default=available_cpus(), metavar="N", help="processes (default: all processors)")
    add("--force", action="store_true", help="replace an earlier demo in DIR")
    add("--keep-work", action="store_true", help="keep what the app computed on the way (DIR/work)")
    return parser


def _prepare(directory: Path, force: bool, asked: str) -> None:
    """Make the folder; refuse to mix with what lies there, unless that is the same demo, unfinished."""
    mark = directory / _UNFINISHED
    if not force and mark.is_file() and mark.read_text(encoding="utf-8") == asked:
        return
    present = [path for name in _PARTS if (path := directory / name).exists()] + sorted(directory.glob("*.safetensors"))
    if present and not force:
        raise UsageError(f"{present[0]}: already there; give an empty DIR, or --force to replace the demo")
    for path in present:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        mark.write_text(asked, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"DIR {directory}: {error.strerror}; give a folder that can be written") from error


def _run_app(directory: Path, labels: Sequence[str], options: argparse.Namespace, countdown: Countdown) -> int:
    """Run both levels as a user would; what they leave in the work folder goes at the end."""
    common = [sys.executable, "-m", "ban_bids", str(directory / "bids"), str(directory / "out")]
    shared = ["--random-seed", str(options.seed), "-w", str(directory / _WORK)]
    networks = [f"{name}={directory / name}.safetensors" for name in NETWORKS]
    models = ["--model", *networks, *_OTHERS, "--gtzan-dir", str(directory / "genres")]
    people = ["--participant-label", *labels, "--nprocs", str(options.nprocs)]
    log = directory / _LOG_FILE
    log.unlink(missing_ok=True)
    status = _logged([*common, "participant", *people, *models, *_QUICK, *shared], log, countdown)
    if status == 0:
        countdown.begin("group")
        status = _logged([*common, "group", *shared], log, countdown)
    if status == 0 and not options.keep_work:
        shutil.rmtree(directory / _WORK)
    if status:
        print(f"ban-bids-demo: ban-bids ended with status {status}; its log is {log}", file=sys.stderr)
    return status


def _logged(command: Sequence[str], log: Path, countdown: Countdown) -> int:
    """Run a command with its output in a file; stages move the countdown, what is no log line is shown as well."""
    with (
        log.open("ab", buffering=0) as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
        ) as call,
    ):
        assert call.stdout is not None
        try:
            _follow(call.stdout, file, countdown)
        except BaseException:  # a signal: the call tidies up as well
            call.terminate()
            raise
    return call.returncode


def _follow(lines: Iterable[str], log: IO[bytes], countdown: Countdown) -> None:
    for line in lines:
        with suppress(OSError):  # on a full disk the log ends, and the call goes on and says why it fails
            log.write(line.encode())
        if (stage := stage_of(line)) is not None:
            countdown.begin(stage)
        elif is_news(line):
            print(line, end="", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ban-bids-demo``.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default, which is then watched: see
        `ban_bids.cli.watch`.

    Returns
    -------
    int
        0; 2 for usage; otherwise the status of the level that failed; 143 after SIGTERM, 130 where interrupted.
    """

    def work(_: object) -> int:
        options = _parser().parse_args(argv)
        return exit_status("ban-bids-demo", lambda: _told(options))

    if argv is not None:
        return work(None)
    return watched("ban-bids-demo", work, lambda: "the same command goes on from there")


def _told(options: argparse.Namespace) -> int:
    """The demo; a full disk is told in one line."""
    with told_when_full(options.directory.absolute()):
        return _main(options)


def _main(options: argparse.Namespace) -> int:
    directory = options.directory.absolute()
    _prepare(directory, options.force, f"{options.size} {options.participants} {options.seed}\n")
    os.environ.setdefault("BAN_BIDS_CACHE", str(directory / _WORK / "audio"))  # training and app share it
    from ban_bids.demo.build import make_demo
    from ban_bids.demo.dataset import participant_label
    from ban_bids.demo.plan import SIZES

    set_logging(0)
    size = SIZES[options.size]
    labels = [participant_label(index) for index in range(options.participants or size.participants)]
    countdown = Countdown(demo_steps(labels, [name.replace("-", "") for name in (*NETWORKS, *_OTHERS)]))
    with temporary_folder([directory]):
        make_demo(directory, size, len(labels), options.seed, options.nprocs, begin=countdown.begin)
    if options.data_only:
        (directory / _UNFINISHED).unlink()
        print(f"dataset in {directory / 'bids'}, truth in {directory / 'truth'}")
        return 0
    status = _run_app(directory, labels, options, countdown)
    if status == 0:
        (directory / _UNFINISHED).unlink()
        from ban_bids.demo.recovery import recover
        from ban_bids.demo.story import story

        print("\nThe models, over participants (95 % intervals)\n")
        print(story(directory / "out").to_string(index=False))
        print("\nWhat was planted, and what was found\n")
        print(recover(directory))
        print(f"\nNow open {directory / 'out' / 'group.html'}, and the participants' pages beside it.")
    return status


if __name__ == "__main__":
    sys.exit(main())
