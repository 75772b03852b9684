"""Labels and names that try to act: on a terminal, in a log, on a page, in a figure, in a table."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from ban_bids.cli.environment import exit_status
from ban_bids.errors import DataError
from ban_bids.files.shown import LogFormatter, one_line, shown, without_formulas
from ban_bids.files.tsv import read_tsv, write_tsv

HOSTILE = "<script>alert(1)</script>\x1b[2J\x1b]0;x\x07\u202eevil\u2028\udcff\r"


def test_what_acts_is_escaped_and_letters_stay() -> None:
    text = shown(HOSTILE)
    assert text.isprintable() and text.isascii() and "\\x1b[2J" in text and "\\u202e" in text and "\\udcff" in text
    kept = "Björk – שלום, العربية, 日本語\n\t🎵 a\u200db"
    assert shown(kept) == kept
    assert one_line("a\nb") == "a\\nb"


def test_error_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise DataError(f"{HOSTILE}\nban-bids: done")

    assert exit_status("ban-bids", fail) == DataError.exit_status
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.rstrip("\n").isprintable()


def test_long_errors_keep_both_ends() -> None:
    text = str(DataError(f"file.tsv: {'x' * 10**6}; correct it"))
    assert len(text) <= 4000 and text.startswith("file.tsv") and text.endswith("correct it")
    assert str(DataError("file.tsv: short; correct it")) == "file.tsv: short; correct it"


def test_log_lines() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LogFormatter("%(levelname)s %(message)s"))
    log = logging.Logger("made by a test")
    log.addHandler(handler)
    log.warning("%s", f"{HOSTILE}\nERROR forged")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("x")
    lines = stream.getvalue().split("\n")
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("ERROR forged") for line in lines)


def test_tables(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "a.tsv", pd.DataFrame({f"a\tb{HOSTILE}": [f"x\ty\nz{HOSTILE}", "plain"]}))
    lines = path.read_text().splitlines()
    assert len(lines) == 3 and all(line.isprintable() for line in lines)
    assert read_tsv(path).iloc[1, 0] == "plain"


def test_dollars_in_figures_begin_no_formula() -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.bar([0, 1], [1, 2])
    axes.set_xticks([0, 1], ["$\\foo{$", "a$_$b"])
    axes.set_title("$\\no{such}$")
    without_formulas(figure).savefig(io.BytesIO(), format="svg")
    with pytest.raises(ValueError, match="foo|no"):
        other = Figure()
        other.text(0, 0, "$\\no{such}$")
        other.savefig(io.BytesIO(), format="png")
