"""Tables of jsPsych, PsychoPy and survey services, read by the maps that docs/people.md shows."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from answers_by_hand import make_dataset, read_back, snapshot, write_json

from ban_bids.errors import DataError, UsageError
from ban_bids.listen.columns import read_map
from ban_bids.listen.exported import read_tables
from ban_bids.listen.importing import import_answers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "people.md"
MAPS = dict(zip(("jspsych", "psychopy", "survey"), re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)))
WHOLE = 'excerpt = "whole"\n'


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "bids")


def column_map(folder: Path, text: str) -> Path:
    path = folder / "columns.toml"
    path.write_text(text, encoding="utf-8")
    return path


def write_csv(path: Path, rows: Sequence[Mapping[str, object]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, delimiter=delimiter, restval="")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream.getvalue().encode(encoding))
    return path


def imported(answers: Path, bids: Path, text: str, **options: Any) -> str:
    columns = column_map(bids.parent, text)
    return import_answers(answers, bids, **{"columns": columns, "task": None, "replace": False, **options})


def said(bids: Path) -> list[tuple[str, str, str]]:
    return [(who, audio.removesuffix(".wav"), response) for who, audio, _, _, _, response in read_back(bids)]


# --- jsPsych ---------------------------------------------------------------------------------------------------------


def jspsych(person: str = "p1") -> list[dict[str, object]]:
    """Trials of several plugins: instructions, practice, three clips of which one is not answered, a survey."""
    common = {"trial_type": "audio-button-response", "subject": person}
    return [
        {"trial_type": "html-keyboard-response", "subject": person, "stimulus": "<p>Hello, world</p>", "response": " "},
        {**common, "part": "practice", "stimulus": "sounds/practice.mp3", "response": 2, "rt": 900},
        {**common, "part": "main", "stimulus": "sounds/blues.00000.mp3", "response": 0, "rt": 1234.5},
        {**common, "part": "main", "stimulus": "sounds/jazz.00001.mp3", "response": 1, "rt": 2000},
        {**common, "part": "main", "stimulus": "sounds/jazz.00000.mp3", "response": None, "rt": None},
        {"trial_type": "survey-text", "subject": person, "response": {"Q0": "nice"}, "rt": 7000},
        {**common, "part": "main", "stimulus": "sounds/blues.00000.mp3", "response": 2, "rt": 1500},
    ]


SAID = [("p1", "blues.00000", "blues"), ("p1", "jazz.00001", "classical"), ("p1", "blues.00000", "jazz")]


def as_json(path: Path) -> Path:
    return write_json(path.with_suffix(".json"), jspsych())


def as_lines_of_arrays(path: Path) -> Path:
    target = path.with_suffix(".json")
    target.write_text("\n".join(json.dumps([row]) for row in jspsych()))
    return target


def as_csv(path: Path) -> Path:
    rows = [{key: json.dumps(value) if isinstance(value, dict) else value for key, value in row.items()}
            for row in jspsych()]  # fmt: skip
    return write_csv(path.with_suffix(".csv"), rows)


@pytest.mark.parametrize("write", [as_json, as_lines_of_arrays, as_csv])
def test_jspsych(tmp_path: Path, bids: Path, write: Any) -> None:
    report = imported(write(tmp_path / "data"), bids, WHOLE + MAPS["jspsych"])
    assert said(bids) == SAID
    table = (bids / "sub-p1" / "beh" / "sub-p1_task-genre_beh.tsv").read_text().splitlines()
    assert table[0].split("\t")[6:] == ["response_time", "presentation", "kind"]
    assert [line.split("\t")[6:] for line in table[1:]] == [["1.2345", "1", "main"], ["2.0", "1", "main"],
                                                            ["1.5", "2", "repeat"]]  # fmt: skip
    assert {row[2:5] for row in read_back(bids)} == {(0.0, 12.0, "blues"), (0.0, 12.0, "jazz")}
    assert "note: 3 rows left out by only and not" in report and "note: 1 clips without an answer" in report


def test_one_question_of_a_survey(tmp_path: Path, bids: Path) -> None:
    rows = [{"id": "p1", "clip": "jazz.00000", "response": {"Q0": "jazz", "Q1": "blues"}}, {"id": "p1", "rt": 3}]
    text = WHOLE + 'participant = "id"\nclip = "clip"\nresponse = "response.Q0"\n'
    imported(write_json(tmp_path / "data.json", rows), bids, text)
    assert said(bids) == [("p1", "jazz.00000", "jazz")]
    assert (bids / "sourcedata/listen/task-genre/data.json.csv").read_text().splitlines()[0] == "id,clip,response"
    in_csv = [{**rows[0], "response": json.dumps(rows[0]["response"])}]
    imported(write_csv(tmp_path / "data.csv", in_csv), bids, text, task="csv")
    assert said(bids) == [("p1", "jazz.00000", "jazz")] * 2


def test_a_response_that_the_map_does_not_know_is_refused(tmp_path: Path, bids: Path) -> None:
    rows = jspsych()
    rows[3]["response"] = 3
    with pytest.raises(DataError, match=r"data.json, line 4: response is '3', not among answers \(0, 1, 2\)"):
        imported(write_json(tmp_path / "data.json", rows), bids, WHOLE + MAPS["jspsych"])


def test_numbers_of_buttons_without_a_map_are_refused(tmp_path: Path, bids: Path) -> None:
    text = re.sub(r"answers.*\n", "", MAPS["jspsych"])
    with pytest.raises(DataError, match=r"no answer \(0, 1, 2\) is a genre of the clips \(blues, jazz\).*\[answers\]"):
        imported(as_json(tmp_path / "data"), bids, WHOLE + text)


# --- PsychoPy --------------------------------------------------------------------------------------------------------


def psychopy(person: str, keys: Sequence[object] = ("1", "3.0", "None")) -> list[dict[str, object]]:
    """Rows of instructions and pauses are nearly empty."""
    clips = ("blues/blues.00001.wav", "jazz/jazz.00000.wav", "jazz/jazz.00001.wav")
    trials = [
        {"participant": person, "sound_file": clip, "genre": clip.split("/")[0], "key_resp.keys": key,
         "key_resp.rt": 0.75 + k, "frameRate": 60}
        for k, (clip, key) in enumerate(zip(clips, keys))
    ]  # fmt: skip
    return [{"participant": person, "welcome.keys": "space"}, {}, trials[0], {"participant": person}, *trials[1:]]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_psychopy(tmp_path: Path, bids: Path, delimiter: str) -> None:
    data = tmp_path / "data"
    write_csv(data / "02_genre.csv", psychopy("02", (2, 3, 1)), delimiter, "utf-8-sig")
    write_csv(data / "01_genre.csv", psychopy("01"), delimiter)
    write_csv(data / "03_genre.csv", [{"participant": "03", "welcome.keys": ""}], delimiter)  # left at once
    (data / "04_genre.csv").write_text("")
    (data / "01_genre.log").write_text("not a table")
    report = imported(data, bids, WHOLE + MAPS["psychopy"])
    assert said(bids) == [
        ("01", "blues.00001", "blues"), ("01", "jazz.00000", "jazz"),
        ("02", "blues.00001", "classical"), ("02", "jazz.00000", "jazz"), ("02", "jazz.00001", "blues"),
    ]  # fmt: skip
    assert "note: 03_genre.csv left out: no column sound_file" in report
    assert "median response time 1.75 s" in report


def test_one_person_in_two_files_is_taken_only_when_told(tmp_path: Path, bids: Path) -> None:
    data = tmp_path / "data"
    for name, keys in (("a.csv", (1, 1, 1)), ("b.csv", (3, 3, 3))):
        write_csv(data / name, psychopy("01", keys))
    with pytest.raises(DataError, match=r"b.csv: participant 01 is in a.csv too; keep one file, or write sessions"):
        imported(data, bids, WHOLE + MAPS["psychopy"])
    imported(data, bids, WHOLE + "sessions = true\n" + MAPS["psychopy"])
    assert [response for _, _, response in said(bids)] == ["blues"] * 3 + ["jazz"] * 3
    table = (bids / "sub-01" / "beh" / "sub-01_task-genre_beh.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in table[1:]] == list("123456")
    assert table[4].split("\t")[-2:] == ["2", "repeat"]


# --- surveys ---------------------------------------------------------------------------------------------------------


def survey(people: Mapping[str, Sequence[str]]) -> list[dict[str, object]]:
    columns = ("genre_1", "genre_2", "sure_1", "sure_2")
    head = {"ResponseId": "Response ID", "IPAddress": "IP Address", "Finished": "Finished"}
    asked = head | dict.fromkeys(columns, "Which genre,\nplease?")
    ids = {name: f'{{"ImportId":"{name}"}}' for name in asked}
    answered = [
        {"ResponseId": person, "IPAddress": "192.0.2.7", "Finished": "True", **dict(zip(columns, answers))}
        for person, answers in people.items()
    ]
    return [asked, ids, *answered, {"ResponseId": "R_9", "Finished": "False", "genre_1": "jazz"}]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    path = tmp_path / "clips.tsv"
    lines = re.findall(r"^    (\w+\t.*)$", PAGE.read_text(), re.MULTILINE)
    path.write_text("\n".join(lines).replace("00005", "00001").replace("00012", "00000"))
    return path


PEOPLE = {"R_1a": ("blues", "jazz", "4", "2"), "R_2b": ("jazz", "", "1", "")}


@pytest.mark.parametrize(("name", "delimiter", "encoding"), [("s.csv", ",", "utf-8-sig"), ("s.tsv", "\t", "utf-16")])
def test_survey(tmp_path: Path, bids: Path, clips: Path, name: str, delimiter: str, encoding: str) -> None:
    table = write_csv(tmp_path / name, survey(PEOPLE), delimiter, encoding)
    imported(table, bids, WHOLE + MAPS["survey"])
    assert said(bids) == [
        ("R1a", "blues.00001", "blues"),
        ("R1a", "jazz.00000", "jazz"),
        ("R2b", "blues.00001", "jazz"),
    ]
    lines = (bids / "sub-R1a" / "beh" / "sub-R1a_task-genre_beh.tsv").read_text().splitlines()
    assert [line.split("\t")[6] for line in lines] == ["confidence", "4.0", "2.0"]
    kept = b"".join(snapshot(bids / "sourcedata").values())
    assert b"R_2b" in kept and b"192.0.2.7" not in kept and b"IPAddress" not in kept


def test_columns_may_be_named_by_the_clips_themselves(tmp_path: Path, bids: Path) -> None:
    row = {"id": "7", "q_blues.00000": "jazz", "q_blues.00000_rt": "1500", "q_jazz.00001": "jazz", "age": "31"}
    text = WHOLE + ('participant = "id"\nresponse = "q_{clip}"\nresponse_time = "q_{clip}_rt"\n'
                    'response_time_unit = "ms"\n')  # fmt: skip
    imported(write_csv(tmp_path / "s.csv", [row]), bids, text)
    assert said(bids) == [("7", "blues.00000", "jazz"), ("7", "jazz.00001", "jazz")]


def test_header_lines_that_are_not_told_are_no_people(tmp_path: Path, bids: Path, clips: Path) -> None:
    table = write_csv(tmp_path / "s.csv", survey(PEOPLE))
    for lines in (0, 1):
        text = re.sub("header_lines = 2", f"header_lines = {lines}", MAPS["survey"]).partition("[only]")[0]
        with pytest.raises(DataError, match="a second header line; write header_lines = 2"):
            imported(table, bids, WHOLE + text)


def test_one_person_in_two_rows_is_taken_only_when_told(tmp_path: Path, bids: Path, clips: Path) -> None:
    rows = survey(PEOPLE)
    table = write_csv(tmp_path / "s.csv", [*rows, rows[2]])
    with pytest.raises(DataError, match="ResponseId R_1a is in line .* too; keep one row"):
        imported(table, bids, WHOLE + MAPS["survey"])
    imported(table, bids, WHOLE + "sessions = true\n" + MAPS["survey"])
    assert len(said(bids)) == 5


# --- clips -----------------------------------------------------------------------------------------------------------

PLAIN = 'participant = "id"\nclip = "clip"\nresponse = "genre"\n'


def plain(path: Path, clip: str, response: str = "blues", person: str = "p1") -> Path:
    return write_csv(path, [{"id": person, "clip": clip, "genre": response, "true": "blues"}])


@pytest.mark.parametrize(
    "clip",
    ["blues/blues.00000.wav", "stimuli/blues/blues.00000.wav", "blues.00000.wav", "blues.00000", "blues.00000.mp3",
     "https://example.org/a/blues.00000.ogg?v=3", "C:\\exp\\sounds\\blues.00000.wav", "/home/x/blues.00000.wav",
     "../sounds/blues.00000.wav"],
)  # fmt: skip
def test_clips_are_found_by_name(tmp_path: Path, bids: Path, clip: str) -> None:
    imported(plain(tmp_path / "a.csv", clip), bids, WHOLE + PLAIN)
    assert said(bids) == [("p1", "blues.00000", "blues")]


@pytest.mark.parametrize("clip", ["blues.00007.wav", "blues.0000", "blues", "blues.00000.wav.txt"])
def test_clips_that_are_not_there_are_refused(tmp_path: Path, bids: Path, clip: str) -> None:
    with pytest.raises(DataError, match=f"a.csv, line 2: clip '{clip}' is not under .*stimuli"):
        imported(plain(tmp_path / "a.csv", clip), bids, WHOLE + PLAIN)


def test_a_name_of_two_files_is_refused(tmp_path: Path, bids: Path) -> None:
    (bids / "stimuli" / "blues.00001.json").write_text("{}")  # no sound
    imported(plain(tmp_path / "a.csv", "blues.00001.mp3"), bids, WHOLE + PLAIN, task="json")
    (bids / "stimuli" / "blues.00000.wav").write_bytes((bids / "stimuli/blues/blues.00000.wav").read_bytes())
    with pytest.raises(DataError, match="several files are called blues.00000"):
        imported(plain(tmp_path / "a.csv", "x/blues.00000.mp3"), bids, WHOLE + PLAIN)
    imported(plain(tmp_path / "a.csv", "blues/blues.00000.wav"), bids, WHOLE + PLAIN)


def test_what_was_heard_of_a_file_that_the_events_play_in_part_must_be_told(tmp_path: Path, bids: Path) -> None:
    table = plain(tmp_path / "a.csv", "blues.00000.wav")
    with pytest.raises(DataError, match="events play blues/blues.00000.wav from 1.5 to 9.5 s; say what people heard"):
        imported(table, bids, PLAIN)
    imported(table, bids, 'excerpt = "events"\n' + PLAIN, task="part")
    imported(table, bids, WHOLE + PLAIN, task="whole")
    assert [row[2:4] for row in read_back(bids)] == [(1.5, 8.0), (0.0, 12.0)]


def test_files_that_the_events_play_whole_need_no_excerpt(tmp_path: Path, bids: Path) -> None:
    events = bids / "sub-01" / "func" / "sub-01_task-music_events.tsv"
    events.write_text(events.read_text().replace("\t8\t", "\t12\t").replace("\t1.5\t", "\tn/a\t"))
    imported(plain(tmp_path / "a.csv", "blues.00000.wav"), bids, PLAIN)
    assert [row[2:4] for row in read_back(bids)] == [(0.0, 12.0)]


def test_several_excerpts_of_a_file_need_a_table_of_clips(tmp_path: Path, bids: Path) -> None:
    events = bids / "sub-01" / "func" / "sub-01_task-music_events.tsv"
    events.write_text(events.read_text() + "90\t4\tmusic\tblues/blues.00000.wav\t5\tblues\n")
    table = plain(tmp_path / "a.csv", "second")
    with pytest.raises(DataError, match="the events play 2 excerpts of blues/blues.00000.wav; name a table of clips"):
        imported(plain(tmp_path / "b.csv", "blues.00000"), bids, 'excerpt = "events"\n' + PLAIN)
    (tmp_path / "clips.tsv").write_text("clip\tstim_file\tstart\tduration\nsecond\tblues/blues.00000.wav\t5\t4\n")
    imported(table, bids, 'clips = "clips.tsv"\n' + PLAIN)
    assert [row[2:5] for row in read_back(bids)] == [(5.0, 4.0, "blues")]
    with pytest.raises(DataError, match="a.csv, line 2: clip 'first' is not in .*clips.tsv"):
        imported(plain(tmp_path / "a.csv", "first"), bids, 'clips = "clips.tsv"\n' + PLAIN, replace=True)


def test_true_genre_comes_from_the_column_the_table_or_the_events(tmp_path: Path, bids: Path) -> None:
    table = write_csv(tmp_path / "a.csv", [{"id": "p1", "clip": "jazz.00000", "genre": "blues", "true": "blues"}])
    imported(table, bids, WHOLE + PLAIN.replace('"genre"', '"genre"\ngenre = "true"'), task="column")
    (tmp_path / "clips.tsv").write_text("stim_file\tgenre\njazz/jazz.00000.wav\tblues\n")
    table = write_csv(tmp_path / "a.csv", [{"id": "p1", "clip": "jazz.00000.wav", "genre": "blues"}])
    imported(table, bids, 'clips = "clips.tsv"\n' + WHOLE + PLAIN, task="table")
    table = write_csv(tmp_path / "a.csv", [{"id": "p1", "clip": "jazz.00000", "genre": "jazz"}])
    imported(table, bids, WHOLE + PLAIN, task="events")
    assert [row[4] for row in read_back(bids)] == ["blues", "jazz", "blues"]  # tasks column, events, table
    events = bids / "sub-01" / "func" / "sub-01_task-music_events.tsv"
    events.write_text(events.read_text().replace("\tjazz\n", "\tn/a\n").replace("\tmusic\t", "\tn/a\t"))
    with pytest.raises(DataError, match="true genre of jazz.00000.wav: the events do not tell it; name the column"):
        imported(table, bids, WHOLE + PLAIN, task="none")


def test_two_true_genres_of_a_clip_are_refused(tmp_path: Path, bids: Path) -> None:
    rows = [{"id": p, "clip": "jazz.00000", "genre": "jazz", "true": t} for p, t in (("1", "jazz"), ("2", "blues"))]
    with pytest.raises(DataError, match="a.csv, line 3: jazz/jazz.00000.wav is blues here and jazz before"):
        imported(write_csv(tmp_path / "a.csv", rows), bids, WHOLE + PLAIN.replace('"genre"', '"genre"\ngenre = "true"'))


def test_an_answer_that_is_no_genre_is_kept_and_reported(tmp_path: Path, bids: Path) -> None:
    rows = [
        {"id": "1", "clip": clip, "genre": said} for clip, said in (("jazz.00000", "jazz"), ("jazz.00001", "polka"))
    ]
    report = imported(write_csv(tmp_path / "a.csv", rows), bids, WHOLE + PLAIN)
    assert [row[-1] for row in read_back(bids)] == ["jazz", "polka"]
    assert "answers that are the genre of no clip, and so never right: polka (1)" in report


# --- people ----------------------------------------------------------------------------------------------------------


def test_labels_are_of_letters_and_digits_and_stay_apart(tmp_path: Path, bids: Path) -> None:
    rows = [{"id": name, "clip": "blues.00000", "genre": "blues"} for name in ("sub-07", "S 8")]
    imported(write_csv(tmp_path / "a.csv", rows), bids, WHOLE + PLAIN)
    assert [row[0] for row in said(bids)] == ["07", "S8"]
    for other in ("S-8", "s8"):
        both = [{**rows[0], "id": name} for name in ("S8", other)]
        with pytest.raises(DataError, match=f"id: S8, {other} would have the same label"):
            imported(write_csv(tmp_path / "a.csv", both), bids, WHOLE + PLAIN, replace=True)
    for name, message in (("x@example.org", "is an e-mail address"), ("--", "letters and digits")):
        with pytest.raises(DataError, match=f"a.csv, line 2: .*{message}"):
            imported(plain(tmp_path / "a.csv", "blues.00000", person=name), bids, WHOLE + PLAIN, replace=True)


def test_an_answer_of_nobody_is_refused(tmp_path: Path, bids: Path) -> None:
    with pytest.raises(DataError, match="a.csv, line 2: an answer without id"):
        imported(plain(tmp_path / "a.csv", "blues.00000", person=""), bids, WHOLE + PLAIN)


# --- maps and tables that cannot be used ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("participant = ", "not readable TOML"),
        (PLAIN + 'answer = "x"\n', "unknown keys answer; known: participant"),
        ('clip = "c"\n', "participant and response missing"),
        (PLAIN.replace('"clip"', "3"), "clip is 3; write the name as text"),
        (PLAIN.replace('"clip"', '""'), "clip is ''"),
        (PLAIN + "header_lines = true\n", "header_lines is True; write a whole number"),
        (PLAIN + "header_lines = -1\n", "header_lines is -1"),
        (PLAIN + "sessions = 1\n", "sessions is 1; write true or false"),
        (PLAIN + 'only = "x"\n', r"only is 'x'; write a table \[only\]"),
        (PLAIN + "only = {x = []}\n", r"x is \[\]; write the cell's value"),
        (PLAIN + 'response_time = "rt"\n', "response_time and response_time_unit go together"),
        (PLAIN + 'response_time = "rt"\nresponse_time_unit = "min"\n', "response_time_unit is 'min'"),
        (PLAIN + 'excerpt = "half"\n', "excerpt is 'half'"),
        (PLAIN + 'answers = ["blues"]\n', r"answers_from is the number \(0 or 1\)"),
        (PLAIN + 'answers = ["blues"]\nanswers_from = 2\n', "answers_from is 2"),
        (PLAIN + "answers = {1 = 2}\n", "write the name of each choice as text"),
        ('participant = "id"\nresponse = "r"\n', "clip missing"),
        ('participant = "id"\nresponse = "r_{clip}"\nclip = "c"\n', "leave clip and genre out"),
        ('participant = "id"\nresponse = "r_{clip}"\nconfidence = "c"\n', "must stand once in each"),
        (PLAIN + 'confidence = "c_{clip}"\n', "must stand once in each"),
    ],
)
def test_maps_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"--columns .*columns.toml: .*{message}"):
        read_map(column_map(tmp_path, text))


def test_a_list_of_answers_from_one(tmp_path: Path) -> None:
    found = read_map(column_map(tmp_path, PLAIN + 'answers = ["blues", "jazz"]\nanswers_from = 1\n'))
    assert found.answers == {"1": "blues", "2": "jazz"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"[{", "not a readable table"),
        ("a.json", b"[1, 2]", "not an array of trials"),
        ("a.json", b"[" * 100_000, "not a readable table"),
        ("a.csv", b"id,clip,genre\n1,blues.00000,\xff\n", "not UTF-8 text; save it as UTF-8"),
        ("a.csv", b'id,clip,genre\n1,blues.00000,"blues\n', "not a readable table"),
        ("a.csv", b"id,clip,genre\n1,blues.00000,blues,x\n", "a.csv, line 2: 4 cells under 3 columns"),
        ("a.csv", b"id,clip,genre,genre\n1,blues.00000,blues,x\n", "several columns are called genre"),
        ("a.csv", b"id,clip,kind\n1,blues.00000,x\n", r"no column genre \(there is: id, clip, kind\)"),
        ("a.csv", b"id,clip,genre\n", r"no column id \(there is: nothing\)"),
        ("a.csv", b"id,clip,genre\n1,,blues\n", r"no answer \(1 rows that name no clip\)"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_tables(tmp_path / name, read_map(column_map(tmp_path, PLAIN)))


@pytest.mark.parametrize(("cell", "good"), [("-0.5", False), ("fast", False), ("inf", False), ("0", True)])
def test_times_are_numbers_after_the_start(tmp_path: Path, cell: str, good: bool) -> None:
    text = PLAIN + 'response_time = "rt"\nresponse_time_unit = "s"\n'
    table = write_csv(tmp_path / "a.csv", [{"id": "1", "clip": "blues.00000", "genre": "blues", "rt": cell}])
    if good:
        assert read_tables(table, read_map(column_map(tmp_path, text))).answers[0].response_time == 0
        return
    with pytest.raises(DataError, match="a.csv, line 2: rt is"):
        read_tables(table, read_map(column_map(tmp_path, text)))


def test_no_table(tmp_path: Path) -> None:
    columns = read_map(column_map(tmp_path, PLAIN))
    (tmp_path / "data").mkdir()
    for path in (tmp_path / "data", tmp_path / "none.csv", tmp_path / "columns.toml"):
        with pytest.raises(UsageError, match="no table; give a .csv, .tsv or .json"):
            read_tables(path, columns)
