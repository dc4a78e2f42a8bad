from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from csingan.layouts.sampler import DoesNotFit, LayoutSampler, conditions, touching_share

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


def layouts(
    labels: np.ndarray, count: int = 10, shape: tuple[int, int] | None = None, **options
) -> list[np.ndarray]:
    sampler = LayoutSampler(labels, **options)
    return [sampler(np.random.default_rng(seed), shape) for seed in range(count)]


def crowded() -> np.ndarray:
    """Half of the patch is covered by discs, of which half touch another one."""
    circles = [
        (y, x + shift, 8)
        for row, y in enumerate(range(10, 128, 18))
        for column, x in enumerate(range(10, 128, 20))
        for shift in [(1, -1)[column % 2] if row % 2 else 0]
    ]
    return discs(*circles)


def clearance(labels: np.ndarray) -> int:
    """Background px (Chebyshev distance less one) between the two nuclei that are closest."""
    for gap in range(10):
        kernel = np.ones((2 * gap + 3, 2 * gap + 3), np.uint8)
        for label in range(1, labels.max() + 1):
            around = cv2.dilate(np.uint8(labels == label), kernel) > 0
            if np.any(around & (labels > 0) & (labels != label)):
                return gap
    return 10


@pytest.mark.parametrize("gap", [1, 3])
def test_nuclei_keep_their_distance(labels, gap):
    for layout in layouts(labels, 5, gap=gap, touching=0):
        assert clearance(layout) >= gap


def test_without_a_gap_only_those_touch_that_are_to(labels):
    assert all(touching_share(layout) == 0 for layout in layouts(labels, 5, gap=0, touching=0))


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


def test_nuclei_in_a_corner_stay_there():
    labels = discs((0, 0, 9), (127, 127, 9), (64, 64, 7))
    for layout in layouts(labels, 5):
        assert np.array_equal(layout[:10, :10] > 0, labels[:10, :10] > 0)
        assert np.array_equal(layout[-10:, -10:] > 0, labels[-10:, -10:] > 0)


def test_the_number_of_cut_nuclei_follows_the_perimeter():
    labels = discs((0, 40, 5), (60, 0, 5), (64, 64, 7), (90, 90, 7))
    for layout in layouts(labels, 5, shape=(256, 256)):
        assert sum(borders(layout)) == 4


def test_nuclei_inside_the_patch_stay_inside(labels):
    assert all(borders(layout) == [0, 0, 0, 0] for layout in layouts(labels))


@pytest.mark.parametrize("wanted", [0.2, 0.6, 1])
def test_as_many_nuclei_touch_as_are_to(labels, wanted):
    share = np.mean([touching_share(layout) for layout in layouts(labels, 40, touching=wanted)])
    assert share == pytest.approx(wanted, abs=0.06)


def test_as_many_nuclei_touch_as_in_the_patch():
    labels = discs(
        (20, 20, 6), (20, 33, 6), (60, 60, 6), (90, 20, 6), (90, 33, 6), (100, 100, 7), (60, 100, 6)
    )
    assert touching_share(labels) == pytest.approx(4 / 7)
    share = np.mean([touching_share(layout) for layout in layouts(labels, 40)])
    assert share == pytest.approx(4 / 7, abs=0.06)


def test_crowded_layouts_have_density_and_touching_nuclei_too():
    labels = crowded()
    found = layouts(labels, 10, touching=0.5)
    real = np.mean(labels > 0)
    assert real > 0.45
    assert all(0.79 * real < np.mean(layout > 0) < 1.21 * real for layout in found)
    assert np.mean([touching_share(layout) for layout in found]) == pytest.approx(0.5, abs=0.08)


def test_nuclei_of_other_patches_join():
    labels, other = discs((40, 40, 8), (80, 80, 8)), np.zeros(SHAPE, np.int32)
    other[60:63, 40:80] = 1
    lengths = [
        max(np.ptp(np.argwhere(layout == label)[:, 0]) for label in range(1, layout.max() + 1))
        for layout in layouts(labels, 20, more=[other])
    ]
    assert max(lengths) > 20
    assert max(np.mean(layout > 0) for layout in layouts(labels, 20, more=[other])) < 1.5 * np.mean(
        labels > 0
    )


def test_a_density_that_does_not_fit_is_one_clear_line(labels):
    real = np.mean(labels > 0)
    with pytest.raises(DoesNotFit, match="^nuclei were to cover .* found room: lower the density"):
        layouts(labels, 1, density=(0.98 / real, 0.99 / real))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"density": (1.2, 0.8)}, "density"),
        ({"density": (0, 1)}, "density"),
        ({"scale": (-1, 1)}, "scale"),
        ({"gap": -1}, "gap"),
        ({"touching": 1.1}, "touching"),
        ({"rotate": -5}, "rotate"),
    ],
)
def test_settings_without_sense_are_named(labels, options, words):
    with pytest.raises(ValueError, match=words):
        LayoutSampler(labels, **options)


def test_touching_share_counts_nuclei():
    labels = np.zeros((20, 20), np.int32)
    labels[2:6, 2:6], labels[6:9, 2:6], labels[12:15, 2:6] = 1, 2, 3
    assert touching_share(labels) == pytest.approx(2 / 3)
    assert touching_share(np.zeros((5, 5), np.int32)) == 0


def test_the_seed_decides(labels):
    sampler = LayoutSampler(labels)
    first, again, other = (sampler(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_patch_without_nuclei_is_an_error():
    with pytest.raises(ValueError, match="no nucleus"):
        LayoutSampler(np.zeros(SHAPE, np.int32))


@pytest.mark.parametrize("labels", [np.ones((16, 16), np.int32), np.eye(16, dtype=np.int32)])
def test_odd_patches_still_give_a_layout(labels):
    for layout in layouts(labels, 3):
        assert layout.shape == labels.shape


def test_a_thousand_layouts_take_seconds(labels):
    dense = np.where(np.tile(labels, (2, 2)) > 0, np.tile(labels, (2, 2)), 0)
    dense += np.kron(np.arange(4).reshape(2, 2) * 100, np.ones(SHAPE, int)) * (dense > 0)
    sampler, rng = LayoutSampler(dense.astype(np.int32)), np.random.default_rng(0)
    start = time.process_time()
    for _ in range(20):
        sampler(rng)
    assert (time.process_time() - start) / 20 < 0.05  # five times what it takes


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
