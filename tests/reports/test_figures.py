import io

import matplotlib.image
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from ban_bids.reports.figures import Bars, bar_figure, confusion_figure, map_figure, matrix_figure

AREAS = ("A1", "Belt", "PB", "T2T3")


@pytest.fixture
def drawn(monkeypatch):
    """Texts and hatched patches as they are drawn."""
    texts, hatches, frames = [], [], []
    text, annotate, add_patch = Axes.text, Axes.annotate, Axes.add_patch
    monkeypatch.setattr(Axes, "text", lambda self, x, y, s, **k: texts.append(s) or text(self, x, y, s, **k))
    monkeypatch.setattr(Axes, "annotate", lambda self, s, *a, **k: texts.append(s) or annotate(self, s, *a, **k))

    def patch(self, shape):
        if shape.get_hatch():
            hatches.append(shape)
        elif not shape.get_fill():
            frames.append(shape)
        return add_patch(self, shape)

    monkeypatch.setattr(Axes, "add_patch", patch)
    return texts, hatches, frames


def size(png):
    assert png.startswith(b"\x89PNG")
    return matplotlib.image.imread(io.BytesIO(png)).shape


def matrix(values):
    return pd.DataFrame(values, index=list(AREAS), columns=list(AREAS))


def test_the_matrix_labels_every_cell_hatches_what_is_missing_and_frames_own_layers(drawn):
    texts, hatches, frames = drawn
    values = np.arange(16).reshape(4, 4) / 20
    values[2, 3] = np.nan
    low, high = values - 0.1, values + 0.1
    low[0, 1] = np.nan
    committed = np.diag([1, 1, 0.75, 1.0])
    committed[1, 2] = 0.25
    size(matrix_figure(*map(matrix, (values, low, high, committed, np.eye(4)))))
    cells = [text for text in texts if "folds" not in text]
    assert len(cells) == 16
    assert cells[0] == "0.00\n[-0.10, 0.10]"
    assert cells[1] == "0.05"
    assert cells[11] == "n/a"
    assert len(hatches) == 1
    assert sorted(text for text in texts if "folds" in text) == ["25% of folds", "75% of folds"]
    assert [frame.get_linestyle() for frame in frames].count("-") == 5
    assert [frame.get_linestyle() for frame in frames].count("--") == 4


def test_a_matrix_of_many_layers_has_low_rows_without_intervals(drawn):
    texts, _, frames = drawn
    layers = [f"encoder.layer.{k:02d}" for k in range(40)]
    values, committed = (pd.DataFrame(0.25, index=layers, columns=list(AREAS)) for _ in range(2))
    committed.iloc[7] = 1.0
    height, width, _ = size(matrix_figure(values, values - 0.1, values + 0.1, committed, values * np.nan))
    assert set(texts) == {"0.25", "25%"} and texts.count("0.25") == 160 and texts.count("25%") == 156
    assert len(frames) == 160 and height < 2 * width


def test_a_matrix_of_nothing_is_drawn_too(drawn):
    texts, _, frames = drawn
    nothing = matrix(np.full((4, 4), np.nan))
    size(matrix_figure(nothing, nothing, nothing, nothing, nothing))
    assert texts == ["n/a"] * 16 and not frames


def test_bars_carry_their_numbers(drawn):
    texts, hatches, _ = drawn
    nan = float("nan")
    # an interval that misses its value must not raise: percentile intervals may
    series = [
        Bars("BAN", [0.5, nan], [0.6, nan], [0.7, nan]),
        Bars("untrained", [-0.25, 0.1], [nan, 0], [nan, 0.2]),
    ]
    size(bar_figure(["A1", "Belt"], series, "score"))
    assert sorted(texts) == ["-0.25", "0.10", "0.50", "n/a"]
    assert len(hatches) == 1


@pytest.mark.parametrize("symmetric", [True, False])
def test_maps_are_drawn_with_gaps_and_without_any_voxel(symmetric):
    affine = np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = -70, -100, -60
    data = np.random.default_rng(0).normal(size=(18, 22, 16)).astype(np.float32)
    data[3:5] = np.nan
    full = map_figure(nib.Nifti1Image(data, affine), label="r", symmetric=symmetric)
    empty = map_figure(nib.Nifti1Image(np.zeros_like(data), affine), label="r", symmetric=symmetric)
    assert size(full) == size(empty)
    assert full != empty


def test_confusions_are_numbered_framed_and_in_the_same_colours_whatever_their_size(drawn, monkeypatch):
    texts, _, frames = drawn
    shown = []
    imshow = Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda self, x, **k: shown.append((x, k)) or imshow(self, x, **k))
    genres = ["blues", "jazz", "pop"]
    shares = pd.DataFrame([[0.5, 0.25, 0.25, 0.0], [0.004, 0.9, 0.0, 0.096]], genres[:2], [*genres, "other"])
    wide = size(confusion_figure(shares, "answer of people"))
    assert texts == ["50", "25", "25", "0", "0", "90", "0", "10"]
    assert [frame.get_xy() for frame in frames] == [pytest.approx((-0.46, -0.46)), pytest.approx((0.54, 0.54))]
    pale = size(confusion_figure(shares / 10, "answer of the model"))
    assert wide == pale
    assert [(k["vmin"], k["vmax"], k["cmap"]) for _, k in shown] == [(0, 100, "Blues")] * 2
    np.testing.assert_allclose(shown[0][0], 100 * shares)
