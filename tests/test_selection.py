from __future__ import annotations

import numpy as np
import pytest

from nuclei.selection import select


def two_clusters() -> tuple[np.ndarray, np.ndarray]:
    """Three patches around (0, 0) and two around (1000, 4), small enough to work out by hand."""
    features = [(0, 0), (0, 3), (0, -3), (1000, 0), (1000, 8)]
    quarters = [
        [(0, 0), (0, 0), (0, 0), (40, 0)],  # three of the largest fine cluster's seven, around (0, 0)
        [(0, 1), (0, 1), (0, -1), (0, -1)],  # the other four
        [(40, 0), (40, 0), (40, 0), (40, 0)],  # no quarter in it: no candidate
        [(1000, 0), (1000, 0), (1000, 0), (1000, 0)],  # four of the largest's six, at (1000, 0)
        [(1000, 0), (1000, 0), (1000, 50), (1000, 50)],
    ]
    return np.float32(features), np.float32(quarters)


def random_patches(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    quarters = rng.normal(size=(count, 4, 6)) + rng.integers(0, 4, (count, 1, 1)) * 3
    return quarters.mean(axis=1).astype(np.float32), quarters.astype(np.float32)


def test_scores_worked_out_by_hand():
    chosen = select(*two_clusters(), k1=2, k2=2, seed=0)
    assert [record.cluster for record in chosen] == [0, 1]
    near, far = sorted(chosen, key=lambda record: record.index)

    assert near.index == 1 and near.members == (0, 1, 2)
    assert (near.coarse, near.fine, near.spread) == pytest.approx((3, 1, 2))
    assert near.score == pytest.approx(6)

    assert far.index == 3 and far.members == (3, 4)
    assert (far.coarse, far.fine, far.spread) == pytest.approx((4, 0, 0))
    assert far.score == pytest.approx(4)


def test_a_patch_outside_the_largest_fine_cluster_is_no_candidate():
    mixed = [(0, 0), (0, 0), (100, 0), (0, 100)]  # score 0 + 50 + 141.4
    uniform = [(100, 0)] * 4  # score 0 + 100 + 0, but none of its quarters lies at (0, 0)
    quarters = np.float32([mixed] * 5 + [uniform])
    (record,) = select(np.ones((6, 2)), quarters, k1=1, k2=3)
    assert record.index == 0
    assert (record.fine, record.spread) == pytest.approx((50, 100 * 2**0.5))


def test_equal_scores_go_to_the_first_patch():
    quarters = np.zeros((3, 4, 1))
    features = np.float32([[9], [0], [0]])
    (record,) = select(features, quarters, k1=1, k2=1)
    assert record.index == 1
    assert record.score == pytest.approx(3)


def test_identical_blank_patches_need_no_second_fine_cluster():
    (record,) = select(np.ones((4, 3)), np.ones((4, 4, 3)), k1=1, k2=5)
    assert (record.index, record.score) == (0, 0)


def test_same_seed_same_selection():
    features, quarters = random_patches()
    assert select(features, quarters, 4, 3, seed=5) == select(features, quarters, 4, 3, seed=5)


def test_the_order_of_the_patches_does_not_matter():
    features, quarters = random_patches()
    order = np.random.default_rng(0).permutation(len(features))
    before = select(features, quarters, 4, 3)
    after = select(features[order], quarters[order], 4, 3)
    assert [record.index for record in before] == [order[record.index] for record in after]
    assert [record.score for record in before] == [record.score for record in after]
    assert [set(record.members) for record in before] == [set(order[list(r.members)]) for r in after]


def test_every_patch_belongs_to_one_cluster():
    chosen = select(*random_patches(), 5, 2)
    assert sorted(member for record in chosen for member in record.members) == list(range(30))
    assert all(record.index in record.members for record in chosen)


@pytest.mark.parametrize(
    ("k1", "k2", "message"),
    [
        (6, 1, "K1 = 6 exceeds the 5 patches"),
        (2, 9, "K2 = 9 exceeds the 8 quarters of the smallest cluster"),
        (0, 1, "K1 = 0 and K2 = 1 must be at least 1"),
    ],
)
def test_too_many_clusters_is_an_error_that_names_both_numbers(k1, k2, message):
    with pytest.raises(ValueError, match=message):
        select(*two_clusters(), k1, k2)


def test_copies_of_a_patch_do_not_make_clusters():
    with pytest.raises(ValueError, match="K1 = 2 exceeds the 1 different"):
        select(np.ones((4, 3)), np.ones((4, 4, 3)), 2, 1)


def test_broken_features_are_an_error():
    features, quarters = two_clusters()
    with pytest.raises(ValueError, match="quarters must be"):
        select(features, quarters[:, :3], 2, 2)
    with pytest.raises(ValueError, match="features must be"):
        select(features[0], quarters, 2, 2)
    quarters[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        select(features, quarters, 2, 2)
