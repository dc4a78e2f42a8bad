"""EfficientNet-Lite0 as a Keras feature extractor with the ImageNet weights that come with pip.

Source: Tan and Le, "EfficientNet", ICML 2019, in its Lite variant (no squeeze-and-excitation, ReLU6).
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from nuclei.features import efficientnet_lite0_weights

# (kernel, stride, expansion, output channels, repeats) of each stage
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_PYRAMID_STAGES = (1, 2, 4, 6)  # the last stage at each of the strides 4, 8, 16, 32: C2 to C5
_BATCH_NORM_EPSILON = 1e-3


def efficientnet_lite0(image: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Feature maps [C2, C3, C4, C5] at strides 4, 8, 16, 32 with 24, 40, 112, 320 channels.

    Fine-tuning a detector on a few images per step keeps batch normalisation frozen, so it is folded
    into the convolutions: the same function with fewer passes over memory.

    Args:
        image: (B, H, W, 3), (RGB - 127) / 128.
    """
    x = _convolution(image, 32, 3, stride=2, name="stem")
    maps = []
    number = 0
    for stage, (kernel, stride, expansion, channels, repeats) in enumerate(_STAGES):
        for repeat in range(repeats):
            x = _block(x, number, kernel, stride if repeat == 0 else 1, expansion, channels)
            number += 1
        if stage in _PYRAMID_STAGES:
            maps.append(x)
    return maps


def _block(x, number: int, kernel: int, stride: int, expansion: int, channels: int):
    """Inverted residual: expand, depthwise convolution, project; identity where shapes allow."""
    entry, inputs = x, x.shape[-1]
    if expansion > 1:
        x = _convolution(x, inputs * expansion, 1, name=f"block{number}_expand")
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", name=f"block{number}_depthwise")(x)
    x = layers.ReLU(6.0)(x)
    x = layers.Conv2D(channels, 1, name=f"block{number}_project")(x)
    return layers.Add()([entry, x]) if stride == 1 and inputs == channels else x


def _convolution(x, channels: int, kernel: int, stride: int = 1, name: str | None = None):
    x = layers.Conv2D(channels, kernel, stride, padding="same", name=name)(x)
    return layers.ReLU(6.0)(x)


def load_imagenet_weights(model: keras.Model) -> int:
    """Put the ImageNet weights into every EfficientNet-Lite0 layer of `model`; returns how many layers.

    Raises:
        ValueError: a layer's shape differs from the weights'.
    """
    state = efficientnet_lite0_weights()
    sources = _sources()
    for name, (convolution, norm) in sources.items():
        model.get_layer(name).set_weights(_folded(state, convolution, norm, depthwise="depthwise" in name))
    return len(sources)


def _sources() -> dict[str, tuple[str, str]]:
    """Keras layer name -> (convolution, batch norm) prefixes in the PyTorch state dict."""
    sources = {"stem": ("_conv_stem", "_bn0")}
    expansions = [expansion for _, _, expansion, _, repeats in _STAGES for _ in range(repeats)]
    for number, expansion in enumerate(expansions):
        prefix = f"_blocks.{number}."
        if expansion > 1:
            sources[f"block{number}_expand"] = (prefix + "_expand_conv", prefix + "_bn0")
        sources[f"block{number}_depthwise"] = (prefix + "_depthwise_conv", prefix + "_bn1")
        sources[f"block{number}_project"] = (prefix + "_project_conv", prefix + "_bn2")
    return sources


def _folded(state: dict[str, np.ndarray], convolution: str, norm: str, depthwise: bool) -> list[np.ndarray]:
    """[kernel, bias] in Keras's axes of a bias-free convolution followed by batch normalisation."""
    kernel = state[f"{convolution}.weight"]  # (out, in / groups, height, width)
    scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + _BATCH_NORM_EPSILON)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    kernel = kernel * scale[:, None, None, None]
    return [kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)), bias]
