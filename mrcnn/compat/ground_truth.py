"""What Matterport's users look at: an image with its ground truth, meta vectors, molding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrcnn.config import Config
from mrcnn.data.augment import as_augmentation, compose, mirror
from mrcnn.data.dataset import Dataset
from mrcnn.data.examples import boxes_of, class_ids_of, find_instances, load_example
from mrcnn.data.mask_arrays import mini_mask


def load_image_gt(
    dataset: Dataset,
    config: Config,
    image_id: int,
    augment: bool = False,
    augmentation=None,
    use_mini_mask: bool = False,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An image with its ground truth, resized and augmented as for training.

    Masks come from `Dataset.load_labels`, so that none overlap; those that vanished are left out.

    Args:
        dataset: prepared.
        config: the settings.
        image_id: of the dataset.
        augment: mirror the image with a chance of one half.
        augmentation: whatever `mrcnn.data.augment.as_augmentation` takes.
        use_mini_mask: return masks inside their boxes, of MINI_MASK_SHAPE.
        rng: decides everything random; None: differently at each call.

    Returns:
        image (H, W, 3) uint8; its meta vector, see `compose_image_meta`; class ids (N,) int32; boxes (N, 4)
        int32 px; and masks (H, W, N), or (h, w, N), bool.

    Raises:
        ValueError: see `load_example`.
    """
    given = as_augmentation(augmentation)
    steps = [step for step in (mirror if augment else None, given) if step is not None]
    example = load_example(
        dataset, config, image_id, compose(*steps) if steps else None, rng or np.random.default_rng()
    )
    instances = find_instances(example.labels)
    shape = config.MINI_MASK_SHAPE if use_mini_mask else example.labels.shape
    masks = np.zeros((*shape, len(instances)), bool)
    for number, (label, window) in enumerate(instances):
        mask = example.labels[window] == label
        if use_mini_mask:
            masks[:, :, number] = mini_mask(mask, shape)
        else:
            masks[(*window, number)] = mask
    active = np.zeros(dataset.num_classes, np.int32)
    active[dataset.source_class_ids[dataset.image_info[image_id]["source"]]] = 1
    meta = compose_image_meta(
        image_id, example.original_shape, example.image.shape, example.window, example.scale, active
    )
    return example.image, meta, class_ids_of(example, instances), boxes_of(instances), masks


def compose_image_meta(
    image_id: int,
    original_image_shape: Sequence[int],
    image_shape: Sequence[int],
    window: Sequence[int],
    scale: float,
    active_class_ids: Sequence[int] | np.ndarray,
) -> np.ndarray:
    """What is known of an image, as one vector (IMAGE_META_SIZE,) float64; `parse_image_meta` reads it.

    Args:
        image_id: of the dataset.
        original_image_shape: (height, width, channels) px, as read.
        image_shape: (height, width, channels) px, as the network sees it.
        window: (y1, x1, y2, x2) px, where in it the resized image lies, without padding.
        scale: of the resizing.
        active_class_ids: (classes,) 1 for each class that the image's source has, else 0.
    """
    numbers = [image_id, *original_image_shape, *image_shape, *window, scale, *active_class_ids]
    return np.array(numbers, np.float64)


def parse_image_meta(meta: np.ndarray) -> dict[str, np.ndarray]:
    """Meta vectors (B, IMAGE_META_SIZE) by the names of `compose_image_meta`, int32, the scale float32."""
    names = ("image_id", "original_image_shape", "image_shape", "window", "scale", "active_class_ids")
    parts = np.split(meta, (1, 4, 7, 11, 12), axis=1)
    fields = {name: part.astype(np.int32) for name, part in zip(names, parts, strict=True)}
    return {**fields, "image_id": fields["image_id"][:, 0], "scale": parts[4][:, 0].astype(np.float32)}


def mold_image(image: np.ndarray, config: Config) -> np.ndarray:
    """RGB in 0..255 less MEAN_PIXEL, float32, as Matterport's network takes it; ours subtracts it itself."""
    return image.astype(np.float32) - np.asarray(config.MEAN_PIXEL, np.float32)


def unmold_image(normalized_image: np.ndarray, config: Config) -> np.ndarray:
    """The inverse of `mold_image`: RGB uint8."""
    restored = normalized_image + np.asarray(config.MEAN_PIXEL, np.float32)
    return np.rint(restored).clip(0, 255).astype(np.uint8)
