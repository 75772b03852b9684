"""Files of rules: which one is the dataset's, and one line with file and key for whatever is wrong in one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_datasets import Toy, notes_of

from ban_bids.errors import DataError
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.rule_files import choose_rules, read_rules, shipped_rules
from ban_bids.inputs.rules import Join, Quantity, RuleFile


def rules_of(tmp_path: Path, text: str) -> RuleFile:
    path = tmp_path / "ban-bids.toml"
    path.write_text(text, encoding="utf-8")
    return read_rules(path)


def test_every_key_is_read(tmp_path: Path) -> None:
    found = rules_of(
        tmp_path,
        """
        name = "mine"
        match = { doi = "doi:10.1/X", name = ["One", "Two"] }
        [[rule]]
        runs = { task = ["pieman", "task-merlin"], acq = "*", run = 1 }
        rows = { only = { trial_type = "story" }, not = { file = ["Rien", "null"], code = 7 } }
        file = "{stim_file}"
        suffixes = ["", ".wav"]
        folders = "sounds"
        onset = { column = "onset", unit = "TR", shift = -4 }
        start = "continue"
        end = "to"
        duration = "file"
        pad = 3
        genre = "style"
        fade = 0.5
        rms = 0.1
        table = { file = "code/stimuli.tsv", on = ["id"] }
        [[rule]]
        events = "none"
        file = "{task}"
        suffixes = []
        [held_out]
        runs = { task = "test", run = [1, "2*"] }
        [lead_in]
        rule = "first-repeats-last"
        """,
    )
    assert (found.name, found.dois, found.names, found.lead_in) == (
        "mine", ("10.1/x",), ("One", "Two"), "first-repeats-last",
    )  # fmt: skip
    assert found.held_out == {"task": ("test",), "run": ("1", "2*")}
    first, second = found.rules
    assert first.runs == {"task": ("pieman", "merlin"), "acq": ("*",), "run": ("1",)}
    assert (first.only, first.skip) == ({"trial_type": ("story",)}, {"file": ("Rien", "null"), "code": ("7",)})
    assert (first.suffixes, first.folders) == (("", ".wav"), ("sounds",))
    assert first.onset == Quantity("onset", unit="TR", shift=-4.0)
    assert (first.start, first.end, first.duration, first.pad) == ("continue", Quantity("to"), "file", 3.0)
    assert (first.genre, first.fade, first.rms) == ("style", 0.5, 0.1)
    assert first.table == Join("code/stimuli.tsv", ("id",))
    assert (second.events, second.suffixes, second.onset, second.start, second.duration) == (
        "none", ("",), Quantity(number=0.0), Quantity(number=0.0), "file",
    )  # fmt: skip


def test_which_rules_a_run_has(tmp_path: Path) -> None:
    found = rules_of(
        tmp_path,
        """
        rule = [
            { runs = { task = "a" }, rows = { only = { k = "1" } } },
            { runs = { task = ["a", "b"], acq = "" } },
            { runs = { task = "c" }, events = "none", file = "x.wav" },
            { runs = { task = ["a", "c"], ses = "0*" } },
        ]
        """,
    )

    def numbers(**labels: str) -> list[int]:
        return [found.rules.index(rule) + 1 for rule in found.of(labels)]

    assert numbers(task="a") == [1, 2]
    assert numbers(task="a", ses="01", acq="x") == [1, 4]
    assert numbers(task="b") == [2]
    assert numbers(task="c", ses="01") == [3]
    assert numbers(task="d") == []


BAD = [
    ("rule = 3", "rule must be a list of tables"),
    ("rule = []", "rule must be a list of tables"),
    ("[rule]\nfile = 'x'", "rule must be a list of tables"),
    ("[[rules]]", r"unknown keys \['rules'\]; known: .*'rule'"),
    ("[[rule]]\npath = 'x'", r"\[\[rule\]\] 1: unknown keys \['path'\]; known: .*'file'"),
    ("[[rule]]\n[[rule]]\nfile = 3", r"\[\[rule\]\] 2: file must be text"),
    ("[[rule]]\nfile = ''", "file must be text"),
    ("[[rule]]\nfile = '{x.__class__}'", "file .*is not a template"),
    ("[[rule]]\nfile = '{x:>999999999}'", "file .*is not a template"),
    ("[[rule]]\nfile = '{x:{y}}'", "file .*is not a template"),
    ("[[rule]]\nfile = '{x'", "file .*is not a template"),
    ('[[rule]]\nfile = "a\\u0000b"', "file must be text"),
    ("[[rule]]\nevents = 'some'", "events must be table or none"),
    ("[[rule]]\nevents = 'none'", "file is missing"),
    ("[[rule]]\nevents = 'none'\nfile = 'x'\nrows.only.a = 'b'", "rows says nothing where events is none"),
    ("[[rule]]\nruns = 'music'", "runs must be a table of names with globs"),
    ("[[rule]]\nruns = { tsk = 'music' }", "unknown entity 'tsk' in runs; known: sub, ses"),
    ("[[rule]]\nruns = { order = '1' }", "unknown entity 'order' in runs"),
    ("[[rule]]\nruns = { task = [] }", "runs must be a table of names with globs"),
    ("[[rule]]\nruns = { task = { a = 1 } }", "runs must be a table of names with globs"),
    ("[[rule]]\nrows = { without = { a = 'b' } }", r"rows: unknown keys \['without'\]"),
    ("[[rule]]\nrows = 'a'", "rows must be a table"),
    ("[[rule]]\nrows.only = 'a'", "only must be a table of names with globs"),
    ("[[rule]]\nsuffixes = [1]", "suffixes must be text or a list of texts"),
    ("[[rule]]\nfolders = { a = 1 }", "folders must be text or a list of texts"),
    ("[[rule]]\nonset = true", "onset must be a column, a number of seconds or a table"),
    ("[[rule]]\nonset = inf", "onset must be a column"),
    ("[[rule]]\nonset = ''", "onset must be a column"),
    ("[[rule]]\nonset = { shift = 2 }", "onset: column is missing"),
    ("[[rule]]\nonset = { column = 'a', unit = 'min' }", "onset: unit must be s, ms or TR"),
    ("[[rule]]\nonset = { column = 'a', shift = '2' }", "onset: shift must be a number"),
    ("[[rule]]\nonset = { column = 'a', by = 2 }", r"onset: unknown keys \['by'\]"),
    ("[[rule]]\nstart = -1", "start must be a number of seconds from 0"),
    ("[[rule]]\nduration = 0", "duration must be above 0 s"),
    ("[[rule]]\nduration = [1]", "duration must be a column"),
    ("[[rule]]\npad = -1", "pad must be a number from 0"),
    ("[[rule]]\npad = nan", "pad must be a number"),
    ("[[rule]]\nfade = 'long'", "fade must be a number from 0"),
    ("[[rule]]\nrms = 0", "rms must be a number above 0"),
    ("[[rule]]\ngenre = 3", "genre must be text"),
    ("[[rule]]\ntable = 3", "table must be"),
    ("[[rule]]\ntable = '../x.tsv'", "table must be the path of a table inside the dataset"),
    ("[[rule]]\ntable = { on = 'id' }", "table must be"),
    ("[[rule]]\ntable = { file = 'a.tsv', by = 'id' }", r"table: unknown keys \['by'\]"),
    ("[held_out]", "held_out: runs is missing"),
    ("[held_out]\nruns = { tasks = 'a' }", "held_out: unknown entity 'tasks'"),
    ("held_out = 3", "held_out must be a table"),
    ("[lead_in]\nrule = 'last'", "lead-in rule 'last'; known"),
    ("[match]\ndoi = 3", "match: doi must be text"),
    ("name = 3", "name must be text"),
    ("[[rule]]\n[stimuli]\npath = 'x'", r"\[\[rule\]\] and \[stimuli\] together"),
    ("[[rule]]\nfile = ", "not readable TOML"),
    ("a = " + "[" * 5000, "not readable TOML"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[text[:40] for text, _ in BAD])
def test_one_line_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        rules_of(tmp_path, text)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "ban-bids.toml"))


KEYS = ["runs", "events", "rows", "file", "suffixes", "folders", "onset", "start", "end", "duration", "pad", "genre",
        "fade", "rms", "table", "of"]  # fmt: skip
INNER = st.sampled_from(["column", "unit", "shift", "only", "not", "task", "file", "on"])
VALUES = st.recursive(
    st.booleans() | st.integers(-(10**6), 10**6) | st.floats() | st.text(max_size=12).filter(str.isprintable),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["column", "unit", "shift", "only", "not", "task", "file", "on"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def as_toml(value: object) -> str:
    """Inline TOML of what hypothesis draws."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value).lower() if isinstance(value, bool | float) else str(value)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_values_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, cells: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("[[rule]]\n" + "".join(f"{key} = {as_toml(value)}\n" for key, value in cells.items()), "utf-8")
    try:
        assert len(read_rules(path).rules) == 1
    except DataError as error:
        assert str(error).startswith(str(path)) and len(str(error).splitlines()) == 1


# --- which file


def test_order_of_sources(tmp_path: Path) -> None:
    root = tmp_path / "bids"
    stimuli, code = root / "stimuli", root / "code"
    for folder in (stimuli, code):
        folder.mkdir(parents=True)
    shipped = shipped_rules()[0]

    def chosen(given: Path | None = None) -> str | None:
        return choose_rules("any", shipped.dois[0], root=root, folders=[stimuli], given=given).name

    assert chosen() == shipped.name
    assert choose_rules("any", None, root=root, folders=[stimuli]).name is None
    for path, name in (
        (code / "ban_bids_profile.toml", "old"), (stimuli / "ban_bids_profile.toml", "older"),
        (code / "ban-bids.toml", "own"),
    ):  # fmt: skip
        path.write_text(f'name = "{name}"\n')
        assert chosen() == name
    given = tmp_path / "given.toml"
    given.write_text("[[rule]]\n")
    assert chosen(given) == "given"


def test_rules_of_the_dataset_are_used(toy: Toy) -> None:
    for sub in ("01", "02"):
        for run, genre in enumerate(("blues", "disco", "rock"), start=1):
            toy.events(run, f"0\t8000\t{genre}\t0\n8000\t8000\t{genre}\t1\n", sub, header="t\tms\tstyle\tnumber\n")
    text = """[[rule]]
    file = "{style}.{number:05d}.wav"
    onset = { column = "t", unit = "ms" }
    duration = { column = "ms", unit = "ms" }
    genre = "style"
    [held_out]
    runs.run = "2"
    """
    given = toy.root.parent / "given.toml"
    given.write_text(text)
    with pytest.raises(DataError, match="no rules for this dataset"):
        read_dataset(toy.settings())
    for place in (None, toy.root / "code" / "ban-bids.toml"):
        if place is not None:
            place.parent.mkdir()
            place.write_text(text)
        dataset = read_dataset(toy.settings() if place is not None else toy.settings(rules=given))
        assert dataset.held_out == {"run": ("2",)}
        assert (place or given) in dataset.shared_files
        for person in dataset.usable:
            found = [(one.onset, one.clip.track, one.clip.duration) for one in person.runs[1].presentations]
            assert found == [(0.0, "disco.00000", 8.0), (8.0, "disco.00001", 8.0)]
            assert {clip.genre for clip in person.runs[1].clips} == {"disco"}
    assert len(dataset.usable) == 2 and not notes_of(dataset)


def test_rules_that_are_not_there_are_told(toy: Toy) -> None:
    with pytest.raises(DataError, match=r"gone.toml: cannot be read .*; correct the file of rules"):
        read_dataset(toy.settings(rules=toy.root / "gone.toml"))
