from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from csingan.masks import conditions, random_layout, touching_share

SHAPE = (128, 128)


def discs(*circles: tuple[int, int, int], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A label image with a disc for each (y, x, radius); a later disc lies over an earlier one."""
    labels = np.zeros(shape, np.int32)
    for number, (y, x, radius) in enumerate(circles, start=1):
        cv2.circle(labels, (x, y), radius, number, thickness=-1)
    return labels


@pytest.fixture
def labels() -> np.ndarray:
    return discs(*[(y, x, 3 + (y + x) % 6) for y in range(15, 128, 24) for x in range(15, 128, 24)])


def layouts(labels: np.ndarray, count: int = 10, **options) -> list[np.ndarray]:
    return [random_layout(labels, np.random.default_rng(seed), **options) for seed in range(count)]


def clearance(labels: np.ndarray) -> int:
    """Background px (Chebyshev distance less one) between the two nuclei that are closest."""
    for gap in range(10):
        kernel = np.ones((2 * gap + 3, 2 * gap + 3), np.uint8)
        for label in range(1, labels.max() + 1):
            around = cv2.dilate(np.uint8(labels == label), kernel) > 0
            if np.any(around & (labels > 0) & (labels != label)):
                return gap
    return 10


@pytest.mark.parametrize("gap", [0, 1, 3])
def test_nuclei_keep_their_distance(labels, gap):
    for layout in layouts(labels, 5, gap=gap, touching=0):
        assert clearance(layout) >= gap


def test_nothing_is_hidden_under_another_nucleus():
    labels = discs((40, 40, 12), (80, 80, 9))
    area = sorted(np.bincount(labels.ravel())[1:])
    for layout in layouts(labels, density=(1, 1), rotate=0, scale=(1, 1), touching=1):
        assert sorted(np.bincount(layout.ravel())[1:]) == area


def test_labels_count_the_nuclei(labels):
    for layout in layouts(labels):
        assert layout.dtype == np.int32
        assert set(np.unique(layout)) == set(range(layout.max() + 1))


def test_density_stays_in_its_range(labels):
    real = np.mean(labels > 0)
    shares = np.array([np.mean(layout > 0) for layout in layouts(labels, 40, density=(0.5, 1.5))])
    slack = 3.2 * 8**2 / labels.size  # one nucleus cannot be divided
    assert np.all((shares > 0.5 * real - slack) & (shares < 1.5 * real + slack))
    assert shares.min() < 0.75 * real and shares.max() > 1.25 * real


def test_a_larger_layout_has_the_same_density(labels):
    real = np.mean(labels > 0)
    for layout in layouts(labels, 5, shape=(200, 320), density=(1, 1)):
        assert layout.shape == (200, 320)
        assert np.mean(layout > 0) == pytest.approx(real, rel=0.05)


def borders(labels: np.ndarray) -> list[int]:
    """How many nuclei touch the first row, the last row, the first column, the last column."""
    return [len(np.unique(side[side > 0])) for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1])]


def test_nuclei_cut_by_a_border_slide_along_it():
    labels = discs((0, 40, 8), (127, 60, 6), (60, 127, 9), (64, 64, 7))
    places = set()
    for layout in layouts(labels, touching=0):
        assert borders(layout) == borders(labels) == [1, 1, 0, 1]
        places.add(int(np.flatnonzero(layout[0])[0]))
    assert len(places) > 5


def test_nuclei_inside_the_patch_stay_inside(labels):
    assert all(borders(layout) == [0, 0, 0, 0] for layout in layouts(labels))


def test_touching_nuclei_are_made_on_demand(labels):
    assert all(touching_share(layout) == 0 for layout in layouts(labels, touching=0))
    share = np.mean([touching_share(layout) for layout in layouts(labels, touching=0.6)])
    assert 0.35 < share < 0.85


def test_touching_share_counts_nuclei():
    labels = np.zeros((20, 20), np.int32)
    labels[2:6, 2:6], labels[6:9, 2:6], labels[12:15, 2:6] = 1, 2, 3
    assert touching_share(labels) == pytest.approx(2 / 3)
    assert touching_share(np.zeros((5, 5), np.int32)) == 0


def test_the_seed_decides(labels):
    first, again, other = (random_layout(labels, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_patch_without_nuclei_is_an_error():
    with pytest.raises(ValueError, match="no nucleus"):
        random_layout(np.zeros(SHAPE, np.int32), np.random.default_rng(0))


@pytest.mark.parametrize("labels", [np.ones((16, 16), np.int32), np.eye(16, dtype=np.int32)])
def test_odd_patches_still_give_a_layout(labels):
    for layout in layouts(labels, 3):
        assert layout.shape == labels.shape


def test_a_layout_is_fast(labels):
    dense = np.tile(labels, (2, 2)) + np.kron(np.arange(4).reshape(2, 2) * 100, np.ones(SHAPE, int)) * (
        np.tile(labels, (2, 2)) > 0
    )
    dense = dense.astype(np.int32)
    start = time.process_time()
    layouts(dense, 5)
    assert (time.process_time() - start) / 5 < 0.25  # five times what it takes


def test_conditions_tell_touching_nuclei_apart():
    labels = np.zeros((11, 12), np.int32)
    labels[3:8, 1:6], labels[3:8, 6:11] = 1, 2
    mask, depth = conditions(labels)
    assert np.array_equal(mask, labels > 0)
    assert depth[5, 3] == depth[5, 8] == 1  # the centres
    assert np.all(depth[3:8, 5:7] == 0)  # where they touch
    assert np.all(depth[labels == 0] == 0)


def test_conditions_of_an_empty_layout_are_zero():
    assert not conditions(np.zeros((4, 5), np.int32)).any()
