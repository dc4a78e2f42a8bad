"""Small folders of patches to choose from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from nuclei.folders.patches import write_patch
from nuclei.selection.choose import Choice, choose_patches

SIZE = 64  # px
COUNT = 10


def tissue(kind: int, seed: int, size: int = SIZE) -> np.ndarray:
    """(size, size, 3) uint8: pink ground with dark discs, few and large (kind 0) or many and small (1)."""
    rng = np.random.default_rng(seed)
    image = np.uint8(rng.normal((225, 180, 205), 6, (size, size, 3)).clip(0, 255))
    number, radius = ((3, size // 8), (25, size // 24))[kind]
    for centre in rng.integers(0, size, (number, 2)).tolist():
        cv2.circle(image, centre, radius, (90, 50, 130), thickness=-1)
    return image


def write_patches(folder: Path) -> None:
    for number in range(COUNT):
        write_patch(folder, f"patch{number}", tissue(number % 2, number))


def choose(data: Path, **changes) -> Choice:
    """Choose two patches, with results in `out` and `crops` beside `data`."""
    root = data.parent
    settings = {"out": root / "out", "crops": root / "crops", "size": SIZE, "k1": 2, "k2": 2, "device": "cpu"}
    return choose_patches(data, **settings | changes)
