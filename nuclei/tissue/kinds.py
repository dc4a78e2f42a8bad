"""The tissues there are: architecture, cytoplasm and populations of nuclei of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Nuclei:
    """A population of nuclei; lengths in pixels."""

    habitat: str  # parenchyma or stroma
    cover: float  # their area over that of the habitat, as far as there is room
    diameter: float  # of the disc of the same area, the median
    spread: float = 0.12  # standard deviation of the logarithm of the diameter
    elongation: float = 1.25  # long over short axis, the median
    disorder: float = 0.5  # radians, about the local direction
    wobble: float = 0.10  # departure of the outline from an ellipse
    spacing: float = 1.0  # the outline times this must be free: below 1 nuclei touch, above they keep apart
    clustering: float = 0.5  # 0 even, 2 in dense patches
    density: float = 1.3  # haematoxylin of the chromatin
    vesicular: float = 0.3  # 0 solid chromatin, 1 a cleared centre within a dark membrane
    nucleoli: float = 0.3  # expected number


@dataclass(frozen=True)
class Kind:
    """A tissue: its architecture, its cytoplasm and its populations, the first of which names the tissue."""

    nuclei: tuple[Nuclei, ...]
    coverage: tuple[float, float]  # fraction of parenchyma, lowest and highest
    region: float  # px, the scale of nests, glands and plates
    plates: bool = False  # parenchyma in sheets cut by narrow ribbons of stroma, instead of islands
    wall: float = np.inf  # px, thickness of a gland's epithelium; deeper is lumen
    eosin: float = 0.6  # of the cytoplasm
    basophilia: float = 0.15  # haematoxylin of the cytoplasm
    clear: float = 0.0  # fraction of the cytoplasm dissolved in processing: 0 none, 1 empty cells
    membrane: float = 0.0  # of the cell borders: above 0 a pink line, below 0 a cleft
    collagen: float = 0.7  # eosin of the stroma
    looseness: float = 0.3  # fraction of the stroma that is white gaps
    halo: float = 0.7  # of the cytoplasm around some nuclei that shrinkage has left empty, 0..1
    red_cells: float = 3.0  # clumps of erythrocytes a megapixel
    fat: float = 0.0  # empty round vacuoles a megapixel
    bodies: float = 0.0  # apoptotic bodies a megapixel: dark drops in a pink cell
    clumps: float = 1.0  # how coarse the chromatin is, times what is usual
    clump_size: float = 1.3  # px
    rim: float = 1.4  # px, thickness of the nuclear membrane
    nucleolus: int = 5  # px, its diameter


# fmt: off
_SPINDLE = Nuclei(
    "stroma", cover=0.1, diameter=20, spread=0.2, elongation=3.0, disorder=0.2, spacing=0.95, density=1.1,
)
_LYMPHOCYTE = Nuclei(
    "stroma", cover=0.05, diameter=20, spread=0.08, elongation=1.1, wobble=0.06, spacing=0.85, clustering=2,
    density=1.6, vesicular=0.1, nucleoli=0,
)
_PLEOMORPHIC = Nuclei(
    "parenchyma", cover=0.5, diameter=33, spread=0.22, elongation=1.35, wobble=0.15, spacing=0.85,
    density=1.1, vesicular=0.65, nucleoli=1.3,
)
_COLUMNAR = Nuclei(
    "parenchyma", cover=1.2, diameter=24, spread=0.16, elongation=1.7, disorder=0.25, spacing=0.74,
    clustering=0, density=1.2, vesicular=0.45,
)
_SMALL_ROUND = Nuclei(
    "parenchyma", cover=0.6, diameter=21, spread=0.13, elongation=1.15, wobble=0.1, spacing=0.7,
    clustering=0.7, density=1.5, vesicular=0.25, nucleoli=0.1,
)
_BLAST = replace(_PLEOMORPHIC, cover=0.14, diameter=29, spread=0.15, clustering=1.5)
_HEPATOCYTE = Nuclei(
    "parenchyma", cover=0.13, diameter=29, spread=0.1, elongation=1.08, wobble=0.04, spacing=1.9,
    clustering=0, density=1.2, vesicular=0.6, nucleoli=1.2,
)
_ENDOTHELIUM = Nuclei(
    "stroma", cover=0.12, diameter=16, spread=0.2, elongation=2.6, disorder=0.3, spacing=1.1, density=1.4,
)
_CLEAR = Nuclei(
    "parenchyma", cover=0.14, diameter=23, spread=0.15, elongation=1.15, spacing=0.95, clustering=1.2,
    density=1.1, vesicular=0.45, nucleoli=0.5,
)

KINDS: dict[str, Kind] = {
    "carcinoma": Kind(
        (_PLEOMORPHIC, _SPINDLE, _LYMPHOCYTE), (0.5, 0.75), region=55, basophilia=0.36, membrane=-0.15
    ),
    "glandular": Kind(
        (_COLUMNAR, _SPINDLE, _LYMPHOCYTE), (0.55, 0.7), region=32, wall=40, eosin=0.5, basophilia=0.3,
        membrane=0.1, looseness=0.4,
    ),
    "lymphoid": Kind(
        (_SMALL_ROUND, _BLAST, _SPINDLE), (0.82, 0.97), region=60, eosin=0.35, basophilia=0.2, clear=0.4
    ),
    "stroma": Kind((_SPINDLE, _LYMPHOCYTE), (0.0, 0.0), region=60, collagen=0.75, looseness=0.2, red_cells=8),
    "hepatic": Kind(
        (_HEPATOCYTE, _ENDOTHELIUM), (0.85, 0.9), region=45, plates=True, eosin=0.55, membrane=0.3,
        collagen=0.25, looseness=0.75, red_cells=25,
    ),
    "clear_cell": Kind(
        (_CLEAR, _SPINDLE, _LYMPHOCYTE), (0.75, 0.85), region=50, plates=True, eosin=0.5, basophilia=0.2,
        clear=0.75, membrane=0.5, collagen=0.6,
    ),
}
# fmt: on
