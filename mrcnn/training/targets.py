"""What the network should have said: targets for the anchors and for the proposals.

Ground truth is padded: class id 0 marks padding, an id below 0 an ignore region (neither object nor
background), as crowds are in COCO.
"""

from __future__ import annotations

import keras
from keras import ops

from mrcnn.config import Config
from mrcnn.modeling import backend_ops, boxes, roi_align

POSITIVE_ANCHOR_OVERLAP = 0.7
NEGATIVE_ANCHOR_OVERLAP = 0.3
POSITIVE_ROI_OVERLAP = 0.5
NEGATIVE_OVERLAP_OF_A_GUESS = 0.3  # largest with a box that is a guess: the object may be what is proposed
IGNORED_OVERLAP = 0.001  # Matterport's: a negative may not touch an ignore region


def _random_subset(candidates, limit, most: int, seed):
    """At most `limit` (B, 1), itself at most `most`, of the true entries of (B, N) bool, chosen at random."""
    key = keras.random.uniform(ops.shape(candidates), seed=seed) + ops.cast(candidates, "float32")
    best, _ = ops.top_k(key, min(most, candidates.shape[1]))
    smallest = ops.take_along_axis(best, ops.minimum(limit, best.shape[1]) - 1, axis=1)
    return ops.logical_and(candidates, key >= smallest)


def _overlaps_by_kind(candidates, gt_boxes, gt_class_ids):
    """Overlaps with objects (B, N, G), 0 at padding; which candidates touch an ignore region (B, N)."""
    overlaps = boxes.overlaps(candidates, gt_boxes)
    objects = overlaps * ops.cast(gt_class_ids > 0, "float32")[:, None, :]
    ignored = ops.einsum("bng,bg->bn", overlaps, ops.cast(gt_class_ids < 0, "float32"))
    return objects, ignored > IGNORED_OVERLAP


def anchor_targets(anchors, gt_boxes, gt_class_ids, config: Config, seed):
    """Which anchors are objects, which background, and the deltas to the object.

    Positive: overlap of at least 0.7 with an object, or the best anchor of an object. Negative: below
    0.3 with every object. A random RPN_TRAIN_ANCHORS_PER_IMAGE of them count, at most half positive.
    Source: Ren et al., "Faster R-CNN", NeurIPS 2015, section 3.1.2.

    Args:
        anchors: (A, 4).
        gt_boxes: (B, G, 4).
        gt_class_ids: (B, G) int32.

    Returns:
        match (B, A) int32: 1 positive, -1 negative, 0 not counted; deltas (B, A, 4) float32.
    """
    gt_boxes, gt_class_ids = backend_ops.without_padding(gt_boxes, gt_class_ids)
    repeated = ops.broadcast_to(anchors[None], (ops.shape(gt_boxes)[0], *anchors.shape))
    overlaps, ignored = _overlaps_by_kind(repeated, gt_boxes, gt_class_ids)
    owner = ops.argmax(overlaps, axis=2)
    best = ops.take_along_axis(overlaps, owner[..., None], axis=2)[..., 0]
    best_of_object = ops.max(overlaps, axis=1, keepdims=True)
    # An anchor that is the best of some object; an object's padding has no best anchor.
    is_best = ops.any(overlaps >= ops.where(best_of_object > 0.05, best_of_object - 1e-5, 2.0), axis=2)
    positive = ops.logical_or(best >= POSITIVE_ANCHOR_OVERLAP, is_best)
    background = ops.logical_and(best < NEGATIVE_ANCHOR_OVERLAP, ops.logical_not(ignored))
    negative = ops.logical_and(background, ops.logical_not(positive))
    total = config.RPN_TRAIN_ANCHORS_PER_IMAGE
    half = ops.full((ops.shape(best)[0], 1), total // 2, dtype="int32")
    positive = _random_subset(positive, half, total // 2, seed)
    found = ops.sum(ops.cast(positive, "int32"), axis=1, keepdims=True)
    negative = _random_subset(negative, total - found, total, seed)
    match = ops.cast(positive, "int32") - ops.cast(negative, "int32")
    matched = boxes.take(gt_boxes, owner)
    return match, boxes.encode(repeated, matched, config.RPN_BBOX_STD_DEV)


def roi_targets(proposals, gt_class_ids, gt_boxes, gt_masks, outlined, config: Config, seed):
    """Choose the regions to train the heads on, positives first, and what the heads should answer there.

    The ground-truth boxes join the proposals, so that the heads learn from the first step on. Background are
    those whose overlap with every object is below NEGATIVE_ROI_OVERLAP.

    Args:
        proposals: (B, P, 4), zeros at padding.
        gt_class_ids: (B, G) int32.
        gt_boxes: (B, G, 4).
        gt_masks: (B, G, h, w), each mask inside its box.
        outlined: (B,) float32, 1 where boxes and masks are true, 0 where they are a guess.

    Returns:
        rois: (B, T, 4), T = TRAIN_ROIS_PER_IMAGE; the first T * ROI_POSITIVE_RATIO places are for positives.
        class_ids: (B, T) int32: 0 background, -1 padding.
        deltas: (B, positives, 4).
        masks: (B, positives, *MASK_SHAPE) float32 in 0..1.
    """
    proposals = ops.concatenate(
        [proposals, gt_boxes * ops.cast(gt_class_ids > 0, "float32")[..., None]], axis=1
    )
    proposals = ops.stop_gradient(proposals)
    overlaps, ignored = _overlaps_by_kind(proposals, gt_boxes, gt_class_ids)
    best = ops.max(overlaps, axis=2)
    real = boxes.area(proposals) > 1.0
    positive = ops.logical_and(real, best >= POSITIVE_ROI_OVERLAP)
    least = config.NEGATIVE_ROI_OVERLAP
    limit = ops.where(outlined > 0, least, min(least, NEGATIVE_OVERLAP_OF_A_GUESS))[:, None]
    negative = ops.logical_and(ops.logical_and(real, best < limit), ops.logical_not(ignored))

    total = config.TRAIN_ROIS_PER_IMAGE
    positives = int(total * config.ROI_POSITIVE_RATIO)
    chosen, is_positive = _pick(positive, positives, seed)
    others, is_negative = _pick(negative, total - positives, seed)
    rois = boxes.take(proposals, ops.concatenate([chosen, others], axis=1))

    owner = boxes.take(ops.argmax(overlaps, axis=2), chosen)
    classes = ops.where(is_positive, boxes.take(gt_class_ids, owner), -1)
    class_ids = ops.concatenate([classes, ops.where(is_negative, 0, -1)], axis=1)
    owner_boxes = boxes.take(gt_boxes, owner)
    deltas = boxes.encode(rois[:, :positives], owner_boxes, config.BBOX_STD_DEV)
    height, width = config.MINI_MASK_SHAPE
    flat = ops.reshape(ops.cast(gt_masks, "float32"), (-1, gt_masks.shape[1], height * width))
    owner_masks = ops.reshape(boxes.take(flat, owner), (-1, positives, height, width))
    masks = roi_align.crop_masks(
        owner_masks, owner_boxes, rois[:, :positives], config.MASK_SHAPE[0], config.CELL_CENTRED
    )
    return tuple(ops.stop_gradient(value) for value in (rois, class_ids, deltas, masks))


def _pick(candidates, count: int, seed):
    """Indices (B, count) of randomly chosen true entries of (B, N) bool, and which of them are real."""
    key = keras.random.uniform(ops.shape(candidates), seed=seed) + ops.cast(candidates, "float32")
    value, index = ops.top_k(key, count)
    return index, value >= 1.0
