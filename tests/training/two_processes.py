"""Run by a test, in two processes: the command line, leaving each process's weights behind.

Lightning starts the second process with this script's own command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import save_file

from ban_bids.cli.train import main
from ban_bids.training import fit
from ban_bids.training.crops import BatchOrder
from ban_bids.training.fit import BANTraining


def _record(folder: Path) -> None:
    order, seen = BatchOrder.__iter__, []

    def batches(sampler: BatchOrder) -> Iterator[tuple[int, int]]:
        for index in order(sampler):
            seen.append("{} {}".format(*index))
            yield index

    def on_train_end(module: BANTraining) -> None:
        weights = {name: value.contiguous() for name, value in module.average.named_parameters()}
        save_file(weights, folder / f"{module.global_rank}.safetensors")
        (folder / f"{module.global_rank}.txt").write_text("\n".join(seen))

    fit.SECONDS_BETWEEN_STATES = 0.0  # a state whenever both agree on the time
    BatchOrder.__iter__ = batches  # type: ignore[method-assign]
    BANTraining.on_train_end = on_train_end  # type: ignore[method-assign]


if __name__ == "__main__":
    _record(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
