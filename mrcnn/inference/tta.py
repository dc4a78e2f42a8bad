"""Look at the same tiles turned and mirrored, and keep what the views agree on (test-time augmentation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mrcnn.data.box_arrays import compute_overlaps
from mrcnn.data.mask_arrays import paste_mask
from nuclei.errors import InputError

# Scripts import this file to check their settings, and must not wait for Keras.
if TYPE_CHECKING:
    from mrcnn.inference.predictor import Predictor

SAME = 0.5  # overlap of two boxes, intersection over union, above which they show the same object


@dataclass(frozen=True)
class View:
    """One of the eight ways to lay a square tile down: quarter turns, then perhaps a mirror."""

    turns: int
    mirrored: bool

    def see(self, tiles: np.ndarray) -> np.ndarray:
        """(B, S, S, ...) tiles as the view shows them."""
        tiles = np.rot90(tiles, self.turns, axes=(1, 2))
        return tiles[:, :, ::-1] if self.mirrored else tiles

    def undo(self, found: dict[str, np.ndarray], side: int) -> dict[str, np.ndarray]:
        """What was found on a seen tile of `side` px, as it lies on the tile itself."""
        y1, x1, y2, x2 = found["boxes"].T
        masks = found["masks"]
        if self.mirrored:
            x1, x2, masks = side - x2, side - x1, masks[:, :, ::-1]
        for _ in range(self.turns):  # a quarter turn clockwise: (y, x) -> (x, side - y)
            y1, x1, y2, x2 = x1, side - y2, x2, side - y1
        masks = np.rot90(masks, -self.turns, axes=(1, 2))
        return {**found, "boxes": np.stack([y1, x1, y2, x2], axis=1), "masks": masks}


VIEWS = [View(turns, mirrored) for turns in range(4) for mirrored in (False, True)]


def check(n_views: int) -> None:
    """InputError where there are not as many views."""
    if not 1 <= n_views <= len(VIEWS):
        raise InputError(f"--views is {n_views}; it must lie between 1 and {len(VIEWS)}")


def predict(predictor: Predictor, tiles: np.ndarray, n_views: int) -> list[dict[str, np.ndarray]]:
    """Objects on square tiles, from the first `n_views` of `VIEWS`; as `Predictor.predict` returns them.

    The score of an object is its mean over the views; a view that does not find it, with a score of at least
    DETECTION_MIN_CONFIDENCE, counts as zero, and below that the mean does not count either. With
    more than one view there is also `agreement`, (N,) float32; see `agree`.

    Args:
        predictor: of the network.
        tiles: (B, S, S, 3) uint8.
        n_views: 1 to 8; 1 is the network's own answer.
    """
    if n_views == 1:
        return predictor.predict(tiles)
    chosen = VIEWS[:n_views]
    # All views of all tiles go through the network together.
    found = predictor.predict(np.concatenate([view.see(tiles) for view in chosen]))
    count, side = tiles.shape[:2]
    fused = []
    for tile in range(count):
        seen = zip(chosen, found[tile::count], strict=True)
        fused.append(agree([view.undo(each, side) for view, each in seen]))
    return [_confident(each, predictor.config.DETECTION_MIN_CONFIDENCE) for each in fused]


def agree(found: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """One set of objects out of what several views of a tile found.

    Boxes and masks of the same object are averaged, weighted by their scores; its agreement is the mean
    intersection over union of each view's mask with that average, 0 for a view that does not find it.
    Source: Solovyev et al., "Weighted boxes fusion", Image and Vision Computing 2021.

    Args:
        found: one dict a view, of boxes (N, 4), class_ids (N,), scores (N,) and masks (N, h, w).

    Returns:
        such a dict, and agreement (N,) float32 in 0..1.
    """
    view = np.repeat(np.arange(len(found)), [len(each["scores"]) for each in found])
    every = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    order = np.argsort(-every["scores"], kind="stable")
    view, every = view[order], {name: values[order] for name, values in every.items()}
    groups = _groups(every["boxes"], every["class_ids"], view)
    fused = {name: values[:0] for name, values in every.items()} | {"agreement": np.zeros(0, np.float32)}
    if groups:
        weights = [every["scores"][group] / every["scores"][group].sum() for group in groups]
        pairs = list(zip(groups, weights, strict=True))
        fused["boxes"] = np.stack([weight @ every["boxes"][group] for group, weight in pairs])
        fused["masks"] = np.stack([np.tensordot(weight, every["masks"][group], 1) for group, weight in pairs])
        fused["class_ids"] = np.array([every["class_ids"][group[0]] for group in groups])
        fused["scores"] = np.array(
            [every["scores"][group].sum() / len(found) for group in groups], np.float32
        )
        shares = [_same_pixels(every, group, fused, number) for number, group in enumerate(groups)]
        fused["agreement"] = np.array([sum(each) / len(found) for each in shares], np.float32)
    order = np.argsort(-fused["scores"], kind="stable")
    return {name: values[order] for name, values in fused.items()}


def _same_pixels(every: dict, group: np.ndarray, fused: dict, number: int) -> list[float]:
    """Intersection over union of the masks of a group with their average, one a view that has one."""
    side = int(np.ceil(max(every["boxes"][group].max(), fused["boxes"][number].max())))
    average = _painted(fused["masks"][number], fused["boxes"][number], side)
    masks = [_painted(every["masks"][i], every["boxes"][i], side) for i in group]
    return [(mask & average).sum() / max((mask | average).sum(), 1) for mask in masks]


def _painted(mask: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """(side, side) bool: a mask that fills its box, where the box lies."""
    picture = np.zeros((side, side), bool)
    window, top, left = paste_mask(mask, box, picture.shape)
    picture[top : top + window.shape[0], left : left + window.shape[1]] = window
    return picture


def _confident(found: dict[str, np.ndarray], least: float) -> dict[str, np.ndarray]:
    keep = found["scores"] >= least
    return {name: values[keep] for name, values in found.items()}


def _groups(boxes: np.ndarray, class_ids: np.ndarray, view: np.ndarray) -> list[np.ndarray]:
    """Indices of the detections that show the same object, at most one a view, the best one first."""
    same = (compute_overlaps(boxes, boxes) > SAME) & (class_ids[:, None] == class_ids)
    free = np.ones(len(boxes), bool)
    groups = []
    for leader in range(len(boxes)):
        if not free[leader]:
            continue
        candidates = np.flatnonzero(free & same[leader])
        _, first = np.unique(view[candidates], return_index=True)  # detections are sorted by score
        group = np.union1d(candidates[first], [leader])
        free[group] = False
        groups.append(group)
    return groups
