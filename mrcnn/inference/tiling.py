"""Images of any size: overlapping tiles, stitched so that a nucleus on a seam comes out once and whole."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from mrcnn.data.mask_arrays import paste_mask
from mrcnn.data.resizing import pad_to
from mrcnn.inference import tta
from mrcnn.inference.tta import STEP
from nuclei.folders.patches import starts

if TYPE_CHECKING:
    from mrcnn.inference.predictor import Predictor

OVERLAP = 64  # px; a nucleus up to this size is whole in one tile at least
MIN_AREA = 12  # px; smaller remains are crumbs
_SIDES = 1, 1.5, 2.25  # of tiles, as multiples of the side of what the network learnt from
_TOGETHER = 4  # tiles of that side, or as many pixels in larger ones, go through the network together
_EDGE = 2  # px; a box that ends this close to a tile's edge may be cut by it


@dataclass(frozen=True)
class Instance:
    """One detected nucleus in the coordinates of the whole image."""

    mask: np.ndarray  # (h, w) bool
    top: int  # px
    left: int  # px
    score: float
    cut: bool  # by the edge of its tile, inside the image
    class_id: int = 1
    agreement: float = 1.0  # of several views of the tile, 0..1; see `mrcnn.inference.tta.agree`


def segment(
    predictor: Predictor,
    image: np.ndarray,
    overlap: int = OVERLAP,
    progress: str | None = None,
    n_views: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Instance labels of an image of any size.

    Args:
        predictor: of the network.
        image: (H, W, 3) uint8 RGB.
        overlap: px that neighbouring tiles share.
        progress: what the progress bar says; None for no bar.
        n_views: how many turned and mirrored views of each tile are averaged, 1 to 8.

    Returns:
        labels (H, W) int32, 0 background, 1..N in order of score, and scores (N,) float32.
    """
    instances = find_instances(predictor, image, overlap, progress, n_views)
    labels, kept = resolve_overlaps(instances, image.shape[:2])
    return labels, np.array([one.score for one in kept], np.float32)


def find_instances(
    predictor: Predictor,
    image: np.ndarray,
    overlap: int = OVERLAP,
    progress: str | None = None,
    n_views: int = 1,
) -> list[Instance]:
    """Detections of all tiles; a nucleus in the overlap of two tiles appears in both."""
    shape, learnt = image.shape[:2], predictor.config.IMAGE_SHAPE[0]
    side = tile_side(shape, learnt, overlap)
    padded = pad_to(image, side)
    tops, lefts = _corners(shape, side, overlap)
    corners = list(itertools.product(tops, lefts))
    count = min(tiles_at_once(side, learnt, n_views), len(corners))
    instances: list[Instance] = []
    with tqdm(total=len(corners), desc=progress, unit="tile", disable=progress is None) as bar:
        for first in range(0, len(corners), count):
            batch = corners[first : first + count]
            tiles = [padded[top : top + side, left : left + side] for top, left in batch]
            instances += find_on_tiles(predictor, tiles, batch, shape, count, overlap, n_views)
            bar.update(len(batch))
    return instances


def tile_side(shape: tuple[int, int], learnt: int, overlap: int) -> int:
    """Px of the tiles of an image of this shape: of those that are possible, what shows the fewest pixels.

    Of equals it is the largest. A network sees half of what lies at the edge of a tile, and nothing of what
    is around it, so that larger tiles give better outlines.

    Args:
        shape: (height, width) of the image, px.
        learnt: px, the side of what the network learnt from.
        overlap: px that neighbouring tiles share.
    """

    def seen(side: int) -> tuple[int, int]:
        tops, lefts = _corners(shape, side, overlap)
        return len(tops) * len(lefts) * side**2, -side

    return min(sides(learnt), key=seen)


def sides(learnt: int) -> list[int]:
    """Px of the tiles that are possible, multiples of 64; the last one is the largest."""
    return sorted({int(times * learnt) // STEP * STEP for times in _SIDES})


def _corners(shape: tuple[int, int], side: int, overlap: int) -> tuple[list[int], list[int]]:
    """First rows and first columns of the tiles."""
    tops, lefts = (starts(length, side, side - overlap) for length in shape)
    return tops, lefts


def tiles_at_once(side: int, learnt: int, n_views: int) -> int:
    """How many tiles of `side` px go through the network together."""
    return max(int(_TOGETHER * (learnt / side) ** 2) // n_views, 1)


def find_on_tiles(
    predictor: Predictor,
    tiles: Sequence[np.ndarray],
    corners: Sequence[tuple[int, int]],
    shape: tuple[int, int],
    count: int,
    overlap: int = OVERLAP,
    n_views: int = 1,
) -> list[Instance]:
    """Detections of some tiles of an image, in the order of the tiles.

    Args:
        predictor: of the network.
        tiles: `count` at most, (S, S, 3) uint8 RGB.
        corners: (top, left) px of each in the image.
        shape: (H, W) px of the image.
        count: tiles that are shown to the network: for another number it is compiled again.
        overlap: px that neighbouring tiles share.
        n_views: as in `segment`.
    """
    instances: list[Instance] = []
    for found, corner in zip(tta.predict(predictor, np.stack(tiles), n_views, count), corners, strict=True):
        instances += _instances(found, corner, tiles[0].shape[0], shape, overlap)
    return instances


def _instances(
    found: dict, corner: tuple[int, int], side: int, shape: tuple[int, int], overlap: int
) -> list[Instance]:
    """What was found on a tile, without the pieces of nuclei that another tile sees whole."""
    (top, left), (height, width) = corner, shape
    instances = []
    agreement = found.get("agreement", np.ones_like(found["scores"]))
    parts = (found[name] for name in ("boxes", "masks", "scores", "class_ids"))
    for box, mask, score, class_id, agreed in zip(*parts, agreement, strict=True):
        y1, x1, y2, x2 = box
        cut = (
            (top > 0 and y1 < _EDGE)
            or (left > 0 and x1 < _EDGE)
            or (top + side < height and y2 > side - _EDGE)
            or (left + side < width and x2 > side - _EDGE)
        )
        # One nearly as wide as the overlap may lie close to the edges of both tiles.
        if cut and max(y2 - y1, x2 - x1) < overlap - 2 * _EDGE:
            continue
        window, row, column = paste_mask(mask, box + (top, left, top, left), shape)
        if window.any():
            instances.append(
                Instance(window, row, column, float(score), bool(cut), int(class_id), float(agreed))
            )
    return instances


def resolve_overlaps(
    instances: list[Instance], shape: tuple[int, int], shared: float = 0.5
) -> tuple[np.ndarray, list[Instance]]:
    """Give every pixel to one nucleus: whole ones by score, then cut ones by size.

    A nucleus of which more than the share `shared` is taken already is the same one again and is
    dropped; otherwise it keeps its largest free piece.

    Returns:
        labels (H, W) int32, 0 background, 1..N in order of score, and the N instances that they show.
    """
    labels = np.zeros(shape, np.int32)
    kept = []
    # The largest piece of a cut nucleus shows most of it.
    for instance in sorted(instances, key=lambda one: (one.cut, -(one.mask.sum() if one.cut else one.score))):
        height, width = instance.mask.shape
        window = labels[instance.top : instance.top + height, instance.left : instance.left + width]
        free = instance.mask & (window == 0)
        if free.sum() < (1 - shared) * instance.mask.sum():
            continue
        free = _largest_piece(free)
        if free.sum() >= MIN_AREA:
            kept.append(instance)
            window[free] = len(kept)
    return _by_score(labels, kept)


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    if count <= 1:
        return mask
    return pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])


def _by_score(labels: np.ndarray, kept: list[Instance]) -> tuple[np.ndarray, list[Instance]]:
    """Renumber so that label 1 has the highest score."""
    order = np.argsort([-one.score for one in kept], kind="stable").astype(int)
    new = np.zeros(len(kept) + 1, np.int32)
    new[order + 1] = np.arange(1, len(kept) + 1)
    return new[labels], [kept[i] for i in order]
