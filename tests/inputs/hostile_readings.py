"""Inputs that can be misread in silence: what must be told of each, or what must be read all the same."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import soundfile
from hostile_catalogue import HEADER, Case, Spoil, Toy, Use, stored, weights

Content = str | bytes | Callable[[], bytes] | None
"""Of a file; None: it is not there."""

_FUNC = "sub-01/func/sub-01_task-music_run-1"
_EVENTS, _SIDECAR, _BOLD = f"{_FUNC}_events.tsv", f"{_FUNC}_bold.json", f"{_FUNC}_bold.nii.gz"
_T1W, _BEH = "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/beh/sub-01_task-music_beh.tsv"
_ROW, _NEXT = "0\t8\tblues\tblues.00000.wav\t1.5\n", "8\t8\tblues\tblues.00001.wav\tn/a\n"
_GOOD = HEADER + _ROW + _NEXT
_READ = r"run-1 from 1 every 2: 0\+8 blues.00000.wav@1.5, 8\+8 blues.00001.wav@0$"


def dry(toy: Toy) -> object:
    """What ``--dry-run`` does; then the sounds of participant 01 are rendered, what that says is a note."""
    from ban_bids.audio.waveforms import render_clip
    from ban_bids.errors import BanBidsError
    from ban_bids.inputs.derivatives import with_checked_derivatives
    from ban_bids.inputs.describe import describe_files
    from ban_bids.inputs.read import read_dataset

    settings = toy.settings()
    dataset = with_checked_derivatives(read_dataset(settings, keep_unusable=True), settings)
    describe_files(dataset, settings.models, everything=True)
    try:
        for run in dataset.participants[0].runs[:1]:
            for clip in run.clips:
                render_clip(clip)
    except BanBidsError as error:
        return replace(dataset, notes=(*dataset.notes, str(error)))
    return dataset


def _files(files: Mapping[str, Content]) -> Spoil:
    def spoil(toy: Toy) -> None:
        for name, content in files.items():
            path = toy.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            made = content() if callable(content) else content
            if made is not None:
                path.write_bytes(made.encode("utf-8", "surrogatepass") if isinstance(made, str) else made)

    return spoil


def _one(kind: str, name: str, files: Mapping[str, Content], told: str, **more: Any) -> Case:
    """A case of some files; what must be read, where nothing need be told, begins with ``=``."""
    wanted = {"read": told[1:]} if told.startswith("=") else {"told": told}
    return Case(kind, name, _files(files), more.get("use", dry), more.get("alone", True), **wanted)


# --- tables

_SPELT = ("Onset", "Duration", "Stim_File", "Stim_Start", "stim start", "stim-start", "onset (s)", "duration [ms]")


def _spelt(name: str) -> str:
    right = name.partition("(")[0].partition("[")[0].strip().lower().replace(" ", "_").replace("-", "_")
    return HEADER.replace(right, name)


def _events() -> Iterator[Case]:
    ends = HEADER + _ROW
    tables: dict[str, tuple[str | bytes, str]] = {
        "a quoted cell over two lines": (f'{ends}8\t8\t"bl\nues"\tblues.00001.wav\t0\n', "line 3.*one line"),
        "a row with blanks": (ends + "8  8  blues  blues.00001.wav  0\n", "line 3.*by blanks"),
        "a row with commas": (ends + "8,8,blues,blues.00001.wav,0\n", "line 3.*by commas"),
        "a row with semicolons": (ends + "8;8;blues;blues.00001.wav;0\n", "line 3.*by semicolons"),
        **{f"column {name}": (_spelt(name) + _ROW, "rename '.*' to") for name in _SPELT},
        "two byte-order marks": ("\ufeff\ufeff" + _GOOD, f"={_READ}"),
        "zero-width signs in the header": (_GOOD.replace("stim_start", "stim_start\u200b"), f"={_READ}"),
        "zero-width signs in a cell": (_GOOD.replace(".wav", ".wav\u200b"), f"={_READ}"),
        "no-break blanks in the header": (_GOOD.replace("stim_start", "\xa0stim_start"), f"={_READ}"),
        "line ends of old Macs": (_GOOD.replace("\n", "\r"), f"={_READ}"),
        "mixed line ends and a DOS end": (_GOOD.replace("\n", "\r\n", 1) + "\x1a", f"={_READ}"),
        "UTF-16 without its mark": (_GOOD.encode("utf-16-be"), f"={_READ}"),
        "a comment at the end": (_GOOD + "# the end\n", f"={_READ}"),
        "unsorted": (HEADER + _NEXT + _ROW, f"={_READ}"),
        "a spreadsheet's first line": ("sep=\t\n" + _GOOD, "leave out line 1"),
        "a comment first": ("# made by hand\n" + _GOOD, "leave out line 1"),
        "the header twice": (ends + HEADER + _NEXT, "onset is 'onset'"),
        "two tabs": (ends + "8\t\t8\tblues\tblues.00001.wav\n", "line 3: stim_start is"),
        "a row twice": (HEADER + _ROW + _ROW + _NEXT, "taken once"),
        "clips long before the scan": (HEADER + _ROW.replace("0", "-300", 1) + _NEXT, "before the image begins"),
        "clips 1e308 s before the scan": (HEADER + _ROW.replace("0", "-1e308", 1), "not scanned"),
        "clips after the scan": (HEADER + _ROW.replace("0", "30", 1), "not scanned"),
        "milliseconds": (HEADER + "0\t8000\tblues\tblues.00000.wav\t0\n", "lies outside"),
        "start in milliseconds": (_GOOD.replace("1.5", "1500"), "lies outside"),
        "start below 0": (_GOOD.replace("1.5", "-1"), "lies outside"),
        "start with its unit": (_GOOD.replace("1.5", "1.5s"), "stim_start is '1.5s'"),
        **{
            f"{seconds} s long": (HEADER + _ROW.replace("8", seconds, 1) + _NEXT, "no sound is so short")
            for seconds in ("0", "1e-9", "0.001")
        },
        **{
            f"onset {text}": (HEADER + _ROW.replace("0", text, 1), "onset is .*write a number")
            for text in ("\u22121", "0x10", "1_0", "00:00:04", "4 s", "1D1", "1,000.0")
        },
    }
    for name, (content, told) in tables.items():
        yield _one("misread events", name, {_EVENTS: content}, told)
    answers = "stim_file\tresponse\tgenre\nblues.00000.wav\tblues\tblues\n"
    for name, text, told in (
        ("column Response", answers.replace("response", "Response"), "rename 'Response'"),
        ("column Stim File", answers.replace("stim_file", "Stim File"), "rename 'Stim File'"),
        ("column stim start", answers.replace("genre\n", "genre\tstim start\n"), "rename 'stim start'"),
        ("a row with blanks", answers + "rock.00000.wav  rock  rock\n", "by blanks"),
        ("a quoted cell over two lines", answers + 'rock.00000.wav\t"ro\nck"\trock\n', "one line"),
    ):
        yield _one("misread answers", name, {_BEH: text}, told)


# --- names


def _wav(seconds: float = 12.0, rate: int = 8000) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, round(seconds * rate))
    soundfile.write(out, noise, rate, format="WAV")
    return out.getvalue()


def _names() -> Iterator[Case]:
    composed, apart = (unicodedata.normalize(form, "Björk/Jóga.wav") for form in ("NFC", "NFD"))
    read = r"=0\+8 .*J.{1,2}ga.wav@1.5"
    for name, (asked, there, told) in {
        "accents in two signs on disk": (composed, apart, read),
        "accents in two signs in the table": (apart, composed, read),
        "accents of a bare name": (composed.rpartition("/")[2], apart, read),
        "a ligature": ("\ufb01sh.wav", "fish.wav", "is 'fish.wav'"),
        "percent codes": ("a%20b.wav", "a b.wav", "is 'a b.wav'"),
        "two blanks": ("a  b.wav", "a b.wav", "is 'a b.wav'"),
        "a blank before": ("ab.wav", " ab.wav", "is ' ab.wav'"),
        "a blank behind": ("ab.wav", "ab.wav ", "is 'ab.wav '"),
        "a soft hyphen": ("a\xadb.wav", "ab.wav", r"is 'ab.wav'.*a\\xadb"),
        "without its ending": ("ab", "ab.wav", "is 'ab.wav'"),
        "another ending": ("ab.mp3", "ab.wav", "is 'ab.wav'"),
        "capitals": ("AB.WAV", "ab.wav", "small and capital"),
        "a drive of Windows": ("C:\\sounds\\ab.wav", "ab.wav", "ab.wav has this name"),
        "a share of Windows": ("\\\\server\\ab.wav", "ab.wav", "inside the stimuli folder"),
        "an address": ("https://x.org/ab.wav", "ab.wav", "ab.wav has this name"),
        "a URI of BIDS": ("bids::stimuli/ab.wav", "ab.wav", "ab.wav has this name"),
        "up and down again": ("stimuli/x/../ab.wav", "ab.wav", "inside the stimuli folder"),
        "two in one cell": ("ab.wav;cd.wav", "ab.wav", "not found"),
        "backslashes": ("x\\ab.wav", "x/ab.wav", r"=0\+8 ab.wav@1.5"),
        "a name of Windows": ("CON.wav", "CON.wav", r"=0\+8 CON.wav@1.5"),
        "an option": ("-rf.wav", "-rf.wav", r"=0\+8 -rf.wav@1.5"),
        "a picture": ("\U0001f3b5.wav", "\U0001f3b5.wav", "=0\\+8 \U0001f3b5.wav@1.5"),
    }.items():
        files: dict[str, Content] = {_EVENTS: HEADER + _ROW.replace("blues.00000.wav", asked), f"stimuli/{there}": _wav}
        yield _one("nearly named", name, files, told)
    other = HEADER + "0\t8\trock\trock.00000.wav\t0\n"
    for name, files, told in (
        ("events of run-01", {f"{_FUNC[:-1]}01_events.tsv": _GOOD, _EVENTS: None}, "there is .*run-01_events.tsv"),
        ("events of Music", {_EVENTS.replace("music", "Music"): _GOOD, _EVENTS: None}, "there is .*task-Music"),
        (
            "two tables of one level",
            {"task-music_events.tsv": _GOOD, "run-1_events.tsv": other, _EVENTS: None},
            "is for .* as well",
        ),
        (
            "two tables in func",
            {_EVENTS.replace("_run-1", ""): _GOOD, _EVENTS.replace("_task-music", ""): other, _EVENTS: None},
            "is for .* as well",
        ),
        (
            "two sidecars of one level",
            {"run-1_bold.json": '{"RepetitionTime": 2.0}', "task-music_bold.json": '{"RepetitionTime": 1.5}'},
            "RepetitionTime of its sidecar is 'not the same in ",
        ),
        (
            "two sidecars of one level that nobody reads",
            {
                "run-1_bold.json": '{"Instructions": "sit"}',
                "task-music_bold.json": '{"RepetitionTime": 2.0, "Instructions": "lie"}',
            },
            f"={_READ}",
        ),
        ("a nearer sidecar", {"bold.json": '{"RepetitionTime": 1.0}'}, f"={_READ}"),
        (
            "run-1 and run-01",
            {f"{_FUNC[:-1]}01_bold.nii.gz": _bold, f"{_FUNC[:-1]}01_events.tsv": _GOOD},
            "run- differs",
        ),
        *(
            (f"image {end}", {f"{_FUNC[:-1]}4_{end}": _bold}, "no image's name ends so")
            for end in ("BOLD.nii.gz", "bold.NII.GZ", "bold (1).nii.gz", "bold-copy.nii")
        ),
    ):
        yield _one("nearly named", name, files, told, alone="sidecar" not in name)


# --- sidecars


def _sidecars() -> Iterator[Case]:
    every = [2 * n for n in range(10)]
    timed = {"FrameAcquisitionDuration": 2.0}
    often = "{" + ", ".join(f'"x": {n}' for n in range(100_000)) + "}"
    fields: dict[str, tuple[Mapping[str, object] | str, str]] = {
        "RepetitionTime twice": ('{"RepetitionTime": 1.5, "RepetitionTime": 2.0}', "twice"),
        "SliceTiming twice": ('{"SliceTiming": [0, 1], "SliceTiming": [1, 0]}', "SliceTiming is not a list of numbers"),
        "a key that nobody reads, twice": ('{"TaskName": "a", "TaskName": "b"}', f"={_READ}"),
        "a key 100 000 times": (often, f"={_READ}"),
        "a clock of one's own": ({"start_time": "10:23:15", "delay_time": 0}, f"={_READ}"),
        "a key of one's own beside BIDS's": ({"Repetition Time": 2000}, "not read beside RepetitionTime"),
        "a key twice, the same": ('{"RepetitionTime": 2.0, "RepetitionTime": 2.0}', f"={_READ}"),
        **{
            f"{key} for another": ({key: value}, "BIDS spells it")
            for key, value in (
                ("delayTime", 1.2), ("DelayTime ", 1.2), ("volume_timing", every), ("sliceTiming", [0, 1]),
                ("startTime", 0.5), ("Slice Encoding Direction", "i"),
            )
        },
        "a field spelled twice, the same": ({"repetition_time": 2.0}, f"={_READ}"),
        "StartTime in ms": ({"StartTime": 1000}, "StartTime 1000 s is no time"),
        "StartTime below 0": ({"StartTime": -50}, "StartTime -50 s is no time"),
        "StartTime a few volumes late": ({"StartTime": 15}, "StartTime 15 s is no time"),
        "SliceTiming of one time": ({"SliceTiming": [0, 0]}, "for all 2 slices"),
        "SliceTiming in ms": ({"SliceTiming": [0, 1000]}, "SliceTiming outside"),
        "SliceEncodingDirection kx": ({"SliceTiming": [0, 1], "SliceEncodingDirection": "kx-"}, "unknown"),
        "a volume of 1 ns": ({"FrameAcquisitionDuration": 1e-9}, "is no part of"),
        "a volume in ms": ({"AcquisitionDuration": 1500}, "is no part of"),
        "VolumeTiming of the day": ({**timed, "VolumeTiming": [1.6e9 + time for time in every]}, "not scanned"),
        "VolumeTiming 1000 s late": ({**timed, "VolumeTiming": [1000 + time for time in every]}, "not scanned"),
        "VolumeTiming in ms": ({**timed, "VolumeTiming": [1000 * time for time in every]}, "does not rise"),
        "VolumeTiming unsorted": ({**timed, "VolumeTiming": [0, 4, 2, *every[3:]]}, "does not rise"),
        "VolumeTiming below 0": ({**timed, "VolumeTiming": [time - 2 for time in every]}, "does not rise"),
    }  # fmt: skip
    for name, (content, told) in fields.items():
        text = content if isinstance(content, str) else json.dumps(content)
        yield _one("misread sidecar", name, {_SIDECAR: text}, told)
    for column, unit in (("onset", "ms"), ("duration", "TR"), ("stim_start", "milliseconds"), ("onset", "volumes")):
        files = {"sub-01/func/sub-01_task-music_events.json": json.dumps({column: {"Units": unit}})}
        yield _one("misread sidecar", f"{column} in {unit}", files, f"{column} is in {unit}")
    seconds = '{"onset": {"Units": "seconds after the start"}, "duration": {"Units": "s"}, "x": {"Units": "ms"}}'
    yield _one("misread sidecar", "columns in seconds", {"task-music_events.json": seconds}, f"={_READ}", alone=False)
    yield _one("misread sidecar", "of events, damaged", {"task-music_events.json": "{"}, "is not read", alone=False)
    for name, more, told in (
        ("type Derivative", {"DatasetType": "Derivative"}, "derivative dataset"),
        ("type with a blank", {"DatasetType": "derivative "}, "derivative dataset"),
        ("a pipeline, no type", {"PipelineDescription": {"Name": "fMRIPrep"}}, "derivative dataset"),
        ("raw, made by a converter", {"DatasetType": "raw", "GeneratedBy": [{"Name": "x"}]}, f"={_READ}"),
    ):
        text = json.dumps({"Name": "toy", "BIDSVersion": "1.8.0", **more})
        yield _one("misread description", name, {"dataset_description.json": text}, told, alone=False)


# --- images


def _bold(
    shape: tuple[int, ...] = (2, 2, 2, 10),
    side: float = 2.0,
    units: str = "mm",
    pixdim: float = 0,
    far: float = 0,
    **header: Any,
) -> bytes:
    affine = np.diag([side, side, side, 1.0])
    affine[0, 3] = far
    image = nibabel.Nifti1Image(np.zeros(shape, np.uint8), affine)
    image.header.set_xyzt_units(units, "sec")
    image.header.set_zooms((*[pixdim or side] * 3, *[2.0] * (len(shape) - 3)))
    for key, value in header.items():
        image.header[key] = value
    return bytes(gzip.compress(image.to_bytes()))


def _cifti() -> bytes:
    model = nibabel.cifti2.BrainModelAxis.from_mask(np.ones((2, 2, 2), bool), affine=np.diag([2.0, 2, 2, 1]))
    axes = nibabel.cifti2.SeriesAxis(0, 2.0, 10), model
    image = nibabel.Cifti2Image(np.zeros((10, 8), np.float32), axes)
    image.nifti_header.set_intent("ConnDenseSeries")
    return bytes(image.to_bytes())


def _in_parts() -> bytes:
    raw = gzip.decompress(_bold())
    return gzip.compress(raw[:300]) + gzip.compress(raw[300:])


def _padded(path: Path) -> None:
    path.write_bytes(_bold())
    os.truncate(path, 2**40)


def _images() -> Iterator[Case]:
    for name, content, told in (
        ("in metres", lambda: _bold(side=0.002, units="meter"), "are no head's"),
        ("in metres, not told", lambda: _bold(side=0.002, units="unknown"), "are no head's"),
        ("in micrometres", lambda: _bold(side=2000.0, units="micron"), "are no head's"),
        ("far away", lambda: _bold(far=1e9), "are no head's"),
        ("other sizes by pixdim", lambda: _bold(pixdim=3.0), "by pixdim"),
        ("CIFTI", lambda: gzip.compress(_cifti()), "CIFTI"),
        ("one axis too many", lambda: _bold((2, 2, 2, 10, 1)), "not a series of volumes"),
        ("volumes on the fifth axis", lambda: _bold((2, 2, 2, 1, 10)), "fifth axis"),
        ("compressed twice", lambda: gzip.compress(_bold()), "cannot be read"),
        ("zip", b"PK\3\4" + b"\0" * 400, "cannot be read"),
        ("intercept NaN", lambda: _bold(scl_slope=1.0, scl_inter=np.nan), "cannot be read"),
        ("two parts", _in_parts, f"={_READ}"),
        ("a tape's zeros behind", lambda: _bold() + bytes(1000), f"={_READ}"),
    ):  # fmt: skip
        yield _one("misread image", name, {_BOLD: content}, told)
    for name, content in (("CIFTI", _cifti), ("compressed", _bold)):
        yield _one("misread image", f"{name} in .nii", {_BOLD: None, _BOLD[:-3]: content}, "left out: .*cannot be read")
    for name, content, told in (
        ("in metres", lambda: _bold((2, 2, 2), side=0.002, units="meter"), "are no head's"),
        ("a plane", lambda: _bold((2, 2, 1)), "is no volume"),
    ):
        yield _one("misread T1w", name, {_T1W: content}, told)
    told = "goes on with zeros"
    yield Case("misread image", "1 TB of zeros behind", lambda toy: _padded(toy.root / _BOLD), dry, True, told)


# --- sounds


def _encoded(kind: str, samples: np.ndarray | None = None, subtype: str | None = None, rate: int = 16000) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 9 * rate) if samples is None else samples
    soundfile.write(out, noise, rate, format=kind, subtype=subtype)
    return out.getvalue()


def _false_frames() -> bytes:
    """A FLAC that does not tell its length, with thousands of beginnings of frames behind it."""
    from ban_bids.files.flac import _CRC8, _crc

    raw = bytearray(_encoded("FLAC"))
    raw[21:26] = bytes([raw[21] & 0xF0, 0, 0, 0, 0])
    head = bytes([0xFF, 0xF8, 0xC9, 0x18, 0])
    return bytes(raw) + (head + bytes([_crc(head, _CRC8, 8)])) * 43_000 + b"\1"


def _sounds() -> Iterator[Case]:
    read = r"=0\+8 own.wav@0$"
    for name, content, told in (
        ("MP3 and 50 MB of ones", lambda: _encoded("MP3") + b"\xff" * (50 * 2**20), read),
        ("MP3 and 50 MB of noise", lambda: _encoded("MP3") + np.random.default_rng(0).bytes(50 * 2**20), read),
        ("MP3 and 50 MB of false beginnings", lambda: _encoded("MP3") + b"\xff\xfb" * (25 * 2**20), read),
        ("FLAC and false frames", _false_frames, "does not end with a whole frame"),
        ("10⁵ empty tags", lambda: b"ID3\4\0\0\0\0\0\0" * 10**5 + _encoded("MP3"), "stimulus is not audio"),
        ("floats of 1e30", lambda: _encoded("WAV", np.full(144_000, 1e30), "FLOAT"), "where 1 is the loudest"),
        ("doubles of 1e300", lambda: _encoded("WAV", np.full(144_000, 1e300), "DOUBLE"), "not numbers"),
        ("one NaN", lambda: _encoded("WAV", np.r_[np.zeros(99_999), np.nan, np.zeros(44_000)], "FLOAT"), "not numbers"),
        ("no sample", lambda: _encoded("WAV", np.zeros(0)), "zero length"),
        ("one sample", lambda: _encoded("WAV", np.zeros(1)), "lies outside"),
        ("65 channels", lambda: _encoded("WAV", np.zeros((9 * 8000, 65)), rate=8000), "65 channels"),
        ("MP3 cut", lambda: _encoded("MP3")[:20_000], "truncated"),
        *((f"{kind} called .wav", lambda kind=kind: _encoded(kind), read) for kind in ("MP3", "OGG", "FLAC", "W64")),
    ):
        yield _one("misread sound", name, {"stimuli/own.wav": content, _EVENTS: _own("own.wav")}, told)
    for name, content, told in (("WAV", _wav, r"=0\+8 own.raw@0$"), ("noise", b"\1" * 10**5, "not audio that")):
        yield _one("misread sound", f"{name} called .raw", {"stimuli/own.raw": content, _EVENTS: _own("own.raw")}, told)


def _own(name: str) -> str:
    return HEADER + f"0\t8\tblues\t{name}\t0\n"


# --- the tree


def _in_deep(folder: Path, name: str, levels: int) -> None:
    """Folders in each other, of a path longer than the system takes."""
    here = Path.cwd()
    os.chdir(folder)
    for _ in range(levels):
        Path(name).mkdir()
        os.chdir(name)
    os.chdir(here)


def _without_sound(levels: int, name: str) -> Spoil:
    def spoil(toy: Toy) -> None:
        _in_deep(toy.root / "stimuli", name, levels)
        (toy.root / "stimuli/blues.00000.wav").unlink()

    return spoil


def _vanishing(name: str, when: str) -> Use:
    """A file is removed when another one is opened, or a folder listed."""

    def use(toy: Toy) -> object:
        def hook(event: str, args: tuple[Any, ...]) -> None:
            if event in ("open", "os.scandir") and args and when in str(args[0]):
                (toy.root / name).unlink(missing_ok=True)

        sys.addaudithook(hook)
        return dry(toy)

    return use


def _tree() -> Iterator[Case]:
    for levels, name in ((60, "d" * 200), (900, "d")):
        told = "blues.00000.wav not found"
        yield Case("tree", f"{levels} folders deep", _without_sound(levels, name), dry, told=told)
    for name, when in (
        (_EVENTS, "dataset_description"),
        (_EVENTS, "run-1_events"),
        (_BOLD, "run-1_events"),
        (_T1W, "T1w"),
    ):
        told = "(?i)no such file|not there"
        yield Case("vanishes", f"{name} at {when}", lambda toy: None, _vanishing(name, when), True, told=told)
    yield Case(
        "tree", "a participant who is another", lambda toy: _swap(toy.root), dry, told="does not say sub-01", alone=True
    )
    yield Case("tree", "stimuli in a circle", lambda toy: (toy.root / "stimuli/x").symlink_to("."), dry, read=_READ)


def _swap(root: Path) -> None:
    shutil.rmtree(root / "sub-01")
    (root / "sub-01").symlink_to("sub-02")


# --- models


def _changed_weights(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """The weights that are shipped, with other numbers."""

    def spoil(toy: Toy) -> None:
        from safetensors import safe_open
        from safetensors.torch import load_file, save_file

        import ban_bids.models

        path = Path(ban_bids.models.__file__).parent / "weights" / "ban.safetensors"
        tensors = load_file(path)
        change(tensors)
        with safe_open(path, "pt") as file:
            save_file(tensors, toy.root / "ban.safetensors", file.metadata())

    return spoil


def _models() -> Iterator[Case]:
    def replaced(end: str, new: Callable[[Any], Any]) -> Callable[[dict[str, Any]], object]:
        return lambda tensors: tensors.update(
            {name: new(value).contiguous() for name, value in tensors.items() if name.endswith(end)}
        )

    for name, change, told in (
        ("NaN", replaced("readout.weight", lambda value: value.float() * np.nan), "make no sense"),
        (
            "one infinity",
            replaced("readout.bias", lambda value: value.float().index_fill(0, _first(), np.inf)),
            "sense",
        ),
        ("variances below 0", replaced("running_var", lambda value: -value.float() - 1), "make no sense"),
        ("bits", replaced("readout.weight", lambda value: value > 0), "make no sense"),
        ("integers", replaced("readout.weight", lambda value: value.long()), "holds torch.int64"),
    ):
        yield Case("misread weights", name, _changed_weights(change), weights, told=told)
    layers = '"layers": [{"name": "one", "frame_rate": 10}]}'
    for name, text, told in (
        ("a rate twice", f'{{"name": "m", {layers[:-3]}, "frame_rate": 5}}]}}', "twice"),
        ("a name of 10⁵ letters", f'{{"name": "{"m" * 10**5}", {layers}', "at most 64"),
        ("a layer of 300 letters", f'{{"name": "m", {layers.replace("one", "x" * 300)}', "at most 64"),
    ):
        yield Case("misread features.json", name, _files({"features/features.json": text}), stored, told=told)


def _first() -> Any:
    import torch

    return torch.tensor([0])


def readings() -> list[Case]:
    """All cases of this file."""
    makers = (_events, _names, _sidecars, _images, _sounds, _tree, _models)
    return [case for make in makers for case in make()]
