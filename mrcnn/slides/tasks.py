"""The two tasks of a block of a slide: find nuclei on its tiles; then stitch what was found there and around.

No tile is seen twice, whatever the size of the blocks. Where two detections claim the same pixels, what is
decided depends on the detections near them alone, so the blocks decide alike without knowing of each other.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely

from mrcnn.data.resizing import pad_to
from mrcnn.inference import tiling
from mrcnn.inference.tiling import Instance
from mrcnn.slides import detections
from mrcnn.slides.worker import load_predictor
from nuclei.outlines import geoparquet, measurements
from nuclei.outlines.polygons import outlines
from nuclei.slides.blocks import Block, Box, Grid, read_around_damage
from nuclei.slides.slide import Source, open_source

REACH = 192  # px beyond a block, from where a detection may still decide what becomes of its own


class Work(NamedTuple):
    """A block to do."""

    slide: str  # for messages
    block: Block
    tiles: list[tuple[int, int]]  # (top, left) px

    def __str__(self) -> str:
        return f"{self.block} of {self.slide}"


@dataclass(frozen=True)
class Slide:
    """A slide as the tasks see it, and where their results go."""

    path: Path
    content: str  # `nuclei.slides.slide.fingerprint`
    mpp: float  # wanted, um/px
    source_mpp: float | None  # see `nuclei.slides.slide.open_source`
    grid: Grid
    folder: Path

    def found(self, block: Block) -> Path:
        """The record of what the network found on the tiles of a block."""
        return self.folder / f"found_{self.grid.tiles_of_block}" / f"{block}.npz"

    def nuclei(self, block: Block) -> Path:
        """The record of the nuclei that belong to a block."""
        return self.folder / f"nuclei_{self.grid.tiles_of_block}" / f"{block}.parquet"


@functools.lru_cache(1)
def _source(slide: Slide) -> Source:
    """The open slide; once per process, since a plain image is decoded as a whole."""
    return open_source(slide.path, slide.mpp, slide.source_mpp)


@dataclass(frozen=True)
class Find:
    """Finds the nuclei on the tiles of a block; leaves `Slide.found`."""

    slide: Slide
    model: Path
    fingerprint: str  # of the model
    confidence: float
    views: int

    def __call__(self, work: Work) -> None:
        grid = self.slide.grid
        source = _source(self.slide)
        predictor = load_predictor(self.model, self.fingerprint, self.confidence)
        box = _around_tiles(work.tiles, grid)
        pixels, holes = read_around_damage(source, box)
        pixels = pad_to(pixels, grid.side)
        whole, damaged = _without_damage(work.tiles, grid.side, holes)
        instances: list[Instance] = []
        count = tiling.tiles_at_once(grid.side, predictor.config.IMAGE_SHAPE[0], self.views)
        for first in range(0, len(whole), count):
            corners = whole[first : first + count]
            tiles = [
                pixels[top - box.top :, left - box.left :][: grid.side, : grid.side] for top, left in corners
            ]
            instances += tiling.find_on_tiles(
                predictor, tiles, corners, (grid.height, grid.width), count, grid.overlap, self.views
            )
        detections.write(self.slide.found(work.block), instances, damaged)


def _around_tiles(tiles: list[tuple[int, int]], grid: Grid) -> Box:
    tops, lefts = zip(*tiles, strict=True)
    right, bottom = max(lefts) + grid.side, max(tops) + grid.side
    return Box(min(lefts), min(tops), min(right, grid.width), min(bottom, grid.height))


def _without_damage(
    tiles: list[tuple[int, int]], side: int, holes: list[Box]
) -> tuple[list[tuple[int, int]], list[Box]]:
    """The tiles that could be read as a whole, and the others."""
    whole, damaged = [], []
    for top, left in tiles:
        box = Box(left, top, left + side, top + side)
        if any(
            h.left < box.right and box.left < h.right and h.top < box.bottom and box.top < h.bottom
            for h in holes
        ):
            damaged.append(box)
        else:
            whole.append((top, left))
    return whole, damaged


@dataclass(frozen=True)
class Stitch:
    """Makes nuclei of what was found in and around a block; leaves `Slide.nuclei` with those it owns."""

    slide: Slide
    region: bytes | None  # WKB, px: nuclei whose centroid lies outside are left out

    def __call__(self, work: Work) -> int:
        """The number of nuclei."""
        grid, path = self.slide.grid, self.slide.nuclei(work.block)
        core = grid.core(work.block)
        near = [one for one in self._found(work.block) if _is_near(one, core)]
        if not near:
            geoparquet.write_record(path, np.zeros(0, object), np.zeros(0), *_nothing(self._mpp))
            return 0
        top, left = min(one.top for one in near), min(one.left for one in near)
        height = max(one.top + one.mask.shape[0] for one in near) - top
        width = max(one.left + one.mask.shape[1] for one in near) - left
        moved = [Instance(one.mask, one.top - top, one.left - left, one.score, one.cut) for one in near]
        labels, kept = tiling.resolve_overlaps(moved, (height, width))
        owned = np.flatnonzero(_is_owned(labels, top, left, core, self.region))
        scores = np.array([one.score for one in kept])
        labels = np.where(np.isin(labels, owned), labels, 0)
        self._write(path, labels, Box(left, top, left + width, top + height), scores[owned - 1])
        return len(owned)

    @property
    def _mpp(self) -> float | None:
        return _source(self.slide).mpp

    def _found(self, block: Block) -> list[Instance]:
        """All that was found in a block and around, in the order of the tiles of the slide."""
        instances: list[Instance] = []
        for other in self.slide.grid.around(block):
            path = self.slide.found(other)
            if path.exists():
                instances += detections.read(path)
        # Of equals the first one wins: let that not depend on the size of the blocks.
        return sorted(instances, key=lambda one: (one.top, one.left, one.mask.shape, one.score))

    def _write(self, path: Path, labels: np.ndarray, box: Box, scores: np.ndarray) -> None:
        source = _source(self.slide)
        polygons = np.array(outlines(labels), object)
        pixels, _ = read_around_damage(source, box)
        table = measurements.measure(pixels, labels, source.mpp, polygons.tolist())
        polygons = shapely.transform(polygons, lambda points: points + (box.left, box.top))
        geoparquet.write_record(path, polygons, scores, measurements.centroids(polygons), table)


def _nothing(mpp: float | None) -> tuple:
    """Points and measurements of no nucleus."""
    blank = np.zeros((1, 1, 3), np.uint8)
    return np.zeros((0, 2)), measurements.measure(blank, np.zeros((1, 1), np.int32), mpp)


def _is_near(one: Instance, core: Box) -> bool:
    y, x = one.top + one.mask.shape[0] / 2, one.left + one.mask.shape[1] / 2
    return core.left - REACH <= x < core.right + REACH and core.top - REACH <= y < core.bottom + REACH


def _is_owned(labels: np.ndarray, top: int, left: int, core: Box, region: bytes | None) -> np.ndarray:
    """(N + 1,) bool: whether the centroid of a label lies in the block, and in the region if there is one."""
    y, x = np.nonzero(labels)
    index, count = labels[y, x], int(labels.max(initial=0)) + 1
    area = np.bincount(index, minlength=count)
    # Whole numbers: all blocks come to the same answer.
    rows = np.bincount(index, y + top, count).astype(np.int64)
    columns = np.bincount(index, x + left, count).astype(np.int64)
    owned = (columns >= core.left * area) & (columns < core.right * area)
    owned &= (rows >= core.top * area) & (rows < core.bottom * area) & (area > 0)
    if region is not None:
        centres = np.maximum(area, 1)
        wanted = shapely.from_wkb(region)
        shapely.prepare(wanted)
        owned &= shapely.contains_xy(wanted, columns / centres + 0.5, rows / centres + 0.5)
    return owned
