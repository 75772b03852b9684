"""Studies that are scored in seconds: people's BOLD follows the level of noise that they hear, on a coarse grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import soundfile
from fmriprep_phantom import GRID, TEMPLATE, write_image, write_output
from scipy import ndimage

from ban_bids.preprocessing.space.template import template_brain

CLIPS = ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11), (8, 9, 10, 11))
"""What each run plays; the last two repeat each other and are held out."""
RUNS = tuple(f"task-music_run-{run}" for run in range(1, len(CLIPS) + 1))
SECONDS, TR, RATE = 10.0, 1.0, 4000
N_VOLUMES = int(len(CLIPS[0]) * SECONDS / TR)
OPTIONS = ("--model", "logmel", "--controls", "low-level", "--n-permutations", "50", "--voxels", "auditory")


def write_fmriprep_study(root: Path, people: tuple[str, ...] = ("01", "02")) -> tuple[Path, Path]:
    """Write the dataset (events, sounds, headers) and fMRIPrep's output of it; both folders."""
    bids, fmriprep = root / "bids", root / "fmriprep"
    levels = _write_sounds(bids)
    for sub in people:
        write_output(fmriprep, sub, RUNS, n=N_VOLUMES, tr=TR, side={"RepetitionTime": TR, "StartTime": 0.4})
        for run, name in enumerate(RUNS):
            stem = _write_events(bids, sub, run)
            write_image(stem.with_name(f"{stem.name}_bold.nii.gz"), np.zeros((2, 2, 2, N_VOLUMES), np.uint8), tr=TR)
            bold = fmriprep / f"sub-{sub}/func/sub-{sub}_{name}_space-{TEMPLATE}_desc-preproc_bold.nii.gz"
            write_image(bold, _heard(np.full(GRID.shape, 1000.0), levels, sub, run), tr=TR)
    return bids, fmriprep


def write_raw_study(root: Path, people: tuple[str, ...] = ("01",)) -> Path:
    """Write a dataset of BOLD images alone, the template's brain at 6 mm; its folder."""
    bids, brain = root / "bids", nib.load(template_brain())
    levels = _write_sounds(bids)
    grey = np.where(brain.get_fdata() > 1, 130.0 - brain.get_fdata(), 0.0)
    grey = 8 * ndimage.gaussian_filter(grey, 2.0)[::6, ::6, ::6]
    for sub in people:
        for run in range(len(RUNS)):
            stem = _write_events(bids, sub, run)
            affine = brain.affine @ np.diag([6.0, 6, 6, 1])
            write_image(stem.with_name(f"{stem.name}_bold.nii.gz"), _heard(grey, levels, sub, run), affine, TR)
    return bids


def _write_sounds(bids: Path) -> dict[int, np.ndarray]:
    """Noise with a level of its own in every second; the levels."""
    (bids / "stimuli").mkdir(parents=True)
    (bids / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    (bids / "task-music_bold.json").write_text(f'{{"RepetitionTime": {TR}, "TaskName": "music"}}')
    rng = np.random.default_rng(0)
    levels = {clip: rng.uniform(0.05, 0.9, int(SECONDS)) for run in CLIPS for clip in run}
    for clip, level in levels.items():
        noise = np.repeat(level, RATE) * rng.uniform(-0.5, 0.5, int(SECONDS) * RATE)
        soundfile.write(bids / f"stimuli/{clip}.wav", noise, RATE, subtype="PCM_16")
    return levels


def _write_events(bids: Path, sub: str, run: int) -> Path:
    stem = bids / f"sub-{sub}/func/sub-{sub}_{RUNS[run]}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    clips = (f"{k * SECONDS:g}\t{SECONDS:g}\t{clip}.wav" for k, clip in enumerate(CLIPS[run]))
    stem.with_name(f"{stem.name}_events.tsv").write_text("\n".join(["onset\tduration\tstim_file", *clips, ""]))
    return stem


def _heard(image: np.ndarray, levels: dict[int, np.ndarray], sub: str, run: int) -> np.ndarray:
    """A series of an image that brightens with what was played 5 s before, and noise of its own."""
    played = np.concatenate([levels[clip] for clip in CLIPS[run]])
    response = np.interp(TR * (np.arange(N_VOLUMES) + 0.5) - 5.0, np.arange(len(played)) + 0.5, played)
    noise = np.random.default_rng([int(sub), run]).normal(0, 0.01, (*image.shape, N_VOLUMES))
    return (image[..., None] * (1 + 0.2 * response + noise)).astype(np.float32)


def options(root: Path) -> list[str]:
    """Options of a quick call for a study in ``root``."""
    return [*OPTIONS, "-d", f"fmriprep={root / 'fmriprep'}"]


def results(out: Path) -> dict[str, bytes]:
    """Every image, table and sidecar; logs and pages tell times."""
    files = (path for path in out.rglob("*") if path.is_file() and path.suffix in (".gz", ".tsv", ".json", ".npz"))
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in files
        if path.relative_to(out).parts[0] not in ("work", "logs")
    }


def same(one: Path, other: Path, *parts: str) -> None:
    """See that two outputs hold the same, byte for byte; ``parts`` are beginnings of names that alone are compared."""
    found, expected = (
        {name: content for name, content in results(out).items() if not parts or name.startswith(parts)}
        for out in (one, other)
    )
    assert found.keys() == expected.keys() and len(found) > 20
    assert [name for name in found if found[name] != expected[name]] == []
