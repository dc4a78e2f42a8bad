"""The measures of synthetic patches, on drawn shapes and on generated tissue spoilt on purpose."""

import cv2
import numpy as np
import pytest

from nuclei import tissue
from nuclei.evaluation.realism import (
    boundary_gradient,
    edge_place,
    ghosts,
    largest_correlation,
    rings,
    rings_off,
)

SIDE = 96  # px


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    return tissue.generate("carcinoma", 192, seed=0)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def disc(radius: int, places: list[tuple[int, int]]) -> np.ndarray:
    labels = np.zeros((128, 128), np.int32)
    for number, place in enumerate(places, 1):
        cv2.circle(labels, place, radius, number, -1)
    return labels


def test_a_pale_ring_is_the_density_that_it_lacks():
    labels = disc(10, [(30, 30), (90, 90)])
    image = np.full((128, 128, 3), 99, np.uint8)
    image[labels > 0] = 30
    assert rings(image, labels) == pytest.approx([0, 0])
    cv2.circle(image, (30, 30), 13, (199,) * 3, -1)  # around the first
    image[labels > 0] = 30
    pale, none = rings(image, labels)
    assert pale == pytest.approx(np.log10(200 / 100), abs=0.03) and none == pytest.approx(0)
    assert rings(image, np.zeros_like(labels)).size == 0


def test_rings_count_beyond_those_of_real_nuclei():
    real = np.linspace(-0.1, 0.1, 101)
    assert rings_off(real, real) == 0
    assert rings_off(real * 0.5, real) == 0
    assert rings_off(real + 0.2, real) == pytest.approx(0.2)
    assert rings_off(real - 0.3, real) == pytest.approx(0.3)
    assert rings_off(np.zeros(0), real) == rings_off(real, np.zeros(0)) == 0


def test_a_nucleus_without_an_outline_is_a_ghost():
    image, labels = tissue.generate("glandular", 256, 0)
    ids = np.unique(labels)[1:]
    before = ghosts(image, labels)
    without = np.where(np.isin(labels, ids[::2]), 0, labels)
    assert ghosts(image, without) > before + 0.4  # as many as there are nuclei left; not all are found
    assert ghosts(image, np.zeros_like(labels)) == 0


def test_copies_are_found_wherever_they_lie(pair: tuple[np.ndarray, np.ndarray]) -> None:
    image = pair[0]
    turned = np.rot90(image[:, ::-1])
    assert largest_correlation(turned, image) == pytest.approx(1, abs=1e-4)
    moved = np.roll(image, (30, -20), axis=(0, 1))
    darker = (0.8 * moved).round().astype(np.uint8)
    assert largest_correlation(darker, image) == pytest.approx(1, abs=0.01)
    assert largest_correlation(tissue.generate("carcinoma", 192, seed=1)[0], image) < 0.6
    assert largest_correlation(np.full_like(image, 99), image) == 0


def test_boundary_gradient_of_a_step() -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[30:70, 30:70] = 3
    purple, pink = (90, 50, 130), (235, 180, 210)
    image = np.where(labels[..., None] > 0, purple, pink).astype(np.uint8)
    sharp, soft, softer = (
        boundary_gradient(each, labels) for each in (image, blurred(image, 2), blurred(image, 4))
    )
    assert sharp > 1.2 * soft > 1.2 * 1.2 * softer > 0
    assert boundary_gradient(image[:60, :60], labels[:60, :60]) == pytest.approx(sharp)
    assert boundary_gradient(255 - image, labels) < 0
    assert boundary_gradient(np.full_like(image, 99), labels) == pytest.approx(0)
    assert boundary_gradient(image, np.zeros_like(labels)) == boundary_gradient(image, labels + 1) == 0


def test_boundary_gradient_falls_in_blurred_tissue(pair: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = pair
    sharp, soft = boundary_gradient(image, labels), boundary_gradient(blurred(image, 2), labels)
    assert 0 < soft < 0.8 * sharp


def test_the_place_of_an_edge_is_where_the_colour_has_changed_by_half() -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[30:70, 30:70] = 3
    purple, pink = (90, 50, 130), (235, 180, 210)
    image = np.where(labels[..., None] > 0, purple, pink).astype(np.uint8)
    assert edge_place(image, labels) == pytest.approx(0, abs=0.01)  # half a pixel on either side
    for shift in (-2, 3):  # the outlines lie so far inside of the edges
        outlines = np.zeros_like(labels)
        outlines[30 + shift : 70 - shift, 30 + shift : 70 - shift] = 3
        assert edge_place(image, outlines) == pytest.approx(shift, abs=0.3)
        assert edge_place(blurred(image, 1), outlines) == pytest.approx(shift, abs=0.5)
    assert edge_place(255 - image, labels) == 0
    assert edge_place(image, np.zeros_like(labels)) == edge_place(image, labels + 1) == 0
