"""Outlines that a program proposes: all at once with their scores, or one where a person clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import disk

from nuclei import label_free
from nuclei.editor.geometry import largest_part, smoothed
from nuclei.outlines.polygons import outlines, paint

SHARED = 0.5  # share of a candidate that others may have taken, before it is one of them again
SMALLEST = 12.0  # px; smaller remains are crumbs
REACH = 32  # px around a click in which a nucleus is looked for
LARGEST = 2000.0  # px; what spreads farther from a click is no nucleus


@dataclass(frozen=True)
class Candidate:
    """An outline that may be a nucleus: a Polygon, px, and how sure its program was, 0..1."""

    outline: shapely.Polygon
    score: float | None = None


def from_labels(labels: np.ndarray, scores: Sequence[float] | None = None) -> list[Candidate]:
    """The nuclei of a label image (H, W), 0 = background, in the order of their ids; scores in the same."""
    shapes = outlines(labels)
    sure: Sequence[float | None] = [None] * len(shapes) if scores is None else scores
    return [
        Candidate(smoothed(shape), None if score is None else float(score))
        for shape, score in zip(shapes, sure, strict=True)
    ]


def from_mask(mask: np.ndarray, top: int, left: int, score: float) -> Candidate:
    """A mask (h, w) bool whose first pixel lies at row `top` and column `left` of the image."""
    (shape,) = outlines(mask)
    moved = shapely.transform(shape, lambda points: points + (left, top))
    return Candidate(smoothed(moved), score)


def free_part(candidate: shapely.Polygon, taken: Sequence[shapely.Geometry]) -> shapely.Polygon | None:
    """What of a candidate others leave free; None where they have most of it, so that it is there already."""
    near = [other for other in taken if other.intersects(candidate)]
    free = largest_part(candidate.difference(shapely.union_all(near))) if near else candidate
    enough = free.area >= max((1 - SHARED) * candidate.area, SMALLEST)
    return free if enough else None


def at_point(
    candidates: Sequence[Candidate], x: float, y: float, taken: Sequence[shapely.Geometry]
) -> Candidate | None:
    """The candidate with the highest score around a point, px, as far as it is free; None where none is."""
    point = shapely.Point(x, y)
    around = [each for each in candidates if each.outline.contains(point)]
    for each in sorted(around, key=lambda each: -(each.score or 0)):
        free = free_part(each.outline, taken)
        if free is not None and free.contains(point):
            return Candidate(free, each.score)
    return None


def from_click(image: np.ndarray, x: float, y: float, taken: Sequence[shapely.Geometry]) -> Candidate | None:
    """Outline the nucleus at a point by its haematoxylin: a threshold, and a watershed that cuts its waists.

    Args:
        image: (H, W, 3) uint8 RGB.
        x, y: the point, px.
        taken: outlines of other nuclei.

    Returns:
        The nucleus without a score; None where nothing at the point stands out.
    """
    top, left = max(int(y) - REACH, 0), max(int(x) - REACH, 0)
    crop = image[top : int(y) + REACH + 1, left : int(x) + REACH + 1]
    row, column = int(y) - top, int(x) - left
    haematoxylin = gaussian(rgb2hed(crop)[..., 0], label_free.STAIN_SIGMA)
    others, _ = paint(list(taken), image.shape[:2]) if taken else (np.zeros(image.shape[:2], int), 0)
    free = others[top : top + crop.shape[0], left : left + crop.shape[1]] == 0
    if not free[row, column] or np.ptp(haematoxylin) == 0:
        return None
    here = haematoxylin[row, column]
    # A pale nucleus beside dark ones is below Otsu's threshold: half of the way to the background then.
    for threshold in (threshold_otsu(haematoxylin), (here + np.quantile(haematoxylin, 0.2)) / 2):
        foreground = ndimage.binary_fill_holes((haematoxylin > threshold) & free) & free
        foreground = ndimage.binary_opening(foreground, disk(label_free.OPENING_RADIUS))
        if not foreground[row, column]:
            continue
        parts = label_free.split(foreground)
        label = parts[row, column]
        mask = ndimage.binary_fill_holes(parts == label) if label else np.zeros_like(foreground)
        if SMALLEST < mask.sum() <= LARGEST and not _spreads(mask):
            outline = from_mask(mask, top, left, 0.0).outline
            if outline.contains(shapely.Point(x, y)):
                return Candidate(outline)
    return None


def _spreads(mask: np.ndarray) -> bool:
    """Whether a mask reaches opposite sides of its window."""
    return bool(mask[0].any() and mask[-1].any() or mask[:, 0].any() and mask[:, -1].any())
