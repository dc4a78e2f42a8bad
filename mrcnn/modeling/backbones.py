"""The feature extractors that a configuration can name."""

from __future__ import annotations

from collections.abc import Callable

from mrcnn.modeling.efficientnet import NAME, efficientnet_lite0
from mrcnn.modeling.resnet import resnet50, resnet101

BACKBONES: dict[str, Callable] = {
    "resnet50": resnet50,
    "resnet101": resnet101,
    NAME: efficientnet_lite0,
}


def find(backbone: str | Callable) -> Callable:
    """The function that builds what `Config.BACKBONE` asks for.

    A backbone is called as `backbone(input_image, stage5=True, train_bn=False)` with a
    `keras.KerasTensor` (B, H, W, 3), RGB minus MEAN_PIXEL, and returns the feature maps
    [C1, C2, C3, C4, C5]; the pyramid takes C2 to C5, at strides 4, 8, 16, 32.

    Args:
        backbone: a name, or such a function itself.

    Raises:
        ValueError: an unknown name.
    """
    if callable(backbone):
        return backbone
    if backbone not in BACKBONES:
        raise ValueError(
            f"unknown BACKBONE {backbone!r}; known: {', '.join(BACKBONES)}, or a function of your own"
        )
    return BACKBONES[backbone]
