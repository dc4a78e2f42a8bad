"""Small slides for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile

TILE = 64  # px
GLASS = (242, 240, 243)  # RGB


def tissue(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: pink ground with purple discs, smooth enough to be resampled."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (230, 180, 210), np.uint8)
    for centre in rng.integers(0, (width, height), (height * width // 1200, 2)).tolist():
        cv2.circle(image, centre, 8, (110, 60, 150), thickness=-1)
    return cv2.GaussianBlur(image, (0, 0), 2)


def write_slide(
    path: Path, image: np.ndarray, mpp: float | None = 0.25, levels: Sequence[int] = (1, 4), **options: object
) -> Path:
    """A pyramid as Aperio writes it, which OpenSlide reads; lossless unless `options` say otherwise."""
    resolution = "" if mpp is None else f"|MPP = {mpp}"
    text = f"Aperio Image Library v11.0\n{image.shape[1]}x{image.shape[0]} |AppMag = 40{resolution}"
    return write_pyramid(path, image, levels, description=text, **options)


def write_pyramid(
    path: Path, image: np.ndarray, levels: Sequence[int] = (1, 4), subifds: bool = False, **options: object
) -> Path:
    """A tiled TIFF with the levels `image` reduced by each of `levels`, as pages or as SubIFDs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "rgb", "metadata": None} | options
    with tifffile.TiffWriter(path) as tiff:
        for number, factor in enumerate(levels):
            height, width = image.shape[0] // factor, image.shape[1] // factor
            level = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            branch = {"subifds": len(levels) - 1} if subifds and number == 0 else {}
            tiff.write(level, subfiletype=int(number > 0), **options, **branch)
    return path


def damage(path: Path, *tiles: int, level: int = 0) -> None:
    """Overwrite tiles of a slide, counted row by row, with what no codec can read."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.series[0].levels[level].keyframe
        places = [(page.dataoffsets[tile], page.databytecounts[tile]) for tile in tiles]
    with path.open("r+b") as file:
        for offset, count in places:
            file.seek(offset)
            file.write(b"\x55" * count)
