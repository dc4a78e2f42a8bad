"""Which nuclei of two label images share pixels, and how many: what all scores are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True)
class Overlaps:
    """How T true and P predicted nuclei overlap: K pairs share pixels. All in ascending order of the ids.

    A table of all pairs would not fit into the memory for the nuclei of a large image.
    """

    truth_ids: np.ndarray  # (T,) int64
    pred_ids: np.ndarray  # (P,) int64
    truth_area: np.ndarray  # (T,) int64, px
    pred_area: np.ndarray  # (P,) int64, px
    truths: np.ndarray  # (K,) int64, places in truth_ids
    preds: np.ndarray  # (K,) int64, places in pred_ids
    intersection: np.ndarray  # (K,) int64, px

    @property
    def union(self) -> np.ndarray:
        """(K,) int64, px."""
        return self.truth_area[self.truths] + self.pred_area[self.preds] - self.intersection

    @property
    def iou(self) -> np.ndarray:
        """(K,) float64."""
        return self.intersection / self.union

    @property
    def is_empty(self) -> bool:
        """Whether one of the images shows no nucleus."""
        return not self.truth_ids.size or not self.pred_ids.size

    def groups(self) -> tuple[np.ndarray, np.ndarray]:
        """Which nuclei hang together by sharing pixels: the number of the group of each, (T,) and (P,)."""
        nuclei = len(self.truth_ids) + len(self.pred_ids)
        edges = np.ones(len(self.truths), bool), (self.truths, len(self.truth_ids) + self.preds)
        _, numbers = connected_components(coo_array(edges, (nuclei, nuclei)), directed=False)
        return numbers[: len(self.truth_ids)], numbers[len(self.truth_ids) :]


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
    of_pairs = pairs >> 32, pairs & 0xFFFFFFFF
    both = (of_pairs[0] != 0) & (of_pairs[1] != 0)
    (truths, truth_area, true_place), (preds, pred_area, pred_place) = (
        _areas(each, counts) for each in of_pairs
    )
    return Overlaps(truths, preds, truth_area, pred_area, true_place[both], pred_place[both], counts[both])


def _areas(ids: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nuclei among `ids`, ascending, their areas in px, and the place of each of `ids` among them."""
    nuclei, places = np.unique(ids, return_inverse=True)
    areas = np.zeros(len(nuclei), np.int64)
    np.add.at(areas, places, counts)
    is_nucleus = nuclei != 0  # where the background is, it comes first
    return nuclei[is_nucleus], areas[is_nucleus], places - np.count_nonzero(~is_nucleus)
