"""Where the patches of an image are cut: on a grid, and of a slide only where it shows tissue."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import cv2
import numpy as np

from nuclei.folders.patches import starts
from nuclei.io.images import write_image
from nuclei.slides.slide import Source, tissue_mask

log = logging.getLogger(__name__)

TISSUE_SHARE = 0.25  # of a slide's patch; what has less is left out
MASK_PX = 32  # px of the slide to one px of its tissue mask: 8 um at 0.25 um/px
MASK_SIDES = (1024, 4096)  # px, the shortest and longest mask of a slide
OVERVIEW = 1024  # px, the longer side of an overview picture


def grid(width: int, height: int, size: int, stride: int) -> list[tuple[int, int]]:
    """(left, top) of the patches that cover an image, row by row; all in px."""
    lefts = starts(width, size, stride)
    return [(left, top) for top in starts(height, size, stride) for left in lefts]


def find_places(source: Source, size: int, stride: int, overview: Path | None) -> list[tuple[int, int]]:
    """(left, top) of the patches, row by row: of a slide only those on tissue.

    Writes the picture `overview` too, unless it is None or there already, since both need the whole image.
    """
    places = grid(source.width, source.height, size, stride)
    missing = None if overview is None or overview.exists() else overview
    if source.is_slide:
        side = int(np.clip(max(source.width, source.height) / MASK_PX, *MASK_SIDES))
        picture = source.overview(side)
        places = _on_tissue(places, size, tissue_mask(picture), source)
        if not places:
            log.warning("%s shows no tissue and is passed over", source.path)
    elif missing:
        picture = source.overview(OVERVIEW)
    if missing:
        write_image(missing, _shrink(picture, OVERVIEW))
    return places


def _on_tissue(
    places: list[tuple[int, int]], size: int, mask: np.ndarray, source: Source
) -> list[tuple[int, int]]:
    """Those whose share of tissue in `mask`, which covers the whole source, is TISSUE_SHARE or more."""
    across, down = mask.shape[1] / source.width, mask.shape[0] / source.height

    def share(left: int, top: int) -> float:
        rows = slice(int(top * down), math.ceil((top + size) * down))
        columns = slice(int(left * across), math.ceil((left + size) * across))
        return mask[rows, columns].mean()

    return [place for place in places if share(*place) >= TISSUE_SHARE]


def _shrink(picture: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(picture.shape)
    if scale >= 1:
        return picture
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
