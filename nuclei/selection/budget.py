"""A budget of annotation, as a share of the pixels or as a number of patches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pandas as pd

from nuclei.errors import InputError


def check_budget(budget: str) -> None:
    """InputError where `patches_of_budget` could not read it, whatever the pool."""
    _parse(budget)


def patches_of_budget(budget: str, pixels: int, size: int) -> int:
    """How many patches of `size` px may be annotated.

    Args:
        budget: a share of the pixels ("5%", "0.5 %") or a number of patches ("12").
        pixels: of the pool (see `pool_pixels`).
        size: side of a patch, px.

    Raises:
        InputError: neither of them, or less than one patch.

    >>> patches_of_budget("5%", pixels=16 * 1000 * 1000, size=256)
    12
    """
    number, is_share = _parse(budget)
    count = int(number * pixels / (100 * size**2)) if is_share else int(number)
    if count < 1:
        least = 100 * size**2 / pixels
        raise InputError(f"--budget {budget} is less than one patch, which is {least:.2g}% of the pixels")
    return count


def _parse(budget: str) -> tuple[Fraction, bool]:
    """The number, exactly (29 % of 100 patches are 29), and whether it is per cent of the pixels."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", budget)
    if match is None or not match[2] and "." in match[1]:
        raise InputError(
            f"--budget {budget!r} is neither a share such as 5% nor a number of patches such as 12"
        )
    return Fraction(match[1]), match[2] == "%"


def pool_pixels(names: Sequence[str], sources: pd.DataFrame | None, size: int) -> int:
    """How many pixels the patches `names` cover; where overlapping ones were cropped, each pixel counts once.

    Args:
        names: of the patches.
        sources: where each patch was cropped from (see `patches.read_sources`), None where that is unknown.
        size: side of a patch, px.
    """
    if sources is None:
        return len(names) * size**2
    known = sources[sources["patch"].isin(set(names))]
    covered = sum(_union(group[["x", "y"]].to_numpy(), size) for _, group in known.groupby("source"))
    return covered + (len(names) - len(known)) * size**2


def _union(corners: np.ndarray, size: int) -> int:
    """Area of the union of squares with these upper left corners, (N, 2) px: x, y."""
    grids = [np.unique(np.concatenate([values, values + size])) for values in corners.T]
    covered = np.zeros([len(grid) - 1 for grid in grids], bool)
    for corner in corners:
        place = tuple(
            slice(*np.searchsorted(grid, (start, start + size)))
            for grid, start in zip(grids, corner, strict=True)
        )
        covered[place] = True
    return int((covered * np.diff(grids[0])[:, None] * np.diff(grids[1])).sum())
