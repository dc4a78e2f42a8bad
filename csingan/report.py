"""Pictures and figures of a trained model and its synthetic pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from nuclei.evaluation.realism import separation
from nuclei.io.images import write_image
from nuclei.pictures import caption, curves, montage, outline

COLUMNS = 7  # of the sample sheet

Pair = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) uint8 RGB, labels (H, W) int32


def describe(real: Pair, synthetic: Sequence[Pair]) -> str:
    """The `separation` in synthetic pairs and in the real one, for the log.

    It is "" where no pair shows both nuclei and background.
    """
    found = [separation(*pair) for pair in synthetic if pair[1].any() and not pair[1].all()]
    if not found:
        return ""
    return (
        f"haematoxylin tells nuclei from background with an AUC of {np.mean(found):.3f} in {len(found)} "
        f"synthetic pairs, {separation(*real):.3f} in the real one; "
    )


def write_samples(path: Path, real: Pair, synthetic: Sequence[Pair]) -> None:
    """Write a PNG of the real pair and synthetic ones, each above its outlines; they may differ in size."""
    tiles = [_pair(*real, "real")]
    tiles += [_pair(*pair, f"synthetic {number}") for number, pair in enumerate(synthetic)]
    largest = np.max([tile.shape[:2] for tile in tiles], axis=0)
    write_image(path, montage([_on_white(tile, largest) for tile in tiles], COLUMNS))


def write_transplants(path: Path, made: Sequence[tuple[np.ndarray, Pair]]) -> None:
    """Write a PNG of patches, (H, W, 3) uint8, each above the pair that shows its background."""
    tiles = [
        caption(np.vstack([host, image, outline(image, labels)]), f"patch, transplant {number}")
        for number, (host, (image, labels)) in enumerate(made)
    ]
    write_image(path, montage(tiles, COLUMNS))


def write_scales(path: Path, labels: np.ndarray, images: Sequence[np.ndarray]) -> None:
    """Write a PNG of one layout and of its image at every scale, enlarged to the size of the finest."""
    height, width = labels.shape
    tiles = [caption(np.repeat((labels > 0).astype(np.uint8)[..., None] * 255, 3, axis=2), "layout")]
    for image in images:
        enlarged = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)
        tiles.append(caption(enlarged, f"{image.shape[1]} x {image.shape[0]} px"))
    write_image(path, montage(tiles, len(tiles)))


def write_losses(folder: Path, losses: Sequence[np.ndarray]) -> None:
    """Write `loss_distance.png` and `loss_reconstruction.png`, with one curve for each scale.

    Args:
        folder: where they go.
        losses: one (steps, 2) array for each scale (see `csingan.training.scale.ScaleTrainer.advance`).
    """
    kinds = {"distance": "Wasserstein distance, estimated", "reconstruction": "mean squared error"}
    for column, (name, ylabel) in enumerate(kinds.items()):
        series = {f"scale {number}": loss[:, column] for number, loss in enumerate(losses, start=1)}
        curves(folder / f"loss_{name}.png", series, "generator step", ylabel)


def _pair(image: np.ndarray, labels: np.ndarray, text: str) -> np.ndarray:
    return caption(np.vstack([image, outline(image, labels)]), text)


def _on_white(tile: np.ndarray, size: np.ndarray) -> np.ndarray:
    rows, columns = size - tile.shape[:2]
    return np.pad(tile, ((0, rows), (0, columns), (0, 0)), constant_values=255)
