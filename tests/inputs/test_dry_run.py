"""What a person reads before a long run: clips, reasons, what is missing; short for a thousand people, and honest."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_datasets import Toy, write_bold
from test_missing_files import unfetch

from ban_bids.cli import run as cli
from ban_bids.inputs.describe import describe_files
from ban_bids.inputs.heldout import held_out_plan
from ban_bids.inputs.read import read_dataset


def dry_run(toy: Toy, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[str], str]:
    """Status, lines of stdout, stderr."""
    status = cli.main([str(toy.root), str(toy.root.parent / "out"), "participant", "--dry-run", *options])
    printed = capsys.readouterr()
    return status, printed.out.splitlines(), printed.err


def test_first_clips_and_why_runs_are_held_out(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        (k * 3.5, f"{genre}.0000{k % 2}.wav") for k, genre in enumerate(("rock", "disco", "rock", "disco", "blues"))
    ]
    for run in (1, 2):
        toy.events(run, "".join(f"{onset}\t3.5\tx\t{name}\t{run}\n" for onset, name in rows))
    status, lines, errors = dry_run(toy, capsys, "--participant-label", "01", "--test-runs", "3")
    assert status == 0 and errors == ""
    place = lines.index("  task-music_run-2")
    assert [line.split() for line in lines[place + 4 : place + 7]] == [
        ["at", f"{onset:.2f}", "s", f"stimuli/{name}", "2", "to", "5.5", "s"] for onset, name in rows[:3]
    ]
    assert lines[place + 7].split() == ["and", "2", "more,", "the", "last", "to", "17.5", "s"]
    assert "  task-music_run-3 [held out]" in lines
    rule = held_out_plan(read_dataset(toy.settings()).participants[0], toy.settings(test_runs=("3",)).selection).rule
    assert f"    why: {rule}" in lines
    assert lines[-1] == "Participants that can be used: 1 of 1"


def test_without_images_and_sounds_all_is_told_and_the_status_is_that_of_data(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    _, whole, _ = dry_run(toy, capsys)
    for path in (*toy.root.rglob("*.nii.gz"), *toy.root.rglob("*.wav")):
        unfetch(path)
    status, lines, errors = dry_run(toy, capsys)
    assert status == 65 and errors == ""
    # the same clips and the same plan, beside the remark that their files are missing
    clips = [line for line in whole if line.startswith("      at ")]
    assert clips and [line.removesuffix("  (MISSING)") for line in lines if line.startswith("      at ")] == clips
    assert [line for line in whole if "why:" in line] == [line for line in lines if "why:" in line]
    assert "Missing files: 14" in lines
    command = f"    cd {toy.root} && datalad get stimuli/*.wav sub-*/anat/*_T1w.nii.gz sub-*/func/*_bold.nii.gz"
    assert command in lines
    assert not any("not in the dataset" in line for line in lines)
    assert lines[-1] == "Participants that can be used: 0 of 2"
    assert sum("CANNOT BE USED" in line for line in lines) == 1 and any("sub-02: as sub-01" in line for line in lines)


def test_status_where_somebody_can_be_used(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    gone = unfetch(toy.func(2, "bold.nii.gz"))
    status, lines, _ = dry_run(toy, capsys)
    assert status == 0 and lines[-1] == "Participants that can be used: 1 of 2"
    assert f"    {gone.relative_to(toy.root)}" in lines
    assert dry_run(toy, capsys, "--participant-label", "01")[0] == 65


def test_damage_of_everybody_is_described_not_thrown(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    for sub in ("01", "02"):
        (toy.root / f"sub-{sub}" / "anat" / f"sub-{sub}_T1w.nii.gz").write_bytes(b"")
    status, lines, errors = dry_run(toy, capsys)
    assert status == 65 and errors == ""
    assert sum("T1w.nii.gz: empty file" in line for line in lines) == 1 and "sub-02: as sub-01" in lines


def test_options_that_hold_out_everything_leave_nobody(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, _ = dry_run(toy, capsys, "--test-task", "music")
    assert status == 65
    assert any("leave some to train on" in line for line in lines)


def test_unknown_test_runs_are_told_before_images_are_opened(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    for path in toy.root.rglob("*.nii.gz"):
        unfetch(path)
    status, _, errors = dry_run(toy, capsys, "--test-runs", "7")
    assert status == 2 and "--test-runs 7: no such run; there are: task-music_run-1" in errors


@pytest.fixture
def crowd(toy: Toy) -> Toy:
    """Thirty participants: as the first, but that every third hears another order."""
    for number in range(3, 31):
        label = f"sub-{number:02d}"
        for path in sorted((toy.root / "sub-01").rglob("*.*")):
            copy = toy.root / label / path.parent.name / path.name.replace("sub-01", label)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        if number % 3 == 0:
            names = [f"{genre}.0000{number % 2}.wav" for genre in ("rock", "disco")]
            rows = "".join(f"{8 * k}\t8\tx\t{name}\t{number / 10}\n" for k, name in enumerate(names))
            toy.events(1, rows, sub=f"{number:02d}")
    return toy


def test_many_participants_are_few_lines_unless_all_is_asked_for(
    crowd: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    _, lines, _ = dry_run(crowd, capsys)
    assert len([line for line in lines if line.startswith("  task-music_run-1")]) == 3
    assert len(lines) < 120
    # everybody is counted somewhere: described, or like another, or in one line
    named = {word.strip(",:") for line in lines for word in line.split() if word.startswith("sub-") and "/" not in word}
    assert {"sub-01", "sub-03", "sub-06"} <= named
    assert lines[-1] == "Participants that can be used: 30 of 30"
    _, every, _ = dry_run(crowd, capsys, "-v")
    assert len([line for line in every if line.startswith("  task-music_run-1")]) == 30
    files = {str(path) for path in crowd.root.rglob("*") if path.is_file()}
    assert {line.strip() for line in every if line.strip() in files} == files


def test_notes_stand_beside_what_they_are_on_and_once(toy: Toy) -> None:
    settings = toy.settings()
    dataset = read_dataset(settings)
    person = dataset.participants[0]
    note = "12 rows name no sound (cross.png, ...): passed over"
    first, *others = person.runs
    noted = replace(
        person,
        runs=(replace(first, row_notes=(note,)), *others),
        notes=(f"{first.name}: {note}", "field maps found"),
    )
    text = describe_files(replace(dataset, participants=(noted, *dataset.participants[1:])), settings.models)
    assert text.count(note) == 1
    block = text.split(f"  {first.name}")[1].split(f"  {others[0].name}")[0]
    assert f"    {note}" in block
    assert text.count("  Note: field maps found") == 1


def test_reading_folds_notes_on_rows_into_the_participants(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from ban_bids.inputs import read

    hear = read.hear_runs

    def noted(*args: object, **kwargs: object) -> object:
        runs, *rest = hear(*args, **kwargs)  # type: ignore[arg-type]
        return (tuple(replace(run, row_notes=("2 rows name no sound: passed over",)) for run in runs), *rest)

    monkeypatch.setattr(read, "hear_runs", noted)
    [note] = read_dataset(toy.settings()).participants[0].notes
    assert note.startswith("task-music_run-1: 2 rows name no sound: passed over (and 2 more: task-music_run-2")


def test_sessions_and_a_lone_image(toy: Toy, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_bold(toy.func(4, "bold.nii.gz"), (2, 2, 2, 10))
    _, lines, _ = dry_run(toy, capsys, "--participant-label", "01")
    [note] = [line for line in lines if line.startswith("  Note: ")]
    assert "left out" in note and "run-4" in note and "no events.tsv" in note


def test_which_weights_would_be_used(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*options: str) -> list[str]:
        return [line for line in dry_run(toy, capsys, *options)[1] if line.startswith("Model: ")]

    assert told() == ["Model: ban, small-data weights that come with ban-bids"]
    assert told("--model", "crnn") == ["Model: crnn, no weights given (--model NAME=WEIGHTS or --gtzan-dir)"]
    folder = toy.root / "stimuli"
    assert told("--gtzan-dir", str(folder)) == [f"Model: ban, trained first on {folder}, where its kind is trained"]
