"""Tissue of which no two images are alike: what a network starts from before it has seen a real slide.

The demo's kinds and further ones are archetypes; of each image everything about them is drawn anew, from the
size of the nuclei to the scanner. Wide on purpose: real tissue should lie inside (Tobin et al., "Domain
randomization", IROS 2017).
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from skimage.measure import label as connected
from skimage.segmentation import relabel_sequential

from nuclei.tissue import render
from nuclei.tissue.kinds import KINDS, Kind, Nuclei
from nuclei.tissue.layout import SMALLEST
from nuclei.tissue.light import Scanner

# fmt: off
_SPINDLE, _LYMPHOCYTE = KINDS["stroma"].nuclei
_CROWDED = Nuclei(
    "parenchyma", cover=2.0, diameter=24, spread=0.16, elongation=2.4,
    disorder=0.2, wobble=0.12, spacing=0.62, clustering=0, density=1.4, vesicular=0.35, nucleoli=0.4,
)
_VESICULAR = Nuclei(
    "parenchyma", cover=0.5, diameter=40, spread=0.2, elongation=1.3,
    wobble=0.12, spacing=0.85, clustering=0.3, density=0.95, vesicular=0.85, nucleoli=1.2,
)
_SMALL = Nuclei(
    "parenchyma", cover=0.7, diameter=16, spread=0.15, elongation=1.2,
    spacing=0.75, density=1.5, vesicular=0.2, nucleoli=0.1,
)
_SQUAMOUS = Nuclei(
    "parenchyma", cover=0.2, diameter=30, spread=0.2, elongation=1.5,
    wobble=0.12, spacing=1.2, clustering=0.2, density=1.1, vesicular=0.6, nucleoli=0.8,
)
_SIGNET = Nuclei(
    "parenchyma", cover=0.12, diameter=20, spread=0.2, elongation=1.9,
    disorder=1.5, wobble=0.2, spacing=1.0, density=1.5, vesicular=0.1, nucleoli=0.1,
)
_GLIA = Nuclei(
    "parenchyma", cover=0.12, diameter=23, spread=0.22, elongation=1.3,
    disorder=1.5, wobble=0.14, spacing=1.1, clustering=0.5, density=1.3, vesicular=0.35, nucleoli=0.3,
)
_MITOSIS = Nuclei(
    "parenchyma", cover=0.01, diameter=22, spread=0.2, elongation=1.8,
    disorder=1.5, wobble=0.35, spacing=1.1, density=2.0, vesicular=0.0, nucleoli=0,
)

ARCHETYPES: tuple[Kind, ...] = (
    *KINDS.values(),
    Kind(  # crowded epithelium, tall and dark, as in adenoma and its cancers
        (_CROWDED, _SPINDLE, _LYMPHOCYTE), (0.5, 0.8), region=40, wall=60, eosin=0.5, basophilia=0.35,
        looseness=0.4,
    ),
    Kind(  # large pale nuclei in sheets
        (_VESICULAR, _MITOSIS, _SPINDLE, _LYMPHOCYTE), (0.6, 0.95), region=70, basophilia=0.25, membrane=-0.2,
    ),
    Kind((_SMALL, _SPINDLE), (0.6, 0.95), region=50, basophilia=0.2, eosin=0.5),  # small round blue cells
    Kind(  # squamous: pink cells that keep apart
        (_SQUAMOUS, _MITOSIS, _LYMPHOCYTE), (0.6, 0.9), region=70, eosin=0.85, basophilia=0.1, membrane=-0.3,
    ),
    Kind(  # mucinous and signet-ring
        (_SIGNET, _SPINDLE, _LYMPHOCYTE), (0.6, 0.9), region=50, eosin=0.3, basophilia=0.2, clear=0.85,
        membrane=0.2,
    ),
    Kind((_GLIA,), (0.95, 1.0), region=80, eosin=0.45, basophilia=0.05, clear=0.3, halo=0.9),  # brain
    Kind(  # cells that shrank away from each other
        (KINDS["carcinoma"].nuclei[0], _MITOSIS, _SPINDLE), (0.6, 0.9), region=60, basophilia=0.4,
        membrane=-0.9, halo=0.9,
    ),
)
# fmt: on
_POPULATIONS = tuple(population for kind in ARCHETYPES for population in kind.nuclei)


def generate(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of a tissue of its own and its nuclei; the same arguments give the same image.

    Args:
        size: the side in pixels.
        seed: of everything random.

    Returns:
        image (size, size, 3) uint8, RGB, and labels (size, size) int32, as `nuclei.tissue.generate`.
    """
    rng = np.random.default_rng([seed, 0x5EED])
    enlarged = float(np.clip(_times(rng, 1, 0.25), 0.6, 1.7))
    side = round(size / enlarged)
    image, labels = render(rng, (side, side), _draw_kind(rng), _draw_scanner(rng), stain_spread=1.8)
    return _resize(_expose(rng, image), labels, size)


def _expose(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Contrast and colour as scanners and their software differ: another gamma for each channel."""
    gamma = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.05, 3))
    curve = 255 * (np.arange(256)[:, None] / 255) ** gamma
    return cv2.LUT(image, np.rint(curve).astype(np.uint8)[:, None, :])


def _times(rng: np.random.Generator, value: float, spread: float) -> float:
    return float(value * np.exp(rng.normal(0, spread)))


def _near(rng: np.random.Generator, value: float, spread: float, low: float, high: float) -> float:
    return float(np.clip(value + rng.normal(0, spread), low, high))


def _draw_kind(rng: np.random.Generator) -> Kind:
    kind = ARCHETYPES[rng.integers(len(ARCHETYPES))]
    guests = rng.choice(len(_POPULATIONS), rng.choice(3, p=(0.5, 0.35, 0.15)))
    populations = kind.nuclei + tuple(_POPULATIONS[guest] for guest in guests)
    rare = rng.random(3) < (0.15, 0.2, 0.15)
    return replace(
        kind,
        nuclei=tuple(_vary(rng, population) for population in populations),
        region=_times(rng, kind.region, 0.3),
        eosin=_times(rng, kind.eosin, 0.3),
        basophilia=float(np.clip(_times(rng, kind.basophilia, 0.5), 0, 0.7)),
        clear=_near(rng, kind.clear, 0.2, 0, 0.9),
        membrane=_near(rng, kind.membrane, 0.25, -1, 0.7),
        collagen=_times(rng, kind.collagen, 0.3),
        looseness=_near(rng, kind.looseness, 0.2, 0, 0.9),
        halo=_near(rng, kind.halo, 0.2, 0, 1),
        red_cells=_times(rng, kind.red_cells, 1.0),
        fat=rare[0] * rng.uniform(20, 250),
        bodies=rare[1] * rng.uniform(20, 150),
        clumps=_times(rng, 1.1, 0.4),
        clump_size=float(np.clip(_times(rng, 1.3, 0.3), 0.8, 3)),
        rim=float(np.clip(_times(rng, 1.4, 0.3), 0.8, 3)),
        nucleolus=int(rng.choice((3, 5, 5, 7, 9))),
    )


def _vary(rng: np.random.Generator, population: Nuclei) -> Nuclei:
    return replace(
        population,
        diameter=float(np.clip(_times(rng, population.diameter, 0.22), 9, 60)),
        spread=_times(rng, population.spread, 0.3),
        elongation=1 + _times(rng, population.elongation - 1, 0.4),
        disorder=_times(rng, population.disorder, 0.5),
        cover=_times(rng, population.cover, 0.4),
        density=_times(rng, population.density, 0.25),
        spacing=_times(rng, population.spacing, 0.12),
        clustering=_times(rng, population.clustering, 0.5),
        vesicular=_near(rng, population.vesicular, 0.25, 0, 1),
        wobble=_times(rng, population.wobble, 0.4),
        nucleoli=_times(rng, population.nucleoli, 0.5),
    )


def _draw_scanner(rng: np.random.Generator) -> Scanner:
    focus = rng.uniform(0.3, 1.1)
    unsharp = focus + rng.uniform(0.2, 1.5)
    return Scanner(
        (focus, focus + 0.01), (unsharp, unsharp + 0.01), drift=rng.uniform(0.5, 2.5), noise=(0.5, 5),
        sharpening=(0, 1.5), quality=(55, 96),
    )  # fmt: skip


def _resize(image: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    smooth = cv2.INTER_AREA if len(image) > size else cv2.INTER_CUBIC
    image = cv2.resize(image, (size, size), interpolation=smooth)
    labels = cv2.resize(labels, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    pieces = connected(labels, connectivity=1)
    pieces[np.bincount(pieces.ravel())[pieces] < SMALLEST] = 0
    return image, relabel_sequential(pieces)[0].astype(np.int32)
