"""What the network found in a block of a slide, on disk: one small file a block, complete or absent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrcnn.inference.tiling import Instance
from nuclei.io.files import atomic_file
from nuclei.slides.blocks import Box


def write(path: Path, instances: Sequence[Instance], damaged: Sequence[Box]) -> None:
    """Write the instances of a block, px of the slide, and the tiles that could not be read.

    InputError where that fails.
    """
    masks = [one.mask for one in instances]
    packed = np.packbits(np.concatenate([mask.ravel() for mask in masks])) if masks else np.zeros(0, np.uint8)
    arrays: dict = {
        "places": np.array([(one.top, one.left, *one.mask.shape) for one in instances], np.int32).reshape(
            -1, 4
        ),
        "masks": packed,
        "scores": np.array([one.score for one in instances], np.float64),
        "cut": np.array([one.cut for one in instances], bool),
        "damaged": np.array(damaged, np.int32).reshape(-1, 4),
    }
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read(path: Path) -> list[Instance]:
    """The instances of a block in the order in which they were written."""
    with np.load(path) as arrays:
        places, scores, cut = arrays["places"], arrays["scores"], arrays["cut"]
        sizes = places[:, 2] * places[:, 3]
        bits = np.unpackbits(arrays["masks"], count=int(sizes.sum())).view(bool)
    masks = np.split(bits, np.cumsum(sizes)[:-1]) if len(places) else []
    return [
        Instance(mask.reshape(height, width), top, left, score, was_cut)
        for (top, left, height, width), mask, score, was_cut in zip(
            places.tolist(), masks, scores.tolist(), cut.tolist(), strict=True
        )
    ]


def damaged(path: Path) -> list[Box]:
    """The tiles of a block that could not be read."""
    with np.load(path) as arrays:
        return [Box(*each) for each in arrays["damaged"].tolist()]
