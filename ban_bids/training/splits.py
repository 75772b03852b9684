"""Which tracks train, which validate, and which may do neither.

GTZAN (Tzanetakis and Cook 2002) has faults: about 5 % exact replicas, 10 % mislabelled tracks, distorted
tracks and artists that repeat (Sturm 2012, 2013). torchaudio carries the fault-filtered lists (Kereliuk et
al. 2015); other splits by track leave artists on both sides and score ten points or more higher.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import chain
from pathlib import Path

import numpy as np
from torchaudio.datasets.gtzan import filtered_train, filtered_valid

from ban_bids.errors import DataError, UsageError
from ban_bids.files.reading import MIB, read_bytes, text_of
from ban_bids.inputs.heldout import held_out_tracks
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.types import Dataset
from ban_bids.settings import Settings
from ban_bids.training.datasets import Track
from ban_bids.training.folders import SUFFIXES
from ban_bids.training.grouped import group_of, held_out_at_random, held_out_fold, held_out_sixth, in_words

_LOG = logging.getLogger(__name__)

SPLITS = ("fault-filtered", "fmri-safe", "stratified", "kfold-I-of-N", "random", "all")
"""Names that ``--split`` takes; ``kfold-0-of-5`` is the first of five folds by track."""

_ARTISTS = "tracks of one artist may lie on both sides of the split, which makes accuracy look higher"
_UNKNOWN = "no track was kept apart, so the accuracy of these weights is not known"
_BY_TRACK, _BY_GROUP = "by track, stratified by genre", "by group, stratified by genre"
_COVERED = 0.8
_VALIDATION_SHARE = 1 / 6
_KFOLD = re.compile(r"kfold-(\d+)-of-(\d+)")
_DATASET = "dataset_description.json"


@dataclass(frozen=True)
class Split:
    """Training and validation tracks.

    Parameters
    ----------
    name : str
        What was done, in words, for the card.
    training, validation : tuple of Track
        Without a track in common.
    notes : tuple of str
        What a reader of the accuracy should know.
    """

    name: str
    training: tuple[Track, ...]
    validation: tuple[Track, ...]
    notes: tuple[str, ...] = ()


def split_tracks(tracks: Sequence[Track], split: str, seed: int, *, excluded: Sequence[Track] = ()) -> Split:
    """Divide tracks into training and validation.

    Parameters
    ----------
    tracks : sequence of Track
        What is there, without the excluded ones. Those of each folder are divided by themselves, the main ones
        first; groups that an earlier folder put on one side stay there, and where too few tracks or groups of a
        further folder are left to divide, all of them train.
    split : str
        One of :data:`SPLITS`. ``fault-filtered`` and ``fmri-safe`` need GTZAN itself: where under 80 % of the
        lists' tracks are there (counting ``excluded``), a stratified split by track takes their place,
        logged and noted. ``fmri-safe`` leaves out the tracks of ds003720's Test runs and their twins
        (:func:`fmri_tracks`, :data:`FMRI_TWINS`) by name, and every track that is the same recording as one of
        these names in the collection, beside what was excluded. With ``all`` every track trains and none validates.
        The other splits keep the tracks' groups whole (:mod:`ban_bids.training.grouped`) or are by track, and then
        say that artists may lie on both sides.
    seed : int
        Of the stratified, k-fold and random splits.
    excluded : sequence of Track
        Left out on request; only their names matter here.

    Returns
    -------
    Split

    Raises
    ------
    UsageError
        For an unknown split, or for lists of tracks where groups must stay whole.
    DataError
        When no track is left on one side (of ``all``: to train), or there are fewer groups than folds.
    """
    homes = list(dict.fromkeys(track.home for track in tracks)) or [""]
    parts = [[t for t in tracks if t.home == home] for home in homes]
    result = _divided(parts[0], split, seed, [t for t in excluded if t.home == homes[0]])
    if not (result.training and (result.validation or split == "all")):
        raise DataError(
            f"--split {split}: {len(result.training)} training and {len(result.validation)} validation "
            "tracks are left; exclude fewer or choose another split"
        )
    for home, part in zip(homes[1:], parts[1:]):
        result = _with_further(result, home, part, split, seed, excluded=[t for t in excluded if t.home == home])
    lost = {(t.home, t.genre) for t in result.validation} - {(t.home, t.genre) for t in result.training}
    notes = tuple(
        f"no track of {genre} trains: the split leaves all of them to validation" for _, genre in sorted(lost)
    )
    for note in notes:
        _LOG.warning(note)
    return replace(result, notes=(*result.notes, *notes))


def _divided(tracks: Sequence[Track], split: str, seed: int, excluded: Sequence[Track]) -> Split:
    """The tracks of one folder."""
    fold = _KFOLD.fullmatch(split)
    if split in ("fault-filtered", "fmri-safe"):
        return _listed(tracks, split, seed, excluded)
    if split == "stratified":
        return _stratified(tracks, seed)
    if split == "random":
        return _random(tracks, seed)
    if split == "all":
        return Split("all tracks train, none validates", tuple(tracks), (), (_UNKNOWN,))
    if fold and int(fold[2]) >= 2 and int(fold[1]) < int(fold[2]):
        return _fold(tracks, int(fold[1]), int(fold[2]), seed)
    raise UsageError(f"--split {split}: unknown; choose one of {', '.join(SPLITS)} (0 <= I < N)")


def _with_further(
    result: Split, home: str, tracks: Sequence[Track], split: str, seed: int, *, excluded: Sequence[Track]
) -> Split:
    """A split with the tracks of a further folder, whose groups stay on the side where they are already."""
    trained, validated = ({t.group for t in side if t.group} for side in (result.training, result.validation))
    left = [t for t in tracks if t.group not in trained | validated]
    fold = _KFOLD.fullmatch(split)
    if len({group_of(t) for t in left}) >= (int(fold[2]) if fold else 2):
        part = _divided(left, split, seed, excluded)
    else:
        part = Split("too few to divide, so all train", tuple(left), ())
    return Split(
        f"{result.name}; {home}: {part.name}" if left else f"{result.name}; {home}: with the same groups",
        (*result.training, *(t for t in tracks if t.group in trained), *part.training),
        (*result.validation, *(t for t in tracks if t.group in validated), *part.validation),
        (*result.notes, *(f"{home}: {note}" for note in part.notes)),
    )


def inner_split(tracks: Sequence[Track], seed: int) -> tuple[list[Track], list[Track]]:
    """Divide training tracks once more, for early stopping.

    Returns
    -------
    training : list of Track
    inner : list of Track
        About a sixth of the main folder's tracks. No group is in both.

    Raises
    ------
    DataError
        When there is nothing to divide.
    """
    try:
        parts = split_tracks(tracks, "stratified", seed)
    except DataError as err:
        raise DataError(f"--early-stopping holds out a sixth of the training tracks: {err}") from err
    inner = [track for track in parts.validation if not track.home]
    groups, names = {track.group for track in inner} - {""}, {track.name for track in inner}
    return [track for track in tracks if track.name not in names and track.group not in groups], inner


def fmri_tracks() -> frozenset[str]:
    """Names of the 60 GTZAN tracks heard in ds003720's Test runs."""
    text = files("ban_bids.training").joinpath("ds003720_test_tracks.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


FMRI_TWINS = {
    "disco.00074": "disco.00071",  # perhaps
    "jazz.00043": "jazz.00069",
    "jazz.00067": "jazz.00040",
    "jazz.00070": "jazz.00044",
    "jazz.00071": "jazz.00045",
    "reggae.00044": "reggae.00033",
    "reggae.00058": "reggae.00033",
    "reggae.00096": "reggae.00085",
}
"""GTZAN track -> the track of :func:`fmri_tracks` whose recording it is under another name."""


def _listed(tracks: Sequence[Track], split: str, seed: int, excluded: Sequence[Track]) -> Split:
    lists = set(filtered_train) | set(filtered_valid)
    barred = fmri_tracks() | FMRI_TWINS.keys() if split == "fmri-safe" else frozenset()
    safe = [t for t in tracks if barred.isdisjoint(map(_plain, (t.name, *t.others)))]
    present = {_plain(track.name) for track in (*tracks, *excluded)}
    if len(lists & present) < _COVERED * len(lists):
        note = (
            f"{split} split: only {len(lists & present)} of its {len(lists)} tracks are there; "
            f"split {_BY_GROUP if any(t.group for t in safe) else _BY_TRACK} instead"
        )
        _LOG.warning(note)
        result = _stratified(safe, seed)
        return replace(result, name=f"{result.name} (in place of {split})", notes=(note, *result.notes))
    if any(track.group for track in tracks):
        raise UsageError(f"--group: the lists of --split {split} are by track; choose stratified or kfold-I-of-N")
    listed = [t for t in safe if _plain(t.name) in lists]
    validation = {t.name for t in listed if _plain(t.name) in set(filtered_valid)}
    return replace(_by_name(split, listed, validation), notes=())


def _plain(name: str) -> str:
    """A track's name without that of its folder."""
    return name.rpartition(":")[2]


def _stratified(tracks: Sequence[Track], seed: int) -> Split:
    """About a sixth of each genre's tracks validate, at least one where the genre has two or more."""
    if any(track.group for track in tracks):
        return _by_groups("stratified by genre, ", tracks, held_out_sixth(tracks, seed))
    chosen: set[str] = set()
    for names in _shuffled_by_genre(tracks, seed):
        chosen.update(names[: max(1, round(_VALIDATION_SHARE * len(names))) if len(names) > 1 else 0])
    return _by_name(_BY_TRACK, tracks, chosen)


def _fold(tracks: Sequence[Track], index: int, n_folds: int, seed: int) -> Split:
    if any(track.group for track in tracks):
        return _by_groups(f"fold {index} of {n_folds} ", tracks, held_out_fold(tracks, index, n_folds, seed))
    # counting on over genres keeps the folds equally large
    names = list(chain.from_iterable(_shuffled_by_genre(tracks, seed)))
    return _by_name(f"fold {index} of {n_folds} {_BY_TRACK}", tracks, set(names[index::n_folds]))


def _shuffled_by_genre(tracks: Sequence[Track], seed: int) -> Iterator[list[str]]:
    """Names of each genre's tracks in random order, genre by genre."""
    rng = np.random.default_rng(seed)
    for genre in sorted({t.genre for t in tracks}):
        yield rng.permutation(sorted(t.name for t in tracks if t.genre == genre)).tolist()


def _random(tracks: Sequence[Track], seed: int) -> Split:
    if any(track.group for track in tracks):
        return _by_groups("random ", tracks, held_out_at_random(tracks, seed))
    note = "random split: artists and mislabelled tracks lie on both sides, so the accuracy is too high"
    _LOG.warning(note)
    names = np.random.default_rng(seed).permutation(sorted(t.name for t in tracks)).tolist()
    result = _by_name("random", tracks, set(names[: round(_VALIDATION_SHARE * len(names))]))
    return replace(result, notes=(note,))


def _by_groups(how: str, tracks: Sequence[Track], held_out: set[str]) -> Split:
    """Groups are what must not lie on both sides, so nothing is to be noted where all tracks have one."""
    validation = {t.name for t in tracks if group_of(t) in held_out}
    result = _by_name(how + in_words(tracks, held_out), tracks, validation)
    return replace(result, notes=()) if all(t.group for t in tracks) else result


def _by_name(name: str, tracks: Sequence[Track], validation: set[str]) -> Split:
    return Split(
        name,
        tuple(t for t in tracks if t.name not in validation),
        tuple(t for t in tracks if t.name in validation),
        (_ARTISTS,),
    )


def barred_tracks(dataset: Dataset, settings: Settings) -> list[Path]:
    """Audio files that may neither train nor validate a model that is scored on a dataset.

    Parameters
    ----------
    dataset : Dataset
        As read with ``settings``.
    settings : Settings
        Their selection says which runs are held out.

    Returns
    -------
    list of Path
        What is heard in held-out runs, by the rule that scoring uses, and the clips that people judged; sorted.
    """
    judged = () if dataset.choices is None else (clip.audio for clip in dataset.choices.clips)
    return sorted(held_out_tracks(dataset).union(judged))


def named_tracks(
    path: Path | None, data_dir: Path, *, test_tasks: Sequence[str] = (), test_runs: Sequence[str] = ()
) -> list[Path]:
    """Audio files that ``--exclude-stimuli`` names.

    Parameters
    ----------
    path : Path or None
        A BIDS dataset (its :func:`barred_tracks`), a folder of audio, a text file with one path per line, or nothing.
    data_dir : Path
        Folder of genres that the model is trained on; a dataset's stimuli may be named by its tracks.
    test_tasks, test_runs : sequence of str
        Held-out tasks and runs of a BIDS dataset.

    Returns
    -------
    list of Path

    Raises
    ------
    UsageError
        When it names no audio file, or tasks and runs are given without a dataset.
    """
    if path is not None and (path / _DATASET).is_file():
        root = path.resolve()
        settings = Settings.of(
            bids_dir=root,
            output_dir=root / "derivatives" / "ban-bids",
            level="participant",
            gtzan_dir=data_dir.resolve(),
            test_tasks=tuple(test_tasks),
            test_runs=tuple(test_runs),
        )
        return barred_tracks(read_dataset(settings), settings)
    if test_tasks or test_runs:
        raise UsageError(
            "--test-task and --test-runs have no effect unless --exclude-stimuli names a BIDS dataset "
            f"(a folder with {_DATASET}); give one, or drop them"
        )
    if path is None:
        return []
    if path.is_dir():
        tracks = sorted(file for file in path.rglob("*") if file.suffix.lower() in {*SUFFIXES, ".ogg"})
    elif path.is_file():
        tracks = [path.parent / line for line in _lines(path)]
    else:
        raise UsageError(f"--exclude-stimuli {path}: no such file or folder")
    if not tracks:
        raise UsageError(f"--exclude-stimuli {path}: names no audio file; drop the option or correct the path")
    return tracks


def _lines(path: Path) -> list[str]:
    """Lines of a text file that are neither empty nor comments."""
    try:
        lines = [line.strip() for line in text_of(read_bytes(path, MIB), path).splitlines()]
    except DataError as err:
        raise UsageError(f"--exclude-stimuli {path}: not a text file with one path per line ({err})") from err
    return [line for line in lines if line and not line.startswith("#")]
