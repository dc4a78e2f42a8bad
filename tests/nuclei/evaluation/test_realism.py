"""Rings and ghosts; the other measures are tested in tests/benchmarks/stage2/test_quality.py."""

import cv2
import numpy as np
import pytest

from nuclei import tissue
from nuclei.evaluation.realism import ghosts, rings, rings_off


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
