"""Fixtures for reading datasets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_datasets import Skeleton, Toy, make_toy, plain_rows, write_audio, write_bold


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return make_toy(tmp_path / "bids")


@pytest.fixture
def tree() -> Callable[[Path], dict[str, tuple[int, int]]]:
    """Snapshot of a folder: every path with its size and time of change."""

    def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}

    return snapshot


@pytest.fixture(scope="session")
def skeleton(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Skeleton:
    base = tmp_path_factory.mktemp("ds003720")
    root, gtzan = base / "bids", base / "gtzan"
    shutil.copytree(shared_data / "ds003720", root, copy_function=shutil.copyfile)
    for folder in (root, *root.rglob("*")):
        folder.chmod(0o755 if folder.is_dir() else 0o644)
    rows = {path.name: plain_rows(path) for path in sorted(root.rglob("*_events.tsv"))}
    phantom = base / "phantom.nii"
    # 68 slices, as many as the sidecars' SliceTiming has entries
    write_bold(phantom, (2, 2, 68, 410), tr=1.5)
    for name in rows:
        sub = name.split("_")[0]
        shutil.copyfile(phantom, root / sub / "func" / name.replace("events.tsv", "bold.nii"))
    for sub in {name.split("_")[0] for name in rows}:
        write_bold(root / sub / "anat" / f"{sub}_T1w.nii", (2, 2, 2))
    latest = {track: 0.0 for run in rows.values() for _, track, _ in run}
    for run in rows.values():
        for _, track, start in run:
            latest[track] = max(latest[track], start)
    for track, start in latest.items():
        genre = track.split(".")[0]
        # as in GTZAN: one genre as .au, and some files end 20 ms before the excerpt does
        suffix, seconds = (".au" if genre == "jazz" else ".wav"), (29.98 if start > 14.97 else 30.0)
        write_audio(gtzan / "genres_original" / genre / f"{track}{suffix}", seconds)
    return Skeleton(root, gtzan, rows)
