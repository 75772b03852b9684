"""Public datasets are read right by the rules that ship, or refused with the right reason."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from dataset_skeletons import BUILDERS, Published, noise, story_seconds
from dataset_tables import HONG_KONG_BYTES, HUTH_VOLUMES, NARRATIVES, PRINCE, PRINCE_RUNS
from small_datasets import notes_of

from ban_bids.encoding.repeats import repeat_rows
from ban_bids.errors import BanBidsError
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.types import Dataset, Run

ROOT = Path(__file__).resolve().parents[2]
BYTE_RATE = 176400


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tools_datasets", ROOT / "tools" / "datasets.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


tool = _tool()


@dataclass(frozen=True)
class Read:
    """A skeleton, as it was read."""

    skeleton: Published
    dataset: Dataset
    readings: tuple[tool.Reading, ...]  # type: ignore[name-defined]

    def run(self, label: str, name: str) -> Run:
        (person,) = (person for person in self.dataset.participants if person.label == label)
        (found,) = (run for run in person.runs if run.name == name)
        return found


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Read]:
    found = {}
    for key, build in BUILDERS.items():
        skeleton = build(tmp_path_factory.mktemp(key) / "bids")
        dataset = read_dataset(skeleton.settings())
        found[key] = Read(skeleton, dataset, tuple(tool.reading(person, dataset) for person in dataset.participants))
    return found


@pytest.fixture
def built(tmp_path: Path) -> Callable[[str], Published]:
    """Build a skeleton that a test may damage."""
    return lambda key: BUILDERS[key](tmp_path / "bids")


def clips(run: Run) -> list[tuple[float, str, float, float]]:
    """(onset, track, start, duration) of every clip of a run, to the millisecond."""
    return [
        (round(item.onset, 3), item.clip.track, round(item.clip.start, 3), round(item.clip.duration, 3))
        for item in run.presentations
    ]


def rows_of_table(path: Path) -> list[dict[str, str]]:
    """Cells of a table, read in the plainest way."""
    header, *lines = path.read_text().strip().split("\n")
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


@pytest.mark.parametrize("key", BUILDERS)
def test_rules_are_chosen_and_everybody_is_read(read: Mapping[str, Read], key: str) -> None:
    dataset = read[key].dataset
    assert dataset.profile == key
    assert dataset.participants
    for person in dataset.participants:
        assert person.failure is None, person.failure


@pytest.mark.parametrize("key", BUILDERS)
def test_no_training_row_hears_a_held_out_recording(read: Mapping[str, Read], key: str) -> None:
    """Every row of every fold, against the presentations themselves."""
    for found in read[key].readings:
        if found.folds is None:
            assert found.reason
            continue
        lag = float(found.folds.delays[-1])
        many = len({item.clip.audio for run in found.runs for item in run.presentations}) > 2
        heard = np.concatenate([_heard(run, lag, whole=many) for run in found.runs])
        for fold in found.folds.folds:
            tested = set().union(*heard[fold.held_out])
            trained = set().union(*heard[fold.training])
            # of one or two recordings, stretches are held out: a second on a border is in two of them
            assert len(tested & trained) <= (0 if many else 4)
            assert not set(fold.held_out) & set(fold.training)


def _heard(run: Run, lag: float, *, whole: bool) -> np.ndarray:
    """Recordings within the lags of each volume; or, not whole, which seconds of them."""
    found = np.empty(run.n_volumes, dtype=object)
    for k in range(run.n_volumes):
        time = run.reference_time + k * run.repetition_time
        begin, end = time - lag - run.repetition_time / 2, time + run.repetition_time / 2
        found[k] = set()
        for item in run.presentations:
            if item.onset >= end or item.end <= begin:
                continue
            place = item.clip.start - item.onset
            first, last = max(begin, item.onset) + place, min(end, item.end) + place
            seconds = range(1) if whole else range(math.floor(first), math.ceil(last))
            found[k] |= {(item.clip.audio, second) for second in seconds}
    return found


def test_the_page_is_what_the_skeletons_give(read: Mapping[str, Read]) -> None:
    page = tool.PAGE.read_text(encoding="utf-8")
    readings = {key: found.readings for key, found in read.items()}
    assert tool.drawn(page, readings) == page, "run python tools/datasets.py --write"


def test_each_dataset_of_the_page_ships_its_rules() -> None:
    folder = ROOT / "ban_bids" / "inputs" / "shipped_rules"
    assert {path.stem for path in folder.glob("*.toml")} == set(BUILDERS) == set(tool.ENTRIES)


def test_music_genres(read: Mapping[str, Read]) -> None:
    found = read["ds003720"]
    (person,) = found.dataset.participants
    assert Counter(run.task for run in person.runs) == {"Training": 12, "Test": 6}
    test = found.run("001", "task-Test_run-02")
    # 490 tracks came before: numbers from 49 on, genres in turn; the run begins with its last clip
    assert clips(test)[:3] == [
        (0, "rock.00049", 6.3, 15),
        (15, "blues.00049", 6.3, 15),
        (30, "classical.00049", 6.3, 15),
    ]
    assert [item.lead_in for item in test.presentations] == [True] + [False] * 40
    assert {(item.clip.fade, item.clip.rms) for item in test.presentations} == {(2.0, 0.13210295550519335)}
    # 12 runs of 40 clips of 10 volumes; less the volumes that hear the lead-in, which another run ends with
    (rows,) = found.readings[0].training_rows
    assert 12 * (400 - 10) < rows <= 4800
    assert repeat_rows(found.readings[0].folds.rows).n_repeats == 4


def test_studyforrest_music(read: Mapping[str, Read]) -> None:
    found = read["ds000113"]
    (person,) = found.dataset.participants
    assert [run.task for run in person.runs] == ["auditoryperception"] * 8
    assert any("movie" in note for note in notes_of(found.dataset))
    run = found.run("01", "ses-auditoryperception_task-auditoryperception_run-01")
    rows = rows_of_table(run.events)  # type: ignore[arg-type]
    # pauses of 4, 6, 8 s after 6 s of sound
    assert [item[0] for item in clips(run)][:5] == [0, 10, 22, 36, 46]
    assert clips(run) == [(float(row["onset"]), row["stim"].removesuffix(".wav"), 0, 6) for row in rows]
    assert [item.clip.genre for item in run.presentations] == [row["genre"] for row in rows]
    counts = Counter(item.clip for run in person.runs for item in run.presentations)
    assert (len(counts), set(counts.values())) == (25, {8})


def test_narratives(read: Mapping[str, Read]) -> None:
    found = read["ds002345"]
    story = "milkywayvodka_audio"
    assert clips(found.run("038", "task-milkyway")) == [(0, story, 0, 15), (15, story, 15, 404)]
    pieman = [(0, "pieman_audio", 0, 13), (15, "pieman_audio", 15, 422)]
    assert clips(found.run("010", "task-pieman_run-2")) == pieman
    both = "slumlordreach_audio"
    assert clips(found.run("135", "task-slumlordreach")) == [
        (4.5, both, 0, 22), (29.5, both, 25, 903), (944.5, both, 940, 22), (969.5, both, 965, 825),
    ]  # fmt: skip
    # films between the stories: other files, so each begins at its start
    assert clips(found.run("049", "task-schema_run-1")) == [
        (199.93, "friends_audio", 0, 163), (558.61, "bigbang_audio", 0, 171),
    ]  # fmt: skip
    assert clips(found.run("127", "task-black")) == [(12, "black_audio", 0, 800)]
    n_rows = {f"sub-{label}": sum(stem.startswith(f"sub-{label}") for stem in NARRATIVES) for label in ("049", "127")}
    assert n_rows == {f"sub-{p.label}": len(p.runs) for p in found.dataset.participants if p.label in ("049", "127")}


def test_huth_stories(read: Mapping[str, Read]) -> None:
    found = read["ds003020"]
    (person,) = found.dataset.participants
    assert len(person.runs) == 83 + 10
    assert any("CategoryLocalizer1" in note for note in notes_of(found.dataset))
    for run in person.runs:
        ((onset, track, start, duration),) = clips(run)
        assert (onset, track, start) == (10, run.task, 0)
        assert run.n_volumes == HUTH_VOLUMES[run.task]
        # sound ends 8 to 11 s before the image
        assert 8 < run.duration - onset - duration < 11
    assert clips(found.run("UTS01", "ses-7_task-penpal"))[0][3] == pytest.approx(93670716 / BYTE_RATE, abs=0.01)
    (reading,) = found.readings
    assert {run.task for run in person.runs if run.name in reading.plan.held_out} == {"wheretheressmoke"}
    assert len(reading.plan.held_out) == 10
    assert reading.training_rows == (sum(HUTH_VOLUMES.values()) - 311,)
    assert repeat_rows(reading.folds.rows).n_repeats == 10


def test_petit_prince(read: Mapping[str, Read]) -> None:
    found = read["ds003643"]
    for person in found.dataset.participants:
        language = person.label[:2]
        seconds, volumes = PRINCE[language]
        labels = [f"{run:02d}" for run in PRINCE_RUNS[f"sub-{person.label}"]]
        assert [run.run for run in person.runs] == labels
        separator, onset = ("-", 8) if language == "EN" else ("_", 0)
        for section, run in enumerate(person.runs, start=1):
            track = f"task-lpp{language}_section{separator}{section}"
            assert clips(run) == [(onset, track, 0, seconds[section - 1])]
            assert run.n_volumes == volumes[section - 1]
            assert onset + seconds[section - 1] <= run.duration
    # every run in turn: all other volumes train
    for reading in found.readings:
        volumes = PRINCE[reading.label[:2]][1]
        assert reading.training_rows == tuple(sum(volumes) - n for n in volumes)
    assert any("README" in note for note in notes_of(found.dataset))


def test_hong_kong(read: Mapping[str, Read]) -> None:
    found = read["ds004718"]
    (person,) = found.dataset.participants
    assert [run.run for run in person.runs] == ["1", "2", "3", "4"]
    for run, size in zip(person.runs, HONG_KONG_BYTES, strict=True):
        ((onset, track, start, duration),) = clips(run)
        assert (onset, track, start) == (0, f"task-lppHK_run-{run.run}", 0)
        assert duration == pytest.approx(size / 88200, abs=0.01)
    assert sum(item.clip.duration for run in person.runs for item in run.presentations) == pytest.approx(1170, abs=0.1)
    notes = notes_of(found.dataset)
    assert any("rest" in note for note in notes) and any("not verified" in note for note in notes)


def test_music_structure(read: Mapping[str, Read]) -> None:
    found = read["ds004007"]
    run = found.run("12", "task-listen_run-02")
    assert clips(run)[:2] == [(0, "St_Pauls_Suite", 0, 90), (90, "I_Love_Music", 0, 180)]
    # 89.6 and 88.7 s of sound under rows of 90 and 89 s: they end with silence, and that is told
    assert (1614, "Capriccio_Espagnole", 0, 90) in clips(run) and (449, "Change_of_the_Guard", 0, 89) in clips(run)
    assert any("silence" in note for note in run.row_notes)
    one, two = (Counter(item.clip for item in found.run("12", f"task-listen_run-0{n}").presentations) for n in (1, 2))
    assert one == two and len(one) == 16


def test_chinese_stories(read: Mapping[str, Read]) -> None:
    found = read["ds004078"]
    (person,) = found.dataset.participants
    assert [run.run for run in person.runs] == [str(n) for n in range(1, 61)]
    for run in person.runs:
        assert clips(run) == [(10.65, f"story_{run.run}", 0, story_seconds(int(run.run or 0)))]
        assert any(note.startswith("1 row") and "hurryup.png" in note for note in run.row_notes)
    assert found.run("01", "task-RDR_run-3").presentations[0].clip.audio.parent.name == "audio"


def failure(skeleton: Published, **changes: object) -> str:
    """Why a dataset of one participant is refused."""
    with pytest.raises(BanBidsError) as raised:
        read_dataset(skeleton.settings(**changes))
    return str(raised.value)


def test_a_task_without_rule_is_refused(tmp_path: Path) -> None:
    skeleton = Published(tmp_path / "bids")
    skeleton.describe("any", "doi:10.18112/openneuro.ds003020.v9.9.9", "1.3.0")
    skeleton.tasks(2.0, "CategoryLocalizer1")
    skeleton.image("sub-UTS09_ses-1_task-CategoryLocalizer1_run-1", 150, 2.0)
    message = failure(skeleton)
    assert "no rule" in message and "CategoryLocalizer1" in message


@pytest.mark.parametrize(("key", "name"), [("ds004007", "Finlandia.wav"), ("ds004718", "task-lppHK_run-2.wav")])
@pytest.mark.parametrize("annexed", [False, True])
def test_a_missing_sound_is_named(built: Callable[[str], Published], key: str, name: str, annexed: bool) -> None:
    skeleton = built(key)
    path = skeleton.root / "stimuli" / name
    path.unlink()
    if annexed:
        path.symlink_to(f"../.git/annex/objects/aa/bb/MD5E-s1--0.wav/{name}")
    message = failure(skeleton)
    assert name in message
    assert ("datalad get" in message) == annexed


def test_a_sound_of_the_same_name_elsewhere_is_not_taken(built: Callable[[str], Published]) -> None:
    skeleton = built("ds004078")
    for name in ("story_3.wav",):
        other = skeleton.root / "stimuli" / "old" / name
        other.parent.mkdir()
        (skeleton.root / "stimuli" / "audio" / name).rename(other)
    try:
        dataset = read_dataset(skeleton.settings())
    except BanBidsError as error:
        assert "story_3.wav" in str(error)
    else:
        (person,) = dataset.participants
        assert "3" not in [run.run for run in person.runs]
        assert any("story_3.wav" in note for note in notes_of(dataset))


def test_music_needs_its_folder(built: Callable[[str], Published]) -> None:
    message = failure(built("ds000113"), stimuli_dir=None)
    assert ".wav" in message and "--stimuli-dir" in message


def test_a_lost_run_leaves_open_which_section_was_heard(built: Callable[[str], Published]) -> None:
    skeleton = built("ds003643")
    for path in skeleton.root.glob("sub-EN084/func/*run-13*"):
        path.unlink()
    people = {person.label: person for person in read_dataset(skeleton.settings()).participants}
    reason = people["EN084"].failure or ""
    assert "8 runs" in reason and "9" in reason and "lppEN" in reason
    assert people["CN001"].failure is None and people["FR001"].failure is None


def test_a_sound_much_shorter_than_its_row_is_refused(built: Callable[[str], Published]) -> None:
    skeleton = built("ds004007")
    noise(skeleton.root / "stimuli" / "Change_of_the_Guard.wav", 86.0)
    assert "Change_of_the_Guard.wav" in failure(skeleton)


def test_the_layout_of_narratives_without_its_rules_is_refused(tmp_path: Path) -> None:
    """Without ``start = "continue"`` both rows would be taken for the file's start."""
    skeleton = Published(tmp_path / "bids")
    skeleton.describe("Stories of ours", "doi:10.5555/none", "1.2.1")
    skeleton.tasks(1.5, "pieman")
    skeleton.image("sub-01_task-pieman_run-1", 300, 1.5)
    skeleton.events(
        "sub-01_task-pieman_run-1",
        "onset\tduration\ttrial_type\tstim_file\n0.0\t13.0\tmusic\tp.wav\n15.0\t422.0\tstory\tp.wav\n",
    )
    noise(skeleton.root / "stimuli" / "p.wav", 450.0)
    message = failure(skeleton)
    assert "p.wav" in message and "continue" in message


def test_another_version_or_only_the_name_is_known(tmp_path: Path) -> None:
    skeleton = BUILDERS["ds004007"](tmp_path / "bids")
    path = skeleton.root / "dataset_description.json"
    for doi, known in (("https://doi.org/10.18112/openneuro.ds004007.v7.0.0", True), (None, True), ("10.1/x", False)):
        fields = {"Name": json.loads(path.read_text())["Name"] if known else "other", "BIDSVersion": "1.2.0"}
        path.write_text(json.dumps(fields | ({"DatasetDOI": doi} if doi else {})))
        profile = read_dataset(skeleton.settings()).profile
        assert (profile == "ds004007") is known
