"""Which patches are worth annotating: two-stage clustering after Lou et al. 2022.

The patches are clustered, and the quarters of the patches of each cluster once more; by these a
selection criterion (`nuclei.selection.criteria`) takes the patch of each cluster that stands for it best.

The features may be memory-mapped: what is read of them at a time is bounded, whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin_min
from threadpoolctl import threadpool_limits

from nuclei.errors import InputError
from nuclei.selection.baselines import BASELINES
from nuclei.selection.criteria import CRITERIA, Cluster, gather

STARTS = (10, 100)  # fewest and most random starts of KMeans, of which the best is taken
STARTS_TIMES_POINTS = 10_000  # in between: as many as take a second or so
BATCH = 8192  # points of a mini-batch
MAX_BATCHES = 20  # of them; the centres have come to rest by then


@dataclass(frozen=True)
class Selected:
    """A selected patch and the patches that it stands for; distances are Euclidean, in feature space."""

    cluster: int  # 0, 1, ...
    index: int  # position of the selected patch in the pool
    score: float  # the smaller the better
    terms: dict[str, float]  # what the score is made of
    members: tuple[int, ...]  # positions of all patches of the cluster, the selected one among them


def select(
    features: np.ndarray,
    quarters: np.ndarray,
    k1: int,
    k2: int,
    seed: int = 0,
    known: Sequence[int] = (),
    exact_up_to: int | None = None,
    rows: np.ndarray | None = None,
    keys: Sequence[bytes] | None = None,
    criterion: str = "consistency",
) -> list[Selected]:
    """Choose one patch of each of `k1` clusters (Lou et al. 2022, section III-A).

    The score of a patch is the sum of the criterion's terms; of equal ones the first in the pool is taken.

    Args:
        features: (R, D) of the patches.
        quarters: (R, 4, D) of their quarters.
        k1: coarse clusters, over the patches.
        k2: fine clusters, over the quarters of the patches of each coarse cluster.
        seed: of KMeans.
        known: positions in the pool of patches that are annotated already. There are as many coarse
            clusters more, and those that hold a known patch are passed over; of the others the `k1` largest
            are taken.
        exact_up_to: patches beyond which mini-batch KMeans (Sculley 2010) takes the place of KMeans; None
            for KMeans whatever their number.
        rows: (N,) the pool, as rows of `features` and `quarters`; all of them unless told otherwise.
        keys: N of them, what the patches are in themselves, such as digests of their images. They are
            clustered in the order of their keys, so that neither their names nor the rounding of the
            features changes the selection; in the order of the pool unless told otherwise.
        criterion: of `criteria.CRITERIA`: what a patch must be like to stand for its cluster.

    Returns:
        One record a cluster.

    Raises:
        InputError: fewer patches (or fewer different ones) than clusters, or a cluster with fewer quarters
            than k2.
        ValueError: features that are not finite or do not fit each other.

    Six patches on a line, in two groups of three; each is like its quarters:

    >>> features = np.array([[0], [1], [2], [10], [11], [12]], np.float32)
    >>> quarters = np.repeat(features[:, None], 4, axis=1)
    >>> chosen = select(features, quarters, k1=2, k2=1)
    >>> sorted((record.index, record.members) for record in chosen)
    [(1, (0, 1, 2)), (4, (3, 4, 5))]
    """
    rows = np.arange(len(features)) if rows is None else np.asarray(rows)
    _check(features, quarters, k1, k2)
    count = k1 + len(set(known))
    order = _order(rows, keys)
    _check_count(features, rows[order], k1, count)
    exact = exact_up_to is None or len(rows) <= exact_up_to
    fit = partial(_kmeans if exact else _mini_batch_kmeans, seed=seed)
    # Sums over threads differ in rounding: the same seed would find other clusters on another machine.
    with threadpool_limits(1):
        labels, centres = fit(features, rows[order], count)
        clusters = [order[labels == label] for label in range(count)]
        taken = _largest_without(clusters, known, k1)
        fewest = 4 * min(len(clusters[label]) for label in taken)
        if k2 > fewest:
            raise InputError(
                f"K2 = {k2} exceeds the {fewest} quarters of the smallest cluster of patches; "
                "pass a smaller --k2 or --k1"
            )
        return [
            _select_of_cluster(
                number, clusters[label], centres[label], features, quarters, rows, k2, fit, criterion
            )
            for number, label in enumerate(taken)
        ]


def select_by(
    baseline: str,
    features: np.ndarray,
    quarters: np.ndarray,
    k: int,
    seed: int = 0,
    known: Sequence[int] = (),
    rows: np.ndarray | None = None,
    keys: Sequence[bytes] | None = None,
) -> list[Selected]:
    """Choose `k` patches by one of `baselines.BASELINES`.

    The cluster of a selected patch is what lies nearer to it than to any other selected or known patch; its
    score is the mean distance to them. Arguments and errors are those of `select`.
    """
    rows = np.arange(len(features)) if rows is None else np.asarray(rows)
    _check(features, quarters, k, 1)
    order = _order(rows, keys)
    _check_count(features, rows[order], k, k + len(set(known)))
    points = gather(features, rows[order])
    place = np.argsort(order)  # of each position in that order
    known = place[list(known)].tolist()
    with threadpool_limits(1):  # as in `select`
        chosen = BASELINES[baseline](points, k, seed, known)
    centres = [*chosen, *known]
    nearest, distances = pairwise_distances_argmin_min(points, points[centres])
    nearest[centres] = np.arange(len(centres))  # copies of a patch lie as near to each other
    return [
        Selected(
            cluster=number,
            index=int(order[row]),
            score=float(distances[nearest == number].mean()),
            terms={},
            members=tuple(np.sort(order[nearest == number]).tolist()),
        )
        for number, row in enumerate(chosen)
    ]


def _order(rows: np.ndarray, keys: Sequence[bytes] | None) -> np.ndarray:
    """(N,) positions in the pool, by the keys of the patches; copies of a patch stay in their order.

    KMeans draws its starts by position, so the order must not change with a rounding of the features.
    """
    if keys is None:
        return np.arange(len(rows))
    if len(keys) != len(rows):
        raise ValueError(f"{len(keys)} keys do not fit {len(rows)} patches")
    return np.array(sorted(range(len(keys)), key=keys.__getitem__))


def _largest_without(clusters: list[np.ndarray], known: Sequence[int], k: int) -> list[int]:
    """The numbers of the `k` largest clusters that hold no known patch, ascending."""
    free = [number for number, members in enumerate(clusters) if not np.isin(members, known).any()]
    return sorted(sorted(free, key=lambda number: -len(clusters[number]))[:k])


def _select_of_cluster(
    number: int,
    members: np.ndarray,
    centre: np.ndarray,
    features: np.ndarray,
    quarters: np.ndarray,
    rows: np.ndarray,
    k2: int,
    fit: Callable,
    criterion: str,
) -> Selected:
    """The patch of one coarse cluster: `members` (M,) are positions, `centre` is (D,)."""
    pieces = quarters.reshape(-1, quarters.shape[-1])
    of_members = (4 * rows[members][:, None] + np.arange(4)).ravel()
    # Blank background repeats itself: there, fewer fine clusters than K2 are all there are.
    k2 = _count_different(pieces, of_members, k2)
    labels, centres = fit(pieces, of_members, k2)

    forwards = np.argsort(members)  # so that the first of equal ones is the first in the pool
    members = members[forwards]
    found = Cluster(rows[members], centre, labels.reshape(-1, 4)[forwards], centres)
    candidates, terms = CRITERIA[criterion](found, features, quarters)
    score = np.sum(list(terms.values()), axis=0)
    best = score.argmin()
    of_best = {name: float(term[best]) for name, term in terms.items()}
    return Selected(
        number, int(members[candidates[best]]), float(score[best]), of_best, tuple(members.tolist())
    )


def _kmeans(points: np.ndarray, rows: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and centres (k, D) of the `rows` (N,) of points (P, D)."""
    # Ten starts seldom find the best clusters of a small pool, so that each seed would select other patches.
    starts = int(np.clip(STARTS_TIMES_POINTS / len(rows), *STARTS))
    kmeans = KMeans(k, n_init=starts, random_state=seed).fit(gather(points, rows))
    return kmeans.labels_, kmeans.cluster_centers_


def _mini_batch_kmeans(
    points: np.ndarray, rows: np.ndarray, k: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `_kmeans`, but no more than a batch of the points is in memory at a time (Sculley 2010)."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    # A good start saves most of the passes over the data.
    start = KMeans(k, n_init=3, random_state=seed).fit(gather(points, shuffled[: max(BATCH, 20 * k)]))
    kmeans = MiniBatchKMeans(k, init=start.cluster_centers_, n_init=1, random_state=seed)
    for first in range(0, min(len(rows), MAX_BATCHES * BATCH), BATCH):
        batch = shuffled[first : first + BATCH]
        forwards = np.argsort(batch)  # a memory-mapped file is read several times faster than at random
        kmeans.partial_fit(gather(points, batch[forwards])[np.argsort(forwards)])
    labels = np.empty(len(rows), np.int32)
    forwards = np.argsort(rows)
    for first in range(0, len(rows), BATCH):
        chunk = forwards[first : first + BATCH]
        labels[chunk] = kmeans.predict(gather(points, rows[chunk]))
    return labels, kmeans.cluster_centers_


def _count_different(points: np.ndarray, rows: np.ndarray, enough: int) -> int:
    """How many different rows there are, counted no further than `enough`."""
    seen = set()
    for row in rows:
        seen.add(points[row].tobytes())
        if len(seen) == enough:
            break
    return len(seen)


def _check(features: np.ndarray, quarters: np.ndarray, k1: int, k2: int) -> None:
    if features.ndim != 2 or features.size == 0:
        raise ValueError(f"features must be (N, D), not {features.shape}")
    count, length = features.shape
    if quarters.shape != (count, 4, length):
        raise ValueError(f"quarters must be {(count, 4, length)} like the features, not {quarters.shape}")
    if k1 < 1 or k2 < 1:
        raise InputError(f"K1 = {k1} and K2 = {k2} must be at least 1")


def _check_count(features: np.ndarray, rows: np.ndarray, k1: int, count: int) -> None:
    """That there are `count` different patches for `k1` new clusters and those of known patches."""
    wanted = f"K1 = {k1}" if count == k1 else f"K1 = {k1} beside {count - k1} annotated patches"
    if count > len(rows):
        raise InputError(f"{wanted} exceeds the {len(rows)} patches; pass a smaller --k1 or --budget")
    different = _count_different(features, rows, count)
    if different < count:
        raise InputError(
            f"{wanted} exceeds the {different} different ones of {len(rows)} patches; "
            "pass a smaller --k1 or --budget"
        )
