"""Fast forms of convolutions against Keras's own, with their gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from mrcnn import backend
from mrcnn.modeling import convolution

RNG = np.random.default_rng(0)
WIDE = 256  # channels


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
    assert_equal(outputs_and_gradients(convolution.winograd, inputs, kernel), expected)


def test_winograd_of_a_single_pixel_hand_computed():
    kernel = np.arange(1, 10, dtype=np.float32).reshape(3, 3, 1, 1)
    inputs = np.zeros((1, 5, 5, 1), np.float32)
    inputs[0, 0, 4] = 1  # in a corner; each output is the entry of the kernel that lies over the pixel
    expected = np.zeros((5, 5))
    expected[:2, 3:] = [[6, 5], [3, 2]]
    found = np.array(convolution.winograd(inputs, kernel))[0, ..., 0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_winograd_keeps_its_shape_in_a_graph_of_unknown_batches():
    @tf.function(input_signature=[tf.TensorSpec((None, 6, 9, 2), tf.float32)])
    def convolved(inputs):
        return convolution.winograd(inputs, np.ones((3, 3, 2, 5), np.float32))

    assert convolved(normal(3, 6, 9, 2)).shape == (3, 6, 9, 5)


def calls_of_winograd(monkeypatch):
    """A list that gets an entry for each of its calls."""
    calls, winograd = [], convolution.winograd
    monkeypatch.setattr(convolution, "winograd", lambda *given: calls.append(1) or winograd(*given))
    return calls


def test_a_wide_layer_is_computed_so_and_answers_as_conv2d(monkeypatch):
    calls = calls_of_winograd(monkeypatch)
    monkeypatch.setattr(backend, "has_gpu", lambda: False)
    ours = convolution.WinogradConvolution(WIDE, 3, padding="same", activation="relu")
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
    layer = convolution.WinogradConvolution(filters, 3, padding="same", dtype=dtype)
    assert layer(normal(1, 4, 4, WIDE)).shape == (1, 4, 4, filters)
    assert not calls


def test_a_kernel_as_large_as_the_map_is_one_product():
    ours, keras_own = convolution.WholeMapConvolution(6, 5), layers.Conv2D(6, 5)
    inputs = normal(4, 5, 5, 3)
    ours(inputs), keras_own(inputs)
    keras_own.set_weights(ours.get_weights())
    found, expected = (outputs_and_gradients(layer, inputs) for layer in (ours, keras_own))
    assert found[0].shape == (4, 1, 1, 6)
    assert_equal(found, expected)


def test_its_shape_is_known_before_there_is_an_image():
    entry = keras.Input((7, 7, 2))
    assert convolution.WholeMapConvolution(6, 7)(entry).shape == (None, 1, 1, 6)
