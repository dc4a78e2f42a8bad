"""From a dataset to training batches of fixed shape."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.data.augment import Augmentation, as_augmentation
from mrcnn.data.dataset import Dataset
from mrcnn.data.examples import (
    Example,
    Instance,
    boxes_of,
    class_ids_of,
    find_instances,
    load_example,
)
from mrcnn.data.mask_arrays import mini_mask

log = logging.getLogger(__name__)


class Batches(keras.utils.PyDataset):
    """Training batches of fixed shape, the input of `mrcnn.training.trainer.Trainer`.

    An epoch is so many batches of images drawn by their weight, at even distances along the sum of all
    weights: each batch holds of every stratum (a folder of patches) what its share says. Within a stratum the
    order is another one in each batch, so that any images meet. Batch k of epoch e depends on the seed, e and
    k alone, so a resumed training sees what an uninterrupted one would have seen, whatever WORKERS is.
    Two things keep it so: `fit(..., shuffle=False)`, since Keras else shuffles the batches of an epoch, and a
    model that is built, since `fit` else builds it with an epoch that counts.

    Masks are always trained on as mini masks inside their boxes; USE_MINI_MASK says nothing here.

    Args:
        dataset: prepared.
        config: the settings.
        augmentation: whatever `mrcnn.data.augment.as_augmentation` takes.
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
        dataset: Dataset,
        config: Config,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        first_epoch: int = 0,
        no_augmentation_sources: Sequence[str] = (),
        fixed: bool = False,
        steps: int | None = None,
    ):
        # A short queue: while it fills, the threads compete with the tracing of the first step.
        super().__init__(workers=max(config.WORKERS, 1), use_multiprocessing=False, max_queue_size=2)
        self.dataset = dataset
        self.config = config
        self.augmentation = as_augmentation(augmentation)
        self.seed = seed
        self.epoch = first_epoch
        self.no_augmentation_sources = frozenset(no_augmentation_sources)
        self.fixed = fixed
        self.steps = config.STEPS_PER_EPOCH if steps is None else steps
        self.weights = _weights(dataset)
        self.strata = np.unique(
            [str(info.get("stratum")) for info in dataset.image_info], return_inverse=True
        )[1]
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
        order = np.lexsort((rng.random(len(self.weights)), self.strata))
        ends = np.cumsum(self.weights[order])
        places = (rng.random() + np.arange(self.config.BATCH_SIZE)) / self.config.BATCH_SIZE
        # The last place may lie beyond the last end by a rounding error.
        return order[np.searchsorted(ends, places * ends[-1], side="right").clip(max=len(ends) - 1)]

    def _example(self, image_id: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        info = self.dataset.image_info[image_id]
        augmentation = None if info["source"] in self.no_augmentation_sources else self.augmentation
        example = load_example(self.dataset, self.config, image_id, augmentation, rng)
        if example.image.shape != tuple(self.config.IMAGE_SHAPE):
            raise ValueError(
                f"{self.dataset.name_of(image_id)} is {example.image.shape} after resizing, but all "
                f"images of a batch are {tuple(self.config.IMAGE_SHAPE)}; set IMAGE_RESIZE_MODE to 'crop' or "
                "'square'"
            )
        instances = find_instances(example.labels)
        if len(instances) > self.config.MAX_GT_INSTANCES:
            self._tell_of_surplus(image_id, len(instances))
            chosen = rng.choice(len(instances), self.config.MAX_GT_INSTANCES, replace=False)
            instances = [instances[i] for i in chosen]
        outlined = np.array(info.get("outlined", True), np.float32)
        return {**pad_example(example, instances, self.config), "outlined": outlined}

    def _tell_of_surplus(self, image_id: int, count: int) -> None:
        with self._lock:
            told, self._told_of_surplus = self._told_of_surplus, True
        if not told:
            most = self.config.MAX_GT_INSTANCES
            log.warning(
                f"{self.dataset.name_of(image_id)} shows {count} objects, of which {count - most}, "
                f"chosen at random, are left out; smaller patches have fewer (in Python: MAX_GT_INSTANCES is "
                f"{most}). Further images of this dataset are not reported"
            )


def _weights(dataset: Dataset) -> np.ndarray:
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
        masks[slot] = mini_mask(example.labels[window] == label, config.MINI_MASK_SHAPE)
    image = example.image.astype(np.float32)
    return {"images": image, "gt_class_ids": class_ids, "gt_boxes": boxes, "gt_masks": masks}
