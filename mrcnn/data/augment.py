"""Changes that keep a labelled image true: turns, zoom, elastic deformation, stain and focus.

A step is a function (image, labels, rng) -> (image, labels): image (H, W, 3) uint8 RGB, labels (H, W) int32
with 0 for the background, rng the only source of chance. Steps return new arrays and may change H and W.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from skimage.color import rgb_from_hed

from mrcnn.data.resizing import resize_planes

Pair = tuple[np.ndarray, np.ndarray]  # image and labels
Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], Pair]

_HED_FROM_RGB = np.linalg.inv(rgb_from_hed)
_ABSORBANCE = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)  # of each grey value


def augment(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    """Flip, quarter turn, zoom, stain and focus, as slides and scanners vary; the labels go along.

    Args:
        image: (H, W, 3) uint8.
        labels: (H, W) int32.
        rng: decides everything.

    Returns:
        the changed image and labels; a quarter turn exchanges H and W, a zoom changes both.
    """
    return _STANDARD(image, labels, rng)


def compose(*steps: Augmentation) -> Augmentation:
    """One augmentation that takes the steps in their order: `compose(turn, elastic, stain)`."""

    def composed(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        for step in steps:
            image, labels = step(image, labels, rng)
        return image, labels

    return composed


def turn(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    """One of the eight ways to lay a square on itself: quarter turns, mirrored or not."""
    quarter_turns = int(rng.integers(4))
    image, labels = (np.ascontiguousarray(np.rot90(array, quarter_turns)) for array in (image, labels))
    return mirror(image, labels, rng)


def mirror(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
    """Left and right exchanged, or not."""
    if rng.random() < 0.5:
        image, labels = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(labels[:, ::-1])
    return image, labels


def zoom(
    image: np.ndarray, labels: np.ndarray, rng: np.random.Generator, low: float = 0.8, high: float = 1.25
) -> Pair:
    """Enlarge by a factor between `low` and `high`; the size changes with it."""
    return rescale(image, labels, rng.uniform(low, high))


def rescale(image: np.ndarray, labels: np.ndarray, factor: float) -> Pair:
    """Enlarge by `factor`, labels to the nearest pixel; a factor of 1 interpolates nothing."""
    height, width = round(image.shape[0] * factor), round(image.shape[1] * factor)
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return (
        resize_planes(image, (height, width), smooth),
        cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT),
    )


def elastic(
    image: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    spacing: float = 48.0,
    strength: float = 9.0,
) -> Pair:
    """Stretch and shear as cutting and mounting do, smoothly and with the borders in place.

    A grid of random displacements is interpolated with cubic B-splines. Below a quarter of the spacing the
    displacement can neither fold nor tear, so every nucleus keeps its topology.
    Source: Rueckert et al., "Diffeomorphic registration using B-splines", MICCAI 2006.

    Args:
        image: (H, W, 3) uint8.
        labels: (H, W) int32.
        rng: decides the displacements.
        spacing: px, smallest distance of the nodes of the grid.
        strength: px, largest displacement along an axis; about a quarter of it is typical.

    Raises:
        ValueError: strength is negative or not below a quarter of the spacing.
    """
    if not 0 <= strength < spacing / 4:
        raise ValueError(f"strength {strength:g} px is not below a quarter of the spacing, {spacing:g} px")
    height, width = labels.shape
    down, across = _spline_basis(height, spacing), _spline_basis(width, spacing)
    nodes = rng.uniform(-strength, strength, (2, down.shape[1], across.shape[1])).astype(np.float32)
    _hold_borders(nodes[0])
    _hold_borders(nodes[1].T)
    rows = down @ nodes[0] @ across.T + np.arange(height, dtype=np.float32)[:, None]
    columns = down @ nodes[1] @ across.T + np.arange(width, dtype=np.float32)
    border = cv2.BORDER_REPLICATE  # reached by rounding errors only
    return (
        cv2.remap(image, columns, rows, cv2.INTER_CUBIC, borderMode=border),
        cv2.remap(labels, columns, rows, cv2.INTER_NEAREST, borderMode=border),
    )


@lru_cache(maxsize=16)
def _spline_basis(length: int, spacing: float) -> np.ndarray:
    """(length, nodes) weights of cubic B-splines; the second and the last but one node lie on the borders."""
    intervals = max(int((length - 1) // spacing), 1)
    place = np.linspace(0, intervals, length)[:, None]
    distance = np.abs(place - np.arange(-1, intervals + 2))
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, inner, outer).astype(np.float32)


def _hold_borders(nodes: np.ndarray) -> None:
    """Make the spline zero on the first and the last row: nothing comes from outside the image."""
    nodes[1] = nodes[-2] = 0
    nodes[0], nodes[-1] = -nodes[2], -nodes[-3]


def stain(
    image: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    strength: float = 0.6,
    shift: float = 0.03,
) -> Pair:
    """`jitter_stain` as a step."""
    return jitter_stain(image, rng, strength, shift), labels


def jitter_stain(
    image: np.ndarray, rng: np.random.Generator, strength: float = 0.6, shift: float = 0.03
) -> np.ndarray:
    """Scale and shift haematoxylin, eosin and residual absorbance at random: (H, W, 3) uint8 -> the same.

    The dyes vary far more than between slides of one laboratory, which organs not learnt gain by; the shift,
    which tints empty glass too, stays small.
    Source: Tellez et al., "Whole-slide mitosis detection in H&E breast histology", IEEE TMI 2018.
    """
    factor = rng.uniform(1 - strength, 1 + strength, 3)
    offset = rng.uniform(-shift, shift, 3)
    mix = (_HED_FROM_RGB * factor) @ rgb_from_hed
    absorbance = _ABSORBANCE[image] @ mix.astype(np.float32) + (offset @ rgb_from_hed).astype(np.float32)
    return (256 * np.exp(-absorbance) - 1).clip(0, 255).astype(np.uint8)


def blur(
    image: np.ndarray,
    labels: np.ndarray,
    rng: np.random.Generator,
    chance: float = 0.3,
    low: float = 0.3,
    high: float = 1.0,
) -> Pair:
    """With some chance, out of focus: a Gaussian of standard deviation `low` to `high` px."""
    if rng.random() < chance:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(low, high))
    return image, labels


_STANDARD = compose(turn, zoom, stain, blur)


def as_augmentation(value) -> Augmentation | None:
    """What may be given as `augmentation`, as a step.

    Args:
        value: None, a step (image, labels, rng) -> (image, labels), or a `Compose` of albumentations 2.

    Raises:
        ValueError: anything else.
    """
    accepted = "pass a function (image, labels, rng) -> (image, labels), or a Compose of albumentations 2"
    if value is None:
        return None
    if hasattr(value, "to_deterministic"):
        raise ValueError(f"imgaug does not work with current NumPy; {accepted}")
    if hasattr(value, "transforms") and hasattr(value, "set_random_seed"):
        return _from_albumentations(value)
    if callable(value) and not hasattr(value, "transforms") and _takes_three(value):
        return value
    raise ValueError(f"{value!r} is no augmentation; {accepted}")


def _takes_three(function: Callable) -> bool:
    try:
        inspect.signature(function).bind(None, None, None)
    except TypeError:
        return False
    return True


def _from_albumentations(composed) -> Augmentation:
    """A `Compose` as a step: `rng` seeds it, and the labels are its mask, moved by the nearest pixel."""

    def step(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Pair:
        # A copy of its own, since threads share it and each call moves its random state on.
        own = copy.deepcopy(composed)
        own.set_random_seed(int(rng.integers(2**31)))
        changed = own(image=image, mask=labels)
        return changed["image"], np.asarray(changed["mask"], np.int32)

    return step
