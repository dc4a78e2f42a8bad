"""ROIAlign: features, or masks, of regions of any size, sampled on a grid of one size."""

from __future__ import annotations

import numpy as np
from keras import ops

from mrcnn.modeling import backend_ops
from mrcnn.modeling.boxes import area, take


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
    found = backend_ops.sample_grids(maps, rows, columns, level)
    return gather_grids(maps, rows, columns, level) if found is None else found


def gather_grids(maps, rows, columns, level):
    """`backend_ops.sample_grids` in operations that every backend has and compiles.

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
