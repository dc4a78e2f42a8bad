"""Pictures to look at: outlines on tissue, sheets of captioned tiles, curves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from nuclei.io.files import atomic_file

# matplotlib and scikit-image are imported where they are used: scripts check their settings without them.
if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

YELLOW = (255, 255, 0)
# Bright and saturated, none near the blues, purples and pinks of H&E.
OVERLAY_COLOURS = np.array(
    [(255, 255, 0), (0, 255, 0), (0, 255, 255), (255, 140, 0), (180, 255, 80), (80, 255, 190)], np.uint8
)
CELLS = 8  # cells of a density along its standard deviation
CAPTION_HEIGHT = 18  # px
LEGEND_HEIGHT, LEGEND_GAP = 20, 8  # px
MAX_HEIGHT = 60  # inches of a plot that grows with its rows


def outline(
    image: np.ndarray, labels: np.ndarray, color: tuple[int, int, int] = YELLOW, thick: bool = False
) -> np.ndarray:
    """A copy of the image with a line, 1 px wide and inside each nucleus, around every nucleus.

    Args:
        image: (H, W, 3) uint8.
        labels: (H, W) integers, 0 = background.
        color: RGB.
        thick: the line is 2 px wide, one of them outside.
    """
    from skimage.segmentation import find_boundaries

    picture = image.copy()
    picture[find_boundaries(labels, mode="thick" if thick else "inner")] = color
    return picture


def overlay(image: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """As `outline`, but each nucleus in one of six colours that stand out from H&E, drawn with `seed`."""
    from skimage.segmentation import find_boundaries

    ids, index = np.unique(labels, return_inverse=True)
    colours = OVERLAY_COLOURS[np.random.default_rng(seed).integers(len(OVERLAY_COLOURS), size=len(ids))]
    edge = find_boundaries(labels, mode="inner")
    picture = image.copy()
    picture[edge] = colours[index.reshape(labels.shape)[edge]]
    return picture


def heat(picture: np.ndarray, points: np.ndarray, spread: float) -> np.ndarray:
    """A copy of a picture with the density of points laid over it, from clear by way of red to yellow.

    Args:
        picture: (H, W, 3) uint8 RGB.
        points: (N, 2) x and y, px of the picture.
        spread: px, the standard deviation of the smoothing.
    """
    height, width = picture.shape[:2]
    # In cells: the cost of a blur grows with its width, which may be that of the picture.
    cell = max(1.0, spread / CELLS)
    edges = [np.arange(side / cell + 1) * cell for side in (height, width)]
    counts, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=edges)
    density = cv2.GaussianBlur(counts.astype(np.float32), (0, 0), spread / cell)
    rows, columns = ((np.arange(side, dtype=np.float32) + 0.5) / cell - 0.5 for side in (height, width))
    x, y = np.meshgrid(columns, rows)
    density = cv2.remap(density, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    top = np.quantile(density[density > 1e-6], 0.99) if (density > 1e-6).any() else 1.0
    share = np.clip(density / top, 0, 1)[..., None]
    colours = np.array([255, 0, 0]) + share * np.array([0, 255, 0])
    opacity = 0.4 * np.sqrt(share)
    return np.rint(picture * (1 - opacity) + colours * opacity).astype(np.uint8)


def caption(tile: np.ndarray, text: str) -> np.ndarray:
    """The (H, W, 3) uint8 tile under a white strip with `text` (ASCII), cut off where the tile ends."""
    strip = np.full((CAPTION_HEIGHT, tile.shape[1], 3), 255, np.uint8)
    position = (3, CAPTION_HEIGHT - 5)
    cv2.putText(strip, text, position, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([strip, tile])


def legend(image: np.ndarray, entries: Mapping[str, tuple[int, int, int]]) -> np.ndarray:
    """The (H, W, 3) uint8 image above a black strip with each text (ASCII) in its colour, RGB.

    Pixels keep their places; entries that do not fit beside the others go below them.
    """
    scale = 0.5
    strip, x, y = np.zeros((LEGEND_HEIGHT, image.shape[1], 3), np.uint8), LEGEND_GAP, LEGEND_HEIGHT
    for text, color in entries.items():
        width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
        if x > LEGEND_GAP and x + width > image.shape[1]:
            strip, x, y = np.pad(strip, ((0, LEGEND_HEIGHT), (0, 0), (0, 0))), LEGEND_GAP, y + LEGEND_HEIGHT
        cv2.putText(strip, text, (x, y - 6), cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
        x += width + 2 * LEGEND_GAP
    return np.vstack([image, strip])


def montage(tiles: Sequence[np.ndarray], columns: int, gap: int = 8, background: int = 255) -> np.ndarray:
    """Tiles in rows of `columns`, left to right, `gap` px apart and around.

    Args:
        tiles: at least one, (H, W, 3) or (H, W) uint8, all of one height and width; grey becomes RGB.
        columns: tiles in a row; the last row may stay short.
        gap: px.
        background: grey value of the gaps.

    Returns:
        uint8 RGB picture.

    Raises:
        ValueError: no tiles, or tiles of several sizes.
    """
    sizes = {tile.shape[:2] for tile in tiles}
    if len(sizes) != 1:
        raise ValueError(f"a montage needs tiles of one size, got {sorted(sizes)}")
    height, width = sizes.pop()
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + gap) + gap, columns * (width + gap) + gap, 3)
    picture = np.full(shape, background, np.uint8)
    for tile, (row, column) in zip(tiles, itertools.product(range(rows), range(columns)), strict=False):
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        picture[top : top + height, left : left + width] = tile if tile.ndim == 3 else tile[..., None]
    return picture


def _figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def curves(path: Path, series: Mapping[str, Sequence[float] | np.ndarray], xlabel: str, ylabel: str) -> None:
    """Write a PNG with one line per series against its step 1, 2, ...; InputError where that fails."""
    figure = _figure(7, 4)
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    for name, values in series.items():
        marker = "o" if len(values) == 1 else None  # a line through one point is invisible
        axes.plot(range(1, len(values) + 1), values, label=name, linewidth=1, marker=marker)
    if series:
        axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def histogram(path: Path, values: Sequence[float] | np.ndarray, xlabel: str, ylabel: str) -> None:
    """Write a PNG with the distribution of `values`."""
    figure = _figure(6, 4)
    axes = figure.add_subplot()
    axes.hist(values, bins=30)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


def bars(path: Path, values: Sequence[float] | np.ndarray, xlabel: str, ylabel: str) -> None:
    """Write a PNG with one bar per value, in their order."""
    figure = _figure(6, 4)
    axes = figure.add_subplot()
    axes.bar(range(1, len(values) + 1), values, width=1.0)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def dots(path: Path, table: pd.DataFrame, xlabel: str) -> None:
    """Write a PNG with a line a row of the table and in it a dot a column; means are dashed lines.

    Args:
        path: the PNG; InputError where it cannot be written.
        table: numbers from 0 to 1; the index names the rows, which come from top to bottom.
        xlabel: what the numbers are.
    """
    height = min(1.4 + 0.2 * len(table), MAX_HEIGHT)
    figure = _figure(8, height)
    axes = figure.add_subplot(xlabel=xlabel, xlim=(-0.02, 1.02), ylim=(len(table) - 0.5, -0.5))
    for number, (name, values) in enumerate(table.items()):
        style: dict = {"color": f"C{number}", "zorder": 3 - 0.1 * number}
        axes.plot(values, range(len(table)), "os^Dv"[number % 5], markersize=5, label=name, **style)
        axes.axvline(values.mean(), linestyle="--", linewidth=1, **style)
    size = min(8, 60 * height / len(table))
    axes.set_yticks(range(len(table)), table.index, fontsize=size, parse_math=False)  # names of files
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(table.columns), fontsize="small")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
