"""Where everything lies: parenchyma and stroma, the fibres of the stroma, the nuclei."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.measure import label as connected
from skimage.segmentation import relabel_sequential

from nuclei.tissue.fields import random_field, sigmoid
from nuclei.tissue.kinds import Kind, Nuclei

SMALLEST = 30  # px; a sliver below it is not a nucleus that anybody would annotate


def architecture(rng: np.random.Generator, shape: tuple[int, int], tissue: Kind) -> np.ndarray:
    """(H, W) float32: pixels from the edge of the parenchyma, above 0 within it, below 0 in the stroma."""
    coverage = rng.uniform(*tissue.coverage)
    if coverage == 0:
        return np.full(shape, -1e3, np.float32)
    field = random_field(rng, shape, tissue.region) + 0.12 * random_field(rng, shape, 9)
    if tissue.plates:
        field = np.abs(field)
    field += 0.4 * random_field(rng, shape, 150)  # one part of a slide is not like the next
    parenchyma = (field > np.quantile(field, 1 - coverage)).astype(np.uint8)
    inside, outside = (cv2.distanceTransform(m, cv2.DIST_L2, 5) for m in (parenchyma, 1 - parenchyma))
    return inside - outside


def fibres(rng: np.random.Generator, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavy collagen: its strands, (H, W) about 0 with deviation 1, and their direction, (H, W) radians."""
    shape = depth.shape
    y, x = np.arange(shape[0], dtype=np.float32)[:, None], np.arange(shape[1], dtype=np.float32)
    turn = rng.uniform(0, np.pi)
    cosine, sine = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    along = cosine * x + sine * y
    across = cosine * y - sine * x
    for scale, swing in ((80, 22), (20, 6), (6, 1.5)):
        across += swing * random_field(rng, shape, scale)
    across += 0.8 * cv2.GaussianBlur(depth, (0, 0), 8)  # they run along the edge of nests and glands
    texture = random_field(rng, (512, 512), 1.2)
    strands = np.zeros(shape, np.float32)
    for width in (1.0, 2.0, 5.0):
        at = along / (6 * width), across / width
        strands += cv2.remap(texture, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    rise, run = np.gradient(across)
    return strands / strands.std(), np.arctan2(-run, rise)


def populate(
    rng: np.random.Generator, depth: np.ndarray, grain: np.ndarray, tissue: Kind
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (H, W) int32, and for each label (N + 1, 3) its density, vesicularity and expected nucleoli."""
    labels = np.zeros(depth.shape, np.int32)
    if np.isfinite(tissue.wall):
        # The nuclei of a gland stand upright on its edge, near it.
        rise, run = np.gradient(cv2.GaussianBlur(depth, (0, 0), 6))
        epithelium, upright = (depth > 9) & (depth < 0.6 * tissue.wall), np.arctan2(rise, run)
    else:
        epithelium, upright = depth > 5, np.pi * random_field(rng, depth.shape, 60)
    places = {"parenchyma": (epithelium, upright), "stroma": (depth < -4, grain)}
    drawn = [_place(rng, labels, *places[population.habitat], population) for population in tissue.nuclei]
    traits = np.concatenate([np.zeros((1, 3)), *drawn])
    # Overlaps and the border cut slivers off; they stay unlabelled and therefore unstained.
    pieces = connected(labels, connectivity=1)
    pieces[np.bincount(pieces.ravel())[pieces] < SMALLEST] = 0
    pieces = relabel_sequential(pieces)[0].astype(np.int32)
    origin = np.zeros(pieces.max() + 1, np.int32)
    origin[pieces[pieces > 0]] = labels[pieces > 0]
    return pieces, traits[origin]


def _place(
    rng: np.random.Generator, labels: np.ndarray, habitat: np.ndarray, turns: np.ndarray, population: Nuclei
) -> np.ndarray:
    """Draw a population into `labels`, at random points of its habitat while there is room and need.

    Args:
        labels: (H, W) int32, changed in place.
        habitat: (H, W) bool, where their centres may lie.
        turns: (H, W) radians, the direction that they follow there.

    Returns:
        (n, 3) traits of the nuclei drawn: density, vesicularity, expected nucleoli.
    """
    wanted = population.cover * habitat.sum()
    odds = habitat * sigmoid(2 * population.clustering * random_field(rng, labels.shape, 50))
    attempts = 8 * wanted / population.diameter**2
    margin = int(population.diameter)  # nuclei centred outside the image reach into it
    odds = np.pad(odds * (attempts / max(odds.sum(), 1e-6)), margin, mode="symmetric")
    points = rng.permutation(np.argwhere(rng.random(odds.shape) < odds) - margin)
    local = turns[tuple(np.clip(points, 0, np.array(labels.shape) - 1).T)]
    outlines = _outlines(rng, population, local + population.disorder * rng.standard_normal(len(points)))
    first = identity = labels.max() + 1
    for point, outline in zip(points, outlines, strict=True):
        area = _draw(labels, point[::-1], outline, population.spacing, identity)
        identity += area > 0
        wanted -= area
        if wanted <= 0:
            break
    density = np.clip(population.density * rng.lognormal(0, 0.4, identity - first), 0.7, 2.2)
    vesicular = np.clip(rng.normal(population.vesicular, 0.2, identity - first), 0, 0.85)
    return np.stack([density, vesicular, np.full(identity - first, population.nucleoli)], axis=1)


def _outlines(rng: np.random.Generator, population: Nuclei, turns: np.ndarray) -> np.ndarray:
    """Closed outlines about the origin, (n, 32, 2) x and y in pixels: ellipses with a few harmonics."""
    n = len(turns)
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    wave = np.arange(2, 6)[:, None]
    phase = rng.uniform(0, 2 * np.pi, (n, 4, 1))
    bumps = population.wobble * rng.standard_normal((n, 4, 1)) / wave * np.cos(wave * angle + phase)
    radius = population.diameter / 2 * rng.lognormal(0, population.spread, (n, 1)) * (1 + bumps.sum(axis=1))
    stretch = np.sqrt(np.maximum(population.elongation * rng.lognormal(0, 0.15, (n, 1)), 1))
    x, y = radius * stretch * np.cos(angle), radius / stretch * np.sin(angle)
    cosine, sine = np.cos(turns)[:, None], np.sin(turns)[:, None]
    return np.stack([x * cosine - y * sine, x * sine + y * cosine], axis=-1)


def _draw(labels: np.ndarray, centre: np.ndarray, outline: np.ndarray, spacing: float, identity: int) -> int:
    """Draw a nucleus behind those that are there; the number of pixels drawn, 0 where it found no room."""
    middle = int(centre[1]), int(centre[0])
    if 0 <= middle[0] < labels.shape[0] and 0 <= middle[1] < labels.shape[1] and labels[middle]:
        return 0  # most end here, at a fraction of the work
    reach = int(np.abs(outline).max() * max(spacing, 1)) + 2
    left, top = (max(int(at) - reach, 0) for at in centre)
    right, bottom = (max(int(at) + reach, 0) for at in centre)
    window = labels[top:bottom, left:right]
    body, room = np.zeros((2, *window.shape), np.uint8)
    for canvas, scale in ((room, spacing), (body, 1.0)):
        corners = np.rint(outline * scale + (centre[0] - left, centre[1] - top)).astype(np.int32)
        if window.size:
            cv2.fillPoly(canvas, [corners], 1)
        if np.any(room & (window > 0)):
            return 0
    free = (body > 0) & (window == 0)
    window[free] = identity
    return int(free.sum())
