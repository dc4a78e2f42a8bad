"""Normalisation that works for batches of a few images."""

from __future__ import annotations

import keras
from keras import layers, ops

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


class FoldedConvolution(layers.Layer):
    """A convolution and the batch normalisation after it, with stored statistics, as one convolution.

    The same function with fewer passes over the maps, for the price of one over the kernel; gradients
    reach kernel, bias, gamma and beta. Both layers keep their names and weights.

    Args:
        convolution: with a bias and without an activation.
        norm: over the last axis.
    """

    def __init__(self, convolution: layers.Conv2D, norm: BatchNorm):
        # Without autocasting the kernel is scaled in float32, whatever precision the convolution has.
        super().__init__(name=f"{convolution.name}_folded", dtype=convolution.dtype_policy, autocast=False)
        self.convolution = convolution
        self.norm = norm

    def build(self, input_shape):
        """Create the weights of both layers."""
        self.convolution.build(input_shape)
        self.norm.build(self.compute_output_shape(input_shape))

    def compute_output_shape(self, input_shape) -> tuple:
        """The shape of the convolution's result."""
        return self.convolution.compute_output_shape(input_shape)

    def call(self, inputs):
        """Maps (B, H, W, C) -> normalised maps (B, h, w, filters)."""
        convolution, norm = self.convolution, self.norm
        scale = norm.gamma * ops.rsqrt(norm.moving_variance + norm.epsilon)
        bias = norm.beta + (convolution.bias - norm.moving_mean) * scale
        kernel = ops.cast(convolution.kernel * scale, self.compute_dtype)
        outputs = convolution.convolution_op(ops.cast(inputs, self.compute_dtype), kernel)
        # Unlike `+`, ops.add becomes TensorFlow's bias_add, which it fuses with the convolution.
        return ops.add(outputs, ops.cast(bias, self.compute_dtype))


def convolution_norm(
    x: keras.KerasTensor, convolution: layers.Conv2D, name: str, train_bn: bool | None
) -> keras.KerasTensor:
    """`convolution` of x, then batch normalisation called `name`; one step where `train_bn` is False.

    Args:
        x: (B, H, W, C).
        convolution: with a bias and without an activation.
        name: of the batch normalisation.
        train_bn: see `BatchNorm`.
    """
    norm = BatchNorm(name=name)
    if train_bn is False:
        return FoldedConvolution(convolution, norm)(x)
    return norm(convolution(x), training=train_bn)
