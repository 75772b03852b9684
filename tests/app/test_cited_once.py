"""What to cite is written once per call, of all participants, and hinders nobody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_derivatives import fake_settings, make_tree

from ban_bids.app import participant as level
from ban_bids.reports.citation import CITATION, write_citation
from ban_bids.settings import Settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "out", ["01", "02", "03"], layers=("A1",)).root


@pytest.fixture
def settings(root: Path) -> Settings:
    settings = fake_settings(root)
    return replace(settings, output=replace(settings.output, reports_only=True))


def test_once_for_all_pages(root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def write(folder: Path) -> Path:
        calls.append(len(list(folder.glob("sub-*.html"))))
        return write_citation(folder)

    monkeypatch.setattr(level, "write_citation", write)
    assert level.participant_level(settings) == 0
    assert calls == [3]
    assert (root / CITATION).is_file()


def test_a_damaged_log_of_somebody_is_told_and_the_call_ends_as_it_would(
    root: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (root / "logs").glob("sub-03_*_versions.json"):
        path.write_text("{")
    others = replace(settings, selection=replace(settings.selection, participant_labels=("01", "02")))
    assert level.participant_level(others) == 0
    assert {path.name for path in root.glob("*.html")} == {"sub-01.html", "sub-02.html"}
    assert "citation failed: " in caplog.text and "sub-03_task-" in caplog.text
    assert not (root / CITATION).exists()
    assert "sub-03" in (root / "logs" / "citation_crash.txt").read_text()
