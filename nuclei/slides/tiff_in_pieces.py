"""Large TIFFs of no scanner's format, read in the pieces that they are stored in."""

from __future__ import annotations

import functools
import itertools
import logging
import math
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from nuclei.errors import InputError, unreadable
from nuclei.io import jpeg, orientation
from nuclei.io.tiff import COLOURS, check_colours, largest, stated_mpp, unmultiplied
from nuclei.slides.levels import CACHE, Levels, UnreadableRegion, check_can_be_decoded, over_white, trusted

ROWS = 256  # of an uncompressed image that are read at once
log = logging.getLogger(__name__)


class TiffInPieces(Levels):
    """A TIFF of no scanner's format, grey or RGB(A), 8 or 16 bits, its levels as SubIFDs or pages.

    It is read in the tiles or strips that it is stored in, or where it is not compressed, a few rows at once.
    """

    hint = ""

    def __init__(self, path: Path, tiff: tifffile.TiffFile) -> None:
        series = largest(tiff)
        self._path, self._tiff, self._pages = path, tiff, [level.keyframe for level in series.levels]
        page = self._pages[0]
        if (
            len(series.pages) > 1
            or page.photometric not in COLOURS
            or page.dtype not in (np.uint8, np.uint16)
        ):
            raise InputError(f"{path} is no single RGB or grey image of 8 or 16 bits; export it as one")
        check_colours(page, path)
        for level in self._pages:
            planes = level.samplesperpixel if _is_in_planes(level) else 1
            if not level.is_memmappable and math.prod(_grid(level)) * planes != len(level.dataoffsets):
                size = f"{level.imagewidth} x {level.imagelength} px"
                raise unreadable(path, "a TIFF", f"{len(level.dataoffsets)} pieces for {size}")
            check_can_be_decoded(path, *_piece(level)[::-1])
        orientation.warn_if_turned(path, orientation.of_tiff(page))
        self.is_slide = page.is_tiled
        self.sizes = [(level.imagewidth, level.imagelength) for level in self._pages]
        self.downsamples = [page.imagewidth / width for width, _ in self.sizes]
        stated = stated_mpp(tiff) if self.is_slide else None  # what plain images state is seldom true
        self.mpp = stated and trusted(*stated)
        piece = math.prod(_piece(page)) * page.samplesperpixel * page.dtype.itemsize
        self._piece = functools.lru_cache(max(1, CACHE // piece))(self._decode)

    def region(self, level: int, left: int, top: int, width: int, height: int) -> Image.Image:
        page = self._pages[level]
        pixels = np.full((height, width, page.samplesperpixel), np.iinfo(page.dtype).max, page.dtype)
        (down, across), (length, breadth) = _grid(page), _piece(page)
        rows = range(top // length, min(down, -(-(top + height) // length)))
        columns = range(left // breadth, min(across, -(-(left + width) // breadth)))
        planes = [slice(k, k + 1) for k in range(pixels.shape[2])] if _is_in_planes(page) else [slice(None)]
        for (k, plane), row, column in itertools.product(enumerate(planes), rows, columns):
            piece = self._piece(level, (k * down + row) * across + column)
            if piece is not None:
                _paste(pixels[..., plane], piece, row * length - top, column * breadth - left)
        if page.extrasamples == (tifffile.EXTRASAMPLE.ASSOCALPHA,):
            pixels = unmultiplied(pixels)
        if page.dtype == np.uint16:
            pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257).reshape(pixels.shape)
        if page.extrasamples == (tifffile.EXTRASAMPLE.UNSPECIFIED,):  # no transparency
            pixels = np.ascontiguousarray(pixels[..., :-1])
        return over_white(Image.fromarray(pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels))

    def _decode(self, level: int, index: int) -> np.ndarray | None:
        """A piece, (h, w, samples); None where the file leaves it out, which is how empty glass is stored."""
        page = self._pages[level]
        try:
            if page.is_memmappable:
                return self._rows(page, index)
            count = page.databytecounts[index]
            if count == 0:
                return None
            tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
            data = self._bytes(page.dataoffsets[index], count)
            jpeg.check_piece(page, data)
            return page.decode(data, index, **tables)[0][0]  # type: ignore[index]  # None only without data
        except Exception as error:  # the codecs raise types of their own
            (down, across), (length, breadth) = _grid(page), _piece(page)
            x, y = index % across * breadth, index // across % down * length
            log.debug("%s: %s", self._path, error)
            raise UnreadableRegion(f"{self._path} is damaged near x {x}, y {y} of level {level}") from error

    def _rows(self, page: tifffile.TiffPage, index: int) -> np.ndarray:
        """A piece of an uncompressed image, whose planes lie one after the other."""
        plane, piece = divmod(index, _grid(page)[0])
        first = piece * ROWS
        samples = 1 if _is_in_planes(page) else page.samplesperpixel
        shape = min(ROWS, page.imagelength - first), page.imagewidth, samples
        stored = np.dtype(page.dtype).newbyteorder(self._tiff.byteorder)
        row = math.prod(shape[1:]) * stored.itemsize
        offset = page.dataoffsets[0] + (plane * page.imagelength + first) * row
        return np.frombuffer(self._bytes(offset, shape[0] * row), stored).reshape(shape).astype(page.dtype)

    def _bytes(self, offset: int, count: int) -> bytes:
        handle = self._tiff.filehandle
        handle.seek(offset)
        data = handle.read(count)
        if len(data) < count:
            raise ValueError("the file ends too early")
        return data

    def close(self) -> None:
        self._tiff.close()


def _piece(page: tifffile.TiffPage) -> tuple[int, int]:
    """(height, width) of the pieces that an image is read in."""
    return (ROWS, page.imagewidth) if page.is_memmappable else (page.chunks[0], page.chunks[1])


def _grid(page: tifffile.TiffPage) -> tuple[int, int]:
    """How many rows and columns of pieces there are."""
    length, breadth = _piece(page)
    return -(-page.imagelength // length), -(-page.imagewidth // breadth)


def _is_in_planes(page: tifffile.TiffPage) -> bool:
    """Whether each colour lies by itself."""
    return page.planarconfig == tifffile.PLANARCONFIG.SEPARATE


def _paste(canvas: np.ndarray, tile: np.ndarray, top: int, left: int) -> None:
    """Copy the part of `tile` that lies on `canvas` when its corner is at (top, left), which may be < 0."""
    target = canvas[max(0, top) : top + tile.shape[0], max(0, left) : left + tile.shape[1]]
    target[:] = tile[max(0, -top) :, max(0, -left) :][: target.shape[0], : target.shape[1]]
