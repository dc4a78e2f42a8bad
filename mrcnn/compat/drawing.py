"""Boxes, outlines, tints and captions of instances: the strokes of `mrcnn.visualize`."""

from __future__ import annotations

import colorsys
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon, Rectangle
from matplotlib.patheffects import withStroke
from skimage.measure import find_contours

_HUES = (0.0, 0.5)  # red, yellow, green, cyan: none among the blues, purples and pinks of H&E
_LETTER = 0.6  # width of a letter over its size


@dataclass(frozen=True)
class Stroke:
    """Sizes in points that suit the objects as large as they are drawn: hundreds of them stay apart."""

    line: float
    text: float

    @classmethod
    def fitting(cls, ax: Axes, boxes: np.ndarray, captions: Sequence[str]) -> Stroke:
        """Sizes for boxes (N, 4) px on an axis whose limits are set, and for what is written into them."""
        sides = (boxes[:, 2:4] - boxes[:, :2]).min(axis=1) if len(boxes) else np.zeros(0)
        sides = sides[sides > 0]  # without padding
        extent = ax.get_window_extent()
        spans = abs(np.diff(ax.get_xlim())[0]), abs(np.diff(ax.get_ylim())[0])
        points = min(extent.width / spans[0], extent.height / spans[1]) * 72 / ax.figure.dpi
        side = np.median(sides) * points if sides.size else np.inf
        letters = max((len(caption) for caption in captions), default=0)
        text = side / (_LETTER * max(letters, 3))
        return cls(line=float(np.clip(side / 20, 0.6, 2)), text=float(np.clip(text, 4, 11)))


def open_axis(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    """The axis given, or that of a new figure of `figsize` inches."""
    return plt.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax


def frame(ax: Axes, shape: tuple[int, ...], margin: float, title: str) -> None:
    """Make room for an image (height, width, ...) with `margin` px around it, for captions at its edge."""
    ax.set_xlim(-margin, shape[1] + margin)
    ax.set_ylim(shape[0] + margin, -margin)
    ax.set_aspect("equal")
    ax.axis("off")
    ax.set_title(title)


def add_box(ax: Axes, box, color, stroke: Stroke, style: str = "-", alpha: float = 1.0) -> None:
    """Draw the box (y1, x1, y2, x2) px around the pixels that it holds."""
    y1, x1, y2, x2 = box[:4]
    corner = x1 - 0.5, y1 - 0.5  # an image is drawn with the centre of its first pixel at 0
    shape = {"linewidth": stroke.line, "linestyle": style, "alpha": alpha, "edgecolor": color}
    ax.add_patch(Rectangle(corner, x2 - x1, y2 - y1, facecolor="none", **shape))


def add_outline(ax: Axes, mask: np.ndarray, box, color, stroke: Stroke) -> None:
    """Draw the outlines of a mask (H, W) that is empty outside the integer box (y1, x1, y2, x2)."""
    y1, x1, y2, x2 = box[:4]
    # A frame of zeros closes the outline of what touches the edge of the box.
    padded = np.pad(mask[y1:y2, x1:x2].astype(np.float32), 1)
    for contour in find_contours(padded, 0.5):
        points = contour[:, ::-1] + (x1 - 1, y1 - 1)
        ax.add_patch(Polygon(points, facecolor="none", edgecolor=color, linewidth=stroke.line))


def add_caption(ax: Axes, box, text: str, stroke: Stroke) -> None:
    """Write into the upper left corner of a box, white on a dark rim, which reads on any tissue."""
    rim = withStroke(linewidth=stroke.text / 4, foreground="black", alpha=0.8)
    place: dict[str, Any] = {"va": "top", "ha": "left", "clip_on": True}
    ax.text(box[1], box[0], text, color="white", size=stroke.text, path_effects=[rim], **place)


def random_colors(N: int, bright: bool = True) -> list[tuple[float, float, float]]:
    """N different colours in random order (Python's `random`), none near those of H&E."""
    first, last = _HUES
    hues = [first + (last - first) * i / max(N - 1, 1) for i in range(N)]
    colors = [colorsys.hsv_to_rgb(hue, 1, 1.0 if bright else 0.7) for hue in hues]
    random.shuffle(colors)
    return colors


def apply_mask(image: np.ndarray, mask: np.ndarray, color, alpha: float = 0.5) -> np.ndarray:
    """Blend a colour into the pixels of a mask (H, W); changes the image (H, W, 3) and returns it.

    Args:
        image: in 0..255.
        mask: bool, or 0 and 1.
        color: RGB in 0..1, or a name.
        alpha: the colour's share.
    """
    inside = mask.astype(bool)
    blended = (1 - alpha) * image[inside] + alpha * 255 * np.array(to_rgb(color))
    image[inside] = np.rint(blended) if image.dtype.kind in "ui" else blended
    return image
