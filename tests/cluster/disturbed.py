"""Run by a test as ``BAN_BIDS``: ban-bids in a job that is stopped in each of its first lives, in another way.

Only task 2 of the array is; task 1 notes that it was started, and ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ban_bids.app import participant
from ban_bids.cli.run import main

LIFE = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
JOB = "{SLURM_ARRAY_JOB_ID}_{SLURM_ARRAY_TASK_ID}".format_map(os.environ)
STOPS: Sequence[tuple[str, list[str]]] = (
    # the signal that SLURM sends before a job's time is over: the submit file queues the job again
    ("score_model", ["scancel", "--batch", "--signal=USR1", JOB]),
    # another job needs all processors, and its partition preempts ours
    ("write_draws", ["sbatch", "--partition=urgent", "--cpus-per-task=4", "--mem=1", "--output=/dev/null", "--wrap=:"]),
    ("compare_participant", ["scontrol", "requeue", JOB]),
)
"""At which step the life is stopped, and how."""


def _stopped(*_: Any, **__: Any) -> NoReturn:
    subprocess.run(STOPS[LIFE][1], check=True)
    while True:  # until SLURM ends us
        signal.pause()


if __name__ == "__main__":
    with Path(os.environ["LIVES"]).open("a") as file:
        file.write(f"{os.environ['SLURM_ARRAY_TASK_ID']} {LIFE}\n")
    if os.environ["SLURM_ARRAY_TASK_ID"] != "2":
        sys.exit(0)
    if len(STOPS) > LIFE:
        setattr(participant, STOPS[LIFE][0], _stopped)
    sys.exit(main(sys.argv[1:]))
