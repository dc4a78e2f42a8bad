"""Mask R-CNN as its users know it from Matterport: `MaskRCNN(mode, config, model_dir)`, train, detect."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from mrcnn import backend
from mrcnn.compat.absent import absent
from mrcnn.compat.arrays import compute_backbone_shapes, log
from mrcnn.compat.ground_truth import (
    compose_image_meta,
    load_image_gt,
    mold_image,
    parse_image_meta,
    unmold_image,
)
from mrcnn.compat.methods import MatterportMethods
from mrcnn.config import CONFIG, WEIGHTS, Config, find_model
from mrcnn.data.augment import as_augmentation
from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Batches, own_errors
from mrcnn.inference import detection
from mrcnn.inference.predictor import Predictor
from mrcnn.modeling import efficientnet, pretrained, weights
from mrcnn.modeling.network import Network
from mrcnn.training import callbacks, checkpoint
from mrcnn.training.distribution import distribution, within
from mrcnn.training.learning_rate import WarmUpAndDecay
from mrcnn.training.trainer import Trainer
from nuclei.errors import InputError
from nuclei.io.files import write_json

__all__ = [
    "MaskRCNN",
    "WarmUpAndDecay",
    "compose_image_meta",
    "compute_backbone_shapes",
    "load",
    "load_image_gt",
    "log",
    "mold_image",
    "parse_image_meta",
    "unmold_image",
]

logger = logging.getLogger(__name__)


def __getattr__(name: str):
    raise absent(__name__, name)


# What `layers` may be called: a regular expression of the layers to train. Stage 3 is of stride 8.
_HEADS = r"mrcnn_.*|rpn_.*|fpn_.*"
LAYERS = {"heads": _HEADS, "all": ".*"}
LAYERS |= {f"{stage}+": rf"(res|bn|c)[{stage}-5].*|{_HEADS}" for stage in (3, 4, 5)}


class MaskRCNN(MatterportMethods):
    """A network with its training and its detection.

    Args:
        mode: "training" or "inference".
        config: the settings; see `mrcnn.config`.
        model_dir: training makes its folders of logs in it, one a training.
        seed: of the initial weights and of everything random in training.

    Attributes:
        keras_model: the `mrcnn.modeling.network.Network`.
        predictor: finds objects with it; `mrcnn.inference.tiling` takes it for images of any size.
        epoch: how many epochs its weights were trained.
        log_dir: the folder of the logs, made when training begins.
    """

    def __init__(self, mode: str, config: Config, model_dir: str | Path, seed: int = 0):
        if mode not in ("training", "inference"):
            raise ValueError(f"mode is 'training' or 'inference', not {mode!r}")
        backend.advise()
        keras.utils.set_random_seed(seed)
        self.mode = mode
        self.config = config
        self.model_dir = Path(model_dir)
        self.seed = seed
        self._distribution = distribution(config.GPU_COUNT)
        with within(self._distribution):
            self.keras_model = Network(config)
        self.predictor = Predictor(self.keras_model)
        self._resumed: Path | None = None  # the checkpoint whose optimiser the next training continues
        self.set_log_dir()

    def set_log_dir(self, model_path: str | Path | None = None) -> None:
        """Go on with the folder, epoch and optimiser of a checkpoint in its logs, or begin a new folder."""
        path = Path(model_path) if model_path else None
        epoch = checkpoint.epoch_of(path) if path and checkpoint.is_in_logs(path) else None
        if path is not None and epoch is not None:
            self.log_dir, self.epoch, self._resumed = path.parent, epoch, path
            return
        time = datetime.now().astimezone().strftime("%Y%m%dT%H%M%S")
        self.log_dir, self.epoch = self.model_dir / f"{self._name}{time}", 0
        self._resumed = None

    @property
    def _name(self) -> str:
        return (self.config.NAME or "mask_rcnn").lower()

    def find_last(self) -> str:
        """Path of the last checkpoint of the last training in `model_dir`.

        Raises:
            FileNotFoundError: there is none.
        """
        return str(checkpoint.find_last(self.model_dir, self._name))

    def load_weights(
        self, filepath: str | Path, by_name: bool = False, exclude: Sequence[str] | None = None
    ) -> weights.Report:
        """Read weights: Matterport's files, this class's checkpoints, what `get_imagenet_weights` names.

        The report is printed and returned: layers loaded, layers of the file not used, layers of the network
        left as they were. After a checkpoint in its folder of logs, training continues its epoch, optimiser
        and schedule.

        Args:
            filepath: an h5 file with weights by layer name.
            by_name: take what the file has; False: it must have every layer.
            exclude: layers of the file to leave out, whose shapes differ on purpose.

        Raises:
            InputError: the file is missing or broken, a shape differs, or nothing fits.
        """
        if str(filepath) == efficientnet.NAME:
            report = efficientnet.load_imagenet_weights(self.keras_model)
        else:
            report = weights.read(Path(filepath), self.keras_model, by_name or bool(exclude), exclude)
        print(f"{filepath}: {report}")
        self.set_log_dir(filepath)
        return report

    def get_imagenet_weights(self) -> str:
        """Path of ImageNet weights for the backbone, for `load_weights(path, by_name=True)`.

        Those of EfficientNet-Lite0 come with pip; ResNet-50's are downloaded once, and serve ResNet-101 for
        the blocks that both have, as Matterport does it.

        Raises:
            InputError: they cannot be downloaded; the message says where to put the file.
            ValueError: the backbone is the user's own.
        """
        return pretrained.imagenet_weights(self.config.BACKBONE)

    def save(self, folder: str | Path) -> None:
        """Write the weights and the configuration into `folder`, from which `load` makes the model again."""
        weights.write(Path(folder) / WEIGHTS, self.keras_model)
        write_json(Path(folder) / CONFIG, self.config.to_dict())

    def set_trainable(self, layer_regex: str, keras_model=None, indent: int = 0, verbose: int = 1) -> None:
        """Train the layers whose whole name matches, and keep all others as they are.

        Args:
            layer_regex: a regular expression.
            keras_model: default: the network.
            indent, verbose: the names are printed, so far to the right, unless `verbose` is 0.
        """
        found = weights.layers(keras_model or self.keras_model)
        chosen = {name for name in found if re.fullmatch(layer_regex, name)}
        if not chosen:
            raise ValueError(f"no layer matches {layer_regex!r}; some are {', '.join(sorted(found)[:5])}")
        for name, layer in found.items():
            layer.trainable = name in chosen
            if verbose and layer.trainable:
                print(f"{' ' * indent}{name:20} ({type(layer).__name__})")

    def train(
        self,
        train_dataset: Dataset,
        val_dataset: Dataset | None,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        epochs: int,
        layers: str = "all",
        augmentation=None,
        custom_callbacks: list[keras.callbacks.Callback] | None = None,
        no_augmentation_sources: Sequence[str] | None = None,
    ) -> dict[str, list[float]]:
        """Train up to epoch `epochs`; after `load_weights(find_last())` from the epoch of that checkpoint.

        After each epoch the log folder has its weights (`mask_rcnn_<name>_<epoch>.h5`), those of the epoch
        with the smallest validation loss (`..._best.h5`), `losses.csv` and TensorBoard's events. With
        WEIGHT_AVERAGING the network ends with the average of its weights over the last steps.

        Args:
            train_dataset: prepared; images are drawn by their `weight` where they have one.
            val_dataset: losses on it are logged after each epoch, where given and VALIDATION_STEPS is not 0.
            learning_rate: a number, or a schedule over the optimiser's steps.
            epochs: of STEPS_PER_EPOCH steps each, those done before included.
            layers: "heads", "3+", "4+", "5+" (the heads and the backbone from that stage on), "all", or a
                regular expression of layer names.
            augmentation: (image, labels, rng) -> (image, labels), see
                `mrcnn.data.augment.as_augmentation`.
            custom_callbacks: further Keras callbacks.
            no_augmentation_sources: sources of images that are not augmented.

        Returns:
            losses by name, one value an epoch.

        Raises:
            ValueError: not in training mode, a dataset that cannot be trained on, or unknown `layers`.
            FloatingPointError: the loss is no longer finite.
        """
        if self.mode != "training":
            raise ValueError("this model was made for inference; make it with mode='training'")
        backend.repeat_exactly()
        excluded = tuple(no_augmentation_sources or ())
        batches = Batches(
            train_dataset, self.config, as_augmentation(augmentation), self.seed, self.epoch, excluded
        )
        validation = None
        steps = self.config.VALIDATION_STEPS
        if val_dataset and steps:
            validation = Batches(val_dataset, self.config, seed=self.seed + 1, fixed=True, steps=steps)
        self.set_trainable(LAYERS.get(layers, layers), verbose=0)
        log = callbacks.LossLog(self.log_dir, self.epoch)
        bar = tqdm(total=epochs * len(batches), desc=f"training {self._name}", unit="step")
        with bar, within(self._distribution):
            beside = callbacks.beside(log, bar, self._name, self.config.CHECKPOINTS_KEPT, custom_callbacks)
            self._fit(self._trainer(learning_rate), batches, validation, epochs, beside)
        return log.losses

    def _trainer(self, learning_rate) -> Trainer:
        """The network with its losses and its optimiser, the latter as a checkpoint left it."""
        trainer = Trainer(self.keras_model, self.seed)
        trainer.prepare(learning_rate)
        if self._resumed and not checkpoint.restore(self._resumed, trainer):
            logger.warning(f"{self._resumed} has no state of an optimiser for these layers: it starts anew")
        return trainer

    def _fit(self, trainer: Trainer, batches, validation, epochs: int, beside: list) -> None:
        if self.epoch < epochs:
            # Shuffled batches of an epoch would not be those of a resumed one.
            with own_errors(batches, validation):
                trainer.fit(
                    batches, validation_data=validation, initial_epoch=self.epoch, epochs=epochs,
                    callbacks=beside, shuffle=False, verbose=0,
                )  # fmt: skip
            self.epoch, self._resumed = epochs, None
            return
        logger.info(f"{self.log_dir}: {self.epoch} epochs are done already, {epochs} were asked for")
        if self.epoch > epochs:  # the state is of a later call, which goes on with it
            return
        self._resumed = None
        if trainer.optimizer.use_ema and trainer.optimizer.iterations.numpy() > 0:
            # They were done by this optimiser; what `fit` does at its end may not be.
            trainer.optimizer.finalize_variable_values(trainer.trainable_variables)

    def detect(self, images: Sequence[np.ndarray], verbose: int = 0) -> list[dict[str, np.ndarray]]:
        """Objects in images of any size, resized as IMAGE_RESIZE_MODE says.

        In the mode "crop" an image larger than the network's input goes through it in overlapping tiles
        (`mrcnn.inference.tiling`); its masks then do not overlap.

        Args:
            images: each (H, W, 3) uint8 RGB.
            verbose: 1 shows a progress bar.

        Returns:
            for each image a dict of rois (N, 4) int32 px, class_ids (N,) int32, scores (N,) float32 and
            masks (H, W, N) bool.
        """
        return detection.detect(self.predictor, images, verbose)


def load(folder: str | Path, **changes) -> MaskRCNN:
    """The model that `MaskRCNN.save` wrote into `folder`, for inference.

    Args:
        folder: holds the weights and the configuration.
        changes: configuration attributes to set otherwise, such as DETECTION_MIN_CONFIDENCE; GPU_COUNT is 1
            unless it is one of them.

    Raises:
        InputError: the folder holds no model, or a broken one.
    """
    path, attributes = find_model(Path(folder))
    config = Config()
    for name, value in {**attributes, "GPU_COUNT": 1, **changes}.items():
        if not isinstance(getattr(Config, name, None), property):
            setattr(config, name, tuple(value) if isinstance(value, list) else value)
    try:
        model = MaskRCNN("inference", config, folder)
    except (ValueError, TypeError) as error:
        raise InputError(f"{Path(folder) / CONFIG} does not describe a network: {error}") from error
    weights.read(path, model.keras_model)
    return model
