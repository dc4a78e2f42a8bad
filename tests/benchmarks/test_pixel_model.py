"""The pixel model on drawn discs: purple on pink, as haematoxylin and eosin."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pixel_model import (
    BACKGROUND,
    BORDER,
    CHANNELS,
    COPIES,
    INTERIOR,
    KINDS,
    UNKNOWN,
    fit,
    instances,
    pixel_classes,
    pixel_features,
    restain,
)
from nuclei.evaluation.metrics import aji

PURPLE, PINK = (90, 50, 130), (235, 180, 210)


def draw(seed: int, size: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """An image of discs on a jittered grid, slightly noisy, and its labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.int32)
    y, x = np.mgrid[:size, :size]
    centres = [(cy, cx) for cy in range(24, size, 40) for cx in range(24, size, 40)]
    for k, (cy, cx) in enumerate(centres, start=1):
        dy, dx, radius = rng.integers(-5, 6), rng.integers(-5, 6), rng.integers(9, 14)
        labels[(y - cy - dy) ** 2 + (x - cx - dx) ** 2 <= radius**2] = k
    image = np.where(labels[..., None] > 0, PURPLE, PINK) + rng.normal(0, 8, (size, size, 3))
    return image.clip(0, 255).astype(np.uint8), labels


@pytest.mark.parametrize("kind", KINDS)
def test_learns_discs_and_repeats_itself(kind: str) -> None:
    image, truth = draw(1)
    first, second = (fit(*map(lambda a: [a], draw(0)), kind, seed=3).segment(image) for _ in range(2))
    assert first.dtype == np.int32 and first.shape == truth.shape
    assert aji(truth, first) > 0.8
    assert np.array_equal(first, second)


def test_learns_only_from_what_is_annotated() -> None:
    image, labels = draw(0)
    wrong = np.where(np.arange(labels.shape[1]) < 128, labels, UNKNOWN)
    test_image, truth = draw(1)
    assert aji(truth, fit([image], [wrong]).segment(test_image)) > 0.8


def test_background_alone_teaches_that_there_is_nothing() -> None:
    image, labels = draw(0)
    assert not fit([image], [np.zeros_like(labels)]).segment(image).any()


def test_odd_sizes() -> None:
    image, labels = draw(0)
    model = fit([image], [labels], "trees")
    assert model.segment(image[:101, :77]).shape == (101, 77)


def test_features_do_not_change_with_brightness_of_a_blank_image() -> None:
    features = pixel_features(np.full((40, 60, 3), 200, np.uint8))
    assert features.shape == (20, 30, 51) and features.dtype == np.float16
    assert np.isfinite(features).all() and not features.any()


def test_restaining_scales_and_shifts_the_channels_of_a_group() -> None:
    features = pixel_features(draw(0)[0]).reshape(-1, 51)[:40]
    groups = np.repeat([0, 1], 20)
    stained = restain(features, groups, np.random.default_rng(0))
    assert stained.shape == (COPIES * 40, 51) and stained.dtype == np.float32
    stains = set()
    for copy in np.split(stained, COPIES):
        for group in (0, 1):
            before, after = (array[groups == group].astype(float) for array in (features, copy))
            for column in range(51):
                factor, offset = np.polyfit(before[:, column], after[:, column], 1)
                stains.add((column % CHANNELS, round(factor, 2)))
                assert factor > 0
                is_map = column < CHANNELS or column // CHANNELS % 4 == 1  # the value or a Gaussian
                assert (abs(offset) > 1e-3) == is_map
    assert len(stains) <= 2 * COPIES * CHANNELS  # one factor for all maps of a channel


def test_classes() -> None:
    labels = np.zeros((24, 40), np.int32)
    labels[4:20, 4:20], labels[4:20, 20:36] = 1, 2
    labels[:, 38:] = UNKNOWN
    classes = pixel_classes(labels)
    assert classes.shape == (12, 20)
    assert classes[0, 0] == BACKGROUND and classes[6, 6] == INTERIOR and classes[2, 6] == BORDER
    assert (classes[4:8, 9:11] == BORDER).all()  # where the two touch
    assert (classes[:, 19] == UNKNOWN).all()


def test_instances_part_at_the_border() -> None:
    probabilities = np.zeros((40, 40, 3), np.float32)
    probabilities[..., BACKGROUND] = 1
    probabilities[10:30, 4:36] = np.eye(3)[INTERIOR]
    probabilities[10:30, 19:21] = np.eye(3)[BORDER]
    labels = instances(probabilities)
    assert labels.max() == 2 and labels[20, 10] != labels[20, 30]
    assert np.array_equal(labels > 0, probabilities[..., BACKGROUND] < 0.5)


def test_rejects_an_unknown_kind() -> None:
    image, labels = draw(0)
    with pytest.raises(ValueError, match="kind"):
        fit([image], [labels], "forest")
