"""A dataset and an experiment's folder, written by hand after what the formats say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ban_bids.bids.listing import list_dataset
from ban_bids.inputs.events import Tables, read_table
from ban_bids.inputs.people import read_choices
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.inputs.types import HumanChoices
from ban_bids.listen.experiment import Layout, Trial, read_experiment
from ban_bids.listen.schedule import trials

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
            rows.append(f"{20 * len(rows)}\t8\tmusic\t{genre}/{path.name}\t1.5\t{genre}")
    write_json(root / "dataset_description.json", {"Name": "by hand", "BIDSVersion": "1.10.0", "Authors": ["nobody"]})
    (root / "README").write_text("A dataset made by hand, to try the import of answers in the tests of this project.\n")
    events = root / "sub-01" / "func" / "sub-01_task-music_events.tsv"
    events.parent.mkdir(parents=True)
    events.write_text("\n".join(rows) + "\n")
    return root


def choices_of(root: Path, stimuli: Path | None = None) -> HumanChoices | None:
    resolver = Stimuli([stimuli or root / "stimuli"])
    choices, notes = read_choices(list_dataset(root), stimuli=resolver, read=Tables(read_table))
    # some tests import one table under several names of tasks
    assert not [note for note in notes if "count as those of one" not in note]
    return choices


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
    """An experiment's folder: six clips, of which some are judged twice, practice and checks."""

    root: Path
    choices: Sequence[str] = GENRES
    genres: Sequence[str] = GENRES
    others: int = 1

    def __post_init__(self) -> None:
        clips = [
            {"id": f"{folder}-{number}", "stim_file": f"{folder}/{folder}.{number:05d}.wav", "start": 1.5,
             "duration": 8.0, "genre": genre}
            for folder, genre in zip(GENRES, self.genres)
            for number in range(2)
        ]  # fmt: skip
        practice = [{**clips[0], "id": f"practice-{number}"} for number in range(self.others)]
        write_json(
            self.root / "experiment.json",
            {"version": 1, "task": "genre", "choices": self.choices, "clips": clips, "practice": practice,
             "repeats": self.others, "checks": self.others, "confidence": True, "seed": 3},
        )  # fmt: skip
        (self.root / "texts.toml").write_text('[en]\ntitle = "Music"\n')
        (self.root / "people.tsv").write_text(
            "participant_id\tcode\nlistener01\tsecret-code-01\nlistener02\tsecret-code-02\n"
        )
        self.clips = {clip["id"]: clip for clip in (*clips, *practice)}

    def trials(self, person: str) -> list[tuple[Trial, dict[str, Any]]]:
        """What a person is asked, and about which clip."""
        asked = trials(read_experiment(Layout(self.root)), person)
        return [(trial, self.clips[trial.clip]) for trial in asked]

    def answer(self, person: str, number: int, answered: str, /, **other: Any) -> Path:
        """Write one answer; what the server would write, unless told otherwise."""
        trial, clip = self.trials(person)[number - 1]
        named = {key: clip[key] for key in ("stim_file", "start", "duration", "genre")}
        content = {
            "number": number, "kind": trial.kind, "clip": trial.clip, **named, "expected": trial.expected,
            "response": answered, "confidence": 1 + number % 4, "response_time_ms": 1000 + 7 * number, "plays": 1,
            "received": "2026-11-28T12:00:00+00:00",
        }  # fmt: skip
        return write_json(self.root / "answers" / person / f"{number:04d}.json", {**content, **other})

    def session(self, person: str, responses: Sequence[str]) -> None:
        """Write a person's answers to the first trials; checks are passed."""
        asked = self.trials(person)
        for (trial, _), response in zip(asked, responses):
            self.answer(person, trial.number, trial.expected or response)
        begun = {"key": "secret-key", "language": "en", "begun": "2026-11-28T11:00:00+00:00"}
        finished = {"finished": "2026-11-28T13:00:00+00:00" if len(responses) == len(asked) else None}
        write_json(self.root / "sessions" / f"{person}.json", {**begun, **finished})

    def scored(self, person: str, responses: Sequence[str]) -> list[tuple[str, str, float, float, str, str]]:
        """What `read_back` must give of them."""
        return [
            (person, Path(clip["stim_file"]).name, clip["start"], clip["duration"], clip["genre"], response)
            for (trial, clip), response in zip(self.trials(person), responses)
            if trial.kind in ("main", "repeat")
        ]
