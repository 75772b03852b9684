"""A dataset and an experiment's folder, written by hand after what the formats say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ban_bids.inputs.events import read_table
from ban_bids.inputs.people import read_choices
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.types import HumanChoices

GENRES = ("blues", "classical", "jazz")
SECONDS = 12.0


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def make_dataset(root: Path, per_genre: int = 2) -> Path:
    """A dataset without images: sounds, and the events of one person's run, which plays 1.5 to 9.5 s of each file."""
    rows = ["onset\tduration\ttrial_type\tstim_file\tstim_start\tgenre"]
    for genre in GENRES:
        for number in range(per_genre):
            path = root / "stimuli" / genre / f"{genre}.{number:05d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.zeros(round(SECONDS * 100)), 100, subtype="PCM_16")
            rows.append(f"{10 * len(rows)}\t8\tmusic\t{genre}/{path.name}\t1.5\t{genre}")
    write_json(root / "dataset_description.json", {"Name": "by hand", "BIDSVersion": "1.10.0", "Authors": ["nobody"]})
    (root / "README").write_text("A dataset made by hand, to try the import of answers in the tests of this project.\n")
    events = root / "sub-01" / "func" / "sub-01_task-music_events.tsv"
    events.parent.mkdir(parents=True)
    events.write_text("\n".join(rows) + "\n")
    return root


def choices_of(root: Path) -> HumanChoices | None:
    return read_choices(root, None, stimuli=Stimuli([root / "stimuli"]), read=read_table)


def read_back(root: Path) -> list[tuple[str, str, float, float, str, str]]:
    """Who chose what on which stretch of which file, as ban-bids reads it from the dataset."""
    choices = choices_of(root)
    assert choices is not None
    return [
        (row.participant, Path(row.audio).name, row.start, row.duration, row.true_genre, row.response)
        for row in choices.table.itertuples()
    ]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@dataclass
class Folder:
    """An experiment's folder: six clips, of which one is judged twice, one trial of practice and one check."""

    root: Path
    choices: Sequence[str] = GENRES
    genres: Sequence[str] = GENRES
    clips: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clips = [
            {"id": f"clip-{folder}-{number}", "stim_file": f"{folder}/{folder}.{number:05d}.wav", "start": 1.5,
             "duration": 8.0, "genre": genre}
            for folder, genre in zip(GENRES, self.genres)
            for number in range(2)
        ]  # fmt: skip
        practice = {**self.clips[0], "id": "practice-1"}
        write_json(
            self.root / "experiment.json",
            {"version": 1, "task": "genre", "choices": self.choices, "clips": self.clips, "practice": [practice],
             "repeats": 1, "checks": 1, "confidence": True, "seed": 3},
        )  # fmt: skip
        (self.root / "texts.toml").write_text('[en]\ntitle = "Music"\n')
        (self.root / "people.tsv").write_text("participant_id\tcode\nlistener01\tsecret-code-1\nlistener02\tsecret-2\n")
        self.trials = [("practice", {**practice}), *(("main", clip) for clip in self.clips), ("repeat", self.clips[2]),
                       ("check", self.clips[1])]  # fmt: skip

    def answer(self, person: str, trial: int, answered: str, /, **other: Any) -> Path:
        """Write one answer; what the server would write, unless told otherwise."""
        kind, clip = self.trials[trial - 1]
        named = {"clip": clip["id"], **{key: clip[key] for key in ("stim_file", "start", "duration", "genre")}}
        content = {
            "number": trial, "kind": kind, **named, "expected": self.choices[-1] if kind == "check" else None,
            "response": answered, "confidence": 1 + trial % 4, "response_time_ms": 1000 + 7 * trial, "plays": 1,
            "received": "2026-11-28T12:00:00+00:00",
        }  # fmt: skip
        return write_json(self.root / "answers" / person / f"{trial:04d}.json", {**content, **other})

    def session(self, person: str, responses: Sequence[str], **other: Mapping[str, Any]) -> None:
        """Write a person's answers to the first trials."""
        for number, response in enumerate(responses, start=1):
            self.answer(person, number, response)
        begun = {"key": "secret-key", "language": "en", "begun": "2026-11-28T11:00:00+00:00"}
        finished = {"finished": "2026-11-28T13:00:00+00:00"} if len(responses) == len(self.trials) else {}
        write_json(self.root / "sessions" / f"{person}.json", {**begun, **finished, **other})

    def scored(self, person: str, responses: Sequence[str]) -> list[tuple[str, str, float, float, str, str]]:
        """What `read_back` must give of them."""
        return [
            (person, Path(clip["stim_file"]).name, clip["start"], clip["duration"], clip["genre"], response)
            for (kind, clip), response in zip(self.trials, responses)
            if kind in ("main", "repeat")
        ]
