"""What the dyes let through, and what a scanner makes of it."""

from __future__ import annotations

import cv2
import numpy as np

from nuclei.tissue.fields import random_field, sigmoid

# Absorption of red, green and blue by haematoxylin and eosin, as two laboratories measured it.
_RUIFROK = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])  # Ruifrok & Johnston 2001
_MACENKO = np.array([[0.56, 0.72, 0.41], [0.22, 0.80, 0.56]])  # the reference of Macenko et al. 2009


def stain(rng: np.random.Generator, haematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 light that passes, 0 to 255, with stains drawn as if by another laboratory."""
    mix = rng.uniform((0.2, 0.5), (0.9, 1.1))[:, None]  # eosins reach from magenta to coral
    vectors = mix * _MACENKO + (1 - mix) * _RUIFROK + rng.normal(0, 0.03, (2, 3))
    vectors = np.maximum(vectors, 0.02)
    vectors *= rng.lognormal((0.15, 0.05), (0.15, 0.25))[:, None] / np.linalg.norm(vectors, axis=1)[:, None]
    absorbance = np.stack([haematoxylin, eosin], axis=-1).astype(np.float32) @ vectors.astype(np.float32)
    lamp = rng.uniform((235, 228, 235), (252, 246, 252)).astype(np.float32)
    return lamp * np.exp(-absorbance)


def photograph(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: `light` through optics whose focus drifts, a noisy sensor, and JPEG."""
    sharp, soft = (cv2.GaussianBlur(light, (0, 0), sigma) for sigma in rng.uniform((0.6, 1.1), (0.9, 1.9)))
    drift = sigmoid(1.5 * (random_field(rng, light.shape[:2], 80) - 0.7))[..., None]
    noise = rng.standard_normal(light.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.6) * rng.uniform(2, 5)
    image = np.clip(np.rint(sharp + drift * (soft - sharp) + noise), 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 95))]
    encoded = cv2.imencode(".jpg", image[..., ::-1], quality)[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return decoded[..., ::-1].copy()  # type: ignore[index]  # None only where the bytes are broken
