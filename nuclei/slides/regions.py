"""A region of interest of a slide, as QuPath exports it."""

from __future__ import annotations

from pathlib import Path

import shapely

from nuclei.errors import InputError
from nuclei.outlines import geojson
from nuclei.outlines.polygons import mend


def find_region(place: Path, slide: Path) -> Path | None:
    """The region of a slide: the file `place` itself, or that of the slide's name in the folder `place`.

    Returns:
        None where the folder has none: the whole slide is meant.

    Raises:
        InputError: `place` does not exist.
    """
    if not place.exists():
        raise InputError(
            f"{place} does not exist; --region is a GeoJSON file, or a folder of <slide>.geojson"
        )
    if not place.is_dir():
        return place
    path = place / f"{slide.stem}.geojson"
    return path if path.exists() else None


def read_region(path: Path, scale: tuple[float, float]) -> shapely.Geometry:
    """The union of all annotations of a GeoJSON file.

    Args:
        path: the file, in full-resolution px.
        scale: full-resolution px per px of the answer, along x and y.

    Raises:
        InputError: it is broken, or has nothing with an area.
    """
    outlines = [mend(shape.outline) for shape in geojson.read(path).shapes]
    region = shapely.union_all(outlines) if outlines else shapely.Polygon()
    if region.is_empty:
        raise InputError(f"{path} has no annotation with an area; outline the region in QuPath and export it")
    return shapely.transform(region, lambda corners: corners / scale)
