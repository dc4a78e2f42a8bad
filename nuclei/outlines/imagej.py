"""ImageJ's regions of interest: a zip with one ROI a nucleus, as its ROI Manager saves and opens it.

The integer coordinates of polygon, freehand and traced selections are corners of pixels: a traced selection
(0, 0), (2, 0), (2, 2), (0, 2) holds four pixels.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np
import roifile
import shapely
from roifile import ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from nuclei.errors import InputError, unreadable
from nuclei.io.files import atomic_file
from nuclei.outlines.polygons import mend
from nuclei.outlines.shapes import Annotation, Shape, image_name, polygon

logging.getLogger("roifile").addHandler(logging.NullHandler())  # a broken file gets our one line only
_MOVE, _LINE, _CLOSE = 0, 1, 4  # of java.awt.geom.PathIterator
_AREAS = (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED, ROI_TYPE.RECT, ROI_TYPE.OVAL)


def write(path: Path, nuclei: Sequence[shapely.Geometry], image: str) -> None:
    """Write a zip of ROIs 0001, 0002, ...; InputError where the file cannot be written.

    A nucleus in one piece becomes a traced selection, one of several parts or with holes a composite.

    Args:
        path: the `.zip`, written atomically.
        nuclei: Polygons or MultiPolygons with integer coordinates from 0 to 60,000, px.
        image: name of the image, kept in the properties of every ROI.
    """
    rois = []
    for number, nucleus in enumerate(nuclei, 1):
        simple = nucleus.geom_type == "Polygon" and not nucleus.interiors
        roi = _traced(nucleus) if simple else _composite(nucleus)
        roi.name = f"{number:04d}"
        roi.properties = {"image": image_name(image)}
        rois.append(roi)
    with atomic_file(path) as temporary:
        roifile.roiwrite(temporary, rois, mode="w")


def _traced(nucleus: shapely.Polygon) -> ImagejRoi:
    roi = ImagejRoi.frompoints(np.asarray(nucleus.exterior.coords[:-1], int))
    roi.roitype = ROI_TYPE.TRACED
    return roi


def _composite(nucleus: shapely.Geometry) -> ImagejRoi:
    path: list[float] = []
    for part in shapely.get_parts(nucleus):
        for ring in (part.exterior, *part.interiors):
            first, *others = ring.coords[:-1]
            path += [_MOVE, *first]
            for corner in others:
                path += [_LINE, *corner]
            path.append(_CLOSE)
    roi = ImagejRoi()
    roi.roitype = ROI_TYPE.RECT
    roi.left, roi.top, roi.right, roi.bottom = map(int, nucleus.bounds)
    roi.multi_coordinates = np.array(path, np.float32)
    roi.shape_roi_size = len(path)
    return roi


def read(path: Path) -> Annotation:
    """Read the area selections of a `.zip` of ROIs or of a single `.roi`.

    Raises:
        InputError: a broken file, a selection that is no area, such as a line or points, or selections on
            several images of a stack.
    """
    try:
        rois = [ImagejRoi.frombytes(content) for content in _contents(path)]
        shapes = [_shape(roi, f"{path}: ROI {roi.name or n}") for n, roi in enumerate(rois, 1)]
        images = {(roi.position, roi.z_position, roi.t_position) for roi in rois} - {(0, 0, 0)}
    except InputError:
        raise
    except Exception as error:  # roifile and zipfile raise errors of many types
        raise unreadable(path, "ImageJ ROIs", error, "save it again") from error
    if len(images) > 1:  # of a stack; a ROI without a position lies on all of them
        raise InputError(
            f"{path} has ROIs on {len(images)} images of a stack; save those of each by themselves"
        )
    return Annotation(str(path), shapes, to_split="split it in the ROI Manager: More > Split")


def _contents(path: Path) -> list[bytes]:
    """What the ROIs of a file hold; those of a zip may share a name, which roifile does not expect."""
    if path.suffix.lower() != ".zip":
        return [path.read_bytes()]
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        names = [entry.filename.rpartition("/")[2] for entry in entries]
        # macOS adds a hidden file for each.
        return [archive.read(entry) for entry, name in zip(entries, names, strict=True) if name[:1] != "."]


def _shape(roi: ImagejRoi, where: str) -> Shape:
    is_written_on = roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.IMAGE)  # in a rectangle
    if roi.roitype not in _AREAS or is_written_on:
        kind = (roi.subtype if is_written_on else roi.roitype).name.lower()
        raise InputError(f"{where} is a {kind}, not an area; outline that nucleus or delete the ROI")
    rings = roi.coordinates(multi=True)
    if roi.roitype == ROI_TYPE.OVAL:
        rings = [ring[:-1] for ring in rings]  # the last point is the first, but for a rounding
    rings = [polygon([ring], where) for ring in rings]
    if len(rings) > 1:  # of a composite, where ImageJ fills what is inside of an odd number of rings
        rings = [reduce(shapely.symmetric_difference, map(mend, rings))]
    return Shape(rings[0], where, image=str(roi.properties.get("image", "")))
