from __future__ import annotations

import cv2
import numpy as np
import pytest

from csingan.layouts.sampler import LayoutSampler
from csingan.networks import initial_image

PINK, VIOLET, BLUE = (230, 170, 200), (120, 60, 160), (40, 40, 120)


def patch() -> tuple[np.ndarray, np.ndarray]:
    """A pink patch with a violet disc of radius 10 and a blue bar of 25 x 7 px, and their labels."""
    labels = np.zeros((64, 64), np.int32)
    cv2.circle(labels, (18, 18), 10, 1, -1)
    cv2.rectangle(labels, (30, 40), (54, 46), 2, -1)
    return np.uint8([PINK, VIOLET, BLUE])[labels], labels


def inside(labels: np.ndarray, depth: int = 3) -> np.ndarray:
    """The pixels of a region, and of it alone: its border, which is blended, left out."""
    return cv2.erode((labels > 0).astype(np.uint8), np.ones((2 * depth + 1, 2 * depth + 1), np.uint8)) > 0


def test_flat_colours_are_the_medians_of_nuclei_and_background():
    image, labels = patch()
    flat = initial_image.make("flat", image, labels)
    layout = np.zeros((4, 6), np.int32)
    layout[1:3, 1:3] = 5
    result = flat(layout, np.random.default_rng(0))
    assert result.dtype == np.uint8
    assert (result[layout == 0] == PINK).all()
    assert (result[layout > 0] == VIOLET).all()  # 317 violet and 175 blue pixels
    assert (flat.patch[labels > 0] == VIOLET).all()


def test_the_patch_stands_for_its_own_collage():
    image, labels = patch()
    assert np.array_equal(initial_image.make("collage", image, labels).patch, image)


@pytest.mark.parametrize("shape", [(64, 64), (40, 100), (150, 130)])
def test_a_collage_has_no_trace_of_the_nuclei_that_were_there(shape):
    collage = initial_image.make("collage", *patch())
    empty = collage(np.zeros(shape, np.int32), np.random.default_rng(0))
    assert empty.shape == (*shape, 3)
    assert np.abs(empty.astype(int) - PINK).max() <= 2


def test_a_nucleus_of_a_collage_has_the_colours_of_real_ones(monkeypatch):
    monkeypatch.setattr(initial_image, "ALIKE", 1)
    collage = initial_image.make("collage", *patch())
    layout = np.zeros((64, 64), np.int32)
    cv2.circle(layout, (45, 45), 11, 1, -1)
    cv2.rectangle(layout, (8, 5), (14, 31), 2, -1)  # the bar, upright
    result = collage(layout, np.random.default_rng(0))
    assert np.abs(result[inside(layout == 1)].astype(int) - VIOLET).max() <= 2
    assert np.abs(result[inside(layout == 2, depth=2)].astype(int) - BLUE).max() <= 2
    far = cv2.dilate((layout > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
    assert np.abs(result[far].astype(int) - PINK).max() <= 2


def test_the_texture_of_a_nucleus_turns_with_it(monkeypatch):
    monkeypatch.setattr(initial_image, "ALIKE", 1)
    image, labels = patch()
    image[40:47, 30:42] = PINK  # the left half of the bar is pale
    collage = initial_image.make("collage", image, np.where(labels == 2, 1, 0))
    layout = np.zeros((64, 64), np.int32)
    cv2.rectangle(layout, (8, 5), (14, 31), 1, -1)
    result = collage(layout, np.random.default_rng(0)).astype(int)
    ends = np.abs(result[[9, 27], 11] - BLUE).sum(axis=1) < 10
    assert sorted(ends) == [False, True]  # one end of the upright bar is pale, either


def test_a_nucleus_comes_with_its_halo():
    labels = np.zeros((64, 64), np.int32)
    cv2.circle(labels, (32, 32), 10, 1, -1)
    image = np.full((64, 64, 3), PINK, np.uint8)
    cv2.circle(image, (32, 32), 12, VIOLET, -1)  # as if the outline had been drawn too far inside
    layout = np.roll(labels, (-12, 9), axis=(0, 1))
    result = initial_image.make("collage", image, labels)(layout, np.random.default_rng(0)).astype(int)
    for radius, colour in ((8, VIOLET), (11, VIOLET), (17, PINK)):
        ring = cv2.circle(np.zeros((64, 64), np.uint8), (41, 20), radius, 1) > 0
        assert np.abs(result[ring].mean(axis=0) - colour).max() <= 8


def test_a_halo_follows_its_new_surroundings():
    """On the bright left a nucleus has a brighter ring; taken to the dark right, it brings no white ring."""
    labels = np.zeros((64, 128), np.int32)
    cv2.circle(labels, (32, 32), 10, 1, -1)
    image = np.full((64, 128, 3), 200, np.uint8)
    image[:, 64:] = 100
    cv2.circle(image, (32, 32), 13, (240, 240, 240), -1)
    image[labels > 0] = 40
    layout = np.roll(labels, 64, axis=1)
    canvas = np.where(np.arange(128)[:, None] < 64, 200.0, 100.0).repeat(3, 1)[None].repeat(64, 0)
    collage = initial_image.make("collage", image, labels)
    initial_image._paint(
        canvas, layout > 0, initial_image._territories(layout), collage._nuclei, np.random.default_rng(0)
    )
    ring = cv2.circle(np.zeros((64, 128), np.uint8), (96, 32), 12, 1) > 0
    # It was 1.2 times as bright as what lay around it (240 of 200), and stays so (120 of 100).
    assert abs(canvas[ring].mean() - 120) <= 10
    assert np.abs(canvas[inside(layout)] - 40).max() <= 6


def test_a_nucleus_leaves_its_neighbours_behind(monkeypatch):
    monkeypatch.setattr(initial_image, "ALIKE", 1)
    image, labels = patch()
    labels[29:47, 10:27], image[29:47, 10:27] = 2, BLUE  # touches the disc from below
    collage = initial_image.make("collage", image, labels)
    layout = np.zeros((64, 64), np.int32)
    cv2.circle(layout, (45, 20), 10, 1, -1)
    result = collage(layout, np.random.default_rng(0)).astype(int)
    around = (layout == 0) & (cv2.dilate(layout.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0)
    assert np.abs(result[around] - BLUE).sum(axis=1).min() > 100
    outside = around & (cv2.dilate(layout.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
    assert np.abs(result[outside].mean(axis=0) - PINK).max() <= 8


def test_no_nucleus_is_stretched_where_one_of_its_shape_is_there(monkeypatch):
    collage = initial_image.make("collage", *patch())  # a disc and a bar: each within reach of ALIKE
    layout = np.zeros((64, 64), np.int32)
    cv2.circle(layout, (32, 32), 11, 1, -1)
    for seed in range(8):
        result = collage(layout, np.random.default_rng(seed))
        assert np.abs(result[inside(layout)].astype(int) - VIOLET).max() <= 2
    monkeypatch.setattr(initial_image, "STRETCH", np.inf)
    colours = {tuple(collage(layout, np.random.default_rng(seed))[32, 32]) for seed in range(8)}
    assert colours == {VIOLET, BLUE}


def test_two_collages_of_a_layout_differ_and_the_generator_of_random_numbers_decides():
    rng = np.random.default_rng(0)
    image = np.uint8(rng.integers(0, 255, (64, 64, 3)))
    labels = patch()[1]
    collage, layout = initial_image.make("collage", image, labels), LayoutSampler(labels)(rng)
    first, again, other = (collage(layout, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10


def test_a_nucleus_of_one_pixel_can_be_drawn():
    collage = initial_image.make("collage", *patch())
    layout = np.zeros((64, 64), np.int32)
    layout[0, 0] = 3
    assert collage(layout, np.random.default_rng(0)).shape == (64, 64, 3)


def test_a_large_collage_has_its_texture_everywhere():
    image = np.uint8(np.random.default_rng(0).integers(0, 255, (64, 64, 3)))
    collage = initial_image.make("collage", image, np.zeros((64, 64), np.int32))
    result = collage(np.zeros((256, 256), np.int32), np.random.default_rng(0)).astype(float)
    for axis in (0, 1):
        steps = np.abs(np.diff(result, axis=axis)).mean(axis=2)
        blocks = [steps[y : y + 32, x : x + 32].mean() for y in range(0, 255, 32) for x in range(0, 255, 32)]
        assert min(blocks) > 0.5 * max(blocks)
