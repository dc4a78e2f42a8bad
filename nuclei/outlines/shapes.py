"""What the annotation formats share: their names, the objects a file holds, and reading with clear errors.

All formats place (0, 0) at the upper left corner of the first pixel, whose centre is (0.5, 0.5); x runs to
the right, y down, in px. Each has a module with `write`, which takes polygons as
`nuclei.outlines.polygons.outlines` makes them, and `read`, which gives back what the file says;
nuclei.outlines.checks checks that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

import numpy as np
import shapely

from nuclei.errors import InputError
from nuclei.io.files import write_text
from nuclei.io.images import IMAGE_SUFFIXES

Format = Literal["geojson", "labelme", "imagej", "label_tiff", "coco"]
SUFFIXES: dict[Format, str] = {
    "geojson": ".geojson",
    "labelme": ".json",
    "imagej": ".zip",
    "label_tiff": ".tif",
}  # of the formats with one file an image
COCO_FILE = "coco.json"
NUCLEUS = "nucleus"  # the class of what is written


@dataclass(frozen=True)
class Shape:
    """One object as a tool stored it."""

    outline: shapely.Geometry  # Polygon or MultiPolygon, px; may be empty or cross itself
    where: str  # "a.geojson: feature 3", for messages
    kind: str = ""  # its class, where the tool knows classes
    image: str = ""  # name of the image that it was drawn on, where the file says so
    score: float | None = None  # how sure a network was of it, 0..1, where the file says so


@dataclass(frozen=True)
class Annotation:
    """What a file holds about one image."""

    where: str  # the file, for messages
    shapes: list[Shape]
    size: tuple[int, int] | None = None  # (H, W) of that image in px, where the file says so
    to_split: str = "outline each nucleus by itself"  # how its tool splits an object of several nuclei


def image_name(text: str) -> str:
    """The name of an image without its folders, on whatever system, and without its suffix."""
    path = PureWindowsPath(text)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name


def field(record: object, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """`record[name]`, which must be a `kind`; otherwise an InputError that begins with `where`."""
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise InputError(f"{where} has no valid {name!r}; export the file again")
    return value


def write_compact(path: Path, content: object) -> None:
    """Write JSON without spaces, atomically: a slide has hundreds of thousands of nuclei."""
    write_text(path, json.dumps(content, separators=(",", ":")))


def points(values: object, where: str) -> np.ndarray:
    """(N, 2) float x and y, px; InputError where they are not finite numbers."""
    try:
        array = np.asarray(values, float)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.size == 0:
        return np.zeros((0, 2))
    if array.ndim != 2 or array.shape[1] < 2 or not np.isfinite(array).all():
        raise InputError(f"{where} has coordinates that are not pairs of finite numbers; draw it again")
    return array[:, :2]


def polygon(rings: Sequence, where: str) -> shapely.Polygon:
    """A polygon from its outer ring and its holes, each a list of (x, y) px, closed or not.

    Fewer than three points make an empty polygon. InputError where coordinates are not finite numbers.
    """
    if not isinstance(rings, Sequence) or len(rings) == 0:
        return shapely.Polygon()
    shell, *holes = [points(ring, where) for ring in rings]
    if len(shell) < 3:
        return shapely.Polygon()
    return shapely.Polygon(shell, [hole for hole in holes if len(hole) >= 3])


def together(parts: Iterable[shapely.Geometry]) -> shapely.Geometry:
    """The only part, or all parts as a MultiPolygon, which is valid where they do not overlap."""
    parts = shapely.get_parts(list(parts))
    parts = [part for part in parts if not part.is_empty]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
