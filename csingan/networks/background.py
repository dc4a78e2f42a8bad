"""The background of a patch: its nuclei taken out, and what is left rearranged."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from scipy import ndimage
from skimage.color import rgb2hed

HALO = 3  # px around a nucleus that belong to it rather than to the background, as edges are blurred
RIM = 3  # px beyond the halo where what is stained like a nucleus is one's blurred edge
RING = 4  # px around a hole that a piece of background must fit
REACH = 256  # px around a hole in which pieces are looked for: all of a patch of 256 px
LOST = 40.0  # grey levels by which a piece fits worse that has nothing but nuclei to show
ROUNDS = 4  # of filling holes; each can use what the one before has filled
SEAM = 1.5  # px, standard deviation of the blur by which a piece passes into its surroundings
STAIN = 1.5  # px, standard deviation of the blur that removes chromatin from the haematoxylin
VIEWS = 5  # of the background in one rearrangement
SMOOTH = 24.0  # px, standard deviation of the blur of the random fields that mix and bend the views,
COARSE = 4  # px, a pixel of the grid on which they are drawn, then enlarged: all that is this smooth needs
SHARPNESS = 12.0  # of the transition from one view to another
WARP = 6.0  # px, standard deviation of the displacement that bends a view
TEXTURE = 4.0  # px, standard deviation of the blur; what it removes from a view is its texture

Window = tuple[slice, slice]


def without_nuclei(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An image whose nuclei, and the pixels around them, are covered by pieces of its background.

    Each piece is the one whose surroundings differ least from those of the hole, as in the patches of Efros
    and Freeman, "Image Quilting", SIGGRAPH 2001. What no piece covers is filled in from around.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) int32 label image.

    Returns:
        (H, W, 3) uint8.
    """
    filled, stained = image.astype(np.float32), _stained(image, labels)
    holes = _grown(labels > 0, HALO) | (_grown(labels > 0, HALO + RIM) & stained)
    stained |= holes
    for _ in range(ROUNDS):
        # Within a round pieces come from what was there before, so that none is copied on and on.
        source, before = filled.copy(), holes.copy()
        for window, hole in _holes(labels, holes):
            near = widened(window, REACH)
            _cover(filled[window], holes[window], hole, source[near], stained[near])
        stained &= holes | ~before  # what was filled can be copied too
        if (holes == before).all():
            break
    return cv2.inpaint(
        filled.round().clip(0, 255).astype(np.uint8), holes.astype(np.uint8), RING, cv2.INPAINT_NS
    )


def _holes(labels: np.ndarray, holes: np.ndarray) -> Iterator[tuple[Window, np.ndarray]]:
    """The window of each nucleus with its surroundings, and what is to be filled there of it and its edge."""
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        window = widened(box, HALO + RIM + RING)
        hole = _grown(labels[window] == label, HALO + RIM) & holes[window]
        if hole.any():
            yield window, hole


def widened(box: tuple[slice, ...], by: int) -> Window:
    """Rows and columns of a box with `by` px around it, as far as the image goes."""
    rows, columns = (slice(max(side.start - by, 0), side.stop + by) for side in box)
    return rows, columns


def _cover(
    filled: np.ndarray, holes: np.ndarray, hole: np.ndarray, source: np.ndarray, stained: np.ndarray
) -> None:
    """Fill a hole (h, w) of `filled` with the best piece of `source` (h', w', 3), and take it from `holes`.

    `stained` (h', w') shows no background, and is not copied.
    """
    known = _grown(hole, RING) & ~holes
    if not known.any():
        return
    weights = np.repeat(known[..., None].astype(np.float32), 3, axis=2)
    misfit = cv2.matchTemplate(source, filled, cv2.TM_SQDIFF, mask=weights) / weights.sum()
    lost = cv2.matchTemplate(stained.astype(np.float32), hole.astype(np.float32), cv2.TM_CCORR) / hole.sum()
    top, left = np.unravel_index(np.argmin(misfit + LOST**2 * lost), misfit.shape)
    window = slice(top, top + hole.shape[0]), slice(left, left + hole.shape[1])
    usable = ~stained[window]
    covered = hole & usable
    # Twice the blurred edge begins with 1 at the hole, where nothing may shine through.
    edge = 2 * cv2.GaussianBlur(covered.astype(np.float32), (0, 0), SEAM).clip(0, 0.5)
    share = np.where(covered, 1, edge * (known & usable))
    filled += share[..., None] * (source[window] - filled)
    holes &= ~covered


def _stained(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: more haematoxylin than half-way from the background to the nuclei, medians of both."""
    haematoxylin = cv2.GaussianBlur(rgb2hed(image)[..., 0], (0, 0), STAIN)
    parts = haematoxylin[labels > 0], haematoxylin[labels == 0]
    if not all(map(len, parts)):
        return np.zeros(labels.shape, bool)
    return haematoxylin > np.mean([np.median(part) for part in parts])


def _grown(mask: np.ndarray, radius: int) -> np.ndarray:
    side = 2 * radius + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return cv2.dilate(mask.astype(np.uint8), disc) > 0


def rearrange(
    background: np.ndarray, shape: tuple[int, int], directed: bool, rng: np.random.Generator
) -> np.ndarray:
    """A mixture of views of a background.

    The mean of several textures has too little contrast. So the colours are the weighted mean of the views,
    and their textures are added with weights that preserve the variance: Heitz and Neyret, "High-Performance
    By-Example Noise using a Histogram-Preserving Blending Operator", HPG 2018.

    Args:
        background: (H, W, 3) uint8.
        shape: rows and columns of the result.
        directed: whether the background has a direction, which quarter turns and mirroring would change.
        rng: what the views show, and where.

    Returns:
        (*shape, 3) float32.
    """
    views = np.stack([_view(background.astype(np.float32), shape, directed, rng) for _ in range(VIEWS)])
    # The transition from one view to another takes a few pixels.
    weights = np.exp(SHARPNESS * np.stack([_smooth_field(shape, rng) for _ in range(VIEWS)])[..., None])
    weights /= weights.sum(axis=0)
    colours = np.stack([cv2.GaussianBlur(view, (0, 0), TEXTURE) for view in views])
    of_texture = weights / np.sqrt(np.square(weights).sum(axis=0))
    return (weights * colours).sum(axis=0) + (of_texture * (views - colours)).sum(axis=0)


def _view(
    background: np.ndarray, shape: tuple[int, int], directed: bool, rng: np.random.Generator
) -> np.ndarray:
    """A background (H, W, 3) turned, mirrored and bent, (*shape, 3)."""
    turned = np.rot90(background, int(2 * rng.integers(2) if directed else rng.integers(4)))
    if not directed and rng.random() < 0.5:
        turned = turned[:, ::-1]
    places = [
        _fold(start + WARP * _smooth_field(shape, rng) + along, length)
        for start, along, length in zip(
            _corner(turned.shape, shape, rng), np.indices(shape, np.float32), turned.shape, strict=False
        )
    ]
    # Linear interpolation would remove the finest texture.
    turned = np.ascontiguousarray(turned)
    return cv2.remap(turned, places[1], places[0], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def _corner(have: tuple[int, ...], want: tuple[int, int], rng: np.random.Generator) -> list[int]:
    """Random start along each axis; a background that is too small starts anywhere and is mirrored."""
    return [int(rng.integers(a - b + 1 if a >= b else a)) for a, b in zip(have, want, strict=False)]


def _fold(places: np.ndarray, length: int) -> np.ndarray:
    """Mirror coordinates along an axis of `length` px into its range.

    With cubic interpolation, cv2 itself mirrors only once.
    """
    away = np.mod(places + 0.5, 2 * length)
    return np.minimum(away, 2 * length - away) - 0.5


def _smooth_field(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A smooth random field (H, W) of mean 0 and standard deviation 1, see `SMOOTH`."""
    coarse = rng.standard_normal([-(-side // COARSE) for side in shape], np.float32)
    field = cv2.GaussianBlur(coarse, (0, 0), SMOOTH / COARSE)
    field = cv2.resize(field, shape[::-1])
    return (field - field.mean()) / field.std()
