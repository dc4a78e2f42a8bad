"""Operations that a backend has ready-made: the same results as ours, sooner."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops


def non_max_suppression(boxes, scores, limit: int, threshold: float):
    """As `mrcnn.modeling.boxes.non_max_suppression`; None where the backend has no such operation.

    Args:
        boxes: (B, N, 4).
        scores: (B, N).
        limit: at most N.
        threshold: of the intersection over union.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow_suppression(boxes, scores, limit, threshold)
    if backend == "torch":
        return _torch_suppression(boxes, scores, limit, threshold)
    return None


def _tensorflow_suppression(boxes, scores, limit: int, threshold: float):
    import tensorflow as tf

    @tf.autograph.experimental.do_not_convert  # nothing in it needs the second it would take
    def of_image(image):
        index, count = tf.image.non_max_suppression_padded(
            *image, limit, threshold, score_threshold=0.0, pad_to_max_output_size=True
        )
        return index, tf.range(limit) < count

    kinds = tf.TensorSpec((limit,), tf.int32), tf.TensorSpec((limit,), tf.bool)
    return tf.map_fn(of_image, (boxes, scores), fn_output_signature=kinds)


def _torch_suppression(boxes, scores, limit: int, threshold: float):
    from torchvision.ops import nms

    index = ops.zeros((len(boxes), limit), "int32")
    valid = ops.zeros((len(boxes), limit), "bool")
    for image in range(len(boxes)):
        kept = nms(boxes[image], scores[image], threshold)
        kept = kept[scores[image][kept] > 0][:limit]
        index[image, : len(kept)] = kept.int()
        valid[image, : len(kept)] = True
    return index, valid


def without_padding(gt_boxes, gt_class_ids):
    """Ground truth up to the last object of any image of the batch: padding costs as much as objects do.

    JAX compiles fixed shapes only and gets back what it gave.

    Args:
        gt_boxes: (B, G, 4).
        gt_class_ids: (B, G) int32, 0 at padding.

    Returns:
        both, with at least one place an image.
    """
    if keras.backend.backend() not in ("tensorflow", "torch"):
        return gt_boxes, gt_class_ids
    places = ops.arange(1, gt_class_ids.shape[1] + 1, dtype="int32")
    last = ops.maximum(ops.max(ops.where(gt_class_ids != 0, places, 0)), 1)
    return gt_boxes[:, :last], gt_class_ids[:, :last]


def sample_grids(maps, rows, columns, level):
    """Bilinear samples on evenly spaced grids, each in one of several maps; None where a backend has no such.

    For PyTorch there is torchvision's ROIAlign, but forth and back it takes longer than ours.

    Args:
        maps: list of (B, H_l, W_l, C).
        rows, columns: (B, R, S), in cells, not beyond the outer edges of the outermost cells.
        level: (B, R) int32, the place in the list of the map that each grid lies in.

    Returns:
        (B, R, S, S, C) float32.
    """
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_grids(maps, rows, columns, level)
    return None


def _tensorflow_grids(maps, rows, columns, level):
    import tensorflow as tf

    count, size = rows.shape[1:]
    heights, widths = (np.array([one.shape[axis] for one in maps], np.float32) for axis in (1, 2))
    # The operation reads from one image: all maps below each other, each in a frame that continues it.
    sheet = tf.concat([_framed(one, int(widths.max()) + 2) for one in maps], axis=1)
    first = np.cumsum(heights + 2) - heights - 1

    def corner(place: int):
        # However far out a box lies, it may not reach into the map of another level.
        row = tf.clip_by_value(rows[..., place], -0.5, tf.gather(heights, level) - 0.5)
        column = tf.clip_by_value(columns[..., place], -0.5, tf.gather(widths, level) - 0.5) + 1
        row = row + tf.gather(first, level)
        return [row / (sheet.shape[1] - 1), column / (sheet.shape[2] - 1)]

    corners = tf.reshape(tf.stack([*corner(0), *corner(-1)], axis=-1), (-1, 4))
    image = tf.repeat(tf.range(tf.shape(rows)[0]), count)
    samples = tf.image.crop_and_resize(sheet, corners, image, (size, size))
    return tf.reshape(samples, (-1, count, size, size, sheet.shape[-1]))


def _framed(one, width: int):
    """A map (B, H, W, C) within its own border, repeated, and zeros to its right: (B, H + 2, width, C)."""
    import tensorflow as tf

    framed = tf.pad(tf.cast(one, "float32"), ((0, 0), (1, 1), (1, 1), (0, 0)), "SYMMETRIC")
    return tf.pad(framed, ((0, 0), (0, 0), (0, width - framed.shape[2]), (0, 0)))
