"""Baselines for choosing which patches to annotate, as small functions on arrays.

Each takes the pooled features of the pool and returns the chosen rows in the order of choice:

    baseline(features, k, seed=0, known=()) -> rows

features (N, D) float32, one row a patch; k, how many to choose; seed, of everything random; known, rows that
are annotated already, which are never chosen and which the choice complements. The result is (k,) int64. All
raise ValueError where fewer than k rows are left. Where there are very many rows they cluster by mini-batches
and compare some thousand rows drawn by the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import pairwise_distances, pairwise_distances_argmin_min
from sklearn.neighbors import NearestNeighbors

EXACT_UP_TO = 20_000  # rows; more are clustered by mini-batch KMeans
CANDIDATES = 10_000  # rows that a greedy baseline chooses among, drawn by the seed where there are more
CLIENTS = 2_000  # rows that the chosen ones shall cover, likewise
NEIGHBOURS = 20  # nearest neighbours that make a row typical, as in the paper of TypiClust


def random(features: np.ndarray, k: int, seed: int = 0, known: Sequence[int] = ()) -> np.ndarray:
    """Any k of the unknown rows: what every selection has to beat."""
    free = _free(features, k, known)
    return np.random.default_rng(seed).choice(free, k, replace=False)


def kmeans(features: np.ndarray, k: int, seed: int = 0, known: Sequence[int] = ()) -> np.ndarray:
    """The row nearest to the centre of each of the largest clusters without a known row (MacQueen 1967)."""

    def central(members: np.ndarray, centre: np.ndarray) -> int:
        return int(_distances(features[members], centre).argmin())

    return _one_a_cluster(features, k, seed, known, central)


def typiclust(features: np.ndarray, k: int, seed: int = 0, known: Sequence[int] = ()) -> np.ndarray:
    """The most typical row of each of the largest clusters without a known row.

    Typical is what lies near its nearest neighbours in the cluster, on the unit sphere (Hacohen, Dekel &
    Weinshall, "Active learning on a budget", ICML 2022).
    """
    sphere = _normalise(features)
    rng = np.random.default_rng(seed)

    def typical(members: np.ndarray, centre: np.ndarray) -> int:
        drawn = _draw(np.arange(len(members)), CLIENTS, rng)
        count = min(NEIGHBOURS, len(drawn) - 1)
        if not count:
            return 0
        distances, _ = NearestNeighbors(n_neighbors=count).fit(sphere[members[drawn]]).kneighbors()
        return drawn[distances.mean(axis=1).argmin()]

    return _one_a_cluster(sphere, k, seed, known, typical)


def k_center(features: np.ndarray, k: int, seed: int = 0, known: Sequence[int] = ()) -> np.ndarray:
    """Again and again the row farthest from all chosen and known ones.

    Gonzalez, "Clustering to minimize the maximum intercluster distance" (1985); the core-set of Sener &
    Savarese, ICLR 2018. Without known rows the first one is drawn by the seed.
    """
    free = _free(features, k, known)
    chosen: list[int] = []
    if not len(known):
        chosen.append(int(np.random.default_rng(seed).choice(free)))
    start = [*known, *chosen]
    distance = pairwise_distances_argmin_min(features, features[start])[1]
    distance[start] = -1
    while len(chosen) < k:
        row = int(distance.argmax())
        chosen.append(row)
        distance = np.minimum(distance, _distances(features, features[row]))
        distance[chosen] = -1
    return np.array(chosen)


def facility_location(features: np.ndarray, k: int, seed: int = 0, known: Sequence[int] = ()) -> np.ndarray:
    """The rows that leave all rows the smallest mean distance to their nearest chosen or known one.

    Greedily, which is within 1 - 1/e of the best gain (Nemhauser, Wolsey & Fisher 1978); k-medoids by another
    name.
    """
    free = _free(features, k, known)
    rng = np.random.default_rng(seed)
    candidates = _draw(free, max(CANDIDATES, k), rng)
    clients = features[_draw(np.arange(len(features)), CLIENTS, rng)]
    distances = pairwise_distances(features[candidates], clients)
    far = distances.max(axis=0)
    nearest = (
        np.minimum(far, pairwise_distances(features[list(known)], clients).min(axis=0)) if len(known) else far
    )
    chosen: list[int] = []
    for _ in range(k):
        left = np.minimum(distances, nearest).mean(axis=1)
        left[chosen] = np.inf
        chosen.append(int(left.argmin()))
        nearest = np.minimum(nearest, distances[chosen[-1]])
    return candidates[chosen]


BASELINES: dict[str, Callable] = {
    "random": random,
    "kmeans": kmeans,
    "k-center": k_center,
    "typiclust": typiclust,
    "facility-location": facility_location,
}


def _free(features: np.ndarray, k: int, known: Sequence[int]) -> np.ndarray:
    """The rows that are not known, ascending."""
    free = np.setdiff1d(np.arange(len(features)), np.asarray(known, np.int64))
    if not 1 <= k <= len(free):
        raise ValueError(f"cannot choose {k} of {len(free)} rows")
    return free


def _draw(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """All of `rows`, or `count` of them by chance, in their order."""
    return rows if len(rows) <= count else np.sort(rng.choice(rows, count, replace=False))


def _distances(features: np.ndarray, point: np.ndarray) -> np.ndarray:
    """(N,) Euclidean distances of (N, D) to one point (D,)."""
    return pairwise_distances(features, point[None])[:, 0]


def _normalise(features: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays so."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(length, np.finfo(np.float32).tiny)


def _one_a_cluster(
    features: np.ndarray,
    k: int,
    seed: int,
    known: Sequence[int],
    best: Callable[[np.ndarray, np.ndarray], int],
) -> np.ndarray:
    """One row of each of the k largest clusters without a known row, the largest cluster first.

    `best` takes the rows of a cluster (M,) and its centre (D,) and returns the position of the row to choose.
    """
    free = _free(features, k, known)
    kind = KMeans if len(features) <= EXACT_UP_TO else MiniBatchKMeans
    model = kind(k + len(known), n_init=10, random_state=seed).fit(features)
    sizes = np.bincount(model.labels_, minlength=model.n_clusters)
    sizes[model.labels_[list(known)]] = 0
    chosen = []
    for cluster in np.argsort(-sizes, kind="stable")[:k]:
        members = np.flatnonzero(model.labels_ == cluster)
        if sizes[cluster]:
            chosen.append(members[best(members, model.cluster_centers_[cluster])])
    # Copies of a patch may leave clusters empty: any others then fill up.
    others = np.setdiff1d(free, chosen)
    return np.array([*chosen, *others[: k - len(chosen)]], np.int64)
