"""Folders of classes: where the audio files lie, and which of them are one track."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from torchaudio.datasets.gtzan import filtered_test, filtered_train, filtered_valid

from ban_bids.errors import DataError

LAYOUTS = ("genres", "genres_original", "Data/genres_original", ".")
"""Where GTZAN's copies keep the folders of genres; ``.``: the folder itself."""

SUFFIXES = (".wav", ".au", ".flac", ".mp3")
"""Containers, the one that is preferred first."""

_LISTED = frozenset((*filtered_train, *filtered_valid, *filtered_test))


def find_audio(data_dir: Path) -> list[Path]:
    """Audio files of the first layout that has at least two folders of them.

    Raises
    ------
    DataError
        When there is none.
    """
    if not data_dir.is_dir():
        raise DataError(f"{data_dir}: no such folder; give one that holds one folder per genre")
    for layout in LAYOUTS:
        files = sorted(file for file in (data_dir / layout).glob("*/*") if _is_audio(file, data_dir))
        if len({file.parent for file in files}) >= 2:
            return files
    raise DataError(f"{data_dir}: {_why_none(data_dir)}; check --data or --gtzan-dir")


def named_copies(files: Sequence[Path]) -> list[tuple[str, list[Path]]]:
    """Names of tracks and the files of each, best container first; tracks of GTZAN's lists before others."""
    stems = Counter({(file.parent, file.stem): file.stem for file in files}.values())
    groups = [list(group) for _, group in groupby(sorted(files, key=_rank), key=lambda f: (f.parent, f.stem))]
    groups.sort(key=lambda copies: copies[0].stem not in _LISTED)
    return [(first.stem if stems[first.stem] == 1 else short_name(first), [first, *rest]) for first, *rest in groups]


def short_name(file: Path) -> str:
    """Class and name of a file."""
    return f"{file.parent.name}/{file.name}"


def _is_audio(file: Path, data_dir: Path) -> bool:
    """Also links that lead nowhere: an annexed file that was not fetched is to be reported."""
    hidden = any(part.startswith(".") for part in file.relative_to(data_dir).parts)
    broken = file.is_symlink() and not file.exists()
    return file.suffix.lower() in SUFFIXES and not hidden and (file.is_file() or broken)


def _why_none(data_dir: Path) -> str:
    """What is wrong with a folder without two folders of audio."""
    depths = ("*", "*/*", "*/*/*", "*/*/*/*")
    audio = sorted(file for depth in depths for file in data_dir.glob(depth) if _is_audio(file, data_dir))
    folders = sorted({file.parent for file in audio})
    if not audio:
        return f"no folders of genres with {', '.join(SUFFIXES)} files in it or in {', '.join(LAYOUTS[:-1])}"
    if folders == [data_dir]:
        return "audio lies in it and not in folders of genres; give the folder above, or make one folder per genre"
    if len(folders) == 1:
        return f"there is one genre ({folders[0].name}), and training needs at least two"
    return (
        f"no folders of genres directly in it or in {', '.join(LAYOUTS[:-1])}; audio lies elsewhere "
        f"({audio[0].relative_to(data_dir)}): give the folder that holds one folder per genre"
    )


def _rank(file: Path) -> tuple[Path, str, int, str]:
    return file.parent, file.stem, SUFFIXES.index(file.suffix.lower()), file.name
