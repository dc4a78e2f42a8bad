"""Smooth random fields, of which everything irregular in the tissue is made."""

from __future__ import annotations

import cv2
import numpy as np


def random_field(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """(H, W) float32 Gaussian random field of mean 0 and deviation 1 that is smooth over `scale` px."""
    step = max(1.0, scale / 2)  # drawn coarsely and enlarged: the cost does not grow with the scale
    coarse: np.ndarray = rng.standard_normal([int(side / step) + 6 for side in shape]).astype(np.float32)
    coarse = cv2.GaussianBlur(coarse, (0, 0), scale / step)
    fine = cv2.resize(coarse, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]]
    (mean,), (deviation,) = cv2.meanStdDev(fine)  # several times as quick as NumPy's
    return (fine - np.float32(mean[0])) / np.float32(deviation[0] + 1e-6)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * x)
