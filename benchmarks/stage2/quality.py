"""Measures of synthetic H&E patches: realism, diversity, copies, and the nuclei's edges at their outlines.

Images are (H, W, 3) uint8 RGB, label images (H, W) integer with 0 = background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

from nuclei.evaluation.realism import largest_correlation
from nuclei.report.measures import compare
from nuclei.selection.features import efficientnet_lite0_weights

LAYERS = {4: 2, 8: 4}  # px from one position to the next -> the last block of EfficientNet-Lite0 that has it
MEAN, STD = 127.0, 128.0  # grey levels that the network expects (see `nuclei.selection.features`)
SMOOTHING = 2.0  # px; two images that differ by finer noise only are the same image


Pair = tuple[np.ndarray, np.ndarray]  # an image and its labels


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and covariance (D, D), float64."""

    mean: np.ndarray
    covariance: np.ndarray


def feature_gaussians(image: np.ndarray) -> dict[int, Gaussian]:
    """The Gaussian of the features at all positions of an image, for each stride of `LAYERS`.

    The features are those of EfficientNet-Lite0 on ImageNet: 24 at every fourth pixel, 40 at every eighth.
    """
    found = {}
    with torch.inference_mode():
        network = _network()
        x = (torch.from_numpy(image.copy()).permute(2, 0, 1)[None] - MEAN) / STD
        x = network._swish(network._bn0(network._conv_stem(x)))
        for number, block in enumerate(network._blocks[: max(LAYERS.values()) + 1]):
            x = block(x)
            found[number] = x
    return {stride: fit_gaussian(found[last][0].flatten(1).T.numpy()) for stride, last in LAYERS.items()}


@cache
def _network() -> EfficientNet:
    network = EfficientNet.from_name("efficientnet-lite0", image_size=None)  # padded for whatever size comes
    weights = {name: torch.from_numpy(values) for name, values in efficientnet_lite0_weights().items()}
    network.load_state_dict(weights)
    return network.eval()


def fit_gaussian(points: np.ndarray) -> Gaussian:
    """The Gaussian of points (N, D), N at least 2."""
    points = points.astype(np.float64)
    return Gaussian(points.mean(axis=0), np.atleast_2d(np.cov(points.T)))


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """The squared Frechet (2-Wasserstein) distance: |m - n|^2 + tr(A + B - 2 (A B)^(1/2)).

    Between the features of two images at all positions of a low layer it is the single-image FID (SIFID)
    of Shaham et al., "SinGAN", ICCV 2019. Source: Dowson and Landau, Journal of Multivariate Analysis 12,
    1982.
    """
    values, vectors = np.linalg.eigh(first.covariance)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    # A^(1/2) B A^(1/2) has the eigenvalues of A B, but is symmetric: they stay real, even for singular A.
    shared = np.sqrt(np.linalg.eigvalsh(root @ second.covariance @ root).clip(min=0)).sum()
    spread = np.trace(first.covariance) + np.trace(second.covariance) - 2 * shared
    return float(max(np.square(first.mean - second.mean).sum() + spread, 0))


def difference(first: np.ndarray, second: np.ndarray, where: np.ndarray | None = None) -> float:
    """Mean absolute difference of two smoothed images, in grey levels, 0..255.

    Args:
        first, second: images of one size.
        where: (H, W) bool, the pixels that count, all by default; nothing else bleeds into them.

    Returns:
        The mean over the pixels and the colours; 0 where no pixel counts.
    """
    weights = np.ones(first.shape[:2], np.float32) if where is None else where.astype(np.float32)
    gap = cv2.GaussianBlur((first.astype(np.float32) - second) * weights[..., None], (0, 0), SMOOTHING)
    share = cv2.GaussianBlur(weights, (0, 0), SMOOTHING)
    inside = weights > 0
    return float(np.abs(gap[inside] / share[inside, None]).mean()) if inside.any() else 0.0


def background_difference(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> float:
    """The `difference` of two (image, labels) pairs where both are background."""
    return difference(first[0], second[0], (first[1] == 0) & (second[1] == 0))


def quality(pairs: Sequence[Pair], real: Pair) -> dict[str, float]:
    """Fidelity, realism, copies and edges of pairs beside a real one (see `gan`), means over the pairs."""
    target = feature_gaussians(real[0])
    gaussians = [feature_gaussians(image) for image, _ in pairs]
    realism = {
        # Held-out patches may be of other tissue altogether, which a mean would go by.
        stride: float(np.median([frechet_distance(each[stride], target[stride]) for each in gaussians]))
        for stride in target
    }
    found = compare(pairs, real)
    return {
        "auc": found["auc"],
        "auc_gap": abs(found["auc"] - found["auc_real"]),
        "realism": realism[4],
        "realism_8": realism[8],
        "repeats": float(np.mean([largest_correlation(image, real[0]) for image, _ in pairs])),
        "boundary": found["contrast"],
        **{name: found[name] for name in ("edge", "rings", "ghosts")},
    }


def diversity(
    pairs: Sequence[Pair], again: Sequence[Pair], real: Pair, held_out: Sequence[Pair]
) -> dict[str, float]:
    """Differences (see `gan`) of pairs from other ones of the same layouts, and from each other, in turn."""
    alike = [difference(one, other) for (one, _), (other, _) in zip(pairs, again, strict=True)]
    others = [background_difference(*two) for two in zip(pairs, [*pairs[1:], pairs[0]], strict=True)]
    return {
        "diversity": float(np.mean(alike) / np.mean([difference(real[0], image) for image, _ in held_out])),
        "diversity_background": float(
            np.mean(others) / np.mean([background_difference(real, pair) for pair in held_out])
        ),
    }
