"""Label images of a whole slide, painted tile by tile: a tiled BigTIFF, or OME-Zarr with a pyramid.

Pixels are those of the network's resolution. The id of a nucleus is its row in the slide's table, from 1 on.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
import tifffile

from nuclei.io.files import atomic_file, atomic_folder
from nuclei.outlines.geoparquet import read_outlines
from nuclei.outlines.polygons import cover

if TYPE_CHECKING:
    import zarr

TILE = 512  # px
CHUNK = 1024  # px
SMALLEST = 1024  # px, the longer side of the coarsest level, about
KEPT = 64  # blocks whose outlines are kept in memory: more than lie side by side on most slides


class Painter:
    """Paints any part of the label image of a slide from the records of its blocks."""

    def __init__(self, records: Sequence[Path]) -> None:
        """`records` as `nuclei.outlines.geoparquet.write_record` wrote them, in the order of the table."""
        self._records, self._bounds, self._first = list(records), [], [1]
        for path in records:
            bounds = shapely.bounds(read_outlines(path)).astype(np.float32).reshape(-1, 4)
            self._bounds.append(bounds)
            self._first.append(self._first[-1] + len(bounds))
        self._outlines = functools.lru_cache(KEPT)(lambda number: read_outlines(self._records[number]))

    def paint(self, left: int, top: int, width: int, height: int) -> np.ndarray:
        """The ids (height, width) uint32 of a part of the slide, 0 = background; all in px."""
        labels = np.zeros((height, width), np.uint32)
        for number, bounds in enumerate(self._bounds):
            x1, y1, x2, y2 = bounds.T
            inside = (x1 < left + width) & (x2 > left) & (y1 < top + height) & (y2 > top)
            if not inside.any():
                continue
            rows = np.flatnonzero(inside)
            moved = shapely.transform(self._outlines(number)[rows], lambda xy: xy - (left, top))
            for row, polygon in zip(rows, moved, strict=True):
                window, mask = cover(polygon, (height, width))
                free = mask & (labels[window] == 0)
                labels[window][free] = self._first[number] + row
        return labels


def write_tiff(path: Path, painter: Painter, size: tuple[int, int], mpp: float | None) -> None:
    """Write a tiled BigTIFF, (H, W) uint32, tile by tile; InputError where that fails.

    Args:
        path: the file, written atomically.
        painter: of the slide.
        size: (H, W) px.
        mpp: um/px, kept in the file; None: not known.
    """

    def tiles() -> Iterator[np.ndarray]:
        for top, left in itertools.product(range(0, size[0], TILE), range(0, size[1], TILE)):
            yield painter.paint(left, top, TILE, TILE)

    known: dict = (
        {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    )
    with atomic_file(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=True) as tiff:
        tiff.write(
            tiles(),
            shape=size,
            dtype=np.uint32,
            tile=(TILE, TILE),
            compression="zlib",
            photometric="minisblack",
            metadata=None,
            maxworkers=1,
            **known,
        )


def write_ome_zarr(path: Path, painter: Painter, size: tuple[int, int], mpp: float | None, name: str) -> None:
    """Write a label image of NGFF 0.4, chunk by chunk, each level half the one before; InputError on failure.

    Args:
        path: the folder, written atomically.
        painter, size, mpp: as in `write_tiff`; with `mpp`, viewers lay the labels over the slide.
        name: of the slide.
    """
    import zarr

    with atomic_folder(path) as temporary:
        group = zarr.open_group(temporary, mode="w", zarr_format=2)
        array = _level(group, 0, size)
        for top, left in _chunks(size):
            height, width = min(CHUNK, size[0] - top), min(CHUNK, size[1] - left)
            array[top : top + height, left : left + width] = painter.paint(left, top, width, height)
        levels = [array]
        while max(levels[-1].shape) > SMALLEST:
            finer = levels[-1]
            coarser = _level(group, len(levels), tuple(-(-side // 2) for side in finer.shape))
            for top, left in _chunks(coarser.shape):
                rows, columns = (slice(2 * first, 2 * (first + CHUNK), 2) for first in (top, left))
                part = np.asarray(finer[rows, columns])
                coarser[top : top + part.shape[0], left : left + part.shape[1]] = part
            levels.append(coarser)
        group.attrs.update(_attributes(len(levels), mpp, name))


def _level(group: zarr.Group, number: int, size: tuple[int, ...]) -> zarr.Array:
    return group.create_array(
        str(number),
        shape=size,
        chunks=(CHUNK, CHUNK),
        dtype="uint32",
        fill_value=0,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )


def _chunks(size: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """(top, left) of the chunks of an image of (H, W) px."""
    yield from itertools.product(range(0, size[0], CHUNK), range(0, size[1], CHUNK))


def _attributes(levels: int, mpp: float | None, name: str) -> dict:
    """What NGFF 0.4 wants to know of a label image."""
    unit = {} if mpp is None else {"unit": "micrometer"}
    side = 1.0 if mpp is None else mpp
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [side * 2**level] * 2}],
        }
        for level in range(levels)
    ]
    axes = [{"name": axis, "type": "space", **unit} for axis in "yx"]
    multiscales = [{"version": "0.4", "name": name, "axes": axes, "datasets": datasets}]
    return {"multiscales": multiscales, "image-label": {"version": "0.4"}}
