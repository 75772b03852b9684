"""The line that fetches missing files names all of them and no other missing file, as a shell understands it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ban_bids.inputs.fetch import compact, describe_missing, fetch_commands, shell_word
from ban_bids.inputs.missing import MissingFile, missing_file

FOLDERS = ("sub-01/func", "sub-02/func", "sub-01/ses-a/func", "stimuli", "stimuli/my songs", "stimuli/[x]")
NAMES = (
    "sub-01_task-music_run-1_bold.nii.gz",
    "sub-01_task-music_run-2_bold.nii.gz",
    "sub-01_task-rest_bold.nii.gz",
    "it's a song.wav",
    "a.wav",
    "b*.wav",
    "[ab].wav",
    "$HOME & co.mp3",
)


def unfetch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(Path("/nowhere/.git/annex/objects") / path.name)


def expanded(words: str, folder: Path) -> set[str]:
    """What bash makes of the words, in a folder."""
    command = ["bash", "-c", f"printf '%s\\0' {words}"]
    found = subprocess.run(command, cwd=folder, capture_output=True, check=True, env={"PATH": os.environ["PATH"]})
    return set(found.stdout.decode().split("\0")[:-1])


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)), st.sampled_from("wuf"), min_size=1))
def test_patterns_fit_the_missing_files_and_no_other(states: dict[tuple[str, str], str]) -> None:
    """Files that are wanted, unfetched but not wanted, or fetched."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = {state: [root / place / name for (place, name), s in states.items() if s == state] for state in "wuf"}
        for path in (*paths["w"], *paths["u"]):
            unfetch(path)
        for path in paths["f"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"abc")
        found = compact(paths["w"], root)
        assert sum(n for _, n in found) == len(paths["w"])
        if found:
            named = expanded(" ".join(shell_word(pattern) for pattern, _ in found), root)
            assert {str(path.relative_to(root)) for path in paths["w"]} <= named
            assert not named & {str(path.relative_to(root)) for path in paths["u"]}


def missing(paths: list[Path]) -> list[MissingFile]:
    return [file for path in sorted(paths) if (file := missing_file(path)) is not None]


def test_many_participants_are_few_words(tmp_path: Path) -> None:
    paths = [
        tmp_path / f"sub-{sub:02d}" / "func" / f"sub-{sub:02d}_task-music_run-{run}_bold.nii.gz"
        for sub in range(20)
        for run in range(3)
    ]
    for path in paths:
        unfetch(path)
    assert fetch_commands(missing(paths), tmp_path) == [f"cd {tmp_path} && datalad get sub-*/func/*_bold.nii.gz"]
    # another task, which nobody asked for
    unfetch(tmp_path / "sub-03" / "func" / "sub-03_task-rest_bold.nii.gz")
    assert fetch_commands(missing(paths), tmp_path) == [
        f"cd {tmp_path} && datalad get 'sub-*/func/*_task-music_*bold.nii.gz'".replace("'", "")
    ]
    # one participant of many
    own = [path for path in paths if "sub-03" in path.name]
    assert fetch_commands(missing(own), tmp_path)[0].endswith(
        "get " + " ".join(str(p.relative_to(tmp_path)) for p in own)
    )


def test_programs_and_folders_have_a_line_each(tmp_path: Path) -> None:
    root, songs = tmp_path / "my dataset", tmp_path / "songs"
    (songs / ".git").mkdir(parents=True)
    unfetch(root / "stimuli" / "a.wav")
    unfetch(songs / "rock" / "b.wav")
    pointer = root / "stimuli" / "c.wav"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    (root / "gone.wav").symlink_to("/not/there.wav")
    files = missing([root / "stimuli" / "a.wav", songs / "rock" / "b.wav", pointer, root / "gone.wav", root / "no.wav"])
    assert sorted(fetch_commands(files, root)) == [
        f"cd '{root}' && datalad get stimuli/a.wav",
        f"cd '{root}' && git lfs pull --include=stimuli/c.wav",
        f"cd {songs} && datalad get rock/b.wav",
    ]
    text = "\n".join(describe_missing(files, root))
    fetched, lost = text.split("not in the dataset (2)")
    assert "a.wav" in fetched and "gone.wav" not in fetched
    assert "gone.wav" in lost and "/not/there.wav" in lost and "no.wav" in lost


@pytest.mark.parametrize("everything", [False, True])
def test_long_lists_are_cut_unless_all_is_asked_for(tmp_path: Path, everything: bool) -> None:
    files = [MissingFile(tmp_path / f"track{n:03d}.wav", f"track{n:03d} not found", "") for n in range(300)]
    lines = list(describe_missing(files, tmp_path, everything=everything))
    assert ("track299.wav" in "\n".join(lines)) == everything
    assert (len(lines) > 300) == everything
    assert any("(300)" in line for line in lines)
