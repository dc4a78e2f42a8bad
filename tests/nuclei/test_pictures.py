"""Outlines, montages, captions and curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nuclei import pictures
from nuclei.io.images import read_image


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros((8, 12), np.int32)
    labels[1:5, 1:5] = 7
    labels[1:5, 5:9] = 3  # touches the other one
    return labels


def test_outline_is_one_pixel_inside_each_nucleus(labels: np.ndarray) -> None:
    image = np.zeros((8, 12, 3), np.uint8)
    drawn = (pictures.outline(image, labels, (1, 2, 3)) == (1, 2, 3)).all(axis=2)
    expected = labels > 0
    expected[2:4, 2:4] = expected[2:4, 6:8] = False  # all but the 2 x 2 px within each square
    assert np.array_equal(drawn, expected)
    assert not image.any()


def test_thick_outline_has_another_pixel_outside(labels: np.ndarray) -> None:
    square = np.where(labels == 7, labels, 0)  # 4 x 4 px
    drawn = pictures.outline(np.zeros((8, 12, 3), np.uint8), square, thick=True).any(axis=2)
    assert drawn[3, :7].tolist() == [True, True, False, False, True, True, False]


def test_overlay_gives_each_nucleus_one_colour(labels: np.ndarray) -> None:
    image = np.zeros((8, 12, 3), np.uint8)
    picture = pictures.overlay(image, labels, seed=1)
    for nucleus in (3, 7):
        colours = np.unique(picture[(labels == nucleus) & picture.any(axis=2)], axis=0)
        assert len(colours) == 1
        assert colours[0].tolist() in pictures.OVERLAY_COLOURS.tolist()
    assert not picture[labels == 0].any()
    assert np.array_equal(picture, pictures.overlay(image, labels, seed=1))


def test_montage_places_tiles_row_by_row() -> None:
    tiles = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20)] + [np.full((2, 3), 30, np.uint8)]
    picture = pictures.montage(tiles, columns=2, gap=1, background=0)
    expected = [
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 10, 10, 10, 0, 20, 20, 20, 0],
        [0, 10, 10, 10, 0, 20, 20, 20, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 30, 30, 30, 0, 0, 0, 0, 0],
        [0, 30, 30, 30, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert picture.dtype == np.uint8
    assert all(np.array_equal(picture[..., channel], expected) for channel in range(3))


def test_montage_of_several_sizes_or_none() -> None:
    with pytest.raises(ValueError, match="one size"):
        pictures.montage([np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)], columns=1)
    with pytest.raises(ValueError, match="one size"):
        pictures.montage([], columns=1)


def test_caption_adds_a_strip_on_top() -> None:
    tile = np.zeros((10, 40, 3), np.uint8)
    captioned = pictures.caption(tile, "a text far too long for a tile of this width")
    strip = captioned[: pictures.CAPTION_HEIGHT]
    assert captioned.shape == (10 + pictures.CAPTION_HEIGHT, 40, 3)
    assert np.array_equal(captioned[pictures.CAPTION_HEIGHT :], tile)
    assert strip.min() < 100 < strip.mean()  # black letters on white


def test_legend_stands_below_the_image_in_its_colours() -> None:
    image = np.full((30, 200, 3), 9, np.uint8)
    picture = pictures.legend(image, {"one": (255, 0, 0), "two": (0, 255, 0)})
    assert picture.shape == (30 + pictures.LEGEND_HEIGHT, 200, 3)
    assert np.array_equal(picture[:30], image)
    red, green = (picture[30:, :, channel].any(axis=0).nonzero()[0] for channel in (0, 1))
    assert red.max() < green.min()
    assert not picture[30:, :, 2].any()


def test_legend_of_a_narrow_image_takes_several_lines() -> None:
    entries = dict.fromkeys(("one", "two", "three"), (255, 255, 255))
    picture = pictures.legend(np.zeros((10, 50, 3), np.uint8), entries)
    assert picture.shape == (10 + 3 * pictures.LEGEND_HEIGHT, 50, 3)
    for line in np.split(picture[10:], 3):
        assert line.any()


@pytest.mark.parametrize(("rows", "height"), [(1, 1.6), (5, 2.4), (40, 3.0)])
def test_dots_grow_with_the_rows_up_to_a_limit(
    tmp_path: Path, rows: int, height: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MAX_HEIGHT", 3.0)
    names = [f"row {k}" for k in range(rows)]
    table = pd.DataFrame({"a": np.linspace(0, 1, rows), "b": np.full(rows, 0.5)}, index=names)
    pictures.dots(tmp_path / "new" / "dots.png", table, "score")
    picture = read_image(tmp_path / "new" / "dots.png")
    assert picture.shape == (round(height * 120), 8 * 120, 3)
    assert picture.std() > 0


def test_dots_take_any_name(tmp_path: Path) -> None:
    pictures.dots(tmp_path / "dots.png", pd.DataFrame({"a": [0.5]}, index=["x$\\q$"]), "score")
    assert read_image(tmp_path / "dots.png").std() > 0


def test_curves_writes_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "new" / "loss.png"
    pictures.curves(path, {"real": [3.0, 2.0], "one point": [1.0]}, "epoch", "loss")
    assert read_image(path).std() > 0
    assert [file.name for file in path.parent.iterdir()] == ["loss.png"]


def test_heat_is_where_the_points_are_and_as_wide_as_its_spread():
    picture = np.full((200, 300, 3), 100, np.uint8)
    points = np.repeat([[150.0, 50.0]], 20, axis=0)
    for spread in (4.0, 60.0):  # cells of one pixel, and of several
        warmth = pictures.heat(picture, points, spread)[..., 0].astype(int) - 100
        row, column = np.unravel_index(warmth.argmax(), warmth.shape)
        assert warmth.max() > 40
        assert abs(row - 50) <= spread and abs(column - 150) <= spread
        assert warmth[50, 150] > warmth[50, min(299, int(150 + 2 * spread))]
    assert (pictures.heat(picture, np.zeros((0, 2)), 10.0) == picture).all()
