"""How much a call will put on disk, from headers and models, told and judged before anything long begins."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ban_bids.app.candidates import PreparedModel
from ban_bids.encoding.features import FeatureCache
from ban_bids.errors import DataError, DiskFull
from ban_bids.files.room import folder_bytes, free_bytes, nearest, told_size
from ban_bids.inputs.types import Participant
from ban_bids.models.controls import Control
from ban_bids.preprocessing.files import participant_node
from ban_bids.preprocessing.on_disk import anatomy_bytes, cortex_bytes, series_bytes
from ban_bids.settings import Settings

_LOG = logging.getLogger(__name__)

_BEGUN = 0.05
"""Share of the whole need from which on what lies there is work that has begun: it is never refused."""

_SURELY = 0.5
"""Below this share of what one participant needs a work folder is refused; the estimates are closer than that."""


@dataclass(frozen=True)
class Need:
    """Bytes on disk that participants need, as far as headers and models tell.

    Parameters
    ----------
    images : float
        Of preprocessing, in the work folder; published series are the same bytes where both lie on one file system.
    series : float
        Of these, what is published.
    features : float
        Of all models and controls; those of one clip serve all participants.
    passing : float
        Largest file that is there for a while only: the voxels of one participant.
    """

    images: float
    series: float
    features: float
    passing: float

    @property
    def work(self) -> float:
        """In the work folder."""
        return self.images + self.features + self.passing


def needed(participants: Sequence[Participant], rate: float, settings: Settings) -> Need:
    """Estimate what participants need; one whose headers cannot be read counts nothing.

    Parameters
    ----------
    participants : sequence of Participant
    rate : float
        Bytes of features a second of sound takes, see :func:`feature_rate`.
    settings : Settings
    """
    res, raw = settings.preprocessing.res, "fmriprep" not in dict(settings.preprocessing.derivatives)
    series, images, passing = 0.0, 0.0, 0.0
    for person in participants:
        with suppress(DataError):  # its own failure, told when its turn comes
            passing = max(passing, cortex_bytes(person, res))
            if raw:
                own = series_bytes(person, res)
                series, images = series + own, images + own + anatomy_bytes(person)
    clips = {item.clip for person in participants for run in person.runs for item in run.presentations}
    return Need(images, series, rate * sum(clip.duration for clip in clips), passing)


def feature_rate(models: Iterable[PreparedModel], folder: Path) -> float:
    """Bytes of features that a second of sound takes, of all models and their controls together.

    Parameters
    ----------
    models : iterable of PreparedModel
        Each hears four seconds of silence, which it must anyway; controls keep as much as their model.
    folder : Path
        Of the cached features.
    """
    rates: dict[str, float] = {}
    for prepared in models:
        for model in (prepared.model, *prepared.controls):
            if model.fingerprint in rates:
                continue
            if isinstance(model, Control):
                rates[model.fingerprint] = rates.get(prepared.model.fingerprint, 0.0)
                continue
            try:
                rates[model.fingerprint] = FeatureCache(model, folder).bytes_per_second()
            except DiskFull:
                raise
            except Exception as error:  # noqa: BLE001 -- others' code may raise anything: told when its turn comes
                _LOG.debug("%s: its features' size is not known beforehand: %s", model.name, error)
    return sum(rates.values())


def _kept(work: Path, participants: Sequence[Participant]) -> list[Path]:
    """Folders of finished work: these participants' alone, for many jobs may share the work folder."""
    labels = [person.label for person in participants]
    steps = [path for label in labels for path in (work / "nipype").glob(f"*/{participant_node(label)}")]
    own = [work / part / f"sub-{label}" for part in ("fmriprep", "encoding") for label in labels]
    return [work / "features", *steps, *own]


def check_room(participants: Sequence[Participant], models: Sequence[PreparedModel], settings: Settings) -> None:
    """Tell what the work folder will hold and what is free; warn, or refuse, where that cannot fit.

    Raises
    ------
    DiskFull
        No participant's work has begun there, and not even one can fit.
    """
    work, output = settings.compute.work_dir, settings.output.output_dir
    there = sum(map(folder_bytes, _kept(work, participants)))
    rate = feature_rate(models, work / "features")
    need, free = needed(participants, rate, settings), free_bytes(work)
    _LOG.info(
        "work folder %s: about %s needed for %d participants (preprocessing %s, features %s, for a while %s), %s of it "
        "may be there, %s free", work, told_size(need.work), len(participants), told_size(need.images),
        told_size(need.features), told_size(need.passing), told_size(there), told_size(free),
    )  # fmt: skip
    least = min((needed([person], rate, settings).work for person in participants), default=0.0)
    if there < _BEGUN * need.work and free + there < _SURELY * least:
        raise DiskFull(
            f"--work-dir {work}: one participant needs about {told_size(least)}, and {free} bytes ({told_size(free)}) "
            "are free; give a -w with more room, or fewer models at a time"
        )
    if free < need.work - there:
        _LOG.warning(
            "%s: %s more will be needed than is free; those whose work does not fit will fail by name, and the same "
            "command goes on once there is room (finished steps are kept; -w may lie elsewhere)",
            work, told_size(need.work - there - free),
        )  # fmt: skip
    apart = nearest(work).stat().st_dev != nearest(output).stat().st_dev
    published = need.series - (folder_bytes(output) if apart else 0)
    if apart and free_bytes(output) < published:
        _LOG.warning(
            "OUTPUT_DIR %s: about %s of images will be published there, and %s are free",
            output, told_size(published), told_size(free_bytes(output)),
        )  # fmt: skip
