"""How well a synthetic pair resembles real tissue: copies, stain, edges and rings at the outlines, ghosts.

Images are (H, W, 3) uint8 RGB, label images (H, W) integer with 0 = background.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from skimage.color import rgb2hed
from sklearn.metrics import roc_auc_score

from nuclei import label_free

NEAR, FAR = 1.0, 3.0  # px from the outline: the bands inside and outside, centred at 2 px
REACH = 6  # px outside the outlines, and inside, over which haematoxylin is followed
RING, AROUND = (1.0, 3.0), (4.0, 8.0)  # px outside: the ring of a nucleus, and what lies around it
FEWEST = 5  # px of either by which a nucleus counts
TAIL = 10  # %, the nuclei with the palest rings, and those with the darkest
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


def rings(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How much paler the ring of each nucleus is than what lies around it, (N,) optical density.

    Of nuclei with too little background around them there is none. Above 0 a ring is pale, below it dark.
    """
    if not labels.any():
        return np.zeros(0)
    density = -np.log10((image.astype(np.float64) + 1) / 256).mean(axis=2)
    far, (rows, columns) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    nearest = labels[rows, columns]
    means, enough = [], np.ones(labels.max() + 1, bool)
    for low, high in (RING, AROUND):
        band = (far > low) & (far <= high)
        counts = np.bincount(nearest[band], minlength=len(enough))
        sums = np.bincount(nearest[band], density[band], minlength=len(enough))
        means.append(sums / np.maximum(counts, 1))
        enough &= counts >= FEWEST
    return (means[1] - means[0])[enough]


def rings_off(values: np.ndarray, real: np.ndarray) -> float:
    """By how much the palest, or darkest, `rings` of synthetic nuclei exceed those of real ones, density.

    A nucleus that is pasted with surroundings that are not those of its new place has such a ring. At least
    0; 0 too where there is none of either kind.
    """
    if not len(values) or not len(real):
        return 0.0
    ends = [np.percentile(each, (TAIL, 100 - TAIL)) for each in (values, real)]
    return float(max(ends[1][0] - ends[0][0], ends[0][1] - ends[1][1], 0))


def ghosts(image: np.ndarray, labels: np.ndarray) -> float:
    """Spots stained like nuclei where no outline is, for each nucleus that there is.

    They are what the label-free baseline finds outside the outlines, as large as nuclei of the image are.
    """
    areas = np.unique(labels[labels > 0], return_counts=True)[1]
    if not len(areas):
        return 0.0
    found = label_free.segment(image)
    ids, sizes = np.unique(found[found > 0], return_counts=True)
    outlined = np.bincount(found.ravel(), (labels > 0).ravel(), minlength=found.max() + 1)[ids]
    return float(((sizes >= np.percentile(areas, TAIL)) & (outlined < 0.1 * sizes)).sum() / len(areas))
