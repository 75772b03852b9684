"""Files of others: ordinary ones of bounded size, depth and numbers, and a remedy for all others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ban_bids.errors import DataError
from ban_bids.files.images import open_image, read_through
from ban_bids.files.json import read_json
from ban_bids.files.reading import as_number, as_numbers, check_content, opened, read_bytes
from ban_bids.files.sounds import sound_info
from ban_bids.files.toml import read_toml
from ban_bids.files.tsv import read_tsv
from ban_bids.files.yaml import read_yaml
from ban_bids.inputs.events import read_columns, read_table


def _through(path: Path) -> None:
    with read_through(path):
        pass


_READERS: dict[str, Callable[[Path], Any]] = {
    "json": read_json,
    "toml": read_toml,
    "yml": read_yaml,
    "tsv": read_tsv,
    "events.tsv": read_table,
    "columns.tsv": read_columns,
    "wav": sound_info,
    "nii": open_image,
    "nii.gz": _through,
}


@pytest.mark.parametrize("suffix", _READERS)
def test_no_reader_waits_for_what_is_no_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)):
        make(path)  # type: ignore[operator]
        with pytest.raises(DataError, match=r"(?s)x\..*;") as caught:
            _READERS[suffix](path)
        assert "\n" not in str(caught.value)
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=";"):
        _READERS[suffix](path)


def test_size_and_limit_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"x" * 100)
    assert read_bytes(path, 100) == b"x" * 100
    with pytest.raises(DataError, match="a.json: 100 bytes, and at most 99 bytes are read of such a file; put"):
        read_bytes(path, 99)
    with path.open("r+b") as file:
        file.truncate(2**40)  # holds nothing, and takes no room
    for reader in ("json", "toml", "yml", "tsv", "events.tsv"):
        with pytest.raises(DataError, match=r"a.json: 1,048,576.0 MiB, and at most"):
            _READERS[reader](path)
    with pytest.raises(DataError, match="null (byte|character)"):
        read_bytes(tmp_path / "a\0b", 10)


def test_files_that_claim_to_be_empty_are_bounded_too() -> None:
    path = Path("/proc/self/maps")
    if not path.exists():
        pytest.skip("no /proc")
    assert path.stat().st_size == 0 and len(read_bytes(path, 2**24)) > 100
    with pytest.raises(DataError, match="at most 10 bytes"):
        read_bytes(path, 10)


def test_a_pipe_put_there_in_between_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("ban_bids.files.reading.check_ordinary", lambda path, remedy: 0)
    with pytest.raises(DataError, match="named pipe"), opened(tmp_path / "pipe"):
        pass


def test_depth_and_integers() -> None:
    deep: list[Any] = []
    for _ in range(62):
        deep = [deep]
    check_content(deep)
    check_content({"a": [2**63 - 1, -(2**63), 1.5, None, True, "x"]})
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        check_content([[deep]])
    for large in (2**63, -(2**63) - 1):
        with pytest.raises(ValueError, match="64 bits|at most 64"):
            check_content({"a": [large]})


def test_numbers() -> None:
    assert as_number(2) == 2.0 and as_number(-1.5) == -1.5
    assert all(as_number(other) is None for other in (True, "2", None, float("nan"), float("inf"), [1], {}))
    assert as_numbers([0, 1.5]) == [0.0, 1.5] and as_numbers([]) == []
    assert all(as_numbers(other) is None for other in ([0, "1"], [True], [None], [float("nan")], "12", None, {}))


def test_yaml_has_plain_content_only(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("plugin: SLURM\nplugin_args: {max_jobs: 3, flags: [a, 2.5]}\n")
    assert read_yaml(path) == {"plugin": "SLURM", "plugin_args": {"max_jobs": 3, "flags": ["a", 2.5]}}
    for text, why in (
        ("a: &a [x]\nb: *a\n", "alias"),
        ("!!python/object/apply:os.system ['true']", "constructor"),
        ("!!timestamp x", "not readable"),
        ("[" * 3000 + "]" * 3000, "not readable|nested"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=why):
            read_yaml(path)


def test_toml_keys_of_many_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(f'{".".join("a" * 20)} = 1\nnote = "{"a." * 100}"\n')
    assert read_toml(path)["note"] == "a." * 100
    for text in (f"{'.'.join('a' * 50_000)} = 1", f"[{'.'.join('a' * 50_000)}]", f"x = {'[' * 3000}{']' * 3000}"):
        path.write_text(text)
        with pytest.raises(DataError, match="a.toml: not readable TOML"):
            read_toml(path)


def test_rows_and_cells_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    path.write_text("onset\tduration\n" + "1\t2\n" * 1000)
    assert len(read_table(path).rows) == 1000
    path.write_text("onset\tduration\n" + "1\t2\n" * 250_000)
    with pytest.raises(DataError, match="events.tsv: 250002 lines, and at most 250000"):
        read_table(path)
    path.write_text("\t".join(f"c{n}" for n in range(5000)) + "\n" + "1\n" * 1000)
    with pytest.raises(DataError, match="5000 columns of 1000 rows, and at most 4000000 cells"):
        read_table(path)
