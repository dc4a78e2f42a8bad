"""Which patches are learnt from, which are kept from learning, and a fingerprint of either."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.folders.pairs import TRANSPLANT, check_folder

VALIDATION = 2  # annotated patches that are kept from training,
VALIDATION_SHARE = 20  # but no more than one in so many: each of a few may be the only one of its tissue

log = logging.getLogger(__name__)


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

    def read(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Image (H, W, 3) uint8 and labels (H, W) int32 of each patch, all of them annotated, by name."""
        folders = {name: self.folder / name for name in self.names}
        return {name: (patches.read_patch(path), patches.read_masks(path)) for name, path in folders.items()}

    def check(self, masks: bool = True) -> None:
        """InputError for a broken image, or where `masks` are wanted, a broken or missing mask."""
        read = patches.read_masks if masks else patches.read_patch
        for name in tqdm(self.names, desc=f"checking {self.folder}", unit="patch", disable=None, leave=False):
            read(self.folder / name)


@dataclass(frozen=True)
class Material:
    """All patches of a run, none of them broken."""

    learnt: dict[str, Source]  # "annotated", "synthetic" and "transplanted", those that there are
    validation: Source
    unlabelled: Source


def collect(
    data: Path,
    synthetic: Path | None,
    *,
    annotated: bool = True,
    validation: int | None = None,
    unlabelled: bool = True,
    seed: int = 0,
) -> Material:
    """The patches of a run, all of them looked at: a broken one shows before anything slow starts.

    Args:
        data: patches, annotated or not.
        synthetic: the folder of synthetic pairs; None for none.
        annotated: whether to learn from the annotated patches themselves.
        validation: how many of them to hold back (see `hold_back`).
        unlabelled: whether there have to be patches to label.
        seed: of the choice of validation patches.

    Raises:
        InputError: nothing to learn from or to label, or something broken or out of date.
    """
    known, unknown = sort_patches(data)
    if unlabelled and not unknown.names:
        raise InputError(f"every patch in {data}/ is annotated; use --rounds 0")
    if annotated and not known.names:
        if synthetic is None or not synthetic.is_dir():
            raise InputError(
                f"no patch in {data}/ is annotated; annotate those of selected.csv first (or learn without a "
                "label: --no-annotated --synthetic None)"
            )
        log.info("no patch in %s/ is annotated: the network learns from the pairs in %s/", data, synthetic)
        annotated = False
    known.check()  # first: a patch that cannot be read is not one that has changed
    learnt_from, held_back = hold_back(known, validation, seed)
    learnt = {"annotated": learnt_from} if annotated else {}
    if synthetic is not None:
        check_folder(synthetic, data, known.names)
        pairs = synthetic_pairs(synthetic, held_back)
        pairs.check()
        learnt |= by_kind(pairs)
    if unlabelled:
        unknown.check(masks=False)
    if known.names and validation is None and not held_back.names:  # said last: an error is one line
        log.info(
            "%d annotated patches are too few to hold any back: the last weights count", len(known.names)
        )
    return Material(learnt, held_back, unknown)


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
    elif wanted and wanted >= count:
        raise InputError(
            f"--validation {wanted} leaves none of {count} annotated patches to learn; pass fewer"
        )
    held_back = np.random.default_rng(seed).choice(annotated.names, wanted, replace=False).tolist()
    learnt = [name for name in annotated.names if name not in held_back]
    return Source(annotated.folder, learnt), Source(annotated.folder, sorted(held_back))


def synthetic_pairs(folder: Path, held_back: Source) -> Source:
    """The synthetic pairs in `folder`, without those of patches that are held back.

    Its name, <patch>_<number>, tells of which patch a pair is: the texture is that patch's alone. Held-back
    nuclei may be in transplants, and their outlines in other pairs, where stage 2 was asked to exchange them
    (`--shapes all`).

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


def by_kind(pairs: Source) -> dict[str, Source]:
    """What stage 3 calls the pairs: "synthetic", and "transplanted" those on other patches' backgrounds."""
    transplants = [name for name in pairs.names if name.rpartition("_")[0] == TRANSPLANT]
    others = [name for name in pairs.names if name not in set(transplants)]
    kinds = {"synthetic": others, "transplanted": transplants}
    return {kind: Source(pairs.folder, names) for kind, names in kinds.items() if names}
