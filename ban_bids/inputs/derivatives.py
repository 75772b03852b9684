"""fMRIPrep's files in place of a run's image: found by name, checked by their headers, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ban_bids.bids.fmriprep import DROPPED, Entities, Output, find_run, without_dropped
from ban_bids.bids.fmriprep_folder import check_folder
from ban_bids.bids.fmriprep_index import FmriprepIndex
from ban_bids.bids.images import says_where
from ban_bids.bids.index import Index
from ban_bids.bids.metadata import load_header, number
from ban_bids.bids.names import entities, sidecar
from ban_bids.errors import BanBidsError, DataError, MissingDerivative
from ban_bids.files.images import check_there
from ban_bids.files.json import read_json
from ban_bids.inputs.heldout import held_out_plan
from ban_bids.inputs.missing import MissingFile, missing_file
from ban_bids.inputs.timing import header_tr
from ban_bids.inputs.types import Dataset, HeardRun, Listener, Participant, Run
from ban_bids.settings import Preprocessing, Selection, Settings

RESTORE = "restore the file, or run fMRIPrep again for this participant"

_CLOCK = ("RepetitionTime", "VolumeTiming", "FrameAcquisitionDuration", "AcquisitionDuration", "DelayTime")
_STATED = ("RepetitionTime", "VolumeTiming")
_SAME_AFFINE = 1e-3
_OF_RUN = "take this run's series, or leave the run out (--bids-filter-file)"


@dataclass(frozen=True)
class Header:
    """What describes a run's volumes.

    Parameters
    ----------
    path : Path
        The image whose header counts.
    metadata : Mapping
        Sidecar fields.
    notes : tuple of str
        Where they come from, where that is not the raw image and its sidecar.
    """

    path: Path
    metadata: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def folder_of(preprocessing: Preprocessing) -> Path | None:
    """The folder of ``-d fmriprep=PATH``, where it is given."""
    return dict(preprocessing.derivatives).get("fmriprep")


def name_as_fmriprep(runs: Sequence[HeardRun], index: Index) -> tuple[tuple[HeardRun, ...], tuple[str, ...]]:
    """Name runs as fMRIPrep does, without echo and part, where its output stands for their images; note the echoes."""
    if not isinstance(index, FmriprepIndex):
        return tuple(runs), ()
    named = tuple(replace(run, entities=without_dropped(run.entities)) for run in runs)
    echoes = [run for run in runs if DROPPED[0] in dict(run.entities)]
    if not echoes:
        return named, ()
    which = f"echo-{dict(echoes[0].entities)[DROPPED[0]]}"
    return named, (
        f"multi-echo: header, sidecar and events of {which} stand for a run ({len(echoes)} of {len(runs)} runs), and "
        "fMRIPrep's combined series is taken",
    )


def take_derivatives(
    heard: Listener, index: Index, settings: Settings, declared: Mapping[str, Sequence[str]] | None = None
) -> tuple[tuple[HeardRun, ...], tuple[str, ...]]:
    """Find fMRIPrep's files of a participant's runs, by name.

    A run of which files are missing is left out where the held-out plan stays what it is without it: held-out and
    training runs remain. Else it stays, and preprocessing says what is missing.

    Parameters
    ----------
    heard : Listener
    index : Index
    settings : Settings
    declared : mapping, optional
        Held-out runs of the dataset's rules.

    Returns
    -------
    runs : tuple of HeardRun
        With ``derivative``; as they were where no fMRIPrep folder is given.
    notes : tuple of str
        Runs left out, and names that differ.

    Raises
    ------
    UsageError
        Neither raw images nor any derivative are there: the folder is not fMRIPrep's output.
    DataError
        A run has neither.
    """
    if not isinstance(index, FmriprepIndex):
        return heard.runs, ()
    runs, missing = _found(heard, index, settings.preprocessing)
    made = [(run, run.derivative) for run in runs if run.derivative is not None]
    notes = tuple(files.note for _, files in made if files.note)
    kept = tuple(run for run, _ in made)
    absent = all(isinstance(error, MissingDerivative) for error in missing.values())
    if missing and absent and _plan_stays(heard, kept, settings.selection, declared):
        notes += tuple(f"left out: {name}: {error}" for name, error in missing.items())
        runs = kept
    for run in (run for run in runs if not run.bold.exists()):  # fMRIPrep's files are all that describes it
        if run.derivative is None:
            check_folder(index.fmriprep, [heard.label], settings.selection.bids_dir)
            raise missing[run.name]
        check_there(run.derivative.bold, RESTORE)
    return runs, notes


def _found(
    heard: Listener, index: FmriprepIndex, options: Preprocessing
) -> tuple[tuple[HeardRun, ...], dict[str, DataError]]:
    """A participant's runs with their files or why they have none, and these errors by the run's name."""
    output = index.output(heard.label)
    others = [entities(path) for path in index.raw_names(heard.label)] + [run.entities for run in heard.runs]
    runs: list[HeardRun] = []
    missing: dict[str, DataError] = {}
    for run in heard.runs:
        try:
            runs.append(replace(run, derivative=_find(run, output, others, options)))
        except DataError as error:
            missing[run.name] = error
            runs.append(replace(run, no_derivative=str(error)))
    return tuple(runs), missing


def _find(run: HeardRun | Run, output: Output, others: Iterable[Entities], options: Preprocessing) -> Any:
    return find_run(run.entities, output, options, [other for other in others if other != run.entities])


def _plan_stays(
    heard: Listener, kept: tuple[HeardRun, ...], selection: Selection, declared: Mapping[str, Sequence[str]] | None
) -> bool:
    """Whether without some runs the others are held out and trained on as with them."""
    names = {run.name for run in kept}
    try:
        before, after = (held_out_plan(one, selection, declared) for one in (heard, replace(heard, runs=kept)))
    except BanBidsError:
        return False
    if before.leave_one_out or after.leave_one_out:
        return before.leave_one_out == after.leave_one_out and len(kept) > 1
    return after.held_out == before.held_out & names


def files_of_run(run: Run, participant: Participant, folder: Path, options: Preprocessing) -> Run:
    """A run with fMRIPrep's files; searched here where it does not come from :func:`take_derivatives`.

    Raises
    ------
    DataError
    """
    if run.derivative is not None:
        return run
    if run.no_derivative is not None:
        raise DataError(run.no_derivative)
    others = [other.entities for other in participant.runs]
    return replace(run, derivative=_find(run, Output.of(folder, participant.label), others, options))


def header_of(heard: HeardRun, metadata: Mapping[str, Any]) -> Header:
    """What describes a run's volumes: the raw image, or fMRIPrep's series where that one cannot be read.

    The repetition time is that of the raw sidecar, else of the derivative's, else of the derivative's header; where
    two of them state one, they must agree (:func:`check_derivative`, and the reader of the header).

    Parameters
    ----------
    heard : HeardRun
    metadata : Mapping
        Fields of the raw sidecars.

    Returns
    -------
    Header

    Raises
    ------
    DataError
        Neither image can be read.
    """
    if heard.derivative is None:
        return Header(heard.bold, metadata)
    try:
        load_header(heard.bold)
    except DataError:
        series = heard.derivative.bold
        check_there(series, RESTORE)
        clock, notes = _clock(series, metadata)
        absent = "the raw image is not there or cannot be read: volumes and grid are those of fMRIPrep's series"
        return Header(series, {**metadata, **clock}, (absent, *notes))
    clock, notes = _clock(heard.derivative.bold, metadata)
    return Header(heard.bold, {**metadata, **clock}, notes)


def _clock(series: Path, raw: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fields on the times of volumes that raw sidecars leave open, from the derivative; and a note that says so."""
    if any(raw.get(key) is not None for key in _STATED) or not series.exists():
        return {}, ()
    derived = derived_sidecar(series)
    if any(derived.get(key) is not None for key in _STATED):
        clock = {key: derived[key] for key in _CLOCK if derived.get(key) is not None}
        tr, delay = (number(clock, key, series) for key in ("RepetitionTime", "DelayTime"))
        if tr is not None and delay is not None and delay <= tr / 2:
            del clock["DelayTime"]  # fMRIPrep's own, from slice times: a rest, no silence
        return clock, ("no raw sidecar states when volumes were taken: fMRIPrep's sidecar does",)
    tr = header_tr(load_header(series))
    if tr is None:
        return {}, ()
    return {"RepetitionTime": tr}, (f"no sidecar states RepetitionTime: {tr:g} s is that of fMRIPrep's image header",)


def derived_sidecar(series: Path) -> dict[str, Any]:
    """JSON fields of fMRIPrep's series; none where it has no sidecar.

    Raises
    ------
    DataError
        It cannot be read.
    """
    path = sidecar(series)
    if not (path.exists() or path.is_symlink()):
        return {}
    check_there(path, RESTORE)
    return read_json(path, remedy=RESTORE)


def made_header(path: Path) -> Any:
    """Open an image of fMRIPrep's without reading its voxels.

    Raises
    ------
    DataError
        As :func:`ban_bids.bids.metadata.load_header` does; the remedy is one for derivatives.
    """
    check_there(path, RESTORE)
    try:
        return load_header(path)
    except DataError as error:
        raise DataError(f"{error}; {RESTORE}") from error


def check_says_where(path: Path, image: Any) -> None:
    """Refuse an image of fMRIPrep's that does not say where its voxels lie: regions would be laid anywhere.

    Raises
    ------
    DataError
        Both codes are 0, as some programs leave them that write images anew.
    """
    if not says_where(image):
        raise DataError(
            f"{path}: neither sform nor qform (both codes 0): where its voxels lie is unknown; {RESTORE}, or copy them "
            "from an image on its grid that has them"
        )


def check_derivative(run: Run) -> None:
    """Check the headers of fMRIPrep's files of a run: volumes, grid, repetition time.

    Parameters
    ----------
    run : Run
        With its ``derivative``.

    Raises
    ------
    DataError
        A file is not there, not what its name says, of another run, without a place in space, or contradicts the
        run's times.
    """
    files = run.derivative
    if files is None:
        return
    for path in (files.bold, files.mask, files.confounds):
        check_there(path, RESTORE)
    series, mask = made_header(files.bold), made_header(files.mask)
    shape = series.shape
    if len(shape) != 4 or shape[3] != run.n_volumes:
        raise DataError(f"{files.bold}: shape {shape} for a run of {run.n_volumes} volumes; {_OF_RUN}")
    for path, image in ((files.bold, series), (files.mask, mask)):
        check_says_where(path, image)
    if mask.shape != shape[:3] or not np.allclose(mask.affine, series.affine, atol=_SAME_AFFINE):
        raise DataError(f"{files.mask}: not on the grid of {files.bold.name}; {RESTORE}")
    _check_times(run, files.bold, header_tr(series))


def _check_times(run: Run, bold: Path, stated: float | None) -> None:
    """Compare the run's repetition time with the derivative's."""
    derived = derived_sidecar(bold)
    reference, interval = number(derived, "StartTime", bold), max(run.repetition_time, run.mean_interval)
    if reference is not None and not 0 <= reference <= interval:
        raise DataError(
            f"{bold}: StartTime of its JSON sidecar is {reference:g} s, no time within a volume (0 to {interval:g} s); "
            f"{RESTORE}"
        )
    if derived.get("VolumeTiming") is not None or run.volume_times is not None:
        return
    for where, tr in (("its JSON sidecar", number(derived, "RepetitionTime", bold)), ("its header", stated)):
        if tr is not None and abs(tr - run.repetition_time) > 1e-3 * max(1.0, tr):
            raise DataError(
                f"{bold}: volumes every {tr:g} s by {where}, every {run.repetition_time:g} s by the raw run's; "
                f"correct the one that is wrong, or {_OF_RUN}"
            )


def check_derivatives(dataset: Dataset, settings: Settings) -> dict[str, str]:
    """Check fMRIPrep's output before anything is computed: the folder for all, then each participant's files.

    Parameters
    ----------
    dataset : Dataset
    settings : Settings

    Returns
    -------
    dict of str to str
        By label, why a participant's derivatives cannot be used; empty where no fMRIPrep folder is given.

    Raises
    ------
    UsageError
        The folder is not fMRIPrep's output.
    """
    folder = folder_of(settings.preprocessing)
    if folder is None:
        return {}
    check_folder(folder, [person.label for person in dataset.participants], dataset.root)
    problems = {}
    for person in dataset.usable:
        complete = partial(files_of_run, participant=person, folder=folder, options=settings.preprocessing)
        try:
            for run in person.runs:
                check_derivative(complete(run))
        except DataError as error:
            problems[person.label] = str(error)
    return problems


def with_checked_derivatives(dataset: Dataset, settings: Settings) -> Dataset:
    """The dataset, participants whose derivatives cannot be used having failed, with all files that are not there.

    Raises
    ------
    UsageError
        As :func:`check_derivatives`.
    """
    problems = check_derivatives(dataset, settings)
    people = tuple(
        replace(person, failure=problems[person.label], missing=_missing(person))
        if person.label in problems
        else person
        for person in dataset.participants
    )
    gone = {*dataset.missing}.union(*(person.missing for person in people))
    return replace(dataset, participants=people, missing=tuple(sorted(gone)))


def _missing(person: Participant) -> tuple[MissingFile, ...]:
    """Files of a participant's derivatives that are not there, and what was missing before."""
    made = [run.derivative for run in person.runs if run.derivative is not None]
    files = [missing_file(path) for one in made for path in (one.bold, one.mask, one.confounds)]
    return tuple(sorted({*person.missing, *(file for file in files if file is not None)}))
