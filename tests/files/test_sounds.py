"""Lengths of sounds against what was written and what is decoded, whatever headers say; and what is no sound."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from ban_bids.errors import DataError
from ban_bids.files.flac import told_samples, with_samples
from ban_bids.files.mpeg import count_frames, frame_at, stream_at
from ban_bids.files.sounds import audio_seconds, open_sound, sound_info

RATE = 22_050
N = 3 * RATE + 101


def _sound(n: int = N, channels: int = 1) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.1, (n, channels)).astype(np.float32)
    return np.round(noise * 2**15) / 2**15


def _decoded(path: Path) -> np.ndarray:
    with open_sound(path) as file:
        return np.concatenate(list(file.blocks(4096, dtype="float32", always_2d=True)))


def _wav(path: Path, *, riff: int | None = None, data: int | None = None, tail: bytes = b"") -> Path:
    """A .wav of 16 bits with other sizes in its header, and something behind its samples."""
    soundfile.write(path, _sound(), RATE, subtype="PCM_16")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"data") + 4
    if riff is not None:
        raw[4:8] = struct.pack("<I", riff)
    if data is not None:
        raw[at : at + 4] = struct.pack("<I", data)
    path.write_bytes(bytes(raw) + tail)
    return path


BYTES = 2 * N
LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"riff": BYTES + 44}, "promises"),
        ({"riff": BYTES + 1036}, "promises"),
        ({"riff": 0x7FFFF024, "data": 0x7FFFF000}, "pipe"),
        ({"riff": 0xFFFFFFFF, "data": 0xFFFFFFFF}, "pipe"),
        ({"riff": 0xFFFFFFFF, "data": 0xFFFFFFFF - 36}, "pipe"),
        ({"riff": 0, "data": 0}, "pipe"),
        ({"riff": 36, "data": 0}, "pipe"),
        ({"data": 0x80000000}, "pipe"),
        ({"riff": 0}, ""),
        ({"riff": 100}, ""),
        ({"data": BYTES + 1}, ""),
        ({"tail": LIST}, ""),
        ({"tail": bytes(999)}, ""),
    ],
)
def test_a_wav_is_as_long_as_its_samples(tmp_path: Path, changes: dict[str, int], told: str) -> None:
    path = _wav(tmp_path / "a.wav", **changes)  # type: ignore[arg-type]
    info = sound_info(path)
    assert (info.frames, info.sampling_rate, info.channels) == (N, RATE, 1)
    assert audio_seconds(path) == N / RATE
    assert (told in info.note and "a.wav" in info.note) if told else not info.note
    np.testing.assert_array_equal(_decoded(path), _sound())


def test_the_chunk_of_samples_is_believed_and_what_follows_is_told(tmp_path: Path) -> None:
    info = sound_info(_wav(tmp_path / "a.wav", data=BYTES // 2 // 2 * 2))
    assert info.frames == BYTES // 2 // 2
    assert "is believed" in info.note


@pytest.mark.parametrize("name", [b"LIST", b"bext", b"abcd"])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_chunk_of_an_odd_size_with_and_without_the_byte_behind_it(
    tmp_path: Path, name: bytes, padded: bool, subtype: str
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, _sound(), RATE, subtype=subtype)
    raw, expected = path.read_bytes(), _decoded(path)
    at = raw.index(b"fact") if subtype == "FLOAT" else raw.index(b"data")
    chunk = name + struct.pack("<I", 9) + b"some text" + bytes(padded)
    path.write_bytes(raw[:at] + chunk + raw[at:] + LIST)
    assert sound_info(path).frames == N
    np.testing.assert_array_equal(_decoded(path), expected)
    path.write_bytes(raw[:at] + chunk + raw[at:-RATE])
    with pytest.raises(DataError, match="truncated"):
        sound_info(path)


def test_rf64_under_its_newer_name(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, _sound(), RATE, format="RF64", subtype="PCM_24")
    expected, raw = _decoded(path), path.read_bytes()
    for sizes in (raw[20:36], bytes(16)):  # those of ds64, or a recorder that was stopped
        path.write_bytes(b"BW64" + raw[4:20] + sizes + raw[36:])
        np.testing.assert_array_equal(_decoded(path), expected)


FORMATS = [
    (kind, subtype)
    for kind in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU")
    for subtype in ("PCM_16", "PCM_24", "PCM_U8", "PCM_S8", "FLOAT", "DOUBLE", "ULAW")
    if soundfile.check_format(kind, subtype)
]


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_every_container_whole_cut_and_with_something_behind(tmp_path: Path, kind: str, subtype: str) -> None:
    path = tmp_path / "sound"
    soundfile.write(path, _sound(9001), RATE, format=kind, subtype=subtype)
    expected, whole = soundfile.read(path, dtype="float32", always_2d=True)[0], path.read_bytes()
    for data in (whole, whole + bytes(1001)):
        path.write_bytes(data)
        assert sound_info(path).frames == len(expected)
        np.testing.assert_array_equal(_decoded(path), expected)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"truncated: the header promises \d+ bytes of samples, the file has \d+;"):
        sound_info(path)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_an_au_without_a_length_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.au"
    soundfile.write(path, _sound(), RATE, subtype="PCM_16")
    raw = bytearray(path.read_bytes())
    raw[8:12] = struct.pack(">I", size)
    path.write_bytes(bytes(raw))
    assert sound_info(path).frames == N
    np.testing.assert_array_equal(_decoded(path), _sound())


# --- compressed


def _mp3(path: Path, mode: str, rate: int = RATE, channels: int = 1) -> tuple[np.ndarray, bytes, bytes]:
    """Loud and quiet noise as .mp3: the sound, the file, and what is left of it without its Xing header."""
    swell = np.repeat(np.random.default_rng(1).uniform(0, 0.3, 30), rate // 5)[:, None]
    sound = (np.random.default_rng(2).standard_normal((len(swell), channels)) * swell).clip(-0.9, 0.9)
    soundfile.write(path, sound, rate, format="MP3", bitrate_mode=mode, compression_level=0.4)
    raw = path.read_bytes()
    stream = stream_at(raw)
    assert stream is not None and stream.tag is not None
    return sound, raw, raw[stream.first.size :]


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
@pytest.mark.parametrize(("rate", "channels"), [(22_050, 1), (44_100, 2), (11_025, 1), (48_000, 1)])
def test_an_mp3_is_as_long_as_its_frames(tmp_path: Path, mode: str, rate: int, channels: int) -> None:
    path = tmp_path / "a.mp3"
    sound, whole, bare = _mp3(path, mode, rate, channels)
    assert sound_info(path).frames == len(sound)
    front, behind = b"ID3\x04\0\0" + bytes([0, 0, 0x7F, 0x7F]) + bytes(0x3FFF), b"TAG" + bytes(125)
    for data in (bare, front + bare + behind):
        path.write_bytes(data)
        info, heard = sound_info(path), _decoded(path)
        assert len(heard) == info.frames and "counted" in info.note
        assert 0 <= info.frames - len(sound) < 0.25 * rate  # the encoder's silence at both ends
        # all of the sound is there, from its beginning to its end
        for part in (slice(0, rate), slice(len(sound) - rate, len(sound))):
            lags = np.correlate(heard[:, 0], sound[part, 0], "valid")[part.start :]
            assert np.argmax(lags) < 0.1 * rate
    path.write_bytes(front + whole + behind)
    assert sound_info(path).frames == len(sound) and not sound_info(path).note
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"truncated: the header promises \d+ frames in \d+ bytes, the file has \d+ in"):
        sound_info(path)


def test_an_mp3_whose_header_counts_itself_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    _, whole, _ = _mp3(path, "VARIABLE")
    stream = stream_at(whole)
    assert stream is not None and stream.tag is not None and stream.told_frames is not None
    frames = sound_info(path).frames
    at, told = stream.tag + 8, (stream.told_frames + 1).to_bytes(4, "big") + bytes(4)
    path.write_bytes(whole[:at] + told + whole[at + 8 :])
    assert sound_info(path).frames == len(_decoded(path))
    assert abs(sound_info(path).frames - frames) <= 1152


def test_two_mp3_in_one_file_are_as_long_as_both(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    sound, whole, _ = _mp3(path, "VARIABLE")
    path.write_bytes(whole + whole)
    assert 2 * len(sound) <= sound_info(path).frames == len(_decoded(path)) < 2 * len(sound) + 0.5 * RATE


_HEADERS = st.tuples(st.integers(1, 14), st.booleans())


@given(st.lists(_HEADERS, min_size=2, max_size=40), st.binary(max_size=40))
@settings(max_examples=60, deadline=None)
def test_frames_of_any_bitrates_are_counted(kinds: list[tuple[int, bool]], junk: bytes) -> None:
    data = b""
    for bitrate, padded in kinds:
        head = bytes([0xFF, 0xFB, bitrate << 4 | 0 << 2 | padded << 1, 0xC0])
        frame = frame_at(head, 0)
        assert frame is not None
        data += head + bytes(frame.size - 4)
    first = frame_at(data, 0)
    assert first is not None
    assert count_frames(data, first) == len(kinds)
    assert count_frames(data[:-1], first) == len(kinds) - 1
    # whatever is no frame is passed over
    junk = junk.replace(b"\xff", b"\0")
    assert count_frames(data + junk + data, first) == 2 * len(kinds)


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_an_mpeg_stream_or_none(data: bytes) -> None:
    stream = stream_at(data)
    assert stream is None or count_frames(data, stream.first) >= 0


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("n", [777, 4096, N, 30 * RATE])
def test_a_flac_that_does_not_tell_its_length_ends_with_its_last_frame(tmp_path: Path, subtype: str, n: int) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, _sound(n, 2), RATE, subtype=subtype)
    expected, raw = _decoded(path), path.read_bytes()
    assert told_samples(raw[:26]) == n == sound_info(path).frames
    untold = raw[:18] + with_samples(raw[:26], 0) + raw[26:]
    path.write_bytes(untold)
    assert sound_info(path).frames == n and "pipe" in sound_info(path).note
    np.testing.assert_array_equal(_decoded(path), expected)
    path.write_bytes(untold[:-20])
    with pytest.raises(DataError, match="does not end with a whole frame"):
        sound_info(path)
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match=rf"truncated: the header promises {n} samples"):
        sound_info(path)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_is_as_long_as_what_is_decoded(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, _sound(48_000 * 5), 48_000, format="OGG", subtype=subtype)
    assert sound_info(path).frames == len(_decoded(path)) == 48_000 * 5
    assert not sound_info(path).note
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    info = sound_info(path)
    assert info.frames == len(_decoded(path)) < 48_000 * 5
    assert "may have been cut short" in info.note
    path.write_bytes(whole[:5000])
    with pytest.raises(DataError, match="damaged or truncated|zero length"):
        sound_info(path)


# --- what is no sound


def _link(path: Path) -> None:
    path.symlink_to(".git/annex/objects/xx/yy/MD5E-s1--a.wav")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.m4a", b"\0\0\0 ftypM4A " + bytes(999), r"convert it to .wav or .flac \(ffmpeg -i a.m4a a.wav\)"),
        ("a.mp4", b"\0\0\0 ftypisom" + bytes(999), r"MPEG-4.*ffmpeg -i a.mp4 a.wav"),
        ("a.wav", b"\0\0\0 ftypisom" + bytes(999), r"MPEG-4.*ffmpeg -i a.wav a.flac"),
        ("a.aac", b"\xff\xf1\x50\x80" + bytes(range(256)) * 5, "AAC.*ffmpeg"),
        ("a.wma", bytes.fromhex("3026b2758e66cf11") + bytes(99), "Windows Media.*ffmpeg"),
        ("a.webm", bytes.fromhex("1a45dfa3") + bytes(99), "WebM.*ffmpeg"),
        ("a.wav", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x55\0\1\0" + bytes(99), "codec of its own.*ffmpeg"),
        ("a.wav", b"<!DOCTYPE html><html>" + b" " * 900, "web page.*download failed"),
        ("a.wav", b'{"error": "not found"}', "web page or text"),
        ("a.wav", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n", "git-lfs pointer.*lfs pull"),
        ("a.wav", b"/annex/objects/MD5E-s123--abc.wav\n", "git-annex pointer.*datalad get"),
        ("a.wav", b"../.git/annex/objects/xx/yy/MD5E-s1--a.wav", "git-annex pointer.*datalad get"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(99), "picture.*correct the events"),
        ("a.wav", b"", "empty file"),
        ("a.mp3", b"x", "too few bytes"),
        ("a.wav", b"once upon a time " * 99, "not audio that libsndfile can decode"),
        ("a.wav", _link, "cannot be read.*not there.*datalad get"),
        ("a.wav", None, "no such audio file"),
    ],
)
def test_each_other_file_is_told_what_it_is(
    tmp_path: Path, name: str, content: bytes | Callable[[Path], None] | None, words: str
) -> None:
    path = tmp_path / name
    if callable(content):
        content(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        audio_seconds(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("behind", [b"", LIST])
def test_a_file_without_samples_is_refused(tmp_path: Path, behind: bytes) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0), RATE, subtype="PCM_16")
    path.write_bytes(path.read_bytes() + behind)
    with pytest.raises(DataError, match="zero length"):
        audio_seconds(path)
