"""What a network is sure of on an image that nobody outlined, and what it leaves undecided."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mrcnn.inference import tiling
from mrcnn.slides.worker import load_predictor
from nuclei import label_free
from nuclei.folders import patches

if TYPE_CHECKING:
    from mrcnn.inference.predictor import Predictor


@dataclass(frozen=True)
class Limits:
    """What it takes to believe a detection, all 0..1."""

    confidence: float  # smallest mean score over the views
    agreement: float  # smallest agreement of the views' masks: the second opinion


@dataclass(frozen=True)
class PseudoLabels:
    """Labels of an image: no pixel belongs to two nuclei."""

    certain: np.ndarray  # (H, W) int32, 1..N by falling score
    scores: np.ndarray  # (N,) float32
    undecided: np.ndarray  # (H, W) int32, regions that are neither learnt nor unlearnt


def label(predictor: Predictor, image: np.ndarray, limits: Limits, n_views: int) -> PseudoLabels:
    """Label an image from several views of it.

    Undecided is what the network is not sure enough of, and every nucleus of the label-free baseline that it
    does not find at all: there a stain that nuclei have speaks against calling it background.

    Args:
        predictor: its DETECTION_MIN_CONFIDENCE says from which score on there may be a nucleus.
        image: (H, W, 3) uint8 RGB.
        limits: what to believe.
        n_views: turned and mirrored views, 1 to 8; of one view there is no second opinion.
    """
    found = tiling.find_instances(predictor, image, n_views=n_views)
    labels, kept = tiling.resolve_overlaps(found, image.shape[:2])
    return divide(labels, kept, limits, label_free.segment(image))


def divide(
    labels: np.ndarray, instances: list[tiling.Instance], limits: Limits, stained: np.ndarray
) -> PseudoLabels:
    """Sort detections into certain and undecided ones.

    Args:
        labels: (H, W) int32, 1..N.
        instances: the N instances that they show, by falling score.
        limits: what to believe.
        stained: (H, W) int32, what looks like a nucleus by its stain alone.
    """
    scores = np.array([one.score for one in instances], np.float32)
    agreement = np.array([one.agreement for one in instances], np.float32)
    sure = (scores >= limits.confidence) & (agreement >= limits.agreement)
    certain, unsure = _renumbered(labels, sure), _renumbered(labels, ~sure)
    overlooked = np.ones(stained.max() + 1, bool)
    overlooked[stained[labels > 0]] = False
    extra = _renumbered(stained, overlooked[1:])
    undecided = np.where(extra > 0, extra + unsure.max(), unsure).astype(np.int32)
    return PseudoLabels(certain, scores[sure], undecided)


def _renumbered(labels: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """(H, W) int32: of the labels 1..N those to be kept, (N,) bool, numbered anew."""
    new = np.zeros(len(keep) + 1, np.int32)
    new[1:][keep] = np.arange(1, keep.sum() + 1)
    return new[labels]


@dataclass(frozen=True)
class LabelPatch:
    """A task of `nuclei.cluster`: labels a patch, given by its name, and writes it as a patch.

    Attributes:
        model: the folder of the network, which has this `fingerprint`.
        source: the folder of the unlabelled patches.
        target: where the labelled ones go.
        limits: what to believe.
        doubt: smallest score of what stays undecided, 0..1.
        views: of test-time augmentation, 1 to 8.
    """

    model: Path
    fingerprint: str
    source: Path
    target: Path
    limits: Limits
    doubt: float
    views: int

    def __call__(self, name: str) -> None:
        predictor = load_predictor(self.model, self.fingerprint, self.doubt)
        image = patches.read_patch(self.source / name)
        found = label(predictor, image, self.limits, self.views)
        patches.write_patch(self.target, name, image, found.certain, found.scores, undecided=found.undecided)
