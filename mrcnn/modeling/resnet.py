"""ResNet-50 and ResNet-101 with the layers, and the names of layers, of Matterport's weight files.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. The stride is in the first
1x1 convolution of a block, as in that paper.
"""

from __future__ import annotations

from string import ascii_lowercase

import keras
from keras import layers

from mrcnn.modeling.layers import convolution_norm


def resnet50(
    input_image: keras.KerasTensor, stage5: bool = True, train_bn: bool | None = False
) -> list[keras.KerasTensor | None]:
    """ResNet with 50 layers; see `_resnet`."""
    return _resnet(input_image, (3, 4, 6, 3), stage5, train_bn)


def resnet101(
    input_image: keras.KerasTensor, stage5: bool = True, train_bn: bool | None = False
) -> list[keras.KerasTensor | None]:
    """ResNet with 101 layers; see `_resnet`."""
    return _resnet(input_image, (3, 4, 23, 3), stage5, train_bn)


def _resnet(image, blocks: tuple[int, ...], stage5: bool, train_bn: bool | None) -> list:
    """Feature maps [C1, ..., C5]: C1 and C2 at stride 4, then 8, 16, 32; 64, 256, 512, 1024, 2048 channels.

    Args:
        image: (B, H, W, 3), RGB minus the mean colour, in units of 0..255.
        blocks: residual blocks of stages 2 to 5.
        stage5: False leaves the last stage out; C5 is None.
        train_bn: batch norm: False uses stored statistics, None those of the batch while training.
    """
    x = layers.ZeroPadding2D(3, name="conv1_pad")(image)
    x = convolution_norm(x, layers.Conv2D(64, 7, 2, name="conv1"), "bn_conv1", train_bn)
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(layers.ReLU(name="conv1_relu")(x))
    maps = [x]
    for stage, count in zip((2, 3, 4, 5), blocks, strict=True):
        if stage == 5 and not stage5:
            return [*maps, None]
        for letter in ascii_lowercase[:count]:
            stride = 2 if letter == "a" and stage > 2 else 1
            x = _block(x, f"{stage}{letter}", 16 * 2**stage, stride, train_bn)
        maps.append(x)
    return maps


def _block(x, name: str, width: int, stride: int, train_bn: bool | None):
    """Bottleneck of three convolutions beside a shortcut, which the first of a stage (a) projects."""

    def branch(x, part: str, channels: int, kernel: int, stride: int = 1):
        convolution = layers.Conv2D(channels, kernel, stride, padding="same", name=f"res{name}_branch{part}")
        return convolution_norm(x, convolution, f"bn{name}_branch{part}", train_bn)

    shortcut = branch(x, "1", 4 * width, 1, stride) if name.endswith("a") else x
    x = layers.ReLU(name=f"res{name}_relu2a")(branch(x, "2a", width, 1, stride))
    x = layers.ReLU(name=f"res{name}_relu2b")(branch(x, "2b", width, 3))
    x = layers.Add(name=f"res{name}_add")([branch(x, "2c", 4 * width, 1), shortcut])
    return layers.ReLU(name=f"res{name}_out")(x)
