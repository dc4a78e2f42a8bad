"""Boxes on tensors: anchors, overlaps, deltas, non-maximum suppression, ROIAlign.

Boxes are (y1, x1, y2, x2) in pixels of the network's input, y2 and x2 exclusive; padding boxes are all
zero. Every function keeps fixed shapes, so that a backend may compile it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from keras import ops

from mrcnn import native

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
    found = native.non_max_suppression(boxes, scores, limit, threshold)
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


def pyramid_level(boxes, levels: int):
    """Index of the pyramid level that a box is pooled from, 0 for P2: (..., 4) -> (...) int32.

    Source: Lin et al., "Feature Pyramid Networks", CVPR 2017, equation 1 with k0 = 4 at 224 px.
    """
    side = ops.sqrt(ops.maximum(area(boxes), 1e-6))
    level = ops.round(4 + ops.log(side / 224.0) / np.log(2.0)) - 2
    return ops.cast(ops.clip(level, 0, levels - 1), "int32")


def roi_align(maps, boxes, size: int, strides, shape, centred: bool = True):
    """ROIAlign from a feature pyramid: one bilinear sample at the centre of each bin, nothing rounded.

    A cell of a map at stride s covers s pixels and its value stands for its centre, so pixel
    coordinate y lies at y / s - 0.5 in cells; beyond the outermost centres the border value continues.

    Matterport samples otherwise, and its weights expect it (`centred` False): from the first to the last
    pixel of the box, both included, and the first and last pixel of the image are those of the map.

    Source: He et al., "Mask R-CNN", ICCV 2017, section 3.

    Args:
        maps: list of (B, H_l, W_l, C), one per pyramid level.
        boxes: (B, R, 4), inside the image.
        size: bins along each side.
        strides: px per cell of each level.
        shape: (height, width) of the image, px.
        centred: see above.

    Returns:
        (B, R, size, size, C).
    """
    level = pyramid_level(boxes, len(maps))

    def of_level(values):
        return ops.take(ops.convert_to_tensor(values, "float32"), level)[..., None]

    rows, columns = sample_points(boxes, size, centred)
    if centred:
        stride = of_level(strides)
        rows, columns = rows / stride - 0.5, columns / stride - 0.5
    else:
        rows = (rows - 0.5) * of_level([(one.shape[1] - 1) / (shape[0] - 1) for one in maps])
        columns = (columns - 0.5) * of_level([(one.shape[2] - 1) / (shape[1] - 1) for one in maps])
    found = native.sample_grids(maps, rows, columns, level)
    return gather_grids(maps, rows, columns, level) if found is None else found


def gather_grids(maps, rows, columns, level):
    """`native.sample_grids` in operations that every backend has and compiles.

    All maps are laid end to end, so that one gather serves boxes of every size.
    """
    channels, size = maps[0].shape[-1], rows.shape[-1]
    heights = np.array([one.shape[1] for one in maps], np.int32)
    widths = np.array([one.shape[2] for one in maps], np.int32)
    first = np.cumsum(heights * widths, dtype=np.int32) - heights * widths
    cells = ops.concatenate(
        [ops.reshape(one, (-1, one.shape[1] * one.shape[2], channels)) for one in maps], 1
    )

    def of_level(values):
        return ops.take(ops.convert_to_tensor(values, "int32"), level)[..., None]

    pooled = 0.0
    for flat, weight in _corners(rows, columns, of_level(heights), of_level(widths)):
        flat = flat + of_level(first)[..., None]
        samples = take(cells, ops.reshape(flat, (-1, flat.shape[1] * size * size)))
        pooled = pooled + ops.reshape(samples, (-1, *flat.shape[1:], channels)) * weight[..., None]
    return pooled


def sample_points(boxes, size: int, centred: bool = True):
    """Where boxes (..., 4) are sampled: rows and columns, each (..., size), px; a pixel's centre is at 0.5.

    Args:
        boxes: (..., 4).
        size: points along each side.
        centred: at the centres of equal bins; False: from the first to the last pixel's centre.
    """
    steps = ops.arange(size, dtype="float32")
    if centred:
        first, last, position = boxes[..., :2], boxes[..., 2:], (steps + 0.5) / size
    else:
        first, last, position = boxes[..., :2] + 0.5, boxes[..., 2:] - 0.5, steps / (size - 1)
    points = first[..., None] + position * (last - first)[..., None]
    return points[..., 0, :], points[..., 1, :]


def _corners(rows, columns, height, width):
    """The four cells around each point of a grid and their bilinear weights.

    Args:
        rows, columns: (B, R, S), in cells.
        height, width: (B, R, 1) int32, of the map that each box is read from.

    Returns:
        four pairs of flat index (B, R, S, S) int32 and weight (B, R, S, S) float32, over rows x columns.
    """
    y0, y1, wy = (value[..., :, None] for value in _neighbours(rows, height))
    x0, x1, wx = (value[..., None, :] for value in _neighbours(columns, width))
    width = width[..., None]
    return (
        (y0 * width + x0, (1 - wy) * (1 - wx)),
        (y0 * width + x1, (1 - wy) * wx),
        (y1 * width + x0, wy * (1 - wx)),
        (y1 * width + x1, wy * wx),
    )


def _neighbours(position, length):
    """The cells before and after each position and the weight of the one after, clamped to the map."""
    last = ops.cast(length, "float32") - 1
    position = ops.minimum(ops.maximum(position, 0), last)
    first = ops.floor(position)
    return (
        ops.cast(first, "int32"),
        ops.cast(ops.minimum(first + 1, last), "int32"),
        position - first,
    )


def crop_masks(masks, mask_boxes, boxes, size: int, centred: bool = True):
    """Masks given inside their own box, resampled bilinearly inside other boxes; 0 outside their own.

    Args:
        masks: (B, R, h, w) float32 in 0..1.
        mask_boxes: (B, R, 4), the box that each mask fills.
        boxes: (B, R, 4), the boxes to resample in.
        size: side of the result.
        centred: see `sample_points`.

    Returns:
        (B, R, size, size) float32.
    """
    _, count, height, width = masks.shape
    rows, columns = sample_points(boxes, size, centred)
    box_size = ops.maximum(mask_boxes[..., 2:] - mask_boxes[..., :2], 1e-3)
    rows = (rows - mask_boxes[..., 0:1]) / box_size[..., 0:1] * height
    columns = (columns - mask_boxes[..., 1:2]) / box_size[..., 1:2] * width
    inside = ops.logical_and(
        ops.logical_and(rows >= 0, rows <= height)[..., :, None],
        ops.logical_and(columns >= 0, columns <= width)[..., None, :],
    )
    full = ops.ones_like(rows[..., :1], dtype="int32")
    cells = ops.reshape(masks, (-1, count, height * width))
    cropped = 0.0
    for flat, weight in _corners(rows - 0.5, columns - 0.5, full * height, full * width):
        samples = ops.take_along_axis(cells, ops.reshape(flat, (-1, count, size * size)), axis=2)
        cropped = cropped + ops.reshape(samples, (-1, count, size, size)) * weight
    return cropped * ops.cast(inside, "float32")
