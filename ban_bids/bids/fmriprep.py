"""Which of fMRIPrep's files (20.2 and later) stand for a run, by their names alone.

fMRIPrep names what it makes after the raw image: ``run`` without zeros before it, without ``echo`` (echoes are
combined), without ``part`` and whatever else its patterns do not know. Names that differ in more are taken where one
run only can be meant, and a note says so.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ban_bids.bids.listing import is_empty, one_form_each
from ban_bids.bids.names import entities, entity
from ban_bids.constants import AROMA, NATIVE, TEMPLATE
from ban_bids.errors import DataError, MissingDerivative
from ban_bids.settings import Preprocessing

Entities = tuple[tuple[str, str], ...]
Identity = frozenset[tuple[str, str]]

DROPPED = ("echo", "part")
"""Entities of raw images that fMRIPrep's series do not have."""

_ADDED = ("space", "cohort", "res", "den", "hemi", "label", "desc", "from", "to", "mode")
_NO_PART_OF_A_RUN = frozenset({"sub", *DROPPED, *_ADDED})
_ALWAYS_KEPT = ("task", "run")
_NIFTI = (".nii.gz", ".nii")
_SURFACES = (".dtseries.nii", ".func.gii")
_MASK = "desc-brain_mask"
_TABLES = ("desc-confounds_timeseries", "desc-confounds_regressors")  # the latter before 20.2
_NO_RES = "native"  # --res, and a series without a res entity
_FEW = 3


@dataclass(frozen=True)
class RunFiles:
    """fMRIPrep's files of one run.

    Parameters
    ----------
    bold, mask, confounds : Path
        Series in the output space, brain mask on its grid, table of confounds.
    note : str or None
        How their names differ from the raw one, where they do; which of two forms is used.
    """

    bold: Path
    mask: Path
    confounds: Path
    note: str | None = None


def series_tail(strategy: str) -> str:
    """End of the name of the series that a strategy for confounds goes with."""
    return "desc-smoothAROMAnonaggr_bold" if strategy == AROMA else "desc-preproc_bold"


def identity(pairs: Iterable[tuple[str, str]]) -> Identity:
    """Entities that tell a run from a participant's others, in raw names and in fMRIPrep's."""
    kept = ((key, label) for key, label in pairs if key not in _NO_PART_OF_A_RUN)
    return frozenset((key, (label.lstrip("0") or "0") if key == "run" else label) for key, label in kept)


def run_name(pairs: Iterable[tuple[str, str]]) -> str:
    """Name of a run without the participant and without what fMRIPrep drops: ``ses-1_task-music_run-1``."""
    return "_".join(f"{key}-{label}" for key, label in pairs if key not in _NO_PART_OF_A_RUN)


def may_be(run: Identity, made: Identity) -> bool:
    """Whether a derivative can be a run's although one name has entities that the other lacks; task and run it has."""
    ours, theirs = dict(run), dict(made)
    shared = {*_ALWAYS_KEPT, *(ours.keys() & theirs.keys())}
    return all(ours.get(key) == theirs.get(key) for key in shared)


@dataclass(frozen=True)
class Output:
    """The functional files of one participant in fMRIPrep's output.

    Parameters
    ----------
    folder : Path
        fMRIPrep's output.
    label : str
        Participant, without ``sub-``.
    files : tuple of Path
        Of ``func`` in every session, sorted; of an image in two forms, one.
    twins : Mapping of Path to Path
        Of such an image: the file that is taken, and the other.
    """

    folder: Path
    label: str
    files: tuple[Path, ...]
    twins: Mapping[Path, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, label: str) -> Output:
        """List a participant's files; none where fMRIPrep's output has no such participant."""
        subject = folder / f"sub-{label}"
        found = (path for pattern in ("func/*", "ses-*/func/*") for path in subject.glob(pattern))
        taken, twins = one_form_each(path for path in found if path.name.startswith(f"sub-{label}_"))
        return cls(folder, label, tuple(sorted(taken)), twins)

    def ending(self, tail: str, extensions: Sequence[str] = _NIFTI) -> list[Path]:
        """Files of all runs whose names end so; of parts, magnitudes only."""
        ends = tuple(f"_{tail}{extension}" for extension in extensions)
        return [path for path in self.files if path.name.endswith(ends) and entity(path, "part") in (None, "mag")]

    def same_run(self, run: Identity, tail: str, extensions: Sequence[str] = _NIFTI) -> list[Path]:
        """Files whose names have exactly these entities of a run, in any space and resolution."""
        return [path for path in self.ending(tail, extensions) if identity(entities(path)) == run]

    def series(self, pairs: Entities, tail: str, others: Collection[Entities] = ()) -> list[Path]:
        """A run's series in any space and resolution: of exactly its name, else of the only one that can be meant.

        Parameters
        ----------
        pairs : tuple of (str, str)
            Entities of the raw name.
        tail : str
            Of :func:`series_tail`.
        others : collection of entities
            Of the participant's other runs: what can be theirs is not taken.

        Raises
        ------
        DataError
            Series of several runs can be meant, or several runs by one series.
        """
        run = identity(pairs)
        if exact := self.same_run(run, tail):
            return exact
        rivals = {identity(other) for other in others} - {run}
        made = {path: identity(entities(path)) for path in self.ending(tail)}
        near = [path for path, its in made.items() if may_be(run, its) and its not in rivals]
        shared = [path for path in near if any(may_be(rival, made[path]) for rival in rivals)]
        if shared or len({made[path] for path in near}) > 1:
            names = ", ".join(path.name for path in near[:_FEW])
            raise DataError(
                f"{self.folder}: no series has the entities of sub-{self.label}_{run_name(pairs)}, and which one is "
                f"meant is not clear ({names}); name it as the raw run is named, or leave the run out "
                "(--bids-filter-file)"
            )
        return near


def find_run(pairs: Entities, output: Output, options: Preprocessing, others: Collection[Entities] = ()) -> RunFiles:
    """A run's series in the output space, its brain mask and its table of confounds.

    Parameters
    ----------
    pairs : tuple of (str, str)
        Entities of the raw name.
    output : Output
        The participant's files.
    options : Preprocessing
        ``space``, ``res`` and ``confounds`` (the series of ICA-AROMA is another file).
    others : collection of entities
        Of the participant's other runs.

    Returns
    -------
    RunFiles

    Raises
    ------
    MissingDerivative
        There is none; the message names what was looked for, what is there and the remedy that fits.
    DataError
        Several fit.
    """
    folder, stem, tail = output.folder, f"sub-{output.label}_{run_name(pairs)}", series_tail(options.confounds)
    there = output.series(pairs, tail, others)
    pattern = f"{stem}_space-{options.space}[_res-{options.res}]_{tail}.nii.gz"
    in_space = [path for path in there if entity(path, "space") == options.space]
    if not in_space:
        raise MissingDerivative(f"{folder}: no file {pattern}; {_why(pairs, output, options, there)}")
    combined = [path for path in in_space if entity(path, "echo") is None] or in_space
    bold = _resolution(combined, options.res, pattern, folder)
    made = identity(entities(bold))
    where = _grid(bold)
    masks = _of_echo([path for path in output.same_run(made, _MASK) if _grid(path) == where], bold)
    beside = f"sub-{output.label}_{run_name(entities(bold))}"
    name = f"{beside}_space-{options.space}[_res-{_res(bold)}]_{_MASK}.nii.gz"
    mask = _one(masks, name, folder, "it belongs beside the series: copy it there")
    tables = _of_echo([path for tail in _TABLES for path in output.same_run(made, tail, (".tsv",))], bold)
    name = f"{beside}_{_TABLES[0]}.tsv (or _regressors.tsv)"
    table = _one(tables, name, folder, "copy it from fMRIPrep's output, with its .json file")
    notes = [f"fMRIPrep's {bold.name} alone fits {stem}: taken for it"] if made != identity(pairs) else []
    both = (path for path in (bold, mask) if path in output.twins)
    notes += [f"fMRIPrep's {path.name} is used, not {output.twins[path].name}" for path in both]
    return RunFiles(bold, mask, table, "; ".join(notes) or None)


def _of_echo(paths: Sequence[Path], bold: Path) -> list[Path]:
    """Files of the series' own echo, or of all echoes combined."""
    own = [path for path in paths if entity(path, "echo") == entity(bold, "echo")]
    return own or [path for path in paths if entity(path, "echo") is None]


def _res(path: Path) -> str:
    """Resolution of a file; ``02`` is ``2``."""
    return (entity(path, "res") or _NO_RES).lstrip("0")


def _grid(path: Path) -> tuple[str | None, ...]:
    """What says on which grid a file lies."""
    return entity(path, "space"), entity(path, "cohort"), _res(path)


def _one(paths: Sequence[Path], pattern: str, folder: Path, hint: str) -> Path:
    if not paths:
        raise MissingDerivative(f"{folder}: no file {pattern}; {hint}")
    if len(paths) > 1:
        names = ", ".join(sorted(path.name for path in paths))
        raise DataError(f"{folder}: several files fit {pattern} ({names}); leave one of them")
    return paths[0]


def _resolution(series: Sequence[Path], res: str, pattern: str, folder: Path) -> Path:
    """The series of ``--res``; with ``native``, the default, also the only one there is."""
    wanted = res.removesuffix("mm").lstrip("0")
    fits = [path for path in series if _res(path) == wanted]
    if not fits and wanted == _NO_RES and len(series) == 1:
        return series[0]
    there = ", ".join(sorted(_res(path) for path in series))
    if not fits:
        several = "several files fit" if len(series) > 1 and wanted == _NO_RES else "no file"
        raise DataError(f"{folder}: {several} {pattern}; choose with --res one that is there: {there}")
    return _one(fits, pattern, folder, f"choose with --res one that is there: {there}")


def _why(pairs: Entities, output: Output, options: Preprocessing, there: Sequence[Path]) -> str:
    """Why a run has no series in the output space, as far as names tell, and what helps."""
    again = f"run fMRIPrep again with --output-spaces {options.space}"
    if not output.files:
        return _no_participant(output, again)
    if options.confounds == AROMA:
        made = f"only fMRIPrep before 23.2 makes it, with --use-aroma and --output-spaces {options.space}"
        return f"{made}: run that, or other --confounds"
    if there:
        return _other_spaces(there, options.space, again)
    run = identity(pairs)
    if surfaces := output.same_run(run, "bold", _SURFACES):
        spaces = ", ".join(sorted({entity(path, "space") or "fsLR" for path in surfaces}))
        return f"there are only surfaces or CIFTI ({spaces}), and the regions are volumes; {again}"
    if any(output.same_run(run, f"desc-{kind}_boldref") for kind in ("hmc", "coreg")):
        return f"this is fMRIPrep's minimal output; {again} and --level full"
    runs = sorted({run_name(entities(path)) for path in output.ending(series_tail(options.confounds))})
    others = {entity(path, "desc") for path in output.ending("bold")} - {None}
    if not runs and others:
        made = ", ".join(f"desc-{desc}" for desc in sorted(filter(None, others)))
        return f"of sub-{output.label} there is {made}, which another program made: give fMRIPrep's own output"
    if not runs:
        return f"there is no series of sub-{output.label} at all: fMRIPrep has not finished it; {again}"
    return (
        f"of sub-{output.label} there are {_nearest(run_name(pairs), runs)}; where one of these is the run, name both "
        f"alike; else sub-{output.label}.html says why fMRIPrep left it out"
    )


def _nearest(name: str, names: Sequence[str]) -> str:
    """The few names that are most like one."""
    nearest = difflib.get_close_matches(name, names, _FEW, cutoff=0.0)
    return ", ".join(nearest) + (" and others" if len(names) > _FEW else "")


def _no_participant(output: Output, again: str) -> str:
    """Nothing functional is there: no participant, another label, or the anatomy alone."""
    if empty := is_empty(output.folder / f"sub-{output.label}"):
        return empty
    if (output.folder / f"sub-{output.label}").is_dir():
        return f"there are no functional files of sub-{output.label}: fMRIPrep has not finished it; {again}"
    labels = sorted(path.name for path in output.folder.glob("sub-*") if path.is_dir())
    there = f"there are {_nearest(f'sub-{output.label}', labels)}" if labels else "nor any other"
    return (
        f"no sub-{output.label} in it, {there}; correct the path or the label, or leave the participant out "
        "(--participant-label)"
    )


def _other_spaces(there: Sequence[Path], space: str, again: str) -> str:
    """The run is there in other spaces; one of them may be an output space of ours."""
    spaces = sorted({_space(path) for path in there})
    usable = [name for name in (TEMPLATE, NATIVE) if name in spaces and name != space]
    if usable:
        return f"there is {', '.join(spaces)}: take --space {usable[0]}, or {again}"
    return f"the spaces there ({', '.join(spaces)}) cannot stand in for it; {again}"


def _space(path: Path) -> str:
    space, cohort, _ = _grid(path)
    return (space or "that of the raw run") + (f":cohort-{cohort}" if cohort else "")


def without_dropped(pairs: Entities) -> Entities:
    """Entities of a raw name without those that fMRIPrep drops."""
    return tuple((key, label) for key, label in pairs if key not in DROPPED)
