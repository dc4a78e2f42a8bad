"""The annotated patches that stage 2 trains on: those of selected.csv, or one prepared folder.

A prepared folder holds the annotated image, its mask, and the layouts to draw samples for:

    <folder>/train.png                          RGB
    <folder>/train_mask.png                     binary, or one value for each nucleus
    <folder>/random_masks/<name>.png, ...       the same; also `random mask` or `randommasks`
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from skimage.measure import label

from csingan.config import SMALLEST
from nuclei.errors import InputError
from nuclei.folders.patches import (
    checked,
    fingerprint,
    image_path,
    is_annotated,
    list_patches,
    read_masks,
    read_patch,
)
from nuclei.folders.selected import read_selection
from nuclei.io.ids import check_ids
from nuclei.io.images import LABEL_SUFFIXES, has_transparency, list_images, read_image, read_labels
from nuclei.outlines.polygons import numbered

IMAGE, MASK = "train.png", "train_mask.png"
RANDOM_MASKS = ("random_masks", "random mask", "randommasks")

LARGEST = 0.5  # of the patch; a larger nucleus is a frame around many, or leaves no room for others

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A patch to train on.

    Attributes:
        name: of its results.
        source: the file of its image.
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) int32 label image.
        more: label images of other patches, whose nuclei its layouts contain too.
        masks: the layouts to draw samples for, (h, w) int32 by name; empty where they are random.
        annotation: fingerprint of the patch folder; "" where it is no patch folder.
    """

    name: str
    source: Path
    image: np.ndarray
    labels: np.ndarray
    more: tuple[np.ndarray, ...] = ()
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    annotation: str = ""

    @property
    def masks_of_its_size(self) -> list[np.ndarray]:
        """The masks that can be trained on: a network sees its patch and its layouts at one size."""
        return [mask for mask in self.masks.values() if mask.shape == self.labels.shape]


def read_patches(data: Path, patch: str | None = None, all_shapes: bool = False) -> list[Task]:
    """The patches that selected.csv names, or one `patch`.

    Args:
        data: the folder of the patches.
        patch: the name of one of them.
        all_shapes: whether the layouts of each patch contain the nuclei of all annotated patches.

    Raises:
        InputError: a patch is missing, not annotated, or nothing can be learnt from it.
    """
    names = [patch] if patch else read_selection(data)
    if patch and patch not in list_patches(data):
        raise InputError(f"{data}/ holds no patch {patch}; pass the name of one of its folders to --patch")
    missing = [name for name in names if not is_annotated(data / name)]
    if missing:
        raise InputError(
            f"not annotated yet in {data}/: {', '.join(missing)}; put one mask per nucleus into "
            f"{data}/<patch>/masks/<k>.png, or take the patch out of {data}/selected.csv"
        )
    tasks = [_read_task(data, name) for name in dict.fromkeys(names)]
    if all_shapes:
        annotated = [name for name in list_patches(data) if is_annotated(data / name)]
        labels = {name: read_masks(data / name) for name in annotated}
        tasks = [
            replace(task, more=tuple(labels[name] for name in annotated if name != task.name))
            for task in tasks
        ]
    return tasks


def _read_task(data: Path, name: str) -> Task:
    folder = data / name
    task = Task(name, image_path(folder), read_patch(folder), read_masks(folder))
    check(task)
    _warn_of_transparency(task)
    return replace(task, annotation=fingerprint(data, [name]))


def read_folder(folder: Path) -> Task:
    """The task of a prepared folder; InputError as for `read_patches`."""
    image, labels = read_training_pair(folder)
    task = Task(Path(folder).resolve().name, Path(folder) / IMAGE, image, labels)
    check(task)
    _warn_of_transparency(task)
    return replace(task, masks=read_random_masks(folder))


def _warn_of_transparency(task: Task) -> None:
    if has_transparency(task.source):
        log.warning("%s has transparent pixels; they are taken for white", task.source)


def check(task: Task) -> None:
    """Raise InputError where nothing can be learnt from a patch; it names the file."""
    height, width = task.image.shape[:2]
    if task.labels.shape != (height, width):
        raise InputError(
            f"{task.source} is {width} x {height} px but its mask is {task.labels.shape[1]} x "
            f"{task.labels.shape[0]} px; export the mask at the size of the image"
        )
    if min(height, width) < SMALLEST:
        raise InputError(f"{task.source} is {width} x {height} px; a patch has at least {SMALLEST} px a side")
    checked(task.image, task.source)
    areas = np.unique(task.labels[task.labels > 0], return_counts=True)[1]
    count = len(areas)
    if count < 2 or task.labels.all():
        found = ("no nucleus", "one nucleus alone")[count] if count < 2 else "no background"
        raise InputError(
            f"{task.source}: {found} in its mask, too little to learn from; annotate all of its nuclei, or "
            "take the patch out of selected.csv: pseudo_label.py learns from it without synthetic pairs too"
        )
    if areas.max() > LARGEST * task.labels.size:
        raise InputError(
            f"{task.source}: one nucleus covers {areas.max() / task.labels.size:.0%} of it, which leaves no "
            f"room for layouts (mask {areas.argmax() + 1} of {count}); correct its outline, or take the "
            "patch out of selected.csv"
        )


def read_training_pair(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The image (H, W, 3) uint8 RGB and its label image (H, W) int32; InputError where one cannot be used."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}/ does not exist; --folder names one that holds {IMAGE} and {MASK}")
    return read_image(folder / IMAGE), read_instances(folder / MASK)


def read_random_masks(folder: Path) -> dict[str, np.ndarray]:
    """The layouts of a prepared folder by file stem; InputError for none, or for two of the same stem."""
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
    """A label image (H, W) int32 with ids 0..N; in a binary mask, each 4-connected part is a nucleus.

    InputError where it cannot be read, or its ids are no nuclei.
    """
    labels = numbered(read_labels(path))
    labels = (label(labels, connectivity=1) if labels.max() == 1 else labels).astype(np.int32)
    check_ids(labels, path)
    return labels
