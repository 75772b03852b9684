"""Make the folder of a listening experiment from a dataset's events and sounds; images are not needed."""

from __future__ import annotations

import math
import random
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from ban_bids.audio.waveforms import render_clip, sine_fade
from ban_bids.bids.listing import participant_labels
from ban_bids.constants import DEFAULT_SEED
from ban_bids.errors import DataError, UsageError
from ban_bids.files.atomic import TEMPORARY_PREFIX
from ban_bids.files.progress import progress
from ban_bids.files.room import told_when_full
from ban_bids.files.sounds import sound_info
from ban_bids.inputs.events import Row, plain_label, read_table
from ban_bids.inputs.heldout import held_out_plan
from ban_bids.inputs.stimuli import Stimuli, stimuli_of
from ban_bids.inputs.types import Clip, Listener
from ban_bids.listen.experiment import (
    LABEL,
    SOUND_CHECK,
    Experiment,
    Layout,
    ListeningClip,
    faults,
    write_experiment,
    write_people,
)
from ban_bids.listen.heard import heard_runs
from ban_bids.listen.schedule import shuffled, trials
from ban_bids.listen.texts import TEXTS
from ban_bids.settings import Selection

_RATES = range(8000, 48001)
_RATE = 44_100
_LOUDEST = 0.99
_SECONDS_TO_ANSWER = 6.0
_NOTES = (523.25, 659.26, 783.99, 659.26, 523.25)
_NOTE_SECONDS = 0.5


@dataclass(frozen=True)
class Request:
    """What an experiment is to ask, and whom.

    Parameters
    ----------
    task : str
        Label of the tables that are made of the answers.
    choices : tuple of str
        What can be answered; empty for the clips' genres.
    people : int
        Personal links, where no labels are given.
    participants : tuple of str
        Labels without ``sub-``.
    repeats, checks, practice : int
        Clips judged twice, checks of attention, clips to practise with.
    confidence : bool
        Whether a confidence is asked for.
    seed : int
        Of the orders, and of the choice of practice clips.
    """

    task: str = "genre"
    choices: tuple[str, ...] = ()
    people: int = 20
    participants: tuple[str, ...] = ()
    repeats: int = 6
    checks: int = 2
    practice: int = 3
    confidence: bool = False
    seed: int = DEFAULT_SEED


def make_experiment(
    bids_dir: Path,
    out: Path,
    request: Request,
    *,
    clips: Path | None = None,
    profile: Path | None = None,
    stimuli_dir: Path | None = None,
) -> str:
    """Make an experiment's folder: whole, or not at all.

    Sounds are mono WAV files, as models hear the clips: with the fades and level of the rules. Where that level would
    clip, all of them are made quieter by one factor.

    Parameters
    ----------
    bids_dir : Path
        The dataset; nothing is written into it.
    out : Path
        The new folder.
    request : Request
    clips : Path, optional
        Table of the clips (``stim_file``, ``genre``; ``start`` or ``stim_start``, ``duration``; rows whose ``kind`` is
        ``practice`` are to practise with), instead of what the held-out runs' events name.
    profile : Path, optional
        How to read events, instead of the dataset's own rules or some that ship.
    stimuli_dir : Path, optional
        Where the audio files are, if not in the dataset's ``stimuli/``.

    Returns
    -------
    str
        What was made, and what to do next.

    Raises
    ------
    UsageError
        The folder is taken or lies in the dataset, or the request does not fit the clips.
    DataError
        Events, clips or sounds cannot be used.
    """
    bids_dir, out = bids_dir.absolute(), out.absolute()
    _check_free(out, bids_dir)
    stimuli = stimuli_of(bids_dir, stimuli_dir, profile)
    draw = random.Random(request.seed).random  # random() alone stays the same over Python's versions
    judged, practice = _listed(clips, stimuli) if clips is not None else _held_out(bids_dir, stimuli, draw)
    if not judged:
        raise DataError(f"{clips or bids_dir}: names no clip to judge; give --clips FILE with stim_file and genre")
    choices = request.choices or _different({_genre(clip) for clip in judged})
    judged, practice = _spelled(judged, choices), _spelled(practice, choices)
    practice = [clip for clip in practice if clip.genre in choices][: request.practice]
    sounds = {
        **{f"clip-{k:03d}": clip for k, clip in enumerate(shuffled(judged, draw), start=1)},
        **{f"practice-{k}": clip for k, clip in enumerate(practice, start=1)},
    }
    listed = tuple(_described(name, clip, stimuli) for name, clip in sounds.items())
    experiment = Experiment(
        task=request.task, choices=choices, clips=listed[: len(judged)], practice=listed[len(judged) :],
        repeats=request.repeats, checks=request.checks, confidence=request.confidence, seed=request.seed,
    )  # fmt: skip
    _check(experiment)
    codes = {label: secrets.token_urlsafe(12) for label in _people(request, bids_dir)}
    with _new_folder(out) as folder:
        gain = _write_sounds(Layout(folder), sounds)
        shutil.copyfile(TEXTS, Layout(folder).texts)
        write_people(Layout(folder), codes)
        write_experiment(Layout(folder), experiment)
    return _what_next(Layout(out), experiment, codes, [*_notes(request, experiment, gain)])


def _check_free(out: Path, bids_dir: Path) -> None:
    if out.resolve() == bids_dir.resolve() or bids_dir.resolve() in out.resolve().parents:
        raise UsageError(f"OUT {out} lies in the dataset {bids_dir}; choose a folder elsewhere")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"OUT {out}: something is there already; choose a new folder")


# --- which clips


def _listed(path: Path, stimuli: Stimuli) -> tuple[list[Clip], list[Clip]]:
    """Clips of a table: those to judge, and those to practise with."""
    table = read_table(path)
    if "stim_file" not in table.columns:
        raise DataError(f"{path}: no column stim_file; write a table separated by tabs with stim_file and genre")
    judged: dict[Clip, None] = {}
    practice: dict[Clip, None] = {}
    for row in table.rows:
        cells = {**row.cells, "stim_start": row.text("stim_start") or row.text("start")}
        clip = stimuli.clip(Row(row.path, row.line, cells))
        if clip is None:
            raise DataError(f"{row.where}: stim_file is n/a; name the file, or leave the row out")
        kind = practice if row.text("kind") == "practice" else judged
        kind[replace(clip, genre=clip.genre or row.text("genre"))] = None
    return list(judged), list(practice)


def _held_out(bids_dir: Path, stimuli: Stimuli, draw: Callable[[], float]) -> tuple[list[Clip], list[Clip]]:
    """Clips of anybody's held-out runs, lead-ins aside; and, in random order, genres mixed, of other recordings."""
    everything: dict[Clip, None] = {}
    judged: dict[Clip, None] = {}
    for label in participant_labels(bids_dir):
        runs = heard_runs(label, bids_dir, stimuli)
        if not runs:
            continue
        held_out = held_out_plan(Listener(label, runs), Selection(bids_dir), stimuli.rules.held_out).held_out
        for run in runs:
            played = {item.clip: None for item in run.presentations if not item.lead_in}
            everything |= played
            judged |= played if run.name in held_out else {}
    recordings = {clip.audio for clip in judged}
    return list(judged), _mixed(shuffled([one for one in everything if one.audio not in recordings], draw))


def _mixed(clips: Sequence[Clip]) -> list[Clip]:
    """One clip of each genre first, then a second one, and so on."""
    count: Counter[str | None] = Counter()
    turns = []
    for clip in clips:
        count[clip.genre] += 1
        turns.append(count[clip.genre])
    return [clip for _, clip in sorted(zip(turns, clips, strict=True), key=lambda pair: pair[0])]


def _genre(clip: Clip) -> str:
    if clip.genre is None:
        raise DataError(
            f"{clip.audio}: its genre is not given; add a column genre to the events, or give --clips FILE with one"
        )
    return clip.genre


def _different(genres: Iterable[str]) -> tuple[str, ...]:
    """Genres in order, each once: of several spellings of one (Jazz, jazz) the first."""
    return tuple(sorted({plain_label(genre): genre for genre in sorted(genres, reverse=True)}.values()))


def _spelled(clips: Sequence[Clip], choices: Sequence[str]) -> list[Clip]:
    """Clips whose genres are written as the choices are, as far as they are among them."""
    names = {plain_label(choice): choice for choice in choices}
    return [replace(clip, genre=clip.genre and names.get(plain_label(clip.genre), clip.genre)) for clip in clips]


def _described(name: str, clip: Clip, stimuli: Stimuli) -> ListeningClip:
    """A clip under a name that tells nothing, with its file as the dataset's tables may name it."""
    folder = next(one for one in stimuli.folders if clip.audio.is_relative_to(one))
    return ListeningClip(name, clip.audio.relative_to(folder).as_posix(), clip.start, clip.duration, _genre(clip))


def _check(experiment: Experiment) -> None:
    """Refuse what cannot be run, naming the option."""
    number = len(experiment.clips)
    for option, count in (("--repeats", experiment.repeats), ("--checks", experiment.checks)):
        if count > number:
            raise UsageError(f"{option} {count}: {number} clips are judged; give at most {option} {number}")
    if len(experiment.choices) < 2:
        raise UsageError(
            f"--choices: {', '.join(experiment.choices)} alone is no choice; give two or more names, and the clips' "
            "genres by --clips FILE"
        )
    if len(_different(experiment.choices)) < len(experiment.choices):
        raise UsageError(
            f"--choices {', '.join(experiment.choices)}: some differ only in capital letters, blanks or hyphens and "
            "so count as the same answer; give each once"
        )
    wrong = next(faults(experiment), None)
    if wrong is not None:
        raise UsageError(f"{wrong}; see --choices, --task and --clips")


def _people(request: Request, bids_dir: Path) -> tuple[str, ...]:
    """Labels of those who get a link; new ones are not those of the dataset's participants."""
    if request.participants:
        labels = tuple(label.removeprefix("sub-") for label in request.participants)
        if not all(map(LABEL.fullmatch, labels)) or len({label.lower() for label in labels}) < len(labels):
            raise UsageError(f"--participants {' '.join(labels)}: give different labels of letters and digits")
        return labels
    taken = {label.lower() for label in participant_labels(bids_dir)}
    labels = tuple(f"listener{k:02d}" for k in range(1, request.people + len(taken) + 1))
    return tuple(label for label in labels if label not in taken)[: request.people]


# --- what is written


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder for its owner only, moved to its place when it is complete."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=out.parent))
    except OSError as error:
        raise UsageError(f"OUT {out}: {error.strerror}; change its rights or the path") from error
    try:
        with told_when_full(folder):
            yield folder
            folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_sounds(layout: Layout, sounds: dict[str, Clip]) -> float:
    """Write every clip, and the sound by which people set their volume, at the clips' level.

    Returns
    -------
    float
        By which all were multiplied; 1 where none is too loud for the file.
    """
    layout.clip(SOUND_CHECK).parent.mkdir()
    levels = [_write_clip(layout.clip(name), clip) for name, clip in progress(list(sounds.items()), "Writing clips")]
    gain = min(1.0, _LOUDEST / max(peak for peak, _ in levels))
    if gain < 1:
        for name, clip in sounds.items():
            _write_clip(layout.clip(name), clip, gain)
    melody = _melody(_RATE)
    wanted = gain * float(np.median([rms for _, rms in levels]))
    factor = min(wanted / np.sqrt(np.mean(melody**2)), _LOUDEST / np.abs(melody).max())
    soundfile.write(layout.clip(SOUND_CHECK), factor * melody, _RATE, subtype="PCM_16")
    return gain


def _write_clip(path: Path, clip: Clip, gain: float = 1.0) -> tuple[float, float]:
    """Write a clip at its file's rate, where browsers play that; give its peak and root mean square before the gain."""
    own = sound_info(clip.audio).sampling_rate
    rate = own if own in _RATES else _RATE
    waveform = render_clip(clip, rate)
    peak, rms = float(np.abs(waveform).max()), float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
    if peak == 0:
        raise DataError(f"{clip.audio}: silent from {clip.start:g} s for {clip.duration:g} s; leave that clip out")
    soundfile.write(path, gain * waveform, rate, subtype="PCM_16")
    return peak, rms


def _melody(rate: int) -> np.ndarray:
    """A few soft notes, (n_samples,)."""
    time = np.arange(round(_NOTE_SECONDS * rate)) / rate
    envelope = sine_fade(len(time), round(0.08 * rate)) * np.exp(-2 * time)
    notes = [envelope * (np.sin(2 * np.pi * pitch * time) + 0.3 * np.sin(4 * np.pi * pitch * time)) for pitch in _NOTES]
    return np.concatenate(notes)


# --- what is said


def _notes(request: Request, experiment: Experiment, gain: float) -> Iterator[str]:
    if len(experiment.practice) < request.practice:
        yield (
            f"{len(experiment.practice)} of {request.practice} practice clips: the dataset has no more of recordings "
            "that are not judged; rows of --clips FILE whose kind is practice add some"
        )
    if gain < 1:
        yield f"all sounds are {-20 * math.log10(gain):.1f} dB quieter than in the dataset, so that none is clipped"


def _what_next(layout: Layout, experiment: Experiment, codes: dict[str, str], notes: Sequence[str]) -> str:
    asked = trials(experiment, next(iter(codes)))
    seconds = {clip.id: clip.duration for clip in (*experiment.clips, *experiment.practice)}
    minutes = math.ceil(sum(seconds[trial.clip] + _SECONDS_TO_ANSWER for trial in asked) / 60)
    return "\n".join(
        [
            f"{layout.root}: {len(experiment.clips)} clips, {len(experiment.choices)} choices "
            f"({', '.join(experiment.choices)}), {len(asked)} trials per person, about {minutes} minutes.",
            *(f"Note: {note}." for note in notes),
            f"1. Fill in {layout.texts.name} there: who you are, what people agree to, {minutes} minutes.",
            f"2. ban-bids-listen serve {layout.root}",
            f"3. Send everybody a link of their own; codes are in {layout.people.name}. On this machine:",
            *(f"   {label}  http://127.0.0.1:8000/p/{code}" for label, code in codes.items()),
            f"4. ban-bids-listen import {layout.root} BIDS_DIR",
        ]
    )
