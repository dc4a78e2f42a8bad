"""Pictures of stage 3: what was learnt, what was labelled, and how sure the network was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nuclei.folders import patches
from nuclei.io.images import write_image
from nuclei.pictures import bars, caption, curves, histogram, montage, outline

SHEET = 12  # patches on the picture of pseudo labels
UNDECIDED = (0, 255, 255)  # RGB


def draw_labels(folder: Path, pseudo: Path, names: Sequence[str], confidence: float) -> None:
    """Pictures of the labels in `pseudo`: over some of the patches, how sure they are, how many there are.

    Args:
        folder: for pseudo_labels.png (kept yellow, undecided cyan), confidence.png and nuclei.png.
        pseudo: the labelled patches.
        names: theirs.
        confidence: the smallest score of a nucleus that is kept.
    """
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, min(SHEET, len(names))).astype(int)]
    tiles = []
    for name in chosen:
        picture = outline(patches.read_patch(pseudo / name), patches.read_undecided(pseudo / name), UNDECIDED)
        tiles.append(caption(outline(picture, patches.read_masks(pseudo / name)), name))
    write_image(folder / "pseudo_labels.png", montage(_of_one_size(tiles), columns=4))
    scores = [patches.read_scores(pseudo / name) for name in names]
    kept = np.array([len(each) for each in scores])
    histogram(
        folder / "confidence.png", np.concatenate(scores), f"confidence of a nucleus, from {confidence:g} on",
        f"nuclei ({kept.sum()} kept)",
    )  # fmt: skip
    bars(
        folder / "nuclei.png", np.sort(kept)[::-1], "patch, most nuclei first", f"nuclei kept ({kept.sum()})"
    )


def draw_losses(folder: Path, losses: Mapping[str, Sequence[float]], steps: int) -> None:
    """Write `losses.png`: one curve a loss, one value an epoch of `steps` steps."""
    curves(folder / "losses.png", losses, f"epoch of {steps} steps", "loss")


def draw_validation(
    folder: Path,
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    found: Sequence[np.ndarray],
    aji: Sequence[float],
    steps: int,
) -> None:
    """The AJI on the validation patches after every epoch, and their outlines beside those of a person.

    Args:
        folder: for validation.png and validation_patches.png.
        pairs: name -> image (H, W, 3) uint8 and labels (H, W) int32.
        found: labels of the network, in the same order.
        aji: one value an epoch.
        steps: of an epoch.
    """
    curves(folder / "validation.png", {"validation": aji}, f"epoch of {steps} steps", "AJI")
    truth = [caption(outline(*pair), f"{name}: annotated") for name, pair in pairs.items()]
    ours = [
        caption(outline(image, labels), f"{name}: found")
        for (name, (image, _)), labels in zip(pairs.items(), found, strict=True)
    ]
    tiles = _of_one_size([*truth, *ours])
    write_image(folder / "validation_patches.png", montage(tiles, columns=len(pairs)))


def _of_one_size(tiles: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The tiles (H, W, 3) uint8 with white below and to the right, up to the largest: patches may differ."""
    height, width = np.max([tile.shape[:2] for tile in tiles], axis=0)
    return [
        np.pad(tile, ((0, height - tile.shape[0]), (0, width - tile.shape[1]), (0, 0)), constant_values=255)
        for tile in tiles
    ]
