"""How far a call has come, kept outside its process: what a kill for want of memory does not take along.

Imports nothing heavy: the process that watches holds one of these, too.
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from dataclasses import dataclass
from typing import IO, Any

from ban_bids.constants import OUT_OF_MEMORY

KILLED = f"was killed (SIGKILL), most likely for want of memory; {OUT_OF_MEMORY}"
"""Why a participant failed, after its name."""


@dataclass
class Ended:
    """Participants that were begun, and how those ended that did, in a file without a name that processes share.

    Parameters
    ----------
    stream : file or None
        None where nobody watches: nothing is kept then.
    """

    stream: IO[bytes] | None = None

    @classmethod
    def kept(cls) -> Ended:
        """In memory where the system can, for no folder may be writable, else in a temporary file."""
        if hasattr(os, "memfd_create"):
            return cls(os.fdopen(os.memfd_create("ban-bids"), "w+b", buffering=0))
        return cls(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115

    def begin(self, label: str) -> None:
        """Note that a participant is worked on."""
        self._write({"begin": label})

    def end(self, label: str, outcomes: Any) -> Any:
        """Note how a participant ended, and give it back."""
        self._write({"end": label, "outcomes": pickle.dumps(outcomes).hex()})
        return outcomes

    def leave(self, label: str) -> None:
        """Note that a participant is not worked on for now."""
        self._write({"leave": label})

    def outcomes(self, label: str) -> Any:
        """How a participant ended in a process before this one; None where it did not."""
        found = [record["outcomes"] for record in self._read() if record.get("end") == label]
        return pickle.loads(bytes.fromhex(found[0])) if found else None  # noqa: S301 (of our own parent)

    def killed(self) -> tuple[str, ...]:
        """Participants that were worked on when a process ended."""
        at_work: dict[str, None] = {}
        for record in self._read():
            if "begin" in record:
                at_work[record["begin"]] = None
            else:
                at_work.pop(record.get("end", record.get("leave", "")), None)
        return tuple(at_work)

    def _write(self, record: dict[str, str]) -> None:
        if self.stream is not None:
            self.stream.seek(0, os.SEEK_END)
            self.stream.write(json.dumps(record).encode() + b"\n")

    def _read(self) -> list[dict[str, str]]:
        if self.stream is None:
            return []
        self.stream.seek(0)
        return [json.loads(line) for line in self.stream.read().split(b"\n")[:-1]]


NOTHING = Ended()
"""Where nobody watches."""
