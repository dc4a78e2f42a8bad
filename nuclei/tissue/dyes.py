"""How much haematoxylin and eosin each pixel takes."""

from __future__ import annotations

import cv2
import numpy as np

from nuclei.tissue.fields import random_field, sigmoid
from nuclei.tissue.kinds import Kind


def chromatin_of(
    rng: np.random.Generator, labels: np.ndarray, traits: np.ndarray, tissue: Kind
) -> np.ndarray:
    """(H, W) float32 haematoxylin of the nuclei: a dark membrane, clumps, nucleoli, and 0 outside them."""
    shape = labels.shape
    number, square = labels.astype(np.float32), np.ones((3, 3), np.uint8)
    inner = (labels > 0) & (cv2.erode(number, square) == cv2.dilate(number, square))
    edge = cv2.distanceTransform(inner.astype(np.uint8), cv2.DIST_L2, 3)
    area = np.bincount(labels.ravel(), minlength=len(traits))
    seeds = (rng.random(shape) < (traits[:, 2] / area)[labels]) & (edge > 3)
    spots = cv2.dilate(
        seeds.astype(np.float32),
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (tissue.nucleolus, tissue.nucleolus)),
    )
    spots = cv2.GaussianBlur(spots, (0, 0), 0.8)
    density, vesicular = traits[labels, 0].astype(np.float32), traits[labels, 1].astype(np.float32)
    fine, coarse = (
        random_field(rng, shape, tissue.clump_size),
        random_field(rng, shape, 3.0 * (tissue.clump_size / 1.3)),
    )
    clumps = tissue.clumps * (sigmoid(3 * (fine + 0.5 * coarse)) - 0.4)
    solid = 0.8 + 0.15 * random_field(rng, shape, 6)
    amount = (1 - 0.75 * vesicular) * solid + (0.05 + 0.6 * vesicular) * np.exp(-edge / tissue.rim)
    amount += (0.35 + 0.35 * vesicular) * clumps + 0.6 * spots
    chromatin = np.maximum(density * amount * (labels > 0), 0)
    # Nuclei lie at different heights of the section, so that some are out of focus.
    sharp, blurred = (cv2.GaussianBlur(chromatin, (0, 0), sigma) for sigma in (0.6, 2.2))
    return sharp + sigmoid(4 * (random_field(rng, shape, 22) - 0.7)) * (blurred - sharp)


def matrix(
    rng: np.random.Generator, labels: np.ndarray, depth: np.ndarray, strands: np.ndarray, tissue: Kind
) -> tuple[np.ndarray, np.ndarray]:
    """Haematoxylin and eosin, (H, W) float32 each, of all that is not nucleus."""
    shape = labels.shape
    haematoxylin, eosin = _cytoplasm(rng, labels, tissue)
    loose = random_field(rng, shape, 25) + 0.8 * random_field(rng, shape, 8) + 0.5 * strands
    collagen = 0.1 + 0.9 * sigmoid(4 * (loose - np.quantile(loose, tissue.looseness)))
    bundle = 1 + 0.25 * strands + 0.25 * random_field(rng, shape, 40) + 0.1 * random_field(rng, shape, 1.5)
    ground = 0.15 + 0.12 * random_field(rng, shape, 30) + 0.06 * strands
    inside = sigmoid(depth / 1.2)
    eosin = inside * eosin + (1 - inside) * collagen * bundle * 0.8 * tissue.collagen
    haematoxylin = inside * haematoxylin + (1 - inside) * collagen * ground
    # Shrinkage in processing parts the parenchyma from the stroma here and there; a lumen is empty.
    cleft = np.exp(-(((depth + 2) / 2.5) ** 2)) * sigmoid(4 * (random_field(rng, shape, 40) - 0.8))
    lumen = sigmoid((depth - tissue.wall) / 1.5)
    substance = (1 - cleft) * (1 - lumen)
    mucin = 0.15 * lumen * sigmoid(3 * (random_field(rng, shape, 12) - 0.8))
    return np.maximum(haematoxylin * substance + mucin, 0), np.maximum(eosin * substance + mucin, 0)


def _cytoplasm(rng: np.random.Generator, labels: np.ndarray, tissue: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Haematoxylin and eosin, (H, W) float32 each, as if the cells around the nuclei filled the image."""
    shape = labels.shape
    cells, distance = _cells(rng, labels)
    edges = (cv2.dilate(cells, np.ones((3, 3), np.uint8)) != cells) & (distance > 1)
    border = np.minimum(2.5 * cv2.GaussianBlur(edges.astype(np.float32), (0, 0), 1.0), 1)
    border *= sigmoid(2.5 * random_field(rng, shape, 20) + 0.5)  # seen where it stands upright in the section
    pink, blue, empty = (
        cv2.GaussianBlur(rng.lognormal(0, spread, labels.max() + 1)[cells.astype(int)], (0, 0), 2)
        for spread in (0.2, 0.3, 0.4)
    )
    grain = (
        1
        + 0.1 * random_field(rng, shape, 1.5)
        + 0.12 * random_field(rng, shape, 5)
        + 0.12 * random_field(rng, shape, 25)
    )
    # What dissolves leaves a web of cytoplasm between vacuoles.
    web = np.exp(-((random_field(rng, shape, 5) / 0.35) ** 2))
    left = 1 - np.clip(tissue.clear * empty, 0, 0.95) * (1 - 0.4 * web)
    halo = 1 - tissue.halo * np.exp(-distance / 2.5) * sigmoid(6 * (empty - 1.3))
    substance = grain * left * halo * (1 + 2 * min(tissue.membrane, 0) * border)
    haematoxylin = tissue.basophilia * blue * substance * (1 + 0.3 * random_field(rng, shape, 30))
    return haematoxylin, tissue.eosin * pink * substance + max(tissue.membrane, 0) * border


def _cells(rng: np.random.Generator, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel the label of the cell that it lies in and its distance to a nucleus, (H, W) float32.

    A cell is what is nearer to its nucleus than to any other, its borders bent a little.
    """
    outside = (labels == 0).astype(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(nearest.max() + 1, np.float32)
    owner[nearest[outside == 0]] = labels[outside == 0]
    y, x = (np.arange(side, dtype=np.float32) for side in labels.shape)
    across = x + 3 * random_field(rng, labels.shape, 10)
    down = y[:, None] + 3 * random_field(rng, labels.shape, 10)
    return cv2.remap(owner[nearest], across, down, cv2.INTER_NEAREST, None, cv2.BORDER_REFLECT), distance


def add_confounders(
    rng: np.random.Generator, haematoxylin: np.ndarray, eosin: np.ndarray, depth: np.ndarray, tissue: Kind
) -> None:
    """Draw, in place, what is no nucleus but may look it: erythrocytes, debris, shadows out of the plane."""
    height, width = depth.shape
    megapixels = height * width / 1e6
    for x, y in rng.uniform(0, (width, height), (rng.poisson(tissue.red_cells * megapixels), 2)):
        if depth[int(y), int(x)] < 0:
            for dx, dy in rng.normal(0, 18, (rng.integers(1, 12), 2)):
                disc = (int(x + dx), int(y + dy)), int(rng.integers(8, 12))
                cv2.circle(eosin, *disc, rng.uniform(0.9, 1.4), -1)
                cv2.circle(haematoxylin, *disc, 0.1, -1)
    for x, y in rng.uniform(0, (width, height), (rng.poisson(60 * megapixels), 2)):
        cv2.circle(haematoxylin, (int(x), int(y)), int(rng.integers(1, 4)), rng.uniform(0.4, 1.2), -1)
    ghosts = np.zeros_like(haematoxylin)
    for x, y in rng.uniform(0, (width, height), (rng.poisson(180 * megapixels), 2)):
        axes = int(rng.integers(6, 11)), int(rng.integers(8, 16))
        cv2.ellipse(ghosts, (int(x), int(y)), axes, rng.uniform(0, 180), 0, 360, rng.uniform(0.15, 0.5), -1)
    haematoxylin += cv2.GaussianBlur(ghosts, (0, 0), 3.5) * np.minimum(eosin / 0.3, 1)  # none in gaps
    _add_rare_things(rng, haematoxylin, eosin, tissue)


def _add_rare_things(
    rng: np.random.Generator, haematoxylin: np.ndarray, eosin: np.ndarray, tissue: Kind
) -> None:
    """Draw, in place, fat vacuoles and apoptotic bodies."""
    height, width = haematoxylin.shape
    megapixels = height * width / 1e6

    def places(rate: float) -> np.ndarray:
        count = rng.poisson(rate * megapixels) if rate else 0
        return rng.uniform(0, (width, height), (count, 2)).astype(int)

    for x, y in places(tissue.fat):
        hole = np.zeros_like(haematoxylin)
        cv2.circle(hole, (int(x), int(y)), int(rng.lognormal(2.6, 0.6)), 1.0, -1)
        left = 1 - 0.95 * cv2.GaussianBlur(hole, (0, 0), 0.8)
        haematoxylin *= left
        eosin *= left
    for x, y in places(tissue.bodies):
        cv2.circle(eosin, (int(x), int(y)), int(rng.integers(6, 12)), rng.uniform(0.8, 1.4), -1)
        for dx, dy in rng.normal(0, 3, (rng.integers(1, 4), 2)):
            cv2.circle(
                haematoxylin, (int(x + dx), int(y + dy)), int(rng.integers(1, 4)), rng.uniform(1, 2), -1
            )
