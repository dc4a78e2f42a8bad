"""What the report measures of tissue and of nuclei, and where it begins to wonder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from nuclei.evaluation import realism
from nuclei.outlines.measurements import measure

Pair = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) uint8 RGB and labels (H, W) int32

STAIN_OFF = 0.12  # optical density, in any of R, G, B; scanners and laboratories differ by more
EDGE_OFF = 1.0  # px by which the edges of synthetic nuclei may lie elsewhere than those of real ones: a halo
RINGS_OFF = 0.04  # optical density; 0.06 to 0.09 where rings are seen at first sight
GHOSTS = 0.15  # for each nucleus, more than in the real patch
CONTRAST_OFF = 2.0  # times as sharp, or as blurred, at the outlines
AUC_OFF = 0.1  # by which haematoxylin may tell nuclei from background less well
COPY = 0.9  # correlation from which a sample repeats the real patch
SMALL, LARGE = 30, 4.0  # px; times the median area of annotated nuclei
RAGGED = 0.8  # smallest plausible solidity: the share of its convex hull that a nucleus fills
WHITE = 0.05  # optical density of empty glass
COLUMNS = {
    "Area px^2": "area", "Eccentricity": "eccentricity", "Solidity": "solidity",
    "Hematoxylin: Mean": "haematoxylin",
}  # fmt: skip


def stain(image: np.ndarray) -> np.ndarray:
    """Mean optical density of R, G and B over the tissue of an image, glass left out: (3,) float."""
    density = -np.log10((image.astype(np.float32) + 1) / 256)
    tissue = density.mean(axis=2) > WHITE
    return density[tissue].mean(axis=0) if tissue.any() else np.zeros(3)


def stain_distance(image: np.ndarray, others: Sequence[np.ndarray]) -> float:
    """How far the `stain` of an image is from the nearest of others: the largest difference of a colour."""
    own = stain(image)
    return float(min(np.abs(own - each).max() for each in others))


def nuclei_table(image: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """One row a nucleus: area (px), eccentricity, solidity (0..1), haematoxylin (optical density).

    They are those of nuclei.csv; see `nuclei.outlines.measurements.measure`.
    """
    return measure(image, labels).rename(columns=COLUMNS)[[*COLUMNS.values()]]


def implausible(table: pd.DataFrame, typical: float | None) -> int:
    """How many nuclei of a `nuclei_table` are tiny, ragged, or huge beside the `typical` area, px."""
    odd = (table["area"] < SMALL) | (table["solidity"] < RAGGED)
    if typical is not None:
        odd |= table["area"] > LARGE * typical
    return int(odd.sum())


def compare(pairs: Sequence[Pair], real: Pair) -> dict[str, float]:
    """Means over synthetic pairs beside the real one; pairs without a nucleus, or all nucleus, show no edge.

    Returns:
        auc and auc_real (how well haematoxylin tells nuclei from background), edge (px by which nuclei end
        farther out than the real ones), contrast (sharpness at the outlines, 1 as in the real pair), rings
        and ghosts (see `nuclei.evaluation.realism`; 0 as in the real pair),
        copy (1: a sample repeats the real patch) and stain (the largest difference of optical density).
    """
    with_edges = [pair for pair in pairs if pair[1].any() and not pair[1].all()]

    def mean(of: Callable[..., float]) -> float:
        return float(np.mean([of(*pair) for pair in with_edges])) if with_edges else np.nan

    sharp = realism.boundary_gradient(*real)
    around = np.concatenate([realism.rings(*pair) for pair in pairs])
    return {
        "auc": mean(realism.separation),
        "auc_real": realism.separation(*real) if real[1].any() and not real[1].all() else np.nan,
        "edge": mean(realism.edge_place) - realism.edge_place(*real),
        "contrast": mean(realism.boundary_gradient) / sharp if sharp else np.nan,
        "rings": realism.rings_off(around, realism.rings(*real)),
        "ghosts": mean(realism.ghosts) - realism.ghosts(*real),
        "copy": float(np.max([realism.largest_correlation(image, real[0]) for image, _ in pairs])),
        "stain": float(np.max([stain_distance(image, [stain(real[0])]) for image, _ in pairs])),
    }


def doubts(found: dict[str, float]) -> list[str]:
    """What in a comparison (`compare`) a person should look at, as phrases."""
    said = []
    if abs(found["edge"]) > EDGE_OFF:
        where = "outside" if found["edge"] > 0 else "inside"
        said.append(f"nuclei end {abs(found['edge']):.1f} px {where} of their outlines (a halo)")
    if not 1 / CONTRAST_OFF <= found["contrast"] <= CONTRAST_OFF:
        said.append(f"edges at the outlines are {found['contrast']:.1f} times as sharp as the real ones")
    if found["rings"] > RINGS_OFF:
        said.append(f"nuclei carry pale or dark rings (optical density off by {found['rings']:.2f})")
    if found["ghosts"] > GHOSTS:
        said.append(f"{found['ghosts']:.2f} stained spots without an outline for each nucleus")
    if found["auc_real"] - found["auc"] > AUC_OFF:
        said.append(f"stain and outlines fit less well than in the real patch (AUC {found['auc']:.2f})")
    if found["stain"] > STAIN_OFF:
        said.append(f"the stain is off by an optical density of {found['stain']:.2f}")
    if found["copy"] > COPY:
        said.append(f"a sample repeats the real patch (correlation {found['copy']:.2f})")
    return said
