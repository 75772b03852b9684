"""Why a step failed: Nipype's crash files, and what stands for them on a full disk, as one line a participant."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ban_bids.constants import OUT_OF_MEMORY
from ban_bids.errors import BanBidsError, DataError
from ban_bids.files.room import disk_full, nothing_free, tells_of_no_room
from ban_bids.preprocessing.files import participant_of

_ERROR_LINE = re.compile(r"^\s*(?:[\w.]*\.)?(\w*(?:Error|Exception|NotComputable)\w*): (.*)$")
KILLED = f"a worker process was killed, most likely for want of memory; {OUT_OF_MEMORY}"
JOB_ENDED = (
    "job {} of the cluster ended without a result, most likely for want of time or memory; give the jobs more of it in "
    "the file of --use-plugin, and start the run again (finished steps are kept)"
)
_MEMORY = ("MemoryError", "_ArrayMemoryError", "OutOfMemoryError")
_ALLOCATION = re.compile(r"bad_alloc|DefaultCPUAllocator|[Cc]annot allocate memory|failed to allocate memory", re.I)
_JOB_WITHOUT_RESULT = re.compile(r"Job id \((\S+)\) finished or terminated, but results file does not exist")


class Crashes:
    """Crashes of nodes: a file each, as Nipype writes them; on a full disk they are kept here instead."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def report(self, node: Any, lines: Sequence[str], write: Callable[[], str]) -> str:
        """Write a node's crash file; an empty name where there is no room for it."""
        try:
            return write()
        except OSError as error:
            text = "".join([*lines, "\n", str(error)])
            self.texts.append(f"Node: {node.fullname}\nWorking directory: {node.output_dir()}\n\n{text}\n")
            return ""


def read_crashes(files: Sequence[Path], texts: Sequence[str] = ()) -> dict[str, BanBidsError]:
    """First crash of each participant as one line: what is wrong, the step, the crash file.

    Parameters
    ----------
    files : sequence of Path
        Crash files.
    texts : sequence of str
        Further crashes, for whose files there was no room.
    """
    crashes: dict[str, BanBidsError] = {}
    known = [(path.read_text(encoding="utf-8", errors="replace"), f"; details in {path}") for path in files]
    for text, details in (*((text, "") for text in texts), *known):
        node = re.search(r"^Node: (\S+)", text, re.MULTILINE)
        parts = node.group(1).split(".") if node else []
        name, step = (parts[1] if len(parts) > 1 else "unknown"), ".".join(parts[2:]) or "unknown"
        crashes.setdefault(name, _told(text, participant_of(name), f"step {step}{details}"))
    return crashes


def _told(text: str, participant: str, where: str) -> BanBidsError:
    """A crash in one line."""
    errors = [match for line in text.splitlines() if (match := _ERROR_LINE.match(line))]
    kind, message = errors[-1].groups() if errors else ("", "see the crash file")
    folder = re.search(r"^Working directory: (.+)$", text, re.MULTILINE)
    place = Path(folder.group(1)) if folder else Path.cwd()
    if tells_of_no_room(text) or (kind == "KilledError" and nothing_free(place)):
        return disk_full(place, f"{participant}, {where}")
    if ended := _JOB_WITHOUT_RESULT.match(message):
        message = f"{participant}: {JOB_ENDED.format(ended.group(1))}"
    elif kind in _MEMORY or _ALLOCATION.search(message):
        message = f"{participant}: out of memory ({message}); {OUT_OF_MEMORY}"
    elif kind not in ("DataError", "UsageError", "KilledError"):
        message = f"{participant}: {kind} {message}"
    return DataError(f"{message} ({where})")
