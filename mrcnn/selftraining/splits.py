"""Which patches are learnt from, which are kept from learning, and a fingerprint of either."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.folders import patches

VALIDATION = 2  # annotated patches that are kept from training,
VALIDATION_SHARE = 20  # but no more than one in so many: each of a few may be the only one of its tissue


@dataclass(frozen=True)
class Source:
    """Patches of one folder."""

    folder: Path
    names: list[str]

    def __str__(self) -> str:
        return f"{len(self.names)} patches of {self.folder}/"

    @cached_property
    def fingerprint(self) -> str:
        """How many patches these are, and a digest of their names, images and masks."""
        return f"{len(self.names)} ({patches.fingerprint(self.folder, self.names)})"

    def check(self, masks: bool = True) -> None:
        """InputError for a broken image, or where `masks` are wanted, a broken or missing mask."""
        read = patches.read_masks if masks else patches.read_patch
        for name in tqdm(self.names, desc=f"checking {self.folder}", unit="patch", disable=None, leave=False):
            read(self.folder / name)


def sort_patches(data: Path) -> tuple[Source, Source]:
    """The annotated patches of a folder and the others; errors as in `patches.list_patches`."""
    names = patches.list_patches(data)
    annotated = [name for name in names if patches.is_annotated(data / name)]
    return Source(data, annotated), Source(data, sorted(set(names) - set(annotated)))


def hold_back(annotated: Source, wanted: int | None, seed: int) -> tuple[Source, Source]:
    """The annotated patches to learn and those, chosen at random, to validate with.

    Args:
        annotated: all of them.
        wanted: how many to validate with; None for VALIDATION, where there are enough of them.
        seed: of the choice.

    Raises:
        InputError: none would be left to learn.
    """
    count = len(annotated.names)
    if wanted is None:
        wanted = min(VALIDATION, count // VALIDATION_SHARE)
        if not wanted:
            print(f"{count} annotated patches are too few to keep any for validation: the last weights count")
    elif wanted and wanted >= count:
        raise InputError(
            f"--validation {wanted} leaves none of {count} annotated patches to learn; pass fewer"
        )
    held_back = np.random.default_rng(seed).choice(annotated.names, wanted, replace=False).tolist()
    learnt = [name for name in annotated.names if name not in held_back]
    return Source(annotated.folder, learnt), Source(annotated.folder, sorted(held_back))


def synthetic_pairs(folder: Path, held_back: Source) -> Source:
    """The synthetic pairs in `folder`, without those of patches that are held back.

    Its name, <patch>_<number>, tells of which patch a pair is: the texture is that patch's alone. Outlines of
    held-back nuclei may be in other pairs, where stage 2 was asked to exchange them (`--shapes all`).

    Raises:
        InputError: there is no such folder, or no pair is left.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}/ does not exist; run main_train.py first")
    pairs = patches.list_patches(folder)
    names = [name for name in pairs if name.rpartition("_")[0] not in held_back.names]
    if not names:
        raise InputError(
            f"all pairs in {folder}/ show patches of the validation, {', '.join(held_back.names)}; "
            "make pairs of others with main_train.py, or set --validation 0"
        )
    return Source(folder, names)
