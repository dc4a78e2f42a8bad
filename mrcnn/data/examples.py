"""One image and its labels as the network sees them: read, checked, resized, augmented."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mrcnn.config import Config
from mrcnn.data.augment import Augmentation, Pair, rescale
from mrcnn.data.dataset import Dataset
from mrcnn.data.resizing import resize_image, resize_mask

# Before an augmentation a large image is cut to this many sides of the network's input: enough for a zoom
# and a turn to find tissue everywhere, and the time of a step does not depend on the size of the image.
_ROOM = 1.5

Instance = tuple[int, tuple[slice, slice]]  # label, and the rows and columns that it occupies


class Example(NamedTuple):
    """An image as the network sees it, with its labels."""

    image: np.ndarray  # (H, W, IMAGE_CHANNEL_COUNT) uint8
    labels: np.ndarray  # (H, W) int32, 0 background; ids may be missing (cut off by a window)
    class_ids: np.ndarray  # (N,) int32, that of label k at k - 1; negative: neither learnt nor unlearnt
    original_shape: tuple[int, int, int]  # of the image as it was read
    window: tuple[int, int, int, int]  # (y1, x1, y2, x2) px, where the resized image lay before augmentation
    scale: float  # of the resizing


def load_example(
    dataset: Dataset,
    config: Config,
    image_id: int,
    augmentation: Augmentation | None,
    rng: np.random.Generator,
) -> Example:
    """Read, check, resize and augment an image and its labels.

    The mode "crop" enlarges as IMAGE_MIN_SCALE asks for and takes a window at random; the others are those
    of `mrcnn.data.resizing.resize_image`. Padding has the median colour of the image, since black
    looks like dense stain. What an augmentation makes larger or smaller is cut or padded to its size again.

    Raises:
        ValueError: image, labels and class ids contradict each other or the configuration, or the
            augmentation returns what is no image with labels.
    """
    image, labels, class_ids = _read(dataset, config, image_id)
    original_shape = image.shape
    if config.IMAGE_RESIZE_MODE == "crop":
        shape = config.IMAGE_SHAPE[:2]
        scale = enlargement(config)
        if scale != 1:
            image, labels = rescale(image, labels, scale)
        window = (0, 0, *shape)
        if augmentation is not None:
            roomy = np.minimum(labels.shape, np.multiply(shape, _ROOM).astype(int))
            image, labels = fit(image, labels, roomy, rng)
    else:
        image, labels, window, scale = _resize(image, labels, config)
        shape = labels.shape
    if augmentation is not None:
        image, labels = augmentation(image, labels, rng)
        if image.dtype != np.uint8 or image.shape != (*labels.shape, config.IMAGE_CHANNEL_COUNT):
            raise ValueError(
                f"the augmentation returned an image {image.shape} {image.dtype} with labels {labels.shape}"
            )
    return Example(*fit(image, labels, shape, rng), class_ids, original_shape, window, scale)


def enlargement(config: Config) -> float:
    """Of the mode "crop". Small images are padded, not enlarged as by Matterport: nuclei keep their size."""
    return max(1.0, config.IMAGE_MIN_SCALE or 0.0)


def _read(dataset: Dataset, config: Config, image_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = dataset.load_image(image_id)
    labels, class_ids = dataset.load_labels(image_id)
    class_ids = np.asarray(class_ids, np.int32)
    problem = _problem(image, labels, class_ids, config)
    if problem:
        raise ValueError(f"{dataset.name_of(image_id)}: {problem}")
    return image, labels.astype(np.int32, copy=False), class_ids


def _problem(image: np.ndarray, labels: np.ndarray, class_ids: np.ndarray, config: Config) -> str | None:
    """What keeps an image from being trained on, None where nothing does."""
    channels, classes = config.IMAGE_CHANNEL_COUNT, config.NUM_CLASSES
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels:
        return (
            f"the image is {image.shape} {image.dtype}; with IMAGE_CHANNEL_COUNT = {channels} it must be "
            f"(H, W, {channels}) uint8"
        )
    if labels.shape != image.shape[:2]:
        return f"its masks are of {labels.shape} px, the image of {image.shape[:2]} px"
    if labels.min(initial=0) < 0 or labels.max(initial=0) > len(class_ids):
        return f"labels from {labels.min()} to {labels.max()} with {len(class_ids)} class ids"
    wrong = class_ids[(class_ids == 0) | (np.abs(class_ids) >= classes)]
    if wrong.size:
        return (
            f"class id {wrong[0]}; with NUM_CLASSES = {classes} they go from 1 to {classes - 1}, and are "
            "negative where a region is to be ignored"
        )
    return None


def _resize(image: np.ndarray, labels: np.ndarray, config: Config):
    """`mrcnn.data.resizing.resize_image` for an image and its labels, padded with the median colour."""
    image, window, scale, padding, _ = resize_image(
        image, config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM, config.IMAGE_MIN_SCALE, config.IMAGE_RESIZE_MODE
    )
    labels = resize_mask(labels[..., None], scale, padding)[..., 0]
    y1, x1, y2, x2 = window
    return on_canvas(image[y1:y2, x1:x2], labels.shape, y1, x1), labels, window, scale


def fit(image: np.ndarray, labels: np.ndarray, shape: Sequence[int], rng: np.random.Generator) -> Pair:
    """A random window of `shape` px; what is smaller than that is padded with its median colour.

    A mirrored margin would show nuclei that are not labelled.
    """
    if (labels.shape < np.asarray(shape)).any():
        larger = np.maximum(labels.shape, shape)
        image = on_canvas(image, larger)
        labels = np.pad(labels, [(0, more) for more in larger - labels.shape])
    top, left = (rng.integers(old - new + 1) for old, new in zip(labels.shape, shape, strict=True))
    window = slice(top, top + shape[0]), slice(left, left + shape[1])
    return image[window], labels[window]


def on_canvas(
    image: np.ndarray, shape: Sequence[int] | np.ndarray, top: int = 0, left: int = 0
) -> np.ndarray:
    """The image, (H, W, C), on a sheet of `shape` px in its median colour: black looks like dense stain."""
    height, width = image.shape[:2]
    if (height, width) == tuple(shape):
        return image
    colour = np.median(image[::4, ::4], axis=(0, 1)).astype(image.dtype)
    canvas = np.broadcast_to(colour, (*shape, len(colour))).copy()
    canvas[top : top + height, left : left + width] = image
    return canvas


def find_instances(labels: np.ndarray) -> list[Instance]:
    """Labels that are there, with more than a line left over at the border, and where they are."""
    return [
        (label, window)
        for label, window in enumerate(ndimage.find_objects(labels), 1)
        if window is not None and all(side.stop - side.start >= 2 for side in window)
    ]


def class_ids_of(example: Example, instances: Sequence[Instance]) -> np.ndarray:
    return example.class_ids[np.array([label - 1 for label, _ in instances], np.intp)]


def boxes_of(instances: Sequence[Instance]) -> np.ndarray:
    """(N, 4) int32 px, (y1, x1, y2, x2), ends exclusive."""
    corners = [(rows.start, columns.start, rows.stop, columns.stop) for _, (rows, columns) in instances]
    return np.array(corners, np.int32).reshape(-1, 4)
