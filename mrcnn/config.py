"""Settings of the network as Matterport's users know them: subclass `Config`, override attributes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nuclei.errors import InputError
from nuclei.files import read_json

WEIGHTS = "mask_rcnn.weights.h5"  # the two files of a model's folder
CONFIG = "config.json"


class Config:
    """Base configuration; the values are Matterport's unless a comment says otherwise.

    Boxes are (y1, x1, y2, x2) in pixels of the network's input, y2 and x2 exclusive.
    """

    NAME = "mask_rcnn"
    BACKBONE = "efficientnet_lite0"  # its ImageNet weights come with pip; see mrcnn/backbone.py
    NUM_CLASSES = 1 + 1  # background + classes

    IMAGES_PER_GPU = 2
    GPU_COUNT = 1
    IMAGE_DIM = 256  # px; images are padded to a square of this side, a multiple of 64
    MEAN_PIXEL = (127.0, 127.0, 127.0)  # subtracted, RGB
    SCALE_PIXEL = 128.0  # then divided by

    TOP_DOWN_PYRAMID_SIZE = 256  # channels of the feature pyramid
    GROUP_NORM = False  # in the pyramid and the heads; False is Matterport's, whose weights have none
    BACKBONE_STRIDES = (4, 8, 16, 32, 64)  # px, of the pyramid levels P2 to P6

    RPN_CHANNELS = 512
    RPN_ANCHOR_SCALES = (32, 64, 128, 256, 512)  # px, one per pyramid level
    RPN_ANCHOR_RATIOS = (0.5, 1, 2)  # width / height
    RPN_ANCHOR_STRIDE = 1
    RPN_NMS_THRESHOLD = 0.7
    RPN_TRAIN_ANCHORS_PER_IMAGE = 256
    RPN_BBOX_STD_DEV = (0.1, 0.1, 0.2, 0.2)
    PRE_NMS_LIMIT = 6000
    POST_NMS_ROIS_TRAINING = 2000
    POST_NMS_ROIS_INFERENCE = 1000

    TRAIN_ROIS_PER_IMAGE = 200
    ROI_POSITIVE_RATIO = 0.33
    POOL_SIZE = 7
    FPN_CLASSIF_FC_LAYERS_SIZE = 1024
    MASK_POOL_SIZE = 14
    MASK_CHANNELS = 256
    MINI_MASK_SHAPE = (56, 56)  # masks are kept at this size inside their box while training
    BBOX_STD_DEV = (0.1, 0.1, 0.2, 0.2)

    MAX_GT_INSTANCES = 100
    DETECTION_MAX_INSTANCES = 100
    DETECTION_MIN_CONFIDENCE = 0.7
    DETECTION_NMS_THRESHOLD = 0.3

    OPTIMIZER = "sgd"  # or "adamw"
    LEARNING_RATE = 0.001
    LEARNING_MOMENTUM = 0.9
    WEIGHT_DECAY = 0.0001
    GRADIENT_CLIP_NORM = 5.0
    WEIGHT_AVERAGING = (
        0.0  # share that the running average of the weights keeps at each step; 0 takes the last
    )
    STEPS_PER_EPOCH = 1000
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
        """(height, width, channels) of the network's input."""
        return (self.IMAGE_DIM, self.IMAGE_DIM, 3)

    @property
    def MASK_SHAPE(self) -> tuple[int, int]:
        """(height, width) of a predicted mask inside its box."""
        return (2 * self.MASK_POOL_SIZE, 2 * self.MASK_POOL_SIZE)

    def to_dict(self) -> dict:
        """All attributes as plain values."""
        names = [name for name in dir(self) if name.isupper()]
        values = {name: getattr(self, name) for name in names}
        return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in values.items()}

    def display(self) -> None:
        """Print every attribute."""
        print("\nConfigurations:")
        for name, value in self.to_dict().items():
            print(f"{name:30} {value}")


class NucleusConfig(Config):
    """Nuclei in 256 px patches at 40x (0.25 um/px): many, 10 to 60 px wide, one class.

    Light enough for two processor cores. The anchors at stride 4 are as large as a typical nucleus.
    """

    NAME = "nucleus"
    TOP_DOWN_PYRAMID_SIZE = 64
    GROUP_NORM = True
    RPN_CHANNELS = 64
    RPN_ANCHOR_SCALES = (20, 36, 64, 96, 128)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 256
    PRE_NMS_LIMIT = 1000
    POST_NMS_ROIS_TRAINING = 300
    POST_NMS_ROIS_INFERENCE = 300
    TRAIN_ROIS_PER_IMAGE = 64
    ROI_POSITIVE_RATIO = 0.4
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    MASK_CHANNELS = 64
    MAX_GT_INSTANCES = 160
    DETECTION_MAX_INSTANCES = 160
    DETECTION_MIN_CONFIDENCE = 0.5
    OPTIMIZER = "adamw"
    WEIGHT_AVERAGING = 0.97


def find_model(folder: Path) -> tuple[Path, dict]:
    """Where the weights of a saved model lie, and the attributes of its configuration.

    Raises:
        InputError: the folder holds no model.
    """
    weights = Path(folder) / WEIGHTS
    if not weights.exists():
        raise InputError(f"{folder} holds no trained model ({WEIGHTS}); run pseudo_label.py first")
    return weights, read_json(Path(folder) / CONFIG)
