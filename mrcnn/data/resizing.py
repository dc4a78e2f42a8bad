"""Images and masks brought to the size that the network takes."""

from __future__ import annotations

import random

import cv2
import numpy as np

from mrcnn.config import RESIZE_MODES

Padding = list[tuple[int, int]]  # (before, after) of rows, columns, channels, px
Crop = tuple[int, int, int, int]  # first row, first column, height, width, px


def resize_image(
    image: np.ndarray,
    min_dim: int | None = None,
    max_dim: int | None = None,
    min_scale: float | None = None,
    mode: str = "square",
) -> tuple[np.ndarray, tuple[int, int, int, int], float, Padding, Crop | None]:
    """Resize an image, keeping its proportions, and pad it with zeros or crop it.

    It is enlarged until its shorter side is `min_dim` and by `min_scale` at least, never shrunk for their
    sake. Between pixels it is interpolated bilinearly, without a filter before shrinking, as it was for
    Matterport's weights. The modes:

    - none: leave it as it is.
    - square: no side longer than `max_dim`; pad to (max_dim, max_dim).
    - pad64: pad each side to a multiple of 64.
    - crop: take a window of (min_dim, min_dim) at a random place, drawn from Python's `random`.

    Args:
        image: (H, W, C) or (H, W), of any numeric dtype.
        min_dim: px; 0 or None: none.
        max_dim: px; mode square alone uses it.
        min_scale: smallest scale, whatever `min_dim`; 0 or None: none.
        mode: one of `mrcnn.config.RESIZE_MODES`.

    Returns:
        the image in its own dtype; window (y1, x1, y2, x2) px, where the image lies in it; the scale; the
        padding; and the crop, None in the other modes. `resize_mask` takes the last three.

    Raises:
        ValueError: an unknown mode, or one without the length that it needs.
    """
    _check(mode, min_dim, max_dim)
    if mode == "none":
        return image, (0, 0, *image.shape[:2]), 1, [(0, 0)] * 3, None
    scale = _scale(image.shape[:2], min_dim, max_dim if mode == "square" else None, min_scale)
    if scale != 1:
        image = _interpolate(image, _scaled(image.shape[:2], scale))
    height, width = image.shape[:2]
    if mode == "crop":
        assert min_dim is not None  # _check saw to it
        top, left = random.randint(0, height - min_dim), random.randint(0, width - min_dim)
        image = image[top : top + min_dim, left : left + min_dim]
        return image, (0, 0, min_dim, min_dim), scale, [(0, 0)] * 3, (top, left, min_dim, min_dim)
    target = (max_dim, max_dim) if mode == "square" else (-(-height // 64) * 64, -(-width // 64) * 64)
    top, left = (target[0] - height) // 2, (target[1] - width) // 2
    padding = [(top, target[0] - height - top), (left, target[1] - width - left), (0, 0)]
    window = (top, left, top + height, left + width)
    return np.pad(image, padding[: image.ndim]), window, scale, padding, None


def _check(mode: str, min_dim: int | None, max_dim: int | None) -> None:
    if mode not in RESIZE_MODES:
        raise ValueError(f"mode is one of {', '.join(RESIZE_MODES)}, not {mode!r}")
    if mode == "square" and not max_dim:
        raise ValueError("mode square needs max_dim, the side to pad to")
    if mode == "crop" and not min_dim:
        raise ValueError("mode crop needs min_dim, the side of the window")
    if mode == "pad64" and min_dim and min_dim % 64:
        raise ValueError(f"mode pad64 needs a min_dim that is a multiple of 64, not {min_dim}")


def _scale(
    shape: tuple[int, int], min_dim: int | None, max_dim: int | None, min_scale: float | None
) -> float:
    scale = max(1, min_dim / min(shape)) if min_dim else 1
    scale = max(scale, min_scale or 0)
    if max_dim and round(max(shape) * scale) > max_dim:
        return max_dim / max(shape)
    return scale


def _scaled(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    return round(shape[0] * scale), round(shape[1] * scale)


def _interpolate(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear, a pixel's value standing for its centre: (H, W, ...) -> (*shape, ...), same dtype."""
    # OpenCV takes few dtypes.
    values = image if image.dtype in (np.uint8, np.float32, np.float64) else image.astype(np.float64)
    planes = values.reshape(*image.shape[:2], -1)
    resized = resize_planes(planes, shape, cv2.INTER_LINEAR).reshape(*shape, *image.shape[2:])
    return (np.rint(resized) if image.dtype.kind in "bui" else resized).astype(image.dtype, copy=False)


def resize_planes(image: np.ndarray, shape: tuple[int, int], interpolation: int) -> np.ndarray:
    """`cv2.resize` of an image (H, W, C) to `shape` px, for any C; OpenCV takes four channels at a time."""
    parts = [
        cv2.resize(
            np.ascontiguousarray(image[..., first : first + 4]), shape[::-1], interpolation=interpolation
        )
        for first in range(0, image.shape[2], 4)
    ]
    return np.dstack(parts)


def resize_mask(mask: np.ndarray, scale: float, padding: Padding, crop: Crop | None = None) -> np.ndarray:
    """Resize masks as `resize_image` resized their image: each pixel takes the nearest one's value.

    Args:
        mask: (H, W, N), of any dtype.
        scale, padding, crop: as `resize_image` returned them.

    Returns:
        masks of the size of the resized image, in their own dtype; zero where the image was padded.
    """
    height, width = mask.shape[:2]
    rows, columns = (
        np.minimum((np.arange(new) + 0.5) * old / new, old - 1).astype(np.intp)
        for old, new in zip((height, width), _scaled((height, width), scale), strict=True)
    )
    if crop is not None:
        top, left, crop_height, crop_width = crop
        return mask[np.ix_(rows[top : top + crop_height], columns[left : left + crop_width])]
    (top, below), (left, right) = padding[:2]
    resized = np.zeros((top + len(rows) + below, left + len(columns) + right, *mask.shape[2:]), mask.dtype)
    resized[top : top + len(rows), left : left + len(columns)] = mask[np.ix_(rows, columns)]
    return resized


def pad_to(image: np.ndarray, side: int) -> np.ndarray:
    """Pad an image (H, W, C) with its mirror image to at least `side` px each way, below and to the right."""
    below, right = max(side - image.shape[0], 0), max(side - image.shape[1], 0)
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric")
