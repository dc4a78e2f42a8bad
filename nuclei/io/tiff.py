"""TIFF files: which of their images counts, and whether its values are colours."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

from nuclei.errors import InputError
from nuclei.io import jpeg, orientation

TIFF_SUFFIXES = (".tif", ".tiff")
COLOURS: tuple[int, ...] = (
    tifffile.PHOTOMETRIC.MINISBLACK,
    tifffile.PHOTOMETRIC.RGB,
    tifffile.PHOTOMETRIC.YCBCR,
)
UM = {"nm": 1e-3, "µm": 1, "μm": 1, "mm": 1e3, "cm": 1e4}  # um in the units of OME-TIFF; there are two signs


def decode_tiff(path: Path, labels: bool) -> np.ndarray:
    """The pixels of the largest image of a file, at full resolution, as they are there.

    Args:
        path: the file.
        labels: whether it is a label image, whose values need not be colours.

    Raises:
        InputError: no image of colours where one is wanted.
        Exception: whatever tifffile and its codecs make of a broken file.
    """
    with tifffile.TiffFile(path) as tiff:
        series = largest(tiff)
        page = series.keyframe
        photometric = page.photometric
        if photometric not in COLOURS and not labels:
            # Indices of a palette, inks or inverted values would pass for grey or RGB.
            kind = tifffile.PHOTOMETRIC(photometric).name.lower()
            raise InputError(f"{path} is a {kind} TIFF; convert it to RGB")
        if photometric == tifffile.PHOTOMETRIC.YCBCR and not labels:
            check_colours(page, path)
        planes = series.shape[0] if series.ndim == 3 and series.shape[2] > 4 else 1
        if planes in (3, 4) and series.axes[0] not in "SC" and not labels:
            # So few pages, such as a stack in depth, would pass for colours.
            raise InputError(f"{path} is a stack of {planes} images; save the one to use by itself")
        orientation.warn_if_turned(path, orientation.of_tiff(page))
        _check_pieces(tiff, series)
        pixels = series.asarray()
        if not labels and page.extrasamples == (tifffile.EXTRASAMPLE.UNSPECIFIED,):
            # A further sample that is no transparency: what it means only its author knows.
            pixels = pixels[..., :-1] if pixels.shape[-1] in (2, 4) else pixels[:-1]
        premultiplied = page.extrasamples == (tifffile.EXTRASAMPLE.ASSOCALPHA,)
        if premultiplied and not labels and pixels.dtype.kind == "u":
            pixels = unmultiplied(pixels if pixels.shape[-1] in (2, 4) else np.moveaxis(pixels, 0, -1))
        return pixels


def _check_pieces(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """ValueError where a JPEG in the file is damaged, which tifffile's decoder does not tell."""
    if series.keyframe.compression not in jpeg.IN_TIFF:
        return
    pages = [page for page in series.pages if page is not None]
    for page in pages:
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            tiff.filehandle.seek(offset)
            jpeg.check_piece(series.keyframe, tiff.filehandle.read(count))


def unmultiplied(pixels: np.ndarray) -> np.ndarray:
    """Of unsigned (H, W, 2 or 4) whose colours are multiplied by the opacity, the last, the colours alone."""
    full = np.iinfo(pixels.dtype).max
    opacity = np.maximum(pixels[..., -1:], 1) / np.float32(full)
    colours = np.rint(pixels[..., :-1] / opacity).clip(0, full).astype(pixels.dtype)
    return np.concatenate([colours, pixels[..., -1:]], axis=-1)


def largest(tiff: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    """The largest image of a file, which may begin with a thumbnail; ValueError where the file is broken."""
    if not tiff.pages.first.dataoffsets:
        raise ValueError("its first page has no pixels")
    seen: set[int] = set()
    for page in tiff.pages:  # tifffile would follow them without end
        if page.offset in seen:
            raise ValueError("its pages lead back to earlier ones")
        seen.add(page.offset)
    return max(tiff.series, key=lambda series: math.prod(series.shape))


def check_colours(page: tifffile.TiffPage, path: Path) -> None:
    """InputError for a page in YCbCr that no JPEG decoder turns into RGB."""
    if page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression not in jpeg.IN_TIFF:
        raise InputError(f"{path} is a YCbCr TIFF without JPEG compression; convert it to RGB")


def stated_mpp(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    """um/px along x and y that the OME-XML or the resolution tags state; None where neither does."""
    if tiff.ome_metadata:
        pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
        x, y = (None if pixels is None else _um(pixels, axis) for axis in "XY")
        if x is not None and y is not None:
            return x, y
    page = largest(tiff).keyframe
    if page.resolutionunit not in (tifffile.RESUNIT.INCH, tifffile.RESUNIT.CENTIMETER):
        return None
    x, y = page.get_resolution(tifffile.RESUNIT.MICROMETER)
    return (1 / x, 1 / y) if x and y else None


def _um(pixels: ElementTree.Element, axis: str) -> float | None:
    """The side of a pixel in an OME-XML; None where it is not told, or in an unknown unit."""
    size, unit = pixels.get(f"PhysicalSize{axis}"), UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    return None if size is None or unit is None else float(size) * unit
