"""Hostile and damaged inputs by kind, and a runner that gives each a process, a time and a memory of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import soundfile
from small_datasets import HEADER, Toy

SECONDS = 20
"""After which a case is stopped."""
MEMORY = 3 * 2**29
"""Bytes that a case may take on top of what the libraries have taken."""

Spoil = Callable[[Toy], None]
Use = Callable[[Toy], object]


@dataclass(frozen=True)
class Case:
    """One input.

    Parameters
    ----------
    kind, name : str
    spoil : callable
        Puts it into a good dataset.
    use : callable
        Reads it; returns a dataset, where one is read.
    alone : bool
        It belongs to participant 01 only: participant 02 must stay usable.
    told : str
        Pattern of what must be told of it, in an error, a failure or a note; else it was misread in silence.
    read : str
        Pattern of what must be read (:func:`what_was_read`) where nothing is told.
    """

    kind: str
    name: str
    spoil: Spoil
    use: Use
    alone: bool = False
    told: str = ""
    read: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


# --- how inputs are used


def whole(toy: Toy, **options: Any) -> object:
    """Read the dataset, then the sound of every clip and the voxels of every image of those that can be used."""
    from ban_bids.audio.waveforms import load_waveform
    from ban_bids.errors import BanBidsError
    from ban_bids.files.images import read_through
    from ban_bids.inputs.read import read_dataset

    dataset = read_dataset(toy.settings(**options), keep_unusable=True)
    for person in dataset.participants:
        for run in person.runs if person.failure is None else ():
            try:
                for item in run.presentations:
                    load_waveform(item.clip.audio, item.clip.start, item.clip.duration)
                with read_through(run.bold) as image:
                    np.asarray(image.dataobj)
            except BanBidsError:
                if person.label != "01":
                    raise
    return dataset


def with_option(**names: str) -> Use:
    """Use files of the dataset's folder as options."""
    return lambda toy: whole(toy, **{option: toy.root / name for option, name in names.items()})


def config_file(toy: Toy) -> object:
    from ban_bids.cli.config import read_config

    return read_config(toy.root / "config.toml")


def plugin_file(toy: Toy) -> object:
    from ban_bids.preprocessing.checks import read_plugin_file

    return read_plugin_file(toy.root / "plugin.yml")


def weights(toy: Toy) -> object:
    from ban_bids.models.checkpoint import load_checkpoint

    return load_checkpoint(toy.root / "ban.safetensors")


def stored(toy: Toy) -> object:
    from ban_bids.audio.waveforms import HeardClip
    from ban_bids.inputs.types import Clip
    from ban_bids.models.stored import StoredFeatures

    model = StoredFeatures(toy.root / "features")
    clip = Clip(toy.root / _SOUND, 0.0, 12.0, "blues.00000", "blues")
    return model.check([clip]), model.features([HeardClip(clip, model.sampling_rate)])


def records(name: str) -> Use:
    def use(toy: Toy) -> object:
        from ban_bids.listen.records import read_records

        return read_records(toy.root / name)

    return use


def tsv(toy: Toy) -> object:
    from ban_bids.files.tsv import read_tsv

    return read_tsv(toy.root / "confounds.tsv", foreign=True)


# --- what is no ordinary file

_SOUND, _T1W = "stimuli/blues.00000.wav", "sub-01/anat/sub-01_T1w.nii.gz"
_EVENTS = "sub-01/func/sub-01_task-music_run-1_events.tsv"
_SIDECAR = "sub-01/func/sub-01_task-music_run-1_bold.json"
_BOLD = "sub-01/func/sub-01_task-music_run-1_bold.nii.gz"


def _gone(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def _fifo(path: Path) -> None:
    os.mkfifo(_gone(path))


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: _gone(path).symlink_to(target)


def _loop(path: Path) -> None:
    _gone(path).symlink_to(path.name)


def _folder(path: Path) -> None:
    _gone(path).mkdir()


def _socket(path: Path) -> None:
    _gone(path)
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


_ODD: dict[str, Callable[[Path], None]] = {
    "FIFO": _fifo,
    "socket": _socket,
    "folder": _folder,
    "link to /dev/zero": _link("/dev/zero"),
    "link to itself": _loop,
    "link to nowhere": _link("nowhere"),
}

_PLACES: dict[str, tuple[str, Use, bool]] = {
    "sound": (_SOUND, whole, False),
    "events": (_EVENTS, whole, True),
    "sidecar": (_SIDECAR, whole, True),
    "image": (_BOLD, whole, True),
    "T1w": (_T1W, whole, True),
    "answers": ("sub-01/beh/sub-01_task-music_beh.tsv", whole, True),
    "description": ("dataset_description.json", whole, False),
    "rules": ("code/ban-bids.toml", whole, False),
    "stimuli.tsv": ("stimuli/stimuli.tsv", whole, False),
    "--rules": ("own.toml", with_option(rules="own.toml"), False),
    "--behavior": ("own.tsv", with_option(behavior="own.tsv"), False),
    "--bids-filter-file": ("filter.json", with_option(bids_filter_file="filter.json"), False),
    "--config-file": ("config.toml", config_file, False),
    "--use-plugin": ("plugin.yml", plugin_file, False),
    "weights": ("ban.safetensors", weights, False),
    "features.json": ("features/features.json", stored, False),
    "exported answers": ("answers.json", records("answers.json"), False),
    "confounds": ("confounds.tsv", tsv, False),
}


def _odd_files() -> Iterator[Case]:
    for place, (name, use, alone) in _PLACES.items():
        for what, make in _ODD.items():
            yield Case(f"no ordinary file: {what}", place, _at(name, make), use, alone)


def _at(name: str, make: Callable[[Path], None]) -> Spoil:
    return lambda toy: make(toy.root / name)


def _writes(name: str, content: str | bytes | Callable[[], str | bytes]) -> Spoil:
    def spoil(toy: Toy) -> None:
        made = content() if callable(content) else content
        _gone(toy.root / name).write_bytes(made if isinstance(made, bytes) else made.encode("utf-8", "surrogatepass"))

    return spoil


# --- tables

_ROW = "0\t8\tblues\tblues.00000.wav\t1.5\n"
_TABLES: dict[str, str | bytes | Callable[[], str | bytes]] = {
    "empty": "",
    "10⁶ rows": lambda: HEADER + "".join(f"{n}\t1\tblues\tblues.00000.wav\t1\n" for n in range(10**6)),
    "10⁶ columns": lambda: "\t".join(f"c{n}" for n in range(10**6)) + "\n",
    "300 MB of one cell": lambda: HEADER + "0\t8\t" + "x" * (300 * 2**20),
    "UTF-16": (HEADER + _ROW).encode("utf-16"),
    "UTF-16 cut within a letter": (HEADER + _ROW).encode("utf-16")[:-1],
    "UTF-32": (HEADER + _ROW).encode("utf-32"),
    "Latin-1": (HEADER + _ROW.replace("blues\t", "bl\xfces\t")).encode("latin-1"),
    "null bytes": (HEADER + _ROW.replace("8", "8\0")).encode(),
    "a quote never closed": HEADER + _ROW.replace("blues\t", '"blues\t'),
    "only nulls": b"\0" * 4096,
    "only line ends": "\r\n" * 4096,
    "only tabs": "\t" * 4096,
    "10⁶ quotes and blanks": HEADER + _ROW.replace("blues\t", "' " * 10**6 + "\t"),
    "10⁶ blanks": HEADER + _ROW.replace("blues\t", "x" + " " * 10**6 + "x\t"),
    "one column twice": HEADER.replace("duration", "onset") + _ROW,
    "onset of 5 000 digits": HEADER + _ROW.replace("0\t8", "9" * 5000 + "\t8"),
    "onset 1e400": HEADER + _ROW.replace("0\t8", "1e400\t8"),
    "onset inf": HEADER + _ROW.replace("0\t8", "inf\t8"),
    "onset nan": HEADER + _ROW.replace("0\t8", "nan\t8"),
    "onset 1e300": HEADER + _ROW.replace("0\t8", "1e300\t8"),
    "duration 1e300": HEADER + _ROW.replace("0\t8", "0\t1e300"),
    "duration negative": HEADER + _ROW.replace("0\t8", "0\t-8"),
    "onset in Arabic digits": HEADER + _ROW.replace("0\t8", "٣\t8"),
    "onset a superscript": HEADER + _ROW.replace("0\t8", "²\t8"),
    "lone surrogates": HEADER + _ROW.replace("blues\t", "bl\ud800es\t"),
    "HTML": "<html><body>404</body></html>\n",
    "right to left and ANSI": HEADER + _ROW.replace("blues\t", "\u202e\x1b[2Jblues\t"),
}


def _tables() -> Iterator[Case]:
    for name, content in _TABLES.items():
        yield Case("events", name, _writes(_EVENTS, content), whole, alone=True)
    beh = "stim_file\tresponse\tgenre\nblues.00000.wav\tblues\tblues\n"
    for name, text in {
        "good": beh,
        "10⁶ rows": lambda: beh + "blues.00000.wav\tblues\tblues\n" * 10**6,
        "null bytes": beh.replace("wav", "w\0v"),
        "stimulus .": beh.replace("blues.00000.wav", "."),
        "stimulus of 5 000 letters": beh.replace("blues.00000.wav", "x" * 5000),
    }.items():
        yield Case("answers", name, _writes("sub-01/beh/sub-01_task-music_beh.tsv", text), whole, alone=True)
    pandas = {
        "null bytes": "a\tb\n1\0\t2\n",
        "quote": 'a\tb\n"1\t2\n3\t4\n',
        "ragged": "a\tb\n1\t2\t3\t4\n1\n",
        "empty": "",
        "UTF-16": "a\tb\n1\t2\n".encode("utf-16"),
        "one line of 300 MB": lambda: "a\tb\n" + "1" * (300 * 2**20),
        "10⁵ columns": lambda: "\t".join(f"c{n}" for n in range(10**5)) + "\n",
        "numbers of 5 000 digits": "a\tb\n" + "1" * 5000 + "\t2\n",
        "lone surrogates": b"a\tb\n\xed\xa0\x80\t2\n",
    }
    for name, content in pandas.items():
        yield Case("confounds", name, _writes("confounds.tsv", content), tsv)


# --- names of stimuli

_NAMES = {
    "a point": ".",
    "two points": "..",
    "slashes": "///",
    "a point and slash": "./",
    "stimuli/": "stimuli/",
    "stimuli/.": "stimuli/.",
    "300 letters": "x" * 300 + ".wav",
    "5 000 letters": "x" * 5000 + ".wav",
    "100 folders of 200 letters": "/".join(["x" * 200] * 100) + ".wav",
    "up": "../../../etc/passwd",
    "absolute": "/etc/passwd",
    "backslashes": "..\\..\\x.wav",
    "null": "blues\0.wav",
    "a line's end in quotes": '"blues\v.wav"',
    "ANSI": "\x1b[2J\x1b]0;owned\x07.wav",
    "HTML": "<script>alert(1)</script>.wav",
    "right to left": "\u202evaw.seulb",
    "stars": "*",
    "home": "~root/x.wav",
    "a folder": "sub/",
    "device": "/dev/zero",
    "percent": "%s%n%d.wav",
    "braces": "{stim_file}",
    "device inside": "zero.wav",
}


def _stimuli() -> Iterator[Case]:
    for name, text in _NAMES.items():
        yield Case("stimulus named", name, _stimulus(text), whole, alone=True)
    for name, text in {"many suffixes": "a" + ".b" * 2000, "a point": ".", "long": "x" * 5000}.items():
        content = f"onset\tduration\tstim_id\n0\t8\t{text}\n"
        yield Case("stimulus named", f"stim_id {name}", _writes(_EVENTS, content), whole, alone=True)


def _stimulus(text: str) -> Spoil:
    def spoil(toy: Toy) -> None:
        (toy.root / "stimuli" / "sub").mkdir()
        (toy.root / "stimuli" / "zero.wav").symlink_to("/dev/zero")
        _writes(_EVENTS, HEADER + _ROW.replace("blues.00000.wav", text))(toy)

    return spoil


# --- JSON

_DEEP = 100_000
_JSON: dict[str, str | bytes | Callable[[], str | bytes]] = {
    "empty": "",
    "null": "null",
    "a number": "3",
    "a list": "[]",
    "not closed": '{"RepetitionTime": 2.0',
    "lists nested 100 000 deep": '{"a": ' + "[" * _DEEP + "]" * _DEEP + "}",
    "lists nested 900 deep": '{"RepetitionTime": ' + "[" * 900 + "]" * 900 + "}",
    "objects nested 100 000 deep": '{"a":' * _DEEP + "1" + "}" * _DEEP,
    "integer of 5 000 digits": '{"RepetitionTime": ' + "9" * 5000 + "}",
    "integer of 4 000 digits": '{"RepetitionTime": ' + "9" * 4000 + "}",
    "integer of 400 digits": '{"RepetitionTime": ' + "9" * 400 + "}",
    "UTF-16 with a half letter": '{"a": 1}'.encode("utf-16")[:-1],
    "null bytes": b'{"RepetitionTime\0": 2}',
    "only nulls": b"\0" * 1000,
    "300 MB": lambda: '{"a": "' + "x" * (300 * 2**20) + '"}',
    "lone surrogates": '{"TaskName": "\\ud800"}',
    "60 MB of lists": lambda: '{"a": [' + "[]," * 20_000_000 + "1]}",
}
_FIELDS: dict[str, str] = {
    "a text": '"2.0"',
    "NaN": "NaN",
    "infinity": "1e999",
    "null": "null",
    "negative": "-2",
    "0": "0",
    "true": "true",
    "a list": "[2.0]",
    "a list of texts": '["a", "b"]',
    "a list with null": "[0, null, 1]",
    "a list with NaN": "[0, NaN, 1]",
    "a list of true": "[" + ", ".join(["true"] * 10) + "]",
    "a list of large integers": "[" + ", ".join(["9" * 400] * 10) + "]",
    "a list of lists": "[[0], [1]]",
    "an empty list": "[]",
    "an object": '{"a": 1}',
    "1e-300": "1e-300",
    "1e300": "1e300",
}
_OF_TIME = (
    "RepetitionTime", "VolumeTiming", "SliceTiming", "StartTime", "DelayTime", "FrameAcquisitionDuration",
    "SliceEncodingDirection", "PhaseEncodingDirection",
)  # fmt: skip


def _sidecars() -> Iterator[Case]:
    for name, content in _JSON.items():
        yield Case("JSON: sidecar", name, _writes(_SIDECAR, content), whole, alone=True)
        yield Case("JSON: description", name, _writes("dataset_description.json", content), whole)
    for key in _OF_TIME:
        for name, value in _FIELDS.items():
            more = "" if key in ("RepetitionTime", "VolumeTiming") else '"RepetitionTime": 2.0, '
            text = f'{{{more}"{key}": {value}}}'
            yield Case(f"JSON: {key} is", name, _writes(_SIDECAR, text), whole, alone=True)
    for key in ("Name", "DatasetDOI", "DatasetType", "BIDSVersion"):
        for name in ("null", "an object", "a list of lists", "true", "NaN"):
            fields = {"Name": '"toy"', "BIDSVersion": '"1.8.0"', key: _FIELDS[name]}
            text = "{" + ", ".join(f'"{field}": {value}' for field, value in fields.items()) + "}"
            yield Case("JSON: description's", f"{key} is {name}", _writes("dataset_description.json", text), whole)
    for name, text in {
        "nested deep": '{"bold": {"task": ' + "[" * 900 + "]" * 900 + "}}",
        "wrong types": '{"bold": {"task": {"a": [1]}}}',
        "a bad pattern": '{"bold": {"task": "(", "regex_search": true}}',
        "an explosive pattern": '{"bold": {"task": "(a*)*b", "regex_search": true}}',
        "a large integer": '{"bold": {"run": ' + "9" * 400 + "}}",
        "NaN": '{"bold": {"run": NaN}}',
        "a null byte": '{"bold": {"task": "a\\u0000"}}',
    }.items():
        use = with_option(bids_filter_file="filter.json")
        yield Case("JSON: filter file", name, _writes("filter.json", text), use)


# --- images


def _nifti(shape: tuple[int, ...] = (2, 2, 2, 10)) -> bytearray:
    image = nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((2.0,) * 3 + (2.0,) * (len(shape) == 4))
    return bytearray(image.to_bytes())


def _patched(at: int, form: str, *values: float) -> bytes:
    raw = _nifti()
    struct.pack_into("<" + form, raw, at, *values)
    return bytes(raw)


def _bomb(raw: bytes, zeros: int) -> bytes:
    """A small file of this and many zeros."""
    import zlib

    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [squeeze.compress(raw), *(squeeze.compress(b"\0" * 2**22) for _ in range(zeros // 2**22)), squeeze.flush()]
    return b"".join(parts)


def _gz(raw: bytes) -> bytes:
    import gzip

    return gzip.compress(raw)


_IMAGES: dict[str, bytes | Callable[[], bytes]] = {
    "empty": b"",
    "text": b"no image",
    "unknown data type": _gz(_patched(70, "h", 999)),
    "data type 0": _gz(_patched(70, "h", 0)),
    "data type RGB": _gz(_patched(70, "h", 128)),
    "data type complex": _gz(_patched(70, "h", 32)),
    "data type float128": _gz(_patched(70, "h", 1536)),
    "bits contradict the type": _gz(_patched(72, "h", 64)),
    "dimensions of 32767": _gz(_patched(40, "8h", 7, *[32767] * 7)),
    "four of 32767": _gz(_patched(40, "8h", 4, *[32767] * 4, 1, 1, 1)),
    "dimensions below 0": _gz(_patched(40, "8h", 4, -2, 2, 2, 10, 1, 1, 1)),
    "dimensions of 0": _gz(_patched(40, "8h", 4, 0, 2, 2, 10, 1, 1, 1)),
    "9 dimensions": _gz(_patched(40, "h", 9)),
    "-1 dimensions": _gz(_patched(40, "h", -1)),
    "offset of data NaN": _gz(_patched(108, "f", float("nan"))),
    "offset of data 1e30": _gz(_patched(108, "f", 1e30)),
    "offset of data below 0": _gz(_patched(108, "f", -1e6)),
    "offset of data in the header": _gz(_patched(108, "f", 16.0)),
    "slope NaN": _gz(_patched(112, "f", float("nan"))),
    "slope infinite": _gz(_patched(112, "f", float("inf"))),
    "voxels of size NaN": _gz(_patched(76, "8f", *[float("nan")] * 8)),
    "voxels of size 0": _gz(_patched(76, "8f", *[0.0] * 8)),
    "voxels of size 1e38": _gz(_patched(76, "8f", *[1e38] * 8)),
    "affine NaN": _gz(_patched(280, "12f", *[float("nan")] * 12)),
    "affine 1e38": _gz(_patched(280, "12f", *[1e38] * 12)),
    "sform code 999": _gz(_patched(252, "2h", 999, 999)),
    "quaternion 1e20": _gz(_patched(252, "hh3f", 1, 0, 1e20, 1e20, 1e20)),
    "magic wrong": _gz(_patched(344, "4s", b"abcd")),
    "pair without its voxels": _gz(_patched(344, "4s", b"ni1\0")),
    "extension of 2 GB": _gz(_patched(348, "4b2i", 1, 0, 0, 0, 2**31 - 16, 4)),
    "extension of 0 bytes": _gz(_patched(348, "4b2i", 1, 0, 0, 0, 0, 4)),
    "units unknown": _gz(_patched(123, "B", 255)),
    "cut in the header": _gz(bytes(_nifti()[:200])),
    "cut in the voxels": _gz(bytes(_nifti()[:400])),
    "gzip cut": _gz(bytes(_nifti()))[:60],
    "gzip with a bad checksum": _gz(bytes(_nifti()))[:-8] + b"\0\1\2\3" + _gz(bytes(_nifti()))[-4:],
    "gzip header only": b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
    "not compressed": bytes(_nifti()),
    "rubbish behind": _gz(bytes(_nifti())) + b"rubbish" * 100,
    "a gzip bomb behind the voxels": lambda: _bomb(bytes(_nifti()), 2**31),
    "a gzip bomb for its header": lambda: _bomb(_patched(40, "8h", 4, 3000, 3000, 3000, 10, 1, 1, 1), 2**26),
    "byte order swapped": _gz(bytes(_nifti()[:348][::-1])),
    "NIfTI-2": _gz(nibabel.Nifti2Image(np.zeros((2, 2, 2, 10), np.uint8), np.eye(4)).to_bytes()),
}


def _images() -> Iterator[Case]:
    for name, content in _IMAGES.items():
        yield Case("NIfTI: BOLD", name, _writes(_BOLD, content), whole, alone=True)
        if "bomb" not in name:
            yield Case("NIfTI: T1w", name, _writes(_T1W, content), whole, alone=True)


# --- sounds


def _wav(rate: int = 1000, channels: int = 1, bits: int = 16, size: int = 24000, form: int = 1) -> bytes:
    head = struct.pack("<HHIIHH", form, channels, rate, 0, max(1, channels * bits // 8) & 0xFFFF, bits)
    data = b"\1\0" * 12000
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + head + b"data"
        + struct.pack("<I", size) + data
    )  # fmt: skip


def _encoded(kind: str, subtype: str | None = None) -> bytes:
    import io

    out = io.BytesIO()
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 96000)
    soundfile.write(out, noise, 8000, format=kind, subtype=subtype)
    return out.getvalue()


_SOUNDS: dict[str, bytes | Callable[[], bytes]] = {
    "empty": b"",
    "one byte": b"R",
    "text": b"hello " * 100,
    "only nulls": b"\0" * 5000,
    "rate 0": _wav(rate=0),
    "rate 1": _wav(rate=1),
    "rate 4294967295": _wav(rate=2**32 - 1),
    "rate 2147483647": _wav(rate=2**31 - 1),
    "rate 767999": _wav(rate=767_999),
    "rate 96001": _wav(rate=96_001),
    "no channels": _wav(channels=0),
    "65535 channels": _wav(channels=65535),
    "1024 channels": _wav(channels=1024),
    "no bits": _wav(bits=0),
    "255 bits": _wav(bits=255),
    "claims 4 GB": _wav(size=2**32 - 2),
    "claims 2 GB": _wav(size=2**31 - 2),
    "claims no bytes": _wav(size=0),
    "unknown codec": _wav(form=0x7777),
    "floats NaN": _wav(form=3, bits=32).replace(b"\1\0", b"\xff\xff"),
    "cut in its header": _wav()[:20],
    "a chunk of 4 GB": _wav()[:12] + b"LIST" + struct.pack("<I", 2**32 - 1) + b"abcd",
    "a chunk of 0 bytes for ever": _wav()[:12] + (b"LIST" + b"\0" * 4) * 200_000,
    "FLAC cut": lambda: _encoded("FLAC")[:3000],
    "FLAC of 2³⁶ samples": lambda: _encoded("FLAC")[:18] + b"\x0a\xc4\x42\xff\xff\xff\xff\xff" + _encoded("FLAC")[26:],
    "FLAC of rate 0": lambda: _encoded("FLAC")[:18] + b"\0\0\x02" + _encoded("FLAC")[21:],
    "FLAC of noise": lambda: b"fLaC" + np.random.default_rng(0).bytes(5000),
    "Ogg cut": lambda: _encoded("OGG")[:3000],
    "Ogg of noise": lambda: b"OggS" + np.random.default_rng(0).bytes(5000),
    "MP3 of noise": lambda: b"\xff\xfb\x90\x64" + np.random.default_rng(0).bytes(5000),
    "MP3 of one header": b"\xff\xfb\x90\x64",
    "ID3 of 256 MB": b"ID3\4\0\0\x7f\x7f\x7f\x7f" + b"\0" * 500,
    "AIFF of nothing": b"FORM\0\0\0\4AIFF" + b"\0" * 50,
    "AU of 4 GB": b".snd" + struct.pack(">5I", 24, 2**32 - 2, 3, 8000, 1) + b"\0" * 500,
    "AU that begins after its end": b".snd" + struct.pack(">5I", 2**31, 100, 3, 8000, 1) + b"\0" * 500,
    "W64 of 2⁶³ bytes": b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + b"\xff" * 8
    + b"wave\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a" + b"\xff" * 100,
    "a picture": b"\x89PNG\r\n\x1a\n" + b"\0" * 500,
    "a web page": b"<!doctype html><p>404",
}  # fmt: skip


def _sounds() -> Iterator[Case]:
    for name, content in _SOUNDS.items():
        yield Case("sound", name, _own_sound(content), whole, alone=True)


def _own_sound(content: bytes | Callable[[], bytes]) -> Spoil:
    """A sound that is played to participant 01 only."""

    def spoil(toy: Toy) -> None:
        _writes("stimuli/own.wav", content)(toy)
        _writes(_EVENTS, HEADER + _ROW.replace("blues.00000.wav", "own.wav"))(toy)

    return spoil


# --- rules, profiles, settings

_VALUES: dict[str, str] = {
    "a number": "3",
    "a list of lists": "[[1]]",
    "true": "true",
    "a date": "1979-05-27",
    "a time": "07:32:00",
    "NaN": "nan",
    "infinity": "inf",
    "negative": "-1.0",
    "a table": "{a = 1}",
    "empty text": '""',
    "a null in a text": '"a\\u0000b"',
    "ANSI": '"\\u001b[2J"',
    "integer of 400 digits": "9" * 400,
}

_RULE_KEYS = (
    "runs", "events", "rows", "file", "suffixes", "folders", "onset", "start", "end", "duration", "pad", "genre",
    "fade", "rms", "table", "of",
)  # fmt: skip
_TEMPLATES = {
    "fill width": "{run:0999999999d}.wav",
    "attribute": "{stim_file.__class__}",
    "index": "{stim_file[0]}",
    "conversion": "{stim_file!r}",
    "not closed": "{stim_file",
    "nested": "{stim_file:{run}}",
    "width from a column": "{run:{run}d}",
    "99 digits": "{run:099d}",
    "empty": "{}",
    "number": "{0}",
    "star": "*",
    "a point": ".",
    "up": "../{stim_file}",
    "10⁵ fields": "{stim_file}" * 100_000,
}
_TOML: dict[str, str | bytes | Callable[[], str | bytes]] = {
    "empty": "",
    "not TOML": "{{{",
    "null bytes": "a = 1\0",
    "UTF-16": "name = 'a'".encode("utf-16"),
    "lists nested deep": "name = " + "[" * 5000 + "]" * 5000,
    "keys nested deep": ".".join(["a"] * 50_000) + " = 1",
    "tables nested deep": "[" + ".".join(["a"] * 50_000) + "]",
    "integer of 5 000 digits": "name = " + "9" * 5000,
    "300 MB": lambda: "#" + "x" * (300 * 2**20),
    "Latin-1": "name = '\xfc'".encode("latin-1"),
    "10⁶ blanks": " " * (2**20 - 10),
    "10⁶ brackets": "[" * (2**20 - 10),
}


_OWN, _PROFILE = "code/ban-bids.toml", "code/ban_bids_profile.toml"
_CONFIG_KEYS = ("nprocs", "model", "output-spaces", "space", "work-dir", "participant-label", "encoding")
_PROFILE_KEYS = ("path", "suffixes", "folders", "genre", "start", "end", "fade", "rms")
_HEAD = ("name", "note", "match", "rule", "stimuli", "lead_in", "held_out")


def _rules() -> Iterator[Case]:
    for name, content in _TOML.items():
        yield Case("TOML: rules", name, _writes(_OWN, content), whole)
        yield Case("TOML: config file", name, _writes("config.toml", content), config_file)
    for name, template in _TEMPLATES.items():
        yield Case("template", name, _writes(_OWN, f"[[rule]]\nfile = {json.dumps(template)}\n"), whole)


def _values() -> Iterator[Case]:
    keys: list[tuple[str, tuple[str, ...], str, str, Use]] = [
        ("rules", _RULE_KEYS, _OWN, "[[rule]]\n", whole),
        ("rules' head", _HEAD, _OWN, "", whole),
        ("profile's values", _PROFILE_KEYS, _PROFILE, "name = 'x'\n[stimuli]\n", whole),
        ("config's values", _CONFIG_KEYS, "config.toml", "", config_file),
    ]
    for kind, names, file, before, use in keys:
        for key in names:
            for name, value in _VALUES.items():
                yield Case(kind, f"{key} is {name}", _writes(file, f"{before}{key} = {value}\n"), use)


_YAML: dict[str, str | bytes | Callable[[], str | bytes]] = {
    "empty": "",
    "lists nested deep": "plugin: " + "[" * 5000 + "]" * 5000,
    "maps nested deep": "".join(" " * n + "a:\n" for n in range(1000)),
    "aliases that explode": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9))
    + "plugin: Linear\nplugin_args: {deep: *j}\n",
    "an alias of itself": "plugin: Linear\nplugin_args: &a {a: *a}\n",
    "a Python object": "plugin: !!python/object/apply:os.system ['true']\n",
    "null bytes": "plugin: a\0b\n",
    "300 MB": lambda: "#" + "x" * (300 * 2**20),
    "UTF-16": "plugin: Linear\n".encode("utf-16"),
    "Latin-1": "plugin: L\xfcnear\n".encode("latin-1"),
    "integer of 5 000 digits": "plugin: Linear\nplugin_args: {n: " + "9" * 5000 + "}\n",
    "a date that is none": "plugin: Linear\nplugin_args: {day: 2001-99-99}\n",
    "keys that are lists": "? [a]\n: 1\n",
    "merge of a text": "plugin: Linear\n<<: text\n",
    "a plugin with a path": "plugin: ../../x\n",
    "several documents": "plugin: a\n---\nplugin: b\n",
    "tag of time": "plugin: !!timestamp x\n",
}


def _settings() -> Iterator[Case]:
    for name, content in _YAML.items():
        yield Case("YAML: --use-plugin", name, _writes("plugin.yml", content), plugin_file)


# --- models


def _safetensors(header: object, data: bytes = b"\0" * 64) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


_F32 = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
_WEIGHTS: dict[str, bytes | Callable[[], bytes]] = {
    "empty": b"",
    "cut": _safetensors({"a": _F32})[:12],
    "header of 2⁶³ bytes": struct.pack("<Q", 2**63) + b"{}",
    "header of 100 MB": struct.pack("<Q", 10**8) + b"{" + b" " * 100,
    "header no JSON": _safetensors(b"{nonsense"),
    "header a list": _safetensors([]),
    "offsets outside": _safetensors({"a": _F32 | {"data_offsets": [0, 10**12]}}),
    "offsets below 0": _safetensors({"a": _F32 | {"data_offsets": [-4, 16]}}),
    "a shape of 2⁴⁰": _safetensors({"a": _F32 | {"shape": [2**40]}}),
    "a shape that overflows": _safetensors({"a": _F32 | {"shape": [2**33, 2**33]}}),
    "unknown type": _safetensors({"a": _F32 | {"dtype": "F7"}}),
    "a pickle": b"\x80\4K\1.",
    "a zip": b"PK\3\4" + b"\0" * 100,
    "bare tensors": _safetensors({"a": _F32}, b"\0" * 16),
    "card no JSON": _safetensors({"__metadata__": {"ban_bids": "{"}, "a": _F32}, b"\0" * 16),
    "card nested deep": _safetensors({"__metadata__": {"ban_bids": "[" * 100_000}, "a": _F32}, b"\0" * 16),
    "card a list": _safetensors({"__metadata__": {"ban_bids": "[]"}, "a": _F32}, b"\0" * 16),
    "card a number": _safetensors({"__metadata__": {"ban_bids": "3"}, "a": _F32}, b"\0" * 16),
    "card with null": _safetensors(
        {"__metadata__": {"ban_bids": '{"format": null, "architecture": null, "card": null}'}, "a": _F32}, b"\0" * 16
    ),
    "card with lists": _safetensors(
        {
            "__metadata__": {"ban_bids": '{"format": "ban-bids-checkpoint-1", "architecture": [], "card": [[]]}'},
            "a": _F32,
        },
        b"\0" * 16,
    ),
}


def _npz(shape: object = (10, 3), descr: str = "<f4", raw: bytes | None = None) -> bytes:
    import io
    import zipfile

    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    array = b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + b"\0" * 120
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one.npy", array if raw is None else raw)
    return out.getvalue()


def _npy(array: np.ndarray) -> bytes:
    import io

    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _h5(make: Callable[[Any], object]) -> bytes:
    import io

    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        make(file)
    return out.getvalue()


_FEATURES: dict[str, bytes | Callable[[], bytes]] = {
    "empty.npz": b"",
    "cut.npz": _npz()[:50],
    "no zip.npz": b"nonsense" * 20,
    "pickled.npz": _npz(descr="|O"),
    "shape of 2⁶⁰.npz": _npz(shape=(2**60, 4)),
    "rows of 2⁴⁰.npz": _npz(shape=(120, 2**40)),
    "rows of 2³².h5": lambda: _h5(lambda file: file.create_dataset("one", (120, 2**32), "f4", chunks=(1, 1024))),
    "good.npz": lambda: _npz(shape=(120, 3), raw=_npy(np.ones((120, 3), "f4"))),
    "shape below 0.npz": _npz(shape=(-1, 4)),
    "shape a text.npz": _npz(shape="('a',)"),
    "shape nested deep.npz": _npz(shape="(" * 50 + ")" * 50),
    "unknown type.npz": _npz(descr="<q99"),
    "version 9.npz": _npz(raw=b"\x93NUMPY\t\0" + b"\0" * 100),
    "no header.npz": _npz(raw=b""),
    "zip bomb.npz": lambda: _npz(raw=b"\0" * 2**28),
    "empty.h5": b"",
    "cut.h5": lambda: _h5(lambda file: file.create_dataset("one", data=np.zeros((10, 3), "f4")))[:700],
    "claims 2⁴⁰ rows.h5": lambda: _h5(lambda file: file.create_dataset("one", (2**40, 4), "f4", chunks=(1024, 4))),
    "a group.h5": lambda: _h5(lambda file: file.create_group("one")),
    "texts.h5": lambda: _h5(lambda file: file.create_dataset("one", data=[["a"], ["b"]])),
    "no numbers.h5": b"\x89HDF\r\n\x1a\n" + b"\xff" * 2000,
}
_DESCRIPTIONS = {
    "layers a text": '{"name": "m", "layers": "one"}',
    "frame rate NaN": '{"name": "m", "layers": [{"name": "one", "frame_rate": NaN}]}',
    "frame rate 0": '{"name": "m", "layers": [{"name": "one", "frame_rate": 0}]}',
    "frame rate 1e300": '{"name": "m", "layers": [{"name": "one", "frame_rate": 1e300}]}',
    "frame rate of 400 digits": '{"name": "m", "layers": [{"name": "one", "frame_rate": ' + "9" * 400 + "}]}",
    "layers of null": '{"name": "m", "layers": [null]}',
    "name an object": '{"name": {}, "layers": [{"name": "one", "frame_rate": 10}]}',
    "nested deep": '{"name": ' + "[" * 900 + "]" * 900 + "}",
}


def _models() -> Iterator[Case]:
    for name, content in _WEIGHTS.items():
        yield Case("weights", name, _writes("ban.safetensors", content), weights)
    for name, raw in _FEATURES.items():
        yield Case("features", name, _feature_file(raw, "." + name.rpartition(".")[2]), stored)
    for name, text in _DESCRIPTIONS.items():
        yield Case("features.json", name, _writes("features/features.json", text), stored)


def _feature_file(content: bytes | Callable[[], bytes], suffix: str) -> Spoil:
    def spoil(toy: Toy) -> None:
        layers = [{"name": "one", "frame_rate": 10}]
        _writes("features/features.json", json.dumps({"name": "m", "layers": layers}))(toy)
        _writes(f"features/blues.00000{suffix}", content)(toy)

    return spoil


# --- exported answers, participants


def _others() -> Iterator[Case]:
    exports: dict[str, str | bytes] = {
        "answers.json nested deep": "[" * 100_000 + "]" * 100_000,
        "answers.json nested 900 deep": "[" * 900 + '{"a": 1}' + "]" * 900,
        "answers.json with large integers": '[{"a": ' + "9" * 5000 + "}]",
        "answers.json of lists": "[[1, 2], 3]",
        "answers.csv with a quote never closed": 'a,b\n"1,2\n3,4\n',
        "answers.csv with nulls": "a,b\n1\0,2\n",
        "answers.csv with a cell of 1 MB": "a,b\n" + "x" * 2**20 + ",2\n",
        "answers.csv empty": "",
    }
    for name, content in exports.items():
        file = name.split()[0]
        yield Case("exported answers", name, _writes(file, content), records(file))
    for name in ("sub-01 copy", "sub-\u202e1", "sub-<b>", "sub-\x1b[2J", "sub-0\n1", "sub-", "sub-..", "SUB-01"):
        yield Case("participants' folders", repr(name), _at(f"{name}/func/x", lambda p: _writes_at(p)), whole)
    raw = os.fsdecode(b"sub-01_task-music_run-9\xff_bold.nii.gz")
    yield Case("participants' folders", "a name that is no UTF-8", _at(f"sub-01/func/{raw}", _writes_at), whole, True)
    raw = os.fsdecode(b"bl\xff.wav")
    yield Case("participants' folders", "a sound that is no UTF-8", _at(f"stimuli/{raw}", _writes_at), whole)
    tables = {
        "twice the same": "participant_id\tage\nsub-01\t20\nsub-01\t21\n",
        "hostile": "participant_id\tage\n../../x\t20\nsub-\u202e\t\x1b[2J\n\t\n",
        "null bytes": "participant_id\0\tage\n",
    }
    for name, text in tables.items():
        yield Case("participants.tsv", name, _writes("participants.tsv", text), whole)


def _writes_at(path: Path) -> None:
    _gone(path).write_bytes(b"x" * 100)


def cases() -> list[Case]:
    """All cases."""
    makers = (_odd_files, _tables, _stimuli, _sidecars, _images, _sounds, _rules, _values, _settings, _models, _others)
    return [case for make in makers for case in make()]


# --- running one


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Parameters
    ----------
    what : {"used", "told", "silent", "traceback", "memory", "hangs", "killed", "others"}
        ``used``: taken, or left out with a note. ``told``: one line of ours. ``silent``: taken for something else than
        it is, or without the word that it needs. ``others``: another participant's fault.
    message : str
    """

    what: str
    message: str = ""

    @property
    def good(self) -> bool:
        return self.what in ("used", "told")


def run_case(case: Case, template: Path, folder: Path) -> Outcome:
    """Run a case in a process of its own, on a copy of a good dataset."""
    root = folder / "bids"
    shutil.copytree(template, root)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(case, Toy(root), there))
    child.start()
    there.close()
    try:
        return here.recv() if here.poll(SECONDS) else Outcome("hangs", f"more than {SECONDS} s")
    except EOFError:
        child.join()
        return Outcome("killed", f"status {child.exitcode}")
    finally:
        child.kill()
        child.join()
        shutil.rmtree(folder, ignore_errors=True)


def _child(case: Case, toy: Toy, answer: Any) -> None:
    case.spoil(toy)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    answer.send(_used(case, toy))


def _used(case: Case, toy: Toy) -> Outcome:
    from ban_bids.errors import BanBidsError

    try:
        found = case.use(toy)
    except BanBidsError as error:
        text = str(error)
        if case.alone:
            return Outcome("others", text)
        if not re.search(case.told, text) or case.read:
            return Outcome("silent", text)
        return Outcome("told" if "\n" not in text else "traceback", text)
    except MemoryError:
        return Outcome("memory")
    except BaseException as error:  # noqa: BLE001  whatever it is
        return Outcome("traceback", f"{type(error).__name__}: {error}"[:300])
    people = {one.label: one for one in getattr(found, "participants", ())}
    if case.alone and people["02"].failure is not None:
        return Outcome("others", str(people["02"].failure))
    if case.told or case.read:
        told, read = what_was_told(found), what_was_read(found)
        well = re.search(case.told, told) and re.search(case.read, read)
        return Outcome("used" if well else "silent", f"{told} | {read}"[:1000])
    return Outcome("used", "; ".join(str(one.failure) for one in people.values() if one.failure)[:300])


def what_was_told(found: object) -> str:
    """Failures and notes of a dataset; nothing of anything else."""
    people = getattr(found, "participants", ())
    notes = [*getattr(found, "notes", ()), *(note for one in people for note in one.notes)]
    return "; ".join([*(str(one.failure) for one in people if one.failure), *notes])


def what_was_read(found: object) -> str:
    """What participant 01 heard in the first run that is used, and on which clock; of other things their text."""
    people = getattr(found, "participants", None)
    if people is None:
        return str(found)
    runs = [run for one in people if one.label == "01" for run in one.runs]
    heard = (
        f"{item.onset:g}+{item.clip.duration:g} {item.clip.audio.name}@{item.clip.start:g}"
        for run in runs[:1]
        for item in run.presentations
    )
    clock = f"{runs[0].name} from {runs[0].reference_time:g} every {runs[0].repetition_time:g}" if runs else "no run"
    return f"{clock}: {', '.join(heard)}"


def import_all() -> None:
    """Import what cases use, so that each need not."""
    import ban_bids.audio.waveforms
    import ban_bids.cli.config
    import ban_bids.files.images
    import ban_bids.inputs.read
    import ban_bids.listen.records
    import ban_bids.models.checkpoint
    import ban_bids.models.stored
    import ban_bids.preprocessing.checks

    assert ban_bids.__file__


__all__ = ["HEADER", "Case", "Outcome", "Spoil", "Toy", "Use", "cases", "import_all", "run_case", "stored", "weights"]
