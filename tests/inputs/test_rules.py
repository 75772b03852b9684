"""Rules at work: which rows become clips, where in the file they begin, how long they last, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_datasets import write_audio

from ban_bids.bids.metadata import Companions
from ban_bids.errors import DataError, UnfitRun
from ban_bids.inputs.events import Row, parse_table, read_table
from ban_bids.inputs.hearing import Heard, Hearing, run_orders
from ban_bids.inputs.played import Played, Setting, played
from ban_bids.inputs.rule_files import read_rules
from ban_bids.inputs.rules import Quantity, fill, fits, repetition_time_of, template_fields
from ban_bids.inputs.stimuli import Stimuli

TR = 2.0
LABELS = {"sub": "01", "task": "music", "run": "03"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sounds: song.wav 30 s, short.wav 10 s, tale.wav 100 s, run_03.wav 20 s; a picture."""
    root = tmp_path_factory.mktemp("rules")
    for name, seconds in (("song", 30), ("short", 10), ("tale", 100), ("run_03", 20)):
        write_audio(root / "stimuli" / f"{name}.wav", seconds, rate=100)
    (root / "stimuli" / "cross.png").write_bytes(b"\x89PNG")
    return root


def stimuli_by(folder: Path, text: str, tmp_path: Path) -> Stimuli:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return Stimuli([folder / "stimuli"], read_rules(path), folder)


def hear(
    stimuli: Stimuli, table: str, tr: float | None = TR, labels: dict[str, str] = LABELS
) -> tuple[tuple[Played, ...], tuple[str, ...]]:
    rows = parse_table(Path("events.tsv"), table.splitlines()).rows
    return played(rows, stimuli.rules.of(labels), stimuli, Setting(labels, lambda: tr))


def times(found: Sequence[Played]) -> list[tuple[float, str, float, float]]:
    return [(item.onset, item.clip.track, item.clip.start, item.clip.duration) for item in found]


# --- templates


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r'\"\0", exclude_categories=("Cs", "Cc", "Z")))


@given(st.lists(st.tuples(CELLS, NAMES), max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_a_template_is_filled_as_python_would(parts: list[tuple[str, str]], data: st.DataObject) -> None:
    template, cells = "", {}
    for literal, name in parts:
        template += literal.replace("{", "{{").replace("}", "}}") + "{" + name + "}"
        cells[name] = data.draw(CELLS.filter(bool))
    assert set(template_fields(template)) == set(cells)
    assert fill(template, Row(Path("t.tsv"), 2, cells)) == (template.format(**cells) or None)


@given(st.integers(0, 10**9), st.integers(0, 99), st.booleans())
@settings(deadline=None)
def test_numbers_are_filled_in_with_zeros(number: int, width: int, zeros: bool) -> None:
    form = f"{'0' if zeros else ''}{width or ''}d"
    for text in (str(number), f"{number}.0", f"00{number}"):
        assert fill(f"{{n:{form}}}", Row(Path("t.tsv"), 2, {"n": text})) == format(number, form)


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        fields = template_fields(text)
    except ValueError:
        return
    cells = dict.fromkeys(fields, "7")
    assert len(fill(text, Row(Path("t.tsv"), 2, cells)) or "") <= len(text) + 100 * len(text)


@pytest.mark.parametrize(
    "bad",
    ["{x:>999999999}", "{x:999d}", "{x!r}", "{x.__class__}", "{x[0]}", "{0}", "{}", "{x:{y}}", "{x", "x}", "{_x}",
     "{x:٣d}", "{x:s}"],
)  # fmt: skip
def test_bad_templates(bad: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        template_fields(bad)


def test_good_templates() -> None:
    assert template_fields("{genre}/{genre}.{track:05d}_{Sound.File}{{}}") == {
        "genre": "", "track": "05d", "Sound.File": "",
    }  # fmt: skip
    assert fill("{n:02d}", Row(Path("t.tsv"), 2, {"n": None})) is None
    with pytest.raises(DataError, match=r"t.tsv, line 2: n is '2.5'.*whole number"):
        fill("{n:02d}", Row(Path("t.tsv"), 2, {"n": "2.5"}))


@pytest.mark.parametrize(
    ("label", "globs", "fit"),
    [
        ("pieman", ["pie*"], True),
        ("pieman", ["merlin", "pieman"], True),
        ("Pieman", ["pieman"], False),
        ("01", ["1"], True),
        ("1.0", ["1"], True),
        ("10", ["1"], False),
        ("", ["*"], True),
        ("", ["a*"], False),
        (None, ["n/a"], True),
        (None, ["null"], True),
        (None, ["Rien"], False),
    ],
)
def test_globs(label: str | None, globs: list[str], fit: bool) -> None:
    assert fits(label, globs) is fit


# --- times


@given(
    st.floats(-1e4, 1e4), st.floats(-100, 100), st.sampled_from(["s", "ms", "TR"]), st.floats(0.1, 10.0)
)  # fmt: skip
@settings(deadline=None)
def test_units_and_shift(cell: float, shift: float, unit: str, tr: float) -> None:
    row = Row(Path("t.tsv"), 2, {"t": repr(cell)})
    found = Quantity("t", shift=shift, unit=unit).seconds(row, lambda: tr)
    assert found == pytest.approx((cell + shift) * {"s": 1.0, "ms": 0.001, "TR": tr}[unit], abs=1e-9)


def test_trs_need_the_repetition_time() -> None:
    row = Row(Path("t.tsv"), 2, {"t": "3"})
    with pytest.raises(DataError, match="t counts TRs, but RepetitionTime is missing"):
        Quantity("t", unit="TR").seconds(row, lambda: None)
    assert Quantity("t", unit="ms").seconds(row, lambda: None) == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("metadata", "tr"),
    [
        ({"RepetitionTime": 1.5}, 1.5),
        ({"VolumeTiming": [0, 2, 4, 10]}, 2.0),
        ({"RepetitionTime": "2"}, None),
        ({"RepetitionTime": math.nan}, None),
        ({"RepetitionTime": True}, None),
        ({"VolumeTiming": [0]}, None),
        ({"VolumeTiming": ["0", "1"]}, None),
        ({}, None),
    ],
)
def test_repetition_time(metadata: dict[str, object], tr: float | None) -> None:
    assert repetition_time_of(metadata) == tr


@given(st.lists(st.floats(0.5, 9.0), min_size=2, max_size=8), st.floats(0, 50), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_a_file_goes_on_from_row_to_row(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, gaps: list[float], first: float, skipped: int
) -> None:
    """The start is the time since the file's first row, whether or not that row is used."""
    stimuli = stimuli_by(
        folder, '[[rule]]\nrows.only.kind = "use"\nstart = "continue"\n', tmp_path_factory.mktemp("continue")
    )
    onsets = [first + sum(gaps[:k]) for k in range(len(gaps))]
    rows = [
        f"{onset!r}\t0.5\ttale.wav\t{'skip' if k < skipped else 'use'}" for k, onset in enumerate(onsets)
    ]  # fmt: skip
    found, _ = hear(stimuli, "\n".join(["onset\tduration\tstim_file\tkind", *rows]))
    assert [item.onset for item in found] == onsets[skipped:]
    for item in found:
        assert item.clip.start == pytest.approx(item.onset - onsets[0], abs=2e-6)


def test_columns_and_entities_make_the_name(folder: Path, tmp_path: Path) -> None:
    stimuli = stimuli_by(folder, '[[rule]]\nfile = "run_{run:02d}"\nsuffixes = [".mp3", ".wav"]\n', tmp_path)
    found, _ = hear(stimuli, "onset\tduration\n1\t5")
    assert times(found) == [(1.0, "run_03", 0.0, 5.0)]
    # a column wins over an entity of its name
    stimuli = stimuli_by(folder, '[[rule]]\nfile = "{task}.wav"\n', tmp_path)
    found, _ = hear(stimuli, "onset\tduration\ttask\n1\t5\tsong")
    assert times(found) == [(1.0, "song", 0.0, 5.0)]


def test_every_time_may_come_in_its_own_way(folder: Path, tmp_path: Path) -> None:
    stimuli = stimuli_by(
        folder,
        """[[rule]]
        file = "{stim}.wav"
        onset = { column = "volume", unit = "TR", shift = -1 }
        start = { column = "from", unit = "ms" }
        duration = 4
        """,
        tmp_path,
    )
    found, _ = hear(stimuli, "volume\tfrom\tstim\n1\t1500\tsong\n4\t0\tshort", tr=2.5)
    assert times(found) == [(0.0, "song", 1.5, 4.0), (7.5, "short", 0.0, 4.0)]


def test_the_first_rule_that_fits_a_row_wins(folder: Path, tmp_path: Path) -> None:
    text = """[[rule]]
    runs = { task = "other" }
    file = "nowhere.wav"
    [[rule]]
    rows = { only = { kind = ["a*", "b"] }, not = { file = "short.wav" } }
    file = "{stim}.wav"
    genre = "kind"
    rms = 0.1
    [[rule]]
    rows = { only = { kind = "c" } }
    file = "tale.wav"
    """
    stimuli = stimuli_by(folder, text, tmp_path)
    rows = "0\t2\ta1\tsong\n3\t2\tb\tshort\n6\t2\tc\tsong\n9\t2\td\tsong"
    found, notes = hear(stimuli, f"onset\tduration\tkind\tstim\n{rows}")
    assert times(found) == [(0.0, "song", 0.0, 2.0), (6.0, "tale", 0.0, 2.0)]
    assert [(item.clip.genre, item.clip.rms) for item in found] == [("a1", 0.1), (None, None)]
    assert notes == ()


def test_a_column_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    for key, text in (
        ("file", 'file = "{sound}"'), ("onset", 'onset = "begin"'), ("genre", 'genre = "style"'),
        ("rows", "rows.not.kind = 'x'"), ("start", 'start = { column = "from", unit = "ms" }'), ("end", 'end = "to"'),
    ):  # fmt: skip
        stimuli = stimuli_by(folder, f"[[rule]]\n{text}\n", tmp_path)
        with pytest.raises(DataError, match=rf"no column or entity '\w+', which {key} in .*rule\]\] 1 names") as error:
            hear(stimuli, "onset\tduration\tstim_file\n0\t2\tsong.wav")
        assert "duration, onset" in str(error.value) and "\n" not in str(error.value)


# --- silence after the file


@pytest.mark.parametrize(
    ("pad", "tr", "duration", "silence"),
    [
        ("", 2.0, 10.0, 0.0),
        ("", 2.0, 10.09, 0.0),  # rounding
        ("", 2.0, 11.9, 1.9),
        ("", 2.0, 12.2, None),
        ("", None, 10.3, None),
        ("pad = 5", None, 14.9, 4.9),
        ("pad = 0", 2.0, 10.5, None),
        ("pad = 0", 2.0, 10.05, 0.0),
    ],
)
def test_silence_up_to_pad(
    folder: Path, tmp_path: Path, pad: str, tr: float | None, duration: float, silence: float | None
) -> None:
    stimuli = stimuli_by(folder, f"[[rule]]\n{pad}\n", tmp_path)
    table = f"onset\tduration\tstim_file\n0\t{duration}\tshort.wav"
    if silence is None:
        with pytest.raises(DataError, match=r"events.tsv, line 2: excerpt 0 to .* lies outside .*short.wav"):
            hear(stimuli, table, tr)
        return
    found, notes = hear(stimuli, table, tr)
    assert found[0].clip.duration == duration
    assert found[0].clip.silence == pytest.approx(silence)
    assert notes == (
        () if not silence else (f"1 row goes on after the end of the file (short.wav; by up to {silence:.2f} s): taken "
                                "as silence",)
    )  # fmt: skip


def test_a_row_that_hears_nothing_of_its_file_is_refused(folder: Path, tmp_path: Path) -> None:
    stimuli = stimuli_by(folder, "[[rule]]\npad = 100\n", tmp_path)
    with pytest.raises(DataError, match="lies outside"):
        hear(stimuli, "onset\tduration\tstim_file\tstim_start\n0\t2\tshort.wav\t10")


def test_a_missing_repetition_time_is_told(folder: Path, tmp_path: Path) -> None:
    stimuli = stimuli_by(folder, "[[rule]]\n", tmp_path)
    with pytest.raises(DataError, match="RepetitionTime is not in the sidecar"):
        hear(stimuli, "onset\tduration\tstim_file\n0\t11\tshort.wav", None)


# --- two rows on one file


CANNOT_BOTH_START = [
    ("0\t15\tsong.wav\n15\t15\tsong.wav", "halves of a file"),
    ("0\t5\tsong.wav\n5\t20\tsong.wav", "a prelude and the rest"),
    ("0\t5\tsong.wav\n30\t20\tsong.wav", "a pause between"),
    ("0\t20\ttale.wav\n20\t20\ttale.wav\n40\t20\ttale.wav\n60\t20\ttale.wav\n80\t20\ttale.wav", "five equal parts"),
    ("0\t3\ttale.wav\n3\t4\ttale.wav\n7\t3\ttale.wav\n50\t3\ttale.wav\n53\t4\ttale.wav", "sentences, twice"),
]
MAY_BOTH_START = [
    ("0\t10\tshort.wav\n10\t10\tshort.wav", "the whole file, twice"),
    ("0\t10\tshort.wav\n10\t10\tshort.wav\n20\t6\tshort.wav", "the last time cut short"),
    ("0\t10\tsong.wav\n12\t10\tsong.wav\n24\t10\tsong.wav", "an excerpt, with rests between"),
    ("0\t10.1\tsong.wav\n12\t9.9\tsong.wav", "measured durations"),
    ("0\t10\tshort.wav\n10\t20\tsong.wav", "two files"),
]


@pytest.mark.parametrize("rows", [rows for rows, _ in CANNOT_BOTH_START], ids=[name for _, name in CANNOT_BOTH_START])
def test_rows_that_cannot_both_be_the_start_are_refused(folder: Path, rows: str) -> None:
    stimuli = Stimuli([folder / "stimuli"])
    with pytest.raises(DataError, match=r'line \d+: \w+.wav is named by line 2 too.*start = "continue".*start = 0'):
        hear(stimuli, f"onset\tduration\tstim_file\n{rows}")


@pytest.mark.parametrize("rows", [rows for rows, _ in MAY_BOTH_START], ids=[name for _, name in MAY_BOTH_START])
def test_rows_that_may_both_be_the_start(folder: Path, rows: str) -> None:
    stimuli = Stimuli([folder / "stimuli"])
    found, _ = hear(stimuli, f"onset\tduration\tstim_file\n{rows}")
    assert len(found) == len(rows.splitlines())
    assert {item.clip.start for item in found} == {0.0}


def test_a_stated_start_is_believed(folder: Path, tmp_path: Path) -> None:
    rows = "0\t5\tsong.wav\n5\t20\tsong.wav"
    for start, starts in (("0", [0.0, 0.0]), ('"continue"', [0.0, 5.0])):
        stimuli = stimuli_by(folder, f"[[rule]]\nstart = {start}\n", tmp_path)
        found, _ = hear(stimuli, f"onset\tduration\tstim_file\n{rows}")
        assert [item.clip.start for item in found] == starts
    rows = "0\t5\tsong.wav\t0\n5\t20\tsong.wav\t5"
    found, _ = hear(Stimuli([folder / "stimuli"]), f"onset\tduration\tstim_file\tstim_start\n{rows}")
    assert [item.clip.start for item in found] == [0.0, 5.0]


def test_overlaps_and_onsets_make_a_run_unfit(folder: Path) -> None:
    stimuli = Stimuli([folder / "stimuli"])
    for rows in ("0\t5\tsong.wav\n4\t5\tshort.wav", "n/a\t5\tsong.wav", "1,5\t5\tsong.wav"):
        with pytest.raises(UnfitRun, match=r"events.tsv, line \d"):
            hear(stimuli, f"onset\tduration\tstim_file\n{rows}")


# --- rows that are no sound


@pytest.mark.parametrize(
    "name", ["cross.png", "images/face.JPG", "a.jpeg", "b.bmp", "c.gif", "d.svg", "word.txt", "e.HEIC", "f.eps"]
)
def test_pictures_are_passed_over_and_counted(folder: Path, name: str) -> None:
    found, notes = hear(
        Stimuli([folder / "stimuli"]), f"onset\tduration\tstim_file\n0\t2\t{name}\n2\t5\tsong.wav\n8\t1\t{name}"
    )
    assert [item.clip.track for item in found] == ["song"]
    assert notes == (f"2 rows name no sound ({name}): passed over",)


@pytest.mark.parametrize("name", ["film.avi", "film.MOV", "film.mkv", "film.webm"])
def test_films_are_passed_over_and_their_sound_is_thought_of(folder: Path, name: str) -> None:
    found, notes = hear(Stimuli([folder / "stimuli"]), f"onset\tduration\tstim_file\n0\t2\t{name}\n2\t5\tsong.wav")
    assert len(found) == 1
    assert notes == (
        f"1 row names a film ({name}): passed over; where its sound was heard, convert it to .wav or .flac",
    )


def test_a_sound_with_a_films_suffix_is_a_sound(tmp_path: Path) -> None:
    write_audio(tmp_path / "sound.wav", 5.0)
    (tmp_path / "sound.wav").rename(tmp_path / "sound.mov")
    found, notes = hear(Stimuli([tmp_path]), "onset\tduration\tstim_file\n0\t5\tsound.mov")
    assert len(found) == 1 and notes == ()


@pytest.mark.parametrize("name", ["film.mp4", "song.m4a", "song.aac", "song.wma"])
def test_what_may_be_sound_is_never_passed_over(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(999))
    with pytest.raises(DataError, match=name):
        hear(Stimuli([tmp_path]), f"onset\tduration\tstim_file\n0\t5\t{name}")
    rule = stimuli_by(folder, f'[[rule]]\nrows.not.stim_file = "{name}"\n', tmp_path)
    assert len(hear(rule, f"onset\tduration\tstim_file\n0\t2\t{name}\n2\t5\tsong.wav")[0]) == 1


@pytest.mark.parametrize("name", ["Rien", "rien", "fixation", "BLANK", "silence", "ITI", "-"])
def test_placeholders_are_passed_over_and_counted(folder: Path, tmp_path: Path, name: str) -> None:
    for text in ("[[rule]]\n", '[[rule]]\nfile = "{stim_file}.wav"\n', '[[rule]]\nsuffixes = [".wav"]\n'):
        cell = "song.wav" if text == "[[rule]]\n" else "song"
        found, notes = hear(
            stimuli_by(folder, text, tmp_path), f"onset\tduration\tstim_file\n0\t2\t{name}\n2\t5\t{cell}"
        )
        assert [item.clip.track for item in found] == ["song"]
        assert len(notes) == 1 and notes[0].startswith("1 row names no sound")


@pytest.mark.parametrize("name", ["rien.wav", "resting", "Rien2", "blank.mp3", "gone.wav", "nothing_else"])
def test_a_missing_sound_is_no_placeholder(folder: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"stimulus {name} not found"):
        hear(Stimuli([folder / "stimuli"]), f"onset\tduration\tstim_file\n0\t2\t{name}\n2\t5\tsong.wav")


def test_a_sound_may_have_the_name_of_a_placeholder(tmp_path: Path) -> None:
    write_audio(tmp_path / "deep" / "Silence.wav", 5.0)
    rules = stimuli_by(tmp_path, '[[rule]]\nfile = "{stim}"\nsuffixes = ".wav"\n', tmp_path).rules
    stimuli = Stimuli([tmp_path], rules)
    assert times(hear(stimuli, "onset\tduration\tstim\n0\t5\tSilence")[0]) == [(0.0, "Silence", 0.0, 5.0)]


# --- joined tables


def test_a_table_is_joined(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "stims.tsv").write_text("id\tfile\tgenre\tfrom\n1\tsong.wav\trock\t2\n02\tshort.wav\tjazz\t0\n")
    text = '[[rule]]\nfile = "{file}"\nstart = "from"\ngenre = "genre"\ntable = "stims.tsv"\n'
    found, _ = hear(stimuli_by(folder, text, tmp_path), "onset\tduration\tid\n0\t5\t01\n5\t5\t2\n10\t1\tn/a")
    assert times(found) == [(0.0, "song", 2.0, 5.0), (5.0, "short", 0.0, 5.0)]
    assert [item.clip.genre for item in found] == ["rock", "jazz"]
    with pytest.raises(DataError, match=r"events.tsv, line 3: id '9' is not in .*stims.tsv"):
        hear(stimuli_by(folder, text, tmp_path), "onset\tduration\tid\n0\t5\t1\n5\t5\t9")
    left_out = text + "rows.not.id = 9\n"
    assert len(hear(stimuli_by(folder, left_out, tmp_path), "onset\tduration\tid\n0\t5\t1\n5\t5\t9")[0]) == 1


def test_a_table_is_joined_by_entities(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "stims.tsv").write_text("task\trun\tfile\tat\nmusic\t3\tsong\t4.5\nmusic\t4\tshort\t0\n")
    text = """[[rule]]
    events = "none"
    file = "{file}"
    suffixes = [".wav"]
    onset = "at"
    table = { file = "stims.tsv", on = ["task", "run"] }
    """
    stimuli = stimuli_by(folder, text, tmp_path)
    rows = (Row(Path("sub-01_task-music_run-03_bold.nii.gz"), 0, {}),)
    found, _ = played(rows, stimuli.rules.of(LABELS), stimuli, Setting(LABELS, lambda: TR))
    assert times(found) == [(4.5, "song", 0.0, 30.0)]


@pytest.mark.parametrize(
    ("content", "table", "message"),
    [
        ("id\tfile\n1\ta\n01\tb\n", '"stims.tsv"', "line 3: id 1 is in line 2 too"),
        ("key\tfile\n1\ta\n", '"stims.tsv"', "no column in common"),
        ("id\tfile\n1\ta\n", '{ file = "stims.tsv", on = "key" }', "no column 'key' in both"),
        ("id\tfile\n1\ta\n", '"none.tsv"', "table none.tsv: no file"),
    ],
)
def test_tables_that_cannot_be_joined(folder: Path, tmp_path: Path, content: str, table: str, message: str) -> None:
    (tmp_path / "stims.tsv").write_text(content)
    stimuli = stimuli_by(folder, f'[[rule]]\nfile = "{{file}}"\ntable = {table}\n', tmp_path)
    with pytest.raises(DataError, match=message):
        hear(stimuli, "onset\tduration\tid\n0\t5\t1")


# --- runs


def heard_in(stimuli: Stimuli, names: Sequence[str], **files: str) -> Heard:
    """What is heard in runs of these names; tables and sidecars lie beside the images, which are not there."""
    here = Path(stimuli.rules.source or ".").parent
    for name, text in files.items():
        (here / name.replace("__", ".")).write_text(text)
    images = [here / f"sub-01_{name}_bold.nii.gz" for name in names]
    companions = Companions.of([*here.glob("*_events.tsv"), *here.glob("*_bold.json")])
    return Hearing(companions, stimuli, read_table, run_orders(images)[0]).of(images)


def test_one_clip_per_run_without_events(folder: Path, tmp_path: Path) -> None:
    text = '[[rule]]\nruns.task = ["song", "t*"]\nevents = "none"\nfile = "{task}.wav"\nonset = 2\n'
    stimuli = stimuli_by(folder, text, tmp_path)
    heard = heard_in(stimuli, ["task-song", "task-tale", "task-rest_run-1", "task-rest_run-2"])
    assert [(run.task, run.events, run.presentations[0].onset) for run in heard.runs] == [
        ("song", None, 2.0), ("tale", None, 2.0),
    ]  # fmt: skip
    assert [run.presentations[0].clip.duration for run in heard.runs] == [30.0, 100.0]
    assert len(heard.notes) == 1
    assert heard.notes[0].startswith("left out: 2 runs that no rule in ") and "task-rest_run-1" in heard.notes[0]


def test_order_counts_runs_of_a_task_over_sessions() -> None:
    names = ["ses-1_task-a_run-1", "ses-1_task-a_run-2", "ses-2_task-a_run-1", "ses-10_task-a_run-1", "ses-2_task-b"]
    images = [Path(f"sub-01_{name}_{end}bold.nii") for name in names[::-1] for end in ("echo-1_", "echo-2_")]
    orders, gaps = run_orders(images)
    assert [orders[tuple(tuple(part.split("-")) for part in f"sub-01_{name}".split("_"))] for name in names] == [
        1, 2, 3, 4, 1,
    ]  # fmt: skip
    assert not gaps


@pytest.mark.parametrize(("labels", "told"), [("123", False), ("135", True), ("567", False), ("13", True)])
def test_gaps_in_the_numbers_of_runs_are_told(labels: str, told: bool) -> None:
    images = [Path(f"sub-01_task-{task}_run-{label}_bold.nii") for label in labels for task in "ab"]
    _, gaps = run_orders([*images, Path("sub-01_task-c_bold.nii")])
    assert set(gaps) == (set("ab") if told else set())
    assert not told or "leave gaps" in gaps["a"]


def test_the_repetition_time_comes_from_the_sidecar(folder: Path, tmp_path: Path) -> None:
    stimuli = stimuli_by(folder, '[[rule]]\nonset = { column = "onset", unit = "TR" }\n', tmp_path)
    heard = heard_in(
        stimuli,
        ["task-a_run-1", "task-b_run-1"],
        **{
            "task-a_bold__json": '{"RepetitionTime": 1.5}',
            "sub-01_task-a_run-1_events__tsv": "onset\tduration\tstim_file\n4\t5\tsong.wav\n",
            "sub-01_task-b_run-1_events__tsv": "onset\tduration\tstim_file\n4\t5\tsong.wav\n",
        },
    )
    assert [run.presentations[0].onset for run in heard.runs] == [6.0]
    ((run, why),) = heard.unfit
    assert run.task == "b" and "RepetitionTime is missing" in why
