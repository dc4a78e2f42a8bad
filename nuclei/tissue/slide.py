"""A generated whole slide, of any size, made tile by tile, with the exact outline of every nucleus.

It is a mosaic of a few fields of generated tissue, turned and mirrored, among glass. Neighbours fade into
each other over a strip that no nucleus reaches, so every nucleus is whole and its outline that of its field.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
import shapely
import tifffile

from nuclei.io.files import atomic_file
from nuclei.tissue import render
from nuclei.tissue.fields import random_field
from nuclei.tissue.kinds import KINDS

GLASS = (242, 240, 243)  # RGB
FADE = 32  # px of the strip in which neighbouring fields fade into each other
LEVELS = (1, 4, 16)  # full-resolution px per px of the levels of the pyramid
TILE = 512  # px
MPP = 0.25  # um/px


@dataclass(frozen=True)
class TissueSlide:
    """A slide of 0.25 um/px.

    Attributes:
        width, height: px.
        kind: of `nuclei.tissue.KINDS`.
        share: of the fields that show tissue, 0..1.
        seed: of everything random.
        field: px, the side of a field; a multiple of 16, above 2 `FADE`.
        fields: how many different fields there are.
    """

    width: int
    height: int
    kind: str = "hepatic"
    share: float = 1.0
    seed: int = 0
    field: int = 1024
    fields: int = 6

    @property
    def pitch(self) -> int:
        """Px from a field to the next."""
        return self.field - FADE

    @cached_property
    def _library(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Image and labels of each field, all stained by the same laboratory."""
        return [
            render(
                np.random.default_rng([self.seed, number]),
                (self.field, self.field),
                KINDS[self.kind],
                laboratory=np.random.default_rng([self.seed, 1000]),
                clear=FADE + 1,
            )
            for number in range(self.fields)
        ]

    @cached_property
    def _places(self) -> np.ndarray:
        """(rows, columns) of the number of a field and, times 8, how it is laid down; -1 is glass."""
        rng = np.random.default_rng([self.seed, 2000])
        shape = (-(-self.height // self.pitch) + 1, -(-self.width // self.pitch) + 1)
        chosen = rng.integers(0, 8 * self.fields, shape)
        if self.share < 1:
            blobs = random_field(rng, shape, max(shape) / 6) + 0.05 * rng.standard_normal(shape)
            chosen[blobs < np.quantile(blobs, 1 - self.share)] = -1
        return chosen

    def region(self, left: int, top: int, width: int, height: int, level: int = 0) -> np.ndarray:
        """A region, (height, width, 3) uint8 RGB; all in px of that level."""
        scale = LEVELS[level]
        pitch, fade, side = (length // scale for length in (self.pitch, FADE, self.field))
        canvas = np.zeros((height, width, 3), np.float32)
        rows, columns = (
            range(max(0, first // pitch - 1), (first + length) // pitch + 2)
            for first, length in ((top, height), (left, width))
        )
        for row, column in itertools.product(rows, columns):
            y, x = row * pitch - fade - top, column * pitch - fade - left
            y1, x1, y2, x2 = max(y, 0), max(x, 0), min(y + side, height), min(x + side, width)
            if y1 >= y2 or x1 >= x2 or row >= len(self._places) or column >= len(self._places[0]):
                continue
            window = slice(y1 - y, y2 - y), slice(x1 - x, x2 - x)
            weight = _ramp(side, fade)[window[0], None] * _ramp(side, fade)[window[1]]
            place = int(self._places[row, column])
            shown = np.array(GLASS) if place < 0 else _reduced(self, place, scale)[window]
            canvas[y1:y2, x1:x2] += weight[..., None] * shown
        return np.rint(canvas).astype(np.uint8)

    def nuclei(self) -> Iterator[np.ndarray]:
        """Outlines of all nuclei, full-resolution px, field by field; cut off at the slide's border."""
        whole = shapely.box(0, 0, self.width, self.height)
        for (row, column), place in np.ndenumerate(self._places):
            if place < 0:
                continue
            corner = np.array([column * self.pitch - FADE, row * self.pitch - FADE])
            moved = shapely.transform(_outlines(self, int(place)), lambda xy, by=corner: xy + by)
            inside = shapely.intersection(moved, whole)
            yield inside[shapely.area(inside) > 0]

    def write(self, path: Path) -> Path:
        """Write a pyramid of JPEG tiles, which knows its resolution; memory holds a few tiles."""
        per_cm = 1e4 / MPP
        with atomic_file(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=True) as tiff:
            for level, scale in enumerate(LEVELS):
                shape = (-(-self.height // scale), -(-self.width // scale), 3)
                tiff.write(
                    self._tiles(level, shape),
                    shape=shape,
                    dtype=np.uint8,
                    tile=(TILE, TILE),
                    photometric="rgb",
                    compression="jpeg",
                    compressionargs={"level": 90},
                    subfiletype=int(level > 0),
                    resolution=(per_cm / scale, per_cm / scale),
                    resolutionunit="CENTIMETER",
                    metadata=None,
                    maxworkers=1,
                )
        return path

    def _tiles(self, level: int, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        for top, left in itertools.product(range(0, shape[0], TILE), range(0, shape[1], TILE)):
            yield self.region(left, top, TILE, TILE, level)


@lru_cache(8)
def _ramp(side: int, fade: int) -> np.ndarray:
    """(side,) float32: how much a field shows; those of two neighbours add up to 1."""
    rising = (np.arange(side, dtype=np.float32) + 0.5) / fade
    return np.minimum(np.minimum(rising, rising[::-1]), 1)


@lru_cache(64)
def _reduced(slide: TissueSlide, place: int, scale: int) -> np.ndarray:
    """The image of a field as it is laid down there, reduced by `scale`."""
    image = _laid(slide._library[place // 8][0], place % 8)
    side = slide.field // scale
    return image if scale == 1 else cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


@lru_cache(64)
def _outlines(slide: TissueSlide, place: int) -> np.ndarray:
    """The outlines of a field as it is laid down there, px of the field."""
    from nuclei.outlines.polygons import outlines

    return np.array(outlines(_laid(slide._library[place // 8][1], place % 8)), object)


def _laid(array: np.ndarray, way: int) -> np.ndarray:
    """One of eight ways to lay a square down: quarter turns, then perhaps a mirror."""
    turned = np.rot90(array, way % 4)
    return np.ascontiguousarray(turned[:, ::-1] if way >= 4 else turned)
