"""How every command ends in strange surroundings: a table of surrounding × command.

    python benchmarks/faults/surroundings.py DEMO SCRATCH [--only WORD ...] [--commands NAME ...]

DEMO is the folder of a finished ``ban-bids-demo DEMO --size small --data-only``; SCRATCH is written into. It needs
root on Linux, for the surroundings are made with ``unshare``, ``mount`` and ``setpriv``; nothing outlives its command.
``works`` is status 0; ``told`` is another status with one line of ours and no traceback; ``traceback`` and ``hangs``
(no end after ten minutes) are faults. To compare with another version, put its folder first on ``PYTHONPATH``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

UID = 54321
"""A user of whom the machine knows nothing."""

_SECONDS = 600
_AS_NOBODY = f"setpriv --reuid {UID} --regid {UID} --clear-groups env -u HOME -u USER -u LOGNAME -u XDG_CACHE_HOME "
_NO_TMP = "env -u TMPDIR -u TEMP -u TMP -u BAN_BIDS_CACHE "
_QUICK = "--model logmel --controls low-level --voxels auditory --sloppy --n-permutations 100 --nprocs 2"


@dataclass(frozen=True)
class Place:
    """Where the files of one cell of the table lie."""

    root: Path
    """The cell's own folder."""

    bids: Path
    genres: Path
    weights: Path
    work: Path

    @property
    def out(self) -> Path:
        """Output, which holds finished participants where the group level runs."""
        return self.root / "out"


@dataclass(frozen=True)
class Surrounding:
    """What is strange: commands of a shell before the command, and a word before it."""

    name: str
    mounts: Callable[[Place], str] = lambda place: ""
    before: str = ""
    network: bool = True
    work: Callable[[Place], Path] = lambda place: place.root / "work"
    spoil: Callable[[Place], None] = lambda place: None


def _read_only(folder: str) -> str:
    return f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"


def _read_only_root(place: Place) -> str:
    """All file systems read-only but the cell's own folder; the locks of the command, too, are in it."""
    own = shlex.quote(str(place.root))
    return (
        f"mount --bind {own} {own} && mount -o remount,bind,ro / && for m in /tmp /var/tmp /dev/shm; "
        "do mountpoint -q $m && { mount -o remount,bind,ro $m || exit 1; }; done; cd /"
    )


def _python_for_all(place: Place) -> str:
    """Let every user reach this Python where it lies in somebody's closed home: in the command's own mounts only."""
    base = Path(sys.base_prefix).resolve()
    closed = [folder for folder in reversed(base.parents) if not folder.stat().st_mode & 0o001]
    if not closed:
        return ""
    kept = place.root / "python"
    kept.mkdir(exist_ok=True)
    return (
        f"mount --bind {base} {kept} && mount -t tmpfs -o mode=755 none {closed[0]} && mkdir -p {base} && "
        f"mount --bind {kept} {base}"
    )


def _shut_folder(which: str) -> Callable[[Place], None]:
    return lambda place: (place.bids / which).chmod(0o000)


def _deep(place: Place, length: int) -> Path:
    """A path of so many characters, of names of 80."""
    missing = length - len(str(place.root)) - 1
    names = ["w" * 80] * (missing // 81) + ["w" * (missing % 81 or 1)]
    return place.root.joinpath(*names)


SURROUNDINGS = (
    Surrounding("plain"),
    Surrounding("dataset read-only", lambda place: _read_only(shlex.quote(str(place.bids)))),
    Surrounding("uid unknown, no HOME", before=_AS_NOBODY),
    Surrounding("one folder unreadable", before=_AS_NOBODY, spoil=_shut_folder("sub-02")),
    Surrounding("func unreadable", before=_AS_NOBODY, spoil=_shut_folder("sub-02/func")),
    Surrounding("stimuli unreadable", before=_AS_NOBODY, spoil=_shut_folder("stimuli")),
    Surrounding("dataset unreadable", before=_AS_NOBODY, spoil=_shut_folder("")),
    Surrounding("/dev/shm read-only", lambda place: "mount -t tmpfs -o ro none /dev/shm"),
    Surrounding("/dev/shm of others", lambda place: "mount -t tmpfs -o mode=755 none /dev/shm", before=_AS_NOBODY),
    Surrounding("root read-only, no TMPDIR", _read_only_root, before=_NO_TMP),
    Surrounding("the same, uid unknown", _read_only_root, before=_NO_TMP + _AS_NOBODY),
    Surrounding("work path of 300", work=lambda place: _deep(place, 300)),
    Surrounding("work path of 3900", work=lambda place: _deep(place, 3900)),
    Surrounding("no network", network=False),
)


def _participant(place: Place, work: Path) -> str:
    return f"ban_bids {place.bids} {place.out} participant --participant-label 01 02 {_QUICK} -w {work}"


def _dry_run(place: Place, work: Path) -> str:
    return f"ban_bids {place.bids} {place.out} participant --dry-run -w {work}"


def _group(place: Place, work: Path) -> str:
    return f"ban_bids {place.bids} {place.out} group -w {work}"


def _train(place: Place, work: Path) -> str:
    few = "--preset ban-small --epochs 1 --crop-seconds 2 --split stratified --plateau 0"
    return f"ban_bids.cli.train --data {place.genres} --out {place.root}/new.safetensors {few}"


def _evaluate(place: Place, work: Path) -> str:
    return f"ban_bids.cli.train --data {place.genres} --evaluate {place.weights} --report {place.root}/report"


def _listen(place: Place, work: Path) -> str:
    return f"ban_bids.cli.listen make {place.bids} {place.root}/experiment --people 2"


def _demo(place: Place, work: Path) -> str:
    # what follows the data are participant and group
    return f"ban_bids.cli.demo {place.root}/demo --size small --nprocs 2 --data-only"


COMMANDS = {
    "participant": _participant, "dry-run": _dry_run, "group": _group, "train": _train, "evaluate": _evaluate,
    "listen": _listen, "demo": _demo,
}  # fmt: skip


@dataclass(frozen=True)
class End:
    """How a command ended."""

    what: str
    line: str
    seconds: float


def end_of(status: int | None, output: str, seconds: float) -> End:
    """Judge a command by its status and by what it said; the last line of ours is told."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if " error: " in line or " ERROR " in line or "failed" in line]
    last = (errors or lines or [""])[-1]
    if status is None:
        return End("hangs", last, seconds)
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        return End("traceback", lines[-1], seconds)
    return End("works", "", seconds) if status == 0 else End("told" if errors else f"status {status}", last, seconds)


def _made(demo: Path, scratch: Path, surrounding: Surrounding, command: str) -> Place:
    """Files of a cell, its own to spoil; all belong to the unknown user, root may write them anyway."""
    root = scratch / f"{surrounding.name} {command}".replace(" ", "_").replace("/", "-").replace(",", "")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name in ("bids", "genres"):
        shutil.copytree(demo / name, root / name)
    shutil.copy(demo / "ban.safetensors", root)
    shutil.copy(demo / "ban.json", root)
    place = Place(root, root / "bids", root / "genres", root / "ban.safetensors", root / "work")
    primed = scratch / "primed"
    if command == "group" and primed.exists():
        shutil.copytree(primed / "out", place.out)
    work = surrounding.work(place)
    if command == "participant" and primed.exists() and len(str(work)) < 1000:
        shutil.copytree(primed / "work", work, ignore=shutil.ignore_patterns("locks"))
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(root)], check=True)
    surrounding.spoil(place)
    return place


def argv_of(place: Place, surrounding: Surrounding, python: str) -> list[str]:
    """Words that run this Python with arguments in a surrounding."""
    line = f"exec {surrounding.before}{shlex.quote(sys.executable)} {python}"
    reachable = _python_for_all(place) if _AS_NOBODY in surrounding.before else ""
    script = "\n".join(("set -e", reachable, surrounding.mounts(place), line))
    return ["unshare", "--mount", *([] if surrounding.network else ["--net"]), "sh", "-c", script]


def run_cell(demo: Path, scratch: Path, surrounding: Surrounding, command: str) -> End:
    """Run one command in one surrounding."""
    place = _made(demo, scratch, surrounding, command)
    argv = argv_of(place, surrounding, f"-m {COMMANDS[command](place, surrounding.work(place))}")
    started = time.monotonic()
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False,
        )  # fmt: skip
        status, output = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        status, output = None, f"{late.stdout!r} {late.stderr!r}"
    (scratch / f"{place.root.name}.log").write_text(output, encoding="utf-8")
    for folder in place.bids.rglob("*"):
        if folder.is_dir():
            folder.chmod(0o755)
    shutil.rmtree(place.root, ignore_errors=True)
    return end_of(status, output, time.monotonic() - started)


def _prime(demo: Path, scratch: Path) -> None:
    """Run two participants once, so that further cells find their preprocessed images."""
    primed = scratch / "primed"
    if (primed / "out" / "sub-02.html").exists():
        return
    place = Place(primed, demo / "bids", demo / "genres", demo / "ban.safetensors", primed / "work")
    arguments = _participant(place, place.work).split()
    subprocess.run([sys.executable, "-m", *arguments], check=True)


def _cells(only: list[str], commands: list[str]) -> Iterator[tuple[Surrounding, str]]:
    for surrounding in SURROUNDINGS:
        if not only or any(word in surrounding.name for word in only):
            for command in commands:
                yield surrounding, command


def main() -> None:
    """Print one line per cell as it ends, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=[one for one in COMMANDS if one != "demo"])
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("needs root: the surroundings are made with unshare and mount")
    demo, scratch = options.demo.absolute(), options.scratch.absolute()
    _prime(demo, scratch)
    ends: dict[str, dict[str, End]] = {}
    for surrounding, command in _cells(options.only, options.commands):
        end = run_cell(demo, scratch, surrounding, command)
        ends.setdefault(surrounding.name, {})[command] = end
        print(f"{surrounding.name} | {command}: {end.what}, {end.seconds:.0f} s. {end.line[:300]}", flush=True)
    print(f"\n{'':28}", *(f"{command:12}" for command in options.commands))
    for name, of_commands in ends.items():
        print(f"{name:28}", *(f"{of_commands[command].what:12}" for command in options.commands))


if __name__ == "__main__":
    main()
