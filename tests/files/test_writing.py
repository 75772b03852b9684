"""Texts, JSON and tables on disk: whole or not at all, and back as they were."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ban_bids.errors import DataError, UsageError
from ban_bids.files.atomic import TEMPORARY_PREFIX, atomic_path, place, remove_with_leftovers, write_text
from ban_bids.files.json import read_json, write_json
from ban_bids.files.tsv import read_tsv, write_tsv


def test_a_failure_midway_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def _write_many(path, letter):
    for _ in range(60):
        write_text(path, letter * 100_000)


def test_two_writers_at_once_never_tear_a_file(tmp_path):
    path = write_text(tmp_path / "a.txt", "a" * 100_000)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(path, letter)) for letter in "bc"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_text())
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen <= {letter * 100_000 for letter in "abc"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_an_unwritable_place_is_named_with_the_user(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.write_bytes", refuse)
    with pytest.raises(UsageError, match=f"a.txt: user {os.getuid()}"):
        write_text(tmp_path / "a.txt", "x")


def test_files_have_ordinary_permissions(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    assert write_text(tmp_path / "a.txt", "x").stat().st_mode == plain.stat().st_mode


def test_json_takes_numpy_paths_and_what_is_not_finite(tmp_path):
    content = {
        "a": np.float32(0.5),
        "b": np.arange(2),
        "c": tmp_path,
        "d": np.nan,
        "e": ({1},),
        "f": np.bool_(True),
    }
    path = write_json(tmp_path / "x.json", content)
    strict = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert strict == {"a": 0.5, "b": [0, 1], "c": str(tmp_path), "d": "n/a", "e": [[1]], "f": True}
    assert read_json(path) == strict


def test_damaged_json_is_named(tmp_path):
    path = write_text(tmp_path / "x.json", '{"a": ')
    with pytest.raises(DataError, match="x.json"):
        read_json(path)


def test_tables_come_back_as_they_were(tmp_path):
    table = pd.DataFrame(
        {
            "participant": ["01", "1"],
            "score": [0.1 + 0.2, np.nan],
            "count": [3, 4],
            "reason": [None, "none,\tat\nall NA"],
            "flag": [True, False],
        }
    )
    path = write_tsv(tmp_path / "x.tsv", table)
    lines = path.read_text().splitlines()
    assert lines[0].split("\t") == list(table)
    assert lines[1].split("\t")[2:] == ["3", "n/a", "true"]
    back = read_tsv(path)
    assert list(back["participant"]) == ["01", "1"]
    assert back["score"][0] == table["score"][0]
    assert np.isnan(back["score"][1])
    assert back["reason"][1] == "none, at all NA"


def test_json_that_is_no_object_is_named_with_the_remedy(tmp_path):
    path = write_text(tmp_path / "x.json", "[1]")
    with pytest.raises(DataError, match="x.json: not a JSON object; ask Ann"):
        read_json(path, remedy="ask Ann")
    assert read_json(write_text(path, '\ufeff{"a": 1}')) == {"a": 1}


def test_a_placed_file_is_the_source_and_replaces_the_old_one(tmp_path, monkeypatch):
    source = write_text(tmp_path / "source", "new")
    target = write_text(tmp_path / "folder" / "target", "old")
    assert place(source, target).samefile(source)

    def no_links(*args, **kwargs):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    assert place(source, tmp_path / "folder" / "copy").read_text() == "new"
    assert not target.with_name("copy").samefile(source)
    assert sorted(path.name for path in target.parent.iterdir()) == ["copy", "target"]


def test_what_killed_writers_left_goes_with_the_file(tmp_path: Path):
    path = write_text(tmp_path / "a.txt", "x")
    write_text(tmp_path / f"{TEMPORARY_PREFIX}1-abc-a.txt", "half")
    other = write_text(tmp_path / f"{TEMPORARY_PREFIX}1-abc-b.txt", "of another file")
    remove_with_leftovers(path)
    assert list(tmp_path.iterdir()) == [other]
