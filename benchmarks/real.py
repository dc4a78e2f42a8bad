"""The demo's chain on real images with label images: `python -m benchmarks.real FOLDER`.

FOLDER holds images/ (PNG, JPEG, TIFF), labels/ (<image>.tif, 0 = background, 1..N = nuclei) and
splits.json: lists of file stems; those with "train" in their name are chosen from, those with "test" are
scored.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro

from demo import (
    Schedule,
    Tissue,
    choose_and_multiply,
    program,
    score,
    summary,
    tissue_folders,
    train_and_segment,
)
from nuclei.errors import InputError
from nuclei.files import read_json, write_json
from nuclei.formats import list_images, read_image
from nuclei.metrics import NAMES
from nuclei.patches import PATCH
from nuclei.script import run
from pseudo_label import STEPS_PER_EPOCH


@dataclass(frozen=True)
class Settings:
    folder: tyro.conf.Positional[Path]  # images/, labels/ and splits.json
    minutes: float = 60  # for the whole chain and its baseline together, on this machine
    out: Path = Path("runs/real")  # everything is kept here; the same command goes on where it stopped
    k1: int = 12  # patches to annotate
    k2: int = 4  # clusters of quarters within each cluster of patches
    stride: int = 248  # px between patches: 4 x 4 of them cover an image of 1000 px
    samples: int = 16  # synthetic pairs a patch
    effort: float = 1.0  # multiplies the training steps of the GANs
    seed: int = 0


CALIBRATION_STEPS = 25  # of two short trainings, whose difference gives the seconds a step takes
RESERVE = 0.1  # share of the minutes for labelling and segmenting
MIN_STEPS = 50
# What one step before the labelling, one after it, and two of the baseline cost, in steps of the calibration:
# three, five and two patches each, where the calibration has two (see `pseudo_label.SHARES`).
COST = 3 / 2 + 5 / 2 + 2


def main(settings: Settings) -> None:
    start = time.monotonic()
    splits = _read_splits(settings.folder)
    where = _sort(settings.folder, splits, settings.out / "tissue")
    schedule = Schedule(
        settings.k1, settings.k2, settings.stride, settings.samples, settings.effort, settings.seed
    )
    choose_and_multiply(settings.out, where, schedule)
    steps = _steps(settings, start)
    train_and_segment(settings.out, where, steps, settings.seed)
    table = score(settings.out, where)
    groups = {name: stems for name, stems in splits.items() if "test" in name}
    _print_groups(settings.out, groups)
    pixels = sum(read_image(path)[..., 0].size for path in list_images(where.train_images))
    share = settings.k1 * PATCH**2 / pixels
    figures = {**summary(table, time.monotonic() - start), "steps": steps, "annotated_share": round(share, 4)}
    write_json(settings.out / "summary.json", figures)
    print(json.dumps(figures))


def _read_splits(folder: Path) -> dict[str, list[str]]:
    splits = read_json(folder / "splits.json")
    names = splits if isinstance(splits, dict) else ()
    if not all(any(part in name for name in names) for part in ("train", "test")):
        raise InputError(
            f"{folder / 'splits.json'} needs lists of file stems named ...train... and ...test..."
        )
    return {name: stems for name, stems in splits.items() if isinstance(stems, list)}


def _sort(folder: Path, splits: dict[str, list[str]], out: Path) -> Tissue:
    """Copies of the images and labels by split, since a stage works on whole folders."""
    images = {path.stem: path for path in list_images(folder / "images")}
    where = tissue_folders(out)
    for name, stems in splits.items():
        train = "train" in name
        if not train and "test" not in name:
            continue
        for stem in stems:
            label = folder / "labels" / f"{stem}.tif"
            if stem not in images or not label.exists():
                raise InputError(f"{folder / 'splits.json'} names {stem}, which has no image or no {label}")
            _copy(images[stem], where.train_images if train else where.test_images)
            _copy(label, where.train_labels if train else where.test_labels)
    return where


def _copy(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / path.name).exists():
        shutil.copyfile(path, folder / path.name)


def _steps(settings: Settings, start: float) -> int:
    """Training steps before and after the labelling that fit into what is left of the minutes.

    They are kept in a file, so that a resumed run goes on with the same number.
    """
    path = settings.out / "steps.json"
    if path.exists():
        return read_json(path)["steps"]
    seconds = []
    for steps in (CALIBRATION_STEPS, 2 * CALIBRATION_STEPS):
        folder = settings.out / f"calibration_{steps}"
        began = time.monotonic()
        data = settings.out / "data"
        program("pseudo_label.py", data=data, synthetic=None, rounds=0, steps=steps, out=folder)
        seconds.append(time.monotonic() - began)
        shutil.rmtree(folder)
    seconds_a_step = max(seconds[1] - seconds[0], 1) / CALIBRATION_STEPS
    left = settings.minutes * 60 * (1 - RESERVE) - (time.monotonic() - start)
    epochs = int(left / seconds_a_step / COST) // STEPS_PER_EPOCH
    steps = max(epochs * STEPS_PER_EPOCH, MIN_STEPS)
    write_json(path, {"steps": steps, "seconds_a_step": seconds_a_step})
    return steps


def _print_groups(out: Path, groups: dict[str, list[str]]) -> None:
    """Mean scores of this method over each named group of test images."""
    scores = pd.read_csv(out / "scores_ours.csv").set_index("image")
    table = pd.DataFrame({name: scores.loc[stems, list(NAMES)].mean() for name, stems in groups.items()})
    print(f"this method by group of test images\n{table.T.round(3).to_string()}\n")


if __name__ == "__main__":
    run(main, Settings, __doc__)
