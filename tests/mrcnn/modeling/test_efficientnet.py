"""EfficientNet-Lite0 in Keras: the function of the PyTorch network whose weights it takes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet

from mrcnn.modeling import efficientnet, weights
from nuclei.selection.features import efficientnet_lite0_weights

LAYERS = 1 + 16 * 3 - 1  # the stem and three layers a block, but for the first, which does not expand


def build(side: int, **arguments) -> keras.Model:
    entry = keras.Input((side, side, 3))
    maps = efficientnet.efficientnet_lite0(entry, **arguments)
    return keras.Model(entry, [level for level in maps if level is not None])


def test_the_keras_network_equals_the_pytorch_one():
    image = np.random.default_rng(0).uniform(-128, 128, (2, 64, 64, 3)).astype(np.float32)
    model = build(64)
    assert len(efficientnet.load_imagenet_weights(model).loaded) == LAYERS

    original = EfficientNet.from_name("efficientnet-lite0", image_size=None).eval()
    state = {name: torch.as_tensor(value) for name, value in efficientnet_lite0_weights().items()}
    original.load_state_dict(state)
    expected = {}
    ends = (0, 2, 4, 10, 15)  # the last block at each stride
    for number in ends:
        original._blocks[number].register_forward_hook(
            lambda _module, _input, output, number=number: expected.update({number: output})
        )
    with torch.inference_mode():
        original.extract_features(torch.from_numpy(image.transpose(0, 3, 1, 2) / 128))
    for level, number in zip(model.predict_on_batch(image), ends, strict=True):
        np.testing.assert_allclose(level, expected[number].numpy().transpose(0, 2, 3, 1), atol=2e-3)


def test_maps_have_strides_2_to_32():
    shapes = [tuple(level.shape[1:]) for level in build(128).outputs]
    assert shapes == [(64, 64, 16), (32, 32, 24), (16, 16, 40), (8, 8, 112), (4, 4, 320)]


def test_layers_are_called_by_their_level():
    names = list(weights.layers(build(64)))
    assert len(names) == LAYERS
    counts = [sum(name.startswith(f"c{level}_") for name in names) for level in range(1, 6)]
    assert counts == [1 + 2, 2 * 3, 2 * 3, 6 * 3, 5 * 3]
    assert {"c1_stem", "c2_block1_expand", "c4_block10_depthwise", "c5_block15_project"} <= set(names)


def test_weights_reach_a_backbone_inside_another_model_and_a_missing_layer_is_an_error():
    inner = build(64)
    entry = keras.Input((64, 64, 3))
    outer = keras.Model(entry, inner(entry)[-1])
    report = efficientnet.load_imagenet_weights(outer)
    assert len(report.loaded) == LAYERS and report.left == ()
    stem = efficientnet_lite0_weights()["_conv_stem.weight"]
    assert inner.get_layer("c1_stem").kernel.shape == (3, 3, 3, stem.shape[0])
    with pytest.raises(ValueError, match="c5_block11_expand is missing"):
        efficientnet.load_imagenet_weights(build(64, stage5=False))


@pytest.mark.parametrize("train_bn", [True, None])
def test_batch_norm_cannot_be_trained(train_bn):
    with pytest.raises(ValueError, match=f"TRAIN_BN is {train_bn}"):
        build(64, train_bn=train_bn)
