"""A network so small that a test can train it, and images that it learns in a minute.

`python -m tests.tiny_network` makes discs.h5 again, which is needed when the network has other weights.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf
from keras import layers

from mrcnn import utils
from mrcnn.config import NucleusConfig
from mrcnn.model import MaskRCNN, WarmUpAndDecay
from mrcnn.modeling import weights

SIDE = 128  # px
RADIUS = 10  # px, of a disc
CENTRES = ([(30, 30), (80, 40), (60, 100), (105, 90)], [(20, 100), (64, 64), (100, 30)])  # of two images
LEARNT = Path(__file__).with_name("discs.h5")
STEPS = 180  # to learn them by heart


def backbone(input_image, stage5=True, train_bn=False):
    """A convolution a stage, in the form of `mrcnn.modeling.backbones.find`."""
    x = layers.Rescaling(1 / 64)(input_image)
    maps = []
    for stage, channels in enumerate((8, 16, 24, 32, 32), 1):
        x = layers.Conv2D(channels, 3, 2, "same", activation="relu", name=f"c{stage}_convolution")(x)
        maps.append(x)
    return maps


class Tiny(NucleusConfig):
    NAME = "tiny"
    BACKBONE = staticmethod(backbone)
    CHECKPOINTS_KEPT = 0
    IMAGE_MIN_DIM = SIDE
    IMAGE_MAX_DIM = SIDE
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 1
    VALIDATION_STEPS = 1
    WORKERS = 0
    TOP_DOWN_PYRAMID_SIZE = 32
    RPN_CHANNELS = 32
    MASK_CHANNELS = 16
    MASK_POOL_SIZE = 7
    MASK_SHAPE = (14, 14)
    FPN_CLASSIF_FC_LAYERS_SIZE = 64
    PRE_NMS_LIMIT = 200
    POST_NMS_ROIS_TRAINING = 64
    POST_NMS_ROIS_INFERENCE = 64
    TRAIN_ROIS_PER_IMAGE = 24
    MAX_GT_INSTANCES = 16
    DETECTION_MAX_INSTANCES = 32
    OPTIMIZER = "sgd"
    WEIGHT_AVERAGING = 0.0


def config(**changes) -> Tiny:
    """The configuration, with some attributes set otherwise."""
    made = Tiny()
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@contextmanager
def eagerly(eager: bool = True):
    """A step takes a second instead of a tenth, but its compilation, of twelve seconds, is spared."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(eager)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def discs(centres, shape=(SIDE, SIDE), radius=RADIUS) -> tuple[np.ndarray, np.ndarray]:
    """Dark discs on a light ground: an image (H, W, 3) uint8 and its labels (H, W) int32."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    labels = np.zeros(shape, np.int32)
    for number, (row, column) in enumerate(centres, 1):
        labels[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    image = np.where(labels[..., None] > 0, np.array([90, 60, 130]), np.array([225, 190, 215]))
    return image.astype(np.uint8), labels


def assert_found(found, centres, shape, radius=RADIUS, error=3):
    """Each disc once, to `error` px, and nothing else: how exact its boxes are depends on the processor."""
    assert found["masks"].shape == (*shape, len(centres))
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    expected = {(row - radius, column - radius, row + radius, column + radius) for row, column in centres}
    for number, roi in enumerate(found["rois"]):
        nearest = min(expected, key=lambda box: np.abs(roi - box).max())
        assert np.abs(roi - nearest).max() <= error
        expected.remove(nearest)
        middle = (np.array(nearest[:2]) + nearest[2:]) / 2
        mask, disc = found["masks"][..., number], np.hypot(rows - middle[0], columns - middle[1]) <= radius
        assert (mask & disc).sum() / (mask | disc).sum() > 0.7
    assert not expected


class Discs(utils.Dataset):
    """Images of discs, each given by its centres (row, column) px."""

    def __init__(self, *images, **options):
        super().__init__()
        self.add_class("discs", 1, "nucleus")
        for number, centres in enumerate(images):
            self.add_image("discs", number, f"discs_{number}.png", drawn=discs(centres, **options))
        self.prepare()

    def load_image(self, image_id):
        return self.image_info[image_id]["drawn"][0]

    def load_mask(self, image_id):
        labels = self.image_info[image_id]["drawn"][1]
        ids = np.arange(1, labels.max() + 1)
        return labels[..., None] == ids, np.ones(len(ids), np.int32)


def learn_discs(folder: Path) -> tuple[MaskRCNN, dict[str, list[float]]]:
    """A network that learns the images of CENTRES by heart in `folder`, and its losses."""
    network = _of_discs(folder)
    return network, network.train(Discs(*CENTRES), None, WarmUpAndDecay(2e-3, STEPS), 3)


def knows_discs(folder: Path) -> MaskRCNN:
    """What `learn_discs` made earlier."""
    network = _of_discs(folder)
    network.load_weights(LEARNT)
    return network


def _of_discs(folder: Path) -> MaskRCNN:
    settings = config(STEPS_PER_EPOCH=STEPS // 3, OPTIMIZER="adamw", MEAN_PIXEL=(200.0, 170.0, 200.0))
    return MaskRCNN("training", settings, folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as logs:
        weights.write(LEARNT, learn_discs(Path(logs))[0].keras_model, np.float16)
