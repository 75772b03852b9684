"""What public datasets need of rules: rows that overlap on one file, runs that must all be there, a word to users."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_skeletons import Published, noise, table
from hypothesis import given
from hypothesis import strategies as st
from small_datasets import notes_of

from ban_bids.errors import BanBidsError, DataError
from ban_bids.inputs.events import Row
from ban_bids.inputs.played import Played, _one_after_another
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.rule_files import read_rules
from ban_bids.inputs.types import Clip, Run

STORY = Path("story.wav")


def played(onset: float, duration: float, start: float, audio: Path = STORY, *, stated: bool = True) -> Played:
    clip = Clip(audio, start, duration, audio.stem)
    return Played(Row(Path("events.tsv"), 2, {}), clip, onset, stated)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40)), min_size=1, max_size=8))
def test_rows_on_one_time_line_are_heard_once(rows: list[tuple[int, int]]) -> None:
    """The same seconds are heard as before, each once, from the same place of the file."""
    begin = min(onset for onset, _ in rows)
    items = [played(onset, duration, onset - begin) for onset, duration in sorted(rows)]
    kept, notes = _one_after_another(items)
    before = {second for onset, duration in rows for second in range(onset, onset + duration)}
    seconds = [second for item in kept for second in range(round(item.onset), round(item.end))]
    assert sorted(seconds) == sorted(before)
    assert all(item.onset - item.clip.start == begin for item in kept)
    assert bool(notes) == (len(before) < sum(duration for _, duration in rows))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (played(0, 18, 0), played(15, 404, 0)),  # the file begins anew
        (played(0, 18, 0), played(15, 404, 15, Path("other.wav"))),
        (played(0, 18, 0, stated=False), played(15, 404, 15)),
        (played(0, 15, 0), played(15, 404, 15)),  # nothing overlaps
        (played(0, 18, 0), played(15, 404, 15.1)),  # a jump of 0.1 s
    ],
)
def test_other_rows_stay_as_they_are(first: Played, second: Played) -> None:
    assert _one_after_another([first, second]) == ([first, second], ())


def test_silence_after_the_file_goes_with_the_end_of_a_row() -> None:
    clip = Clip(STORY, 0.0, 20.0, "story", file_end=19.5)
    first = Played(Row(Path("events.tsv"), 2, {}), clip, 0.0, True)
    assert first.until(15.0).clip.file_end is None
    assert first.until(19.8).clip.file_end == 19.5


def small(tmp_path: Path, rules: str, runs: int = 3) -> Published:
    """One participant, runs of 60 s without events, files 1.wav to 3.wav of 40 s."""
    made = Published(tmp_path / "bids")
    made.describe("ours", "none", "1.8.0")
    made.tasks(2.0, "book")
    for run in range(runs):
        made.image(f"sub-01_task-book_run-{5 + 2 * run}", 30, 2.0)
    for number in (1, 2, 3):
        noise(made.root / "stimuli" / f"{number}.wav", 40.0)
    (made.root / "code").mkdir()
    (made.root / "code" / "ban-bids.toml").write_text(rules)
    return made


ORDERED = '[[rule]]\nevents = "none"\nfile = "{order}.wav"\n'


def test_all_runs_are_there(tmp_path: Path) -> None:
    (person,) = read_dataset(small(tmp_path, ORDERED + "of = 3\n").settings()).participants
    assert [[item.clip.track for item in run.presentations] for run in person.runs] == [["1"], ["2"], ["3"]]


def test_a_run_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BanBidsError, match="sub-01 has 2 runs of task-book where .* needs 3"):
        read_dataset(small(tmp_path, ORDERED + "of = 3\n", runs=2).settings())


def test_a_choice_of_runs_does_not_change_what_they_heard(tmp_path: Path) -> None:
    made = small(tmp_path, ORDERED + "of = 3\n")
    query = tmp_path / "last.json"
    query.write_text('{"bold": {"run": 9}}')
    (person,) = read_dataset(made.settings(bids_filter_file=query)).participants
    (run,) = person.runs
    assert isinstance(run, Run)
    assert (run.run, [item.clip.track for item in run.presentations]) == ("9", ["3"])


def test_a_note_is_told(tmp_path: Path) -> None:
    made = small(tmp_path, 'name = "ours"\nnote = "onsets are a guess"\n' + ORDERED)
    assert "ours: onsets are a guess" in notes_of(read_dataset(made.settings()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ORDERED + "of = 2.5\n", "of must be a whole number of runs"),
        (ORDERED + "of = 0\n", "of must be a number from 1"),
        (ORDERED + 'of = "all"\n', "of must be a number"),
        ('[[rule]]\nevents = "none"\nfile = "{run}.wav"\nof = 3\n', "which file does not use"),
        ("note = 3\n" + ORDERED, "note must be text"),
    ],
)
def test_keys_that_say_nothing_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_rules(path)


def test_overlapping_rows_of_one_story(tmp_path: Path) -> None:
    """As ds002345's earlier tables: music to 18 s, the story from 15 s on."""
    made = Published(tmp_path / "bids")
    made.describe("Narratives", "doi:10.18112/openneuro.ds002345.v1.0.1", "1.2.1")
    made.tasks(1.5, "a")
    made.image("sub-01_task-a", 100, 1.5)
    rows = [(0.0, 18.0, "music", "a.wav"), (15.0, 100.0, "story", "a.wav")]
    made.events("sub-01_task-a", table("onset duration trial_type stim_file", rows))
    noise(made.root / "stimuli" / "a.wav", 120.0)
    (person,) = read_dataset(made.settings()).participants
    (run,) = person.runs
    assert [(item.onset, item.clip.start, item.clip.duration) for item in run.presentations] == [
        (0, 0, 15),
        (15, 15, 100),
    ]
    assert any("a.wav" in note and "taken once" in note for note in run.row_notes)
