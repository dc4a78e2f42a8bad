"""The two heads on pooled regions: class and box, and the mask."""

from __future__ import annotations

import keras
from keras import layers

from mrcnn.config import Config
from mrcnn.norms import group_norm


def _normalise(x, config: Config, part: str, number: int):
    """Normalised and rectified, by groups or by stored statistics.

    Batch normalisation runs with its stored statistics, in training too: batches are far too small to
    estimate them (as Matterport's TRAIN_BN = False).
    """
    if config.GROUP_NORM:
        return layers.ReLU()(group_norm(x, f"mrcnn_{part}_gn{number}"))
    return layers.ReLU()(layers.BatchNormalization(name=f"mrcnn_{part}_bn{number}")(x, training=False))


def build_box_head(config: Config) -> keras.Model:
    """(N, pool, pool, C) -> class logits (N, classes) and box deltas (N, classes, 4)."""
    size, classes = config.POOL_SIZE, config.NUM_CLASSES
    pooled = keras.Input((size, size, config.TOP_DOWN_PYRAMID_SIZE))
    x = layers.Conv2D(config.FPN_CLASSIF_FC_LAYERS_SIZE, size, name="mrcnn_class_conv1")(pooled)
    x = _normalise(x, config, "class", 1)
    x = layers.Conv2D(config.FPN_CLASSIF_FC_LAYERS_SIZE, 1, name="mrcnn_class_conv2")(x)
    shared = layers.Flatten()(_normalise(x, config, "class", 2))
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
        x = _normalise(x, config, "mask", number)
    x = layers.Conv2DTranspose(config.MASK_CHANNELS, 2, 2, activation="relu", name="mrcnn_mask_deconv")(x)
    logits = layers.Conv2D(config.NUM_CLASSES, 1, name="mrcnn_mask")(x)
    return keras.Model(pooled, logits, name="mrcnn_mask_head")
