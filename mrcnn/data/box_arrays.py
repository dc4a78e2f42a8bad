"""Boxes as NumPy arrays: overlaps, suppression, deltas, anchors, normalised coordinates.

Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive. The same on tensors is in mrcnn/boxes.py.
"""

from __future__ import annotations

import numpy as np


def compute_iou(box: np.ndarray, boxes: np.ndarray, box_area: float, boxes_area: np.ndarray) -> np.ndarray:
    """Intersection over union (N,) of one box (4,) with boxes (N, 4), whose areas the caller knows."""
    height = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    width = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    shared = np.maximum(height, 0) * np.maximum(width, 0)
    return _ratio(shared, box_area + boxes_area - shared)


def compute_overlaps(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) float64 of boxes (N, 4) and (M, 4); 0 for empty ones."""
    first = np.maximum(boxes1[:, None, :2], boxes2[None, :, :2])
    last = np.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    shared = np.prod(np.clip(last - first, 0, None), axis=2)
    return _ratio(shared, _areas(boxes1)[:, None] + _areas(boxes2) - shared)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.clip(boxes[:, 2:4] - boxes[:, :2], 0, None), axis=1)


def _ratio(shared: np.ndarray, union: np.ndarray) -> np.ndarray:
    return np.divide(shared, union, out=np.zeros(shared.shape, np.float64), where=union > 0)


def non_max_suppression(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Greedy suppression of boxes that overlap a better one.

    Args:
        boxes: (N, 4).
        scores: (N,).
        threshold: the largest intersection over union that two kept boxes may have.

    Returns:
        indices of the kept boxes, int32, best first; of equal scores the earlier one.
    """
    boxes = np.asarray(boxes, np.float64)
    areas = _areas(boxes)
    remaining = np.argsort(-np.asarray(scores), kind="stable")
    kept = []
    while remaining.size:
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        overlap = compute_iou(boxes[best], boxes[remaining], areas[best], areas[remaining])
        remaining = remaining[overlap <= threshold]
    return np.array(kept, np.int32)


def apply_box_deltas(boxes: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """Move and resize boxes (N, 4) by deltas (N, 4), (dy, dx, log dh, log dw) -> (N, 4) float32.

    The deltas are plain, not divided by a standard deviation as those that the network predicts are.
    Source: Girshick et al., "Rich feature hierarchies", CVPR 2014, appendix C.
    """
    centre, size = _centre_size(boxes)
    deltas = np.asarray(deltas, np.float32)
    centre = centre + deltas[:, :2] * size
    size = size * np.exp(deltas[:, 2:])
    return np.concatenate([centre - 0.5 * size, centre + 0.5 * size], axis=1)


def box_refinement(box: np.ndarray, gt_box: np.ndarray) -> np.ndarray:
    """Deltas (N, 4) float32 that turn boxes (N, 4) into `gt_box` (N, 4); no side may be 0.

    The inverse of `apply_box_deltas`.
    """
    centre, size = _centre_size(box)
    gt_centre, gt_size = _centre_size(gt_box)
    return np.concatenate([(gt_centre - centre) / size, np.log(gt_size / size)], axis=1)


def _centre_size(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.asarray(boxes, np.float32)
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + 0.5 * size, size


def generate_anchors(scales, ratios, shape, feature_stride, anchor_stride) -> np.ndarray:
    """Anchors of one feature map, row by row, at each position by ratio and then by scale.

    Centres lie at multiples of the stride, the upper left corner of each cell, as Matterport's weights
    expect; those of `mrcnn.modeling.boxes.pyramid_anchors` lie half a cell further, at its centre.

    Args:
        scales: sides of the square anchors, px; one number or several.
        ratios: width / height of the anchors at each position.
        shape: (height, width) of the feature map, cells.
        feature_stride: px of the image per cell.
        anchor_stride: cells between anchors.

    Returns:
        (A, 4) float64 px, not cut at the image.
    """
    root = np.sqrt(np.ravel(ratios).astype(np.float64))[:, None]  # (R, 1)
    sides = np.ravel(scales).astype(np.float64)
    sizes = np.stack([sides / root, sides * root], axis=-1).reshape(-1, 2)  # (R * S, 2) height, width
    rows, columns = (np.arange(0, cells, anchor_stride) * feature_stride for cells in shape)
    centres = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)[:, :, None, :]
    return np.concatenate([centres - 0.5 * sizes, centres + 0.5 * sizes], axis=-1).reshape(-1, 4)


def generate_pyramid_anchors(scales, ratios, feature_shapes, feature_strides, anchor_stride) -> np.ndarray:
    """Anchors of all pyramid levels, level by level: see `generate_anchors`.

    Args:
        scales: side of a square anchor at each level, px.
        ratios: width / height of the anchors at each position.
        feature_shapes: (height, width) of each level, cells.
        feature_strides: px of the image per cell of each level.
        anchor_stride: cells between anchors.

    Returns:
        (A, 4) float64 px.
    """
    levels = zip(scales, feature_shapes, feature_strides, strict=True)
    return np.concatenate(
        [generate_anchors(scale, ratios, shape, stride, anchor_stride) for scale, shape, stride in levels]
    )


def norm_boxes(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Boxes (N, 4) in pixels -> float32 in 0..1 of an image of `shape` (height, width).

    The scale is Matterport's: the last pixel is 1, so y2 and x2, which lie beyond it, are moved by -1.
    """
    scale, shift = _norm(shape)
    return ((boxes - shift) / scale).astype(np.float32)


def denorm_boxes(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The inverse of `norm_boxes`: (N, 4) in 0..1 -> int32 px, rounded."""
    scale, shift = _norm(shape)
    return np.around(boxes * scale + shift).astype(np.int32)


def _norm(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    height, width = shape
    return np.array([height - 1, width - 1, height - 1, width - 1]), np.array([0, 0, 1, 1])


def trim_zeros(x: np.ndarray) -> np.ndarray:
    """The rows of (N, C) that are not all zero: boxes without their padding."""
    return x[(x != 0).any(axis=1)]
