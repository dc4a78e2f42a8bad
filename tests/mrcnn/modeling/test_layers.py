"""Batch normalisation that stays as it was asked for."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from mrcnn.modeling import weights
from mrcnn.modeling.layers import BatchNorm, convolution_norm

RNG = np.random.default_rng(0)


def in_a_model(train_bn):
    """A convolution and its batch norm in a functional model, which passes `training` on to its layers."""
    entry = keras.Input((4, 4, 2))
    outputs = convolution_norm(entry, layers.Conv2D(3, 1, name="c"), "n", train_bn)
    model = keras.Model(entry, outputs)
    image = RNG.uniform(-1, 1, (2, 4, 4, 2)).astype(np.float32)
    convolved = weights.layers(model)["c"](image)
    with_stored, with_batch = (BatchNorm()(convolved, training=training) for training in (False, True))
    return model, image, with_stored, with_batch


def test_false_uses_stored_statistics_in_training_too():
    model, image, stored, _ = in_a_model(False)
    before = model.get_weights()
    for training in (False, True):
        np.testing.assert_allclose(model(image, training=training), stored, atol=1e-5)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_none_uses_those_of_the_batch_while_training():
    model, image, stored, batch = in_a_model(None)
    np.testing.assert_allclose(model(image, training=False), stored, atol=1e-5)
    np.testing.assert_allclose(model(image, training=True), batch, atol=1e-5)


def test_true_uses_those_of_the_batch_always():
    model, image, _, batch = in_a_model(True)
    for training in (False, True):
        np.testing.assert_allclose(model(image, training=training), batch, atol=1e-5)


def test_batch_norm_keeps_what_it_was_first_called_with():
    entry = keras.Input((4, 4, 2))
    model = keras.Model(entry, BatchNorm(name="n")(entry, training=False))
    image = RNG.uniform(-1, 1, (2, 4, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(model(image, training=True), image / np.sqrt(1.001), atol=1e-6)
