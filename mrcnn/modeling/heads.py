"""The two heads on pooled regions: class and box, and the mask."""

from __future__ import annotations

import keras
from keras import layers, ops

from mrcnn.config import Config
from mrcnn.modeling.layers import WholeMapConvolution, WinogradConvolution, convolution_norm, group_norm


def _normalised(x, convolution: layers.Conv2D, config: Config, part: str, number: int):
    """A convolution, normalised by groups or as TRAIN_BN says, and rectified."""
    if config.GROUP_NORM:
        x = group_norm(convolution(x), f"mrcnn_{part}_gn{number}")
    else:
        x = convolution_norm(x, convolution, f"mrcnn_{part}_bn{number}", config.TRAIN_BN)
    return layers.ReLU()(x)


def build_box_head(config: Config) -> keras.Model:
    """(N, pool, pool, C) -> class logits (N, classes) and box deltas (N, classes, 4)."""
    size, classes = config.POOL_SIZE, config.NUM_CLASSES
    pooled = keras.Input((size, size, config.TOP_DOWN_PYRAMID_SIZE))
    width = config.FPN_CLASSIF_FC_LAYERS_SIZE
    x = _normalised(pooled, WholeMapConvolution(width, size, name="mrcnn_class_conv1"), config, "class", 1)
    x = _normalised(x, WholeMapConvolution(width, 1, name="mrcnn_class_conv2"), config, "class", 2)
    shared = layers.Flatten()(x)
    logits = layers.Dense(classes, name="mrcnn_class_logits")(shared)
    deltas = layers.Dense(4 * classes, name="mrcnn_bbox_fc")(shared)
    return keras.Model(pooled, [logits, layers.Reshape((classes, 4))(deltas)], name="mrcnn_box_head")


def build_mask_head(config: Config) -> keras.Model:
    """(N, pool, pool, C) -> mask logits (N, 2 * pool, 2 * pool, classes)."""
    size = config.MASK_POOL_SIZE
    pooled = keras.Input((size, size, config.TOP_DOWN_PYRAMID_SIZE))
    x = pooled
    for number in range(1, 5):
        name = f"mrcnn_mask_conv{number}"
        convolution = WinogradConvolution(config.MASK_CHANNELS, 3, padding="same", name=name)
        x = _normalised(x, convolution, config, "mask", number)
    x = layers.Conv2DTranspose(config.MASK_CHANNELS, 2, 2, activation="relu", name="mrcnn_mask_deconv")(x)
    logits = layers.Conv2D(config.NUM_CLASSES, 1, name="mrcnn_mask")(x)
    return keras.Model(pooled, logits, name="mrcnn_mask_head")


def of_class(values, class_ids):
    """Of values (B, P, classes, ...) those of each region's class: (B, P, ...); padding reads class 0."""
    classes = values.shape[2]
    one_hot = ops.one_hot(ops.maximum(class_ids, 0), classes, dtype=values.dtype)
    one_hot = ops.reshape(one_hot, (*ops.shape(one_hot), *([1] * (len(values.shape) - 3))))
    return ops.sum(values * one_hot, axis=2)
