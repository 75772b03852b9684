"""Fuzzing the readers of tables, JSON, TOML and YAML: whatever the bytes, a content or one line of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutated import bounded_memory, damaged, fuzzed, real, told

from ban_bids.bids.metadata import number
from ban_bids.files.json import read_json, write_json
from ban_bids.files.toml import read_toml
from ban_bids.files.tsv import read_tsv, write_tsv
from ban_bids.files.yaml import read_yaml
from ban_bids.inputs.events import read_columns, read_table
from ban_bids.inputs.rule_files import read_rules
from ban_bids.inputs.rules import fill, repetition_time_of
from ban_bids.listen.records import read_records

_EVENTS = (
    b"onset\tduration\ttrial_type\tstim_file\tstim_start\n0\t8\tblues\tblues.00000.wav\t1.5\n8.0\t8\trock\tr.wav\tn/a\n",
    b"onset\tduration\tgenre\ttrack\tstart\tend\r\n0\t15\t'blues'\t7\t9.59\t24.58\r\n15\t15\t'disco'\t0\t3.00\t18.00\r\n",
    "onset\tduration\tstim_file\n1\t2\ta.wav\n".encode("utf-16"),
    b'trial\tstim_file\tresponse\tgenre\n1\t"a b.wav"\tblues\trock\n',
    *real("*/sub-*/**/*_events.tsv"),
)
_SIDECARS = (
    b'{"RepetitionTime": 2.0, "TaskName": "music", "SliceTiming": [0.0, 1.0, 0.5, 1.5], "StartTime": 0}',
    b'{"VolumeTiming": [0, 2, 4.0, 6, 8, 10], "FrameAcquisitionDuration": 1.5, "PhaseEncodingDirection": "j-"}',
    b'{"Name": "toy", "BIDSVersion": "1.10.0", "Authors": ["A", "B"], "GeneratedBy": [{"Name": "x"}]}',
    '{"RepetitionTime": 1.5}'.encode("utf-16"),
    *real("*/**/*_bold.json"),
)
_RULES = (
    b'name = "toy"\n[match]\ndoi = ["10.1/x"]\n[[rule]]\nruns = {task = "music", run = [1, 2]}\nstart = "start"\n'
    b'file = "{genre}.{track:05d}.wav"\nend = {column = "end", shift = -1.5, unit = "TR"}\nrms = 0.1\n'
    b'rows = {only = {genre = "*"}}\n',
    b'[stimuli]\npath = "{stim_file}"\nsuffixes = [".wav", ""]\ngenre = "trial_type"\nfade = 0.1\n[lead_in]\n'
    b'rule = "none"\n',
    b'[[rule]]\nevents = "none"\nfile = "{task}-{order}"\nof = 3\nduration = "file"\n[[rule]]\n'
    b'table = {file = "a.tsv", on = ["x"]}\n',
)
_PLUGINS = (
    b"plugin: SLURM\nplugin_args:\n  sbatch_args: --mem=4G\n  max_jobs: 3\n  flags: [a, b, {c: 2.5}]\n",
    b'{"plugin": "MultiProc", "plugin_args": {"n_procs": 4}}',
    b"a: &x [1, 2]\nb: *x\nday: 2001-12-14t21:59:43.10-05:00\nbig: 0o17\nsex: 190:20:30\n",
)
_EXPORTS = (
    b'[{"trial_type": "audio", "response": {"Q0": "rock"}, "rt": 1200.5}, [{"rt": null}]]',
    b'participant,response,clip\nP1,"rock, hard",a.wav\nP2,blues,b.wav\n',
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with bounded_memory():
        yield tmp_path_factory.mktemp("fuzzed")


@fuzzed(2000)
@given(raw=damaged(_EVENTS))
def test_tables(folder: Path, raw: bytes) -> None:
    path = folder / "sub-01_task-music_events.tsv"
    path.write_bytes(raw)
    told(lambda: read_columns(path))
    table = told(lambda: read_table(path))
    if table is None:
        return
    for row in table.rows:
        assert len(row.cells) == len(table.columns)
        for column in table.columns:
            told(lambda row=row, column=column: row.number(column))
            told(lambda row=row: fill("{stim_file}{track:05d}", row))


@fuzzed(1500)
@given(raw=damaged(_SIDECARS))
def test_sidecars(folder: Path, raw: bytes) -> None:
    path = folder / "bold.json"
    path.write_bytes(raw)
    content = told(lambda: read_json(path))
    if content is not None:
        told(lambda: number(content, "RepetitionTime", path))
        told(lambda: number(content, "FrameAcquisitionDuration", path))
        repetition_time_of(content)
        write_json(path, content)  # what could be read can be written, and is the same
        json.loads(path.read_text())


@fuzzed(1500)
@given(raw=damaged(_RULES))
def test_rules_and_profiles(folder: Path, raw: bytes) -> None:
    path = folder / "ban-bids.toml"
    path.write_bytes(raw)
    told(lambda: read_toml(path))
    told(lambda: read_rules(path))


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@fuzzed(500)
@given(content=st.dictionaries(st.sampled_from(("RepetitionTime", "VolumeTiming", "SliceTiming", "Name")), _ANY))
def test_sidecars_of_any_types(folder: Path, content: dict[str, object]) -> None:
    path = folder / "any.json"
    path.write_text(json.dumps(content))
    found = told(lambda: read_json(path))
    if found is not None:
        told(lambda: number(found, "RepetitionTime", path))
        repetition_time_of(found)


@fuzzed(1000)
@given(raw=damaged(_PLUGINS))
def test_yaml(folder: Path, raw: bytes) -> None:
    path = folder / "plugin.yml"
    path.write_bytes(raw)
    told(lambda: read_yaml(path))


@fuzzed(500)
@given(raw=damaged(_EXPORTS), suffix=st.sampled_from((".json", ".csv", ".tsv")))
def test_exported_answers(folder: Path, raw: bytes, suffix: str) -> None:
    path = folder / f"answers{suffix}"
    path.write_bytes(raw)
    for record in told(lambda: read_records(path)) or ():
        for column in ("response.Q0", "rt"):
            record.text(column)
            told(lambda record=record, column=column: record.number(column))


@fuzzed(500)
@given(raw=damaged((*_EVENTS, b"participant\tx\n01\tNaN\n02\t1e5\n")))
def test_tables_of_derivatives(folder: Path, raw: bytes) -> None:
    path = folder / "confounds.tsv"
    path.write_bytes(raw)
    table = told(lambda: read_tsv(path, foreign=True))
    if table is not None:
        write_tsv(path, table)
