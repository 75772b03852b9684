"""Is a folder fMRIPrep's output? A mistake in ``-d fmriprep=PATH`` is told once, with the path that is meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ban_bids.bids.listing import is_empty
from ban_bids.errors import UsageError

_MADE_NAMES = ("_desc-", "_space-", "_hemi-")
_SERIES = ("_desc-preproc_bold.", "_desc-confounds_", "_desc-smoothAROMAnonaggr_bold.")
_UNDER_SUBJECT = ("func/*", "ses-*/func/*", "anat/*", "ses-*/anat/*")
_OWN_FOLDERS = ("figures", "log")
_FEW = 3
_LEVELS = 2
_TRIED = 10


def check_folder(folder: Path, labels: Sequence[str], bids_dir: Path) -> None:
    """Refuse a folder that holds nothing of fMRIPrep's of any participant of the dataset.

    Parameters
    ----------
    folder : Path
        Of ``-d fmriprep=PATH``.
    labels : sequence of str
        Participants asked for, without ``sub-``.
    bids_dir : Path
        The raw dataset.

    Raises
    ------
    UsageError
        Names what was looked for, what the folder is, and the folder that is meant where one is near (below, above or
        beside it).
    """
    everyone = [*labels, *sorted(path.name[4:] for path in bids_dir.glob("sub-*"))]
    if any(_is_made(folder / f"sub-{label}") for label in dict.fromkeys(everyone)):
        return  # who is not in it fails alone
    option = f"-d fmriprep={folder}"
    if not folder.is_dir():
        raise UsageError(f"{option}: no such folder; correct the path")
    meant = " or ".join(str(path) for path in _near(folder, everyone[:_TRIED]))
    hint = f"did you mean {meant}?" if meant else "give the folder that fMRIPrep wrote its sub-* folders into"
    raise UsageError(f"{option}: {_what(folder, labels, bids_dir)}; {hint}")


def _what(folder: Path, labels: Sequence[str], bids_dir: Path) -> str:
    """What a folder is instead of fMRIPrep's output."""
    names = ", ".join(f"sub-{label}" for label in labels[:_FEW]) + (" ..." if len(labels) > _FEW else "")
    if empty := is_empty(folder):
        return empty
    if folder.resolve() == bids_dir.resolve():
        return "this is the raw dataset, not fMRIPrep's output"
    if any((folder / f"sub-{label}").is_dir() for label in labels):
        return f"{names} in it holds nothing of fMRIPrep's (no *_desc-preproc_bold.nii.gz)"
    there = sorted(path.name for path in folder.glob("sub-*") if path.is_dir())
    others = f", there are {', '.join(there[:_FEW])}{' ...' if len(there) > _FEW else ''}" if there else ""
    return f"no {names} in it{others}"


def _near(folder: Path, labels: Sequence[str]) -> list[Path]:
    """Folders below, above and beside that hold what fMRIPrep made of a participant: the best ones only."""
    above = [parent for parent in folder.parents[:4] if any(part.startswith("sub-") for part in folder.parts)]
    places = [*_below(folder, _LEVELS), *above, *_below(folder.parent, 1)]
    found = [
        path
        for path in dict.fromkeys(places)
        if path != folder and any(_is_made(path / f"sub-{label}") for label in labels)
    ]
    with_series = [path for path in found if any(_has(path / f"sub-{label}", _SERIES) for label in labels)]
    best = with_series or found
    named = [path for path in best if "fmriprep" in path.name.lower()]
    return (named or best)[:_FEW]


def _below(folder: Path, levels: int) -> Iterator[Path]:
    """Folders below, to some depth; not participants' and not hidden ones."""
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:  # others' folders may be closed to us
        return
    for path in inside:
        if not path.name.startswith(("sub-", ".")):
            yield path
            if levels > 1:
                yield from _below(path, levels - 1)


def _is_made(subject: Path) -> bool:
    """Whether a participant's folder holds something of fMRIPrep's, finished or not."""
    return any((subject / name).is_dir() for name in _OWN_FOLDERS) or _has(subject, _MADE_NAMES)


def _has(subject: Path, parts: Sequence[str]) -> bool:
    """Whether an image or table of a participant has one of these in its name."""
    files = (path.name for pattern in _UNDER_SUBJECT for path in subject.glob(pattern))
    return any(part in name for name in files for part in parts)
