"""Feature pyramid and region proposal network: which boxes may hold an object."""

from __future__ import annotations

import keras
from keras import layers, ops

from mrcnn.config import Config
from mrcnn.modeling import boxes
from mrcnn.modeling.layers import WinogradConvolution, group_norm


def feature_pyramid(maps, config: Config):
    """[C2, C3, C4, C5] -> [P2, P3, P4, P5, P6], each with TOP_DOWN_PYRAMID_SIZE channels.

    Source: Lin et al., "Feature Pyramid Networks", CVPR 2017.
    """
    top_down = None
    levels: list = []
    for number, bottom_up in zip((5, 4, 3, 2), reversed(maps), strict=True):
        lateral = _convolution(bottom_up, 1, config, f"fpn_c{number}p{number}")
        if top_down is None:
            top_down = lateral
        else:
            above = layers.UpSampling2D(2, name=f"fpn_p{number + 1}upsampled")(top_down)
            top_down = layers.Add(name=f"fpn_p{number}add")([above, lateral])
        levels.insert(0, _convolution(top_down, 3, config, f"fpn_p{number}"))
    return [*levels, layers.MaxPooling2D(1, 2, name="fpn_p6")(levels[-1])]


def _convolution(x, kernel: int, config: Config, name: str):
    layer = WinogradConvolution if kernel == 3 else layers.Conv2D
    x = layer(config.TOP_DOWN_PYRAMID_SIZE, kernel, padding="same", name=name)(x)
    return group_norm(x, f"{name}gn") if config.GROUP_NORM else x


def build_rpn(config: Config) -> keras.Model:
    """The head shared by all levels: (B, H, W, C) -> logits (B, H * W * R, 2), deltas (B, H * W * R, 4).

    R anchors at each cell; logits are (background, object); deltas as in `boxes.encode`.
    Source: Ren et al., "Faster R-CNN", NeurIPS 2015.
    """
    anchors = len(config.RPN_ANCHOR_RATIOS)
    level = keras.Input((None, None, config.TOP_DOWN_PYRAMID_SIZE))
    layer = WinogradConvolution if config.RPN_ANCHOR_STRIDE == 1 else layers.Conv2D
    shared = layer(
        config.RPN_CHANNELS,
        3,
        config.RPN_ANCHOR_STRIDE,
        padding="same",
        activation="relu",
        name="rpn_conv_shared",
    )(level)
    logits = layers.Conv2D(2 * anchors, 1, name="rpn_class_raw")(shared)
    deltas = layers.Conv2D(4 * anchors, 1, name="rpn_bbox_pred")(shared)
    outputs = [layers.Reshape((-1, 2))(logits), layers.Reshape((-1, 4))(deltas)]
    return keras.Model(level, outputs, name="rpn_model")


def propose(scores, deltas, anchors, shape, count: int, candidates: int, config: Config):
    """Turn the network's answers on all anchors into the boxes worth a closer look.

    Args:
        scores: (B, A) probability of an object.
        deltas: (B, A, 4).
        anchors: (A, 4).
        shape: (height, width) of the images, px.
        count: how many proposals to return.
        candidates: how many of the likeliest anchors they come from.

    Returns:
        (B, count, 4), best first, padded with zeros.
    """
    best, index = ops.top_k(scores, min(candidates, anchors.shape[0]))
    regions = boxes.decode(
        ops.take(anchors, index, axis=0), boxes.take(deltas, index), config.RPN_BBOX_STD_DEV
    )
    regions = boxes.clip(regions, shape)
    index, valid = boxes.non_max_suppression(regions, best, count, config.RPN_NMS_THRESHOLD)
    proposals = boxes.take(regions, index) * ops.cast(valid, "float32")[..., None]
    return ops.pad(proposals, ((0, 0), (0, count - proposals.shape[1]), (0, 0)))
