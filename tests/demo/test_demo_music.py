"""Synthesised music: audible, repeatable, and of ten kinds that can be told apart."""

import numpy as np
import pytest
import soundfile
from scipy.signal import stft
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ban_bids.demo.music import SAMPLING_RATE, synthesise_track, write_tracks
from ban_bids.demo.styles import GENRES, STYLES


def test_every_genre_has_a_style():
    assert tuple(STYLES) == GENRES
    for style in STYLES.values():
        assert all(len(p) == 16 for p in (*style.comp_patterns, *style.bass_patterns, *style.kick, *style.hat))


@pytest.mark.parametrize("genre", GENRES)
def test_track_is_sound_of_stated_length_and_loudness(genre):
    wave = synthesise_track(genre, 5.0, np.random.default_rng(1))
    assert wave.shape == (5 * SAMPLING_RATE,)
    assert wave.dtype == np.float32
    assert np.sqrt(np.mean(wave**2)) == pytest.approx(0.1, rel=0.1)
    assert np.abs(wave).max() < 1
    per_second = wave.reshape(5, -1).std(axis=1)
    assert per_second.min() > 1e-3


def test_same_seed_same_track_and_another_seed_another():
    one, same, other = (synthesise_track("pop", 3.0, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.5


def test_files_are_laid_out_like_gtzan_and_differ_by_purpose(tmp_path):
    paths = write_tracks(tmp_path / "genres", "training", 1, 1.0, 5, by_genre=True)
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == [f"genres/{g}/{g}.00000.wav" for g in GENRES]
    info = soundfile.info(paths[0])
    assert (info.samplerate, info.channels, info.subtype, info.duration) == (22_050, 1, "PCM_16", 1.0)
    flat = write_tracks(tmp_path / "stimuli", "stimuli", 1, 1.0, 5, by_genre=False)
    assert flat[0].read_bytes() != paths[0].read_bytes()
    again = write_tracks(tmp_path / "again", "training", 1, 1.0, 5, by_genre=True)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in paths]


def _description(wave):
    power = np.log(np.abs(stft(wave, SAMPLING_RATE, nperseg=1024)[2]) ** 2 + 1e-6)
    edges = [1, 5, 10, 20, 40, 80, 160, 320, 512]
    bands = np.array([power[a:b].mean(axis=0) for a, b in zip(edges, edges[1:])])
    return np.r_[bands.mean(axis=1), bands.std(axis=1)]


def test_genres_can_be_told_apart_but_tracks_of_a_genre_vary():
    rng = np.random.default_rng(8)
    x = np.array([_description(synthesise_track(g, 6.0, rng)) for g in GENRES for _ in range(6)])
    y = np.repeat(GENRES, 6)
    model = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
    assert cross_val_score(model, x, y, cv=3).mean() > 0.5
    within = np.mean([x[y == g].std(axis=0) for g in GENRES], axis=0)
    assert np.all(within > 0.05 * x.std(axis=0))
