"""The five losses of Mask R-CNN, as plain functions of tensors.

Each is an average over what counts, and 0 where nothing does.
Source: He et al., "Mask R-CNN", ICCV 2017; Ren et al., "Faster R-CNN", NeurIPS 2015.
"""

from __future__ import annotations

from keras import ops

from mrcnn.modeling.heads import of_class


def _mean_where(values, counts):
    """Mean of `values` over the entries whose `counts` (same shape, 0 or 1) is 1."""
    return ops.sum(values * counts) / ops.maximum(ops.sum(counts), 1.0)


def _smooth_l1(target, prediction):
    """Mean over the last axis of the Huber loss with delta 1: (..., 4) -> (...)."""
    difference = ops.abs(target - prediction)
    return ops.mean(ops.where(difference < 1, 0.5 * difference**2, difference - 0.5), axis=-1)


def rpn_class_loss(match, logits):
    """Cross-entropy of anchors: match (B, A) in {1, -1, 0 = not counted}, logits (B, A, 2)."""
    counts = ops.cast(match != 0, "float32")
    target = ops.cast(match == 1, "int32")
    return _mean_where(ops.sparse_categorical_crossentropy(target, logits, from_logits=True), counts)


def rpn_bbox_loss(match, target, deltas):
    """Smooth L1 on the positive anchors: match (B, A), target and deltas (B, A, 4)."""
    return _mean_where(_smooth_l1(target, deltas), ops.cast(match == 1, "float32"))


def class_loss(class_ids, logits):
    """Cross-entropy of regions: class_ids (B, T), -1 = padding; logits (B, T, classes)."""
    counts = ops.cast(class_ids >= 0, "float32")
    target = ops.maximum(class_ids, 0)
    return _mean_where(ops.sparse_categorical_crossentropy(target, logits, from_logits=True), counts)


def bbox_loss(class_ids, target, deltas):
    """Smooth L1 on positive regions: class_ids (B, P), target (B, P, 4), deltas (B, P, classes, 4)."""
    return _mean_where(_smooth_l1(target, of_class(deltas, class_ids)), ops.cast(class_ids > 0, "float32"))


def mask_loss(class_ids, target, logits):
    """Mean binary cross-entropy of the masks of positive regions' own class.

    class_ids (B, P), target (B, P, h, w) in 0..1, logits (B, P, h, w, classes).
    """
    logits = of_class(ops.transpose(logits, (0, 1, 4, 2, 3)), class_ids)
    loss = ops.mean(ops.binary_crossentropy(target, logits, from_logits=True), axis=(-2, -1))
    return _mean_where(loss, ops.cast(class_ids > 0, "float32"))
