"""Sound files: whatever libsndfile decodes, as long as it truly is, or one line that says why it cannot be had.

Headers are believed where the bytes that they promise are there. Where they are wrong or say nothing (pipes of SoX and
ffmpeg, programs that were stopped, MPEG of changing bitrate), libsndfile is given the file with a right one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import soundfile

from ban_bids.errors import DataError
from ban_bids.files.reading import check_ordinary, opened, unreadable
from ban_bids.files.sound_views import view_of

_CONVERT = "convert it to .wav or .flac (ffmpeg -i {name} {made}) and name that file in the events"
_FETCH = "datalad get or git annex get"
_RIGHTS = "fetch the sound, or fix its rights"
_UNFORESEEN = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError)
"""What headers that make no sense may end in."""
MOST_CHANNELS = 64
MOST_PER_SECOND = 768_000
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"(?s).{4}ftypM4A", "AAC or ALAC in an .m4a"),
    (rb"(?s).{4}ftyp", "an MPEG-4 file (.mp4, .m4a, .mov)"),
    (rb"(?s)\xff[\xf0\xf1\xf8\xf9]|ADIF", "AAC"),
    (rb"(?s)\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media (.wma, .wmv)"),
    (rb"(?s)\x1a\x45\xdf\xa3", "Matroska or WebM (.mkv, .webm)"),
    (rb"(?s)RIFF.{4}AVI ", "a film (.avi)"),
    (rb"(?s)RIFF.{4}WAVE", "a .wav with a codec of its own"),
    (rb"(?s)OggS", "an Ogg stream of another codec"),
    (rb"(?s)#!AMR|#!SILK|wvpk|MAC |TTA1|FLV|MPCK|MP\+", "a sound format"),
)
"""How other programs' sounds begin, and what they are."""
_PICTURES = re.compile(rb"(?s)\x89PNG|\xff\xd8\xff|GIF8|BM.{4}\0\0\0\0|RIFF.{4}WEBP|%PDF|PK\x03\x04")
_PAGE = re.compile(rb"(?is)\s*(\xef\xbb\xbf)?\s*(<!doctype|<html|<\?xml|<head|\{\s*\")")


@dataclass(frozen=True)
class SoundInfo:
    """How long a sound is.

    Parameters
    ----------
    frames : int
        Samples per channel.
    sampling_rate : int
        Hz.
    channels : int
    note : str
        What is odd about the file, with its name; empty where nothing is.
    """

    frames: int
    sampling_rate: int
    channels: int
    note: str = ""

    @property
    def seconds(self) -> float:
        """Length."""
        return self.frames / self.sampling_rate


def sound_info(path: Path) -> SoundInfo:
    """Length of a sound, decoding nothing where that is not needed.

    Parameters
    ----------
    path : Path
        Anything that libsndfile decodes: .wav, .au, .aiff, .flac, .mp3, .ogg.

    Returns
    -------
    SoundInfo

    Raises
    ------
    DataError
        The file is missing, empty, cut short, without samples or not sound; what would help is in the message.
    """
    with open_sound(path) as file:
        return SoundInfo(file.frames, file.samplerate, file.channels, file.note)


def audio_seconds(path: Path) -> float:
    """Length of a sound, seconds; see :func:`sound_info`."""
    return sound_info(path).seconds


class OpenSound(soundfile.SoundFile):  # type: ignore[misc]
    """A :class:`soundfile.SoundFile` of the right length, with what was odd about its file."""

    note: str = ""


@contextmanager
def open_sound(path: Path) -> Iterator[OpenSound]:
    """Open a sound to be decoded; ``frames`` of it are those that are there.

    Raises
    ------
    DataError
        As :func:`sound_info`, also for what goes wrong while it is used.
    """
    path = Path(path)
    _check_file(path)
    try:
        with opened(path, remedy=_RIGHTS) as raw:
            view = view_of(path, raw)
            headless = path.suffix.lower() == ".raw"  # soundfile would want to be told what it is: its bytes decide
            with OpenSound(view.file if view.changed or headless else path) as file:
                file.note = view.note
                _check_opened(path, file)
                yield file
    except soundfile.SoundFileError as error:
        raise _not_decoded(path, error) from error
    except (OSError, *_UNFORESEEN) as error:
        raise unreadable(path, error, _RIGHTS) from error


def _check_file(path: Path) -> None:
    """Refuse what is no file, and pointers that git-annex and git-lfs leave in its place."""
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: stimulus cannot be read, a link to a file that is not there; fetch it ({_FETCH})")
    if not path.exists():
        raise DataError(f"{path}: no such audio file; put it there or point --stimuli-dir at its folder")
    size = check_ordinary(path, _RIGHTS)
    with opened(path, remedy=_RIGHTS) as file:
        head = file.read(512)
    if size == 0:
        raise DataError(f"{path}: stimulus is an empty file (0 bytes); fetch the original file again")
    if head.startswith(b"version https://git-lfs"):
        raise DataError(
            f"{path}: stimulus is not audio but a git-lfs pointer, the sound itself was not fetched; run git lfs pull"
        )
    if size < 32768 and (head.startswith((b"/annex/objects/", b".git/annex")) or b"/annex/objects/" in head[:300]):
        raise DataError(
            f"{path}: stimulus is not audio but a git-annex pointer, the sound itself was not fetched; run {_FETCH}"
        )
    if _PAGE.match(head):
        raise DataError(
            f"{path}: stimulus is not audio but a web page or text (it begins {_begins(head)}): the download failed; "
            "fetch the original file again"
        )


def _begins(head: bytes) -> str:
    return repr(head[:24].decode("ascii", "replace").strip())


def _check_opened(path: Path, file: OpenSound) -> None:
    if file.frames <= 0 or file.samplerate <= 0:
        raise DataError(f"{path}: stimulus has zero length, it holds no samples; fetch the original file again")
    if file.channels > MOST_CHANNELS or file.samplerate > MOST_PER_SECOND:
        raise DataError(
            f"{path}: stimulus has {file.channels} channels of {file.samplerate} samples per second by its header; at "
            f"most {MOST_CHANNELS} of {MOST_PER_SECOND} are read: fetch the original file again, or convert it"
        )
    if file.format != "FLAC":
        return
    try:
        file.seek(file.frames - 1)
        whole = len(file.read(1)) == 1
    except soundfile.SoundFileError:
        whole = False
    if not whole:
        raise DataError(
            f"{path}: stimulus is truncated: the header promises {file.frames} samples, but the last of them is not in "
            f"its {path.stat().st_size} bytes; fetch the original file again"
        )
    file.seek(0)


def _not_decoded(path: Path, error: Exception) -> DataError:
    """What a file is instead of sound, and what helps."""
    size = path.stat().st_size
    with opened(path) as file:
        head = file.read(64)
    made = path.with_suffix(".flac" if path.suffix.lower() == ".wav" else ".wav")
    convert = _CONVERT.format(name=shlex.quote(path.name), made=shlex.quote(made.name))
    if _PICTURES.match(head):
        return DataError(f"{path}: stimulus is not audio but a picture or document; correct the events file")
    reason = "too few bytes" if size < 44 else str(getattr(error, "error_string", error)).rstrip(".")
    if "malformed" in reason:
        return DataError(f"{path}: stimulus is damaged or truncated ({size} bytes); fetch the original file again")
    for pattern, kind in _OTHERS:
        if re.match(pattern, head):
            return DataError(f"{path}: stimulus is not audio that libsndfile can decode, but {kind}; {convert}")
    return DataError(
        f"{path}: stimulus is not audio that libsndfile can decode ({reason}); fetch the original file again, or "
        f"{convert}"
    )
