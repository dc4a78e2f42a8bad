"""How well detections agree with the truth on one image: matches, average precision, recall.

The average precision is that of PASCAL VOC 2010 and later: the area under the precision that a recall of r
or more can have. For comparisons across images and with publications, evaluate.py uses pycocotools.
"""

from __future__ import annotations

import numpy as np

from mrcnn.data.box_arrays import compute_overlaps, trim_zeros
from mrcnn.data.mask_arrays import compute_overlaps_masks


def compute_matches(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give each prediction, best first, the free instance of its class that it overlaps most.

    Args:
        gt_boxes: (N, 4) px; rows of zeros at the end are padding.
        gt_class_ids: (N,).
        gt_masks: (H, W, N) bool.
        pred_boxes: (M, 4) px, padded likewise.
        pred_class_ids: (M,).
        pred_scores: (M,).
        pred_masks: (H, W, M) bool.
        iou_threshold: smallest intersection over union of two masks that match.
        score_threshold: a second such limit on the overlap, in spite of its name, which is Matterport's.

    Returns:
        gt_match (N,) int32, the prediction that matches each instance, and pred_match (M,) int32, the
        instance that matches each prediction, -1 for none; overlaps (M, N) float64 of the masks.
        Predictions are counted in order of falling score here, not in the order given.
    """
    gt_class_ids, pred_class_ids, overlaps = _ranked(
        gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks
    )
    return *_match(gt_class_ids, pred_class_ids, overlaps, max(iou_threshold, score_threshold)), overlaps


def _ranked(gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks):
    """Without padding and with predictions in order of falling score: the class ids and the overlaps."""
    instances, predictions = len(trim_zeros(gt_boxes)), len(trim_zeros(pred_boxes))
    order = np.argsort(-np.asarray(pred_scores[:predictions]), kind="stable")
    # A copy of all masks in that order would take longer than the overlaps themselves.
    overlaps = compute_overlaps_masks(pred_masks[..., :predictions], gt_masks[..., :instances])[order]
    return np.asarray(gt_class_ids)[:instances], np.asarray(pred_class_ids)[order], overlaps


def _match(
    gt_class_ids: np.ndarray, pred_class_ids: np.ndarray, overlaps: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """gt_match and pred_match of `compute_matches`, from overlaps (M, N) in order of falling score."""
    gt_match, pred_match = np.full(len(gt_class_ids), -1, np.int32), np.full(len(overlaps), -1, np.int32)
    allowed = np.where(pred_class_ids[:, None] == gt_class_ids, overlaps, -1.0)
    allowed[allowed < threshold] = -1.0
    for prediction in np.flatnonzero((allowed >= 0).any(axis=1)):
        free = np.where(gt_match < 0, allowed[prediction], -1.0)
        best = free.argmax()
        if free[best] >= 0:
            gt_match[best], pred_match[prediction] = prediction, best
    return gt_match, pred_match


def compute_ap(
    gt_boxes: np.ndarray,
    gt_class_ids: np.ndarray,
    gt_masks: np.ndarray,
    pred_boxes: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    pred_masks: np.ndarray,
    iou_threshold: float = 0.5,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Average precision of one image, all classes together.

    Args:
        gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks: as for
            `compute_matches`.
        iou_threshold: smallest intersection over union of two masks that match.

    Returns:
        the average precision, 0 where the image holds no instance; precisions (M + 2,), never rising, and
        recalls (M + 2,), from 0 to 1, after each prediction and at both ends; overlaps (M, N).
    """
    gt_class_ids, pred_class_ids, overlaps = _ranked(
        gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks
    )
    gt_match, pred_match = _match(gt_class_ids, pred_class_ids, overlaps, iou_threshold)
    return *_average_precision(pred_match, len(gt_match)), overlaps


def _average_precision(pred_match: np.ndarray, instances: int) -> tuple[float, np.ndarray, np.ndarray]:
    found = np.cumsum(pred_match > -1)
    precisions = np.concatenate([[0], found / (np.arange(len(found)) + 1), [0]])
    recalls = np.concatenate([[0], found / max(instances, 1), [1]])
    precisions = np.maximum.accumulate(precisions[::-1])[::-1]
    return float(np.sum(np.diff(recalls) * precisions[1:])), precisions, recalls


def compute_ap_range(
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    iou_thresholds: np.ndarray | None = None,
    verbose: int = 1,
) -> float:
    """Mean of `compute_ap` over several thresholds.

    Args:
        gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask: as for
            `compute_matches`.
        iou_thresholds: 0.5 to 0.95 in steps of 0.05 where not given, as for COCO.
        verbose: 1 prints each and the mean.
    """
    thresholds = np.arange(0.5, 1.0, 0.05) if iou_thresholds is None else iou_thresholds
    gt_class_ids, pred_class_ids, overlaps = _ranked(
        gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask
    )
    precisions = []
    for threshold in thresholds:
        _, pred_match = _match(gt_class_ids, pred_class_ids, overlaps, threshold)
        precisions.append(_average_precision(pred_match, len(gt_class_ids))[0])
        if verbose:
            print(f"AP @{threshold:.2f}:\t {precisions[-1]:.3f}")
    mean = float(np.mean(precisions))
    if verbose:
        print(f"AP @{thresholds[0]:.2f}-{thresholds[-1]:.2f}:\t {mean:.3f}")
    return mean


def compute_recall(pred_boxes: np.ndarray, gt_boxes: np.ndarray, iou: float) -> tuple[float, np.ndarray]:
    """The share of boxes that are the best match of some predicted box.

    Args:
        pred_boxes: (M, 4) px.
        gt_boxes: (N, 4) px.
        iou: smallest intersection over union of a match.

    Returns:
        the recall, 0 where `gt_boxes` is empty, and the indices of the predictions that match.
    """
    if not len(gt_boxes):
        return 0.0, np.zeros(0, np.intp)
    overlaps = compute_overlaps(pred_boxes, gt_boxes)
    positive = np.flatnonzero(overlaps.max(axis=1) >= iou)
    return len(np.unique(overlaps[positive].argmax(axis=1))) / len(gt_boxes), positive
