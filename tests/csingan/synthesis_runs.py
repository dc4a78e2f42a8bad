"""Tiny runs of stage 2: the patches, the call, and what they leave behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import csingan.train
from csingan.config import PRESETS, LayoutOptions
from csingan.inputs import read_folder, read_patches
from csingan.synthesis import synthesise
from nuclei.folders import runs
from nuclei.folders.patches import list_patches, read_patch, write_patch
from nuclei.folders.selected import write_selection
from nuclei.io.images import write_image

SIZE = 64
TINY = replace(
    PRESETS["fast"], min_size=16, max_size=SIZE, channels=4, top_channels=4, steps=(1, 1), layouts=2,
    batch_pixels=1, crop=16,
)  # fmt: skip


def tissue(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A pink image (SIZE, SIZE, 3) uint8 with four dark squares, and their labels."""
    labels = np.zeros((SIZE, SIZE), np.int32)
    for number, (y, x) in enumerate([(10, 10), (12, 40), (40, 14), (44, 44)], start=1):
        labels[y : y + 9, x : x + 7 + seed] = number
    noise = np.random.default_rng(seed).normal(0, 8, (SIZE, SIZE, 3))
    image = np.where(labels[..., None] > 0, (90, 60, 140), (230, 170, 200)) + noise
    return np.uint8(image.clip(0, 255)), labels


def write_data(root: Path) -> Path:
    """A folder data/ with the annotated patches a, b and c, of which a and b are selected."""
    for seed, name in enumerate(("a", "b", "c")):
        write_patch(root / "data", name, *tissue(seed))
    write_selection(root / "data", pd.DataFrame([{"patch": "a"}, {"patch": "b"}]))
    return root / "data"


def write_folder(root: Path, masks: str) -> Path:
    """A folder mine/ with a training pair and a random mask m1.png, as the paper's authors lay it out."""
    image, labels = tissue()
    write_image(root / "mine" / "train.png", image)
    write_image(root / "mine" / "train_mask.png", np.uint8(labels > 0) * 255)
    write_image(root / "mine" / masks / "m1.png", np.uint8(labels > 0)[::-1] * 255)
    return root / "mine"


def make(root: Path, patch=None, folder=None, shapes="own", data="data", layout=None, **options) -> None:
    """Call `synthesise` as main_train.py does, with two samples."""
    tasks = [read_folder(folder)] if folder else read_patches(root / data, patch, shapes == "all")
    options = {"samples": 2, "out": root / "out", "synthetic": root / "synthetic"} | options
    synthesise(tasks, layout=LayoutOptions(**layout or {}), **options)


def images(root: Path, folder: str = "synthetic") -> dict[str, bytes]:
    return {name: read_patch(root / folder / name).tobytes() for name in list_patches(root / folder)}


def files(folder: Path) -> dict[str, bytes]:
    """The content of all files below a folder, without records of pairs; dates become "then"."""
    records = ("pictures.json", "a.json", "b.json", "c.json", "mine.json")
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in records]
    names = [path.relative_to(folder).as_posix().replace(runs._date(), "then") for path in paths]
    return {name: path.read_bytes() for name, path in zip(names, paths, strict=True)}


class Training:
    """Counts the generator steps of all trainings; raises KeyboardInterrupt instead of the `stop`th."""

    def __init__(self, monkeypatch):
        self.steps, self.stop = 0, 0
        advance = csingan.train.ScaleTrainer.advance

        def counted(trainer):
            self.steps += 1
            if self.steps == self.stop:
                raise KeyboardInterrupt
            return advance(trainer)

        monkeypatch.setattr(csingan.train.ScaleTrainer, "advance", counted)

    def happened(self) -> bool:
        """Whether steps were made since the last call."""
        steps, self.steps = self.steps, 0
        return steps > 0
