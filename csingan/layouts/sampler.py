"""Random layouts: the nuclei of annotated patches at new places.

Layouts are the conditions of the GAN and the masks of its synthetic pairs (Lou et al., "Which Pixel to
Annotate", IEEE TMI 2022), so every nucleus stays one instance with a clean outline.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import cv2
import numpy as np

from csingan.layouts.canvas import Canvas, Nucleus, cut_out, transformed

ATTEMPTS = 3  # layouts to try before the density counts as too high
PARTNERS = 8  # at most so many nuclei are tried as the partner of one that is to touch another
LONELY = 2 / 3  # share of partners that touched no other nucleus: mostly pairs, some chains, as in tissue
_SQUARE = np.ones((3, 3), np.uint8)


class DoesNotFit(ValueError):
    """A layout has no room for that many nuclei; the message is one line for the user."""


class LayoutSampler:
    """Places the nuclei of annotated patches at random, differently at each call.

    Nuclei inside the patch are rotated, flipped, scaled and moved anywhere. Nuclei that the border cuts are
    moved along that border only, or stay in their corner: elsewhere their straight edge would look wrong.
    Their number is proportional to the perimeter of the layout.

    Args:
        labels: (H, W) label image of the annotated patch, 0 for background. It sets the size, the density
            and the share of touching nuclei.
        more: further label images, whose nuclei are used as well.
        density: range of the foreground share, as multiples of that of `labels`. Since nuclei are whole, a
            range narrower than one nucleus is met to within half a nucleus.
        gap: background pixels between nuclei, along an axis or a diagonal. A nucleus that touches its partner
            keeps the gap to all others. 0 is the same as 1: only the nuclei of `touching` touch.
        touching: share of the nuclei that touch another one (no background pixel in between); by default
            that in `labels`. It is met on average, as long as there is room; 0 is met exactly.
        rotate: largest angle, in degrees, by which a nucleus is turned, after half a turn or none; 180 is any
            angle, and `csingan.layouts.orientation.nucleus_rotation` suits the patch.
        flip: whether nuclei are mirrored.
        scale: range of the change of a nucleus's diameter.

    Raises:
        ValueError: there is no nucleus, or a setting is out of range.
    """

    def __init__(
        self,
        labels: np.ndarray,
        more: Sequence[np.ndarray] = (),
        *,
        density: tuple[float, float] = (0.8, 1.2),
        gap: int = 1,
        touching: float | None = None,
        rotate: float = 180.0,
        flip: bool = True,
        scale: tuple[float, float] = (0.9, 1.1),
    ):
        _check(density, gap, touching, rotate, scale)
        own = cut_out(labels)
        if not own:
            raise ValueError("the label image holds no nucleus")
        nuclei = own + [nucleus for other in more for nucleus in cut_out(other)]
        self._shape = labels.shape
        self._share = np.count_nonzero(labels) / labels.size
        self._cut = [nucleus for nucleus in nuclei if nucleus.is_cut]
        self._free = [nucleus for nucleus in nuclei if not nucleus.is_cut]
        self._cut_count = sum(nucleus.is_cut for nucleus in own)
        self._half = sum(nucleus.area for nucleus in nuclei) / len(nuclei) / 2
        self._density, self._gap = density, max(gap, 1)
        self._rotate, self._flip, self._scale = rotate, flip, scale
        self._touching = touching_share(labels) if touching is None else touching

    def __call__(self, rng: np.random.Generator, shape: tuple[int, int] | None = None) -> np.ndarray:
        """A new layout.

        Args:
            rng: source of every random choice.
            shape: (H, W) of the layout; that of the annotated patch by default.

        Returns:
            (H, W) int32 label image, nuclei 1..N.

        Raises:
            DoesNotFit: the lower end of the density range was not reached.
        """
        shape = self._shape if shape is None else shape
        pixels = shape[0] * shape[1]
        lowest, highest = (multiple * self._share * pixels for multiple in self._density)
        slack = min(self._half, (highest - lowest) / 2)
        target, most = rng.uniform(lowest + slack, highest - slack), 0
        for _ in range(ATTEMPTS):
            canvas = self._fill(shape, min(target, pixels), highest, rng)
            if canvas.area >= lowest - (self._half - slack):
                return canvas.labels
            target, most = lowest + slack, max(most, canvas.area)
        raise DoesNotFit(
            f"nuclei were to cover {lowest / pixels:.1%} of a layout of {shape[0]} x {shape[1]} px, and only "
            f"{most / pixels:.1%} found room: lower the density or the gap"
        )

    def _fill(
        self, shape: tuple[int, int], target: float, highest: float, rng: np.random.Generator
    ) -> Canvas:
        """A canvas with about `target` px of nuclei, as far as they fit.

        Nuclei that the border cuts come first, since they have few places, and large ones before small ones.
        """
        canvas = Canvas(shape, self._gap)
        count, area, cut = round(sum(shape) / sum(self._shape) * self._cut_count), 0, []
        for nucleus in islice(_shuffled(self._cut, rng), count):
            if area + nucleus.area <= highest:
                area += nucleus.area
                cut.append(nucleus)
        self._place(canvas, cut, rng)
        self._place(canvas, self._draw(target - canvas.area, rng), rng)
        return canvas

    def _draw(self, missing: float, rng: np.random.Generator) -> list[Nucleus]:
        """Nuclei whose areas sum to about `missing` px; the last one is chosen and scaled to fit."""
        pool, (low, high) = (self._free, self._scale) if self._free else (self._cut, (1, 1))
        drawn = []
        for nucleus in _shuffled(pool, rng):
            varied = self._vary(nucleus, low + (high - low) * rng.random(), rng)
            if varied.area > missing:
                break
            missing -= varied.area
            drawn.append(varied)
        areas = np.array([nucleus.area for nucleus in pool])
        errors = np.abs(np.clip(missing, areas * low**2, areas * high**2) - missing)
        if errors.min() < missing:
            nucleus = pool[rng.choice(np.flatnonzero(errors == errors.min()))]
            factor = math.sqrt(missing / nucleus.area)
            drawn.append(self._vary(nucleus, min(max(factor, low), high), rng))
        return drawn

    def _vary(self, nucleus: Nucleus, factor: float, rng: np.random.Generator) -> Nucleus:
        """A nucleus turned, mirrored and scaled at random; one that the border cuts is unchanged."""
        if nucleus.is_cut:
            return nucleus
        turn, half, mirror = rng.random(3).tolist()
        angle = self._rotate * (2 * turn - 1) + (180 if self._rotate and half < 0.5 else 0)
        return Nucleus(transformed(nucleus.crop, angle, factor, self._flip and mirror < 0.5))

    def _place(self, canvas: Canvas, nuclei: list[Nucleus], rng: np.random.Generator) -> None:
        """Put nuclei on the canvas, from large to small; a nucleus without room is left out.

        The share that touches is controlled by feedback: after a nucleus that could not be put beside
        another one, the next one is more likely to be.
        """
        for left, nucleus in zip(
            range(len(nuclei), 0, -1), sorted(nuclei, key=lambda nucleus: -nucleus.area), strict=True
        ):
            missing = self._touching * (len(canvas) + left) - len(canvas.touching)
            place, partner = None, 0
            # How many more nuclei touch, on average, once this one is put beside another.
            gain = 1 + LONELY if canvas.touching else 2
            if rng.random() < missing / (gain * left):
                place, partner = _beside(canvas, nucleus, missing > left, rng)
            if place is None:
                place, partner = canvas.apart(nucleus, rng), 0
            if place is not None:
                canvas.put(nucleus, place, partner)


def touching_share(labels: np.ndarray) -> float:
    """Share of the nuclei of a (H, W) label image that touch another nucleus; 0 without nuclei."""
    count = len(np.unique(labels[labels > 0]))
    return len(np.unique(labels[_contacts(labels)])) / count if count else 0.0


def conditions(labels: np.ndarray) -> np.ndarray:
    """The conditions of the generators for a layout.

    Args:
        labels: (H, W) label image.

    Returns:
        (2, H, W) float32: the mask (0 or 1), and the depth in each nucleus, from 0 outside to 1 at its
        centre. The depth shows the border between two nuclei that touch.
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


def _beside(
    canvas: Canvas, nucleus: Nucleus, must_pair: bool, rng: np.random.Generator
) -> tuple[tuple[int, int] | None, int]:
    """A place at which a nucleus touches another one, and that one's number; (None, 0) if there is none.

    Args:
        canvas: the layout so far.
        nucleus: what is to be put there.
        must_pair: whether nuclei that touch no other yet always come first as partners.
        rng: source of every random choice.
    """
    partners = rng.permutation(len(canvas)) + 1
    pairs = must_pair or rng.random() < LONELY
    preferred = [number for number in partners.tolist() if (number not in canvas.touching) == pairs]
    others = [number for number in partners.tolist() if (number not in canvas.touching) != pairs]
    for partner in (preferred + others)[:PARTNERS]:
        place = canvas.beside(nucleus, partner, rng)
        if place is not None:
            return place, partner
    return None, 0


def _shuffled(nuclei: list[Nucleus], rng: np.random.Generator) -> Iterator[Nucleus]:
    """All nuclei in random order, then again in another order, endlessly."""
    while nuclei:
        for i in rng.permutation(len(nuclei)):
            yield nuclei[i]


def _check(
    density: tuple[float, float],
    gap: int,
    touching: float | None,
    rotate: float,
    scale: tuple[float, float],
) -> None:
    """ValueError where a setting is out of range."""
    for name, (low, high) in (("density", density), ("scale", scale)):
        if not 0 < low <= high < math.inf:
            raise ValueError(f"{name} is a range of positive numbers, low to high, not {low} to {high}")
    if not gap >= 0:
        raise ValueError(f"gap is a number of pixels, 0 or more, not {gap}")
    if touching is not None and not 0 <= touching <= 1:
        raise ValueError(f"touching is a share from 0 to 1, not {touching}")
    if not 0 <= rotate < math.inf:
        raise ValueError(f"rotate is an angle in degrees, 0 or more, not {rotate}")
