"""Normalisation that works for batches of a few images."""

from __future__ import annotations

import keras
from keras import layers

GROUPS = 8


def group_norm(x, name: str):
    """Normalise maps (B, H, W, C) over the pixels and the channels of each of `GROUPS` groups.

    Without it the new layers, which start from random weights, take three times as many steps.
    Source: Wu and He, "Group Normalization", ECCV 2018.
    """
    return layers.GroupNormalization(GROUPS, name=name)(x)


class BatchNorm(layers.BatchNormalization):
    """Batch normalisation that keeps to the `training` with which it was first called.

    False uses the stored statistics always; True those of the batch always; None those of the batch
    while training. (A Keras functional model forgets what its layers were called with.) A layer with
    `trainable = False` uses the stored statistics whatever it was called with.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._kept = None

    def __call__(self, inputs, training=None, **kwargs):
        if not self.built:
            self._kept = training
        return super().__call__(inputs, training=training if self._kept is None else self._kept, **kwargs)


def convolution_norm(
    x: keras.KerasTensor, convolution: layers.Conv2D, name: str, train_bn: bool | None
) -> keras.KerasTensor:
    """Maps x (B, H, W, C) through `convolution`, then the batch normalisation `name`; see `BatchNorm`."""
    return BatchNorm(name=name)(convolution(x), training=train_bn)
