"""The direction of tissue: in fibrous tissue, patches and nuclei must not be turned at will."""

from __future__ import annotations

import cv2
import numpy as np

DIRECTED = 0.25  # coherence of generated stroma: 0.28 to 0.42; of other generated tissue: up to 0.24
_BLUR = 2.0  # px; finer than that is texture and noise
_ALONG, _ANY = 20.0, 180.0  # degrees


def coherence(image: np.ndarray) -> float:
    """Coherence of the edges of an image (H, W, 3) uint8 RGB: 0 for no common direction, 1 for a single one.

    Source: the structure tensor, averaged over the image; Bigun and Granlund, "Optimal orientation
    detection of linear symmetry", ICCV 1987.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), _BLUR)
    down, right = np.gradient(grey)
    vertical, horizontal, mixed = (down**2).mean(), (right**2).mean(), (down * right).mean()
    energy = vertical + horizontal
    return float(np.hypot(vertical - horizontal, 2 * mixed) / energy) if energy else 0.0


def is_directed(image: np.ndarray) -> bool:
    """Whether the tissue of an image (H, W, 3) uint8 RGB runs in one direction, as fibres do."""
    return coherence(image) > DIRECTED


def nucleus_rotation(image: np.ndarray) -> float:
    """Largest angle, in degrees, by which layouts may turn the nuclei of a patch; small for fibres."""
    return _ALONG if is_directed(image) else _ANY
