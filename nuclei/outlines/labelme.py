"""LabelMe's JSON, one file an image, which lies beside it.

A point is where the canvas was clicked, so (0, 0) is the corner of the first pixel. The canvas takes no point
beyond x = W - 1, y = H - 1; what is read from a file may reach the border. LabelMe's own conversion of
polygons to masks paints the outline as well, which makes a nucleus up to one pixel larger than it is here.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
from shapely.affinity import translate

from nuclei.errors import InputError
from nuclei.io.files import read_json
from nuclei.outlines.polygons import cover, outlines
from nuclei.outlines.shapes import (
    NUCLEUS,
    Annotation,
    Shape,
    field,
    image_name,
    points,
    together,
    write_compact,
)

VERSION = "5.5.0"  # of the format; LabelMe reads files of other versions too


def write(path: Path, nuclei: Sequence[shapely.Geometry], image: str, size: tuple[int, int]) -> None:
    """Write the nuclei of an image; InputError where the file cannot be written.

    The parts of a nucleus share a `group_id`. LabelMe's polygons have no holes, so that a part with holes
    becomes a shape of the type `mask`.

    Args:
        path: the file, beside the image, written atomically.
        nuclei: Polygons or MultiPolygons with integer coordinates, px.
        image: file name of the image, with its suffix.
        size: (H, W) of the image, px.
    """
    shapes = []
    for number, nucleus in enumerate(nuclei, 1):
        parts = shapely.get_parts(nucleus)
        group = number if len(parts) > 1 else None
        common: dict = {"label": NUCLEUS, "group_id": group, "description": "", "flags": {}, "mask": None}
        shapes += [common | (_mask(part) if part.interiors else _polygon(part)) for part in parts]
    about = {"imagePath": image, "imageData": None, "imageHeight": size[0], "imageWidth": size[1]}
    write_compact(path, {"version": VERSION, "flags": {}, "shapes": shapes} | about)


def _polygon(part: shapely.Polygon) -> dict:
    return {"shape_type": "polygon", "points": part.exterior.coords[:-1]}


def _mask(part: shapely.Polygon) -> dict:
    """As a PNG of its bounding box, and the first and last pixel of that box."""
    left, top, right, bottom = map(int, part.bounds)
    pixels = np.zeros((bottom - top, right - left), np.uint8)
    window, inside = cover(translate(part, -left, -top), pixels.shape)
    pixels[window][inside] = 255
    _, png = cv2.imencode(".png", pixels)
    corners = [[left, top], [right - 1, bottom - 1]]
    return {"shape_type": "mask", "points": corners, "mask": base64.b64encode(png.tobytes()).decode()}


def read(path: Path) -> Annotation:
    """Read polygons, rectangles, circles and masks; shapes of one label and `group_id` are one nucleus.

    Raises:
        InputError: broken JSON, or another kind of shape, such as a line or a point.
    """
    content = read_json(path)
    field(content, "shapes", list, str(path))
    height, width = content.get("imageHeight"), content.get("imageWidth")  # some tools leave them out
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    image = image_name(field(content, "imagePath", str, str(path)))
    grouped: dict[tuple, list[Shape]] = {}
    for number, record in enumerate(content["shapes"], 1):
        where = f"{path}: shape {number}"
        shape = Shape(_outline(record, where), where, field(record, "label", str, where), image)
        group = record.get("group_id")
        key = (shape.kind, str(group)) if group is not None else (number,)
        grouped.setdefault(key, []).append(shape)
    shapes = [_one(shapes) for shapes in grouped.values()]
    return Annotation(str(path), shapes, size, "give each of its shapes a group_id of its own, or none")


def _one(shapes: list[Shape]) -> Shape:
    first = shapes[0]
    return Shape(together(shape.outline for shape in shapes), first.where, first.kind, first.image)


def _outline(record: Any, where: str) -> shapely.Geometry:
    corners = points(field(record, "points", list, where), where)
    kind = record.get("shape_type") or "polygon"
    if kind in ("polygon", "oriented_rectangle") or (kind == "rectangle" and len(corners) == 4):
        return shapely.Polygon(corners) if len(corners) >= 3 else shapely.Polygon()
    if kind == "rectangle" and len(corners) == 2:
        return shapely.box(*corners.min(axis=0), *corners.max(axis=0))
    if kind == "circle" and len(corners) == 2:  # its centre and a point on it
        return shapely.Point(corners[0]).buffer(np.hypot(*(corners[1] - corners[0])))
    if kind == "mask" and len(corners) == 2:
        left, top = np.rint(corners[0])
        return together(translate(part, left, top) for part in outlines(_pixels(record, where)))
    raise InputError(f"{where} is a {kind}, not a polygon; outline that nucleus or delete the shape")


def _pixels(record: dict, where: str) -> np.ndarray:
    """(h, w) bool from the base64 PNG of a shape of the type `mask`."""
    text = field(record, "mask", str, where)
    try:
        png = base64.b64decode(text, validate=True)
    except ValueError:  # what is not base64, or not even ASCII
        png = b""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) if png else None
    if pixels is None:
        raise InputError(f"{where} has a mask that is not a PNG; draw it again")
    return pixels > 0
