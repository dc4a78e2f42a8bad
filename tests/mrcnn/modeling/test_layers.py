"""Batch normalisation folded into the convolution before it, and batch normalisation that stays as it is."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mrcnn.modeling import weights
from mrcnn.modeling.layers import BatchNorm, FoldedConvolution, convolution_norm

RNG = np.random.default_rng(0)


def randomise(layer) -> None:
    layer.set_weights([RNG.uniform(0.5, 1.5, weight.shape).astype(np.float32) for weight in layer.weights])


def gradients(outputs_of, variables) -> list[np.ndarray]:
    """Of a sum in which every output counts differently."""
    with tf.GradientTape() as tape:
        outputs = outputs_of()
        factors = np.linspace(-1, 1, int(np.prod(outputs.shape)), dtype=np.float32).reshape(outputs.shape)
        loss = tf.reduce_sum(outputs * factors)
    return tape.gradient(loss, [variable.value for variable in variables])


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 1, "strides": 2},
        {"kernel_size": 5, "strides": 2, "padding": "valid"},
    ],
)
def test_folded_equals_both_layers_in_a_row_and_so_do_the_gradients(arguments):
    convolution, norm = layers.Conv2D(6, name="c", **arguments), BatchNorm(name="n")
    folded = FoldedConvolution(convolution, norm)
    image = RNG.uniform(-1, 1, (2, 11, 9, 4)).astype(np.float32)
    folded(image)
    randomise(folded)
    np.testing.assert_allclose(folded(image), norm(convolution(image), training=False), rtol=1e-5, atol=1e-5)

    variables = [convolution.kernel, convolution.bias, norm.gamma, norm.beta]
    found = gradients(lambda: folded(image), variables)
    expected = gradients(lambda: norm(convolution(image), training=False), variables)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def test_folded_shows_its_shape_and_its_weights():
    folded = FoldedConvolution(layers.Conv2D(6, 3, 2, name="c"), BatchNorm(name="n"))
    assert folded(keras.Input((9, 9, 2))).shape == (None, 4, 4, 6)
    assert [weight.path.split("/", 1)[-1] for weight in folded.trainable_weights] == [
        "c/kernel",
        "c/bias",
        "n/gamma",
        "n/beta",
    ]


def test_folded_computes_in_its_precision_and_keeps_float32_weights():
    convolution = layers.Conv2D(3, 1, name="c", dtype="mixed_bfloat16")
    folded = FoldedConvolution(convolution, BatchNorm(name="n", dtype="mixed_bfloat16"))
    image = RNG.uniform(-1, 1, (1, 5, 5, 3)).astype(np.float32)
    folded(image)
    randomise(folded)
    outputs = folded(image)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert {weight.dtype for weight in folded.weights} == {"float32"}
    kernel, bias = convolution.get_weights()
    gamma, beta, mean, variance = folded.norm.get_weights()
    exact = (image @ kernel[0, 0] + bias - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(keras.ops.cast(outputs, "float32"), exact, rtol=2e-2, atol=2e-2)


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
