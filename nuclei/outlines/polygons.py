"""Label images as polygons and back, exactly: outlines run along the edges of pixels.

Coordinates are (x, y) in px, x to the right and y down; (0, 0) is the upper left corner of the first pixel
and (0.5, 0.5) its centre. A nucleus of one pixel at row r, column c is the square from (c, r) to
(c + 1, r + 1). Polygons are shapely's; several parts make a MultiPolygon, holes are interior rings.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import shapely
from scipy import ndimage

# An edge may run through the centres of pixels. They are asked about a point a little to the upper left,
# so that two polygons that share such an edge share out its pixels, none to both and none to neither.
_NUDGE = np.array([0.5 - 2**-20, 0.5 - 2**-21])


def numbered(labels: np.ndarray) -> np.ndarray:
    """The ids of a label image, in their order, as 1..N: (H, W) int64; 0 stays the background.

    >>> numbered(np.array([[0, 7], [3, 7]])).tolist()
    [[0, 2], [1, 2]]
    """
    ids = np.asarray(labels, np.int64)
    if ids.max(initial=0) > ids.size:  # a table of all ids would be larger than the image
        found, index = np.unique(ids, return_inverse=True)
        return index.reshape(ids.shape) + (found[0] != 0)
    used = np.bincount(ids.ravel(), minlength=1) > 0  # a tenth of the time of sorting the pixels
    used[0] = False
    return np.cumsum(used)[ids]


def outlines(labels: np.ndarray) -> list[shapely.Geometry]:
    """The outline of every nucleus of a label image, in the order of the ids.

    Pixels of one nucleus that touch at a corner only become parts of a MultiPolygon, since a polygon that
    touches itself is not valid. `paint` turns the outlines back into the same pixels.

    Args:
        labels: (H, W) integers or bool, 0 = background.

    Returns:
        One valid Polygon or MultiPolygon with integer coordinates per id, px.

    >>> (outline,) = outlines(np.array([[0, 7, 7], [0, 7, 7]]))
    >>> outline.area, outline.bounds
    (4.0, (1.0, 0.0, 3.0, 2.0))
    """
    compact = numbered(labels)
    windows = [(label, window) for label, window in enumerate(ndimage.find_objects(compact), 1) if window]
    masks = [compact[window] == label for label, window in windows]
    rings = [_ring(mask, window) for mask, (_, window) in zip(masks, windows, strict=True)]
    traced = [ring for ring in rings if ring is not None]
    polygons = np.empty(len(masks), object)
    if traced:
        simple = [number for number, ring in enumerate(rings) if ring is not None]
        lengths = [len(ring) for ring in traced]
        closed = shapely.linearrings(np.concatenate(traced), indices=np.repeat(range(len(traced)), lengths))
        polygons[simple] = shapely.polygons(closed)
    # A ring that touches itself at a corner is no polygon.
    for number in np.flatnonzero(~shapely.is_valid(polygons)):
        polygons[number] = _outline(masks[number], windows[number][1])
    return polygons.tolist()


def _ring(mask: np.ndarray, window: tuple[slice, slice]) -> np.ndarray | None:
    """The corners (N, 2) of one piece without holes, along the edges of its pixels; None for other masks."""
    # Twice as large, each pixel has a left and a right half: the left one lies at its edge x, the right one
    # at x + 1, and so do the upper and lower halves.
    large = np.zeros((2 * mask.shape[0] + 2, 2 * mask.shape[1] + 2), np.uint8)
    large[1:-1, 1:-1] = mask.view(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(contours) != 1:
        return None
    points = contours[0][:, 0] // 2
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    steps = np.sign(np.roll(points, -1, axis=0) - points)
    corners = points[(steps != np.roll(steps, 1, axis=0)).any(axis=1)]
    return corners + (window[1].start, window[0].start)


def _outline(mask: np.ndarray, window: tuple[slice, slice]) -> shapely.Geometry:
    """The union of the runs of pixels of each row, placed where the window lies."""
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, first = np.nonzero(steps == 1)
    _, end = np.nonzero(steps == -1)
    top, left = window[0].start, window[1].start
    runs = shapely.box(first + left, rows + top, end + left, rows + top + 1)
    return shapely.simplify(shapely.union_all(runs), 0)  # without the vertices inside straight edges


def cover(polygon: shapely.Geometry, size: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """The pixels of an image whose centre lies in a polygon.

    Args:
        polygon: a valid Polygon or MultiPolygon, px; what lies outside of the image is cut off.
        size: (H, W) of the image.

    Returns:
        The rows and columns around the polygon, and there (h, w) bool; empty where none is covered.
    """
    if polygon.is_empty:
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), bool)
    left, top, right, bottom = polygon.bounds
    rows = slice(*np.clip([np.floor(top), np.ceil(bottom) + 1], 0, size[0]).astype(int))
    columns = slice(*np.clip([np.floor(left), np.ceil(right) + 1], 0, size[1]).astype(int))
    y, x = np.mgrid[rows, columns]
    shapely.prepare(polygon)
    return (rows, columns), shapely.contains_xy(polygon, x + _NUDGE[0], y + _NUDGE[1])


def paint(polygons: Sequence[shapely.Geometry], size: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Draw polygons into a label image; where they overlap, the smaller one lies on top.

    So a small nucleus before a large one stays whole, in whatever order they were drawn.

    Args:
        polygons: valid Polygons or MultiPolygons, px.
        size: (H, W) of the image.

    Returns:
        labels (H, W) int32, where polygon k has the id k + 1 and none where it covers no pixel; and the
        number of pixels that more than one polygon covers.

    >>> labels, overlapping = paint([shapely.box(0, 0, 1, 2), shapely.box(0, 0, 3, 1)], (2, 4))
    >>> labels.tolist(), overlapping
    ([[1, 2, 2, 0], [1, 0, 0, 0]], 1)
    """
    labels, claims = np.zeros(size, np.int32), np.zeros(size, np.int32)
    for index in np.argsort(-shapely.area(polygons), kind="stable"):
        window, mask = cover(polygons[index], size)
        labels[window][mask] = index + 1
        claims[window] += mask
    return labels, int((claims > 1).sum())


def mend(polygon: shapely.Geometry) -> shapely.Geometry:
    """A valid Polygon or MultiPolygon, maybe empty, from one that crosses or touches itself.

    Everything that the line goes around is kept: both halves of an eight, and the inside of a loop that
    is drawn over the polygon's own area.
    """
    return shapely.make_valid(polygon, method="structure", keep_collapsed=False)


def fill_holes(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Give the background that a nucleus encloses to it; another nucleus in there stays.

    Args:
        labels: (H, W) int32, 0 = background.

    Returns:
        The filled copy, and the number of nuclei that had holes.
    """
    filled, changed = labels.copy(), 0
    for label, window in enumerate(ndimage.find_objects(labels), 1):
        if window is None:
            continue
        inside = ndimage.binary_fill_holes(labels[window] == label) & (filled[window] == 0)
        filled[window][inside] = label
        changed += bool(inside.any())
    return filled, changed


def renumber(labels: np.ndarray) -> np.ndarray:
    """The same nuclei of an (H, W) label image numbered 1..N as they come row by row, int32.

    Label images of the same nuclei become equal arrays.
    """
    ids, first, index = np.unique(labels, return_index=True, return_inverse=True)
    number = np.zeros(len(ids), np.int32)
    order = np.argsort(first)
    order = order[ids[order] != 0]
    number[order] = np.arange(1, len(order) + 1)
    return number[index].reshape(labels.shape)
