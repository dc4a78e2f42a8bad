"""What the dyes let through, and what a scanner makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from nuclei.tissue.fields import random_field, sigmoid

# Absorption of red, green and blue by haematoxylin and eosin, as two laboratories measured it.
_RUIFROK = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])  # Ruifrok & Johnston 2001
_MACENKO = np.array([[0.56, 0.72, 0.41], [0.22, 0.80, 0.56]])  # the reference of Macenko et al. 2009


def stain(
    rng: np.random.Generator, haematoxylin: np.ndarray, eosin: np.ndarray, spread: float = 1.0
) -> np.ndarray:
    """(H, W, 3) float32 light that passes, 0 to 255, with stains drawn as if by another laboratory.

    `spread` widens the differences between laboratories.
    """
    mix = rng.uniform((0.2, 0.5), (0.9, 1.1))[:, None]  # eosins reach from magenta to coral
    vectors = mix * _MACENKO + (1 - mix) * _RUIFROK + rng.normal(0, 0.03 * spread, (2, 3))
    vectors = np.maximum(vectors, 0.02)
    vectors *= (
        rng.lognormal((0.15, 0.05), (0.15 * spread, 0.25 * spread))[:, None]
        / np.linalg.norm(vectors, axis=1)[:, None]
    )
    absorbance = np.stack([haematoxylin, eosin], axis=-1).astype(np.float32) @ vectors.astype(np.float32)
    lamp = rng.uniform((235, 228, 235), (252, 246, 252)).astype(np.float32)
    return lamp * np.exp(-absorbance)


@dataclass(frozen=True)
class Scanner:
    """Optics, sensor and file format, each drawn between a lowest and a highest value."""

    focus: tuple[float, float] = (0.6, 0.9)  # px, standard deviation of the blur where it is sharp
    unsharp: tuple[float, float] = (1.1, 1.9)  # and where the focus has drifted away
    drift: float = 0.7  # how rarely it has, in standard deviations
    noise: tuple[float, float] = (2, 5)  # grey levels
    sharpening: tuple[float, float] = (0, 0)  # of the scanner's software: the share of the detail added again
    quality: tuple[int, int] = (75, 95)  # of the JPEG


def photograph(rng: np.random.Generator, light: np.ndarray, scanner: Scanner) -> np.ndarray:
    """(H, W, 3) uint8: `light` through optics whose focus drifts, a noisy sensor, and JPEG."""
    lowest, highest = zip(scanner.focus, scanner.unsharp, strict=True)
    blurs = rng.uniform(lowest, highest)
    sharp, soft = (cv2.GaussianBlur(light, (0, 0), sigma) for sigma in blurs)
    drift = sigmoid(1.5 * (random_field(rng, light.shape[:2], 80) - scanner.drift))[..., None]
    noise = rng.standard_normal(light.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.6) * rng.uniform(*scanner.noise)
    seen = sharp + drift * (soft - sharp) + noise
    if scanner.sharpening[1]:
        seen += rng.uniform(*scanner.sharpening) * (seen - cv2.GaussianBlur(seen, (0, 0), 1.2))
    image = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(*scanner.quality))]
    encoded = cv2.imencode(".jpg", image[..., ::-1], quality)[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return decoded[..., ::-1].copy()  # type: ignore[index]  # None only where the bytes are broken
