"""EfficientNet-Lite0 as a Keras feature extractor with the ImageNet weights that come with pip.

Source: Tan and Le, "EfficientNet", ICML 2019, in its Lite variant (no squeeze-and-excitation, ReLU6).
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from mrcnn.modeling import weights

NAME = "efficientnet_lite0"  # as a BACKBONE, and in the place of a path of its ImageNet weights

# (level, kernel, stride, expansion, output channels, repeats) of each stage; the level is C1 to C5
_STAGES = (
    (1, 3, 1, 1, 16, 1),
    (2, 3, 2, 6, 24, 2),
    (3, 5, 2, 6, 40, 2),
    (4, 3, 2, 6, 80, 3),
    (4, 5, 1, 6, 112, 3),
    (5, 5, 2, 6, 192, 4),
    (5, 3, 1, 6, 320, 1),
)
_STEM = "c1_stem"
_BATCH_NORM_EPSILON = 1e-3


def efficientnet_lite0(
    input_image: keras.KerasTensor, stage5: bool = True, train_bn: bool | None = False
) -> list[keras.KerasTensor | None]:
    """Feature maps [C1, ..., C5] at strides 2, 4, 8, 16, 32 with 16, 24, 40, 112, 320 channels.

    Fine-tuning a detector on a few images per step keeps batch normalisation frozen, so it is folded
    into the convolutions: the same function with fewer passes over memory. A layer's name begins with the
    level that it belongs to: c1_stem, c2_block1_expand.

    Args:
        input_image: (B, H, W, 3), RGB minus 127, in units of 0..255.
        stage5: False leaves the layers of C5 out; C5 is None.
        train_bn: must be False.

    Raises:
        ValueError: `train_bn` is not False.
    """
    if train_bn is not False:
        raise ValueError(
            f"TRAIN_BN is {train_bn}, but the batch norm of efficientnet_lite0 is part of its convolutions; "
            "set TRAIN_BN = False or take another BACKBONE"
        )
    x = layers.Rescaling(1 / 128, name="c1_rescaling")(input_image)  # to the range of its weights
    x = _convolution(x, 32, 3, stride=2, name=_STEM)
    maps = [None] * 5
    for name, level, kernel, stride, expansion, channels in _blocks():
        if level < 5 or stage5:
            x = _block(x, name, kernel, stride, expansion, channels)
            maps[level - 1] = x
    return maps


def _blocks() -> list[tuple]:
    """(name, level, kernel, stride, expansion, output channels) of each block."""
    blocks: list[tuple] = []
    for level, kernel, stride, expansion, channels, repeats in _STAGES:
        for repeat in range(repeats):
            name = f"c{level}_block{len(blocks)}"
            blocks.append((name, level, kernel, 1 if repeat else stride, expansion, channels))
    return blocks


def _block(x, name: str, kernel: int, stride: int, expansion: int, channels: int):
    """Inverted residual: expand, depthwise convolution, project; identity where shapes allow."""
    entry, inputs = x, x.shape[-1]
    if expansion > 1:
        x = _convolution(x, inputs * expansion, 1, name=f"{name}_expand")
    depthwise = layers.DepthwiseConv2D(kernel, stride, padding="same", name=f"{name}_depthwise")
    x = depthwise(x)
    # These filters stay as ImageNet left them: on a processor their gradient takes a third of a step.
    depthwise.kernel.trainable = False
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = layers.Conv2D(channels, 1, name=f"{name}_project")(x)
    same = stride == 1 and inputs == channels
    return layers.Add(name=f"{name}_add")([entry, x]) if same else x


def _convolution(x, channels: int, kernel: int, name: str, stride: int = 1):
    x = layers.Conv2D(channels, kernel, stride, padding="same", name=name)(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def load_imagenet_weights(model: keras.Model) -> weights.Report:
    """Put the ImageNet weights into every EfficientNet-Lite0 layer of `model`.

    Raises:
        ValueError: a layer is missing, or its shape differs from the weights'.
    """
    # PyTorch takes seconds to import; only training that begins with ImageNet's weights needs it.
    from nuclei.selection.features import efficientnet_lite0_weights

    state = efficientnet_lite0_weights()
    sources = _sources()
    found = weights.layers(model)
    missing = [name for name in sources if name not in found]
    if missing:
        raise ValueError(f"{model.name} has no EfficientNet-Lite0: {missing[0]} is missing")
    stem = found[_STEM].kernel.shape
    if stem[2] != 3:  # learnt anew where images have other channels than RGB
        del sources[_STEM]
    for name, (convolution, norm) in sources.items():
        found[name].set_weights(_folded(state, convolution, norm, depthwise="depthwise" in name))
    return weights.Report(tuple(sources), (), tuple(name for name in found if name not in sources))


def _sources() -> dict[str, tuple[str, str]]:
    """Keras layer name -> (convolution, batch norm) prefixes in the PyTorch state dict."""
    sources = {_STEM: ("_conv_stem", "_bn0")}
    for number, (name, _, _, _, expansion, _) in enumerate(_blocks()):
        prefix = f"_blocks.{number}."
        if expansion > 1:
            sources[f"{name}_expand"] = (prefix + "_expand_conv", prefix + "_bn0")
        sources[f"{name}_depthwise"] = (prefix + "_depthwise_conv", prefix + "_bn1")
        sources[f"{name}_project"] = (prefix + "_project_conv", prefix + "_bn2")
    return sources


def _folded(state: dict[str, np.ndarray], convolution: str, norm: str, depthwise: bool) -> list[np.ndarray]:
    """[kernel, bias] in Keras's axes of a bias-free convolution followed by batch normalisation."""
    kernel = state[f"{convolution}.weight"]  # (out, in / groups, height, width)
    scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + _BATCH_NORM_EPSILON)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    kernel = kernel * scale[:, None, None, None]
    return [kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)), bias]
