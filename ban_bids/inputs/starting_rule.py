"""What to say of events that cannot be understood: a rule to start with, for the columns that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from ban_bids.inputs.events import Table
from ban_bids.inputs.rules import Rule, template_fields
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.types import HeardRun
from ban_bids.inputs.unheard import FILMS, PICTURES, is_placeholder, suffix

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".au", ".aif", ".aiff", ".m4a", ".mp4", ".aac", ".wma")
_TIMES = ("onset", "duration")
_KINDS = ("genre", "trial_type")
_MOST_ROWS = 200


def starting_rule(table: Table, stimuli: Stimuli) -> str:
    """Why a table is not understood, with a line that is a file of rules already.

    Parameters
    ----------
    table : Table
        Events that have neither ``stim_file`` nor ``stim_id``.
    stimuli : Stimuli
        Which files there are.

    Returns
    -------
    str
        One line. The column whose cells look like names of sounds, or are names of files, is taken for the file; where
        no column is, that is said.
    """
    column, ends = _file_column(table, stimuli)
    keys: dict[str, str] = {"file": _quoted(f"{{{column or _guess(table)}}}")}
    if ends:
        keys["suffixes"] = f"[{', '.join(map(_quoted, ends))}]"
    keys |= {key: value for key, value in (("onset", "0"), ("duration", '"file"')) if key not in table.columns}
    genre = next((name for name in _KINDS if name in table.columns and name != column), None)
    if genre is not None:
        keys["genre"] = _quoted(genre)
    line = f"rule = [{{ {', '.join(f'{key} = {value}' for key, value in keys.items())} }}]"
    unsure = "" if column else " (no column looks like names of sounds: say in file how they are made of the columns)"
    return (
        f"{table.path}: no column stim_file and no rules for this dataset; its columns are {', '.join(table.columns)}. "
        f"Write code/ban-bids.toml, or a file for --rules, starting with the line{unsure}: {line}"
    )


def nothing_heard(run: HeardRun, rules: Sequence[Rule]) -> str:
    """Why nothing was played in a run that a rule is for."""
    where = run.events or run.bold
    if run.row_notes:
        return f"{where}: no row names a sound: {'; '.join(run.row_notes)}"
    if all(rule.bids for rule in rules):
        return f"{where}: stim_file is n/a in every row; name the clips that were played"
    return f"{where}: no row is left by rows and file in {rules[0].where}; correct them"


def _quoted(text: str) -> str:
    """A text as TOML writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _is_name(column: str) -> bool:
    """Whether a column may stand in a template."""
    try:
        return list(template_fields(f"{{{column}}}")) == [column]
    except ValueError:
        return False


def _file_column(table: Table, stimuli: Stimuli) -> tuple[str | None, tuple[str, ...]]:
    """Column that names files, and the suffixes that are to be tried after it."""
    best: tuple[float, str | None, tuple[str, ...]] = (0.0, None, ())
    for column in (name for name in table.columns if name not in _TIMES and _is_name(name)):
        cells = [text for row in table.rows[:_MOST_ROWS] if (text := row.text(column)) is not None]
        cells = [text for text in cells if not is_placeholder([text]) and suffix(text) not in PICTURES | FILMS]
        if not cells:
            continue
        named = sum(suffix(text) in SOUNDS for text in cells) / len(cells)
        found = [there for text in cells if (there := _sound_suffixes(text, stimuli))]
        # a name that is there counts more than one that only looks like it
        score = max(named, 1.1 * len(found) / len(cells))
        if score > max(best[0], 0.5):
            ends = tuple(sorted(set().union(*found))) if named < 0.5 else ()
            best = score, column, ends
    return best[1], best[2]


def _sound_suffixes(text: str, stimuli: Stimuli) -> set[str]:
    """Suffixes of the sounds under the stimulus folders that a cell names without suffix."""
    return {end for end in stimuli.suffixes(PurePosixPath(text).name) if end.lower() in SOUNDS}


def _guess(table: Table) -> str:
    """A column to stand in the example where none looks like names of files."""
    usual = [name for name in table.columns if name not in _TIMES and _is_name(name)]
    return usual[0] if usual else "task"
