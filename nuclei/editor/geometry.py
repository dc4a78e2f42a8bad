"""Geometry that the editor needs beside shapely's: outlines without stairs, and how far two are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from nuclei.errors import InputError

TOLERANCE = 0.75  # px; outlines of programs follow the stairs of pixels, which nobody wants to correct


def smoothed(shape: shapely.Geometry) -> shapely.Polygon:
    """The largest part of an outline, without holes and without the stairs of its pixels."""
    part = largest_part(shape)
    smooth = largest_part(shapely.simplify(part, TOLERANCE))
    return part if smooth.is_empty else smooth


def largest_part(shape: shapely.Geometry) -> shapely.Polygon:
    """The largest polygon of a geometry, without holes; an empty one where there is none."""
    parts = [part for part in shapely.get_parts(shape) if isinstance(part, shapely.Polygon)]
    if not parts:
        return shapely.Polygon()
    return shapely.Polygon(max(parts, key=lambda part: part.area).exterior)


def grown(shape: shapely.Geometry, by: float, others: Sequence[shapely.Geometry] = ()) -> shapely.Geometry:
    """An outline moved outwards by so many px, inwards where negative; what is new leaves out `others`."""
    larger = shapely.simplify(shape.buffer(by), 0.1)  # each corner becomes an arc of many
    near = [other for other in others if other.intersects(larger)]
    return larger.difference(shapely.union_all(near).difference(shape)) if near and by > 0 else larger


def overlap(one: shapely.Geometry, other: shapely.Geometry) -> float:
    """Intersection over union."""
    if not one.intersects(other):
        return 0.0
    common = one.intersection(other).area
    return common / (one.area + other.area - common)


def points_of(points: Sequence[Sequence[float]], fewest: int) -> np.ndarray:
    """(N, 2) float; InputError where they are not at least `fewest` pairs of finite numbers."""
    try:
        array = np.asarray(points, float)
    except (TypeError, ValueError):
        array = np.zeros(0)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) < fewest or not np.isfinite(array).all():
        raise InputError("this is no outline; draw it again")
    return array
