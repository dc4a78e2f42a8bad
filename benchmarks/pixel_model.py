"""A fast pixel classifier that turns annotated images into nuclei: a fixed yardstick for what they teach.

It is no rival of Mask R-CNN. It trains in two seconds, so that sets of annotated patches, or of synthetic
pairs, can be compared over hundreds of runs. Every pixel is described by Gaussian derivatives at several
scales, as in ilastik (Berg et al., Nature Methods 16, 2019), of haematoxylin, eosin and lightness, and
classified as background, inner border or interior of a nucleus; a watershed from the interiors parts the
nuclei.

It works at half of the resolution, 0.5 um per px at 40x. Its constants were fixed by full supervision and by
random patches on validation splits of Kumar's training images (docs/selection.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.feature import peak_local_max
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

KINDS = ("mlp", "trees")
BACKGROUND, BORDER, INTERIOR = range(3)
UNKNOWN = -1  # label of a pixel that nobody annotated

SCALES = (1.0, 2.0, 4.0, 8.0)  # sigmas, in px of half the resolution, as every length below
BAND = 1  # px, the width of the inner border of a nucleus
MASK_LEVEL = 0.45  # smallest probability of nucleus (border or interior) in one
SEED_SIGMA = 1.5  # px; smooths the map whose peaks are the seeds
SEED_DISTANCE = 3  # px between the seeds of two nuclei
SEED_LEVEL = 0.3  # px; smallest distance to the border, times the probability of interior, at a seed
MIN_AREA = 12  # px; 48 px at full resolution
STEPS = 900  # gradient steps of the MLP, whatever the number of pixels
BATCH = 512  # pixels a step
COPIES = 4  # of the pixels that the MLP learns from, each stained differently
SCALE_SD, SHIFT_SD = 0.2, 0.3  # of the logarithm of the factor, and of the offset, of a channel
COUNT = 3000  # pixels drawn from a 256 px patch
CHANNELS = 3  # haematoxylin, eosin, lightness
OF_SCALE = 4  # maps of each channel at each scale, the Gaussian first
CHUNK = 1 << 16  # pixels classified at once


def pixel_features(image: np.ndarray) -> np.ndarray:
    """Describe every pixel of an image at half of its resolution.

    Haematoxylin, eosin and lightness are brought to mean 0 and standard deviation 1 over the image; of each
    there are the value and, at every scale, Gaussian, gradient magnitude and the eigenvalues of the Hessian.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        (ceil(H / 2), ceil(W / 2), 51) float16.
    """
    height, width = image.shape[:2]
    half = cv2.resize(image, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    stains = rgb2hed(half)[..., :2].astype(np.float32)
    lightness = cv2.cvtColor(half, cv2.COLOR_RGB2LAB)[..., :1].astype(np.float32)
    channels = np.concatenate([stains, lightness], axis=2)
    mean, std = channels.mean((0, 1), np.float64), channels.std((0, 1), np.float64)
    channels = ((channels - mean) / np.maximum(std, 1e-4)).astype(np.float32)
    maps = [channels]
    for sigma in SCALES:
        maps += _derivatives(channels, sigma)
    return np.concatenate(maps, axis=2).astype(np.float16)


def _derivatives(channels: np.ndarray, sigma: float) -> list[np.ndarray]:
    """Gaussian, gradient magnitude and both eigenvalues of the Hessian, each (H, W, C), scale-normalised."""
    smooth = cv2.GaussianBlur(channels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    dy, dx = (sigma * np.gradient(smooth, axis=axis) for axis in (0, 1))
    dyy, dxx = sigma * np.gradient(dy, axis=0), sigma * np.gradient(dx, axis=1)
    dxy = sigma * np.gradient(dx, axis=0)
    centre, radius = (dyy + dxx) / 2, np.hypot((dyy - dxx) / 2, dxy)
    return [smooth, np.hypot(dy, dx), centre + radius, centre - radius]


def pixel_classes(labels: np.ndarray) -> np.ndarray:
    """Background, border or interior of every pixel at half of the resolution.

    Args:
        labels: (H, W) integer, 0 = background, 1..N = nuclei, UNKNOWN = not annotated.

    Returns:
        (ceil(H / 2), ceil(W / 2)) int8; UNKNOWN where it is so.
    """
    half = np.asarray(labels)[::2, ::2].astype(np.int32)
    size = 2 * BAND + 1
    uniform = ndimage.minimum_filter(half, size) == ndimage.maximum_filter(half, size)
    classes = np.where(uniform, INTERIOR, BORDER)
    classes = np.where(half == 0, BACKGROUND, classes)
    return np.where(half == UNKNOWN, UNKNOWN, classes).astype(np.int8)


def sample(classes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Flat indices of up to `count` annotated pixels, drawn evenly whatever their class."""
    known = np.flatnonzero(classes != UNKNOWN)
    return rng.choice(known, min(count, len(known)), replace=False)


@dataclass(frozen=True)
class PixelModel:
    """A fitted classifier; `segment` finds nuclei with it."""

    classifier: MLPClassifier | ExtraTreesClassifier | DummyClassifier
    step: int = 1  # px; 2 = classify every second one, interpolate between

    def segment(self, image: np.ndarray) -> np.ndarray:
        """Nuclei of an (H, W, 3) uint8 RGB image: (H, W) int32, 0 = background, 1..N."""
        return self.segment_features(pixel_features(image), image.shape[:2])

    def segment_features(self, features: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """The same from the features (h, w, F) of an image of `shape` (H, W)."""
        nuclei = instances(self.probabilities(features))
        enlarged = nuclei.repeat(2, axis=0).repeat(2, axis=1)
        return enlarged[: shape[0], : shape[1]]

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(h, w, 3) float32 of background, border and interior, from (h, w, F)."""
        height, width, length = features.shape
        grid = features[:: self.step, :: self.step]
        rows = grid.reshape(-1, length)
        chunks = [
            self.classifier.predict_proba(rows[start : start + CHUNK].astype(np.float32))
            for start in range(0, len(rows), CHUNK)
        ]
        found = np.concatenate(chunks).astype(np.float32)
        full = np.zeros((len(rows), 3), np.float32)  # a class that no image showed has probability 0
        full[:, self.classifier.classes_] = found
        full = full.reshape(*grid.shape[:2], 3)
        return cv2.resize(full, (width, height), interpolation=cv2.INTER_LINEAR) if self.step > 1 else full


def instances(probabilities: np.ndarray) -> np.ndarray:
    """Part the nuclei by a watershed: (h, w, 3) probabilities -> (h, w) int32 labels.

    Seeds are the peaks of the distance to the border times the probability of interior: the first parts
    nuclei at their waists, the second where the classifier sees a border between them.
    """
    mask = 1 - probabilities[..., BACKGROUND] > MASK_LEVEL
    mask = ndimage.binary_fill_holes(remove_small_objects(mask, max_size=MIN_AREA - 1))
    depth = ndimage.distance_transform_edt(mask).astype(np.float32) * probabilities[..., INTERIOR]
    depth = cv2.GaussianBlur(depth, (0, 0), SEED_SIGMA) * mask
    peaks = peak_local_max(
        depth,
        min_distance=SEED_DISTANCE,
        threshold_abs=SEED_LEVEL,
        exclude_border=False,
    )
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return watershed(-depth, seeds, mask=mask).astype(np.int32)


def restain(features: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """COPIES of pixels, one after the other, in each of which every group is stained a little differently.

    Each channel of a group has a random factor, on all that was computed of it, and a random offset, on its
    value and its Gaussians: derivatives do not see an offset.

    Args:
        features: (N, F) of `pixel_features`.
        groups: (N,) integer, 0, 1, ...; of each pixel, the patch or the image that it is from.
        rng: draws factors and offsets.

    Returns:
        (COPIES * N, F) float32.
    """
    channel = np.arange(features.shape[1]) % CHANNELS
    derived = np.arange(features.shape[1]) // CHANNELS  # 0 is the value
    shifted = (derived == 0) | (derived % OF_SCALE == 1)
    copies = []
    for _ in range(COPIES):
        factors = np.exp(rng.normal(0, SCALE_SD, (groups.max() + 1, CHANNELS)))[:, channel]
        offsets = rng.normal(0, SHIFT_SD, (groups.max() + 1, CHANNELS))[:, channel] * shifted
        copies.append(features * np.float32(factors[groups]) + np.float32(offsets[groups]))
    return np.concatenate(copies)


def fit_pixels(
    features: np.ndarray, classes: np.ndarray, groups: np.ndarray, kind: str = "mlp", seed: int = 0
) -> PixelModel:
    """Fit a classifier, one of `KINDS`, to pixels.

    The MLP learns from pixels stained at random (`restain`): so it can take the steps that many annotated
    images need without learning a few by heart. Trees lose by it and see the pixels as they are.

    Args:
        features: (N, F) of `pixel_features`.
        classes: (N,) of `pixel_classes`, none UNKNOWN.
        groups: (N,) as for `restain`.
        kind: "mlp" or "trees".
        seed: of the stains and of the classifier.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; there are {', '.join(KINDS)}")
    if (classes == classes[0]).all():
        classifier = DummyClassifier()
    elif kind == "mlp":
        features = restain(features, groups, np.random.default_rng(seed))
        classes = np.tile(classes, COPIES)
        epochs = max(1, round(STEPS * BATCH / len(features)))
        classifier = MLPClassifier(
            (64, 32), batch_size=BATCH, learning_rate_init=2e-3, max_iter=epochs, random_state=seed
        )
    else:
        classifier = ExtraTreesClassifier(24, min_samples_leaf=10, max_leaf_nodes=500, random_state=seed)
    # Matrices as small as a batch gain nothing by threads, and their sums would round differently elsewhere.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of steps is fixed on purpose
        classifier.fit(features.astype(np.float32), classes)
    return PixelModel(classifier, step=2)


def fit(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    kind: str = "mlp",
    seed: int = 0,
    count: int = COUNT,
) -> PixelModel:
    """Train on annotated images.

    Args:
        images: (H, W, 3) uint8 RGB each.
        labels: (H, W) integer each, 0 = background, 1..N = nuclei, UNKNOWN = not annotated.
        kind: "mlp" or "trees".
        seed: of the drawn pixels and of the classifier.
        count: pixels drawn from each image, whatever their class.

    Raises:
        ValueError: an unknown kind, or no annotated pixel.
    """
    rng = np.random.default_rng(seed)
    points, classes, groups = [], [], []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        found = pixel_classes(label).ravel()
        rows = sample(found, count, rng)
        described = pixel_features(image)
        points.append(described.reshape(-1, described.shape[-1])[rows])
        classes.append(found[rows])
        groups.append(np.full(len(rows), number))
    return fit_pixels(np.concatenate(points), np.concatenate(classes), np.concatenate(groups), kind, seed)
