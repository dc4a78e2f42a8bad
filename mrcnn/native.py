"""Operations that a backend has ready-made: the same results as ours, sooner."""

from __future__ import annotations

import keras
from keras import ops


def non_max_suppression(boxes, scores, limit: int, threshold: float):
    """As `mrcnn.boxes.non_max_suppression`; None where the backend has no such operation.

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
