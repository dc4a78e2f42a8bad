"""Every selection method on points whose groups are plain to see."""

from __future__ import annotations

import time

import numpy as np
import pytest

from nuclei.selection.baselines import BASELINES, facility_location, k_center, kmeans, typiclust

CENTRES = np.array([[10, 0, 0], [0, 10, 0], [0, 0, 10], [8, 8, 8]], np.float32)
SIZES = (40, 30, 20, 10)


@pytest.fixture
def points() -> tuple[np.ndarray, np.ndarray]:
    """Features of four groups of falling size, and the group of each row."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), SIZES)
    return np.float32(CENTRES[groups] + rng.normal(0, 0.3, (len(groups), 3))), groups


@pytest.mark.parametrize("method", BASELINES.values(), ids=BASELINES)
def test_chooses_different_unknown_rows_and_repeats_itself(method, points) -> None:
    features, _ = points
    known = [3, 50]
    for k in (1, 6, 98):
        chosen = method(features, k, 5, known)
        assert chosen.shape == (k,) and chosen.dtype == np.int64
        assert len({*chosen.tolist(), *known}) == k + 2
        assert np.array_equal(chosen, method(features, k, 5, known))


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "random"])
def test_covers_every_group(name, points) -> None:
    features, groups = points
    assert sorted(groups[BASELINES[name](features, 4)]) == [0, 1, 2, 3]


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "random"])
def test_complements_what_is_known(name, points) -> None:
    features, groups = points
    known = [0, 45]  # of the groups 0 and 1
    assert sorted(groups[BASELINES[name](features, 2, 0, known)]) == [2, 3]


@pytest.mark.parametrize("method", BASELINES.values(), ids=BASELINES)
@pytest.mark.parametrize("k", [0, 9])
def test_rejects_more_than_there_are(method, k: int) -> None:
    with pytest.raises(ValueError, match="cannot choose"):
        method(np.eye(10, dtype=np.float32), k, 0, [1, 2])


@pytest.mark.parametrize("method", BASELINES.values(), ids=BASELINES)
def test_copies_of_one_patch(method) -> None:
    chosen = method(np.ones((12, 3), np.float32), 5, 0, [4])
    assert len({*chosen.tolist(), 4}) == 6


@pytest.mark.parametrize("method", [kmeans, typiclust])
def test_largest_cluster_first(method, points) -> None:
    features, groups = points
    assert groups[method(features, 4)].tolist() == [0, 1, 2, 3]


def test_k_center_goes_to_the_outlier() -> None:
    features = np.float32([[0], [1], [2], [3], [100]])
    assert k_center(features, 1, 0, known=[1]).tolist() == [4]


def test_facility_location_stays_in_the_middle() -> None:
    features = np.float32([[0], [1], [2], [3], [100]])
    assert facility_location(features, 1).tolist() == [2]


def test_typiclust_takes_the_dense_place() -> None:
    angles = np.float32([0, 0.5, 0.98, 1, 1.02, 1.5])
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert typiclust(circle, 1).tolist() == [3]


@pytest.mark.slow
@pytest.mark.parametrize("method", BASELINES.values(), ids=BASELINES)
def test_100_000_patches_take_about_a_minute(method) -> None:
    features = np.random.default_rng(0).normal(size=(100_000, 1280)).astype(np.float32)
    start = time.monotonic()
    assert len(set(method(features, 24, 0, [1, 2]).tolist())) == 24
    assert time.monotonic() - start < 120
