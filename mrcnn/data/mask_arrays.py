"""Instance masks as NumPy arrays: their boxes and overlaps, mini masks, and back into the image.

Masks of an image are (H, W, N). Most of it is empty where there are hundreds of nuclei, so work is done
inside the boxes of the masks, or band by band, never on a wider copy of them all.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

_BAND = 2**15  # px that `compute_overlaps_masks` multiplies at a time


def extract_bboxes(mask: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) int32 (y1, x1, y2, x2), ends exclusive, of masks (H, W, N); an empty mask gets zeros."""
    rows, columns = np.any(mask, axis=1), np.any(mask, axis=0)  # (H, N), (W, N)
    ends = [_first_and_end(occupied) for occupied in (rows, columns)]
    boxes = np.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], axis=1).astype(np.int32)
    boxes[~rows.any(axis=0)] = 0
    return boxes


def _first_and_end(occupied: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first True of each column of (L, N) and the place after its last True."""
    return occupied.argmax(axis=0), len(occupied) - occupied[::-1].argmax(axis=0)


def compute_overlaps_masks(masks1: np.ndarray, masks2: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs of masks of one image.

    A matrix product counts the shared pixels, in bands of rows, each with the masks that reach into it.

    Args:
        masks1: (H, W, N) bool, or numbers of which those above 0.5 belong to the mask.
        masks2: (H, W, M).

    Returns:
        (N, M) float64; 0 for two empty masks.

    Raises:
        ValueError: the masks are of images of different sizes.
    """
    counts = masks1.shape[-1], masks2.shape[-1]
    shared, areas = np.zeros(counts), [np.zeros(count) for count in counts]
    if 0 in counts:
        return shared
    if masks1.shape[:2] != masks2.shape[:2]:
        raise ValueError(f"masks of {masks1.shape[:2]} px and of {masks2.shape[:2]} px have no overlap")
    height, width = masks1.shape[:2]
    rows = max(_BAND // max(width, 1), 1)
    for first in range(0, height, rows):
        bands = [_present(masks[first : first + rows]) for masks in (masks1, masks2)]
        (index1, pixels1), (index2, pixels2) = bands
        shared[np.ix_(index1, index2)] += pixels1.T @ pixels2
        for area, (index, pixels) in zip(areas, bands, strict=True):
            area[index] += pixels.sum(axis=0)
    union = areas[0][:, None] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros(counts), where=union > 0)


def _present(band: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which masks of a band (h, w, N) have pixels there, and those: index (n,), 0 or 1 (h * w, n) float32."""
    flat = band.reshape(-1, band.shape[-1])
    flat = flat if flat.dtype == bool else flat > 0.5
    index = np.flatnonzero(flat.any(axis=0))
    return index, flat[:, index].astype(np.float32)


def label_image(masks: np.ndarray) -> tuple[np.ndarray, int]:
    """Masks (H, W, N) as labels (H, W) int32, 0 background, mask k as k + 1; a later mask lies on top.

    Returns:
        the labels, and how many pixels of earlier masks later ones cover.
    """
    labels = np.zeros(masks.shape[:2], np.int32)
    covered = 0
    for number, (y1, x1, y2, x2) in enumerate(extract_bboxes(masks), 1):
        inside = masks[y1:y2, x1:x2, number - 1].astype(bool)
        window = labels[y1:y2, x1:x2]
        covered += int(np.count_nonzero(window[inside]))
        window[inside] = number
    return labels, covered


def mini_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A mask (h, w) that fills its box, resampled to a mini mask of `shape`, bool.

    What is smaller than the mini mask, as a nucleus is, is enlarged, so no detail of its outline is lost;
    of what is larger, a cell belongs to the mask where half of its area does.
    """
    shrinks = mask.shape[0] > shape[0] and mask.shape[1] > shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.float32), (shape[1], shape[0]), interpolation=interpolation) >= 0.5


def minimize_mask(bbox: np.ndarray, mask: np.ndarray, mini_shape: tuple[int, int]) -> np.ndarray:
    """Masks cut to their boxes and resampled to one small size, to save memory while training.

    Args:
        bbox: (N, 4) integer px, (y1, x1, y2, x2), ends exclusive; further columns are ignored.
        mask: (H, W, N).
        mini_shape: (height, width) of a mini mask, px.

    Returns:
        (*mini_shape, N) bool.

    Raises:
        ValueError: a mask has no pixel in its box; the message gives its index.
    """
    minis = np.zeros((*mini_shape, mask.shape[-1]), bool)
    for number in range(mask.shape[-1]):
        y1, x1, y2, x2 = (int(value) for value in bbox[number][:4])
        inside = mask[y1:y2, x1:x2, number].astype(bool)
        if not inside.any():
            raise ValueError(f"mask {number} is empty in its box {(y1, x1, y2, x2)}; leave it out")
        minis[:, :, number] = mini_mask(inside, mini_shape)
    return minis


def expand_mask(bbox: np.ndarray, mini_mask: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `minimize_mask`: mini masks back to the size of the image.

    Args:
        bbox: (N, 4) integer px, inside the image.
        mini_mask: (h, w, N) bool.
        image_shape: (height, width, ...) px.

    Returns:
        (height, width, N) bool.
    """
    masks = np.zeros((*image_shape[:2], mini_mask.shape[-1]), bool)
    for number in range(mini_mask.shape[-1]):
        y1, x1, y2, x2 = (int(value) for value in bbox[number][:4])
        mini = mini_mask[:, :, number].astype(np.float32)
        masks[y1:y2, x1:x2, number] = cv2.resize(mini, (x2 - x1, y2 - y1)) >= 0.5
    return masks


def unmold_mask(mask: np.ndarray, bbox: Iterable[float], image_shape: tuple[int, ...]) -> np.ndarray:
    """A predicted mask (h, w) float in 0..1, filling its box (4,) px, in the image: (height, width) bool."""
    shape = image_shape[0], image_shape[1]
    full = np.zeros(shape, bool)
    window, top, left = paste_mask(mask, bbox, shape)
    full[top : top + window.shape[0], left : left + window.shape[1]] = window
    return full


def paste_mask(mask: np.ndarray, box: Iterable[float], shape: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """Resample a small mask inside its box, nothing rounded, only as far as the image goes.

    Args:
        mask: (h, w) float in 0..1, filling the box.
        box: (y1, x1, y2, x2) px, float.
        shape: (height, width) of the image, px.

    Returns:
        the mask inside the smallest window of whole pixels around the box, bool, and the window's first
        row and column; the window is empty where the box lies outside the image or has no area.
    """
    y1, x1, y2, x2 = (float(value) for value in box)
    top, left = max(int(np.floor(y1)), 0), max(int(np.floor(x1)), 0)
    bottom, right = min(int(np.ceil(y2)), shape[0]), min(int(np.ceil(x2)), shape[1])
    if bottom <= top or right <= left or y2 <= y1 or x2 <= x1:
        return np.zeros((0, 0), bool), top, left
    scale_y, scale_x = mask.shape[0] / (y2 - y1), mask.shape[1] / (x2 - x1)
    # Pixel centre (x + 0.5) of the window -> cell centre of the small mask.
    to_mask = np.array(
        [
            [scale_x, 0, (left + 0.5 - x1) * scale_x - 0.5],
            [0, scale_y, (top + 0.5 - y1) * scale_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    window = cv2.warpAffine(
        mask.astype(np.float32),
        to_mask,
        (right - left, bottom - top),
        flags=flags,
        borderMode=cv2.BORDER_REPLICATE,
    )
    rows, columns = np.arange(top, bottom) + 0.5, np.arange(left, right) + 0.5
    # The mask says nothing of pixels whose centre lies outside the box.
    inside = ((rows >= y1) & (rows <= y2))[:, None] & (columns >= x1) & (columns <= x2)
    return (window >= 0.5) & inside, top, left
