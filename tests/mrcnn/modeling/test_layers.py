"""Batch normalisation that stays as it was asked for; fast convolutions against Keras's own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from mrcnn import backend
from mrcnn.modeling import layers as network_layers
from mrcnn.modeling import weights
from mrcnn.modeling.layers import BatchNorm, convolution_norm

RNG = np.random.default_rng(0)
WIDE = 256  # channels


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


def normal(*shape):
    return tf.constant(RNG.normal(size=shape), tf.float32)


def outputs_and_gradients(function, *inputs):
    """Of a sum in which every output counts differently."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
        factors = np.random.default_rng(1).normal(size=outputs.shape).astype(np.float32)
        total = tf.reduce_sum(outputs * factors)
    return [outputs, *tape.gradient(total, inputs)]


def assert_equal(found, expected, tolerance=1e-5):
    """To a share of the largest entry."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize("shape", [(8, 8), (5, 7), (14, 14), (1, 2), (3, 32)])
def test_winograd_equals_the_convolution_and_so_do_the_gradients(shape):
    inputs, kernel = normal(2, *shape, 3), normal(3, 3, 3, 4)
    expected = outputs_and_gradients(lambda *given: ops.conv(*given, padding="same"), inputs, kernel)
    assert_equal(outputs_and_gradients(network_layers.winograd, inputs, kernel), expected)


def test_winograd_of_a_single_pixel_hand_computed():
    kernel = np.arange(1, 10, dtype=np.float32).reshape(3, 3, 1, 1)
    inputs = np.zeros((1, 5, 5, 1), np.float32)
    inputs[0, 0, 4] = 1  # in a corner; each output is the entry of the kernel that lies over the pixel
    expected = np.zeros((5, 5))
    expected[:2, 3:] = [[6, 5], [3, 2]]
    found = np.array(network_layers.winograd(inputs, kernel))[0, ..., 0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_winograd_keeps_its_shape_in_a_graph_of_unknown_batches():
    @tf.function(input_signature=[tf.TensorSpec((None, 6, 9, 2), tf.float32)])
    def convolved(inputs):
        return network_layers.winograd(inputs, np.ones((3, 3, 2, 5), np.float32))

    assert convolved(normal(3, 6, 9, 2)).shape == (3, 6, 9, 5)


def calls_of_winograd(monkeypatch):
    """A list that gets an entry for each of its calls."""
    calls, winograd = [], network_layers.winograd
    monkeypatch.setattr(network_layers, "winograd", lambda *given: calls.append(1) or winograd(*given))
    return calls


def test_a_wide_layer_is_computed_so_and_answers_as_conv2d(monkeypatch):
    calls = calls_of_winograd(monkeypatch)
    monkeypatch.setattr(backend, "has_gpu", lambda: False)
    ours = network_layers.WinogradConvolution(WIDE, 3, padding="same", activation="relu")
    inputs = normal(1, 6, 5, WIDE)
    ours(inputs)
    ours.bias.assign(normal(WIDE))
    keras_own = layers.Conv2D(WIDE, 3, padding="same", activation="relu")
    keras_own(inputs)
    keras_own.set_weights(ours.get_weights())
    assert_equal([ours(inputs)], [keras_own(inputs)])
    assert calls


@pytest.mark.parametrize(
    ("filters", "dtype", "gpu"),
    [(8, "float32", False), (WIDE, "mixed_bfloat16", False), (WIDE, "float32", True)],
)
def test_narrow_layers_few_bits_and_gpus_keep_the_plain_form(monkeypatch, filters, dtype, gpu):
    calls = calls_of_winograd(monkeypatch)
    monkeypatch.setattr(backend, "has_gpu", lambda: gpu)
    layer = network_layers.WinogradConvolution(filters, 3, padding="same", dtype=dtype)
    assert layer(normal(1, 4, 4, WIDE)).shape == (1, 4, 4, filters)
    assert not calls


def test_a_kernel_as_large_as_the_map_is_one_product():
    ours, keras_own = network_layers.WholeMapConvolution(6, 5), layers.Conv2D(6, 5)
    inputs = normal(4, 5, 5, 3)
    ours(inputs), keras_own(inputs)
    keras_own.set_weights(ours.get_weights())
    found, expected = (outputs_and_gradients(layer, inputs) for layer in (ours, keras_own))
    assert found[0].shape == (4, 1, 1, 6)
    assert_equal(found, expected)


def test_its_shape_is_known_before_there_is_an_image():
    entry = keras.Input((7, 7, 2))
    assert network_layers.WholeMapConvolution(6, 7)(entry).shape == (None, 1, 1, 6)
