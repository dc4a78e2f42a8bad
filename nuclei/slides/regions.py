"""A region of interest of a slide, as QuPath exports it."""

from __future__ import annotations

import logging
from pathlib import Path

import shapely

from nuclei.errors import InputError
from nuclei.io.files import as_read
from nuclei.outlines import geojson
from nuclei.outlines.polygons import mend

_SUFFIXES = (".geojson", ".geojson.gz")

log = logging.getLogger(__name__)


def find_region(place: Path, slide: Path) -> Path | None:
    """The region of a slide: the file `place` itself, or that of the slide's name in the folder `place`.

    Returns:
        None where the folder has none: the whole slide is meant.

    Raises:
        InputError: `place` does not exist, or has two regions of the slide.
    """
    if not place.exists():
        raise InputError(
            f"{place} does not exist; --region is a GeoJSON file, or a folder of <slide>.geojson"
        )
    if not place.is_dir():
        return place
    # QuPath offers to save the objects of a.svs as a.svs.geojson.
    names = {as_read(name + suffix).lower() for name in (slide.stem, slide.name) for suffix in _SUFFIXES}
    found = sorted(path for path in place.iterdir() if as_read(path.name).lower() in names)
    if len(found) > 1:
        raise InputError(f"{found[0]} and {found[1].name} are both regions of {slide.name}; keep one of them")
    if not found:
        log.info("%s has no region in %s/: the whole slide is segmented", slide.name, place)
    return found[0] if found else None


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
