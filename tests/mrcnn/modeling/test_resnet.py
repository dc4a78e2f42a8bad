"""ResNets: Matterport's names, the number of weights, and the function itself against torch's functions."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch

from mrcnn.modeling import resnet, weights


def build(backbone, side=64, **arguments) -> keras.Model:
    entry = keras.Input((side, side, 3))
    return keras.Model(entry, [level for level in backbone(entry, **arguments) if level is not None])


def convolutions(stages: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(kernel side, input channels, output channels) of every convolution of a ResNet of bottlenecks."""
    found, channels = [(7, 3, 64)], 64
    for width, blocks in zip((64, 128, 256, 512), stages, strict=True):
        for block in range(blocks):
            if block == 0:
                found.append((1, channels, 4 * width))
            found += [(1, channels, width), (3, width, width), (1, width, 4 * width)]
            channels = 4 * width
    return found


@pytest.mark.parametrize(
    ("backbone", "stages", "whole", "classes"),
    [(resnet.resnet50, (3, 4, 6, 3), 44_662_942, 2), (resnet.resnet101, (3, 4, 23, 3), 64_158_584, 81)],
)
def test_number_of_weights(backbone, stages, whole, classes):
    # A kernel, its bias, and the four vectors of the batch norm.
    expected = sum(k * k * i * o + o + 4 * o for k, i, o in convolutions(stages))
    model = build(backbone)
    assert model.count_params() == expected
    assert len(weights.layers(model)) == 2 * len(convolutions(stages))

    pyramid = sum(c * 256 + 256 for c in (256, 512, 1024, 2048)) + 4 * (9 * 256 * 256 + 256)
    rpn = 9 * 256 * 512 + 512 + 512 * 6 + 6 + 512 * 12 + 12
    box = 49 * 256 * 1024 + 1024 + 1024 * 1024 + 1024 + 2 * 4 * 1024 + (1024 + 1) * 5 * classes
    mask = 4 * (9 * 256 * 256 + 256 + 4 * 256) + 4 * 256 * 256 + 256 + (256 + 1) * classes
    assert expected + pyramid + rpn + box + mask == whole  # of Matterport's network


def test_names_are_matterports():
    names = set(weights.layers(build(resnet.resnet50)))
    branches = ["1", "2a", "2b", "2c"]
    expected = {"conv1", "bn_conv1"}
    for stage, letters in {2: "abc", 3: "abcd", 4: "abcdef", 5: "abc"}.items():
        for letter in letters:
            for branch in branches if letter == "a" else branches[1:]:
                expected |= {f"{kind}{stage}{letter}_branch{branch}" for kind in ("res", "bn")}
    assert names == expected
    more = set(weights.layers(build(resnet.resnet101))) - names
    assert {name[4] for name in more if name.startswith("res")} == set("ghijklmnopqrstuvw")
    assert all(name.startswith(("res4", "bn4")) for name in more)


def randomise(model) -> None:
    """Weights of trained size, statistics other than the initial ones."""
    rng = np.random.default_rng(0)
    for layer in weights.layers(model).values():
        values = []
        for weight in layer.weights:
            if weight.name == "kernel":
                values.append(rng.normal(0, np.sqrt(1 / np.prod(weight.shape[:-1])), weight.shape))
            else:
                values.append(rng.uniform(0.8, 1.2, weight.shape) - (weight.name in ("bias", "beta")))
        layer.set_weights(values)


def torch_forward(found: dict, image: np.ndarray) -> list[torch.Tensor]:
    """The same network from its definition, in PyTorch's functions."""
    functional = torch.nn.functional

    def unit(x, convolution, norm, stride, padding):
        kernel, bias = (torch.from_numpy(value) for value in found[convolution].get_weights())
        gamma, beta, mean, variance = (torch.from_numpy(value) for value in found[norm].get_weights())
        x = functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias, stride, padding)
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-3)

    x = torch.from_numpy(image.transpose(0, 3, 1, 2))
    x = unit(x, "conv1", "bn_conv1", 2, 3).relu()
    x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)
    maps = [x]
    for stage, letters in {2: "abc", 3: "abcd", 4: "abcdef", 5: "abc"}.items():
        for letter in letters:
            stride = 2 if letter == "a" and stage > 2 else 1
            name = f"{stage}{letter}_branch"
            y = unit(x, f"res{name}2a", f"bn{name}2a", stride, 0).relu()
            y = unit(y, f"res{name}2b", f"bn{name}2b", 1, 1).relu()
            y = unit(y, f"res{name}2c", f"bn{name}2c", 1, 0)
            shortcut = unit(x, f"res{name}1", f"bn{name}1", stride, 0) if letter == "a" else x
            x = (y + shortcut).relu()
        maps.append(x)
    return maps


@pytest.mark.parametrize("train_bn", [False, None])
@pytest.mark.slow
def test_resnet50_is_the_network_of_its_definition(train_bn):
    model = build(resnet.resnet50, train_bn=train_bn)
    randomise(model)
    image = np.random.default_rng(1).uniform(-100, 100, (2, 64, 64, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = torch_forward(weights.layers(model), image)
    for one, other in zip(model.predict_on_batch(image), expected, strict=True):
        other = other.numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * other.max())
