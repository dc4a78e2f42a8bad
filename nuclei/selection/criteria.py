"""Which patch of a cluster to annotate: the paper's criterion and ours, as small functions on arrays.

    criterion(cluster, features, quarters) -> (candidates, terms)

features (R, D) and quarters (R, 4, D) may be memory-mapped: what is read of them at a time is bounded. The
candidates are positions (C,) in the cluster, terms are (C,) float64 each, Euclidean distances in the space of
the features; the candidate with the smallest sum is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

CHUNK = 512  # patches that are read at a time
Terms = dict[str, np.ndarray]


@dataclass(frozen=True)
class Cluster:
    """A coarse cluster, of M patches, and the K2 fine clusters of their quarters."""

    rows: np.ndarray  # (M,) of the patches, in the features
    centre: np.ndarray  # (D,) of the patches
    fine: np.ndarray  # (M, 4) the fine cluster of each quarter
    fine_centres: np.ndarray  # (K2, D)


def representative(cluster: Cluster, features: np.ndarray, quarters: np.ndarray) -> tuple[np.ndarray, Terms]:
    """The patch whose four quarters show what all quarters of the cluster are like.

    `coarse`: its distance to the centre of the cluster. `fine`: how far the fine centres are from the nearest
    of its quarters, each weighted by the share of its fine cluster: small where the tissues of the cluster
    lie side by side in the patch. It shares its clusters and its first term with `consistency`, and differs
    in what it asks of the quarters: together to cover the cluster, not to be alike.
    """
    share = np.bincount(cluster.fine.ravel(), minlength=len(cluster.fine_centres)) / cluster.fine.size

    def uncovered(four: np.ndarray) -> np.ndarray:
        nearest = (length(four - centre).min(axis=1) for centre in cluster.fine_centres)
        return sum(part * distance for part, distance in zip(share, nearest, strict=True))

    terms = {
        "coarse": _coarse(cluster, cluster.rows, features),
        "fine": _measure(uncovered, quarters, cluster.rows),
    }
    return np.arange(len(cluster.rows)), terms


def consistency(cluster: Cluster, features: np.ndarray, quarters: np.ndarray) -> tuple[np.ndarray, Terms]:
    """The patch that is alike in its quarters and made of what most of the cluster is made of.

    Candidates have a quarter in the largest fine cluster. `coarse`: the distance to the centre of the
    cluster; `fine`: the mean distance of its quarters to the centre of the largest fine cluster; `spread`:
    the largest distance between two of its quarters (Lou et al. 2022, section III-A).
    """
    largest = np.bincount(cluster.fine.ravel()).argmax()  # the lowest id among equals
    candidates = np.flatnonzero((cluster.fine == largest).any(axis=1))
    rows = cluster.rows[candidates]

    def fine_and_spread(four: np.ndarray) -> np.ndarray:
        pairs = [length(four[:, i] - four[:, j]) for i, j in combinations(range(4), 2)]
        fine = length(four - cluster.fine_centres[largest]).mean(axis=1)
        return np.stack([fine, np.max(pairs, axis=0)])

    fine, spread = _measure(fine_and_spread, quarters, rows)
    return candidates, {"coarse": _coarse(cluster, rows, features), "fine": fine, "spread": spread}


CRITERIA: dict[str, Callable[[Cluster, np.ndarray, np.ndarray], tuple[np.ndarray, Terms]]] = {
    "representative": representative,
    "consistency": consistency,
}


def length(vectors: np.ndarray) -> np.ndarray:
    """Euclidean, over the last axis; without the copies that np.linalg.norm makes."""
    return np.sqrt(np.einsum("...d,...d->...", vectors, vectors))


def gather(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """points[rows] in memory, float32; ValueError where values are not finite."""
    gathered = np.asarray(points[rows], np.float32)
    if not np.isfinite(gathered.sum(dtype=np.float64)):
        raise ValueError("the features hold values that are not finite")
    return gathered


def _coarse(cluster: Cluster, rows: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(C,) the distances of the patches `rows` to the centre of their cluster."""
    return _measure(lambda patches: length(patches - cluster.centre), features, rows)


def _measure(measure: Callable[[np.ndarray], np.ndarray], points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """measure(points[rows]), float64, whose last axis is that of the rows; CHUNK of them at a time."""
    chunks = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    return np.concatenate([measure(gather(points, chunk)) for chunk in chunks], axis=-1).astype(np.float64)
