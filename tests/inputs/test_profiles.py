"""Profiles of earlier versions go on working: which one is chosen, and what a bad one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ban_bids.errors import DataError
from ban_bids.inputs.events import Row
from ban_bids.inputs.rule_files import choose_rules, read_rules, shipped_rules
from ban_bids.inputs.rules import fill

DOI = "10.18112/openneuro.ds003720"


@pytest.mark.parametrize(
    ("name", "doi", "found"),
    [
        ("any", f"{DOI}.v1.0.0", "ds003720"),
        ("any", f"doi:{DOI}.v1.0.1", "ds003720"),
        ("any", f"https://doi.org/{DOI.upper()}", "ds003720"),
        ("Music Genre fMRI Dataset", None, "ds003720"),
        ("any", f"{DOI}0.v1.0.0", None),
        ("any", None, None),
    ],
)
def test_choice_by_doi_or_name(name: str, doi: str | None, found: str | None) -> None:
    assert choose_rules(name, doi, root=Path("nowhere"), folders=[]).name == found


def test_template_of_ds003720() -> None:
    rule = next(one for one in shipped_rules() if one.name == "ds003720").rules[0]
    row = Row(Path("t.tsv"), 2, {"genre": "pop", "track": "7"})
    assert fill(rule.file, row) == "pop/pop.00007"
    assert rule.file_columns == ("genre", "track")
    assert fill(rule.file, Row(Path("t.tsv"), 2, {"genre": None, "track": "7"})) is None
    with pytest.raises(DataError, match="whole number"):
        fill(rule.file, Row(Path("t.tsv"), 2, {"genre": "pop", "track": "7.5"}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "not readable TOML"),
        ("[other]\n", "unknown keys .'other'."),
        ("stimuli = 3\n", "must be a table"),
        ('[lead_in]\nrule = "magic"\n', "lead-in rule 'magic'; known"),
        ('[stimuli]\npath = "{genre.__class__}"\n', "may hold only"),
        ('[stimuli]\npath = "{genre"\n', "is not a template"),
        ('[stimuli]\nfade = "long"\n', "fade must be a number"),
        ("[stimuli]\nsuffixes = [1]\n", "suffixes must be text"),
    ],
)
def test_bad_profiles(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_rules(path)


def test_an_empty_list_of_suffixes_adds_none(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    path.write_text('[stimuli]\npath = "{stim}"\nsuffixes = []\n')
    assert read_rules(path).rules[0].suffixes == ("",)
    path.write_text('[stimuli]\npath = "{stim}"\n')
    assert read_rules(path).rules[0].suffixes == (".wav",)
