"""Stage 2: one CSinGAN per annotated patch, then its synthetic pairs (Lou et al. 2022)."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from csingan.schedule import PRESETS, Schedule
from nuclei.errors import InputError
from nuclei.files import is_finished, write_settings
from nuclei.formats import write_image
from nuclei.patches import is_annotated, list_patches, read_masks, read_patch, read_selection, write_patch
from nuclei.script import run

# torch and matplotlib are imported where they are used: --help and bad input need not wait.


@dataclass(frozen=True)
class Settings:
    data: Path = Path("data")  # the annotated patches, and selected.csv, which names them
    patch: str | None = None  # one patch to train on; every patch of selected.csv by default
    samples: int = 16  # synthetic pairs a patch
    preset: Literal["fast", "paper"] = "fast"  # fast: a minute on two cores; paper: hours on a GPU
    effort: float = 1.0  # multiplies the training steps of the preset
    seed: int = 0  # of the layouts, the training and the samples
    device: str = "auto"  # auto, cpu, cuda, cuda:1, ...
    synthetic: Path = Path("data_synthetic")  # where the synthetic pairs go, as patches
    out: Path = Path("runs/csingan")  # checkpoints and pictures, a folder a patch


SHOWN = 12  # synthetic pairs on the sample sheet

Pair = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) uint8 RGB, labels (H, W) int32


def main(settings: Settings) -> None:
    if settings.samples < 1 or settings.effort <= 0:
        raise InputError("--samples must be at least 1, and --effort above 0")
    patches = _read_patches(settings.data, settings.patch)
    schedule = PRESETS[settings.preset].scaled(settings.effort)

    # Told apart before anything slow starts, so that a conflict shows at once.
    made_with = {name: _made_with(settings, patch) for name, patch in patches.items()}
    finished = {
        name
        for name in patches
        if is_finished(settings.out / name, made_with[name])
        and _pairs(settings.synthetic, name) >= set(range(settings.samples))
    }
    for number, (name, patch) in enumerate(patches.items(), start=1):
        if name in finished:
            print(f"{name} ({number} of {len(patches)}): finished with the same settings, kept")
            continue
        print(f"{name} ({number} of {len(patches)}): training", flush=True)
        folder = settings.out / name
        scores = _train_and_sample(
            name,
            patch,
            schedule,
            folder,
            settings.synthetic,
            settings.samples,
            settings.seed,
            settings.device,
        )
        write_settings(folder, made_with[name])
        print(
            f"{name}: haematoxylin tells nuclei from background with an AUC of {scores[1]:.3f} in the "
            f"synthetic pairs, {scores[0]:.3f} in the real one; look at {folder}/samples.png"
        )
    print(
        f"Wrote {settings.samples} pairs for each of {len(patches)} patches to {settings.synthetic}/, models "
        f"and pictures to {settings.out}/. Next: python pseudo_label.py"
    )


def _read_patches(data: Path, patch: str | None) -> dict[str, Pair]:
    """The patches to train on, all checked; InputError names every patch that is not ready."""
    names = [patch] if patch else read_selection(data)
    if patch and patch not in list_patches(data):
        raise InputError(f"{data}/ holds no patch {patch}; pass the name of one of its folders to --patch")
    missing = [name for name in names if not is_annotated(data / name)]
    if missing:
        raise InputError(
            f"not annotated yet in {data}/: {', '.join(missing)}; put one mask per nucleus into "
            f"{data}/<patch>/masks/<k>.png, or take the patch out of {data}/selected.csv"
        )
    patches = {name: (read_patch(data / name), read_masks(data / name)) for name in names}
    empty = [name for name, (_, labels) in patches.items() if not labels.any()]
    if empty:
        raise InputError(
            f"no nucleus in the masks of {', '.join(empty)} in {data}/; annotate its nuclei, or take the "
            f"patch out of {data}/selected.csv"
        )
    return patches


def _made_with(settings: Settings, patch: Pair) -> dict:
    """What the results of a patch depend on."""
    digest = hashlib.sha256(b"".join(part.tobytes() for part in patch)).hexdigest()
    names = ("samples", "preset", "effort", "seed")
    return {name: getattr(settings, name) for name in names} | {"pixels_and_masks": digest[:12]}


def _train_and_sample(
    name: str,
    patch: Pair,
    schedule: Schedule,
    folder: Path,
    synthetic: Path,
    samples: int,
    seed: int,
    device: str,
) -> tuple[float, float]:
    """Train on one patch and write everything but settings.json; returns `separation`, real and synthetic."""
    from csingan.direction import nucleus_rotation
    from csingan.masks import random_layout
    from csingan.report import separation, write_losses, write_samples, write_scales
    from csingan.train import find_device, sample, sample_scales, train

    image, labels = patch
    write_image(folder / "train.png", image)
    write_image(folder / "train_mask.png", np.uint8(labels > 0) * 255)
    try:
        model = train(image, labels, schedule, folder / "checkpoints", seed, find_device(device))
    except FloatingPointError as error:
        raise InputError(f"{name}: {error}; try another --seed") from error

    rng = np.random.default_rng([seed, 1])  # other layouts than those of the training
    layouts = [random_layout(labels, rng, rotate=nucleus_rotation(image)) for _ in range(samples)]
    pairs = list(zip(sample(model, layouts, seed), layouts, strict=True))
    for number, (fake, layout) in enumerate(pairs):
        write_image(folder / "random_masks" / f"{number}.png", np.uint8(layout > 0) * 255)
        write_patch(synthetic, f"{name}_{number}", fake, layout)
    for number in _pairs(synthetic, name) - set(range(samples)):  # of an earlier run with more samples
        shutil.rmtree(synthetic / f"{name}_{number}")

    write_samples(folder / "samples.png", patch, pairs[:SHOWN])
    write_scales(folder / "scales.png", layouts[0], sample_scales(model, layouts[0], seed))
    write_losses(folder, [losses.numpy() for losses in model.losses])
    return separation(*patch), float(np.mean([separation(*pair) for pair in pairs]))


def _pairs(synthetic: Path, name: str) -> set[int]:
    """Numbers of the synthetic pairs of a patch that are there."""
    if not synthetic.is_dir():
        return set()
    found = (re.fullmatch(re.escape(name) + r"_(\d+)", path.name) for path in synthetic.iterdir())
    return {int(match[1]) for match in found if match}


if __name__ == "__main__":
    run(
        main,
        Settings,
        "Train a GAN on each annotated patch and draw synthetic pairs; edit the constants at the top or pass "
        "them as flags.",
    )
