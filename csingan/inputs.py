"""The annotated patches that stage 2 trains on, read and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from csingan.prepared import IMAGE, read_random_masks, read_training_pair
from nuclei.errors import InputError
from nuclei.folders.patches import image_path, is_annotated, list_patches, read_masks, read_patch
from nuclei.folders.tables import read_selection

SMALLEST = 64  # px, the side of a patch


@dataclass(frozen=True)
class Task:
    """A patch to train on.

    Attributes:
        name: of its results.
        source: the file of its image.
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) int32 label image.
        more: label images of other patches whose nuclei appear in its layouts too.
        masks: the layouts to draw samples for, (h, w) int32 by name; empty where they are to be random.
    """

    name: str
    source: Path
    image: np.ndarray
    labels: np.ndarray
    more: tuple[np.ndarray, ...] = ()
    masks: dict[str, np.ndarray] | None = None

    @property
    def masks_of_its_size(self) -> list[np.ndarray]:
        """The masks that can be trained on: a network sees its patch and its layouts at one size."""
        return [mask for mask in (self.masks or {}).values() if mask.shape == self.labels.shape]


def read_patches(data: Path, patch: str | None = None, all_shapes: bool = False) -> list[Task]:
    """The patches that selected.csv names, or one `patch`.

    Args:
        data: the folder of the patches.
        patch: the name of one of them.
        all_shapes: whether the nuclei of all annotated patches appear in the layouts of each.

    Raises:
        InputError: a patch is not there, not annotated, or nothing can be learnt from it.
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
    tasks = []
    for name in dict.fromkeys(names):
        folder = data / name
        tasks.append(Task(name, image_path(folder), read_patch(folder), read_masks(folder)))
        check(tasks[-1])
    if all_shapes:
        annotated = [name for name in list_patches(data) if is_annotated(data / name)]
        labels = {name: read_masks(data / name) for name in annotated}
        tasks = [
            replace(task, more=tuple(labels[name] for name in annotated if name != task.name))
            for task in tasks
        ]
    return tasks


def read_folder(folder: Path) -> Task:
    """The task of a prepared folder (see `csingan.prepared`); InputError as for `read_patches`."""
    image, labels = read_training_pair(folder)
    task = Task(Path(folder).resolve().name, Path(folder) / IMAGE, image, labels)
    check(task)
    return replace(task, masks=read_random_masks(folder))


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
    if np.ptp(task.image, axis=2).max() == 0:
        raise InputError(f"{task.source} is grey; give the image in the colours of its stain (RGB)")
    count = len(np.unique(task.labels[task.labels > 0]))
    if count < 2 or task.labels.all():
        found = ("no nucleus", "one nucleus alone")[count] if count < 2 else "no background"
        raise InputError(
            f"{task.source}: {found} in its mask, too little to learn from; annotate all of its nuclei, or "
            "take the patch out of selected.csv: pseudo_label.py learns from it without synthetic pairs too"
        )
