"""Arrays on disk: whole or not at all, readable by others, never thrown away because they may not be read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ban_bids.errors import DataError
from ban_bids.files.npz import read_arrays, write_arrays


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.arange(3)})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(DataError, match="disk full"):
            write_arrays(path, {"x": np.zeros(3)})
    assert list(tmp_path.iterdir()) == [path]
    arrays = read_arrays(path)
    assert arrays is not None
    np.testing.assert_array_equal(arrays["x"], np.arange(3))
    with pytest.raises(DataError, match="cannot be written"):
        write_arrays(path / "below-a-file.npz", {"x": np.zeros(3)})


def test_any_name_is_kept(tmp_path: Path) -> None:
    names = (
        "file",
        "allow_pickle",
        "arr_0",
        "features.0",
        "block 1/attention",
    )  # as layers of foreign models are called
    write_arrays(tmp_path / "a.npz", {name: np.full(2, k) for k, name in enumerate(names)})
    arrays = read_arrays(tmp_path / "a.npz")
    assert arrays is not None
    assert {name: int(array[0]) for name, array in arrays.items()} == {name: k for k, name in enumerate(names)}
    assert list(read_arrays(tmp_path / "a.npz", "file") or ()) == ["file"]


def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("x")
    write_arrays(tmp_path / "a.npz", {"x": np.zeros(1)})
    assert (tmp_path / "a.npz").stat().st_mode == plain.stat().st_mode


def test_a_file_that_may_not_be_read_is_not_taken_for_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, {"x": np.zeros(1)})

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(DataError, match="may not be read"):
        read_arrays(path)
    assert path.exists()
