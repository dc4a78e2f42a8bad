"""A folder prepared for training: the annotated image, its mask, and the layouts to draw samples for.

<folder>/train.png                          RGB
<folder>/train_mask.png                     binary, or one value a nucleus
<folder>/random_masks/<name>.png, ...       the same; also `random mask` or `randommasks`
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skimage.measure import label

from nuclei.errors import InputError
from nuclei.io.images import LABEL_SUFFIXES, list_images, read_image, read_labels

IMAGE, MASK = "train.png", "train_mask.png"
RANDOM_MASKS = ("random_masks", "random mask", "randommasks")


def read_training_pair(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The image (H, W, 3) uint8 RGB and its label image (H, W) int32; InputError where one cannot be used."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}/ does not exist; --folder names one that holds {IMAGE} and {MASK}")
    return read_image(folder / IMAGE), read_instances(folder / MASK)


def read_random_masks(folder: Path) -> dict[str, np.ndarray]:
    """The layouts of a folder by the stem of their file; InputError where there are none or two of a name."""
    there = [name for name in RANDOM_MASKS if (Path(folder) / name).is_dir()]
    if len(there) != 1:
        found = "both " + " and ".join(there) if there else "no folder of random masks"
        raise InputError(f"{folder}/ holds {found}; keep one of {', '.join(RANDOM_MASKS)}")
    layouts: dict[str, np.ndarray] = {}
    for path in list_images(Path(folder) / there[0], LABEL_SUFFIXES):
        if path.stem in layouts:
            raise InputError(f"{path} has the name of another mask beside it; rename one of them")
        layouts[path.stem] = read_instances(path)
    return layouts


def read_instances(path: Path) -> np.ndarray:
    """A label image (H, W) int32 with ids 0..N; of a binary mask, each 4-connected part is a nucleus."""
    labels = read_labels(path)
    ids, index = np.unique(labels, return_inverse=True)
    if len(ids[ids > 0]) == 1:
        return label(labels > 0, connectivity=1).astype(np.int32)
    return (index.reshape(labels.shape) + (ids[0] > 0)).astype(np.int32)
