"""The two heads on pooled regions: class and box, and the mask.

Batch normalisation runs with its stored statistics, in training too: batches are far too small to
estimate them (as Matterport's TRAIN_BN = False).
"""

from __future__ import annotations

import keras
from keras import layers

from mrcnn.config import Config


def _normalise(x, name: str):
    return layers.ReLU()(layers.BatchNormalization(name=name)(x, training=False))


def build_box_head(config: Config) -> keras.Model:
    """(N, pool, pool, C) -> class logits (N, classes) and box deltas (N, classes, 4)."""
    size, classes = config.POOL_SIZE, config.NUM_CLASSES
    pooled = keras.Input((size, size, config.TOP_DOWN_PYRAMID_SIZE))
    x = layers.Conv2D(config.FPN_CLASSIF_FC_LAYERS_SIZE, size, name="mrcnn_class_conv1")(pooled)
    x = _normalise(x, "mrcnn_class_bn1")
    x = layers.Conv2D(config.FPN_CLASSIF_FC_LAYERS_SIZE, 1, name="mrcnn_class_conv2")(x)
    shared = layers.Flatten()(_normalise(x, "mrcnn_class_bn2"))
    logits = layers.Dense(classes, name="mrcnn_class_logits")(shared)
    deltas = layers.Dense(4 * classes, name="mrcnn_bbox_fc")(shared)
    return keras.Model(pooled, [logits, layers.Reshape((classes, 4))(deltas)], name="mrcnn_box_head")


def build_mask_head(config: Config) -> keras.Model:
    """(N, pool, pool, C) -> mask logits (N, 2 * pool, 2 * pool, classes)."""
    size = config.MASK_POOL_SIZE
    pooled = keras.Input((size, size, config.TOP_DOWN_PYRAMID_SIZE))
    x = pooled
    for number in range(1, 5):
        x = layers.Conv2D(config.MASK_CHANNELS, 3, padding="same", name=f"mrcnn_mask_conv{number}")(x)
        x = _normalise(x, f"mrcnn_mask_bn{number}")
    x = layers.Conv2DTranspose(config.MASK_CHANNELS, 2, 2, activation="relu", name="mrcnn_mask_deconv")(x)
    logits = layers.Conv2D(config.NUM_CLASSES, 1, name="mrcnn_mask")(x)
    return keras.Model(pooled, logits, name="mrcnn_mask_head")
