"""Settings of the network as Matterport's users know them: subclass `Config`, override attributes."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np

from nuclei.errors import InputError
from nuclei.io.files import digest, read_json

MPP = 0.25  # um/px that a model learnt at where its configuration does not say it
SAME_MPP = 0.2  # share by which the resolution may differ from that of the training
WEIGHTS = "mask_rcnn.h5"  # the two files of a model's folder
CONFIG = "config.json"

RESIZE_MODES = ("none", "square", "pad64", "crop")  # see `mrcnn.data.resizing.resize_image`

log = logging.getLogger(__name__)


class Config:
    """Base configuration; names and values are Matterport's unless a comment says otherwise.

    Boxes are (y1, x1, y2, x2) in pixels of the network's input, y2 and x2 exclusive.
    """

    NAME: str | None = None  # override: begins the name of every folder of logs
    GPU_COUNT = 1
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 1000
    VALIDATION_STEPS = 50
    WORKERS = 2  # threads that read and augment images (not Matterport's); 0: in the training loop itself
    CHECKPOINTS_KEPT = 0  # newest epochs kept on disk (not Matterport's); 0 keeps all

    BACKBONE = "resnet101"  # or resnet50, efficientnet_lite0, or a callable; see modeling/backbones.py
    COMPUTE_BACKBONE_SHAPE = None  # accepted; shapes are read from the backbone's maps
    BACKBONE_STRIDES = (4, 8, 16, 32, 64)  # px, of the pyramid levels P2 to P6
    TOP_DOWN_PYRAMID_SIZE = 256  # channels of the feature pyramid
    FPN_CLASSIF_FC_LAYERS_SIZE = 1024
    GROUP_NORM = False  # in the pyramid and the heads (not Matterport's, whose weights have none)

    CELL_CENTRED = False  # anchors and samples lie at the centres of cells and bins, as in later
    # implementations; False: where Matterport has them and its weights expect them

    NUM_CLASSES = 1  # override: background + classes

    RPN_CHANNELS = 512  # of the shared convolution; a number in Matterport's code
    RPN_ANCHOR_SCALES = (32, 64, 128, 256, 512)  # px, one per pyramid level
    RPN_ANCHOR_RATIOS: tuple[float, ...] = (0.5, 1, 2)  # width / height
    RPN_ANCHOR_STRIDE = 1
    RPN_NMS_THRESHOLD = 0.7
    RPN_TRAIN_ANCHORS_PER_IMAGE = 256
    RPN_BBOX_STD_DEV = (0.1, 0.1, 0.2, 0.2)
    PRE_NMS_LIMIT = 6000
    POST_NMS_ROIS_TRAINING = 2000
    POST_NMS_ROIS_INFERENCE = 1000

    USE_MINI_MASK = True
    MINI_MASK_SHAPE = (56, 56)  # masks are kept at this size inside their box while training

    IMAGE_RESIZE_MODE = "square"  # one of RESIZE_MODES
    IMAGE_MIN_DIM = 800  # px
    IMAGE_MAX_DIM = 1024  # px
    IMAGE_MIN_SCALE = 0  # smallest enlargement, whatever IMAGE_MIN_DIM; 0: none
    IMAGE_CHANNEL_COUNT = 3
    MEAN_PIXEL = (123.7, 116.8, 103.9)  # subtracted, RGB

    TRAIN_ROIS_PER_IMAGE = 200
    ROI_POSITIVE_RATIO = 0.33
    NEGATIVE_ROI_OVERLAP = 0.5  # regions that overlap every object by less are background; a number in
    # Matterport's code. From there to 0.5, where objects begin, they are not learnt
    POOL_SIZE = 7
    MASK_POOL_SIZE = 14
    MASK_SHAPE = (28, 28)  # of a predicted mask inside its box: twice MASK_POOL_SIZE
    MASK_CHANNELS = 256  # a number in Matterport's code
    BBOX_STD_DEV = (0.1, 0.1, 0.2, 0.2)
    USE_RPN_ROIS = True  # False is not supported: proposals always come from the network

    MAX_GT_INSTANCES = 100
    DETECTION_MAX_INSTANCES = 100
    DETECTION_MIN_CONFIDENCE = 0.7
    DETECTION_NMS_THRESHOLD = 0.3
    DETECTION_ABOVE_BACKGROUND = True  # only where a class is likelier than background (not a setting of
    # Matterport's, whose code always asks for it)

    OPTIMIZER = "sgd"  # or "adamw" (not Matterport's)
    LEARNING_RATE = 0.001
    LEARNING_MOMENTUM = 0.9
    WEIGHT_DECAY = 0.0001
    GRADIENT_CLIP_NORM: float | None = 5.0
    TRAIN_BN = False  # batch norm: False uses stored statistics, None those of the batch while training
    WEIGHT_AVERAGING = (
        0.0  # share that the running average of the weights keeps at each step; 0 takes the last
    )
    MIXED_PRECISION = False  # compute in bfloat16, keep weights and losses in float32
    LOSS_WEIGHTS = {
        "rpn_class_loss": 1.0,
        "rpn_bbox_loss": 1.0,
        "mrcnn_class_loss": 1.0,
        "mrcnn_bbox_loss": 1.0,
        "mrcnn_mask_loss": 1.0,
    }

    @property
    def BATCH_SIZE(self) -> int:
        """Images in one training step."""
        return self.IMAGES_PER_GPU * self.GPU_COUNT

    @property
    def IMAGE_SHAPE(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images of a training step."""
        side = self.IMAGE_MIN_DIM if self.IMAGE_RESIZE_MODE == "crop" else self.IMAGE_MAX_DIM
        return (side, side, self.IMAGE_CHANNEL_COUNT)

    @property
    def IMAGE_META_SIZE(self) -> int:
        """Numbers in an image's meta vector; see `mrcnn.compat.ground_truth.compose_image_meta`."""
        return 1 + 3 + 3 + 4 + 1 + self.NUM_CLASSES

    def check(self) -> None:
        """Raise ValueError, one line, where the attributes contradict each other or cannot be used."""
        if self.NUM_CLASSES < 2:
            raise ValueError(f"NUM_CLASSES is {self.NUM_CLASSES}; it counts the background and each class")
        if self.IMAGE_RESIZE_MODE not in RESIZE_MODES:
            known = ", ".join(RESIZE_MODES)
            raise ValueError(f"IMAGE_RESIZE_MODE is {self.IMAGE_RESIZE_MODE!r}; known: {known}")
        if self.IMAGE_RESIZE_MODE != "none" and any(side % 64 for side in self.IMAGE_SHAPE[:2]):
            raise ValueError(
                f"images of {self.IMAGE_SHAPE[0]} px cannot be halved six times; "
                "set IMAGE_MIN_DIM and IMAGE_MAX_DIM to multiples of 64"
            )
        if np.size(self.MEAN_PIXEL) != self.IMAGE_CHANNEL_COUNT:
            raise ValueError(
                f"MEAN_PIXEL has {np.size(self.MEAN_PIXEL)} values; give one for each of the "
                f"{self.IMAGE_CHANNEL_COUNT} channels of IMAGE_CHANNEL_COUNT"
            )
        if tuple(self.MASK_SHAPE) != (2 * self.MASK_POOL_SIZE,) * 2:
            raise ValueError(
                f"MASK_SHAPE is {tuple(self.MASK_SHAPE)}; it must be twice MASK_POOL_SIZE, "
                f"which is {self.MASK_POOL_SIZE}"
            )
        if not self.USE_RPN_ROIS:
            raise ValueError("USE_RPN_ROIS = False is not supported; proposals come from the network")
        if len(self.RPN_ANCHOR_SCALES) != len(self.BACKBONE_STRIDES):
            raise ValueError(
                f"{len(self.RPN_ANCHOR_SCALES)} RPN_ANCHOR_SCALES for {len(self.BACKBONE_STRIDES)} "
                "BACKBONE_STRIDES; each pyramid level has one of both"
            )

    def to_dict(self) -> dict:
        """All attributes as plain values; a callable by its name."""
        return {name: _plain(getattr(self, name)) for name in dir(self) if name.isupper()}

    def display(self) -> None:
        """Print every attribute."""
        print("\nConfigurations:")
        for name, value in self.to_dict().items():
            print(f"{name:30} {value}")
        print()


def _plain(value):
    if isinstance(value, np.ndarray):
        return value.tolist()
    return getattr(value, "__name__", repr(value)) if callable(value) else value


class NucleusConfig(Config):
    """Nuclei in 256 px patches at 40x (0.25 um/px): many, 10 to 60 px wide, one class.

    Light enough for two processor cores. The anchors at stride 4 are as large as the smallest nuclei.
    """

    NAME = "nucleus"
    MPP = MPP  # um/px of the images that it learns from (not Matterport's): `segment.py` sees slides at that
    NUM_CLASSES = 1 + 1
    BACKBONE = "efficientnet_lite0"  # its ImageNet weights come with pip
    CHECKPOINTS_KEPT = 1
    IMAGE_RESIZE_MODE = "crop"
    IMAGE_MIN_DIM = 256
    IMAGE_MAX_DIM = 256
    MEAN_PIXEL = (127.0, 127.0, 127.0)
    TOP_DOWN_PYRAMID_SIZE = 64
    GROUP_NORM = True
    CELL_CENTRED = True
    RPN_CHANNELS = 64
    RPN_ANCHOR_SCALES = (12, 22, 40, 72, 128)
    PRE_NMS_LIMIT = 1500
    POST_NMS_ROIS_TRAINING = 300
    POST_NMS_ROIS_INFERENCE = 512
    TRAIN_ROIS_PER_IMAGE = 64
    ROI_POSITIVE_RATIO = 0.4
    NEGATIVE_ROI_OVERLAP = 0.3  # of a small nucleus a proposal a few px off is no background
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    MASK_CHANNELS = 64
    MAX_GT_INSTANCES = 400  # a crowded patch has 200, and small ones at 20x more
    DETECTION_MAX_INSTANCES = 256
    DETECTION_MIN_CONFIDENCE = 0.5
    DETECTION_ABOVE_BACKGROUND = False  # what is less sure is asked for too, to tell it from background
    OPTIMIZER = "adamw"
    WEIGHT_AVERAGING = 0.97


def find_model(folder: Path) -> tuple[Path, dict]:
    """Where the weights of a saved model lie, and the attributes of its configuration.

    Raises:
        InputError: the folder holds no model, or its configuration is none of a network.
    """
    weights = Path(folder) / WEIGHTS
    if not weights.exists():
        raise InputError(f"{folder} holds no trained model ({WEIGHTS}); run pseudo_label.py first")
    attributes = read_json(Path(folder) / CONFIG)
    # What else may be wrong in it shows when the network is built; this is needed before.
    shape = attributes.get("IMAGE_SHAPE") if isinstance(attributes, dict) else None
    if not isinstance(shape, list) or not shape or not all(isinstance(side, int) for side in shape):
        raise InputError(
            f"{Path(folder) / CONFIG} describes no network; run pseudo_label.py again or name another --model"
        )
    return weights, attributes


def resolution(folder: Path, mpp: float | None = None) -> float:
    """The um/px at which a model shall see slides: `mpp`, or that of its training.

    Raises:
        InputError: `mpp` is far from that of its training, or one of them is no resolution.
    """
    path, attributes = Path(folder) / CONFIG, find_model(folder)[1]
    learnt = attributes.get("MPP", MPP)
    if not isinstance(learnt, int | float) or not 0 < learnt < math.inf:
        raise InputError(f"{path} says that MPP is {learnt!r}; it must be above 0, in um per px")
    if mpp is None:
        return float(learnt)
    if not 0 < mpp < math.inf:
        raise InputError(f"--mpp is {mpp}; it must be above 0, in um per px")
    if abs(mpp / learnt - 1) > SAME_MPP:
        raise InputError(
            f"--mpp is {mpp:g}, but the model in {folder} learnt at {learnt:g} um per px; leave --mpp out, "
            "or train a model at that resolution"
        )
    return mpp


def check_takes_tiles(folder: Path, attributes: dict) -> None:
    """InputError for a model of other channels than RGB, or that learnt from resized images.

    `mrcnn.inference.tiling` keeps their size.
    """
    channels = attributes.get("IMAGE_CHANNEL_COUNT", 3)
    if channels != 3:
        raise InputError(f"{folder} takes images of {channels} channels; use its detect() in Python")
    mode, scale = attributes.get("IMAGE_RESIZE_MODE"), attributes.get("IMAGE_MIN_SCALE") or 0
    if mode in RESIZE_MODES and (mode != "crop" or scale > 1):
        raise InputError(
            f"{folder} learnt from resized images (IMAGE_RESIZE_MODE {mode!r}, IMAGE_MIN_SCALE {scale}), and "
            "scripts show it images as they are; use its detect() in Python, or train in the mode 'crop'"
        )


def fingerprint(folder: Path) -> str:
    """Twelve hexadecimal digits that change with the weights or the configuration of a saved model.

    Raises:
        InputError: as `find_model`.
    """
    find_model(folder)
    return digest((Path(folder) / name).read_bytes() for name in (WEIGHTS, CONFIG))


def is_whole(folder: Path, expected: str | None) -> bool:
    """Whether a saved model still has the `fingerprint` that it ended with; a warning says where it has not.

    None, which earlier versions noted, is taken for any.
    """
    files = all((folder / name).exists() for name in (WEIGHTS, CONFIG))
    if files and expected in (None, fingerprint(folder)):
        return True
    log.warning("%s is damaged or was changed since it was trained; it is made again", folder / WEIGHTS)
    return False
