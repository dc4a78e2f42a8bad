"""The images that benchmarks may look at while something is chosen: the training ones of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nuclei.errors import InputError
from nuclei.files import read_json
from nuclei.formats import list_images, read_image, read_labels

Pair = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) uint8 and labels (H, W) int32


def read(folder: Path, count: int, stems: Sequence[str] = ()) -> dict[str, Pair]:
    """Training images and their labels, by file stem.

    Args:
        folder: images/, labels/ and splits.json, as `benchmarks.label_efficiency` has them.
        count: how many, spread evenly over the list, if no `stems` are named; at most what there is.
        stems: which.

    Raises:
        InputError: an image that is named is not there, or no training image.
    """
    splits = read_json(folder / "splits.json")
    known = sorted({stem for name, stems in splits.items() if "train" in name for stem in stems})
    count = min(count, len(known))
    stems = stems or [known[i] for i in np.linspace(0, len(known) - 1, count).round().astype(int)]
    paths = {path.stem: path for path in list_images(folder / "images")}
    for stem in stems:
        if stem not in known or stem not in paths:
            raise InputError(f"{stem} is no training image of {folder}; name others with --stems")
    labels = folder / "labels"
    return {stem: (read_image(paths[stem]), read_labels(labels / f"{stem}.tif")) for stem in stems}
