"""Fields of recordings: names that were made from a template are read back, whatever is ambiguous is refused."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ban_bids.errors import DataError, UsageError
from ban_bids.training.fields import field_reader, fields_of_name, name_fields, read_table

DIGITS = "{digit}_{speaker}_{take}"


def test_spoken_digits() -> None:
    assert name_fields(DIGITS) == ["digit", "speaker", "take"]
    assert fields_of_name(DIGITS, Path("7/7_nicolas_12.wav")) == {"digit": "7", "speaker": "nicolas", "take": "12"}
    assert fields_of_name("{song}.{take}", Path("blues.00012.au")) == {"song": "blues", "take": "00012"}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab_", min_size=1, max_size=4), min_size=2, max_size=3))
def test_a_name_is_read_back_or_refused_as_ambiguous(values: list[str]) -> None:
    names = ["one", "two", "three"][: len(values)]
    template = "_".join(f"{{{name}}}" for name in names)
    stem = "_".join(values)
    cuts = {  # by brute force: every way to cut the stem at as many places
        tuple(parts) for parts in _ways(stem, len(values))
    }
    try:
        found = fields_of_name(template, Path(f"{stem}.wav"))
    except DataError as err:
        assert len(cuts) > 1
        assert "fits in several ways" in str(err)
    else:
        assert cuts == {tuple(values)} == {tuple(found.values())}


def _ways(stem: str, n: int) -> list[list[str]]:
    """Non-empty parts that are ``stem`` again when they are joined by underscores."""
    if n == 1:
        return [[stem]] if stem else []
    cuts = [k for k, sign in enumerate(stem) if sign == "_" and k > 0]
    return [[stem[:k], *rest] for k in cuts for rest in _ways(stem[k + 1 :], n - 1)]


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=6), st.text(min_size=1, max_size=6))
def test_signs_between_fields_stand_for_themselves(one: str, two: str) -> None:
    assume("+(" not in one + two and not set("/\0") & set(one + two))
    assume(not (one.endswith("+") and two.startswith("(")))
    file = Path("folder") / f"{one}+({two}.wav"
    assume(file.stem == f"{one}+({two}")
    assert fields_of_name("{a}+({b}", file) == {"a": one, "b": two}


@pytest.mark.parametrize(
    "template", ["digit", "{}", "{digit", "{a}{b}", "{a}_{a}", "{a:d}", "{a!r}", "{0}", "{a.b}", "{a b}"]
)
def test_templates_that_say_nothing(template: str) -> None:
    with pytest.raises(UsageError, match="--names"):
        name_fields(template)


def test_a_name_that_does_not_fit_is_the_example() -> None:
    with pytest.raises(DataError, match=r"'7-nicolas-1' does not fit --names \{digit\}_\{speaker\}_\{take\}"):
        fields_of_name(DIGITS, Path("7/7-nicolas-1.wav"))


def _table(folder: Path, text: str) -> Path:
    path = folder / "fields.tsv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("spelled", ["genres/a/1.wav", "genres/a/1", "a/1.wav", "a/1", "1.wav", "1"])
def test_a_table_knows_a_file_by_every_spelling(tmp_path: Path, spelled: str) -> None:
    files = [tmp_path / "genres" / "a" / "1.wav", tmp_path / "genres" / "b" / "2.wav"]
    table = _table(tmp_path, f"file\tspeaker\tage\n{spelled}\t01\tn/a\n2\tx \t\n")
    fields = field_reader(tmp_path, files, table=table)
    assert [dict(fields(file)) for file in files] == [{"speaker": "01"}, {"speaker": "x"}]


def test_a_bare_name_that_two_files_have_is_refused(tmp_path: Path) -> None:
    files = [tmp_path / c / f"{n}.wav" for c, n in product("ab", "12")]
    fields = field_reader(tmp_path, files, table=_table(tmp_path, "file\tspeaker\n1\tx\na/2\ty\nb/2\tz\n"))
    assert [dict(fields(file)) for file in (files[1], files[3])] == [{"speaker": "y"}, {"speaker": "z"}]
    with pytest.raises(UsageError, match=r"1 may be the one in a or in b; write a/1\.wav"):
        fields(files[0])
    with pytest.raises(DataError, match=r"3\.wav.*has no line for it; add one \(a/3\.wav\)"):
        fields(tmp_path / "a" / "3.wav")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "column file"),
        ("name\tspeaker\na\tb\n", "column file"),
        ("file\na\n", "column file"),
        ("file\tx\tx\na\tb\tc\n", "column file"),
        ("file\tspeaker\na\n", "line 2 has 1 cells, the header 2"),
        ("file\tspeaker\na\tx\n\na\ty\n", "line 4 contradicts an earlier one on a"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_table(_table(tmp_path, text))
    with pytest.raises(UsageError, match="cannot be read"):
        read_table(tmp_path / "none.tsv")


def test_a_line_that_says_the_same_again_is_let_through(tmp_path: Path) -> None:
    assert read_table(_table(tmp_path, "\ufefffile\tspeaker\na\tx\na\tx\n")) == {"a": {"speaker": "x"}}
