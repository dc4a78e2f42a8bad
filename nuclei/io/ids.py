"""Whether each nucleus of a label image has an id of its own: the rule for whatever format nuclei come in."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np

from nuclei.errors import InputError

log = logging.getLogger(__name__)

SHARE = 0.9  # of the image; what reaches around more is a frame or the background, not a nucleus
SMALL = 10  # px; less is a crumb: kept, but it may be a stray click
PLACES = 3  # so many separate places are no nucleus; one behind another may show in two
_IN_TWO = 0.1  # of the ids may lie in two places
_CLASSES = "a map of classes, or a mask with soft edges"
_BACKGROUND = 0.1  # of the image at least; less is a few nuclei of one id


def count_places(labels: np.ndarray, smallest: int = 1) -> np.ndarray:
    """In how many separate places each id of an (H, W) int32 label image lies: (largest id,) int.

    Pixels that touch at a corner are in one place; places below `smallest` px are left out.
    """
    from scipy import ndimage  # imported here: --help need not wait

    windows = enumerate(ndimage.find_objects(labels), 1)
    found = [_places(labels[window] == label, smallest) if window else 0 for label, window in windows]
    return np.array(found, int)


def is_one_nucleus(mask: np.ndarray) -> bool:
    """Whether an (H, W) bool mask may be a single nucleus."""
    return _places(mask, SMALL) < PLACES


def is_background(mask: np.ndarray) -> bool:
    """Whether an (H, W) bool mask reaches around nearly the whole image, as what is between nuclei does."""
    if mask.mean() < _BACKGROUND:
        return False
    pixels = cv2.findNonZero(mask.view(np.uint8))
    corners = np.concatenate([pixels + corner for corner in ([0, 0], [1, 0], [0, 1], [1, 1])])
    return cv2.contourArea(cv2.convexHull(corners.astype(np.int32))) > SHARE * mask.size


def find_background(labels: np.ndarray) -> int:
    """The id of the background of an (H, W) int32 label image; 0, as it should be, where no id is that."""
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    largest = int(ids[areas.argmax()]) if len(ids) else 0
    return largest if largest and is_background(labels == largest) else 0


def _places(mask: np.ndarray, smallest: int) -> int:
    _, _, sizes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    return int((sizes[1:, cv2.CC_STAT_AREA] >= smallest).sum())


def check_ids(labels: np.ndarray, path: Path) -> None:
    """Look whether each nucleus of a label image has an id of its own.

    Args:
        labels: (H, W) int32.
        path: its file, for the message.

    Raises:
        InputError: most ids lie in several places, as in a mask of all nuclei or a map of their classes, or
            the background has an id. Where only some lie in several places, as when ids were cut to 8 bits, a
            warning says so.
    """
    places = count_places(labels)
    places = places[places > 0]
    if not len(places):
        return
    if np.median(places) >= PLACES:
        ids, it = ("one id", "a mask") if len(places) == 1 else (f"{len(places)} ids", _CLASSES)
        raise InputError(
            f"{path} has {ids} in {places.sum()} separate places, so it is {it}; give each nucleus its own id"
        )
    background = find_background(labels)
    if background:
        raise InputError(
            f"{path}: id {background} reaches around nearly the whole image, so it is the background; give "
            "each nucleus its own id and the background 0"
        )
    if (places > 1).mean() > _IN_TWO or count_places(labels, SMALL).max() >= PLACES:
        log.warning(
            "%s: %d of %d ids lie in several places, and each counts as one nucleus; were ids cut to 8 bits?",
            path, (places > 1).sum(), len(places),
        )  # fmt: skip
