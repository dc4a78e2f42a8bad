import numpy as np
import pytest

from nuclei.selection import criteria
from nuclei.selection.criteria import CRITERIA, Cluster, consistency, representative


def two_tissues() -> tuple[Cluster, np.ndarray, np.ndarray]:
    """Two tissues, at 0 and at 10: patches of the first, of both, of the second, nearly of the first."""
    quarters = np.float32([[0, 0, 0, 0], [0, 0, 10, 10], [10, 10, 10, 10], [0, 0, 0, 2]])[..., None]
    features = np.float32([[1], [5], [9], [7]])
    fine = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]])
    return Cluster(np.arange(4), np.float32([5]), fine, np.float32([[0], [10]])), features, quarters


def test_a_representative_patch_has_a_quarter_of_each_tissue():
    candidates, terms = representative(*two_tissues())
    assert candidates.tolist() == [0, 1, 2, 3]
    assert terms["coarse"].tolist() == [4, 0, 4, 2]
    # 10 of 16 quarters are of the first tissue, 6 of the second: (10 * 0 + 6 * 10) / 16 without the second.
    assert terms["fine"].tolist() == pytest.approx([60 / 16, 0, 100 / 16, 6 * 8 / 16])


def test_a_consistent_patch_has_alike_quarters_of_the_commonest_tissue():
    candidates, terms = consistency(*two_tissues())
    assert candidates.tolist() == [0, 1, 3]  # the others have no quarter of the first tissue
    assert terms["coarse"].tolist() == [4, 0, 2]
    assert terms["fine"].tolist() == pytest.approx([0, 5, 0.5])
    assert terms["spread"].tolist() == [0, 10, 2]


def test_a_patch_outside_the_largest_fine_cluster_is_no_candidate():
    mixed, uniform = [(0, 0), (0, 0), (100, 0), (0, 100)], [(100, 0)] * 4
    quarters = np.float32([mixed] * 5 + [uniform])
    fine = np.array([[0, 0, 1, 2]] * 5 + [[1] * 4])
    centres = np.float32([(0, 0), (100, 0), (0, 100)])
    cluster = Cluster(np.arange(6), np.ones(2), fine, centres)
    candidates, terms = consistency(cluster, np.ones((6, 2)), quarters)
    assert candidates.tolist() == [0, 1, 2, 3, 4]
    assert (terms["fine"][0], terms["spread"][0]) == pytest.approx((50, 100 * 2**0.5))


@pytest.mark.parametrize("criterion", CRITERIA.values())
def test_the_size_of_the_chunks_does_not_matter(criterion, monkeypatch):
    cluster, features, quarters = two_tissues()
    expected = criterion(cluster, features, quarters)
    monkeypatch.setattr(criteria, "CHUNK", 3)
    found = criterion(cluster, features, quarters)
    assert found[0].tolist() == expected[0].tolist()
    assert {name: term.tolist() for name, term in found[1].items()} == {
        name: term.tolist() for name, term in expected[1].items()
    }


@pytest.mark.parametrize("criterion", CRITERIA.values())
def test_the_patches_are_rows_of_larger_features(criterion):
    cluster, features, quarters = two_tissues()
    spaced = [np.repeat(array, 2, axis=0) for array in (features, quarters)]
    apart = Cluster(2 * cluster.rows, cluster.centre, cluster.fine, cluster.fine_centres)
    for one, other in zip(
        criterion(apart, *spaced)[1].values(), criterion(cluster, features, quarters)[1].values(), strict=True
    ):
        assert one.tolist() == other.tolist()
