"""From a dataset to training batches of fixed shape, and to what Matterport's users look at."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import keras
import numpy as np

from mrcnn import utils
from mrcnn.augment import Augmentation, as_augmentation, compose, mirror
from mrcnn.config import Config
from mrcnn.examples import Example, Instance, boxes_of, class_ids_of, find_instances, load_example
from nuclei import patches


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

    An epoch is so many batches of images drawn by their weight, at even distances along the sum of all
    weights: each batch holds of every folder what its share says. Batch k of epoch e depends on the seed, e
    and k alone, so a resumed training sees what an uninterrupted one would have seen, whatever WORKERS is.
    Two things keep it so: `fit(..., shuffle=False)`, since Keras else shuffles the batches of an epoch, and a
    model that is built, since `fit` else builds it with an epoch that counts.

    Masks are always trained on as mini masks inside their boxes; USE_MINI_MASK says nothing here.

    Args:
        dataset: prepared.
        config: the settings.
        augmentation: whatever `mrcnn.augment.as_augmentation` takes.
        seed: of everything random.
        first_epoch: number of the epoch that comes first.
        no_augmentation_sources: images of these sources are not augmented.
        fixed: every epoch has the batches of the first, as a validation needs it.
        steps: batches in an epoch; None: STEPS_PER_EPOCH.

    Raises:
        ValueError: the dataset holds no image or is not prepared, its weights cannot be drawn by, or
            `augmentation` is none. From a batch: an image or its labels cannot be trained on.
    """

    def __init__(
        self,
        dataset: utils.Dataset,
        config: Config,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        first_epoch: int = 0,
        no_augmentation_sources: Sequence[str] = (),
        fixed: bool = False,
        steps: int | None = None,
    ):
        super().__init__(workers=max(config.WORKERS, 1), use_multiprocessing=False, max_queue_size=8)
        self.dataset = dataset
        self.config = config
        self.augmentation = as_augmentation(augmentation)
        self.seed = seed
        self.epoch = first_epoch
        self.no_augmentation_sources = frozenset(no_augmentation_sources)
        self.fixed = fixed
        self.steps = config.STEPS_PER_EPOCH if steps is None else steps
        self.weights = _weights(dataset)
        self.error: Exception | None = None  # what a batch raised first; see `own_errors`
        self._epoch_begun = False
        self._told_of_surplus = False
        self._lock = Lock()

    def __len__(self) -> int:
        return self.steps

    def on_epoch_begin(self) -> None:
        self._epoch_begun = True

    def on_epoch_end(self) -> None:
        # Keras ends an epoch before the first one too. By now no thread is at work on the one that ends.
        if self._epoch_begun and not self.fixed:
            self.epoch += 1
        self._epoch_begun = False

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray]]:
        try:
            rng = np.random.default_rng((self.seed, self.epoch, index))
            examples = [self._example(image_id, rng) for image_id in self._draw(rng)]
        except Exception as error:
            self.error = self.error or error
            raise
        return ({name: np.stack([example[name] for example in examples]) for name in examples[0]},)

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        ends = np.cumsum(self.weights)
        places = (rng.random() + np.arange(self.config.BATCH_SIZE)) / self.config.BATCH_SIZE
        # The last place may lie beyond the last end by a rounding error.
        return np.searchsorted(ends, places * ends[-1], side="right").clip(max=len(ends) - 1)

    def _example(self, image_id: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        info = self.dataset.image_info[image_id]
        augmentation = None if info["source"] in self.no_augmentation_sources else self.augmentation
        example = load_example(self.dataset, self.config, image_id, augmentation, rng)
        if example.image.shape != tuple(self.config.IMAGE_SHAPE):
            raise ValueError(
                f"{self.dataset.image_reference(image_id)} is {example.image.shape} after resizing, but all "
                f"images of a batch are {tuple(self.config.IMAGE_SHAPE)}; set IMAGE_RESIZE_MODE to 'crop' or "
                "'square'"
            )
        instances = find_instances(example.labels)
        if len(instances) > self.config.MAX_GT_INSTANCES:
            self._tell_of_surplus(image_id, len(instances))
            chosen = rng.choice(len(instances), self.config.MAX_GT_INSTANCES, replace=False)
            instances = [instances[i] for i in chosen]
        outlined = np.float32(info.get("outlined", True))
        return {**pad_example(example, instances, self.config), "outlined": outlined}

    def _tell_of_surplus(self, image_id: int, count: int) -> None:
        with self._lock:
            told, self._told_of_surplus = self._told_of_surplus, True
        if not told:
            most = self.config.MAX_GT_INSTANCES
            warnings.warn(
                f"{self.dataset.image_reference(image_id)} shows {count} objects, of which {count - most}, "
                f"chosen at random, are left out: MAX_GT_INSTANCES is {most}; raise it. Further images of "
                "this dataset are not reported",
                stacklevel=2,
            )


def _weights(dataset: utils.Dataset) -> np.ndarray:
    """(images,) the weight of each image, 1 where none is given."""
    prepared, added = len(dataset.image_ids), len(dataset.image_info)
    if not prepared:
        raise ValueError("the dataset holds no image, or prepare() was not called after adding them")
    if prepared != added:
        raise ValueError(f"the dataset got {added - prepared} images after prepare(); call it again")
    weights = np.array([info.get("weight", 1.0) for info in dataset.image_info], np.float64)
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.sum() > 0):
        raise ValueError("the weights of a dataset's images are finite, not negative and not all zero")
    return weights


@contextmanager
def own_errors(*inputs: Batches | None) -> Iterator[None]:
    """Around `fit`: what a batch raised is raised as it is; TensorFlow wraps it in an error of its own."""
    given = [batches for batches in inputs if batches is not None]
    for batches in given:
        batches.error = None
    try:
        yield
    except Exception:
        for batches in given:
            if batches.error is not None:
                raise batches.error from None
        raise


def pad_example(example: Example, instances: Sequence[Instance], config: Config) -> dict[str, np.ndarray]:
    """One training example of fixed shape, from at most MAX_GT_INSTANCES instances.

    Returns:
        images (H, W, 3) float32, gt_class_ids (G,) int32, gt_boxes (G, 4) float32, gt_masks (G, h, w)
        uint8, each filling its box; G = MAX_GT_INSTANCES, padded with zeros.
    """
    slots = config.MAX_GT_INSTANCES
    class_ids, boxes = np.zeros(slots, np.int32), np.zeros((slots, 4), np.float32)
    masks = np.zeros((slots, *config.MINI_MASK_SHAPE), np.uint8)
    class_ids[: len(instances)] = class_ids_of(example, instances)
    boxes[: len(instances)] = boxes_of(instances)
    for slot, (label, window) in enumerate(instances):
        masks[slot] = utils.mini_mask(example.labels[window] == label, config.MINI_MASK_SHAPE)
    image = example.image.astype(np.float32)
    return {"images": image, "gt_class_ids": class_ids, "gt_boxes": boxes, "gt_masks": masks}


def load_image_gt(
    dataset: utils.Dataset,
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
        augmentation: whatever `mrcnn.augment.as_augmentation` takes.
        use_mini_mask: return masks inside their boxes, of MINI_MASK_SHAPE.
        rng: decides everything random; None: differently at each call.

    Returns:
        image (H, W, 3) uint8; its meta vector, see `compose_image_meta`; class ids (N,) int32; boxes (N, 4)
        int32 px; and masks (H, W, N), or (h, w, N), bool.

    Raises:
        ValueError: see `load_example`.
    """
    steps = [mirror] if augment else []
    if augmentation is not None:
        steps.append(as_augmentation(augmentation))
    example = load_example(
        dataset, config, image_id, compose(*steps) if steps else None, rng or np.random.default_rng()
    )
    instances = find_instances(example.labels)
    shape = config.MINI_MASK_SHAPE if use_mini_mask else example.labels.shape
    masks = np.zeros((*shape, len(instances)), bool)
    for number, (label, window) in enumerate(instances):
        mask = example.labels[window] == label
        if use_mini_mask:
            masks[:, :, number] = utils.mini_mask(mask, shape)
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
    active_class_ids: Sequence[int],
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
