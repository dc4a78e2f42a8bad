"""The baseline on drawn discs: purple on pink, as haematoxylin and eosin."""

from __future__ import annotations

import numpy as np
import pytest

from nuclei.evaluation.metrics import aji
from nuclei.label_free import segment

PURPLE, PINK = (90, 50, 130), (235, 180, 210)


def draw(discs: list[tuple[int, int, int]], size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """An image of discs (y, x, radius), slightly noisy, and its labels."""
    labels = np.zeros((size, size), np.int32)
    y, x = np.mgrid[:size, :size]
    for k, (cy, cx, radius) in enumerate(discs, start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = k
    image = np.where(labels[..., None] > 0, PURPLE, PINK) + np.random.default_rng(0).normal(
        0, 4, (size, size, 3)
    )
    return image.clip(0, 255).astype(np.uint8), labels


def test_finds_discs_also_at_the_border() -> None:
    image, truth = draw([(30, 30, 7), (30, 90, 12), (90, 40, 9), (126, 100, 8)])
    pred = segment(image)
    assert pred.dtype == np.int32
    assert sorted(np.unique(pred)) == [0, 1, 2, 3, 4]
    assert aji(truth, pred) > 0.85


def test_parts_nuclei_that_touch() -> None:
    image, truth = draw([(60, 50, 10), (60, 67, 10)])
    pred = segment(image)
    assert pred.max() == 2
    assert pred[60, 50] != pred[60, 67]
    assert aji(truth, pred) > 0.85


def test_fills_holes_and_drops_specks() -> None:
    image, truth = draw([(60, 60, 12), (20, 20, 2)])
    image[58:63, 58:63] = PINK
    pred = segment(image)
    assert pred.max() == 1
    assert pred[60, 60] == 1
    assert pred[20, 20] == 0


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_blank_image_has_no_nuclei(grey: int) -> None:
    assert not segment(np.full((64, 48, 3), grey, np.uint8)).any()
