"""The clock of a training's time budget."""

from __future__ import annotations

import time
from collections.abc import Callable

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.monotonic, "cpu": time.process_time}
"""What can be measured: ``wall``, time that passes; ``cpu``, processor time of this process."""


class BudgetClock:
    """Seconds of a budget that have been used.

    Parameters
    ----------
    name : str
        One of :data:`CLOCKS`. ``cpu`` gives two trainings the same work whatever else runs on the machine.
        It counts every thread of the process, so also those that cut and augment crops in it.
    used : float
        Seconds used before, by a training that was interrupted.
    """

    def __init__(self, name: str, used: float = 0.0) -> None:
        self._now = CLOCKS[name]
        self._start = self._now() - used

    def used(self) -> float:
        """Seconds used so far."""
        return self._now() - self._start
