"""Small configurations and datasets that several tests of training data use."""

import numpy as np

from mrcnn import utils
from mrcnn.config import NucleusConfig


class Tiny(NucleusConfig):
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 3
    MAX_GT_INSTANCES = 5


class Labelled(utils.Dataset):
    """One image with the labels that are given, all of class 1."""

    def __init__(self, labels):
        super().__init__()
        self.labels = labels
        self.add_class("slides", 1, "nucleus")
        self.add_class("other", 1, "gland")
        self.add_image("slides", 0, "slide.png")
        self.prepare()

    def load_image(self, image_id):
        return np.where(self.labels[..., None] > 0, 0, np.full(3, 200)).astype(np.uint8)

    def load_labels(self, image_id):
        return self.labels, np.ones(self.labels.max(), np.int32)


def squares(count, side=128):
    """Labels 1 to `count`, each of 6 x 6 px."""
    labels = np.zeros((side, side), np.int32)
    for number in range(count):
        row, column = 10 * (number // 12), 10 * (number % 12)
        labels[row : row + 6, column : column + 6] = number + 1
    return labels
