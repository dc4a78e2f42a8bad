"""Scores of a predicted label image against the truth, with the conventions of HoVer-Net's statistics.

Everywhere: truth and pred are (H, W) integer images, 0 = background, any other value = one nucleus; ids
need not be contiguous, and which id a nucleus has matters between equals alone. Two empty images score 1,
one empty image scores 0. ValueError for images of different sizes, or that are not label images.

Conventions and names: Graham et al., "HoVer-Net", Medical Image Analysis 58 (2019).
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
from numpy.typing import ArrayLike
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment

from nuclei.evaluation.overlaps import Overlaps, overlaps

NAMES = ("dice", "aji", "aji_plus", "dq", "sq", "pq", "ap50")


def dice(truth: np.ndarray, pred: np.ndarray) -> float:
    """Dice coefficient of the two foregrounds, whatever the instances.

    >>> truth = np.array([[1, 1, 1, 0, 2, 2]])
    >>> pred = np.array([[5, 5, 0, 0, 7, 7]])
    >>> round(dice(truth, pred), 3)  # 2 * 4 shared px of 5 + 4
    0.889
    """
    o = overlaps(truth, pred)
    total = o.truth_area.sum() + o.pred_area.sum()
    return float(2 * o.intersection.sum() / total) if total else 1.0


def aji(truth: np.ndarray, pred: np.ndarray) -> float:
    """Aggregated Jaccard index (Kumar et al., IEEE TMI 36(7), 2017).

    Each true nucleus takes the prediction of largest IoU, among equals that of the larger union, then
    of the lower id; a prediction may serve several of them. Intersections over unions, both summed; true
    nuclei that nothing touches and predictions that serve none add their area to the union.

    >>> aji(np.array([[1, 1, 1, 0, 2, 2]]), np.array([[5, 5, 0, 0, 7, 7]]))  # (2 + 2) / (3 + 2)
    0.8
    """
    o = overlaps(truth, pred)
    if o.is_empty:
        return _of_empty(o)
    order = np.lexsort((o.preds, -_pairing_iou(o), o.truths))
    _, best = np.unique(o.truths[order], return_index=True)  # the first pair of each true nucleus
    return _aggregated_jaccard(o, order[best])


def aji_plus(truth: np.ndarray, pred: np.ndarray) -> float:
    """AJI with each prediction used at most once: the assignment of largest total IoU (HoVer-Net's AJI+)."""
    o = overlaps(truth, pred)
    if o.is_empty:
        return _of_empty(o)
    return _aggregated_jaccard(o, _assign(o, _pairing_iou(o)))


def panoptic_quality(truth: np.ndarray, pred: np.ndarray, iou: float = 0.5) -> tuple[float, float, float]:
    """Detection quality, segmentation quality and their product (Kirillov et al., CVPR 2019).

    Nuclei match as in `match`. DQ = TP / (TP + FP / 2 + FN / 2); SQ = the mean IoU of the matches,
    0 without any. HoVer-Net adds 1e-6 to the number of matches there; that is dropped here, so a
    perfect prediction scores exactly 1.

    Returns:
        (dq, sq, pq)

    >>> truth, pred = np.array([[1, 1, 0, 2, 2]]), np.array([[5, 5, 0, 0, 7]])  # IoUs 1 and 0.5
    >>> dq, sq, pq = panoptic_quality(truth, pred)  # 0.5 is no match: 1 found, 1 missed, 1 invented
    >>> dq, sq, pq
    (0.5, 1.0, 0.5)
    """
    o = overlaps(truth, pred)
    if not o.truth_ids.size and not o.pred_ids.size:
        return 1.0, 1.0, 1.0
    matched = o.iou[_match(o, iou)]
    dq = 2 * len(matched) / (len(o.truth_ids) + len(o.pred_ids))
    sq = float(matched.mean()) if len(matched) else 0.0
    return dq, sq, dq * sq


def match(truth: np.ndarray, pred: np.ndarray, iou: float = 0.5) -> np.ndarray:
    """Which true nuclei were found, and by which predictions: pairs of an IoU above (not at) `iou`.

    From 0.5 on such pairs are unique; below, they come from the assignment of largest total IoU.

    Returns:
        (M, 2) int64: the ids of each pair, truth first.
    """
    o = overlaps(truth, pred)
    matched = _match(o, iou)
    return np.stack([o.truth_ids[o.truths[matched]], o.pred_ids[o.preds[matched]]], axis=1)


def average_precision(
    truth: np.ndarray, pred: np.ndarray, scores: ArrayLike | None = None, iou: float = 0.5
) -> float:
    """Average precision by pycocotools: matching and 101-point curve are COCO's, the IoUs come from here.

    COCO matches at an IoU of `iou` or above. Among predictions of equal score the worse ones are
    counted first, so that their order does not matter: without scores the result is precision x recall.

    Args:
        truth: as everywhere.
        pred: as everywhere.
        scores: (P,) confidence of each prediction in ascending order of its id; None = all alike.
        iou: the threshold.

    Raises:
        ValueError: also when the number of scores is not that of the predictions.
    """
    o = overlaps(truth, pred)
    confidence = np.ones(len(o.pred_ids)) if scores is None else np.asarray(scores, np.float64)
    if confidence.shape != o.pred_ids.shape:
        raise ValueError(f"{len(o.pred_ids)} predicted nuclei, but scores of the shape {confidence.shape}")
    if o.is_empty:
        return _of_empty(o)
    best = np.zeros(len(o.pred_ids))
    np.maximum.at(best, o.preds, o.iou)
    order = np.lexsort((best, -confidence))
    with contextlib.redirect_stdout(io.StringIO()):  # COCOeval reports every step
        coco = _OverlapEval(o, order, iou)
        coco.evaluate()
        coco.accumulate()
    return float(coco.eval["precision"].mean())


def score(truth: np.ndarray, pred: np.ndarray, confidence: ArrayLike | None = None) -> dict[str, float]:
    """All scores of one image by their `NAMES`; matches at an IoU above 0.5 (AP50: of 0.5 or above).

    `confidence` is that of `average_precision`.
    """
    dq, sq, pq = panoptic_quality(truth, pred)
    values = (
        dice(truth, pred),
        aji(truth, pred),
        aji_plus(truth, pred),
        dq,
        sq,
        pq,
        average_precision(truth, pred, confidence),
    )
    return dict(zip(NAMES, values, strict=True))


class _OverlapEval(COCOeval):
    """COCOeval of one class, on overlaps instead of masks.

    It compares all nuclei of an image with all. So each group of nuclei that share pixels is an image here,
    which changes nothing: precision and recall are counted over all images, in the order of the scores.
    """

    def __init__(self, o: Overlaps, order: np.ndarray, threshold: float):
        """order: (P,) places of the predictions, the surest first."""
        common = {"category_id": 1, "iscrowd": 0, "area": 1}
        truth_groups, pred_groups = (each.tolist() for each in o.groups())
        truth = [common | {"id": k + 1, "image_id": group} for k, group in enumerate(truth_groups)]
        pred = [common | {"id": k + 1, "image_id": group} for k, group in enumerate(pred_groups)]
        for rank, place in enumerate(order):
            pred[place]["score"] = len(order) - rank
        images = sorted({*truth_groups, *pred_groups})
        # "bbox" keeps COCOeval from looking for masks.
        super().__init__(_coco(images, truth), _coco(images, pred), "bbox")
        pairs = zip((o.preds + 1).tolist(), (o.truths + 1).tolist(), strict=True)
        self._iou = dict(zip(pairs, o.iou.tolist(), strict=True))
        self.params.iouThrs = np.array([threshold])
        self.params.maxDets = [len(pred)]
        self.params.areaRng, self.params.areaRngLbl = [[0, 1e10]], ["all"]

    def computeIoU(self, imgId: int, catId: int) -> np.ndarray:
        """(P, T) of a group, predictions in descending order of score."""
        truth, pred = self._gts[imgId, catId], self._dts[imgId, catId]
        pred = sorted(pred, key=lambda one: -one["score"])
        table = [[self._iou.get((p["id"], t["id"]), 0.0) for t in truth] for p in pred]
        return np.reshape(table, (len(pred), len(truth)))


def _coco(images: list[int], annotations: list[dict]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in images],
        "categories": [{"id": 1}],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _of_empty(o: Overlaps) -> float:
    """The score where at least one of the images is empty."""
    return float(len(o.truth_ids) == len(o.pred_ids))


def _pairing_iou(o: Overlaps) -> np.ndarray:
    """(K,) float64, the IoU by which AJI and AJI+ choose their pairs."""
    return o.intersection / (o.union + 1e-6)  # as HoVer-Net's: it decides between equal IoUs


def _aggregated_jaccard(o: Overlaps, pairs: np.ndarray) -> float:
    """Summed intersection over summed union of the pairs, everything unpaired added to the union."""
    union = o.union[pairs].sum()
    union += np.delete(o.truth_area, o.truths[pairs]).sum() + np.delete(o.pred_area, o.preds[pairs]).sum()
    return float(o.intersection[pairs].sum() / union)


def _match(o: Overlaps, iou: float) -> np.ndarray:
    """Which pairs match (see `match`)."""
    if iou >= 0.5:
        return np.flatnonzero(o.iou > iou)
    pairs = _assign(o, o.iou)
    return pairs[o.iou[pairs] > iou]


def _assign(o: Overlaps, gain: np.ndarray) -> np.ndarray:
    """The pairs, each nucleus in at most one, whose `gain`, (K,), is largest in total."""
    groups = o.groups()[0][o.truths]
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    chosen = [np.zeros(0, np.int64)]
    for pairs in np.split(order, starts)[1:]:  # what is before the first start is empty
        truths, rows = np.unique(o.truths[pairs], return_inverse=True)
        preds, columns = np.unique(o.preds[pairs], return_inverse=True)
        table, pair_at = np.zeros((len(truths), len(preds))), np.full((len(truths), len(preds)), -1)
        table[rows, columns], pair_at[rows, columns] = gain[pairs], pairs
        assigned = pair_at[linear_sum_assignment(table, maximize=True)]
        chosen.append(assigned[assigned >= 0])  # others share nothing
    return np.sort(np.concatenate(chosen))
