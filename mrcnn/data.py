"""Patches to batches: reading, augmenting, padding to fixed shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import keras
import numpy as np
from scipy import ndimage
from skimage.color import rgb_from_hed

from mrcnn import utils
from mrcnn.config import Config
from nuclei import patches

Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]

_HED_FROM_RGB = np.linalg.inv(rgb_from_hed)


class PatchDataset(utils.Dataset):
    """Annotated patch folders as a dataset: class 1, and class -1 for what is neither learnt nor unlearnt."""

    def __init__(self):
        super().__init__()
        self.add_class("nuclei", 1, "nucleus")
        self._cache: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def add_patches(
        self, folder: Path, names: Sequence[str], share: float = 1.0, outlined: bool = True
    ) -> None:
        """Add patches of a folder.

        Args:
            folder: holds them.
            names: of the patches.
            share: of a batch that is theirs, in proportion to those of other folders.
            outlined: whether the outlines are to be learnt, or only where nuclei are.
        """
        for name in names:
            self.add_image(
                "nuclei", name, path=Path(folder) / name, weight=share / len(names), outlined=outlined
            )

    def _load(self, image_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, label image and class ids, read once."""
        if image_id not in self._cache:
            path = self.image_info[image_id]["path"]
            labels, undecided = patches.read_masks(path), patches.read_undecided(path)
            nuclei = labels.max()
            class_ids = np.repeat(np.int32([1, -1]), [nuclei, undecided.max()])
            labels = np.where((labels == 0) & (undecided > 0), undecided + nuclei, labels)
            self._cache[image_id] = patches.read_patch(path), labels, class_ids
        return self._cache[image_id]

    def load_image(self, image_id: int) -> np.ndarray:
        return self._load(image_id)[0]

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        labels, class_ids = self.load_labels(image_id)
        return labels[..., None] == np.arange(1, len(class_ids) + 1), class_ids

    def load_labels(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        return self._load(image_id)[1:]


class Batches(keras.utils.PyDataset):
    """Training batches of fixed shape, the input of `mrcnn.network.Trainer`.

    An epoch is STEPS_PER_EPOCH batches of images drawn by their weight, at even distances along the sum of
    all weights: each batch holds of every folder what its share says. Batch k of epoch e depends on the
    seed, e and k alone, so a resumed training sees what an uninterrupted one would have seen.
    """

    def __init__(
        self,
        dataset: utils.Dataset,
        config: Config,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        first_epoch: int = 0,
    ):
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self.dataset = dataset
        self.config = config
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = first_epoch
        self.weights = np.array([info.get("weight", 1.0) for info in dataset.image_info])

    def __len__(self) -> int:
        return self.config.STEPS_PER_EPOCH

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray]]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        examples = [self._example(image_id, rng) for image_id in self._draw(rng)]
        return ({name: np.stack([example[name] for example in examples]) for name in examples[0]},)

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        ends = np.cumsum(self.weights)
        places = (rng.random() + np.arange(self.config.BATCH_SIZE)) / self.config.BATCH_SIZE
        # The last place may lie beyond the last end by a rounding error.
        return np.searchsorted(ends, places * ends[-1], side="right").clip(max=len(ends) - 1)

    def _example(self, image_id: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        image = self.dataset.load_image(image_id)
        labels, class_ids = self.dataset.load_labels(image_id)
        if self.augmentation:
            image, labels = self.augmentation(image, labels, rng)
        image, labels = fit(image, labels, self.config.IMAGE_DIM, rng)
        outlined = np.float32(self.dataset.image_info[image_id].get("outlined", True))
        return {**pad_example(image, labels, class_ids, self.config, rng), "outlined": outlined}


def fit(image: np.ndarray, labels: np.ndarray, side: int, rng: np.random.Generator):
    """A random window of `side` px; what is smaller than that is padded with its median colour.

    A mirrored margin would show nuclei that are not labelled.
    """
    height, width = image.shape[:2]
    if height < side or width < side:
        image, labels = _pad(image, labels, max(side, height), max(side, width))
        height, width = image.shape[:2]
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    window = slice(top, top + side), slice(left, left + side)
    return image[window], labels[window]


def _pad(image: np.ndarray, labels: np.ndarray, height: int, width: int):
    below, right = height - image.shape[0], width - image.shape[1]
    filled = np.broadcast_to(np.median(image, axis=(0, 1)).astype(image.dtype), (height, width, 3)).copy()
    filled[: image.shape[0], : image.shape[1]] = image
    return filled, np.pad(labels, ((0, below), (0, right)))


def pad_example(image, labels, class_ids, config: Config, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One training example of fixed shape.

    A nucleus is smaller than a mini mask, so it is enlarged there and no detail of its outline is lost.

    Args:
        image: (S, S, 3) uint8, S = IMAGE_DIM.
        labels: (S, S) int32, 0 background; ids may be missing (cut off by a window).
        class_ids: (N,) int32, that of label k at k - 1.

    Returns:
        images (S, S, 3) float32, gt_class_ids (G,) int32, gt_boxes (G, 4) float32,
        gt_masks (G, h, w) uint8; G = MAX_GT_INSTANCES, padded with zeros.
    """
    found = [(k, window) for k, window in enumerate(ndimage.find_objects(labels), 1) if _is_visible(window)]
    if len(found) > config.MAX_GT_INSTANCES:
        found = [found[i] for i in rng.choice(len(found), config.MAX_GT_INSTANCES, replace=False)]
    slots, shape = config.MAX_GT_INSTANCES, config.MINI_MASK_SHAPE
    example = {
        "images": image.astype(np.float32),
        "gt_class_ids": np.zeros(slots, np.int32),
        "gt_boxes": np.zeros((slots, 4), np.float32),
        "gt_masks": np.zeros((slots, *shape), np.uint8),
    }
    for slot, (label, (rows, columns)) in enumerate(found):
        crop = np.float32(labels[rows, columns] == label)
        example["gt_class_ids"][slot] = class_ids[label - 1]
        example["gt_boxes"][slot] = rows.start, columns.start, rows.stop, columns.stop
        example["gt_masks"][slot] = cv2.resize(crop, shape[::-1], interpolation=cv2.INTER_LINEAR) >= 0.5
    return example


def _is_visible(window: tuple[slice, slice] | None) -> bool:
    """Whether a label is there at all, and more than a line left over at the border."""
    return window is not None and all(side.stop - side.start >= 2 for side in window)


def augment(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator):
    """Flip, quarter turn, zoom, stain and focus, as slides and scanners vary; the labels go along.

    Args:
        image: (H, W, 3) uint8.
        labels: (H, W) int32.

    Returns:
        the changed image and labels; a quarter turn exchanges H and W, a zoom changes both.
    """
    image, labels = _turn(image, labels, rng)
    image, labels = _zoom(image, labels, rng.uniform(0.8, 1.25))
    image = jitter_stain(image, rng)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0))
    return image, labels


def _turn(image, labels, rng):
    quarter_turns = rng.integers(4)
    image, labels = np.rot90(image, quarter_turns), np.rot90(labels, quarter_turns)
    if rng.random() < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def _zoom(image, labels, factor: float):
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return (
        cv2.resize(image, size, interpolation=smooth),
        cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT),
    )


def jitter_stain(image: np.ndarray, rng: np.random.Generator, strength: float = 0.2, shift: float = 0.03):
    """Scale and shift haematoxylin, eosin and residual absorbance at random: (H, W, 3) uint8 -> the same.

    Source: Tellez et al., "Whole-slide mitosis detection in H&E breast histology", IEEE TMI 2018.
    """
    absorbance = -np.log((image.astype(np.float32) + 1) / 256)
    factor = rng.uniform(1 - strength, 1 + strength, 3)
    offset = rng.uniform(-shift, shift, 3)
    mix = (_HED_FROM_RGB * factor) @ rgb_from_hed
    absorbance = absorbance @ mix.astype(np.float32) + (offset @ rgb_from_hed).astype(np.float32)
    return (256 * np.exp(-absorbance) - 1).clip(0, 255).astype(np.uint8)
