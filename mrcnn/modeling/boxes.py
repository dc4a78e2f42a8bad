"""Boxes on tensors: anchors, overlaps, deltas, non-maximum suppression.

Boxes are (y1, x1, y2, x2) in pixels of the network's input, y2 and x2 exclusive; padding boxes are all
zero. Every function keeps fixed shapes, so that a backend may compile it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from keras import ops

from mrcnn.modeling import backend_ops

_LOG_CLIP = float(np.log(1000.0 / 16.0))  # bounds the growth of a box by a delta, as Detectron does


@lru_cache(maxsize=16)
def pyramid_anchors(shape, scales, ratios, strides, anchor_stride=1, centred=True) -> np.ndarray:
    """Anchors of all pyramid levels, level by level, row by row, (A, 4) float32 pixels, read-only.

    Args:
        shape: (height, width) of the network's input, px.
        scales: side of a square anchor at each level, px.
        ratios: width / height of the anchors at each position.
        strides: px of the input per cell of each level.
        anchor_stride: cells between anchors.
        centred: anchors lie on the centres of their cells; False: on the cells' first corners, where
            Matterport has them and its weights expect them.
    """
    levels = []
    for scale, stride in zip(scales, strides, strict=True):
        root = np.sqrt(np.asarray(ratios, np.float32))
        sizes = np.stack([scale / root, scale * root], axis=-1)  # (R, 2) height, width
        rows, columns = (np.arange(0, -(-side // stride), anchor_stride) for side in shape)
        grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1) + (0.5 if centred else 0.0)
        centres = grid[:, :, None, :] * stride  # (rows, columns, 1, 2)
        corners = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)
        levels.append(corners.reshape(-1, 4))
    anchors = np.concatenate(levels).astype(np.float32)
    anchors.flags.writeable = False
    return anchors


def area(boxes):
    """Areas in px of boxes (..., 4) -> (...)."""
    return ops.maximum(boxes[..., 2] - boxes[..., 0], 0) * ops.maximum(boxes[..., 3] - boxes[..., 1], 0)


def overlaps(boxes1, boxes2):
    """Intersection over union of all pairs: (B, N, 4), (B, M, 4) -> (B, N, M); 0 for padding."""
    # One coordinate at a time: a last axis of length 2 or 4 keeps a processor from vectorising.
    y1, x1, y2, x2 = (boxes1[:, :, None, i] for i in range(4))
    v1, u1, v2, u2 = (boxes2[:, None, :, i] for i in range(4))
    height = ops.maximum(ops.minimum(y2, v2) - ops.maximum(y1, v1), 0)
    width = ops.maximum(ops.minimum(x2, u2) - ops.maximum(x1, u1), 0)
    intersection = height * width
    union = area(boxes1)[:, :, None] + area(boxes2)[:, None, :] - intersection
    return intersection / ops.maximum(union, 1e-6)


def _centre_size(boxes):
    size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-3)
    return boxes[..., :2] + 0.5 * size, size


def encode(boxes, targets, std_dev):
    """Deltas (dy, dx, log dh, log dw) / std_dev that turn `boxes` into `targets`, both (..., 4).

    Source: Girshick et al., "Rich feature hierarchies", CVPR 2014, appendix C.
    """
    centre, size = _centre_size(boxes)
    target_centre, target_size = _centre_size(targets)
    deltas = ops.concatenate([(target_centre - centre) / size, ops.log(target_size / size)], axis=-1)
    return deltas / ops.convert_to_tensor(std_dev, deltas.dtype)


def decode(boxes, deltas, std_dev):
    """Apply deltas to boxes, the inverse of `encode`: (..., 4), (..., 4) -> (..., 4)."""
    centre, size = _centre_size(boxes)
    deltas = deltas * ops.convert_to_tensor(std_dev, deltas.dtype)
    centre = centre + deltas[..., :2] * size
    size = size * ops.exp(ops.clip(deltas[..., 2:], -_LOG_CLIP, _LOG_CLIP))
    return ops.concatenate([centre - 0.5 * size, centre + 0.5 * size], axis=-1)


def clip(boxes, shape):
    """Boxes (..., 4) cut at an image of `shape` (height, width) px."""
    height, width = shape
    limit = ops.convert_to_tensor([height, width, height, width], boxes.dtype)
    return ops.minimum(ops.maximum(boxes, 0), limit)


def take(values, index):
    """Rows of each batch item: values (B, N, C) or (B, N), index (B, K) -> (B, K, C) or (B, K)."""
    count = ops.shape(values)[1]
    index = ops.cast(index, "int32")
    first = ops.arange(ops.shape(values)[0], dtype="int32")[:, None] * count  # rows of earlier batch items
    return ops.take(ops.reshape(values, (-1, *values.shape[2:])), index + first, axis=0)


def non_max_suppression(boxes, scores, limit: int, threshold: float):
    """The best boxes that do not overlap a better one, by greedy suppression, batched.

    Args:
        boxes: (B, N, 4).
        scores: (B, N); a box with a score of zero or less is never chosen.
        limit: how many to return.
        threshold: the largest intersection over union that two returned boxes may have.

    Returns:
        index (B, limit) int32 in order of score, and valid (B, limit) bool; limit is at most N.
    """
    limit = min(limit, boxes.shape[1])
    found = backend_ops.non_max_suppression(boxes, scores, limit, threshold)
    return suppress_all_at_once(boxes, scores, limit, threshold) if found is None else found


def suppress_all_at_once(boxes, scores, limit: int, threshold: float):
    """`non_max_suppression` in operations that every backend has and compiles.

    A sorted box is kept when no kept box before it overlaps it. That recursion has one fixed point, the
    greedy result; iterating it from "all kept" settles at least one more box, in order of score, in each
    pass, so it ends at the exact result, in practice within a few passes of matrix work
    (Zheng et al., "Cluster NMS", IEEE Transactions on Cybernetics 2022).
    """
    count = boxes.shape[1]
    order = ops.argsort(-scores, axis=1)
    ranked = take(boxes, order)
    before = ops.triu(ops.ones((count, count), dtype="bool"), 1)  # [i, j]: i comes before j
    suppresses = ops.logical_and(overlaps(ranked, ranked) > threshold, before)
    suppresses = ops.cast(suppresses, "float32")
    positive = ops.cast(take(scores, order) > 0, "float32")

    def step(keep, _):
        suppressed = ops.einsum("bi,bij->bj", keep, suppresses)
        return positive * ops.cast(suppressed < 0.5, "float32"), keep

    keep, _ = ops.while_loop(
        lambda keep, previous: ops.any(ops.not_equal(keep, previous)), step, (positive, positive - 1)
    )
    ranks = ops.arange(count, dtype="float32")
    kept_first = ops.argsort(ranks + count * (1 - keep), axis=1)[:, :limit]
    return ops.cast(take(order, kept_first), "int32"), take(keep, kept_first) > 0.5
