"""What makes each synthesised genre itself: tempo, harmony, timbre and percussion as plain tables.

A pattern is a string of sixteen steps a bar: ``x`` strikes, ``o`` strikes softly, ``.`` rests.
"""

from __future__ import annotations

from dataclasses import dataclass

GENRES: tuple[str, ...] = (
    "blues",
    "classical",
    "country",
    "disco",
    "hiphop",
    "jazz",
    "metal",
    "pop",
    "reggae",
    "rock",
)
"""The ten genres, under GTZAN's names and in its order."""

MAJOR = (0, 4, 7)
MINOR = (0, 3, 7)
DOMINANT = (0, 4, 7, 10)
MAJOR7 = (0, 4, 7, 11)
MINOR7 = (0, 3, 7, 10)
POWER = (0, 7, 12)

Chord = tuple[int, tuple[int, ...]]
"""Root in semitones above the key, and the chord's intervals."""

MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
MINOR_SCALE = (0, 2, 3, 5, 7, 8, 10)
BLUES_SCALE = (0, 3, 5, 6, 7, 10)
PENTATONIC = (0, 2, 4, 7, 9)


@dataclass(frozen=True)
class Voice:
    """How one instrument sounds.

    Parameters
    ----------
    slope : float
        Harmonic h has amplitude ``h ** -slope``: small is bright.
    even : float
        Weight of even harmonics (0 sounds like a clarinet, 1 like a saw).
    attack, decay : float
        Rise time and exponential decay time of the envelope, seconds.
    drive : float
        Distortion: 0 none, otherwise the gain in front of a ``tanh``.
    gain : float
        Level in the mix.
    octave : int
        Transposition of the part, octaves.
    """

    slope: float
    even: float = 1.0
    attack: float = 0.005
    decay: float = 0.5
    drive: float = 0.0
    gain: float = 1.0
    octave: int = 0


@dataclass(frozen=True)
class Style:
    """One genre: ranges and choices from which a track draws at random."""

    tempo: tuple[float, float]
    swing: float
    progressions: tuple[tuple[Chord, ...], ...]
    scale: tuple[int, ...]
    comp: Voice
    comp_patterns: tuple[str, ...]
    bass: Voice
    bass_patterns: tuple[str, ...]
    lead: Voice
    lead_density: float
    kick: tuple[str, ...] = ()
    snare: tuple[str, ...] = ()
    hat: tuple[str, ...] = ()
    drum_gain: float = 0.0
    hat_decay: float = 0.03
    walking: bool = False
    noise: float = 0.0


STYLES: dict[str, Style] = {
    "blues": Style(
        tempo=(70, 100),
        swing=0.33,
        progressions=(((0, DOMINANT), (0, DOMINANT), (5, DOMINANT), (0, DOMINANT), (7, DOMINANT)),),
        scale=BLUES_SCALE,
        comp=Voice(1.4, decay=0.5, gain=0.5),
        comp_patterns=("x...x...x...x...", "x..xx..xx..xx..x"),
        bass=Voice(2.0, decay=0.5, gain=0.8, octave=-2),
        bass_patterns=("x...x...x...x...",),
        lead=Voice(1.1, decay=0.6, drive=2.0, gain=0.7, octave=1),
        lead_density=0.3,
        kick=("x.......x.......",),
        snare=("....o.......o...",),
        hat=("o..oo..oo..oo..o",),
        drum_gain=0.5,
    ),
    "classical": Style(
        tempo=(60, 120),
        swing=0.0,
        progressions=(
            ((0, MAJOR), (5, MAJOR), (7, MAJOR), (0, MAJOR)),
            ((0, MINOR), (8, MAJOR), (5, MINOR), (7, MAJOR)),
        ),
        scale=MAJOR_SCALE,
        comp=Voice(1.9, attack=0.12, decay=2.5, gain=0.9),
        comp_patterns=("x.......x.......", "x..............."),
        bass=Voice(1.8, attack=0.15, decay=2.5, gain=0.6, octave=-1),
        bass_patterns=("x...............",),
        lead=Voice(1.7, attack=0.05, decay=1.0, gain=0.8, octave=1),
        lead_density=0.5,
    ),
    "country": Style(
        tempo=(100, 130),
        swing=0.0,
        progressions=(((0, MAJOR), (5, MAJOR), (0, MAJOR), (7, MAJOR)),),
        scale=PENTATONIC,
        comp=Voice(0.8, decay=0.12, gain=0.8, octave=1),
        comp_patterns=("..x.x.x...x.x.x.", "....x.......x..."),
        bass=Voice(1.8, decay=0.25, gain=0.8, octave=-1),
        bass_patterns=("x.......x.......",),
        lead=Voice(0.7, decay=0.18, gain=0.8, octave=1),
        lead_density=0.6,
        kick=("x.......x.......",),
        snare=("....o.......o...", "o.o.o.o.o.o.o.o."),
        drum_gain=0.25,
    ),
    "disco": Style(
        tempo=(114, 130),
        swing=0.0,
        progressions=(
            ((0, MINOR7), (5, MINOR7), (10, MAJOR7), (3, MAJOR7)),
            ((0, MINOR7), (8, MAJOR7), (10, MAJOR), (0, MINOR7)),
        ),
        scale=MINOR_SCALE,
        comp=Voice(1.2, attack=0.04, decay=0.9, gain=0.6, octave=1),
        comp_patterns=("x...........x...", "..x...x...x...x."),
        bass=Voice(1.2, decay=0.15, gain=0.9, octave=-1),
        bass_patterns=("x.x.x.x.x.x.x.x.",),
        lead=Voice(1.3, attack=0.03, decay=0.5, gain=0.4, octave=1),
        lead_density=0.25,
        kick=("x...x...x...x...",),
        snare=("....x.......x...",),
        hat=("..x...x...x...x.",),
        drum_gain=1.0,
        hat_decay=0.09,
    ),
    "hiphop": Style(
        tempo=(80, 98),
        swing=0.12,
        progressions=(((0, MINOR), (0, MINOR), (8, MAJOR), (0, MINOR)),),
        scale=MINOR_SCALE,
        comp=Voice(2.2, decay=0.3, gain=0.25),
        comp_patterns=("x...............", "x.....x........."),
        bass=Voice(3.0, decay=0.8, gain=1.5, octave=-2),
        bass_patterns=("x.....x...x.....", "x..x......x....."),
        lead=Voice(1.0, even=0.1, decay=0.08, gain=0.4),
        lead_density=0.45,
        kick=("x.....x...x.....", "x..x......x..x.."),
        snare=("....x.......x...",),
        hat=("x.x.x.x.x.x.x.x.", "x.xxx.x.x.xxx.x."),
        drum_gain=1.5,
        noise=0.25,
    ),
    "jazz": Style(
        tempo=(120, 190),
        swing=0.33,
        progressions=(
            ((2, MINOR7), (7, DOMINANT), (0, MAJOR7), (9, MINOR7)),
            ((0, MAJOR7), (9, DOMINANT), (2, MINOR7), (7, DOMINANT)),
        ),
        scale=MAJOR_SCALE,
        comp=Voice(2.2, decay=0.35, gain=0.5),
        comp_patterns=("x......x........", "...x......x....."),
        bass=Voice(2.0, decay=0.3, gain=0.9, octave=-1),
        bass_patterns=("x...x...x...x...",),
        lead=Voice(1.2, even=0.4, attack=0.03, decay=0.4, gain=0.9, octave=1),
        lead_density=0.7,
        kick=("o...............",),
        snare=("......o.....o...",),
        hat=("x...x..xx...x..x",),
        drum_gain=0.35,
        hat_decay=0.3,
        walking=True,
    ),
    "metal": Style(
        tempo=(140, 200),
        swing=0.0,
        progressions=(((0, POWER), (1, POWER), (3, POWER), (0, POWER)), ((0, POWER), (6, POWER), (5, POWER))),
        scale=MINOR_SCALE,
        comp=Voice(0.6, decay=0.25, drive=12.0, gain=1.2, octave=-1),
        comp_patterns=("x.xxx.xxx.xxx.xx", "xxxxxxxxxxxxxxxx"),
        bass=Voice(0.9, decay=0.2, drive=4.0, gain=0.7, octave=-2),
        bass_patterns=("x.x.x.x.x.x.x.x.",),
        lead=Voice(0.6, decay=0.3, drive=8.0, gain=0.4, octave=1),
        lead_density=0.5,
        kick=("xxxxxxxxxxxxxxxx", "x.xxx.xxx.xxx.xx"),
        snare=("....x.......x...", "..x...x...x...x."),
        hat=("x...x...x...x...",),
        drum_gain=0.9,
        hat_decay=0.25,
        noise=0.1,
    ),
    "pop": Style(
        tempo=(98, 124),
        swing=0.0,
        progressions=(
            ((0, MAJOR), (7, MAJOR), (9, MINOR), (5, MAJOR)),
            ((9, MINOR), (5, MAJOR), (0, MAJOR), (7, MAJOR)),
        ),
        scale=PENTATONIC,
        comp=Voice(1.3, even=0.2, attack=0.02, decay=1.2, gain=0.7),
        comp_patterns=("x...x...x...x...", "x..x..x.x..x..x."),
        bass=Voice(1.6, decay=0.4, gain=0.8, octave=-1),
        bass_patterns=("x..x..x.x..x..x.", "x.......x......."),
        lead=Voice(1.5, even=0.3, attack=0.03, decay=0.5, gain=1.0, octave=1),
        lead_density=0.5,
        kick=("x.......x.x.....", "x.......x......."),
        snare=("....x.......x...",),
        hat=("o.o.o.o.o.o.o.o.",),
        drum_gain=0.7,
    ),
    "reggae": Style(
        tempo=(68, 84),
        swing=0.1,
        progressions=(((0, MINOR), (5, MINOR), (0, MINOR), (7, MINOR)), ((0, MAJOR), (5, MAJOR))),
        scale=PENTATONIC,
        comp=Voice(1.0, even=0.5, decay=0.06, gain=1.0, octave=1),
        comp_patterns=("..x...x...x...x.", "....x.......x..."),
        bass=Voice(2.6, decay=0.45, gain=1.5, octave=-2),
        bass_patterns=("x..x..x...x.x...", "....x.x.x...x..."),
        lead=Voice(1.8, even=0.2, decay=0.3, gain=0.4),
        lead_density=0.15,
        kick=("........x.......",),
        snare=("........x.......",),
        hat=("x.o.x.o.x.o.x.o.",),
        drum_gain=0.6,
    ),
    "rock": Style(
        tempo=(110, 145),
        swing=0.0,
        progressions=(
            ((0, POWER), (5, POWER), (7, POWER), (5, POWER)),
            ((0, POWER), (10, POWER), (5, POWER), (0, POWER)),
        ),
        scale=PENTATONIC,
        comp=Voice(0.9, decay=0.6, drive=4.0, gain=0.9),
        comp_patterns=("x.x.x.x.x.x.x.x.", "x.....x.x.....x."),
        bass=Voice(1.4, decay=0.35, gain=0.8, octave=-1),
        bass_patterns=("x.x.x.x.x.x.x.x.",),
        lead=Voice(0.9, decay=0.5, drive=3.0, gain=0.6, octave=1),
        lead_density=0.35,
        kick=("x.......x.x.....", "x.....x.x......."),
        snare=("....x.......x...",),
        hat=("x.x.x.x.x.x.x.x.",),
        drum_gain=1.0,
        hat_decay=0.06,
    ),
}
"""Genre name to style, for every name in :data:`GENRES`."""
