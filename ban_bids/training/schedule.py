"""The learning rate over a training, and when the training has come to an end: after so many steps, or on a plateau."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

BLOCK = 25
"""Steps whose mean loss is a point of the learning curve."""

_FEWEST_BLOCKS = 16
_WARM_UP = 100
_DECAY = 1 / 3
"""Share of a training on a plateau over which the rate falls."""


@dataclass
class LearningCurve:
    """Mean training loss of every :data:`BLOCK` steps.

    Parameters
    ----------
    points : list of float
    rest : list of float
        Losses of the steps since the last point.
    """

    points: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)

    def add(self, loss: float) -> None:
        """Take the loss of the next step."""
        self.rest.append(loss)
        if len(self.rest) == BLOCK:
            self.points.append(sum(self.rest) / BLOCK)
            self.rest.clear()

    def rounded(self) -> list[list[float]]:
        """Pairs of a step and the mean loss of the :data:`BLOCK` steps before it."""
        return [[(k + 1) * BLOCK, round(loss, 4)] for k, loss in enumerate(self.points)]

    def is_flat(self, tolerance: float) -> bool:
        """Whether the loss has stopped falling.

        The mean of the last quarter of the steps so far is held against that of the quarter before: the difference
        is less than ``tolerance`` of all that the loss has fallen since the first point. Quarters grow with the
        training, so that a fall that is slow beside the noise of single steps still counts.
        """
        n = len(self.points)
        if n < _FEWEST_BLOCKS or self.rest:
            return False
        before, last = (sum(part) / len(part) for part in (self.points[n // 2 : 3 * n // 4], self.points[3 * n // 4 :]))
        return before - last < tolerance * max(self.points[0] - last, 0.0)


@dataclass
class Schedule:
    """Share of the highest learning rate at every step.

    Without ``plateau``: a short rise, then half a cosine that reaches zero with the budget. With it: the highest rate
    until the learning curve is flat (:meth:`LearningCurve.is_flat`) or two thirds of the budget are used, then half a
    cosine over half as many steps again, or to the end of the budget, whichever comes first.

    Parameters
    ----------
    n_steps : int
        Steps that the budget has at most.
    warm_up : float
        Share of them over which the rate rises, at most 100 steps.
    plateau : float or None
        Tolerance.
    """

    n_steps: int
    warm_up: float
    plateau: float | None
    curve: LearningCurve = field(default_factory=LearningCurve)
    falls_from: tuple[int, float] | None = None
    """Step and share of the budget from which the rate falls, on a plateau."""

    def rate(self, step: int, used: float) -> float:
        """Share of the highest rate for the step after ``step`` steps, when a share ``used`` of the budget is used."""
        warm = 1.0
        if self.warm_up > 0:
            # the clock reads zero at the first step, whose rate must not be zero
            warm = min(1.0, max((step + 1) / min(self.warm_up * self.n_steps, _WARM_UP), used / self.warm_up))
        return warm * 0.5 * (1.0 + math.cos(math.pi * self.fallen(step, used)))

    def fallen(self, step: int, used: float) -> float:
        """How far the rate has fallen along its half cosine, 0 to 1; at 1 the training is over."""
        if self.plateau is None:
            return min(used, 1.0)
        if self.falls_from is None:
            return 0.0
        first, used_then = self.falls_from
        by_steps = (step - first) / max(1.0, first * _DECAY / (1 - _DECAY))
        return min(1.0, max(by_steps, (used - used_then) / max(1 - used_then, 1e-9)))

    @property
    def found_plateau(self) -> bool:
        """Whether the rate falls because the learning curve is flat, and not because the budget nears its end."""
        return self.falls_from is not None and self.falls_from[1] < 1 - _DECAY

    def look(self, step: int, used: float) -> None:
        """After a step: decide whether the rate falls from here on."""
        if self.plateau is None or self.falls_from is not None:
            return
        if used >= 1 - _DECAY or self.curve.is_flat(self.plateau):
            self.falls_from = step, used

    def state(self) -> dict[str, Any]:
        """What an interrupted training needs to go on."""
        return {"points": self.curve.points, "rest": self.curve.rest, "falls_from": self.falls_from}

    def restore(self, state: dict[str, Any]) -> None:
        """Take it up again."""
        self.curve = LearningCurve([*state["points"]], [*state["rest"]])
        self.falls_from = None if state["falls_from"] is None else tuple(state["falls_from"])
