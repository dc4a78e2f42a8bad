"""Whole slides and plain images behind one face: any region, at one resolution, as RGB.

A slide (nuclei.slides.readers says which files are one) is read tile by tile at the wanted um/px, and its
glass can be told by `tissue_mask`. A plain image is a field of view that somebody cut. The
resolution that such files state is seldom true, so they are taken as they are, unless the user states it.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from nuclei.errors import InputError, unreadable
from nuclei.io.files import digest
from nuclei.slides.levels import Levels, UnreadableRegion
from nuclei.slides.readers import SLIDE_SIDE, SUFFIXES, open_levels

log = logging.getLogger(__name__)

MPP = 0.25  # um/px of a 40x objective, the resolution that nuclei are usually segmented at

TOLERANCE = 0.05  # a level this close to the wanted um/px is taken as it is: resampling would only blur it
BLOCK = 2048  # px of a level that are read at once for an overview
SMALLEST = 256  # px of a level; a smaller block with damage in it is given up as a whole
HEAD = 2**20  # bytes of an image file that tell it from another; a slide is too large to be read whole
UNREADABLE = (200, 120, 170)  # RGB in an overview; counts as tissue, so that the patches there are tried


class Source:
    """An open slide or plain image, seen at one resolution; made by `open_source`, a context manager.

    Attributes:
        path: the file.
        width, height: px at that resolution.
        mpp: um/px of what `read` returns, None where nobody knows.
        is_slide: whether it is a slide, so that it may show glass (see nuclei.slides.readers).
    """

    def __init__(self, path: Path, levels: Levels, own: tuple[float, float] | None, mpp: float) -> None:
        """`own` is the um/px of the full resolution along x and y, `mpp` the wanted one."""
        self.path, self.is_slide, self._levels = path, levels.is_slide, levels
        # Full-resolution px per px given out, along x and y.
        self._scale, self.mpp = (1.0, 1.0), None
        if own is not None:
            self._scale, self.mpp = _scale(own, levels.downsamples, mpp)
        self.width, self.height = self._size(self._scale)

    @property
    def scale(self) -> tuple[float, float]:
        """Full-resolution px per px of what `read` returns, along x and y."""
        return self._scale

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._levels.close()

    def read(self, left: int, top: int, width: int, height: int) -> np.ndarray:
        """A region of the image, (height, width, 3) uint8 RGB; px at the resolution `mpp`.

        What a pixel shows depends on its place alone, so regions side by side fit without a seam.

        Raises:
            UnreadableRegion: the file is damaged there.
            ValueError: the region is empty or reaches beyond the image.
        """
        right, bottom = left + width, top + height
        if not (0 <= left < right <= self.width and 0 <= top < bottom <= self.height):
            raise ValueError(f"{width} x {height} px at {left}, {top} of {self.width} x {self.height} px")
        return self._resample(self._scale, left, top, width, height)

    def overview(self, side: int) -> np.ndarray:
        """The whole image, (h, w, 3) uint8 RGB, its longer side `side` px, or its own if that is shorter.

        It is put together from blocks, of a coarse level where there is one, so that a slide's full
        resolution is never in memory. What cannot be decoded shows the colour UNREADABLE.
        """
        scale = (max(1.0, max(self._levels.sizes[0]) / side),) * 2
        width, height = self._size(scale)
        step = max(1, int(BLOCK * self._levels.downsamples[self._level(scale)] / scale[0]))
        picture = np.empty((height, width, 3), np.uint8)
        tops = tqdm(range(0, height, step), desc=f"looking over {self.path.name}", leave=False, delay=2)
        for top in tops:  # minutes where a large file has one level only
            for left in range(0, width, step):
                self._look(picture, scale, left, top, step)
        return picture

    def _look(self, picture: np.ndarray, scale: tuple[float, float], left: int, top: int, side: int) -> None:
        """Fill a square of an overview; where the file is damaged, in ever smaller squares."""
        block = picture[top : top + side, left : left + side]
        if not block.size:
            return
        try:
            block[:] = self._resample(scale, left, top, block.shape[1], block.shape[0])
        except UnreadableRegion:
            if side * scale[0] <= SMALLEST * self._levels.downsamples[self._level(scale)] or side == 1:
                block[:] = UNREADABLE
                return
            half = -(-side // 2)
            for down, across in itertools.product((0, half), repeat=2):
                self._look(picture, scale, left + across, top + down, half)

    def _level(self, scale: tuple[float, float]) -> int:
        """The coarsest level that is at least as fine as `scale`."""
        fine = [d <= min(scale) * (1 + 1e-6) for d in self._levels.downsamples]
        return max(0, sum(fine) - 1)

    def _size(self, scale: tuple[float, float]) -> tuple[int, int]:
        level = self._level(scale)
        downsample, size = self._levels.downsamples[level], self._levels.sizes[level]
        width, height = (int(px * downsample / s + 1e-6) for px, s in zip(size, scale, strict=True))
        return max(1, width), max(1, height)

    def _resample(self, scale: tuple[float, float], *box: int) -> np.ndarray:
        """The region `box` (left, top, width, height; in px of `scale` full-resolution px each)."""
        left, top, width, height = box
        level = self._level(scale)
        ratio = np.array(scale) / self._levels.downsamples[level]  # px of the level per px given out
        if (ratio == 1).all():
            return np.array(self._levels.region(level, left, top, width, height))
        # The pixels around the region belong to the kernel too: without them the borders would show.
        margin = np.ceil(2 * np.maximum(ratio, 1))
        start, end = ratio * (left, top), ratio * (left + width, top + height)
        first = np.maximum(np.floor(start) - margin, 0).astype(int)
        last = np.minimum(np.ceil(end) + margin, self._levels.sizes[level]).astype(int)
        region = self._levels.region(level, *first.tolist(), *(last - first).tolist())
        inside = (*(start - first), *np.minimum(end - first, last - first))
        return np.array(region.resize((width, height), Image.Resampling.BICUBIC, box=inside))


def _scale(
    own: tuple[float, float], downsamples: Sequence[float], mpp: float
) -> tuple[tuple[float, float], float]:
    """Full-resolution px per px given out, along x and y, and the um/px that come of it."""
    for downsample in downsamples:
        if all(abs(size * downsample / mpp - 1) <= TOLERANCE for size in own):
            return (downsample, downsample), sum(own) / 2 * downsample
    return (mpp / own[0], mpp / own[1]), mpp


def open_source(path: Path, mpp: float = MPP, source_mpp: float | None = None) -> Source:
    """Open a slide or a plain image for reading at `mpp` um/px.

    Args:
        path: a file with one of nuclei.slides.readers.SUFFIXES.
        mpp: the wanted resolution. A finer slide is reduced to it; a coarser one is enlarged, which is told
            once on stderr; one within TOLERANCE of it, or with a level that is, is taken as it is.
        source_mpp: the resolution of the file where it states none: of a slide without one, and of every
            plain image. None leaves plain images at their own, unknown, resolution.

    Raises:
        InputError: no such file or no right to read it, broken, of an unknown format, too large for a
            plain image, or a slide without um/px when source_mpp is None.
    """
    path = Path(path)
    if not all(0 < size < math.inf for size in (mpp, source_mpp) if size is not None):
        raise InputError("--mpp and --source-mpp are um/px, above 0")
    try:
        path.open("rb").close()
        levels = open_levels(path)
    except InputError:
        raise
    except OSError as error:
        if error.strerror is None:  # not the system's: the decoder found a file that ends too early, say
            raise unreadable(path, "an image or slide", error) from error
        raise InputError(f"{path} cannot be opened: {error.strerror}; check its permissions") from error
    except Exception as error:  # the decoders raise types of their own
        raise unreadable(path, "an image or slide", error) from error
    own = levels.mpp or (None if source_mpp is None else (source_mpp, source_mpp))
    if own is None and levels.is_slide:
        levels.close()
        raise InputError(
            f"{path} does not state its resolution{levels.hint}; pass it in um/px, such as --source-mpp 0.25"
        )
    source = Source(path, levels, own, mpp)
    if own is not None and min(own) > mpp * (1 + TOLERANCE):
        _warn_once(
            f"{path} has {min(own):.3g} um/px and is enlarged to {mpp:.3g}; "
            f"finer detail is not in it (--mpp {min(own):.3g} would take it as it is)"
        )
    return source


def is_done_by_blocks(path: Path, mpp: float, source_mpp: float | None = None) -> bool:
    """Whether an image is segmented block by block: a slide, a large image, or one to be resampled to `mpp`.

    InputError as in `open_source`.
    """
    if path.suffix.lower() not in SUFFIXES:
        return False
    with open_source(path, mpp, source_mpp) as source:
        return source.is_slide or max(source.width, source.height) > SLIDE_SIDE or source.scale != (1, 1)


def fingerprint(path: Path) -> str:
    """What tells the file of an image from another one: its bytes, and a digest of the first HEAD of them."""
    with path.open("rb") as file:
        return f"{path.stat().st_size}-{digest([file.read(HEAD)])}"


@functools.cache
def _warn_once(line: str) -> None:
    log.warning(line)


def tissue_mask(overview: np.ndarray) -> np.ndarray:
    """Where a slide shows tissue, not glass: (h, w, 3) uint8 RGB overview -> (h, w) bool.

    Stained tissue is saturated and glass is grey (Lu et al., CLAM, 2021): the saturation, smoothed, above
    Otsu's threshold. That threshold is kept between 8 and 16 of 255, since Otsu splits a picture in two even
    when it is all tissue or all glass. Near black, saturation is noise; green is a pen.
    """
    hue, saturation, value = cv2.split(cv2.cvtColor(cv2.medianBlur(overview, 7), cv2.COLOR_RGB2HSV))
    otsu, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    green = (hue > 35) & (hue < 95)  # of 180; no stain of tissue is there
    mask = (saturation > np.clip(otsu, 8, 16)) & (value > 40) & ~green
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
