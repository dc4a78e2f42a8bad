from __future__ import annotations

import cv2
import numpy as np
import pytest

from csingan.networks import background

PINK, VIOLET, WHITE = (230, 170, 200), (120, 60, 160), (250, 250, 250)


def discs(centres: list[tuple[int, int]], radius: int = 8, shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    for number, centre in enumerate(centres, start=1):
        cv2.circle(labels, centre, radius, number, -1)
    return labels


def stripes(shape: tuple[int, int] = (128, 128)) -> np.ndarray:
    """Pink and white stripes of 4 px each."""
    return np.uint8([PINK, WHITE])[np.indices(shape)[1] // 4 % 2]


def test_a_nucleus_is_covered_by_the_texture_around_it():
    image, labels = stripes(), discs([(64, 64)])
    image[labels > 0] = VIOLET
    result = background.without_nuclei(image, labels)
    assert result.dtype == np.uint8
    # The stripes go on through the hole; colours filled in from around would fade into each other.
    assert np.array_equal(result, stripes())


def test_far_from_the_nuclei_nothing_changes():
    image = np.uint8(np.random.default_rng(0).integers(150, 255, (128, 128, 3)))
    labels = discs([(30, 30), (90, 70)])
    image[labels > 0] = VIOLET
    before = image.copy()
    result = background.without_nuclei(image, labels)
    reach = background.HALO + background.RIM + background.RING + 1
    far = cv2.dilate((labels > 0).astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) == 0
    assert far.any() and np.array_equal(result[far], before[far])
    assert np.array_equal(image, before)  # the input is left alone


def test_the_wide_edge_of_a_nucleus_goes_with_it(monkeypatch):
    labels = discs([(64, 64)])
    image = np.full((128, 128, 3), PINK, np.uint8)
    image[discs([(64, 64)], radius=12) > 0] = VIOLET  # 4 px wider than its outline: farther than the halo

    def left() -> int:
        return int((background.without_nuclei(image, labels) != PINK).any(axis=2).sum())

    found = left()
    monkeypatch.setattr(background, "RIM", 0)
    assert found < 0.2 * left()


def test_what_looks_like_a_nucleus_without_an_outline_is_not_copied():
    labels = discs([(30, 64)])
    image = np.full((128, 128, 3), PINK, np.uint8)
    spot = discs([(96, 64)]) > 0
    image[(labels > 0) | spot] = VIOLET
    violet = (background.without_nuclei(image, labels) == VIOLET).all(axis=2)
    assert np.array_equal(violet, spot)


def test_crowded_nuclei_are_covered_in_rounds():
    """No piece of background is as large as a hole at first."""
    centres = [(x, y) for x in range(10, 128, 22) for y in range(10, 128, 22)]
    image, labels = stripes(), discs(centres)
    image[labels > 0] = VIOLET
    result = background.without_nuclei(image, labels).astype(int)
    assert np.abs(result - VIOLET).sum(axis=2).min() > 100
    # Inside the image, as many edges of stripes as in the real background.
    edges = [np.abs(np.diff(each[16:112, 16:112], axis=1)).mean() for each in (result, stripes().astype(int))]
    assert edges[0] > 0.7 * edges[1]


@pytest.mark.parametrize("share", [0, 1])
def test_a_patch_without_nuclei_or_without_background_is_no_error(share):
    image = np.full((32, 32, 3), PINK, np.uint8)
    result = background.without_nuclei(image, np.full((32, 32), share, np.int32))
    assert result.shape == image.shape
    if not share:
        assert np.array_equal(result, image)


def test_a_rearranged_background_keeps_its_colours_and_its_contrast():
    noise = np.random.default_rng(0).normal(180, 60, (96, 96, 3))
    texture = np.uint8(cv2.GaussianBlur(noise, (0, 0), 1.5).clip(0, 255))
    result = background.rearrange(texture, (96, 140), False, np.random.default_rng(1))
    assert result.shape == (96, 140, 3)
    assert np.abs(result.mean(axis=(0, 1)) - texture.mean(axis=(0, 1))).max() < 3
    assert result.std() == pytest.approx(texture.std(), rel=0.1)


def test_a_directed_background_keeps_its_direction():
    upright = background.rearrange(stripes(), (128, 128), True, np.random.default_rng(0))
    along, across = (np.abs(np.diff(upright, axis=axis)).mean() for axis in (0, 1))
    assert across > 3 * along


def test_a_smooth_field_is_blurred_noise_of_mean_0_and_deviation_1():
    field = background._smooth_field((1024, 1000), np.random.default_rng(0))
    assert field.shape == (1024, 1000)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)
    # White noise blurred with a standard deviation s correlates with itself by exp(-(d / 2s)^2) at d px.
    away = round(2 * background.SMOOTH)
    for here, there in ((field[away:], field[:-away]), (field[:, away:], field[:, :-away])):
        assert np.corrcoef(here.ravel(), there.ravel())[0, 1] == pytest.approx(np.exp(-1), abs=0.1)
