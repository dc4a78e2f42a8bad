"""Mask R-CNN as its users know it from Matterport: `MaskRCNN(mode, config, model_dir)`, train, detect."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from mrcnn import backbone, utils
from mrcnn.config import CONFIG, WEIGHTS, Config, find_model
from mrcnn.data import Augmentation, Batches
from mrcnn.network import MaskReader, Network, Trainer, set_backbone_trainable
from nuclei.errors import InputError
from nuclei.files import atomic_file, write_json

_MASK_PLACES = 32  # masks are read for this many places at a time: one shape to compile, little waste


class MaskRCNN:
    """A network with its training and its detection.

    Args:
        mode: "training" or "inference".
        config: the settings; see `mrcnn.config`.
        model_dir: where training keeps its progress and its curves.
        seed: of the initial weights and of everything random in training.
    """

    def __init__(self, mode: str, config: Config, model_dir: Path, seed: int = 0):
        if mode not in ("training", "inference"):
            raise ValueError(f"mode is 'training' or 'inference', not {mode!r}")
        keras.utils.set_random_seed(seed)
        self.mode = mode
        self.config = config
        self.model_dir = Path(model_dir)
        self.seed = seed
        self.keras_model = Network(config)
        self._mask_reader = MaskReader(self.keras_model)
        self._build()

    def _build(self) -> None:
        """Run the network once, which creates every weight of its subclassed parts."""
        self.keras_model.predict_on_batch(np.zeros((1, *self.config.IMAGE_SHAPE), np.float32))

    def load_imagenet_weights(self) -> int:
        """Give the backbone its ImageNet weights; returns the number of layers loaded."""
        return backbone.load_imagenet_weights(self.keras_model.pyramid)

    def save(self, folder: Path) -> None:
        """Write the weights and the configuration into `folder`, from which `load` makes the model again."""
        with atomic_file(Path(folder) / WEIGHTS) as temporary:
            self.keras_model.save_weights(temporary)
        write_json(Path(folder) / CONFIG, self.config.to_dict())

    def load_weights(self, path: Path) -> None:
        """Read weights written by `save`; InputError where they are missing, broken or of another network."""
        try:
            self.keras_model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path} does not hold weights of this network: {reason}") from error

    def train(
        self,
        train_dataset: utils.Dataset,
        val_dataset: utils.Dataset | None,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        epochs: int,
        layers: str = "all",
        augmentation: Augmentation | None = None,
        custom_callbacks: list[keras.callbacks.Callback] | None = None,
    ) -> dict[str, list[float]]:
        """Train; a killed training goes on from its last finished epoch when called again.

        With WEIGHT_AVERAGING the network ends with the average of its weights over the last steps.

        Args:
            train_dataset: prepared; images are drawn by their `weight` where they have one.
            val_dataset: losses on it are logged after each epoch, where given.
            learning_rate: a number, or a schedule over the optimiser's steps.
            epochs: of STEPS_PER_EPOCH steps each.
            layers: "all", or "heads" to keep the backbone as it is.
            augmentation: (image, labels, rng) -> (image, labels); see `mrcnn.data.augment`.
            custom_callbacks: further Keras callbacks.

        Returns:
            losses by name, one value an epoch.

        Raises:
            ValueError: not in training mode, a dataset without images, or unknown `layers`.
            FloatingPointError: the loss is no longer finite.
        """
        self._check_training(train_dataset, layers)
        set_backbone_trainable(self.keras_model, layers)
        trainer = Trainer(self.keras_model, self.seed)
        trainer.compile(optimizer=self._optimizer(learning_rate), jit_compile=False)
        history = _History(self.model_dir / "losses.json")
        batches = Batches(train_dataset, self.config, augmentation, self.seed, first_epoch=history.epochs)
        validation = Batches(val_dataset, self.config, seed=self.seed + 1) if val_dataset else None
        _build_trainer(trainer, batches)
        with tqdm(total=epochs * len(batches), desc=f"training {self.model_dir.name}", unit="step") as bar:
            backup = keras.callbacks.BackupAndRestore(str(self.model_dir / "backup"), double_checkpoint=True)
            callbacks = [backup, history, _Progress(bar), _StopOnNonFinite(), *(custom_callbacks or [])]
            trainer.fit(batches, validation_data=validation, epochs=epochs, callbacks=callbacks, verbose=0)
        return history.losses

    def _check_training(self, dataset: utils.Dataset, layers: str) -> None:
        if self.mode != "training":
            raise ValueError("this model was made for inference; make it with mode='training'")
        if not dataset.image_info:
            raise ValueError("the training dataset holds no image")
        if layers not in ("all", "heads"):
            raise ValueError(f"layers is 'all' or 'heads', not {layers!r}")

    def _optimizer(self, learning_rate) -> keras.optimizers.Optimizer:
        config = self.config
        shared = {
            "global_clipnorm": config.GRADIENT_CLIP_NORM,
            "weight_decay": config.WEIGHT_DECAY,
            "use_ema": config.WEIGHT_AVERAGING > 0,
            "ema_momentum": config.WEIGHT_AVERAGING,
        }
        if config.OPTIMIZER == "adamw":
            return keras.optimizers.AdamW(learning_rate, **shared)
        if config.OPTIMIZER == "sgd":
            return keras.optimizers.SGD(learning_rate, momentum=config.LEARNING_MOMENTUM, **shared)
        raise ValueError(f"OPTIMIZER is 'sgd' or 'adamw', not {config.OPTIMIZER!r}")

    def find(self, images: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Objects in a batch of images of the network's size, best first.

        Args:
            images: (B, S, S, 3) uint8 or float32 in 0..255, S = IMAGE_DIM.

        Returns:
            for each image a dict of boxes (N, 4) float32, class_ids (N,) int32, scores (N,) float32 and
            masks (N, h, w) float32 in 0..1, each filling its box.
        """
        found = self.keras_model.predict_on_batch(images.astype(np.float32))
        counts = (found["class_ids"] > 0).sum(axis=1)
        masks = self._read_masks(found, counts.max())
        return [
            {
                "boxes": found["boxes"][i, :count],
                "class_ids": found["class_ids"][i, :count],
                "scores": found["scores"][i, :count],
                "masks": masks[i, :count],
            }
            for i, count in enumerate(counts)
        ]

    def _read_masks(self, found: dict[str, np.ndarray], count: int) -> np.ndarray:
        """Masks (B, at least count, h, w) of the first `count` places of a detection."""
        chunks = [np.zeros((len(found["boxes"]), 0, *self.config.MASK_SHAPE), np.float32)]
        for first in range(0, count, _MASK_PLACES):
            places = slice(first, first + _MASK_PLACES)
            few = {name: found[name][:, places] for name in ("boxes", "class_ids")}
            chunks.append(self._mask_reader.predict_on_batch({"levels": found["levels"], **few}))
        return np.concatenate(chunks, axis=1)

    def detect(self, images: list[np.ndarray], verbose: int = 0) -> list[dict[str, np.ndarray]]:
        """Objects in images no larger than the network's input.

        Args:
            images: each (H, W, 3) uint8 RGB with H, W <= IMAGE_DIM; larger ones go through
                `mrcnn.tiles.segment`.
            verbose: 1 shows a progress bar.

        Returns:
            for each image a dict of rois (N, 4) int32 px, class_ids (N,) int32, scores (N,) float32 and
            masks (H, W, N) bool.
        """
        results = []
        for image in tqdm(images, desc="detecting", unit="image", disable=not verbose):
            shape = image.shape[:2]
            found = self.find(pad_to(image, self.config.IMAGE_DIM)[None])[0]
            masks = np.zeros((*shape, len(found["scores"])), bool)
            for number, (mask, box) in enumerate(zip(found["masks"], found["boxes"], strict=True)):
                window, top, left = utils.paste_mask(mask, box, shape)
                masks[top : top + window.shape[0], left : left + window.shape[1], number] = window
            results.append(
                {
                    "rois": utils.extract_bboxes(masks),
                    "class_ids": found["class_ids"],
                    "scores": found["scores"],
                    "masks": masks,
                }
            )
        return results


def load(folder: Path, **changes) -> MaskRCNN:
    """The model that `MaskRCNN.save` wrote into `folder`, for inference.

    Args:
        folder: holds the weights and the configuration.
        changes: configuration attributes to set otherwise, such as DETECTION_MIN_CONFIDENCE.

    Raises:
        InputError: the folder holds no model, or a broken one.
    """
    weights, attributes = find_model(folder)
    config = Config()
    for name, value in {**attributes, **changes}.items():
        if not isinstance(getattr(Config, name, None), property):
            setattr(config, name, tuple(value) if isinstance(value, list) else value)
    model = MaskRCNN("inference", config, folder)
    model.load_weights(weights)
    return model


class WarmUpAndDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises in a tenth of the steps and falls to a fiftieth of its peak as a cosine.

    A training may be done in parts: each follows its piece of one cosine, after a rise of its own, since
    its optimiser starts anew. Source: Loshchilov and Hutter, "SGDR", ICLR 2017; the rise after Goyal et
    al. 2017.

    Args:
        peak: of the cosine.
        steps: of the whole training.
        start: steps that earlier parts have done.
    """

    def __init__(self, peak: float, steps: int, start: int = 0):
        self.peak, self.steps, self.start = peak, steps, start

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        done = keras.ops.minimum((self.start + step) / self.steps, 1.0)
        rate = self.peak * (0.02 + 0.98 * (1 + keras.ops.cos(np.pi * done)) / 2)
        return rate * keras.ops.minimum((step + 1) * 10 / (self.steps - self.start), 1.0)

    def get_config(self) -> dict:
        return {"peak": self.peak, "steps": self.steps, "start": self.start}


def pad_to(image: np.ndarray, side: int) -> np.ndarray:
    """Pad an image (H, W, 3) with its mirror image to at least `side` px each way, below and to the right."""
    below, right = max(side - image.shape[0], 0), max(side - image.shape[1], 0)
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric")


def _build_trainer(trainer: Trainer, batches: Batches) -> None:
    """Create the optimiser's variables, which a backup needs in place before it is restored."""
    trainer.optimizer.build(trainer.trainable_variables)
    trainer.built = True


class _Progress(keras.callbacks.Callback):
    """A tqdm bar over all steps of all epochs, with the running losses."""

    def __init__(self, bar: tqdm):
        super().__init__()
        self.bar = bar

    def on_epoch_begin(self, epoch, logs=None):
        self.bar.update(epoch * self.params["steps"] - self.bar.n)  # past what a resumed training has done

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()
        self.bar.set_postfix({_short(name): f"{value:.2f}" for name, value in logs.items()}, refresh=False)


def _short(name: str) -> str:
    return name.removeprefix("mrcnn_").removesuffix("_loss")


class _StopOnNonFinite(keras.callbacks.Callback):
    """End at once when the loss is no longer a number."""

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise FloatingPointError("the loss is no longer finite; train with a smaller learning rate")


class _History(keras.callbacks.Callback):
    """The losses of every epoch, kept on disk so that a resumed training has them all."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.losses: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}

    @property
    def epochs(self) -> int:
        """How many epochs are finished."""
        return len(self.losses.get("loss", []))

    def on_epoch_end(self, epoch, logs=None):
        for name, value in logs.items():
            self.losses.setdefault(name, []).append(float(value))
        write_json(self.path, self.losses)
