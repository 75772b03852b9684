"""Hits and false alarms of sameness by sound over a folder of real tracks, and its speed.

``python benchmarks/sameness.py TRACKS`` (a folder of audio, searched at all depths; all its files must be different
recordings) writes each track in every form below, fingerprints the files and looks all of them up in all tracks: a hit
is a form found as its track, a false alarm a form found as another one. Beside it the margin: correlation over what
was required, lowest of the hits' pairs and highest of the others'. Then the speed for 540 stimuli of 15 s against 443
tracks of 30 s, repeated from what is there. Seeded; processor time is that of this process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from ban_bids.audio import sameness
from ban_bids.audio.resampling import resampled
from ban_bids.audio.sameness import Fingerprint, Index, fingerprint
from ban_bids.audio.waveforms import audio_hash, decoded

N_STIMULI, N_TRACKS = 540, 443
MP3 = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.6}
OGG = {"format": "OGG", "compression_level": 0.3}
Form = tuple[Callable[[np.ndarray, int], tuple[np.ndarray, int]], dict[str, object]]


def at(sound: np.ndarray, rate: int, target: int) -> np.ndarray:
    """At another sampling rate."""
    return resampled(torch.from_numpy(np.ascontiguousarray(sound)), rate, target).numpy()


def excerpt(sound: np.ndarray, rate: int, seconds: float, seed: int, fade: float = 0.0) -> np.ndarray:
    """From a random start, with raised-sine fades."""
    start = np.random.default_rng(seed).integers(0, len(sound) - round(seconds * rate))
    part = sound[start : start + round(seconds * rate)].copy()
    if n := round(fade * rate):
        ramp = np.sin(0.5 * np.pi * (np.arange(n) + 0.5) / n) ** 2
        part[:n] *= ramp
        part[-n:] *= ramp[::-1]
    return part


def faster(sound: np.ndarray, rate: int, factor: float) -> np.ndarray:
    """At another speed, pitch included."""
    return at(sound, round(rate * factor), rate)


def forms(seed: int) -> dict[str, Form]:
    """What is done to a track, and how it is written."""
    wav = {"format": "WAV"}

    def stereo(sound: np.ndarray) -> np.ndarray:
        return np.stack([sound, 0.3 * np.roll(sound, 11)], axis=1)

    def hard(x: np.ndarray, r: int, seconds: float, speed: float) -> tuple[np.ndarray, int]:
        part = faster(excerpt(x, r, seconds, seed + 1, min(2.0, seconds / 8)), r, speed)
        return stereo(0.1 * at(part, r, 8000)), 8000

    return {
        "excerpt of 15 s, fades of 2 s": (lambda x, r: (excerpt(x, r, 15, seed, 2.0), r), wav),
        "excerpt of 10 s": (lambda x, r: (excerpt(x, r, 10, seed), r), wav),
        "excerpt of 6 s": (lambda x, r: (excerpt(x, r, 6, seed), r), wav),
        "excerpt of 4 s": (lambda x, r: (excerpt(x, r, 4, seed), r), wav),
        "excerpt of 3 s": (lambda x, r: (excerpt(x, r, 3, seed), r), wav),
        "excerpt of 2 s": (lambda x, r: (excerpt(x, r, 2, seed), r), wav),
        "level -40 dB, 16 bit": (lambda x, r: (0.01 * x, r), wav),
        "stereo, unequal channels": (lambda x, r: (stereo(x), r), wav),
        "24 bit": (lambda x, r: (0.9 * x, r), {**wav, "subtype": "PCM_24"}),
        "float": (lambda x, r: (0.9 * x, r), {**wav, "subtype": "FLOAT"}),
        "8 kHz": (lambda x, r: (at(x, r, 8000), 8000), wav),
        "16 kHz": (lambda x, r: (at(x, r, 16_000), 16_000), wav),
        "48 kHz": (lambda x, r: (at(x, r, 48_000), 48_000), wav),
        "mp3, 64 kbit/s": (lambda x, r: (x, r), MP3),
        "mp3, 24 kbit/s": (lambda x, r: (x, r), {**MP3, "compression_level": 0.9}),
        "ogg, about 64 kbit/s": (lambda x, r: (x, r), OGG),
        "ogg, about 30 kbit/s": (lambda x, r: (x, r), {"format": "OGG", "compression_level": 1.0}),
        "1 % faster": (lambda x, r: (faster(x, r, 1.01), r), wav),
        "1 % slower": (lambda x, r: (faster(x, r, 0.99), r), wav),
        "15 s, 1 % faster, -20 dB, stereo, 8 kHz, mp3": (lambda x, r: hard(x, r, 15, 1.01), MP3),
        "6 s, 1 % slower, -20 dB, stereo, 8 kHz, ogg": (lambda x, r: hard(x, r, 6, 0.99), OGG),
    }  # fmt: skip


def best(queries: list[Fingerprint], references: list[Fingerprint]) -> np.ndarray:
    """Highest r - 2.5/√n over lags and speeds of every pair, (queries, references); at 0.4 they are the same."""
    margins = np.full((len(queries), len(references)), -1.0)
    those = sameness._Blocks.of(references, (1.0,))
    spectra = torch.fft.rfft(those.cells, sameness._LAGS, dim=1).permute(1, 2, 0).contiguous()
    for these in sameness._Blocks.of(queries, sameness._SPEEDS).parts(sameness._ROWS):
        product, n = sameness._products(these, those, spectra)
        margin = torch.where(n >= sameness._CELLS, product / n - sameness._SPREAD / n.sqrt(), -1.0).amax(dim=0)
        np.maximum.at(margins, (these.owner[:, None].numpy(), those.owner[None].numpy()), margin.numpy())
    return margins


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tracks", type=Path)
    parser.add_argument("--suffix", default=".wav")
    options = parser.parse_args()
    files = sorted(options.tracks.rglob(f"*{options.suffix}"))
    torch.set_num_threads(1)
    whole = [fingerprint(*decoded(file)) for file in files]
    n, own = len(files), np.eye(len(files), dtype=bool)
    margins = best(whole, whole)
    n_equal = n - len({audio_hash(file) for file in files})
    print(
        f"{n} tracks, {n_equal} equal sample for sample; {np.mean([len(one.packed) for one in whole]):.0f} bytes each"
    )
    print(f"pairs of whole tracks: {len(Index(whole).pairs())} of {n * (n - 1) // 2} taken for the same, "
          f"highest margin {margins[~own].max() - 0.4:+.2f}")  # fmt: skip
    print("\n| form | hits | false alarms | lowest margin of a hit's pair | highest of others |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in forms(0):
            heard = []
            for k, file in enumerate(files):
                sound, rate = soundfile.read(file, dtype="float32")
                change, how = forms(1000 * k)[name]
                changed, new_rate = change(sound, rate)
                soundfile.write(Path(folder) / "form", changed, new_rate, **how)
                heard.append(fingerprint(*decoded(Path(folder) / "form")))
            found, margins = Index(whole).matches(heard), best(heard, whole)
            hits = sum(a == b for a, b in found)
            lowest = "no lag with 100 cells" if (low := margins[own].min()) == -1.0 else f"{low - 0.4:+.2f}"
            print(f"| {name} | {hits}/{n} | {len(found) - hits}/{n * (n - 1)} | {lowest} | "
                  f"{margins[~own].max() - 0.4:+.2f} |", flush=True)  # fmt: skip
    print(f"\nprocessor time so far: {time.process_time():.0f} s\n")
    speed(files)


def speed(files: list[Path]) -> None:
    """Seconds of processor time on one core: decoding, fingerprints, comparison."""
    with tempfile.TemporaryDirectory() as folder:
        stimuli = []
        for k, file in enumerate(files):
            sound, rate = soundfile.read(file, dtype="float32")
            stimuli.append(Path(folder) / f"{k}.wav")
            soundfile.write(stimuli[-1], excerpt(sound, rate, 15, k, 2.0), rate)
        seconds = {}
        prints: dict[str, list[Fingerprint]] = {}
        for name, paths, count in (("stimuli", stimuli, N_STIMULI), ("tracks", files, N_TRACKS)):
            start = time.process_time()
            sounds = [decoded(path) for path in paths]
            middle = time.process_time()
            prints[name] = [fingerprint(*sound) for sound in sounds]
            end, share = time.process_time(), count / len(paths)
            seconds[name] = (share * (middle - start), share * (end - middle))
    queries, references = (
        [prints[name][k % len(files)] for k in range(count)]
        for name, count in (("stimuli", N_STIMULI), ("tracks", N_TRACKS))
    )
    start = time.process_time()
    Index(references).matches(queries)
    seconds["comparison"] = (time.process_time() - start,)
    decoding, printing = (sum(seconds[name][k] for name in ("stimuli", "tracks")) for k in (0, 1))
    print(f"{N_STIMULI} stimuli of 15 s against {N_TRACKS} tracks of 30 s, seconds of one core: decoding "
          f"{decoding:.1f}, fingerprints {printing:.1f}, comparison {seconds['comparison'][0]:.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
