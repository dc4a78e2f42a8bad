"""A slide cut up for work: the tiles that a network sees, and the blocks of tiles that are one task each.

The tiles lie on one grid of the whole slide, whatever the size of the blocks, so that the network sees the
same pixels with any. Each pixel belongs to one block: the borders run along the middle of the overlaps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import shapely

from nuclei.folders.patches import starts
from nuclei.slides.levels import UnreadableRegion
from nuclei.slides.places import MASK_PX, MASK_SIDES
from nuclei.slides.slide import SMALLEST, Source, tissue_mask

FEWEST = 2  # tiles along a block: what lies at its border is seen by its neighbours alone


class Block(NamedTuple):
    """A block by its place in the grid of blocks."""

    row: int
    column: int

    def __str__(self) -> str:
        return f"{self.row}_{self.column}"


class Box(NamedTuple):
    """A rectangle of pixels; right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class Grid:
    """Tiles and blocks of a slide of `width` x `height` px, at the resolution of the network.

    Attributes:
        side: px of a tile.
        overlap: px that neighbouring tiles share.
        block: px of a block, rounded to whole tiles, `FEWEST` at least.
    """

    width: int
    height: int
    side: int
    overlap: int
    block: int

    @property
    def step(self) -> int:
        """Px from a tile to the next."""
        return self.side - self.overlap

    @property
    def tiles_of_block(self) -> int:
        """Tiles along a block."""
        return max(FEWEST, round(self.block / self.step))

    @cached_property
    def tops(self) -> list[int]:
        """First rows of the tiles; the last one is moved back to the border."""
        return starts(self.height, self.side, self.step)

    @cached_property
    def lefts(self) -> list[int]:
        """First columns of the tiles."""
        return starts(self.width, self.side, self.step)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return tuple(math.ceil(len(each) / self.tiles_of_block) for each in (self.tops, self.lefts))  # type: ignore[return-value]

    def blocks(self) -> Iterator[Block]:
        """All blocks, row by row."""
        return itertools.starmap(Block, itertools.product(*map(range, self.shape)))

    def tiles(self, block: Block) -> list[tuple[int, int]]:
        """(top, left) of the tiles of a block, row by row."""
        n = self.tiles_of_block
        rows, columns = (slice(place * n, (place + 1) * n) for place in block)
        return list(itertools.product(self.tops[rows], self.lefts[columns]))

    def core(self, block: Block) -> Box:
        """The pixels that belong to a block."""
        left, right = self._span(block.column, self.shape[1], self.width)
        top, bottom = self._span(block.row, self.shape[0], self.height)
        return Box(left, top, right, bottom)

    def _span(self, place: int, count: int, end: int) -> tuple[int, int]:
        step = self.tiles_of_block * self.step
        half = self.overlap // 2
        first = 0 if place == 0 else place * step + half
        return first, end if place == count - 1 else (place + 1) * step + half

    def around(self, block: Block) -> list[Block]:
        """A block and those that touch it, row by row."""
        rows, columns = (
            range(max(0, place - 1), min(count, place + 2))
            for place, count in zip(block, self.shape, strict=True)
        )
        return [Block(row, column) for row in rows for column in columns]


def tiles_to_see(
    source: Source, grid: Grid, region: shapely.Geometry | None
) -> dict[Block, list[tuple[int, int]]]:
    """(top, left) of the tiles that show tissue, by block; blocks without one are left out.

    Args:
        source: the slide; of a plain image, all tiles count.
        grid: its tiles.
        region: what else to be content with, px at the resolution of the source; None: all of it.
    """
    mask = np.ones((1, 1), bool)
    if source.is_slide:
        side = int(np.clip(max(grid.width, grid.height) / MASK_PX, *MASK_SIDES))
        mask = tissue_mask(source.overview(side))
    wanted = None if region is None else shapely.prepared.prep(region)
    seen: dict[Block, list[tuple[int, int]]] = {}
    for block in grid.blocks():
        tiles = [
            (top, left)
            for top, left in grid.tiles(block)
            if _shows(mask, grid, top, left)
            and (
                wanted is None or wanted.intersects(shapely.box(left, top, left + grid.side, top + grid.side))
            )
        ]
        if tiles:
            seen[block] = tiles
    return seen


def _shows(mask: np.ndarray, grid: Grid, top: int, left: int) -> bool:
    """Whether there is tissue on a tile in `mask` (h, w), which covers the whole slide."""
    down, across = mask.shape[0] / grid.height, mask.shape[1] / grid.width
    rows = slice(int(top * down), math.ceil((top + grid.side) * down))
    columns = slice(int(left * across), math.ceil((left + grid.side) * across))
    return bool(mask[rows, columns].any())


def read_around_damage(source: Source, box: Box) -> tuple[np.ndarray, list[Box]]:
    """A region of a slide, white where the file is damaged.

    Returns:
        (H, W, 3) uint8 RGB, and the damaged parts, found in squares of SMALLEST px or less.
    """
    pixels = np.full((box.bottom - box.top, box.right - box.left, 3), 255, np.uint8)
    damaged: list[Box] = []

    def read(left: int, top: int, right: int, bottom: int) -> None:
        try:
            part = source.read(left, top, right - left, bottom - top)
            pixels[top - box.top : bottom - box.top, left - box.left : right - box.left] = part
        except UnreadableRegion:
            if max(right - left, bottom - top) <= SMALLEST:
                damaged.append(Box(left, top, right, bottom))
                return
            middle, centre = (left + right + 1) // 2, (top + bottom + 1) // 2
            for (x1, x2), (y1, y2) in itertools.product(
                ((left, middle), (middle, right)), ((top, centre), (centre, bottom))
            ):
                if x1 < x2 and y1 < y2:
                    read(x1, y1, x2, y2)

    read(*box)
    return pixels, damaged
