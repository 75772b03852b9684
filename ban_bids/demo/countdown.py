"""What the demo is doing now, and how long it will still take."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence

_LOG = logging.getLogger(__name__)

_STAGE = re.compile(r"\d\d:\d\d:\d\d INFO (.+) \.\.\.")
_LOGGED = re.compile(r"\d\d:\d\d:\d\d (DEBUG|INFO|WARNING) ")
_SLOWEST = 10.0


class Countdown:
    """Tells each step as it begins, with the time left: what the steps to come usually take, at today's pace.

    Parameters
    ----------
    steps : sequence of (str, str, float)
        Key, what is shown, and the seconds that it takes on two cores, in order.
    clock : callable
        Seconds that pass.
    """

    def __init__(self, steps: Sequence[tuple[str, str, float]], clock: Callable[[], float] = time.monotonic) -> None:
        self._steps = steps
        self._clock = clock
        self._start = clock()
        self._at = -1

    def begin(self, key: str) -> str | None:
        """Say that a step begins; steps that are not listed, or lie behind, are passed over.

        Returns
        -------
        str or None
            What was said.
        """
        later = [place for place, step in enumerate(self._steps) if step[0] == key and place > self._at]
        if not later:
            return None
        self._at = later[0]
        usual = sum(seconds for _, _, seconds in self._steps[: self._at])
        pace = min((self._clock() - self._start) / usual, _SLOWEST) if usual else 1.0
        left = pace * sum(seconds for _, _, seconds in self._steps[self._at :])
        said = f"[{self._at + 1}/{len(self._steps)}] {self._steps[self._at][1]} (about {_spelled(left)} left)"
        _LOG.info("%s", said)
        return said


def _spelled(seconds: float) -> str:
    """Minutes and half minutes; seconds where there are few."""
    if seconds < 75:
        return f"{max(5, 5 * round(seconds / 5))} s"
    halves = round(seconds / 30)
    return f"{halves // 2}{'½' if halves % 2 else ''} min"


def stage_of(line: str) -> str | None:
    """Stage of the app that begins with this line of its log; None for any other line."""
    match = _STAGE.fullmatch(line.strip())
    return match[1] if match else None


def is_news(line: str) -> bool:
    """Whether a line of the app's output is none of its usual log lines: a table, an error."""
    return bool(line.strip()) and not _LOGGED.match(line)


def demo_steps(labels: Sequence[str], models: Sequence[str]) -> list[tuple[str, str, float]]:
    """Steps of a whole demo; those of the app have the names of its stages as keys.

    Parameters
    ----------
    labels : sequence of str
        Participants, without ``sub-``.
    models : sequence of str
        Names under which the models stand in tables.
    """
    steps = [
        ("music", "synthesising music", 13.0),
        ("networks", "training networks and scanning phantoms", 80.0),
        ("models", "loading models, read-outs of those without one", 12.0),
        ("preprocessing", f"preprocessing {len(labels)} participants", 35.0 * len(labels)),
    ]
    for label in labels:
        each = [(f"sub-{label}: features of {name}", f"sub-{label}: scoring {name}", 8.0) for name in models]
        steps += each
    return [*steps, ("group", "comparing the models over participants", 15.0)]
