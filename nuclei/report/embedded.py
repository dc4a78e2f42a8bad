"""Pictures inside a page: images as data, with outlines over them that can be switched and zoomed."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import cv2
import numpy as np
import shapely

from nuclei.outlines.polygons import outlines
from nuclei.report.page import escape, figure

QUALITY = 85  # of JPEG; H&E shows no blocks at it
LARGEST = 768  # px, the longer side of an image on the page
TOLERANCE = 0.75  # px by which an outline may be off: half the stair of its pixels
THUMB = 96  # px


def data_uri(image: np.ndarray) -> str:
    """The image (H, W, 3) uint8 RGB as the address of a JPEG that a page holds itself."""
    _, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"


def shrunk(image: np.ndarray, largest: int = LARGEST) -> np.ndarray:
    """The image, or where a side is longer than `largest` px a smaller copy."""
    scale = largest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def thumb(image: np.ndarray) -> str:
    """The address of a small copy, for hovering."""
    return data_uri(shrunk(image, THUMB))


def path_of(labels: np.ndarray) -> str:
    """The outlines of all nuclei of a label image (H, W) as the data of one SVG path, px."""
    rings = []
    for nucleus in outlines(labels):
        smooth = shapely.simplify(nucleus, TOLERANCE)
        for part in shapely.get_parts(nucleus if smooth.is_empty else smooth):
            points = np.asarray(part.exterior.coords[:-1]).astype(int)
            rings.append("M" + "L".join(f"{x} {y}" for x, y in points) + "Z")
    return "".join(rings)


def zoomable(
    image: np.ndarray, layers: Mapping[str, np.ndarray], caption: str, alt: str, note: str = ""
) -> str:
    """A figure that zooms, with layers of outlines that are switched on and off.

    Args:
        image: (H, W, 3) uint8 RGB.
        layers: up to three label images (H, W) by what they show: yellow, then blue and dashed, then white.
        caption: text under the figure.
        alt: what the image shows, for those who do not see it.
        note: text in small print.
    """
    height, width = image.shape[:2]
    paths, switches = [], []
    for number, (name, labels) in enumerate(layers.items()):
        data = path_of(labels)
        # A dark line under the bright one: seen on pale and on dark tissue.
        paths.append(f'<g class="layer l{number}"><path class="under" d="{data}"/><path d="{data}"/></g>')
        switches.append(
            f'<label class="l{number}"><input type="checkbox" checked data-layer="{number}"> '
            f"{escape(name)}</label>"
        )
    svg = (
        f'<svg class="zoom" viewBox="0 0 {width} {height}" tabindex="0" role="img" '
        f'aria-label="{escape(alt)}">'
        f'<image href="{data_uri(shrunk(image))}" width="{width}" height="{height}"/>{"".join(paths)}</svg>'
    )
    buttons = (
        '<button data-zoom="in" title="zoom in" aria-label="zoom in">+</button>'
        '<button data-zoom="out" title="zoom out" aria-label="zoom out">−</button>'
        '<button data-zoom="reset" title="whole image">1:1</button>'
        '<button data-zoom="large" title="large and back">⤢</button>'
    )
    small = f"<small>{escape(note)}</small>" if note else ""
    bar = f'<div class="bar">{"".join(switches)}<span>{buttons}</span></div>'
    return figure(f'<div class="frame">{svg}{bar}{small}</div>', caption)


def picture(image: np.ndarray, caption: str, alt: str) -> str:
    """A figure of an image as it is."""
    return figure(f'<img src="{data_uri(shrunk(image, 1600))}" alt="{escape(alt)}">', caption)
