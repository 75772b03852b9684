"""Every example on the page on rules gives the clips that stand below it, and every key has an example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_datasets import write_audio

from ban_bids.bids.metadata import Companions
from ban_bids.inputs.events import read_table
from ban_bids.inputs.hearing import Hearing
from ban_bids.inputs.rule_files import _KEYS, read_rules
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.unheard import FILMS, PICTURES, PLACEHOLDERS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
SECONDS = {"song": 30, "short": 10, "tale": 100, "story_2": 60}
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def examples() -> list[tuple[str, list[str]]]:
    """Rules with the tables that follow them."""
    found: list[tuple[str, list[str]]] = []
    for kind, text in BLOCKS:
        if kind == "toml":
            found.append((text, []))
        else:
            found[-1][1].append(re.sub(" {2,}", "\t", text))
    return found


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for name, seconds in SECONDS.items():
        write_audio(folder / f"{name}.wav", seconds, rate=100)
    return folder


@pytest.mark.parametrize(("text", "tables"), examples(), ids=range(len(examples())))
def test_an_example_gives_its_clips(tmp_path: Path, sounds: Path, text: str, tables: list[str]) -> None:
    rules = tmp_path / "code" / "ban-bids.toml"
    rules.parent.mkdir()
    rules.write_text(text)
    *before, clips = tables
    func = tmp_path / "sub-01" / "func"
    func.mkdir(parents=True)
    companions = [tmp_path / "task-music_bold.json"]
    companions[0].write_text('{"RepetitionTime": 2.0}')
    if before:
        companions.append(func / "sub-01_task-music_run-2_events.tsv")
        companions[1].write_text(before[-1])
    for table in before[:-1]:
        (rules.parent / "sounds.tsv").write_text(table)
    hearing = Hearing(Companions.of(companions), Stimuli([sounds], read_rules(rules), tmp_path), read_table)
    (run,) = hearing.of([func / "sub-01_task-music_run-2_bold.nii.gz"]).runs
    rows = [(item.onset, item.clip.audio.name, item.clip.start, item.clip.duration) for item in run.presentations]
    header, *lines = clips.splitlines()
    assert header.split("\t") == ["onset", "file", "start", "duration"]
    assert rows == [
        (float(onset), file, float(start), float(duration))
        for onset, file, start, duration in (line.split("\t") for line in lines)
    ]


@pytest.mark.parametrize("kind", [kind for kind in _KEYS if kind != "stimuli"])
def test_every_key_has_its_place_on_the_page(kind: str) -> None:
    examples_only = "".join(text for language, text in BLOCKS if language == "toml")
    for key in _KEYS[kind] - {"stimuli"}:
        assert re.search(rf"\b{key}\b", examples_only) or f"`{key} = " in PAGE, key


def test_lists_on_the_page_are_those_of_the_code() -> None:
    for words in (PICTURES, FILMS, PLACEHOLDERS):
        assert all(f"`{word}`" in PAGE for word in words)
