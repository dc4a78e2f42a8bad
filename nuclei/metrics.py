"""Scores of a predicted label image against the truth, with the conventions of HoVer-Net's statistics.

Everywhere: truth and pred are (H, W) integer images, 0 = background, any other value = one nucleus; ids
need not be contiguous, and which id a nucleus has matters between equals alone. Two empty images score 1,
one empty image scores 0. ValueError for images of different sizes, or that are not label images.

Conventions and names: Graham et al., "HoVer-Net", Medical Image Analysis 58 (2019).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from nuclei import results
from nuclei.errors import InputError
from nuclei.formats import pair_by_stem, read_labels

NAMES = ("dice", "aji", "aji_plus", "dq", "sq", "pq", "ap50")


@dataclass(frozen=True)
class Overlaps:
    """How T true and P predicted nuclei overlap; the arrays are in ascending order of the ids."""

    truth_ids: np.ndarray  # (T,) int64
    pred_ids: np.ndarray  # (P,) int64
    truth_area: np.ndarray  # (T,) int64, px
    pred_area: np.ndarray  # (P,) int64, px
    intersection: np.ndarray  # (T, P) int64, px

    @property
    def union(self) -> np.ndarray:
        """(T, P) int64, px."""
        return self.truth_area[:, None] + self.pred_area - self.intersection

    @property
    def iou(self) -> np.ndarray:
        """(T, P) float64."""
        return self.intersection / self.union


def overlaps(truth: np.ndarray, pred: np.ndarray) -> Overlaps:
    """Count the pixels that each pair of nuclei shares, in one pass over the images."""
    if truth.shape != pred.shape or truth.ndim != 2:
        raise ValueError(f"expected two 2-D images of one size, got {truth.shape} and {pred.shape}")
    for labels in (truth, pred):
        if labels.dtype.kind not in "bui":
            raise ValueError(f"a label image holds integers, not {labels.dtype}")
        if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
            raise ValueError("the ids of a label image lie between 0 and 2^31 - 1")
    foreground = (truth != 0) | (pred != 0)
    # One number per pair of ids; two ids below 2^31 fit into it.
    pairs, counts = np.unique(
        (truth[foreground].astype(np.int64) << 32) | pred[foreground].astype(np.int64), return_counts=True
    )
    truth_ids, rows = np.unique(pairs >> 32, return_inverse=True)
    pred_ids, columns = np.unique(pairs & 0xFFFFFFFF, return_inverse=True)
    table = np.zeros((len(truth_ids), len(pred_ids)), np.int64)
    table[rows, columns] = counts
    # Sum up with the background still in, then drop its row and its column.
    truth_area, pred_area = table.sum(axis=1), table.sum(axis=0)
    t, p = truth_ids != 0, pred_ids != 0
    return Overlaps(truth_ids[t], pred_ids[p], truth_area[t], pred_area[p], table[t][:, p])


def dice(truth: np.ndarray, pred: np.ndarray) -> float:
    """Dice coefficient of the two foregrounds, whatever the instances."""
    o = overlaps(truth, pred)
    total = o.truth_area.sum() + o.pred_area.sum()
    return float(2 * o.intersection.sum() / total) if total else 1.0


def aji(truth: np.ndarray, pred: np.ndarray) -> float:
    """Aggregated Jaccard index (Kumar et al., IEEE TMI 36(7), 2017).

    Each true nucleus takes the prediction of largest IoU, among equals that of the larger union, then
    of the lower id; a prediction may serve several of them. Intersections over unions, both summed; true
    nuclei that nothing touches and predictions that serve none add their area to the union.
    """
    o = overlaps(truth, pred)
    if not o.intersection.size:
        return _of_empty(o)
    best = _pairing_iou(o).argmax(axis=1)
    touched = o.intersection.any(axis=1)
    return _aggregated_jaccard(o, np.flatnonzero(touched), best[touched])


def aji_plus(truth: np.ndarray, pred: np.ndarray) -> float:
    """AJI with each prediction used at most once: the assignment of largest total IoU (HoVer-Net's AJI+)."""
    o = overlaps(truth, pred)
    if not o.intersection.size:
        return _of_empty(o)
    rows, columns = linear_sum_assignment(_pairing_iou(o), maximize=True)
    touching = o.intersection[rows, columns] > 0
    return _aggregated_jaccard(o, rows[touching], columns[touching])


def panoptic_quality(truth: np.ndarray, pred: np.ndarray, iou: float = 0.5) -> tuple[float, float, float]:
    """Detection quality, segmentation quality and their product (Kirillov et al., CVPR 2019).

    Nuclei match as in `match`. DQ = TP / (TP + FP / 2 + FN / 2); SQ = the mean IoU of the matches,
    0 without any. HoVer-Net adds 1e-6 to the number of matches there; that is dropped here, so a
    perfect prediction scores exactly 1.

    Returns:
        (dq, sq, pq)
    """
    o = overlaps(truth, pred)
    if not o.truth_ids.size and not o.pred_ids.size:
        return 1.0, 1.0, 1.0
    rows, columns = _match(o, iou)
    dq = 2 * len(rows) / (len(o.truth_ids) + len(o.pred_ids))
    sq = float(o.iou[rows, columns].mean()) if len(rows) else 0.0
    return dq, sq, dq * sq


def match(truth: np.ndarray, pred: np.ndarray, iou: float = 0.5) -> np.ndarray:
    """Which true nuclei were found, and by which predictions: pairs of an IoU above (not at) `iou`.

    From 0.5 on such pairs are unique; below, they come from the assignment of largest total IoU.

    Returns:
        (M, 2) int64: the ids of each pair, truth first.
    """
    o = overlaps(truth, pred)
    rows, columns = _match(o, iou)
    return np.stack([o.truth_ids[rows], o.pred_ids[columns]], axis=1)


def average_precision(
    truth: np.ndarray, pred: np.ndarray, scores: Sequence[float] | None = None, iou: float = 0.5
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
    scores = np.ones(len(o.pred_ids)) if scores is None else np.asarray(scores, np.float64)
    if scores.shape != o.pred_ids.shape:
        raise ValueError(f"{len(o.pred_ids)} predicted nuclei, but scores of the shape {scores.shape}")
    if not o.intersection.size:
        return _of_empty(o)
    order = np.lexsort((o.iou.max(axis=0), -scores))
    with contextlib.redirect_stdout(io.StringIO()):  # COCOeval reports every step
        coco = _OverlapEval(o.iou[:, order], scores[order], iou)
        coco.evaluate()
        coco.accumulate()
    return float(coco.eval["precision"].mean())


def score(truth: np.ndarray, pred: np.ndarray, confidence: Sequence[float] | None = None) -> dict[str, float]:
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


def evaluate(pred: Path, truth: Path) -> pd.DataFrame:
    """Score a folder of predicted label images against a folder of true ones, file by file.

    Files go together by their names without suffix; true images without a prediction are not scored. AP50
    ranks the nuclei by their scores where the predictions are `segment.py`'s, and else takes them all alike.

    Returns:
        One row per image: image, nuclei (true), predicted (nuclei), and the scores by their `NAMES`.

    Raises:
        InputError: a prediction has no truth or another size, or a file cannot be read.
    """
    rows = []
    for pred_path, truth_path in tqdm(pair_by_stem(pred, truth), desc="score", unit="image", disable=None):
        p, t = read_labels(pred_path), read_labels(truth_path)
        if p.shape != t.shape:
            raise InputError(f"{pred_path} is {_size(p)} px, but {truth_path} is {_size(t)} px")
        counts = {"nuclei": len(np.unique(t[t > 0])), "predicted": len(np.unique(p[p > 0]))}
        rows.append({"image": pred_path.stem, **counts, **score(t, p, results.read_scores(pred_path, p))})
    return pd.DataFrame(rows)


def _size(labels: np.ndarray) -> str:
    return f"{labels.shape[1]} x {labels.shape[0]}"


class _OverlapEval(COCOeval):
    """COCOeval of one image and one class, on a table of IoUs instead of masks."""

    def __init__(self, iou: np.ndarray, scores: np.ndarray, threshold: float):
        """iou: (T, P); scores: (P,), descending."""
        common = {"image_id": 1, "category_id": 1, "iscrowd": 0, "area": 1}
        truth = [common | {"id": k + 1} for k in range(iou.shape[0])]
        pred = [common | {"id": k + 1, "score": value} for k, value in enumerate(scores)]
        # "bbox" keeps COCOeval from looking for masks.
        super().__init__(_coco(truth), _coco(pred), "bbox")
        self._iou = iou.T
        self.params.iouThrs = np.array([threshold])
        self.params.maxDets = [len(pred)]
        self.params.areaRng, self.params.areaRngLbl = [[0, 1e10]], ["all"]

    def computeIoU(self, imgId: int, catId: int) -> np.ndarray:
        """(P, T), predictions in descending order of score."""
        return self._iou


def _coco(annotations: list[dict]) -> COCO:
    coco = COCO()
    coco.dataset = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": annotations}
    coco.createIndex()
    return coco


def _of_empty(o: Overlaps) -> float:
    """The score where at least one of the images is empty."""
    return float(len(o.truth_ids) == len(o.pred_ids))


def _pairing_iou(o: Overlaps) -> np.ndarray:
    """(T, P) float64, the IoU by which AJI and AJI+ choose their pairs."""
    return o.intersection / (o.union + 1e-6)  # as HoVer-Net's: it decides between equal IoUs


def _aggregated_jaccard(o: Overlaps, rows: np.ndarray, columns: np.ndarray) -> float:
    """Summed intersection over summed union of the pairs, everything unpaired added to the union."""
    union = o.union[rows, columns].sum()
    union += np.delete(o.truth_area, rows).sum() + np.delete(o.pred_area, columns).sum()
    return float(o.intersection[rows, columns].sum() / union)


def _match(o: Overlaps, iou: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the matched pairs (see `match`)."""
    if iou >= 0.5:
        return np.nonzero(o.iou > iou)
    rows, columns = linear_sum_assignment(o.iou, maximize=True)
    found = o.iou[rows, columns] > iou
    return rows[found], columns[found]
