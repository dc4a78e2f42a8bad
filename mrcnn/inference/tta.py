"""Look at a tile again: enlarged where its nuclei are small, turned and mirrored (test-time augmentation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mrcnn.data.box_arrays import compute_overlaps
from mrcnn.data.mask_arrays import paste_mask
from nuclei.errors import InputError

# Scripts import this file to check their settings, and must not wait for Keras.
if TYPE_CHECKING:
    from mrcnn.inference.predictor import Predictor

SMALL, WIDTH = 18, 28  # px; a tile whose median nucleus is narrower than SMALL is enlarged until it has WIDTH
_LARGEST = 2  # times its side, to which a tile is enlarged at most
STEP = 64  # px; the network takes multiples of it
_TOGETHER = 512  # px; larger tiles go through the network one by one
_SURE, _SOME = 0.4, 5  # nuclei with this score or more are measured, if there are at least this many
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


def predict(
    predictor: Predictor, tiles: np.ndarray, n_views: int, count: int | None = None
) -> list[dict[str, np.ndarray]]:
    """Objects on square tiles, from the first `n_views` of `VIEWS`; as `Predictor.predict` returns them.

    A first look measures the nuclei. Where they are small the tile is enlarged, and what the first look
    found is given up: a network misses and merges nuclei that are smaller than most it has learnt. (Cellpose
    brings nuclei to one width in the same way: Stringer et al., Nature Methods 2021.)

    The score of an object is its mean over the views; a view that does not find it, with a score of at least
    DETECTION_MIN_CONFIDENCE, counts as zero, and below that the mean does not count either. With
    more than one view there is also `agreement`, (N,) float32; see `agree`.

    Args:
        predictor: of the network.
        tiles: (B, S, S, 3) uint8 RGB; S a multiple of 64 px. On a larger tile than the network learnt from
            it has places for as many more objects.
        n_views: 1 to 8; 1 is the network's own answer, on the enlarged tile where nuclei are small.
        count: tiles that the first look shows to the network, copies of the last one among them: for another
            number it is compiled again; None: as many as there are.
    """
    copies = [tiles[-1:]] * ((count or len(tiles)) - len(tiles))
    times = places(tiles.shape[1], predictor.config.IMAGE_SHAPE[0])
    firsts = predictor.predict(np.concatenate([tiles, *copies]), times)[: len(tiles)]
    pairs = zip(tiles, firsts, strict=True)
    return [_look_again(predictor, tile, first, n_views, times) for tile, first in pairs]


def places(side: int, learnt: int) -> float:
    """How many times the objects of a patch of `learnt` px a tile of `side` px has places for."""
    return max((side / learnt) ** 2, 1)


def _look_again(
    predictor: Predictor, tile: np.ndarray, first: dict[str, np.ndarray], n_views: int, times: float
) -> dict[str, np.ndarray]:
    """What `n_views` views find on a tile, (S, S, 3); `first` is one of them unless the tile is enlarged."""
    side, larger = len(tile), enlarged_side(first, len(tile))
    found = [first] if larger == side else []
    views = VIEWS[len(found) : n_views]
    if views:
        shown = cv2.resize(tile, (larger, larger), interpolation=cv2.INTER_CUBIC)[None]
        seen = _see(predictor, np.concatenate([view.see(shown) for view in views]), times)
        undone = [view.undo(each, larger) for view, each in zip(views, seen, strict=True)]
        found += [{**each, "boxes": each["boxes"] * np.float32(side / larger)} for each in undone]
    if n_views == 1:
        return found[0]
    return _confident(agree(found), predictor.config.DETECTION_MIN_CONFIDENCE)


def _see(predictor: Predictor, tiles: np.ndarray, times: float) -> list[dict[str, np.ndarray]]:
    """As `Predictor.predict`; large tiles one by one, which takes less memory."""
    if tiles.shape[1] <= _TOGETHER:
        return predictor.predict(tiles, times)
    return [found for tile in tiles for found in predictor.predict(tile[None], times)]


def enlarged_side(found: dict[str, np.ndarray], side: int) -> int:
    """Px to which a tile of `side` px is enlarged, so that small nuclei are about `WIDTH` px wide.

    Args:
        found: on the tile as it is, as `Predictor.predict` returns it.
        side: a multiple of 64; so is what is returned, `side` at least and twice that at most.
    """
    boxes = found["boxes"][found["scores"] >= _SURE]
    if len(boxes) < _SOME:
        return side
    width = np.median(np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
    if width >= SMALL:
        return side
    step = -(-side // (4 * STEP)) * STEP  # few sides: the network is compiled for each
    return int(np.clip(round(WIDTH / width * side / step) * step, side, _LARGEST * side))


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
