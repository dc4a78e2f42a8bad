"""Random layouts: the nuclei of one annotated patch, put at new places.

The layouts are the conditions of the GAN and become the masks of its synthetic pairs (Lou et al., "Which
Pixel to Annotate", IEEE TMI 2022), so every nucleus stays one instance with a clean outline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
from scipy.ndimage import find_objects

TRIES = 200  # positions tried for one nucleus before it is left out
_SQUARE = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class _Nucleus:
    """A nucleus cut out of the annotated patch, and the borders that cut it there."""

    crop: np.ndarray  # (h, w) uint8, 0 or 1
    borders: tuple[str, str] = ("", "")  # along y and x: "first", "last", or "" where it is free to move

    @property
    def area(self) -> int:
        return int(self.crop.sum())


def random_layout(
    labels: np.ndarray,
    rng: np.random.Generator,
    shape: tuple[int, int] | None = None,
    density: tuple[float, float] = (0.8, 1.2),
    gap: int = 1,
    rotate: float = 180,
    flip: bool = True,
    scale: tuple[float, float] = (0.9, 1.1),
    touching: float | None = None,
) -> np.ndarray:
    """Place the nuclei of an annotated patch anew.

    Nuclei inside the patch are rotated, flipped, scaled and moved anywhere. Nuclei that the border cuts
    keep their border and slide along it: elsewhere their straight edge would be a shape no nucleus has.

    Args:
        labels: (H, W) label image, 0 for background.
        rng: source of every random choice.
        shape: (H', W') of the layout; that of `labels` by default.
        density: range of the foreground share, as multiples of the real one. A crowded layout may fall
            short of it, when no place is left.
        gap: background pixels kept between nuclei.
        rotate: degrees by which a nucleus is turned at most, after half a turn or none; 180 is any angle,
            and `direction.nucleus_rotation` what suits the patch.
        flip: whether nuclei are mirrored.
        scale: range of the change of a nucleus's diameter.
        touching: share of the nuclei that touch another one (no background pixel in between); by
            default the share among the real ones.

    Returns:
        (H', W') int32 label image, nuclei 1..N.

    Raises:
        ValueError: `labels` holds no nucleus.
    """
    nuclei = _cut_out(labels)
    if not nuclei:
        raise ValueError("the label image holds no nucleus")
    shape = labels.shape if shape is None else shape
    touching = touching_share(labels) if touching is None else touching
    target = rng.uniform(*density) * np.count_nonzero(labels) / labels.size * shape[0] * shape[1]
    drawn = _draw(nuclei, target, sum(shape) / sum(labels.shape), rng, rotate, flip, scale)

    layout = np.zeros(shape, np.int32)
    centres: list[tuple[int, int]] = []
    for nucleus in drawn:
        position = None
        # Each placement beside another nucleus makes a pair, so half the share is enough.
        if centres and nucleus.borders == ("", "") and rng.random() < touching / 2:
            position = _beside(layout, nucleus.crop, centres[rng.integers(len(centres))], rng)
        if position is None:
            position = _anywhere(layout, nucleus, gap, rng)
        if position is not None:
            (y, x), (height, width) = position, nucleus.crop.shape
            centres.append((y + height // 2, x + width // 2))
            layout[y : y + height, x : x + width][nucleus.crop > 0] = len(centres)
    return layout


def touching_share(labels: np.ndarray) -> float:
    """Share of the nuclei of a (H, W) label image that touch another nucleus; 0 without nuclei."""
    count = len(np.unique(labels[labels > 0]))
    return len(np.unique(labels[_contacts(labels)])) / count if count else 0.0


def conditions(labels: np.ndarray) -> np.ndarray:
    """What the generators see of a layout.

    Args:
        labels: (H, W) label image.

    Returns:
        (2, H, W) float32: the mask (0 or 1), and the depth in each nucleus, from 0 outside to 1 at its
        centre. The depth shows where one nucleus ends and the next one, touching it, begins.
    """
    mask = labels > 0
    inside = (mask & ~_contacts(labels)).astype(np.uint8)
    distance = cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    deepest = np.ones(labels.max() + 1, np.float32)
    np.maximum.at(deepest, labels[mask], distance[mask])
    return np.stack([mask, distance / deepest[labels]]).astype(np.float32)


def _contacts(labels: np.ndarray) -> np.ndarray:
    """Pixels of nuclei with another nucleus among their eight neighbours, as (H, W) bool."""
    values = labels.astype(np.float32)  # cv2 takes no int32; exact below 2**24
    highest = cv2.dilate(values, _SQUARE)
    lowest = cv2.erode(np.where(labels > 0, values, np.float32(2**24)), _SQUARE)
    return (labels > 0) & (highest != lowest)


def _cut_out(labels: np.ndarray) -> list[_Nucleus]:
    nuclei = []
    for label, box in enumerate(find_objects(labels), start=1):
        if box is not None:
            borders = tuple(
                "first" if part.start == 0 else "last" if part.stop == length else ""
                for part, length in zip(box, labels.shape, strict=True)
            )
            nuclei.append(_Nucleus((labels[box] == label).astype(np.uint8), borders))
    return nuclei


def _draw(
    nuclei: list[_Nucleus],
    target: float,
    perimeter: float,
    rng: np.random.Generator,
    rotate: float,
    flip: bool,
    scale: tuple[float, float],
) -> list[_Nucleus]:
    """Nuclei whose areas sum to about `target` px, in the order in which to place them.

    The cut ones come first (their number follows `perimeter`, as a multiple of the real one), then the
    free ones from large to small: large nuclei fit only while there is room.
    """
    cut = [nucleus for nucleus in nuclei if nucleus.borders != ("", "")]
    free = [nucleus for nucleus in nuclei if nucleus.borders == ("", "")]
    drawn = list(islice(_shuffled(cut, rng), round(perimeter * len(cut))))
    missing = target - sum(nucleus.area for nucleus in drawn)
    varied = []
    for nucleus in _shuffled(free, rng):
        changed = _Nucleus(_vary(nucleus.crop, rng, rotate, flip, scale))
        # The last one stays out where that comes closer to the target.
        if missing < changed.area / 2:
            break
        missing -= changed.area
        varied.append(changed)
    return drawn + sorted(varied, key=lambda nucleus: -nucleus.area)


def _shuffled(nuclei: list[_Nucleus], rng: np.random.Generator) -> Iterator[_Nucleus]:
    """All nuclei in random order, then all again in another one, without end."""
    while nuclei:
        for i in rng.permutation(len(nuclei)):
            yield nuclei[i]


def _vary(
    crop: np.ndarray, rng: np.random.Generator, rotate: float, flip: bool, scale: tuple[float, float]
) -> np.ndarray:
    """Turn, mirror and scale a binary crop; the result is cut to the nucleus again."""
    angle = rng.uniform(-rotate, rotate) + (180 * rng.integers(2) if rotate else 0)
    factor = rng.uniform(*scale)
    if flip and rng.random() < 0.5:
        crop = crop[:, ::-1]
    height, width = crop.shape
    side = int(np.ceil(np.hypot(height, width) * factor)) + 2
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, factor)
    matrix[:, 2] += (side - width) // 2, (side - height) // 2
    turned = cv2.warpAffine(crop.astype(np.float32), matrix, (side, side)) > 0.5
    if not turned.any():
        return crop  # a nucleus of a pixel or two, lost between the new pixels
    rows, columns = np.flatnonzero(turned.any(axis=1)), np.flatnonzero(turned.any(axis=0))
    return turned[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8)


def _anywhere(
    layout: np.ndarray, nucleus: _Nucleus, gap: int, rng: np.random.Generator
) -> tuple[int, int] | None:
    """A random first pixel (y, x) with `gap` px of clearance, at the nucleus's own borders; None if full."""
    crop = np.pad(nucleus.crop, gap)
    if gap:
        crop = cv2.dilate(crop, np.ones((2 * gap + 1, 2 * gap + 1), np.uint8))
    spans = [
        _span(border, size, length)
        for border, size, length in zip(nucleus.borders, nucleus.crop.shape, layout.shape, strict=True)
    ]
    if any(low > high for low, high in spans):
        return None
    rows, columns = (rng.integers(low, high + 1, TRIES) for low, high in spans)
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
        if _is_free(layout, crop, y - gap, x - gap):
            return y, x
    return None


def _span(border: str, size: int, length: int) -> tuple[int, int]:
    """Lowest and highest first pixel along one axis; a nucleus no border cut touches none."""
    if border == "first":
        return 0, 0 if size <= length else -1
    if border == "last":
        return length - size, length - size if size <= length else -1
    return 1, length - size - 1


def _beside(
    layout: np.ndarray, crop: np.ndarray, centre: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int] | None:
    """The first pixel (y, x) where a crop, moved out of `centre` in a random direction, just fits."""
    angle = rng.uniform(0, 2 * np.pi)
    (height, width), (rows, columns) = crop.shape, layout.shape
    for distance in range(max(rows, columns)):
        y = round(centre[0] + distance * np.sin(angle)) - height // 2
        x = round(centre[1] + distance * np.cos(angle)) - width // 2
        if not (1 <= y < rows - height and 1 <= x < columns - width):
            return None
        if _is_free(layout, crop, y, x):
            return y, x
    return None


def _is_free(layout: np.ndarray, crop: np.ndarray, y: int, x: int) -> bool:
    """Whether no nucleus lies under a crop whose first pixel is (y, x); it may reach over the border."""
    top, left = max(-y, 0), max(-x, 0)
    under = layout[max(y, 0) : y + crop.shape[0], max(x, 0) : x + crop.shape[1]]
    over = crop[top : top + under.shape[0], left : left + under.shape[1]]
    return not np.any(under[over > 0])
