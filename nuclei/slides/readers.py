"""The levels of slides and plain images: how each kind of file is read.

A *slide* is what OpenSlide knows as a scanner's format, or a tiled TIFF that has a pyramid or is longer than
`SLIDE_SIDE`. Every other image is a *plain image* of one level. Slides and large TIFFs are read piece by
piece, other images as a whole.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import openslide
import tifffile
from PIL import Image, UnidentifiedImageError

from nuclei.errors import InputError, unreadable
from nuclei.io.images import IMAGE_SUFFIXES, read_image
from nuclei.io.tiff import TIFF_SUFFIXES, largest
from nuclei.slides.levels import CACHE, Levels, UnreadableRegion, check_can_be_decoded, over_white, trusted
from nuclei.slides.tiff_in_pieces import TiffInPieces

SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".czi")
SUFFIXES = (*IMAGE_SUFFIXES, *SLIDE_SUFFIXES)

SLIDE_SIDE = 8192  # px; a tiled TIFF without a pyramid is a slide above this, a plain image up to it
log = logging.getLogger(__name__)


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
        check_can_be_decoded(path, *size)
        self._path, self.sizes = path, (size,)

    @functools.cached_property
    def _image(self) -> Image.Image:
        return Image.fromarray(read_image(self._path))

    def region(self, level: int, left: int, top: int, width: int, height: int) -> Image.Image:
        return self._image.crop((left, top, left + width, top + height))

    def close(self) -> None:
        self.__dict__.pop("_image", None)


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
        self.mpp = trusted(says(openslide.PROPERTY_NAME_MPP_X), says(openslide.PROPERTY_NAME_MPP_Y))
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
        return over_white(image)

    def close(self) -> None:
        self._slide.close()
