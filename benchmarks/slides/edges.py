"""Nuclei on the edges of blocks against the truth: doubled, cut, and how well outlined, beside all others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

FOUND = 0.3  # intersection over union from which on a prediction shows a nucleus
APART = 40  # px from an edge to a line at which no block ends
SHARE = 0.2  # of a nucleus that lies on either side of an edge at least, to be called cut by it


@dataclass(frozen=True)
class Matches:
    """Truth and predictions that overlap, pair by pair."""

    truth: np.ndarray  # (N,) outlines
    found: np.ndarray  # (M,) outlines
    of_truth: np.ndarray  # (P,) index
    of_found: np.ndarray  # (P,) index
    shared: np.ndarray  # (P,) px
    iou: np.ndarray  # (P,)


def match(truth: np.ndarray, found: np.ndarray) -> Matches:
    """All pairs of outlines that share pixels."""
    first, second = shapely.STRtree(found).query(truth, predicate="intersects")
    shared = shapely.area(shapely.intersection(truth[first], found[second]))
    keep = shared > 0
    first, second, shared = first[keep], second[keep], shared[keep]
    union = shapely.area(truth[first]) + shapely.area(found[second]) - shared
    return Matches(truth, found, first, second, shared, shared / union)


def figures(matches: Matches, edges: tuple[np.ndarray, np.ndarray]) -> dict:
    """Counts and AJI of the nuclei on the edges, x and y in px, and of the others.

    A poor outline may end at an edge by chance: as many as at other lines, `cut_at_other_lines`.
    """
    others = edges[0] + APART, edges[1] + APART
    crosses = _crossing(matches.truth, edges)
    outside = _crossing(matches.found, edges)
    doubled = np.bincount(matches.of_truth[matches.iou > FOUND], minlength=len(matches.truth)) > 1
    return {
        "nuclei_on_edges": int(crosses.sum()),
        "doubled_on_edges": int((doubled & crosses).sum()),
        "doubled_elsewhere": int((doubled & ~crosses).sum()),
        "cut_on_edges": _cut(matches, edges),
        "cut_at_other_lines": _cut(matches, others),
        "aji_on_edges": round(float(_aji(matches, crosses, outside)), 4),
        "aji_elsewhere": round(float(_aji(matches, ~crosses, ~outside)), 4),
    }


def _crossing(outlines: np.ndarray, edges: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(N,) bool: whether an outline lies on both sides of an edge."""
    left, top, right, bottom = shapely.bounds(outlines).reshape(-1, 4).T
    x, y = edges
    return (np.searchsorted(x, left, "right") < np.searchsorted(x, right)) | (
        np.searchsorted(y, top, "right") < np.searchsorted(y, bottom)
    )


def _cut(matches: Matches, edges: tuple[np.ndarray, np.ndarray]) -> int:
    """How many nuclei have their best prediction end at an edge, px of it left and none on the other side."""
    best: dict[int, int] = {}
    for pair in np.argsort(matches.iou, kind="stable"):
        best[int(matches.of_truth[pair])] = int(matches.of_found[pair])
    count = 0
    for axis, values in enumerate(edges):
        for edge in values:
            for number, found in best.items():
                low, high = _span(matches.truth[number], axis)
                if not low < edge < high:
                    continue
                share = _share_before(matches.truth[number], axis, edge)
                ends = [abs(end - edge) <= 1 for end in _span(matches.found[found], axis)]
                count += SHARE < share < 1 - SHARE and any(ends)
    return count


def _span(outline: shapely.Geometry, axis: int) -> tuple[float, float]:
    bounds = outline.bounds
    return bounds[axis], bounds[axis + 2]


def _share_before(outline: shapely.Geometry, axis: int, edge: float) -> float:
    left, top, right, bottom = outline.bounds
    half = shapely.box(left, top, edge, bottom) if axis == 0 else shapely.box(left, top, right, edge)
    return outline.intersection(half).area / outline.area


def _aji(matches: Matches, truth: np.ndarray, found: np.ndarray) -> float:
    """Aggregated Jaccard index (Kumar et al. 2017) of some of the nuclei; `found` alone are spurious ones."""
    best = np.full(len(matches.truth), -1)
    order = np.argsort(matches.iou, kind="stable")
    best[matches.of_truth[order]] = order
    pairs = best[truth & (best >= 0)]
    used = np.zeros(len(matches.found), bool)
    used[matches.of_found[best[best >= 0]]] = True
    shared = matches.shared[pairs].sum()
    union = (
        shapely.area(matches.truth[truth]).sum() + shapely.area(matches.found[matches.of_found[pairs]]).sum()
    )
    return shared / max(union - shared + shapely.area(matches.found[found & ~used]).sum(), 1e-9)
