"""The measures of synthetic patches, against closed forms and on generated tissue spoilt on purpose."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.stage2 import gan
from benchmarks.stage2.gan import average, split
from benchmarks.stage2.quality import (
    SMOOTHING,
    Gaussian,
    background_difference,
    difference,
    diversity,
    feature_gaussians,
    fit_gaussian,
    frechet_distance,
    quality,
)
from nuclei.errors import InputError
from nuclei.tissue import generate

SIDE = 96  # px


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    return generate("carcinoma", 192, seed=0)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def test_frechet_distance_of_diagonal_gaussians() -> None:
    first = Gaussian(np.array([1.0, 2.0, 0.0]), np.diag([1.0, 4.0, 0.0]))
    second = Gaussian(np.array([1.0, 0.0, 0.0]), np.diag([9.0, 4.0, 1.0]))
    # Of the means: 2^2. Of each axis: (deviation - deviation)^2, also where the first one has none.
    expected = 4 + (3 - 1) ** 2 + 0 + 1
    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(second, first) == pytest.approx(expected)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_sees_correlations_and_turns_with_the_axes() -> None:
    first = Gaussian(np.zeros(2), np.array([[1.0, 0.8], [0.8, 1.0]]))
    second = Gaussian(np.zeros(2), np.array([[1.0, -0.8], [-0.8, 1.0]]))
    # Both have the axes (1, 1) and (1, -1), with variances 1.8 and 0.2 the other way round.
    assert frechet_distance(first, second) == pytest.approx(2 * (1.8**0.5 - 0.2**0.5) ** 2)


def test_fits_gaussians() -> None:
    found = fit_gaussian(np.array([[0, 1], [2, 1], [4, 4]], np.float32))
    np.testing.assert_allclose(found.mean, [2, 2])
    np.testing.assert_allclose(found.covariance, [[4, 3], [3, 3]])
    assert fit_gaussian(np.array([[1.0], [3.0]])).covariance.shape == (1, 1)


def test_features_rank_images_by_how_real_they_look(pair: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = pair
    flat = np.where(labels[..., None] > 0, *(image[part].mean(0) for part in (labels > 0, labels == 0)))
    fakes = [image, image[::-1], blurred(image, 2), flat.astype(np.uint8)]
    target = feature_gaussians(image)
    assert {stride: each.mean.size for stride, each in target.items()} == {4: 24, 8: 40}
    for stride in target:
        found = [frechet_distance(feature_gaussians(fake)[stride], target[stride]) for fake in fakes]
        assert found[0] == pytest.approx(0, abs=1e-3)
        assert found[1] < found[2] / 2 and found[2] < found[3] / 2


def test_difference_is_that_of_what_lasts() -> None:
    grey = np.full((SIDE, SIDE, 3), 100, np.uint8)
    assert difference(grey, grey + np.uint8(7)) == pytest.approx(7, abs=1e-4)
    # White noise of deviation s keeps s / (2 sqrt(pi) sigma) of it; its mean size is sqrt(2 / pi) of that.
    noisy = (grey + np.random.default_rng(0).normal(0, 20, grey.shape)).round().astype(np.uint8)
    expected = 20 / (2 * np.sqrt(np.pi) * SMOOTHING) * np.sqrt(2 / np.pi)
    assert difference(grey, noisy) == pytest.approx(expected, rel=0.1)


def test_difference_of_backgrounds_is_blind_to_nuclei() -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[20:50, 20:50] = 1
    image = np.where(labels[..., None] > 0, 0, np.full(3, 200)).astype(np.uint8)
    other = np.full_like(image, 190)
    assert background_difference((image, labels), (other, np.zeros_like(labels))) == pytest.approx(
        10, abs=1e-3
    )
    assert background_difference((image, labels + 1), (other, labels)) == 0  # nowhere both


def test_splits_into_an_annotated_patch_of_median_nuclei_and_the_rest() -> None:
    labels = np.zeros((70, 100), np.int32)
    labels[5, 5:30:5] = range(1, 6)  # five nuclei in the first patch of 32 px, one in the second, ...
    labels[5, 40], labels[40, 5:20:5] = 9, (11, 12, 13)
    image = np.dstack([labels] * 3).astype(np.uint8)
    (annotated, truth), others = split(image[:64, :64], labels[:64, :64], 32)
    # The counts are 5, 1, 3 and 0; their median is 2, to which 1 and 3 are equally near.
    assert truth.max() == 1 and annotated[5, 8].tolist() == [9, 9, 9]
    assert [pair[1].max() for pair in others] == [5, 3, 0]
    assert len(split(image, labels, 32)[1]) == 5  # of 2 x 3; what is left at the borders is not used
    with pytest.raises(InputError, match="leaves no patch"):
        split(image, labels, 64)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "holds files that were not made here"),
        ({"images": 0}, "--images is 0"),
        ({"speed_size": 512}, "--speed-size is 512"),
    ],
)
def test_nothing_is_emptied_that_was_not_made_here(tmp_path, settings, words) -> None:
    (tmp_path / "model.h5").touch()
    with pytest.raises(InputError, match=words):
        gan.main(gan.Settings(**settings, out=tmp_path))
    assert (tmp_path / "model.h5").exists()


def test_averages_nested_figures() -> None:
    tables = [{"a": 1, "b": {"c": 2.0}}, {"a": 2, "b": {"c": 6.0}}]
    assert average(tables) == {"a": 1.5, "b": {"c": 4.0}}


def test_the_patch_itself_is_perfect_but_for_being_a_copy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    blank = (np.full_like(pair[0], 200), np.zeros_like(pair[1]))
    found = quality([pair, pair], pair)
    assert found["auc_gap"] == pytest.approx(0) and found["boundary"] == pytest.approx(1)
    assert found["edge"] == pytest.approx(0)
    assert found["realism"] == pytest.approx(0, abs=1e-3) and found["repeats"] == pytest.approx(1, abs=1e-4)
    # Without nuclei there is nothing to be true to, but the image is looked at.
    assert quality([pair, blank], pair)["boundary"] == found["boundary"]
    assert quality([pair, blank], pair)["realism"] > 10


def test_diversity_is_relative_to_real_patches(pair: tuple[np.ndarray, np.ndarray]) -> None:
    image = np.full_like(pair[0], 100)
    one, two, three = ((image + np.uint8(shift), np.zeros_like(pair[1])) for shift in (0, 2, 8))
    found = diversity([one, two], [two, two], one, [three])
    # The samples of one layout differ by 2 and 0; those of two by 2; the real ones by 8.
    assert found == {"diversity": pytest.approx(1 / 8), "diversity_background": pytest.approx(2 / 8)}
