import keras
import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

from mrcnn import backbone
from nuclei.features import efficientnet_lite0_weights


def test_the_keras_network_equals_the_pytorch_one():
    image = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    entry = keras.Input((64, 64, 3))
    model = keras.Model(entry, backbone.efficientnet_lite0(entry))
    layers = 1 + 16 * 3 - 1  # the stem and three layers a block, but for the first, which does not expand
    assert backbone.load_imagenet_weights(model) == layers

    original = EfficientNet.from_name("efficientnet-lite0", image_size=None).eval()
    state = {name: torch.as_tensor(value) for name, value in efficientnet_lite0_weights().items()}
    original.load_state_dict(state)
    expected = {}
    for number in (2, 4, 10, 15):  # the last block at each stride
        original._blocks[number].register_forward_hook(
            lambda _module, _input, output, number=number: expected.update({number: output})
        )
    with torch.inference_mode():
        original.extract_features(torch.from_numpy(image.transpose(0, 3, 1, 2)))
    found = model.predict_on_batch(image)
    for level, number in zip(found, (2, 4, 10, 15), strict=True):
        np.testing.assert_allclose(level, expected[number].numpy().transpose(0, 2, 3, 1), atol=2e-3)


def test_maps_have_strides_4_to_32():
    entry = keras.Input((128, 128, 3))
    maps = backbone.efficientnet_lite0(entry)
    shapes = [tuple(level.shape[1:]) for level in maps]
    assert shapes == [(32, 32, 24), (16, 16, 40), (8, 8, 112), (4, 4, 320)]
