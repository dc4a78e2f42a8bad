"""Free places for nuclei in a layout that is filled one nucleus at a time.

A nucleus is left out only where it has no free place at all: where none of a few random places is free, all
free places are computed, as the erosion of the free pixels by the shape of the nucleus.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from scipy.ndimage import find_objects

SOLID = 0.8  # smallest share of its convex hull that a whole nucleus fills, even a bent or lobed one
GUESSES = 16  # random places to try before all free places are computed, which takes ten times as long
SNUG = 8  # random places beside a nucleus, from which the one with the longest contact is chosen
_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Nucleus:
    """The shape of a nucleus, and the borders of the image that cut it."""

    crop: np.ndarray  # (h, w) uint8, 0 or 1
    borders: tuple[str, str] = ("", "")  # along y and x: "first", "last", or "" where it is free to move

    @property
    def is_cut(self) -> bool:
        return self.borders != ("", "")

    @cached_property
    def area(self) -> int:
        """In pixels."""
        return cv2.countNonZero(self.crop)

    @cached_property
    def probe(self) -> np.ndarray:
        """A part of the crop, (h, w) uint8, that overlaps every thick obstacle that the crop overlaps.

        Thick obstacles consist of squares of 2 x 2 px. A square that overlaps the crop either reaches beyond
        it and lies on its outline, or lies inside and covers a pixel of every second row and column.
        """
        probe = self.crop - cv2.erode(self.crop, _SQUARE, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        probe[::2, ::2] = self.crop[::2, ::2]
        return probe


def cut_out(labels: np.ndarray) -> list[Nucleus]:
    """The nuclei of a (H, W) integer label image, each with the borders that cut it.

    A nucleus that another one half covers is a crescent, a shape that no nucleus has alone: it is replaced by
    its convex hull.
    """
    nuclei = []
    for label, box in enumerate(find_objects(labels), start=1):
        if box is not None:
            y, x = (
                "first" if part.start == 0 else "last" if part.stop == length else ""
                for part, length in zip(box, labels.shape, strict=True)
            )
            nuclei.append(Nucleus(_completed((labels[box] == label).astype(np.uint8)), (y, x)))
    return nuclei


def _completed(crop: np.ndarray) -> np.ndarray:
    points = cv2.findNonZero(crop)
    hull = cv2.fillConvexPoly(np.zeros_like(crop), cv2.convexHull(points), 1)
    return hull if len(points) < SOLID * cv2.countNonZero(hull) else crop


def transformed(crop: np.ndarray, angle: float, factor: float, mirror: bool) -> np.ndarray:
    """Mirror a binary crop, turn it by `angle` degrees and scale it; returns the box around the result."""
    height, width = crop.shape
    side = math.ceil(math.hypot(height, width) * factor) + 2
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, factor)
    # Whole pixels: without a turn and a change of size, nothing is resampled.
    matrix[:, 2] += (side - width) // 2, (side - height) // 2
    source = np.multiply(crop[:, ::-1] if mirror else crop, 255, order="C")
    turned = cv2.threshold(cv2.warpAffine(source, matrix, (side, side)), 127, 1, cv2.THRESH_BINARY)[1]
    x, y, width, height = cv2.boundingRect(turned)
    if not width:
        return crop  # a nucleus of one or two pixels that vanished in resampling
    return turned[y : y + height, x : x + width]


class Canvas:
    """A layout to which nuclei are added.

    A place is the position (y, x) of the first pixel of a nucleus's crop. A nucleus that a border cuts stays
    at that border; other nuclei do not touch the borders.

    Args:
        shape: (H, W) of the layout.
        gap: background pixels between nuclei, also diagonally; at least 1.

    Attributes:
        labels: (H, W) int32, nuclei 1..N in the order in which they were put there.
        area: pixels of all nuclei.
        touching: numbers of the nuclei that touch another one.
    """

    def __init__(self, shape: tuple[int, int], gap: int):
        self.labels = np.zeros(shape, np.int32)
        self.area = 0
        self.touching: set[int] = set()
        self._gap = gap
        self._square = np.ones((2 * gap + 1, 2 * gap + 1), np.uint8)
        self._taken = np.zeros(shape, np.uint8)  # 1 in nuclei and in the gap around them
        self._boxes: list[list[range]] = []  # rows and columns of each nucleus

    def __len__(self) -> int:
        return len(self._boxes)

    def put(self, nucleus: Nucleus, place: tuple[int, int], partner: int = 0) -> None:
        """Add a nucleus at a free place; `partner` is the number of the nucleus that it touches there."""
        box = [range(first, first + size) for first, size in zip(place, nucleus.crop.shape, strict=True)]
        self._boxes.append(box)
        self.labels[_window(box)][nucleus.crop > 0] = len(self)
        around = _window(box, self._gap)
        grown: np.ndarray = cv2.dilate((self.labels[around] == len(self)).view(np.uint8), self._square)
        self._taken[around] |= grown
        self.area += nucleus.area
        if partner:
            self.touching |= {partner, len(self)}

    def apart(self, nucleus: Nucleus, rng: np.random.Generator) -> tuple[int, int] | None:
        """A random place at which a nucleus keeps the gap to all others; None if there is none."""
        rows, columns = self._spans(nucleus)
        if not rows or not columns:
            return None
        # Faster than random integers, and done for every nucleus.
        y, x = np.divmod((rng.random(GUESSES) * len(rows) * len(columns)).astype(int), len(columns))
        y, x = y + rows.start, x + columns.start
        blocked = np.any(_under(self._taken, y, x, nucleus.probe), axis=1)
        first = blocked.argmin()
        if not blocked[first]:
            return int(y[first]), int(x[first])
        places = self.places_apart(nucleus)
        return _pair(places[rng.integers(len(places))]) if len(places) else None

    def places_apart(self, nucleus: Nucleus) -> np.ndarray:
        """All places at which a nucleus keeps the gap to all others, (n, 2)."""
        spans = self._spans(nucleus)
        if not all(spans):
            return np.empty((0, 2), int)
        taken = self._taken[_window(_reach(spans, nucleus.crop))]
        # With the gap around them, nuclei are thick.
        return np.argwhere(highest(taken, nucleus.probe) == 0) + [span.start for span in spans]

    def beside(self, nucleus: Nucleus, partner: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """A random place at which a nucleus touches nucleus `partner`; None if there is none.

        Touching nuclei press against each other, so the place with the longest contact is chosen from a few.
        """
        places, contacts = self.places_beside(nucleus, partner)
        if not len(places):
            return None
        some = rng.integers(len(places), size=SNUG)
        return _pair(places[some[contacts[some].argmax()]])

    def places_beside(self, nucleus: Nucleus, partner: int) -> tuple[np.ndarray, np.ndarray]:
        """All places at which a nucleus touches nucleus `partner` and keeps the gap to all others.

        Returns:
            places: (n, 2).
            contacts: (n,), how many pixels of the nucleus have a neighbour in the partner there.
        """
        near = zip(self._spans(nucleus), self._boxes[partner - 1], nucleus.crop.shape, strict=True)
        spans = [
            range(max(span.start, box.start - size), min(span.stop, box.stop + 1)) for span, box, size in near
        ]
        if not all(spans):
            return np.empty((0, 2), int), np.empty(0, int)
        reach = _reach(spans, nucleus.crop)
        window = _window(reach, self._gap)  # nuclei outside the reach have a gap inside
        here = self.labels[window]
        theirs = here == partner
        rim = cv2.dilate(theirs.view(np.uint8), _SQUARE)
        others = cv2.dilate(((here > 0) ^ theirs).view(np.uint8), self._square)
        # A dilation takes the maximum: 2 where something is in the way, 1 where only the rim is touched.
        rim[(others | theirs).view(bool)] = 2
        inner = (
            slice(side.start - part.start, side.stop - part.start)
            for side, part in zip(reach, window, strict=True)
        )
        rim = rim[tuple(inner)]
        places = np.argwhere(highest(rim, nucleus.probe) == 1)
        under = _under(rim, places[:, 0], places[:, 1], nucleus.crop)
        alone = under.max(axis=1, initial=0) == 1  # the probe may miss a thin partner
        return places[alone] + [span.start for span in spans], under.sum(axis=1)[alone]

    def _spans(self, nucleus: Nucleus) -> list[range]:
        """The rows and columns at which a nucleus's crop may begin, ignoring other nuclei."""
        sides = zip(nucleus.borders, nucleus.crop.shape, self.labels.shape, strict=True)
        return [_span(border, size, length) for border, size, length in sides]


def highest(values: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """The highest value under a crop for each of its positions; 0 on a map of obstacles is a free place.

    Args:
        values: (H, W) uint8.
        crop: (h, w) uint8, 0 or 1; not larger.

    Returns:
        (H - h + 1, W - w + 1) uint8, one for each position of the crop's first pixel.
    """
    rows, columns = (length - size + 1 for length, size in zip(values.shape, crop.shape, strict=True))
    return cv2.dilate(values, crop, anchor=(0, 0))[:rows, :columns]


def _span(border: str, size: int, length: int) -> range:
    """Possible first pixels along one axis; a nucleus that no border cuts does not touch the borders."""
    if size > length:
        return range(0)
    if border == "first":
        return range(1)
    if border == "last":
        return range(length - size, length - size + 1)
    return range(1, length - size)


def _reach(spans: list[range], crop: np.ndarray) -> list[range]:
    """The rows and columns that a crop covers when its first pixel is anywhere in `spans`."""
    return [range(span.start, span.stop - 1 + size) for span, size in zip(spans, crop.shape, strict=True)]


def _window(box: list[range], margin: int = 0) -> tuple[slice, ...]:
    """Indices of a box with a margin around it."""
    return tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in box)


def _under(values: np.ndarray, y: np.ndarray, x: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """The values (n, pixels) of an image under a crop whose first pixel is at n places (y, x)."""
    width = values.shape[1]
    pixels = crop.view(bool).ravel().nonzero()[0]
    pixels += pixels // crop.shape[1] * (width - crop.shape[1])
    return values.ravel().take((y * width + x)[:, None] + pixels)


def _pair(place: np.ndarray) -> tuple[int, int]:
    y, x = place.tolist()
    return y, x
