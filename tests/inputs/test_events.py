"""Tables are read whatever wrote them: properties over generated tables."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ban_bids.errors import DataError
from ban_bids.inputs.events import clean_cell, parse_table, read_table

WORDS = st.text("abcdefghijklmnopqrstuvwxyzé0123456789.-_ ", min_size=1, max_size=12).filter(
    lambda text: text.strip() and text.strip().lower() not in {"n/a", "na", "nan", "none", "null"}
)
QUOTES = st.sampled_from(["", "'", '"'])
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 4))
FORMS = st.sampled_from(["{:.4f}", "{:+.4f}", "{:.10f}", "{:.16e}", " {:.4f} "])


@given(WORDS, QUOTES, QUOTES)
def test_quotes_on_either_side_are_stripped(word: str, left: str, right: str) -> None:
    assert clean_cell(f" {left}{word}{right}\r") == word.strip()


@given(st.sampled_from(["n/a", "N/A", "", "  ", "NaN", "'n/a'", '""']))
def test_missing_cells(text: str) -> None:
    assert clean_cell(text) is None


@given(
    rows=st.lists(st.tuples(NUMBERS, WORDS, FORMS, QUOTES), max_size=8),
    bom=st.booleans(),
    header_end=st.sampled_from(["\n", "\r\n"]),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[float, str, str, str]],
    bom: bool,
    header_end: str,
    end: str,
    last: bool,
) -> None:
    body = end.join(f"{form.format(onset)}\t{quote}{word}{quote}\tn/a" for onset, word, form, quote in rows)
    text = "onset\tgenre\tstim_file" + header_end + body + (end if last else "")
    path = tmp_path_factory.mktemp("table") / "events.tsv"
    path.write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
    table = read_table(path)
    assert table.columns == ("onset", "genre", "stim_file")
    assert [row.number("onset") for row in table.rows] == [pytest.approx(row[0], abs=1e-9) for row in rows]
    assert [row.text("genre") for row in table.rows] == [row[1].strip() for row in rows]
    assert all(row.text("stim_file") is None and row.text("absent") is None for row in table.rows)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_survives(value: float) -> None:
    row = parse_table(Path("t.tsv"), ["onset", repr(value)]).rows[0]
    assert row.number("onset") == value


@given(st.one_of(st.sampled_from(["1,5", "inf", "0x10", "1_000", "1e999", "..", "3 s", "1e"]), WORDS))
def test_what_is_no_number_is_refused_with_line_and_column(text: str) -> None:
    try:
        if math.isfinite(float(text)) and "_" not in text:
            return
    except ValueError:
        pass
    row = parse_table(Path("t.tsv"), ["", "onset", text]).rows[0]
    with pytest.raises(DataError, match="t.tsv, line 3: onset is"):
        row.number("onset")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "empty table"),
        (b"onset\tonset\n1\t2\n", "one name of its own"),
        (b"onset\n1\t2\n", "line 2: 2 cells under 1 columns"),
        (b"onset\n\xff\xfe1\n", "not UTF-8"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "events.tsv"
    path.write_bytes(text)
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone.tsv"):
        read_table(tmp_path / "gone.tsv")


def test_short_rows_and_wide_characters(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    path.write_bytes("onset\tgenre\n1\n\n2\tpop\t\n".encode("utf-16"))
    assert [(row.line, row.text("genre")) for row in read_table(path).rows] == [(2, None), (4, "pop")]
