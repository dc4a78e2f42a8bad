from __future__ import annotations

import numpy as np
import pytest

from nuclei.errors import InputError
from nuclei.selection import two_stage
from nuclei.selection.baselines import BASELINES
from nuclei.selection.criteria import CRITERIA
from nuclei.selection.two_stage import select, select_by


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


def random_keys(count: int) -> list[bytes]:
    rng = np.random.default_rng(11)
    return [rng.bytes(16) for _ in range(count)]


def rounded_otherwise(array: np.ndarray) -> np.ndarray:
    """As features come from another number of threads or another device."""
    return array * np.float32(1 + 1e-6 * np.random.default_rng(5).normal(size=array.shape))


def test_scores_of_the_paper_worked_out_by_hand():
    chosen = select(*two_clusters(), k1=2, k2=2, criterion="consistency")
    assert [record.cluster for record in chosen] == [0, 1]
    near, far = sorted(chosen, key=lambda record: record.index)

    assert near.index == 1 and near.members == (0, 1, 2)
    assert near.terms == pytest.approx({"coarse": 3, "fine": 1, "spread": 2})
    assert near.score == pytest.approx(6)

    assert far.index == 3 and far.members == (3, 4)
    assert far.terms == pytest.approx({"coarse": 4, "fine": 0, "spread": 0})
    assert far.score == pytest.approx(4)


def test_scores_of_representative_patches_worked_out_by_hand():
    chosen = select(*two_clusters(), k1=2, k2=2, criterion="representative")
    near, far = sorted(chosen, key=lambda record: record.index)
    # Of seven quarters around (0, 0) and five at (40, 0) the first patch shows both.
    assert near.index == 0 and near.members == (0, 1, 2)
    assert near.terms == pytest.approx({"coarse": 0, "fine": 0}, abs=1e-5)
    # Of six at (1000, 0) and two at (1000, 50) the second patch shows both.
    assert far.index == 4 and far.members == (3, 4)
    assert far.terms == pytest.approx({"coarse": 4, "fine": 0}, abs=1e-5)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_equal_scores_go_to_the_first_patch(criterion):
    quarters = np.zeros((3, 4, 1))
    features = np.float32([[9], [0], [0]])
    (record,) = select(features, quarters, k1=1, k2=1, criterion=criterion)
    assert record.index == 1
    assert record.score == pytest.approx(3)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_identical_blank_patches_need_no_second_fine_cluster(criterion):
    (record,) = select(np.ones((4, 3)), np.ones((4, 4, 3)), k1=1, k2=5, criterion=criterion)
    assert (record.index, record.score) == (0, 0)


def test_same_seed_same_selection():
    features, quarters = random_patches()
    assert select(features, quarters, 4, 3, seed=5) == select(features, quarters, 4, 3, seed=5)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("exact_up_to", [None, 10])
def test_the_order_of_the_patches_does_not_matter(exact_up_to, criterion, monkeypatch):
    monkeypatch.setattr(two_stage, "BATCH", 8)
    features, quarters = random_patches()
    keys = random_keys(len(features))
    order = np.random.default_rng(0).permutation(len(features))
    options = {"exact_up_to": exact_up_to, "criterion": criterion}
    before = select(features, quarters, 4, 3, keys=keys, **options)
    keys = [keys[i] for i in order]
    after = select(features[order], quarters[order], 4, 3, keys=keys, **options)
    assert [record.index for record in before] == [order[record.index] for record in after]
    assert [record.score for record in before] == [record.score for record in after]
    assert [set(record.members) for record in before] == [set(order[list(r.members)]) for r in after]


def test_rounding_does_not_matter(monkeypatch):
    monkeypatch.setattr(two_stage, "STARTS", (1, 1))  # a single start finds whatever is near it
    rng = np.random.default_rng(7)
    quarters = rng.normal(size=(120, 4, 6)).astype(np.float32)
    features, keys = quarters.mean(axis=1), random_keys(120)
    before = select(features, quarters, 12, 3, keys=keys)
    after = select(rounded_otherwise(features), rounded_otherwise(quarters), 12, 3, keys=keys)
    assert [record.index for record in before] == [record.index for record in after]


@pytest.mark.parametrize("method", BASELINES)
def test_no_rival_minds_rounding(method):
    features, quarters = random_patches(60)
    keys = random_keys(60)
    before = select_by(method, features, quarters, 8, keys=keys)
    after = select_by(method, rounded_otherwise(features), quarters, 8, keys=keys)
    assert [record.index for record in before] == [record.index for record in after]


def test_copies_of_a_patch_have_one_key():
    features, quarters = (np.repeat(array, 2, axis=0) for array in two_clusters())
    keys = [key for key in random_keys(5) for _ in range(2)]
    chosen = select(features, quarters, 2, 2, keys=keys, criterion="representative")
    assert sorted(record.index for record in chosen) == [0, 8]  # the first of both copies
    with pytest.raises(ValueError, match="9 keys do not fit 10 patches"):
        select(features, quarters, 2, 2, keys=keys[1:])


def test_known_patches_cover_their_clusters():
    rng = np.random.default_rng(0)
    # Clusters of 5, 9, 7 and 3 patches, far apart; the first and the fourth hold a known patch.
    sizes = (5, 9, 7, 3)
    centres = np.repeat(np.arange(4), sizes)[:, None] * np.float32([[100, 0]])
    features = centres + rng.normal(size=centres.shape)
    quarters = features[:, None] + rng.normal(size=(len(features), 4, 2))
    (record,) = select(features, quarters, 1, 2, known=[0, 22])
    assert record.members == tuple(range(5, 14))  # the larger of the two that are left
    both = select(features, quarters, 2, 2, known=[0, 22])
    assert sorted(len(record.members) for record in both) == [7, 9]
    with pytest.raises(InputError, match="K1 = 23 beside 2 annotated patches exceeds the 24 patches"):
        select(features, quarters, 23, 2, known=[0, 22])


def test_a_pool_is_some_rows_of_the_features():
    features, quarters = random_patches()
    rows = np.array([3, 29, 8, 11, 25, 0])
    expected = select(features[rows], quarters[rows], 2, 2)
    assert select(features, quarters, 2, 2, rows=rows) == expected


def test_features_may_be_memory_mapped(tmp_path):
    arrays = random_patches()
    mapped = []
    for number, array in enumerate(arrays):
        np.save(tmp_path / f"{number}.npy", array)
        mapped.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    assert select(*mapped, 4, 3) == select(*arrays, 4, 3)


def test_mini_batches_find_the_same_clear_clusters():
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(3, 5)) * 50
    features = (centres[:, None] + rng.normal(size=(3, 40, 5))).reshape(-1, 5)
    quarters = features[:, None] + rng.normal(size=(120, 4, 5)) + np.float32([0, 0, 30, 30])[:, None]
    exact = {frozenset(record.members) for record in select(features, quarters, 3, 2)}
    mini_batch = {frozenset(record.members) for record in select(features, quarters, 3, 2, exact_up_to=10)}
    assert exact == mini_batch == {frozenset(range(start, start + 40)) for start in (0, 40, 80)}


def test_rivals_stand_for_what_lies_nearest():
    features = np.float32([[0], [1], [10], [11], [13], [30]])
    quarters = np.repeat(features[:, None], 4, axis=1)
    # The farthest from the known patch at 0 is 30, the farthest from both is 13 (13 from 0, 17 from 30).
    far, middle = select_by("k-center", features, quarters, 2, known=[0])
    assert (far.index, far.members, far.score) == (5, (5,), 0)
    assert (middle.index, middle.members) == (4, (2, 3, 4))
    assert middle.score == pytest.approx((3 + 2 + 0) / 3)


@pytest.mark.parametrize("method", BASELINES)
def test_no_rival_minds_the_order_of_the_patches(method):
    features, quarters = random_patches()
    keys = random_keys(len(features))
    order = np.random.default_rng(0).permutation(len(features))
    before = select_by(method, features, quarters, 4, keys=keys)
    after = select_by(method, features[order], quarters[order], 4, keys=[keys[i] for i in order])
    assert [record.index for record in before] == [order[record.index] for record in after]


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
    with pytest.raises(InputError, match=message):
        select(*two_clusters(), k1, k2)


def test_copies_of_a_patch_do_not_make_clusters():
    with pytest.raises(InputError, match="K1 = 2 exceeds the 1 different"):
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


def test_small_pools_are_clustered_alike_by_every_seed():
    # A structureless cloud has many local optima; ten starts find others with every seed.
    rng = np.random.default_rng(3)
    features = rng.normal(size=(30, 2)).astype(np.float32)
    quarters = np.repeat(features[:, None], 4, axis=1)
    chosen = {tuple(sorted(r.index for r in select(features, quarters, 5, 1, seed))) for seed in range(6)}
    assert len(chosen) == 1
