"""What is measured of every nucleus: size, shape, stain, and how close its neighbours are.

Names and units are those of QuPath wherever it has the same measurement, so that its measurement maps and
classifiers know them: lengths in µm, areas in µm^2, or in px where nobody knows the resolution. Stains are
absorbances (optical densities, decimal), taken apart with QuPath's own vectors for H&E.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import shapely

from nuclei.outlines.polygons import numbered, outlines

# They are slow to import: scripts check their settings without them.
if TYPE_CHECKING:
    import pandas as pd

NEARBY = 50.0  # µm, or px: the radius of the local density
SCORE, X, Y = "score", "Centroid X", "Centroid Y"  # of the last two with the unit

# Absorption of red, green and blue: QuPath's default stains of H&E. The third stain is what is left over.
_VECTORS = {"Hematoxylin": (0.651, 0.701, 0.290), "Eosin": (0.216, 0.801, 0.558)}
_WHITE = 255.0

# Steps to the pixels that share an edge, and to those that share a corner.
_SIDES, _CORNERS = ((-1, 0), (0, -1), (0, 1), (1, 0)), ((-1, -1), (-1, 1), (1, -1), (1, 1))
# Px of perimeter of a border pixel: by 1 + 2 for each border pixel beside it + 10 for each at a corner.
_WEIGHTS = np.zeros(50)
_WEIGHTS[[5, 7, 15, 17, 25, 27]] = 1
_WEIGHTS[[21, 33]] = np.sqrt(2)
_WEIGHTS[[13, 23]] = (1 + np.sqrt(2)) / 2


def unit(mpp: float | None) -> str:
    """The unit of lengths: "µm", or "px" where um/px is not known."""
    return "px" if mpp is None else "µm"


def measure(
    image: np.ndarray,
    labels: np.ndarray,
    mpp: float | None = None,
    polygons: Sequence[shapely.Geometry] | None = None,
) -> pd.DataFrame:
    """Size, shape and stain of every nucleus.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers, 0 = background.
        mpp: um/px; None: lengths are in px.
        polygons: the outlines of the nuclei, where they are known already.

    Returns:
        a row an id, in their order, of float32 columns. `Length` is the perimeter, corrected for the steps
        of the pixels; the axes are those of the ellipse of the same moments.

    >>> labels = np.zeros((40, 40), int)
    >>> labels[10:20, 10:30] = 1
    >>> table = measure(np.full((40, 40, 3), 255, np.uint8), labels, mpp=0.5)
    >>> float(table["Area µm^2"][0]), float(table["Solidity"][0]), float(table["Eosin: Mean"][0])
    (50.0, 1.0, 0.0)
    """
    import pandas as pd

    compact = numbered(labels)
    count = int(compact.max(initial=0))
    shapes = np.array(outlines(labels) if polygons is None else polygons, object)
    side, px = (1.0 if mpp is None else mpp), unit(mpp)
    area, major, minor = _ellipses(compact, count)
    length = _perimeters(compact, count) * side
    hulls = shapely.area(shapely.convex_hull(shapes)) if count else np.zeros(0)
    columns = {
        f"Area {px}^2": area * side**2,
        f"Length {px}": length,
        "Circularity": np.minimum(4 * np.pi * area * side**2 / np.maximum(length, 1e-9) ** 2, 1),
        "Solidity": area / np.maximum(hulls, 1e-9),
        "Eccentricity": np.sqrt(1 - (minor / np.maximum(major, 1e-9)) ** 2),
        f"Major axis {px}": major * side,
        f"Minor axis {px}": minor * side,
    }
    inside = compact > 0
    index, stains = compact[inside], absorbances(image[inside])
    for number, name in enumerate(_VECTORS):
        mean, deviation = _mean_and_deviation(index, stains[:, number], count, area)
        columns[f"{name}: Mean"], columns[f"{name}: Std.Dev."] = mean, deviation
    return pd.DataFrame({name: np.asarray(values, np.float32) for name, values in columns.items()})


def _ellipses(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area, and the axes of the ellipse of the same second moments, (N,) px, of the labels 1..N.

    As `skimage.measure.regionprops_table`, of all nuclei at once: a slide has a million.
    """
    y, x = np.nonzero(labels)
    index = labels[y, x]
    area = np.bincount(index, minlength=count + 1)[1:].astype(float)
    dx, dy = (values - np.bincount(index, values, count + 1)[index] / area[index - 1] for values in (x, y))
    xx, yy, xy = (np.bincount(index, v, count + 1)[1:] / area for v in (dx * dx, dy * dy, dx * dy))
    spread = np.hypot(2 * xy, xx - yy)
    return area, *(4 * np.sqrt(np.maximum(xx + yy + sign * spread, 0) / 2) for sign in (1, -1))


def _perimeters(labels: np.ndarray, count: int) -> np.ndarray:
    """(N,) px, of the labels 1..N, with the weights of `skimage.measure.perimeter`.

    Source: Benkrid & Crookes, "Design and FPGA implementation of a perimeter estimator", 2000.
    """
    padded = np.pad(labels, 2)

    def moved(array: np.ndarray, down: int, across: int, rim: int) -> np.ndarray:
        height, width = array.shape
        return array[rim + down : height - rim + down, rim + across : width - rim + across]

    centre = moved(padded, 0, 0, 1)
    inner = np.logical_and.reduce([moved(padded, *step, 1) == centre for step in _SIDES])
    border = np.where(inner, 0, centre)  # the number of a nucleus on its border pixels, else 0
    own = moved(border, 0, 0, 1)
    beside, across = (
        sum(((moved(border, *step, 1) == own).astype(np.int8) for step in steps), np.int8(0))
        for steps in (_SIDES, _CORNERS)
    )
    kind = 1 + 2 * beside + 10 * across
    return np.bincount(own.ravel(), _WEIGHTS[kind].ravel(), count + 1)[1:]


def _mean_and_deviation(
    index: np.ndarray, values: np.ndarray, count: int, area: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) each, of the values of the pixels whose nucleus is `index`, 1..N."""
    mean = np.bincount(index, values, count + 1)[1:] / area
    variance = np.bincount(index, (values - mean[index - 1]) ** 2, count + 1)[1:] / area
    return mean, np.sqrt(variance)


def absorbances(image: np.ndarray) -> np.ndarray:
    """Haematoxylin and eosin, (H, W, 2) float32 absorbance, of an (H, W, 3) uint8 RGB image."""
    stains = np.array([np.array(vector) / np.linalg.norm(vector) for vector in _VECTORS.values()])
    rest = np.cross(*stains)
    apart = np.linalg.inv(np.stack([*stains, rest / np.linalg.norm(rest)]))[:, :2].astype(np.float32)
    densities = -np.log10(np.maximum(np.arange(256), 1) / _WHITE).astype(np.float32)  # of each grey level
    return densities[image] @ apart


def centroids(polygons: np.ndarray, side: float = 1.0) -> np.ndarray:
    """(N, 2) float64 x and y of the centroids of N outlines, times `side`."""
    return shapely.get_coordinates(shapely.centroid(polygons)) * side


def neighbours(points: np.ndarray, mpp: float | None = None) -> pd.DataFrame:
    """How close the other nuclei are.

    Args:
        points: (N, 2) centroids of all nuclei of the image or slide, in the unit of lengths.
        mpp: as in `measure`; it names the unit.

    Returns:
        N rows: the distance to the nearest other nucleus, centre to centre (NaN where there is none), and how
        many others lie within NEARBY.
    """
    import pandas as pd
    from scipy.spatial import cKDTree

    px = unit(mpp)
    nearest, near = np.full(len(points), np.nan, np.float32), np.zeros(len(points), np.float32)
    if len(points) > 1:
        tree = cKDTree(points)
        for first in range(0, len(points), 100_000):  # not the answers for all of a slide at once
            some = slice(first, first + 100_000)
            nearest[some] = tree.query(points[some], k=2)[0][:, 1]
            near[some] = tree.query_ball_point(points[some], NEARBY, return_length=True) - 1
    return pd.DataFrame(
        {f"Distance to nearest nucleus {px}": nearest, f"Nuclei within {NEARBY:g} {px}": near}
    )


def table(
    image: np.ndarray, labels: np.ndarray, scores: np.ndarray | None = None, mpp: float | None = None
) -> pd.DataFrame:
    """All measurements of the nuclei of a whole image: the columns of `measure` and `neighbours`.

    Args:
        image, labels, mpp: as in `measure`.
        scores: (N,) of the ids in their order; None: no column `score`.

    Returns:
        a row an id: `id`, centroid (µm or px from the upper left corner), score, measurements.
    """
    import pandas as pd

    polygons = outlines(labels)
    points = centroids(np.array(polygons, object), 1.0 if mpp is None else mpp)
    head = pd.DataFrame({"id": np.setdiff1d(labels, 0)})
    head[f"{X} {unit(mpp)}"], head[f"{Y} {unit(mpp)}"] = points[:, 0], points[:, 1]
    if scores is not None:
        head[SCORE] = np.asarray(scores, np.float32)
    return pd.concat([head, measure(image, labels, mpp, polygons), neighbours(points, mpp)], axis=1)
