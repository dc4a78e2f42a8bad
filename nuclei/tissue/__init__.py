"""Generated H&E tissue with the exact outline of every nucleus, for the demo and the tests.

An image is built as a slide is: an architecture (parenchyma, stroma, gaps), nuclei of several populations
placed in it, the amount of haematoxylin and eosin in each pixel, their absorption of light (Beer-Lambert),
then optics, sensor and JPEG. Scale: 40x, 0.25 um a pixel. Nothing is taken from a real image.
"""

from __future__ import annotations

import cv2
import numpy as np

from nuclei.tissue.dyes import add_confounders, chromatin_of, matrix
from nuclei.tissue.fields import random_field
from nuclei.tissue.kinds import KINDS, Kind
from nuclei.tissue.layout import architecture, fibres, populate
from nuclei.tissue.light import Scanner, photograph, stain

__all__ = ["KINDS", "generate", "render"]


def generate(kind: str, size: int | tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A tissue image and its nuclei; the same arguments give the same image.

    Every seed has its own architecture, stain, focus and noise, like a slide of another laboratory.

    Args:
        kind: one of `KINDS`.
        size: the side, or height and width, in pixels of 0.25 um.
        seed: of everything random.

    Returns:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) int32, 0 = background, 1..N = nuclei; each is one 4-connected piece of 30 px or more.

    Raises:
        ValueError: no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"no tissue kind {kind!r}; there are {', '.join(KINDS)}")
    shape = (size, size) if isinstance(size, int) else (size[0], size[1])
    return render(np.random.default_rng([seed, list(KINDS).index(kind)]), shape, KINDS[kind])


def render(
    rng: np.random.Generator,
    shape: tuple[int, int],
    tissue: Kind,
    scanner: Scanner = Scanner(),  # noqa: B008  # frozen
    stain_spread: float = 1.0,
    laboratory: np.random.Generator | None = None,
    clear: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """An image of a tissue that is described, and its nuclei; see `generate`.

    `laboratory` draws the stains, where several images shall have the same; nuclei that come closer than
    `clear` px to the border are left out.
    """
    depth = architecture(rng, shape, tissue)
    strands, grain = fibres(rng, depth)
    labels, traits = populate(rng, depth, grain, tissue)
    if clear:
        labels, traits = _without_border(labels, traits, clear)
    chromatin = chromatin_of(rng, labels, traits, tissue)
    haematoxylin, eosin = matrix(rng, labels, depth, strands, tissue)
    haematoxylin += rng.uniform(0.0, 0.33) * eosin  # how well the slide was rinsed before the eosin
    add_confounders(rng, haematoxylin, eosin, depth, tissue)
    inside = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 0.6)
    # Cytoplasm lies above and below a nucleus, and the proteins of the nucleus take eosin as well.
    haematoxylin += chromatin - 0.5 * inside * haematoxylin
    eosin += inside * (0.3 - 0.5 * eosin)
    thickness = np.exp(0.18 * random_field(rng, shape, 60))
    light = stain(laboratory or rng, thickness * haematoxylin, thickness * eosin, stain_spread)
    return photograph(rng, light, scanner), labels


def _without_border(labels: np.ndarray, traits: np.ndarray, clear: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and traits without the nuclei that come closer than `clear` px to the border."""
    keep = np.ones(len(traits), bool)
    inside = np.zeros(labels.shape, bool)
    inside[clear:-clear, clear:-clear] = True
    keep[labels[~inside]] = False
    keep[0] = True
    number = np.where(keep, np.cumsum(keep) - 1, 0).astype(np.int32)
    return number[labels], traits[keep]
