"""How well a synthetic pair resembles real tissue: copies, stain inside the outlines, edges at the outlines.

Images are (H, W, 3) uint8 RGB, label images (H, W) integer with 0 = background.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from skimage.color import rgb2hed
from sklearn.metrics import roc_auc_score

NEAR, FAR = 1.0, 3.0  # px from the outline: the bands inside and outside, centred at 2 px
REACH = 6  # px outside the outlines, and inside, over which haematoxylin is followed
CROP = 0.5  # share of the side of the middle part that is looked for in another image


def separation(image: np.ndarray, labels: np.ndarray) -> float:
    """How well haematoxylin alone separates nuclei from background: the area under the ROC curve, 0..1.

    Synthetic pairs that agree with their masks score about as high as the real pair.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) label image, with nuclei and background.
    """
    return float(roc_auc_score(labels.ravel() > 0, rgb2hed(image)[..., 0].ravel()))


def largest_correlation(image: np.ndarray, other: np.ndarray) -> float:
    """How well the middle of an image is found in another one: 1 for a copy, whatever its brightness.

    Args:
        image: its middle, half as high and wide, is what is looked for.
        other: where it is looked for, at every position, turned by quarters and mirrored.

    Returns:
        The largest normalised cross-correlation of the grey values, -1..1; 0 for a flat image.
    """
    grey, there = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (image, other))
    height, width = grey.shape
    rows, columns = round(height * CROP), round(width * CROP)
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = grey[top : top + rows, left : left + columns]
    # cv2 calls a flat template a perfect match everywhere.
    if middle.std() == 0 or there.std() == 0:
        return 0.0
    views = [np.rot90(flipped, turns) for flipped in (there, there[:, ::-1]) for turns in range(4)]
    found = [cv2.matchTemplate(np.ascontiguousarray(view), middle, cv2.TM_CCOEFF_NORMED) for view in views]
    return float(max(scores.max() for scores in found))


def boundary_gradient(image: np.ndarray, labels: np.ndarray) -> float:
    """By how much haematoxylin falls across the nuclei's outlines, in optical density per px.

    It is the mean 1 to 3 px inside less the mean 1 to 3 px outside, over the 4 px between the bands'
    middles; 0 where there is no outline. The border of the image is none.
    """
    haematoxylin = rgb2hed(image)[..., 0]
    means = []
    for region in (labels > 0, labels == 0):
        if region.all() or not region.any():
            return 0.0
        depth = ndimage.distance_transform_edt(region)
        band = (depth > NEAR) & (depth <= FAR)
        if not band.any():
            return 0.0
        means.append(haematoxylin[band].mean())
    return float((means[0] - means[1]) / (NEAR + FAR))


def edge_place(image: np.ndarray, labels: np.ndarray) -> float:
    """How far outside their outlines nuclei seem to end, px: there haematoxylin has fallen half of the way.

    The way is from the darkest distance inside to the farthest outside. Annotators draw along the inside or
    the outside of a blurred edge; what learns from pairs will draw where their edges are. 0 where there is
    no outline, or nothing falls.
    """
    if not labels.any() or labels.all():
        return 0.0
    outside, inside = (ndimage.distance_transform_edt(region) for region in (labels == 0, labels > 0))
    ring = np.floor(np.where(labels > 0, 0.5 - inside, outside - 0.5)).astype(int) + REACH
    near = (ring >= 0) & (ring < 2 * REACH)
    counts = np.bincount(ring[near], minlength=2 * REACH)
    sums = np.bincount(ring[near], rgb2hed(image)[..., 0][near], minlength=2 * REACH)
    rings = np.flatnonzero(counts)  # from the inside to the outside
    profile, middles = sums[rings] / counts[rings], rings + 0.5 - REACH
    darkest = profile[rings < REACH].argmax()
    if profile[-1] >= profile[darkest]:
        return 0.0
    half = (profile[darkest] + profile[-1]) / 2
    beyond = darkest + np.flatnonzero(profile[darkest:] < half)[0]
    two = [beyond, beyond - 1]
    return float(np.interp(half, profile[two], middles[two]))
