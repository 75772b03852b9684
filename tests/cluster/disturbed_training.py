"""Run by a test as ``BAN_BIDS_TRAIN``: saves its state at every fifth step, and is requeued in its first life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from ban_bids.cli.train import main
from ban_bids.training import fit
from ban_bids.training.fit import BANTraining

REQUEUED_AT = 7


def _disturb() -> None:
    step = BANTraining.training_step

    def training_step(module: BANTraining, *args: Any, **kwargs: Any) -> Any:
        if module.steps_done == REQUEUED_AT and module.global_rank == 0:
            subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=True)
            while True:  # until SLURM ends us
                signal.pause()
        return step(module, *args, **kwargs)

    BANTraining.training_step = training_step  # type: ignore[method-assign]


if __name__ == "__main__":
    fit.SECONDS_BETWEEN_STATES = 0.0
    if "SLURM_RESTART_COUNT" not in os.environ:
        _disturb()
    sys.exit(main(sys.argv[1:]))
