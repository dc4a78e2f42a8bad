"""Which patches are worth annotating: consistency-based selection after Lou et al. 2022.

The patches are clustered; of each cluster the patch is taken that stands for it best: close to the cluster's
centre, made of the tissue that most of the cluster is made of, and alike in its four quarters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.cluster import KMeans


@dataclass(frozen=True)
class Selected:
    """The patch that stands for one coarse cluster; distances are Euclidean, in feature space."""

    cluster: int  # 0 .. K1 - 1
    index: int  # row of the selected patch
    score: float  # coarse + fine + spread; the smallest of the cluster's candidates
    coarse: float  # distance of the patch to the centre of its coarse cluster
    fine: float  # mean distance of its four quarters to the centre of the largest fine cluster
    spread: float  # largest distance between two of its quarters
    members: tuple[int, ...]  # rows of all patches of the cluster, the selected one among them


def select(features: np.ndarray, quarters: np.ndarray, k1: int, k2: int, seed: int = 0) -> list[Selected]:
    """Choose one patch of each of `k1` clusters.

    The order of the patches does not matter: they are clustered in the order of their features.

    Args:
        features: (N, D) of the patches.
        quarters: (N, 4, D) of their quarters.
        k1: coarse clusters, over the patches.
        k2: fine clusters, over the quarters of the patches of each coarse cluster.
        seed: of KMeans.

    Returns:
        One record a cluster, sorted by cluster.

    Raises:
        ValueError: features that are not finite or do not fit each other, fewer patches (or fewer
            different ones) than k1, or a cluster with fewer quarters than k2.
    """
    features, quarters = np.asarray(features, np.float64), np.asarray(quarters, np.float64)
    _check(features, quarters, k1, k2)
    order = np.array(
        sorted(range(len(features)), key=lambda i: (features[i].tobytes(), quarters[i].tobytes()))
    )
    labels, centres = _kmeans(features[order], k1, seed)
    clusters = [order[labels == cluster] for cluster in range(k1)]
    fewest = 4 * min(map(len, clusters))
    if k2 > fewest:
        raise ValueError(f"K2 = {k2} exceeds the {fewest} quarters of the smallest cluster of patches")
    return [
        _select_of_cluster(cluster, members, features, quarters, centres[cluster], k2, seed)
        for cluster, members in enumerate(clusters)
    ]


def _select_of_cluster(
    cluster: int,
    members: np.ndarray,
    features: np.ndarray,
    quarters: np.ndarray,
    centre: np.ndarray,
    k2: int,
    seed: int,
) -> Selected:
    """The patch of one coarse cluster: `members` (M,) are rows, `centre` (D,) is the coarse centre."""
    pieces = quarters[members].reshape(4 * len(members), -1)
    # Blank background repeats itself: there, fewer fine clusters than K2 are all there are.
    labels, centres = _kmeans(pieces, min(k2, len(np.unique(pieces, axis=0))), seed)
    largest = np.bincount(labels).argmax()  # the lowest id among equals
    has_largest = (labels.reshape(-1, 4) == largest).any(axis=1)

    candidates = np.sort(members[has_largest])
    coarse = np.linalg.norm(features[candidates] - centre, axis=1)
    fine = np.linalg.norm(quarters[candidates] - centres[largest], axis=2).mean(axis=1)
    spread = np.array([pdist(four).max() for four in quarters[candidates]])
    score = coarse + fine + spread
    best = score.argmin()  # the lowest row among equals
    terms = (float(term[best]) for term in (score, coarse, fine, spread))
    return Selected(cluster, int(candidates[best]), *terms, members=tuple(np.sort(members).tolist()))


def _kmeans(points: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and centres (k, D) of points (N, D)."""
    kmeans = KMeans(k, n_init=10, random_state=seed).fit(points)
    return kmeans.labels_, kmeans.cluster_centers_


def _check(features: np.ndarray, quarters: np.ndarray, k1: int, k2: int) -> None:
    if features.ndim != 2 or features.size == 0:
        raise ValueError(f"features must be (N, D), not {features.shape}")
    count, length = features.shape
    if quarters.shape != (count, 4, length):
        raise ValueError(f"quarters must be {(count, 4, length)} like the features, not {quarters.shape}")
    if not (np.isfinite(features).all() and np.isfinite(quarters).all()):
        raise ValueError("the features hold values that are not finite")
    if k1 < 1 or k2 < 1:
        raise ValueError(f"K1 = {k1} and K2 = {k2} must be at least 1")
    if k1 > count:
        raise ValueError(f"K1 = {k1} exceeds the {count} patches")
    different = len(np.unique(features, axis=0))
    if k1 > different:
        raise ValueError(f"K1 = {k1} exceeds the {different} different ones of {count} patches")
