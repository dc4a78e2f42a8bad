"""Patch folders, and tissue that is generated while training goes on, as a dataset to train on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from mrcnn.data.dataset import Dataset
from nuclei.folders import patches
from nuclei.tissue import variety

_KEPT = 2000  # patches in memory, those read last: 0.9 GB at 256 px
_GENERATED = 20_000  # images that there might be: in a training hardly any is seen twice


class PatchDataset(Dataset):
    """Annotated patches as a dataset: class 1, and class -1 for what is neither learnt nor unlearnt."""

    def __init__(self):
        super().__init__()
        self.add_class("nuclei", 1, "nucleus")
        self._load = lru_cache(_KEPT)(self._read)

    def add_patches(
        self, folder: Path, names: Sequence[str], share: float = 1.0, outlined: bool = True
    ) -> None:
        """Add patches of a folder.

        Args:
            folder: holds them.
            names: of the patches.
            share: of a batch that is theirs, in proportion to those of other folders.
            outlined: whether the outlines are to be learnt, or only where nuclei are.
        """
        together = {"stratum": Path(folder), "weight": share / len(names), "outlined": outlined}
        for name in names:
            self.add_image("nuclei", name, path=Path(folder) / name, **together)

    def add_generated(self, seed: int, share: float = 1.0, size: int = patches.PATCH) -> None:
        """Add tissue of `nuclei.tissue.variety`; each image is made when a batch needs it.

        Args:
            seed: of the first image; the others follow it.
            share: of a batch that is generated, in proportion to those of the folders.
            size: px, the side of an image.
        """
        together = {"stratum": "generated", "weight": share / _GENERATED, "size": size}
        for number in range(seed * _GENERATED, (seed + 1) * _GENERATED):
            self.add_image("nuclei", number, path=f"generated tissue {number}", seed=number, **together)

    def _read(self, image_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, label image and class ids."""
        info = self.image_info[image_id]
        if "seed" in info:
            image, labels = variety.generate(info["size"], info["seed"])
            return image, labels, np.ones(labels.max(), np.int32)
        path = info["path"]
        labels, undecided = patches.read_masks(path), patches.read_undecided(path)
        nuclei = labels.max()
        class_ids = np.repeat(np.array([1, -1], np.int32), [nuclei, undecided.max()])
        labels = np.where((labels == 0) & (undecided > 0), undecided + nuclei, labels)
        return patches.read_patch(path), labels, class_ids

    def load_image(self, image_id: int) -> np.ndarray:
        return self._load(image_id)[0]

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        labels, class_ids = self.load_labels(image_id)
        return labels[..., None] == np.arange(1, len(class_ids) + 1), class_ids

    def load_labels(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        return self._load(image_id)[1:]
