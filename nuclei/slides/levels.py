"""What every reader of slides and plain images offers, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from nuclei.errors import InputError

PLAIN_PIXELS = 2**30  # that are decoded at once, at most; OpenCV's own limit
CACHE = 256 * 2**20  # bytes of decoded tiles to keep: a row of them across a slide of 100,000 px
TRUSTED_MPP = (0.02, 20)  # um/px; outside lie the 72 dpi and the like that programs write for want of it

Image.MAX_IMAGE_PIXELS = None  # Pillow's guard; PLAIN_PIXELS takes its place


class UnreadableRegion(InputError):
    """A part of a slide cannot be decoded; the rest of it can still be read."""


class Levels(Protocol):
    """One image at one or more resolutions, the finest first.

    Attributes:
        is_slide: false for a plain image.
        sizes: (width, height) of each level, px.
        downsamples: full-resolution px per px of each level.
        mpp: um/px of the full resolution along x and y as the file states it; None where it does not.
        hint: what else the file says about that, for the user who has to find out.
    """

    is_slide: bool
    sizes: Sequence[tuple[int, int]]
    downsamples: Sequence[float]
    mpp: tuple[float, float] | None
    hint: str

    def region(self, level: int, left: int, top: int, width: int, height: int) -> Image.Image:
        """A region in px of a level, RGB, white beyond the image; UnreadableRegion where it is damaged."""

    def close(self) -> None:
        """Close the file."""


def check_can_be_decoded(path: Path, width: int, height: int) -> None:
    if width * height > PLAIN_PIXELS:
        raise InputError(
            f"{path} is {width} x {height} px, too large to be decoded as a whole; "
            "save it as a tiled TIFF, which is read piece by piece"
        )


def over_white(image: Image.Image) -> Image.Image:
    """Any image -> RGB, transparency laid over white, the colour of glass."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    if image.getchannel("A").getextrema()[0] == 255:  # opaque, as nearly always
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def trusted(x: float | str | None, y: float | str | None) -> tuple[float, float] | None:
    """um/px along x and y, where the file states both and they are a microscope's."""
    if x is None or y is None:
        return None
    x, y = float(x), float(y)
    low, high = TRUSTED_MPP
    return (x, y) if low <= x <= high and low <= y <= high else None
