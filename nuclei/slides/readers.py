"""The levels of slides and plain images: how each kind of file is read.

A *slide* is what OpenSlide knows as a scanner's format, or a tiled TIFF that has a pyramid or is longer than
`SLIDE_SIDE`. Every other image is a *plain image* of one level. Slides and large TIFFs are read piece by
piece, other images as a whole.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import openslide
import tifffile
from PIL import Image, UnidentifiedImageError

from nuclei.errors import InputError, unreadable
from nuclei.io import orientation
from nuclei.io.images import IMAGE_SUFFIXES, read_image
from nuclei.io.tiff import COLOURS, TIFF_SUFFIXES, check_colours, largest, stated_mpp, unmultiplied

SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".czi")
SUFFIXES = (*IMAGE_SUFFIXES, *SLIDE_SUFFIXES)

SLIDE_SIDE = 8192  # px; a tiled TIFF without a pyramid is a slide above this, a plain image up to it
PLAIN_PIXELS = 2**30  # the largest plain image; OpenCV's own limit
CACHE = 256 * 2**20  # bytes of decoded tiles to keep: a row of them across a slide of 100,000 px
TRUSTED_MPP = (0.02, 20)  # um/px; outside lie the 72 dpi and the like that programs write for want of it
ROWS = 256  # of an uncompressed image that are read at once
log = logging.getLogger(__name__)

Image.MAX_IMAGE_PIXELS = None  # Pillow's guard; PLAIN_PIXELS takes its place


class UnreadableRegion(InputError):
    """A part of a slide cannot be decoded; the rest of it can still be read."""


class Levels(Protocol):
    """One image at one or more resolutions, the finest first.

    Attributes:
        is_slide: false for a plain image.
        sizes: (width, height) of each level, px.
        downsamples: full-resolution px per px of each level.
        mpp: um/px of the full resolution along x and y as the file states it; None where it does not.
        hint: what else the file says about that, for the user who has to find out.
    """

    is_slide: bool
    sizes: Sequence[tuple[int, int]]
    downsamples: Sequence[float]
    mpp: tuple[float, float] | None
    hint: str

    def region(self, level: int, left: int, top: int, width: int, height: int) -> Image.Image:
        """A region in px of a level, RGB, white beyond the image; UnreadableRegion where it is damaged."""

    def close(self) -> None:
        """Close the file."""


def open_levels(path: Path) -> Levels:
    """Open a slide or plain image by its content: scanners write .tif too, and other programs .svs.

    Raises:
        InputError: of an unknown format, or too large for a plain image.
        Exception: whatever the decoders make of a broken file.
    """
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES and suffix not in TIFF_SUFFIXES:
        return PlainImage(path, _header_size(path))
    # OpenSlide's generic TIFF is left to tifffile, which also reads 16 bits and the pyramids of OME-TIFF.
    if openslide.OpenSlide.detect_format(path) not in (None, "generic-tiff"):
        return ScannerSlide(path)
    try:
        tiff = tifffile.TiffFile(path)
    except tifffile.TiffFileError as error:
        kind = "TIFF" if suffix in TIFF_SUFFIXES else f"{suffix} slide"
        raise unreadable(path, f"a {kind}", error) from error
    series = largest(tiff)
    size = series.keyframe.imagewidth, series.keyframe.imagelength
    if max(size) > SLIDE_SIDE or (series.keyframe.is_tiled and len(series.levels) > 1):
        return TiffInPieces(path, tiff)
    tiff.close()
    if suffix not in IMAGE_SUFFIXES:
        raise InputError(f"{path} is no slide that OpenSlide knows; if it is a TIFF, rename it to .tif")
    return PlainImage(path, size)


class PlainImage(Levels):
    """An image that is decoded as a whole, once the first region is asked for."""

    is_slide, mpp, hint, downsamples = False, None, "", (1.0,)

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        _check_can_be_decoded(path, *size)
        self._path, self.sizes = path, (size,)

    @functools.cached_property
    def _image(self) -> Image.Image:
        return Image.fromarray(read_image(self._path))

    def region(self, level: int, left: int, top: int, width: int, height: int) -> Image.Image:
        return self._image.crop((left, top, left + width, top + height))

    def close(self) -> None:
        self.__dict__.pop("_image", None)


def _check_can_be_decoded(path: Path, width: int, height: int) -> None:
    if width * height > PLAIN_PIXELS:
        raise InputError(
            f"{path} is {width} x {height} px, too large to be decoded as a whole; "
            "save it as a tiled TIFF, which is read piece by piece"
        )


def _header_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image that is no TIFF, without decoding it."""
    try:
        with Image.open(path) as image:
            return image.size
    except UnidentifiedImageError as error:
        raise unreadable(path, "an image", error) from error


class ScannerSlide(Levels):
    """A slide as OpenSlide reads it."""

    is_slide = True

    def __init__(self, path: Path) -> None:
        self._path, self._cache = path, openslide.OpenSlideCache(CACHE)
        self._open()
        says = self._slide.properties.get
        self.sizes, self.downsamples = self._slide.level_dimensions, self._slide.level_downsamples
        self.mpp = _trusted(says(openslide.PROPERTY_NAME_MPP_X), says(openslide.PROPERTY_NAME_MPP_Y))
        power = says(openslide.PROPERTY_NAME_OBJECTIVE_POWER)
        self.hint = f" (its objective is {power}x; 40x usually has 0.25 um/px, 20x 0.5)" if power else ""

    def _open(self) -> None:
        self._slide = openslide.OpenSlide(self._path)
        self._slide.set_cache(self._cache)

    def region(self, level: int, left: int, top: int, width: int, height: int) -> Image.Image:
        place = round(left * self.downsamples[level]), round(top * self.downsamples[level])
        try:
            image = self._slide.read_region(place, level, (width, height))
        except openslide.OpenSlideError as error:
            self._slide.close()
            self._open()  # a handle that has failed once fails for ever
            log.debug("%s: %s", self._path, error)
            raise UnreadableRegion(f"{self._path} is damaged near x {place[0]}, y {place[1]}") from error
        return _over_white(image)

    def close(self) -> None:
        self._slide.close()


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
            _check_can_be_decoded(path, *_piece(level)[::-1])
        orientation.warn_if_turned(path, orientation.of_tiff(page))
        self.is_slide = page.is_tiled
        self.sizes = [(level.imagewidth, level.imagelength) for level in self._pages]
        self.downsamples = [page.imagewidth / width for width, _ in self.sizes]
        stated = stated_mpp(tiff) if self.is_slide else None  # what plain images state is seldom true
        self.mpp = stated and _trusted(*stated)
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
        return _over_white(Image.fromarray(pixels.squeeze(-1) if pixels.shape[2] == 1 else pixels))

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


def _over_white(image: Image.Image) -> Image.Image:
    """Any image -> RGB, transparency laid over white, the colour of glass."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema()[0] == 255:  # opaque, as nearly always
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _trusted(x: float | str | None, y: float | str | None) -> tuple[float, float] | None:
    """um/px along x and y, where the file states both and they are a microscope's."""
    if x is None or y is None:
        return None
    x, y = float(x), float(y)
    low, high = TRUSTED_MPP
    return (x, y) if low <= x <= high and low <= y <= high else None
