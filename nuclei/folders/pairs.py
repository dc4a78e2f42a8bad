"""The synthetic pairs of a patch: what stage 2 draws and stage 3 learns from.

<folder>/<name>/          each pair, as a patch
<folder>/<patch>.json     the record of their run, since several patches share the folder
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuclei.errors import InputError
from nuclei.folders.patches import fingerprint, image_path, write_patch
from nuclei.folders.runs import Run, is_record
from nuclei.io.files import read_json

TRANSPLANT = "transplant"  # takes the place of the patch for pairs that show the nuclei of several
DONORS = "annotations"  # in what these depend on: ANNOTATION of each of the patches, by name
ANNOTATION = "annotation"  # in what pairs depend on: the fingerprint of their patch in the folder of data
_KIND = "pairs"
_FINGERPRINT = "fingerprint"  # in the facts of their run: that of the pairs


@dataclass(frozen=True)
class Pairs(Run):
    """A run whose items are the synthetic pairs of a patch."""

    items: tuple[str, ...]


def pairs_of(folder: Path, patch: str, names: Sequence[str], depends_on: dict) -> Pairs:
    """The run that leaves the synthetic pairs of a patch behind.

    Args:
        folder: where they lie, with those of other patches.
        patch: name of the patch.
        names: of its pairs.
        depends_on: all that the pairs and their number depend on (JSON-like).
    """
    return Pairs(folder, _KIND, depends_on, tuple(names), f"{patch}.json")


def are_complete(pairs: Pairs) -> bool:
    """Whether the pairs are finished, all there, and unchanged since."""
    if not pairs.is_finished or not all(image_path(pairs.folder / name).exists() for name in pairs.items):
        return False
    return pairs.facts.get(_FINGERPRINT) == fingerprint(pairs.folder, pairs.items)


def write_pairs(pairs: Pairs, content: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """Write the pairs; those of other settings, or that were changed by hand, are set aside.

    Args:
        pairs: from `pairs_of`.
        content: image (H, W, 3) uint8 RGB and layout (H, W) int32 of each, in the order of their names.

    Raises:
        InputError: the folder cannot be written, or something else has the name of a pair.
    """
    if pairs.is_finished and not are_complete(pairs):
        pairs.set_aside()
    pairs.begin()
    for name, (image, layout) in zip(pairs.items, content, strict=True):
        write_patch(pairs.folder, name, image, layout)
    pairs.finish(**{_FINGERPRINT: fingerprint(pairs.folder, pairs.items)})


def check_folder(folder: Path, data: Path, annotated: Collection[str]) -> None:
    """Check that the pairs in `folder` can be learnt from, with the `annotated` patches in `data`.

    Raises:
        InputError: the pairs of a patch are not complete, their record is broken, or the patch was annotated
            anew since.
        OSError: an annotated patch has no image, or one that is no file; check the patches first.
    """
    for path in sorted(folder.glob("*.json")):
        record, patch = read_json(path), path.stem
        if not isinstance(record, dict) or record.get("kind") != _KIND:
            continue
        if not is_record(record):
            raise InputError(
                f"{path} is a broken record of synthetic pairs; delete it and the pairs of {patch} beside "
                "it, then run main_train.py again"
            )
        if not record["finished"]:
            raise InputError(
                f"the synthetic pairs of {patch} in {folder}/ are not complete; run main_train.py again"
            )
        depends_on = record["depends_on"]
        for donor, made_from in depends_on.get(DONORS, {patch: depends_on.get(ANNOTATION)}).items():
            if made_from and donor in annotated and made_from != fingerprint(data, [donor]):
                raise InputError(
                    f"{data / donor}/ has changed since the synthetic pairs of {patch} in {folder}/ were "
                    "made; run main_train.py again"
                )
