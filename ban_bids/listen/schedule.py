"""In which order a person is asked: the same at every call, for it follows from the experiment and the label."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from ban_bids.listen.experiment import Experiment, ListeningClip, Trial

FAR_APART = 10
"""Trials after which a clip may come again; in short experiments half of the trials."""

Item = TypeVar("Item")
_Draw = Callable[[], float]


def trials(experiment: Experiment, participant: str) -> tuple[Trial, ...]:
    """Trials of one person: practice in the experiment's order, then everything else in an order of the person's own.

    Clips come in random order. Those that are judged twice are drawn for each person; they are heard first in the
    first half, again in the second, at least half of the trials or :data:`FAR_APART` apart. Checks of attention lie
    in stretches of equal length, one each, and ask for a choice that is not the clip's genre; they play clips of
    the practice, or else such as have been judged already.

    Parameters
    ----------
    experiment : Experiment
    participant : str
        Label without ``sub-``.

    Returns
    -------
    tuple of Trial
        Numbered from 1.
    """
    # of Python's generator only random() is promised to stay the same: whoever comes back meets the same order
    draw = random.Random(f"{experiment.seed}/{participant}").random
    heard = _with_repeats([clip.id for clip in experiment.clips], experiment.repeats, draw)
    firsts = {slot for slot, clip in enumerate(heard) if clip not in heard[:slot]}
    asked = [Trial(0, "main" if slot in firsts else "repeat", clip) for slot, clip in enumerate(heard)]
    for slot in reversed(_check_slots(experiment.checks, len(heard), draw)):
        asked.insert(slot, _check(experiment, heard, slot, draw))
    practice = [Trial(0, "practice", clip.id) for clip in experiment.practice]
    return tuple(Trial(n, one.kind, one.clip, one.expected) for n, one in enumerate((*practice, *asked), start=1))


def shuffled(items: Sequence[Item], draw: Callable[[], float]) -> list[Item]:
    """Items in random order, drawn by nothing but numbers between 0 and 1."""
    return sorted(items, key=lambda _: draw())


def _one_of(items: Sequence[Item], draw: _Draw) -> Item:
    return items[int(draw() * len(items))]


def _with_repeats(clips: Sequence[str], repeats: int, draw: _Draw) -> list[str]:
    """Clips in random order, some of them twice."""
    total = len(clips) + repeats
    half = total // 2
    apart = min(FAR_APART, half)
    # r earlier and r later slots in random pairs of order: far enough apart once in r + 1 draws, or more often
    while True:
        earlier = sorted(shuffled(range(half), draw)[:repeats])
        later = sorted(shuffled(range(total - half, total), draw)[:repeats])
        if all(second - first >= apart for first, second in zip(earlier, later, strict=True)):
            break
    again, new = dict(zip(later, earlier, strict=True)), iter(shuffled(clips, draw))
    heard: list[str] = []
    for slot in range(total):
        heard.append(heard[again[slot]] if slot in again else next(new))
    return heard


def _check_slots(checks: int, total: int, draw: _Draw) -> list[int]:
    """Trials before which a check comes: in the middle half of equal stretches, and never first."""
    return [max(1, int(total * (stretch + 0.25 + 0.5 * draw()) / checks)) for stretch in range(checks)]


def _check(experiment: Experiment, heard: Sequence[str], slot: int, draw: _Draw) -> Trial:
    """Make a check that gives nothing away: its clip was judged for the last time, or is not evaluated at all."""
    before, after = heard[:slot], frozenset(heard[slot:])
    known = [clip for clip in experiment.clips if clip.id in before]
    candidates: Sequence[ListeningClip] = (
        experiment.practice or [clip for clip in known if clip.id not in after] or known
    )
    clip = _one_of(candidates, draw)
    return Trial(0, "check", clip.id, _one_of([name for name in experiment.choices if name != clip.genre], draw))
