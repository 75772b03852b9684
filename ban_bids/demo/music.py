"""Synthesised music of ten genres: short tracks that a network can learn and a phantom can hear.

Every track draws key, tempo, progression, patterns, levels, equalisation and melody at random from its
genre's :class:`~ban_bids.demo.styles.Style`, so that tracks of a genre differ richly among themselves.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from scipy.signal import lfilter

from ban_bids.constants import SAMPLING_RATE
from ban_bids.demo.styles import GENRES, STYLES, Style, Voice

"""Samples a second of every file, GTZAN's rate."""

STEPS = 16
_TABLE = 2048
_RMS = 0.1

Audio = npt.NDArray[np.float32]


def _wavetable(voice: Voice, frequency: float) -> Audio:
    """One period of a voice's tone, limited to harmonics under 10 kHz."""
    count = int(np.clip(10_000 / frequency, 1, 40))
    harmonic = np.arange(1, count + 1)
    amplitude = harmonic**-voice.slope * np.where(harmonic % 2 == 0, voice.even, 1.0)
    spectrum = np.zeros(_TABLE // 2 + 1, dtype=complex)
    # Quadratic phases keep the crest factor low, as in a plucked string rather than a pulse.
    spectrum[1 : count + 1] = amplitude * np.exp(1j * np.pi * harmonic**2 / count)
    table = np.fft.irfft(spectrum)
    return (table / np.sqrt(np.mean(table**2))).astype(np.float32)


def _note(voice: Voice, midi: float, length: float) -> Audio:
    """A tone of ``length`` seconds with its envelope."""
    frequency = 440.0 * 2.0 ** ((midi + 12 * voice.octave - 69) / 12)
    time = np.arange(int(length * SAMPLING_RATE), dtype=np.float32)
    phase = (time * np.float32(frequency * _TABLE / SAMPLING_RATE)).astype(np.int64) & (_TABLE - 1)
    envelope = np.exp(time * np.float32(-1 / (voice.decay * SAMPLING_RATE)))
    ramp = max(int(voice.attack * SAMPLING_RATE), 1)
    envelope[:ramp] *= (time[:ramp] / ramp)[: envelope.size]
    envelope[-64:] *= np.linspace(1, 0, min(64, envelope.size), dtype=np.float32)
    return _wavetable(voice, frequency)[phase] * envelope


def _add(buffer: Audio, start: float, sound: Audio, gain: float) -> None:
    """Mix ``sound`` into ``buffer`` at ``start`` seconds; what lies beyond the end is cut."""
    first = int(start * SAMPLING_RATE)
    room = buffer.size - first
    if room > 0:
        buffer[first : first + sound.size] += np.float32(gain) * sound[:room]


def _step_times(style: Style, tempo: float, bars: int) -> npt.NDArray[np.float64]:
    """Onset of every sixteenth, seconds, shape (bars, 16); swing delays the odd eighths."""
    step = 60.0 / tempo / 4
    within = np.arange(STEPS) * step
    within[np.arange(STEPS) % 4 == 2] += style.swing * step * 2
    within[np.arange(STEPS) % 4 == 3] += style.swing * step
    return np.arange(bars)[:, None] * step * STEPS + within


def _drum_kit(style: Style, rng: np.random.Generator) -> dict[str, Audio]:
    """One-shot kick, snare and hat of a track, each differently tuned."""
    time = np.arange(int(0.35 * SAMPLING_RATE)) / SAMPLING_RATE
    low = rng.uniform(42, 60)
    kick = np.sin(2 * np.pi * (low * time - 4.0 * np.exp(-time / 0.03))) * np.exp(-time / 0.09)
    noise = rng.standard_normal(time.size)
    body = np.sin(2 * np.pi * rng.uniform(160, 240) * time) * np.exp(-time / 0.06)
    snare = 0.5 * noise * np.exp(-time / rng.uniform(0.05, 0.11)) + 0.7 * body
    bright = np.diff(noise, n=2, prepend=[0.0, 0.0])
    hat = 0.25 * bright * np.exp(-time / (style.hat_decay * rng.uniform(0.7, 1.4)))
    return {
        "kick": 2.0 * kick.astype(np.float32),
        "snare": snare.astype(np.float32),
        "hat": hat.astype(np.float32),
    }


def _pattern_part(
    out: Audio,
    pattern: str,
    onsets: npt.NDArray[np.float64],
    sounds: list[Audio],
    gains: npt.NDArray[np.float64],
) -> None:
    """Play ``sounds[bar]`` at the pattern's steps of every bar."""
    for bar, times in enumerate(onsets):
        for step, mark in enumerate(pattern):
            if mark != ".":
                _add(out, times[step], sounds[bar], gains[bar] * (1.0 if mark == "x" else 0.5))


def _drums(
    out: Audio,
    style: Style,
    onsets: npt.NDArray[np.float64],
    levels: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Kick, snare and hat patterns with ghost strokes of the track's own."""
    kit = _drum_kit(style, rng)
    for name, patterns in (("kick", style.kick), ("snare", style.snare), ("hat", style.hat)):
        if patterns:
            pattern = str(rng.choice(patterns))
            ghosts = "".join("o" if c == "." and rng.random() < 0.06 else c for c in pattern)
            gain = style.drum_gain * rng.uniform(0.6, 1.4)
            _pattern_part(out, ghosts, onsets, [kit[name]] * len(onsets), gain * levels)


def _harmony(
    out: Audio,
    style: Style,
    key: float,
    onsets: npt.NDArray[np.float64],
    levels: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Chords of the progression in the accompaniment's rhythm, distorted where the style says so."""
    progression = style.progressions[rng.integers(len(style.progressions))]
    pattern = str(rng.choice(style.comp_patterns))
    voice = style.comp
    length = min(3.5 * voice.decay, onsets[1, 0] - onsets[0, 0]) + 0.02
    sounds = []
    for bar in range(len(onsets)):
        root, intervals = progression[bar % len(progression)]
        shift = 12 if root > 6 else 0
        chord = np.sum([_note(voice, key + root - shift + i, length) for i in intervals], axis=0)
        sounds.append(_distort(chord / len(intervals), voice.drive))
    _pattern_part(out, pattern, onsets, sounds, voice.gain * levels)


def _bass_line(
    out: Audio,
    style: Style,
    key: float,
    onsets: npt.NDArray[np.float64],
    levels: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Roots on the bass pattern, or a walking line through the scale."""
    progression = style.progressions[rng.integers(len(style.progressions))]
    pattern = str(rng.choice(style.bass_patterns))
    voice, sixteenth = style.bass, float(onsets[0, 1] - onsets[0, 0])
    length = min(3 * voice.decay, 8 * sixteenth) + 0.02
    for bar, times in enumerate(onsets):
        root = progression[bar % len(progression)][0]
        for step, mark in enumerate(pattern):
            if mark == ".":
                continue
            interval = int(rng.choice(style.scale)) if style.walking or rng.random() < 0.15 else 0
            note = _distort(_note(voice, key + root % 12 + interval, length), voice.drive)
            _add(out, times[step], note, voice.gain * levels[bar])


def _melody(
    out: Audio,
    style: Style,
    key: float,
    onsets: npt.NDArray[np.float64],
    levels: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """A random walk on the style's scale, as dense as the style and the bar say."""
    scale = np.concatenate([np.array(style.scale) + 12 * octave for octave in (0, 1)])
    place, voice = int(rng.integers(len(scale))), style.lead
    eighth = float(onsets[0, 2] - onsets[0, 0])
    for bar, times in enumerate(onsets):
        density = np.clip(style.lead_density * rng.uniform(0.2, 1.8), 0, 0.95)
        for step in range(0, STEPS, 2):
            if rng.random() > density:
                continue
            place = int(np.clip(place + rng.integers(-3, 4), 0, len(scale) - 1))
            length = eighth * float(rng.choice([1, 2, 3])) + 0.02
            note = _distort(_note(voice, key + scale[place], length), voice.drive)
            _add(out, times[step], note, voice.gain * levels[bar] * rng.uniform(0.6, 1.2))


def _distort(sound: Audio, drive: float) -> Audio:
    """Soft clipping; ``drive`` 0 leaves the sound alone."""
    return np.tanh(drive * sound) if drive else sound


def _levels(bars: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A part's level in every bar: now and then it fades back or rests, as arrangements do."""
    return rng.uniform(0.5, 1.3) * rng.choice([0.0, 0.35, 0.7, 1.0, 1.3], size=bars, p=[0.12, 0.13, 0.2, 0.35, 0.2])


def synthesise_track(genre: str, duration: float, rng: np.random.Generator) -> Audio:
    """Synthesise one track of a genre.

    Parameters
    ----------
    genre : str
        A name of :data:`~ban_bids.demo.styles.GENRES`.
    duration : float
        Length in seconds.
    rng : numpy.random.Generator
        Source of everything that makes this track different from the genre's others.

    Returns
    -------
    ndarray of float32, shape (round(duration * 22050),)
        Mono audio of RMS 0.1 within ±1.
    """
    style = STYLES[genre]
    tempo = rng.uniform(*style.tempo)
    bars = int(np.ceil(duration / (240.0 / tempo))) + 1
    onsets = _step_times(style, tempo, bars)
    key = 57.0 + rng.integers(-6, 6)
    out = np.zeros(round(duration * SAMPLING_RATE), dtype=np.float32)
    for part in (_harmony, _bass_line, _melody):
        part(out, style, key, onsets, _levels(bars, rng), rng)
    _drums(out, style, onsets, _levels(bars, rng), rng)
    if style.noise:
        # A voice without pitch: noise in the syllable rhythm of speech or of a shout.
        rate, noise = rng.uniform(3, 6), rng.standard_normal(out.size).astype(np.float32)
        syllables = np.clip(np.sin(2 * np.pi * rate * np.arange(out.size) / SAMPLING_RATE), 0, 1)
        out += style.noise * lfilter([0.3], [1, -0.7], noise * syllables).astype(np.float32)
    return _master(out, rng)


def _master(mix: Audio, rng: np.random.Generator) -> Audio:
    """Random tone control of the recording, a trace of noise, and one loudness for all."""
    pole = rng.uniform(0.0, 0.55)
    low = lfilter([1 - pole], [1, -pole], mix)
    mix = (low + rng.uniform(0.0, 1.0) * (mix - low)).astype(np.float32)
    mix += np.float32(0.003) * rng.standard_normal(mix.size).astype(np.float32)
    mix *= np.float32(_RMS / np.sqrt(np.mean(mix**2)))
    return np.tanh(mix).astype(np.float32)


def write_tracks(
    folder: Path, purpose: str, per_genre: int, duration: float, seed: int, *, by_genre: bool, first: int = 0
) -> list[Path]:
    """Write ``per_genre`` tracks of every genre as 16-bit WAV files.

    Parameters
    ----------
    folder : Path
        Where they go: ``folder/<genre>/`` when ``by_genre``, else ``folder`` itself.
    purpose : str
        Part of every track's seed, so that tracks of different purposes are never the same music.
    per_genre : int
        Tracks a genre.
    duration : float
        Seconds a track.
    seed : int
        The dataset's seed.
    by_genre : bool
        Lay out as GTZAN does, one folder a genre.
    first : int
        Number of the first track: names are GTZAN's, ``blues.00012.wav``.

    Returns
    -------
    list of Path
        Genre by genre, in the order of :data:`~ban_bids.demo.styles.GENRES`.
    """
    paths = []
    for index, genre in enumerate(GENRES):
        target = folder / genre if by_genre else folder
        target.mkdir(parents=True, exist_ok=True)
        for number in range(first, first + per_genre):
            rng = np.random.default_rng([seed, index, number, *purpose.encode()])
            path = target / f"{genre}.{number:05d}.wav"
            soundfile.write(path, synthesise_track(genre, duration, rng), SAMPLING_RATE, subtype="PCM_16")
            paths.append(path)
    return paths
