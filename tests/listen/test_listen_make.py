"""An experiment holds the clips of the held-out runs as models hear them, and tells nobody what they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_listening import GENRES, RATE, SECONDS, START, make_dataset, of, write_events, write_sound

from ban_bids.cli.listen import main
from ban_bids.errors import DataError, UsageError
from ban_bids.inputs.events import Row
from ban_bids.inputs.heldout import held_out_plan
from ban_bids.inputs.read import read_dataset
from ban_bids.inputs.rule_files import read_rules
from ban_bids.inputs.stimuli import Stimuli
from ban_bids.listen import make
from ban_bids.listen.experiment import Experiment, Layout, read_experiment, read_people
from ban_bids.listen.make import Request, make_experiment
from ban_bids.listen.schedule import trials
from ban_bids.listen.server import open_desk
from ban_bids.settings import Settings

SMALL = Request(people=2, repeats=1, checks=1, practice=2)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "bids")


def made(dataset: Path, request: Request = SMALL, **options: Path) -> tuple[Layout, Experiment]:
    layout = Layout(dataset.parent / "experiment")
    make_experiment(dataset, layout.root, request, **options)
    return layout, read_experiment(layout)


def files(experiment: Experiment) -> set[str]:
    return {clip.stim_file for clip in experiment.clips}


def write_profile(dataset: Path, text: str, name: str = "code/ban_bids_profile.toml") -> Path:
    path = dataset / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'name = "own"\n{text}')
    return path


# --- which clips


def test_clips_are_those_that_ban_bids_holds_out(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "bids", images=True)
    _, experiment = made(dataset)
    out = tmp_path / "out"
    settings = Settings.of(dataset, out, "participant", work_dir=out / "work")  # type: ignore[arg-type]
    person = read_dataset(settings).participants[0]
    held_out = held_out_plan(person, settings.selection).held_out
    wanted = {clip for run in person.runs if run.name in held_out for clip in run.clips}
    assert {clip.audio.name for clip in wanted} == {f"{track}.wav" for track in of(2)}
    assert files(experiment) == {clip.audio.name for clip in wanted}
    # what is written of a clip leads back to the very same clip
    stimuli = Stimuli([dataset / "stimuli"])
    for clip in experiment.clips:
        cells = {
            "stim_file": clip.stim_file, "stim_start": str(clip.start), "duration": str(clip.duration),
            "genre": clip.genre,
        }  # fmt: skip
        found = stimuli.clip(Row(Path("beh.tsv"), 2, cells))
        assert found in wanted
        assert found is not None and found.genre == clip.genre == clip.stim_file.split(".")[0]


def test_no_image_is_needed(dataset: Path) -> None:
    _, experiment = made(dataset)
    assert not list(dataset.rglob("*.nii*"))
    assert files(experiment) == {f"{track}.wav" for track in of(2)}
    assert {(clip.start, clip.duration) for clip in experiment.clips} == {(START, SECONDS)}
    assert experiment.choices == GENRES


def test_practice_is_of_other_recordings_and_of_several_genres(dataset: Path) -> None:
    for seed in range(5):
        layout = Layout(dataset.parent / f"experiment{seed}")
        make_experiment(dataset, layout.root, replace(SMALL, practice=3, seed=seed))
        practice = read_experiment(layout).practice
        assert {clip.genre for clip in practice} == set(GENRES)
        assert not {clip.stim_file for clip in practice} & {f"{track}.wav" for track in of(2)}


def test_less_practice_than_asked_for_is_told(dataset: Path) -> None:
    said = make_experiment(dataset, dataset.parent / "a", replace(SMALL, practice=9))
    assert "Note: 6 of 9 practice clips" in said
    assert "Note" not in make_experiment(dataset, dataset.parent / "b", replace(SMALL, practice=6))


def test_all_participants_count(dataset: Path) -> None:
    for run, tracks in ((1, of(0)), (2, of(2)), (3, of(1) * 2)):
        write_events(dataset, run, tracks, sub="02")
    _, experiment = made(dataset)
    assert files(experiment) == {f"{track}.wav" for track in (*of(1), *of(2))}
    # held out for the one is heard in training by the other: no clip for practice
    assert not {clip.stim_file for clip in experiment.practice} & files(experiment)


def test_lead_ins_are_not_judged(dataset: Path) -> None:
    # the first clip of run 3 fills its start: it is the last one of run 2
    write_events(dataset, 3, [of(1)[-1], *of(2), *of(2)])
    _, experiment = made(dataset)
    assert f"{of(1)[-1]}.wav" in files(experiment)
    write_profile(dataset, '[lead_in]\nrule = "first-repeats-last"\n')
    make_experiment(dataset, dataset.parent / "without", SMALL)
    assert files(read_experiment(Layout(dataset.parent / "without"))) == {f"{track}.wav" for track in of(2)}


def test_names_of_clips_tell_nothing(dataset: Path) -> None:
    layout, experiment = made(dataset)
    names = [clip.id for clip in (*experiment.clips, *experiment.practice)]
    assert {path.stem for path in (layout.root / "clips").iterdir()} == {"soundcheck", *names}
    assert names == ["clip-001", "clip-002", "clip-003", "practice-1", "practice-2"]
    orders = set()
    for seed in range(20):
        one = Layout(dataset.parent / f"e{seed}")
        make_experiment(dataset, one.root, replace(SMALL, seed=seed))
        orders.add(tuple(clip.genre for clip in read_experiment(one).clips))
    assert len(orders) > 3, "numbers follow an order of the genres"


def test_the_same_seed_makes_the_same_experiment_with_other_codes(dataset: Path) -> None:
    first, second = (Layout(dataset.parent / name) for name in ("first", "second"))
    for layout in (first, second):
        make_experiment(dataset, layout.root, SMALL)
    assert first.experiment.read_bytes() == second.experiment.read_bytes()
    assert not set(read_people(first).values()) & set(read_people(second).values())


# --- a table of clips


def write_clips(dataset: Path, text: str) -> Path:
    path = dataset.parent / "clips.tsv"
    path.write_text(text)
    return path


def test_a_table_of_clips_comes_instead(dataset: Path) -> None:
    table = write_clips(
        dataset,
        "stim_file\tstart\tduration\tgenre\tkind\n"
        "blues.00000.wav\t0.25\t1\tblues\tn/a\n"
        "rock.00001.wav\tn/a\tn/a\trock\tmain\n"
        "jazz.00001.wav\t1\t2\tjazz\tpractice\n",
    )
    _, experiment = made(dataset, replace(SMALL, choices=("rock", "blues", "jazz")), clips=table)
    found = {(one.stim_file, one.start, one.duration, one.genre) for one in experiment.clips}
    assert found == {("blues.00000.wav", 0.25, 1.0, "blues"), ("rock.00001.wav", 0.0, 3.0, "rock")}
    assert [(one.id, one.stim_file, one.start) for one in experiment.practice] == [
        ("practice-1", "jazz.00001.wav", 1.0)
    ]
    assert experiment.choices == ("rock", "blues", "jazz")


@pytest.mark.parametrize(("choices", "genre"), [((), "Blues"), (("rock", "BLUES", "jazz"), "BLUES")])
def test_spellings_of_one_genre_are_one_choice(dataset: Path, choices: tuple[str, ...], genre: str) -> None:
    # they count as one answer: with a button for each, people would be asked which of two same things they heard
    names = ("Blues", "blues", "Rock", "jazz")
    sounds = ("blues.00000", "blues.00001", "rock.00001", "jazz.00001")
    rows = "".join(f"{sound}.wav\t{name}\tmain\n" for sound, name in zip(sounds, names))
    table = write_clips(dataset, f"stim_file\tgenre\tkind\n{rows}jazz.00002.wav\tJazz\tpractice\n")
    _, experiment = made(dataset, replace(SMALL, choices=choices), clips=table)
    assert experiment.choices == (choices or ("Blues", "Rock", "jazz"))
    assert [one.genre for one in experiment.clips if "blues" in one.stim_file] == [genre, genre]
    assert [one.genre for one in experiment.practice] == ["jazz"]


def test_choices_that_count_as_one_answer_are_refused(dataset: Path) -> None:
    with pytest.raises(UsageError, match="--choices .*hip hop.*count as the same answer"):
        made(dataset, replace(SMALL, choices=("blues", "jazz", "rock", "Hip-Hop", "hip hop")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\tgenre\nblues.00000.wav\tblues\n", "no column stim_file"),
        ("stim_file,genre\nblues.00000.wav,blues\n", "separated by commas"),
        ("stim_file\tgenre\nn/a\tblues\n", "line 2: stim_file is n/a"),
        ("stim_file\tgenre\n../secret.wav\tblues\n", "inside the stimuli folder"),
        ("stim_file\tgenre\nnothing.wav\tblues\n", "nothing.wav not found"),
        ("stim_file\tgenre\nblues.00000.wav\tn/a\n", "genre is not given"),
        ("stim_file\tgenre\n", "no clip to judge"),
        ("stim_file\tgenre\tkind\nblues.00000.wav\tblues\tpractice\n", "no clip to judge"),
        ("stim_file\tgenre\tstart\tduration\nblues.00000.wav\tblues\t2\t2\n", "outside"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(dataset: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        made(dataset, clips=write_clips(dataset, text))
    assert not (dataset.parent / "experiment").exists()


# --- sounds


def expected_sound(path: Path, fade: float, rms: float | None) -> np.ndarray:
    """The excerpt, channels averaged, with sine-squared ramps, scaled: written anew."""
    samples, rate = soundfile.read(path)
    mono = samples.mean(axis=1)[round(START * rate) : round((START + SECONDS) * rate)]
    n = round(fade * rate)
    for k in range(n):
        gain = np.sin(np.pi / 2 * (k + 0.5) / n) ** 2
        mono[k] *= gain
        mono[-1 - k] *= gain
    return mono if rms is None else mono * rms / np.sqrt((mono**2).mean())


@pytest.mark.parametrize(("fade", "rms"), [(0.0, None), (0.25, 0.05)])
def test_clips_sound_as_models_hear_them(dataset: Path, fade: float, rms: float | None) -> None:
    if rms is not None:
        write_profile(dataset, f"[stimuli]\nfade = {fade}\nrms = {rms}\n")
    layout, experiment = made(dataset)
    for clip in experiment.clips:
        found, rate = soundfile.read(layout.clip(clip.id))
        assert rate == RATE and found.ndim == 1
        wanted = expected_sound(dataset / "stimuli" / clip.stim_file, fade, rms)
        np.testing.assert_allclose(found, wanted, atol=1 / 32767)


def test_a_profile_may_be_given(dataset: Path, tmp_path: Path) -> None:
    write_profile(dataset, "[stimuli]\nrms = 0.2\n")
    given = write_profile(dataset.parent, "[stimuli]\nrms = 0.05\n", "given.toml")
    layout, experiment = made(dataset, profile=given)
    found, _ = soundfile.read(layout.clip(experiment.clips[0].id))
    assert np.sqrt((found**2).mean()) == pytest.approx(read_rules(given).rules[0].rms, rel=1e-3)


def test_a_level_that_would_clip_is_lowered_for_all_alike(dataset: Path) -> None:
    write_profile(dataset, "[stimuli]\nrms = 0.5\n")
    layout = Layout(dataset.parent / "experiment")
    said = make_experiment(dataset, layout.root, SMALL)
    experiment = read_experiment(layout)
    factors, peaks, loudest = [], [], 0.0
    for clip in (*experiment.clips, *experiment.practice):
        found, _ = soundfile.read(layout.clip(clip.id))
        wanted = expected_sound(dataset / "stimuli" / clip.stim_file, 0.0, 0.5)
        factors.append(float(found @ wanted / (wanted @ wanted)))
        peaks.append(np.abs(found).max())
        loudest = max(loudest, np.abs(wanted).max())
    assert loudest > 1, "the test means to clip"
    assert max(peaks) == pytest.approx(0.99, abs=1e-3)
    np.testing.assert_allclose(factors, 0.99 / loudest, rtol=1e-3)
    assert f"{20 * np.log10(loudest / 0.99):.1f} dB quieter" in said


@pytest.mark.parametrize(("own", "written"), [(4000, 44100), (8000, 8000), (48000, 48000), (96000, 44100)])
def test_browsers_get_a_rate_that_they_play(dataset: Path, own: int, written: int) -> None:
    for track in of(2):
        write_sound(dataset / "stimuli" / f"{track}.wav", rate=own)
    layout, experiment = made(dataset)
    info = soundfile.info(layout.clip(experiment.clips[0].id))
    assert (info.samplerate, info.channels, info.subtype) == (written, 1, "PCM_16")
    assert info.duration == pytest.approx(SECONDS, abs=1e-4)


def test_the_sound_check_is_as_loud_as_the_clips(dataset: Path) -> None:
    layout, experiment = made(dataset)
    melody, rate = soundfile.read(layout.clip("soundcheck"))
    clips = [soundfile.read(layout.clip(one.id))[0] for one in (*experiment.clips, *experiment.practice)]
    assert np.sqrt((melody**2).mean()) == pytest.approx(
        np.median([np.sqrt((one**2).mean()) for one in clips]), rel=0.01
    )
    assert 1 < len(melody) / rate < 5
    assert np.abs(melody).max() < 1
    assert max(abs(melody[0]), abs(melody[-1])) < 0.001, "no clicks"


def test_silence_is_refused(dataset: Path) -> None:
    write_sound(dataset / "stimuli" / "rock.00002.wav", level=0.0)
    with pytest.raises(DataError, match=r"rock\.00002\.wav: silent"):
        made(dataset)
    assert not (dataset.parent / "experiment").exists()


def test_sounds_may_lie_elsewhere(dataset: Path) -> None:
    elsewhere = dataset.parent / "sounds" / "inner"
    elsewhere.parent.mkdir()
    (dataset / "stimuli").rename(elsewhere)
    with pytest.raises(DataError, match="--stimuli-dir"):
        made(dataset)
    _, experiment = made(dataset, stimuli_dir=elsewhere.parent)
    assert files(experiment) == {f"inner/{track}.wav" for track in of(2)}


# --- people and folder


def test_everybody_gets_a_code_of_their_own(dataset: Path) -> None:
    layout, _ = made(dataset, replace(SMALL, people=30))
    people = read_people(layout)
    assert list(people) == [f"listener{k:02d}" for k in range(1, 31)]
    assert len(set(people.values())) == 30
    assert min(map(len, people.values())) == 16


def test_new_people_are_none_of_the_dataset(dataset: Path) -> None:
    for label in ("listener01", "Listener03"):
        (dataset / f"sub-{label}" / "beh").mkdir(parents=True)
    layout, _ = made(dataset, replace(SMALL, people=3))
    assert list(read_people(layout)) == ["listener02", "listener04", "listener05"]


def test_labels_may_be_given(dataset: Path) -> None:
    layout, _ = made(dataset, replace(SMALL, participants=("01", "sub-02")))
    assert list(read_people(layout)) == ["01", "02"]


def test_what_was_made_can_be_served(dataset: Path) -> None:
    layout, experiment = made(dataset)
    desk = open_desk(layout.root)
    assert desk.experiment == experiment
    assert desk.schedules["listener01"] == trials(experiment, "listener01")
    assert (experiment.repeats, experiment.checks, experiment.confidence) == (1, 1, False)


def test_nothing_is_written_into_the_dataset(dataset: Path) -> None:
    def tree() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in dataset.rglob("*")}

    before = tree()
    made(dataset)
    assert tree() == before


def test_a_folder_is_made_whole_or_not_at_all(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "write_experiment", broken)
    with pytest.raises(KeyboardInterrupt):
        made(dataset)
    assert [path.name for path in dataset.parent.iterdir()] == ["bids"]


WRONG = {
    "repeats": (replace(SMALL, repeats=4), "--repeats 4: 3 clips"),
    "checks": (replace(SMALL, checks=4), "--checks 4: 3 clips"),
    "one choice": (replace(SMALL, choices=("rock",)), "is no choice"),
    "choice twice": (replace(SMALL, choices=(*GENRES, "rock")), "--choices"),
    "a genre cannot be chosen": (replace(SMALL, choices=("rock", "blues")), "'jazz' cannot be chosen"),
    "missing in a table": (replace(SMALL, choices=(*GENRES, "n/a")), "--choices"),
    "task": (replace(SMALL, task="a_b"), "task 'a_b'"),
    "people twice": (replace(SMALL, participants=("A", "a")), "--participants A a"),
    "a path": (replace(SMALL, participants=("../a",)), "--participants"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_request_that_does_not_fit_is_refused(dataset: Path, name: str) -> None:
    request, message = WRONG[name]
    with pytest.raises(UsageError, match=message):
        made(dataset, request)
    assert [path.name for path in dataset.parent.iterdir()] == ["bids"]


def test_as_many_repeats_and_checks_as_clips_are_allowed(dataset: Path) -> None:
    _, experiment = made(dataset, replace(SMALL, repeats=3, checks=3))
    assert len(trials(experiment, "anna")) == 2 + 3 + 3 + 3


def test_a_folder_that_holds_something_is_refused(dataset: Path) -> None:
    out = dataset.parent / "experiment"
    out.mkdir()
    made(dataset)
    with pytest.raises(UsageError, match="something is there"):
        made(dataset)
    with pytest.raises(UsageError, match="lies in the dataset"):
        make_experiment(dataset, dataset / "code" / "experiment", SMALL)


def test_events_without_clips_or_genres_are_refused(dataset: Path) -> None:
    write_events(dataset, 3, of(2) * 2, genre=False)
    with pytest.raises(DataError, match="genre is not given"):
        made(dataset)
    for path in dataset.rglob("*_events.tsv"):
        path.write_text("onset\tduration\n0\t1\n")
    with pytest.raises(DataError, match="no clip to judge"):
        made(dataset)
    with pytest.raises(UsageError, match="no such folder"):
        make_experiment(dataset / "nothing", dataset.parent / "out", SMALL)


def test_the_command_line(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = dataset.parent / "experiment"
    options = ["--people", "2", "--repeats", "2", "--checks", "0", "--practice", "1", "--confidence", "--seed", "5"]
    command = ["make", str(dataset), str(out), "--choices", "rock", "jazz", "blues", *options]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert all(code in said for code in read_people(Layout(out)).values())
    assert f"ban-bids-listen serve {out}" in said
    assert "3 clips, 3 choices (rock, jazz, blues), 6 trials per person" in said
    content = json.loads((out / "experiment.json").read_text())
    wanted = {"choices": ["rock", "jazz", "blues"], "repeats": 2, "checks": 0, "confidence": True, "seed": 5}
    assert {name: content[name] for name in wanted} == wanted
    assert main(command) == 2
    assert "something is there" in capsys.readouterr().err
