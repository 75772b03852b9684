"""Public datasets without their data: real names, labels, tables and lengths; images of 2 x 2 x 2 voxels and noise.

What is real is said at each builder. Lengths of sounds follow from the sizes of the published files. Where the number
of volumes of a run is not known, its image ends with the volume in which the sound ends and four more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import soundfile
from dataset_tables import (
    CD,
    HONG_KONG_BYTES,
    HUTH_BYTES,
    HUTH_SESSIONS,
    HUTH_TEST,
    HUTH_VOLUMES,
    MUSIC_COLUMNS,
    MUSIC_GENRES,
    NARRATIVES,
    NARRATIVES_SECONDS,
    PRINCE,
    PRINCE_RUNS,
    SONGS_BYTES,
    SONGS_RUN_1,
    SONGS_RUN_2,
)

from ban_bids.settings import Settings

_RATE = 200
"""Samples per second of the noise: lengths are right to 5 ms."""


@dataclass(frozen=True)
class Published:
    """A dataset that lies in ``root``, and what a call needs beside it."""

    root: Path
    options: Mapping[str, object] = field(default_factory=dict)

    def settings(self, **changes: object) -> Settings:
        out = self.root.parent / "out"
        given = {"work_dir": out / "work", **self.options, **changes}
        return Settings.of(self.root, out, "participant", **given)  # type: ignore[arg-type]

    def image(self, stem: str, n_volumes: int, tr: float) -> None:
        """``sub-01_task-a_run-1`` (or with ``ses-``) as an image in its folder."""
        parts = [part for part in stem.split("_") if part.startswith(("sub-", "ses-"))]
        path = self.root.joinpath(*parts, "func", f"{stem}_bold.nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(np.zeros((2, 2, 2, n_volumes), np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((2.0, 2.0, 2.0, tr))
        nibabel.save(image, path)

    def events(self, stem: str, text: str) -> None:
        parts = [part for part in stem.split("_") if part.startswith(("sub-", "ses-"))]
        path = self.root.joinpath(*parts, "func", f"{stem}_events.tsv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def tasks(self, tr: float, *names: str, **more: object) -> None:
        """Sidecars at the top: repetition time and name of each task."""
        for name in names:
            fields = {"RepetitionTime": tr, "TaskName": name, **more}
            (self.root / f"task-{name}_bold.json").write_text(json.dumps(fields))

    def describe(self, name: str, doi: str, version: str) -> None:
        self.root.mkdir(parents=True)
        fields = {"Name": name, "BIDSVersion": version, "DatasetDOI": doi}
        (self.root / "dataset_description.json").write_text(json.dumps(fields))


def noise(path: Path, seconds: float) -> None:
    """A sound file of this length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    n = round(seconds * _RATE)
    soundfile.write(path, np.random.default_rng(n).uniform(-0.5, 0.5, n), _RATE, subtype="PCM_U8")


def table(columns: str, rows: Sequence[Sequence[object]]) -> str:
    """A table with tabs between cells."""
    return "\n".join(["\t".join(columns.split()), *("\t".join(map(str, row)) for row in rows)]) + "\n"


def volumes(end: float, tr: float) -> int:
    """Volumes of a run whose sound ends then, where nobody tells them."""
    return math.ceil(end / tr) + 4


def music_genres(root: Path) -> Published:
    """ds003720, one participant, 12 Training and 6 Test runs of 410 volumes of 1.5 s.

    Real: labels, lengths, quotes (some without the opening one), line ends, columns, how runs begin and how Test runs
    go round. Which tracks are played is made up; another test reads the real tables.
    """
    genres = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
    gtzan = root.parent / "gtzan"
    made = Published(root, {"gtzan_dir": gtzan})
    made.describe("Music Genre fMRI Dataset", "10.18112/openneuro.ds003720.v1.0.0", "1.4.0")
    made.tasks(1.5, "Training", "Test")
    tracks = [(genre, number) for number in range(54) for genre in genres]
    for genre, number in tracks:
        noise(gtzan / "genres_original" / genre / f"{genre}.{number:05d}.wav", 30.0)
    runs = {f"Training_run-{run + 1:02d}": tracks[40 * run : 40 * run + 40] for run in range(12)}
    runs |= {f"Test_run-{run + 1:02d}": tracks[480 + 10 * run : 490 + 10 * run] * 4 for run in range(6)}
    last = runs["Training_run-12"][-1]
    for name, played in runs.items():
        first = played[-1] if name.startswith("Test") else last
        last = played[-1]
        made.image(f"sub-001_task-{name}", 410, 1.5)
        made.events(f"sub-001_task-{name}", _genre_rows([first, *played]))
    return made


def _genre_rows(tracks: Sequence[tuple[str, int]]) -> str:
    rows = []
    for place, (genre, number) in enumerate(tracks):
        start = (number * 7 % 140) / 10
        quoted = f"{genre}'" if place == 7 else f"'{genre}'"
        rows.append((f"{15 * place}", "15", quoted, number, f"{start:.2f}", f"{start + 14.99:.2f}"))
    return table("onset duration genre track start end", rows).replace("\n", "\r\n")


def studyforrest_music(root: Path) -> Published:
    """ds000113, one participant: the music session, a run of the film and a localizer.

    Real: labels, 8 runs of 153 volumes of 2 s, names and number of clips, pauses of 4, 6 or 8 s, columns of the log
    tables, the film's columns. The order of clips is made up, and so are onsets within a run.
    """
    made = Published(root, {"stimuli_dir": root.parent / "clips"})
    made.describe("Forrest Gump", "10.18112/openneuro.ds000113.v1.3.0", "1.1.0")
    made.tasks(2.0, "auditoryperception", "movie", "objectcategories")
    names = [f"{genre}_{number:03d}.wav" for genre in MUSIC_GENRES for number in range(5)]
    for name in names:
        noise(root.parent / "clips" / name, 6.0)
    for run in range(8):
        stem = f"sub-01_ses-auditoryperception_task-auditoryperception_run-{run + 1:02d}"
        made.image(stem, 153, 2.0)
        order = np.random.default_rng(run).permutation(25)
        onset, rows = 0, []
        for place, which in enumerate(order):
            name, delay = names[which], (4, 6, 8)[(place + run) % 3]
            genre = name.split("_")[0]
            soa = f"{0.021 + place / 1000:.3f}"
            rows.append((f"{onset}.0", "6.0", run, run, 0, onset // 2, name, genre, delay, "False", soa, "n/a"))
            onset += 6 + delay
        made.events(stem, table(MUSIC_COLUMNS, rows))
    made.image("sub-01_ses-movie_task-movie_run-1", 451, 2.0)
    film = [(0.120, 0.050, 1, 0.040, 0.0, 0.0), (0.170, 0.030, 2, 0.080, 0.0, 0.0)]
    made.events(
        "sub-01_ses-movie_task-movie_run-1", table("onset duration frameidx videotime audiotime lasttrigger", film)
    )
    made.image("sub-01_ses-localizer_task-objectcategories_run-1", 156, 2.0)
    made.events("sub-01_ses-localizer_task-objectcategories_run-1", "onset\tduration\ttrial_type\n4.0\t16.0\tface\n")
    return made


def narratives(root: Path) -> Published:
    """ds002345, seven participants.

    Real: all rows, labels, repetition time, lengths of six sounds, the 300 volumes of task-pieman.
    """
    made = Published(root)
    made.describe("Narratives", "10.18112/openneuro.ds002345.v1.1.0", "1.2.1")
    lengths: dict[str, float] = {}
    for stem, rows in NARRATIVES.items():
        task = stem.split("_")[1].removeprefix("task-")
        made.tasks(1.5, task)
        end = max(onset + duration for onset, duration, _, _ in rows)
        made.image(stem, 300 if task == "pieman" else volumes(end, 1.5), 1.5)
        made.events(stem, table("onset duration trial_type stim_file", rows))
        for name in {row[3] for row in rows} - {"n/a"}:
            heard = [(onset, onset + duration) for onset, duration, _, file in rows if file == name]
            lengths[name] = heard[-1][1] - heard[0][0]
    for name, seconds in lengths.items():
        noise(root / "stimuli" / name, NARRATIVES_SECONDS.get(name.removesuffix("_audio.wav"), seconds))
    return made


def huth_stories(root: Path) -> Published:
    """ds003020, one participant: all of its sessions.

    Real: labels, which story was heard when, numbers of volumes, lengths of four sounds; the others end 9 s before
    their image. No events. The stories of session 9 follow from the order of respdict.json.
    """
    made = Published(root)
    made.describe(
        "An fMRI dataset during a passive natural language listening task",
        "doi:10.18112/openneuro.ds003020.v1.0.1",
        "1.3.0",
    )
    localizers = ("CategoryLocalizer1", "MotorLocalizer", "AuditoryLocalizer")
    made.tasks(2.0, *HUTH_VOLUMES, *localizers)
    for name, n in HUTH_VOLUMES.items():
        noise(root / "stimuli" / f"{name}.wav", HUTH_BYTES[name] / CD if name in HUTH_BYTES else 2 * n - 19.0)
    noise(root / "stimuli" / "auditory_localizer.wav", 60.0)
    for name in localizers:
        made.image(f"sub-UTS01_ses-1_task-{name}_run-1", 150, 2.0)
    for session, stories in HUTH_SESSIONS.items():
        for story in stories.split():
            made.image(f"sub-UTS01_ses-{session}_task-{story}", HUTH_VOLUMES[story], 2.0)
        if session <= 11:
            made.image(f"sub-UTS01_ses-{session}_task-{HUTH_TEST}_run-{session - 1}", HUTH_VOLUMES[HUTH_TEST], 2.0)
    return made


def petit_prince(root: Path) -> Published:
    """ds003643, one participant per language, of whose three echoes the second is chosen.

    Real: sounds' names and lengths, labels of runs and echoes, numbers of volumes, a sidecar with
    the times of all echoes.
    """
    query = root.parent / "second_echo.json"
    made = Published(root, {"bids_filter_file": query})
    made.describe(
        "Le Petit Prince: A multilingual fMRI corpus using ecological stimuli",
        "doi:10.18112/openneuro.ds003643.v2.0.6",
        "1.6.0",
    )
    query.write_text('{"bold": {"echo": 2}}')
    for label, runs in PRINCE_RUNS.items():
        language = label[4:6]
        made.tasks(2.0, f"lpp{language}", EchoTime=[0.0128, 0.0275, 0.043])
        separator = "-" if language == "EN" else "_"
        for section, (run, seconds, n) in enumerate(zip(runs, *PRINCE[language], strict=True), start=1):
            noise(root / "stimuli" / f"task-lpp{language}_section{separator}{section}.wav", seconds)
            for echo in (1, 2, 3):
                made.image(f"{label}_task-lpp{language}_run-{run:02d}_echo-{echo}", n, 2.0)
    return made


def hong_kong(root: Path) -> Published:
    """ds004718, one participant: four runs of the story, and rest.

    Real: labels, names and lengths of the sounds, repetition time. Numbers of volumes are made up.
    """
    made = Published(root)
    made.describe(
        "Le Petit Prince Hong Kong: Naturalistic fMRI and EEG dataset from older Cantonese speakers",
        "doi:10.18112/openneuro.ds004718.v1.0.7",
        "1.12.0",
    )
    made.tasks(2.0, "lppHK", "rest")
    for run, size in enumerate(HONG_KONG_BYTES, start=1):
        noise(root / "stimuli" / f"task-lppHK_run-{run}.wav", size / (44100 * 2))
        made.image(f"sub-HK001_task-lppHK_run-{run}", volumes(size / (44100 * 2), 2.0), 2.0)
    noise(root / "stimuli" / "task-lppHK.wav", sum(HONG_KONG_BYTES) / (44100 * 2))
    made.image("sub-HK001_task-rest", 240, 2.0)
    return made


def music_structure(root: Path) -> Published:
    """ds004007, one participant with run-01 of another: both tables are real, and so are lengths and repetition time.

    The image ends with the last piece.
    """
    made = Published(root)
    made.describe(
        "High-order areas and auditory cortex both represent the high-level event structure of music",
        "doi:10.18112/openneuro.ds004007.v1.0.1",
        "1.2.0",
    )
    made.tasks(1.0, "listen")
    for name, size in SONGS_BYTES.items():
        noise(root / "stimuli" / f"{name}.wav", size / CD)
    for run, rows in (("01", SONGS_RUN_1), ("02", SONGS_RUN_2)):
        made.image(f"sub-12_task-listen_run-{run}", 2511, 1.0)
        # the real tables end without a line end
        text = table("onset duration stim_file", [(on, length, f"{name}.wav") for on, length, name in rows])
        made.events(f"sub-12_task-listen_run-{run}", text.rstrip("\n"))
    return made


def chinese_stories(root: Path) -> Published:
    """ds004078, one participant: 60 runs and rest.

    Real: labels, folders, columns, the onset of 10.65 s, repetition time, the rows of run-3; lengths of the other
    stories (4 to 7 minutes) are made up, and so are numbers of volumes.
    """
    made = Published(root)
    made.describe(
        "A synchronized multimodal neuroimaging dataset to study brain language processing",
        "doi:10.18112/openneuro.ds004078.v1.1.1",
        "1.6.0",
    )
    made.tasks(0.71, "RDR", "rest")
    for run in range(1, 61):
        stem, seconds = f"sub-01_task-RDR_run-{run}", story_seconds(run)
        noise(root / "stimuli" / "audio" / f"story_{run}.wav", seconds)
        rows = [(10.65, seconds, f"audio/story_{run}.wav"), (18.65 + seconds, 2.0, "images/hurryup.png")]
        text = table("onset duration stim_file", [(f"{on:.6f}", f"{length:.6f}", name) for on, length, name in rows])
        made.events(stem, text)
        made.image(stem, volumes(20.65 + seconds, 0.71), 0.71)
    made.image("sub-01_task-rest_run-01", 300, 0.71)
    return made


def story_seconds(run: int) -> float:
    """Length of a story of ds004078: that of the third is real."""
    return 320.0 if run == 3 else 240.0 + 3 * run


BUILDERS: Mapping[str, Callable[[Path], Published]] = {
    "ds003720": music_genres,
    "ds000113": studyforrest_music,
    "ds002345": narratives,
    "ds003020": huth_stories,
    "ds003643": petit_prince,
    "ds004007": music_structure,
    "ds004078": chinese_stories,
    "ds004718": hong_kong,
}
