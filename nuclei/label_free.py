"""The baseline that needs no annotation: Otsu's threshold on the haematoxylin stain, then a watershed.

Every learned result has to beat it. Its constants were fixed beforehand, for 40x (0.25 um per px, where
a typical nucleus has a radius of 6 to 12 px), and are not fitted to any data set.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import disk, remove_small_objects
from skimage.segmentation import watershed

STAIN_SIGMA = 1.5  # px; smooths chromatin texture, which is finer than a nucleus
OPENING_RADIUS = 2  # px; cuts bridges and removes specks thinner than 5 px
MIN_AREA = 40  # px; a disc of radius 3.5 px, smaller than any whole nucleus
DISTANCE_SIGMA = 1.0  # px; a ragged border would raise false peaks
MIN_DISTANCE = 6  # px between the centres of two nuclei: one small radius


def segment(image: np.ndarray) -> np.ndarray:
    """Find the nuclei of an H&E image at 40x.

    An image without nuclei gets noise: Otsu's threshold always divides what it is given in two.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        (H, W) int32, 0 = background, 1..N = nuclei.

    >>> image = np.full((64, 64, 3), (230, 180, 210), np.uint8)  # eosin
    >>> for row, column in ((20, 20), (40, 44)):
    ...     image[row - 8 : row + 8, column - 8 : column + 8] = 110, 60, 150  # haematoxylin
    >>> int(segment(image).max())
    2
    """
    haematoxylin = gaussian(rgb2hed(image)[..., 0], STAIN_SIGMA)
    foreground = haematoxylin > threshold_otsu(haematoxylin)
    foreground = ndimage.binary_opening(foreground, disk(OPENING_RADIUS))
    foreground = ndimage.binary_fill_holes(remove_small_objects(foreground, max_size=MIN_AREA - 1))
    return split(foreground)


def split(foreground: np.ndarray) -> np.ndarray:
    """Divide an (H, W) bool mask at its waists: watershed from the peaks of the distance to its border."""
    components, _ = ndimage.label(foreground)
    distance = gaussian(ndimage.distance_transform_edt(foreground), DISTANCE_SIGMA)
    peaks = peak_local_max(distance, min_distance=MIN_DISTANCE, labels=components, exclude_border=False)
    markers = np.zeros(foreground.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-distance, markers, mask=foreground).astype(np.int32)
