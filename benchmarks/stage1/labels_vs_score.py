"""What do the patches that a method chose teach? `python -m benchmarks.stage1.labels_vs_score FOLDER`.

FOLDER is that of `benchmarks.label_efficiency`. Every run chooses patches of the training images with one
method, trains the fixed pixel model (`benchmarks.pixel_model`) on just these, and scores it on whole
images. Run number r of all methods leaves out the same random fifth of the patches, so that methods are
compared in pairs, and takes r as the seed of all else. There are two splits: `official`, from the training
to the test images; and `halves`, from one random half of the test images to the other, another one each
run.

One row a run is appended to runs.csv; the same command goes on where it stopped.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from tqdm import tqdm

from benchmarks.annotated_images import find_files, read_splits
from benchmarks.pixel_model import COUNT, KINDS, fit_pixels, instances, pixel_classes, pixel_features, sample
from benchmarks.stage1.labels_report import write_report
from nuclei import label_free
from nuclei.cli import run
from nuclei.evaluation.metrics import aji, panoptic_quality
from nuclei.folders.patches import PATCH, starts
from nuclei.io.files import atomic_file
from nuclei.io.images import read_image, read_labels
from nuclei.selection.baselines import BASELINES
from nuclei.selection.features import extract
from nuclei.selection.quarters import quarters
from nuclei.selection.two_stage import select

BUDGETS = (3, 6, 12, 24)  # patches
MAIN_BUDGETS = (6, 12)  # those with most runs
CONSISTENCY, FULL, FREE = "consistency", "full supervision", "label-free"
MAIN = ("random", CONSISTENCY, "typiclust")  # the methods with most runs
K2 = 4  # of the paper's criterion
DROPPED = 0.2  # share of the patches that a run leaves out
FULL_COUNT = 280  # pixels drawn from each window of PATCH px of all images for full supervision


@dataclass(frozen=True)
class Settings:
    folder: tyro.conf.Positional[Path]  # images/, labels/ and splits.json
    out: Path = Path("runs/labels_vs_score")  # runs.csv, table.md, plot.png, and features that are kept
    stride: int = 128  # px between patches: 7 x 7 of them cover an image of 1000 px
    main_runs: int = 28  # of the main methods at 6 and 12 patches
    runs: int = 10  # of everything else
    workers: int = 2  # processes


@dataclass(frozen=True)
class Run:
    """One choice of patches, which every kind of pixel model learns from."""

    split: str  # "official" or "halves"
    method: str
    budget: int  # patches; 0 where it does not apply
    number: int


def main(settings: Settings) -> None:
    train, groups = read_splits(settings.folder)
    test = sorted({stem for stems in groups.values() for stem in stems})
    for stem in tqdm(train + test, desc="features", unit="image"):
        prepare(settings.folder, settings.out / "features", stem, settings.stride)
    table = settings.out / "runs.csv"
    done = _read_runs(table)
    todo = [item for item in plan(settings.main_runs, settings.runs) if item not in done]
    work = [(item, settings.out / "features", train, test) for item in todo]
    # Each new process has one thread; otherwise the threads of all of them wait for each other.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with ProcessPoolExecutor(settings.workers, multiprocessing.get_context("spawn")) as pool:
        results = pool.map(_execute, work)
        for item, rows in tqdm(zip(todo, results, strict=True), total=len(todo), unit="run"):
            _append(table, [{**asdict(item), **row} for row in rows])
    print(json.dumps(write_report(pd.read_csv(table), settings.out)))


def plan(main_runs: int, runs: int) -> list[Run]:
    """All runs, the most important ones first."""
    methods = (*MAIN, *(name for name in BASELINES if name not in MAIN))
    ends = [Run("official", FREE, 0, 0)]
    ends += [Run("official", FULL, 0, number) for number in range(runs)]
    main, second = (
        [
            Run(split, method, budget, number)
            for number in range(main_runs)
            for budget in MAIN_BUDGETS
            for method in MAIN
        ]
        for split in ("official", "halves")
    )
    others, rest = (
        [
            Run("official", method, budget, number)
            for number in range(runs)
            for budget in budgets
            for method in methods
        ]
        for budgets in (MAIN_BUDGETS, BUDGETS)
    )
    return list(dict.fromkeys(ends + main + second + others + rest))


def prepare(folder: Path, out: Path, stem: str, stride: int) -> None:
    """Keep what every run needs of one image, as arrays in `<out>/<stem>.*.npy`.

    pixels (h, w, F) float16, classes (h, w) int8 and labels (h, w) int32 at half of the resolution; corners
    (N, 2), y and x of the patches in px; patches (N, D) and quarters (N, 4, D) float32, their CNN
    features; free (2,), AJI and PQ of the label-free baseline.
    """
    if (out / f"{stem}.free.npy").exists():  # the last one written
        return
    ((image_path, labels_path),) = find_files(folder, [stem])
    image, labels = read_image(image_path), read_labels(labels_path).astype(np.int32)
    rows, columns = (starts(length, PATCH, stride) for length in labels.shape)
    corners = np.array([(y, x) for y in rows for x in columns])
    patches = [image[y : y + PATCH, x : x + PATCH] for y, x in corners]
    pieces = [quarter for patch in patches for quarter in quarters(patch)]
    model = "efficientnet_lite0"
    arrays = {
        "pixels": pixel_features(image),
        "classes": pixel_classes(labels),
        "labels": labels[::2, ::2],
        "corners": corners,
        "patches": extract(patches, model),
        "quarters": extract(pieces, model).reshape(len(patches), 4, -1),
        "free": np.array(_score(labels[::2, ::2], label_free.segment(image)[::2, ::2])),
    }
    for name, array in arrays.items():
        with atomic_file(out / f"{stem}.{name}.npy") as temporary:
            np.save(temporary, array)


def execute(item: Run, features: Path, train: list[str], test: list[str]) -> list[dict]:
    """Choose, train and score: a row of each kind of model with AJI and PQ, averaged over the scored images.

    They are taken at half of the resolution, where the model works.
    """
    if item.split == "halves":
        order = np.random.default_rng([item.number, 1]).permutation(test).tolist()
        train, test = order[: len(order) // 2], order[len(order) // 2 :]
    if item.method == FREE:
        return [_row("none", [_read(features, stem, "free") for stem in test])]
    draw = _all_pixels if item.method == FULL else _chosen_pixels
    pixels, classes, groups = draw(item, features, train, np.random.default_rng(item.number))
    rows = []
    for kind in KINDS:
        model = fit_pixels(pixels, classes, groups, kind, item.number)
        scores = []
        for stem in test:
            found = instances(model.probabilities(_read(features, stem, "pixels")))
            scores.append(_score(_read(features, stem, "labels"), found))
        rows.append(_row(kind, scores))
    return rows


def _execute(work: tuple) -> list[dict]:
    return execute(*work)


def _row(kind: str, scores: list) -> dict:
    aji, pq = np.mean(scores, axis=0)
    return {"model": kind, "aji": round(float(aji), 5), "pq": round(float(pq), 5)}


def _chosen_pixels(item: Run, features: Path, stems: list[str], rng: np.random.Generator) -> tuple:
    """Arguments of `fit_pixels`: pixels of the chosen patches, each of which is a group."""
    patches, four = (
        np.concatenate([_read(features, stem, name) for stem in stems]) for name in ("patches", "quarters")
    )
    corners = [(stem, *corner) for stem in stems for corner in _read(features, stem, "corners")]
    kept = np.sort(rng.choice(len(patches), round(len(patches) * (1 - DROPPED)), replace=False))
    if item.method == CONSISTENCY:
        found = select(patches[kept], four[kept], item.budget, K2, item.number, criterion=item.method)
        chosen = [record.index for record in found]
    else:
        chosen = BASELINES[item.method](patches[kept], item.budget, item.number)
    pieces = []
    for stem, y, x in (corners[row] for row in kept[chosen]):
        window = np.s_[y // 2 : (y + PATCH) // 2, x // 2 : (x + PATCH) // 2]
        pieces.append([_read(features, stem, name)[window] for name in ("pixels", "classes")])
    return _draw(pieces, COUNT, rng)


def _all_pixels(item: Run, features: Path, stems: list[str], rng: np.random.Generator) -> tuple:
    """The same of whole images, each window of which is a group."""
    pieces = []
    for stem in stems:
        pixels, truth = (_read(features, stem, name) for name in ("pixels", "classes"))
        for y, x in np.ndindex(*(-(-2 * length // PATCH) for length in truth.shape)):
            window = np.s_[y * PATCH // 2 : (y + 1) * PATCH // 2, x * PATCH // 2 : (x + 1) * PATCH // 2]
            pieces.append((pixels[window], truth[window]))
    return _draw(pieces, FULL_COUNT, rng)


def _draw(pieces: list, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, classes and numbers of the piece of `count` pixels of each annotated piece."""
    points, classes, groups = [], [], []
    for number, (pixels, truth) in enumerate(pieces):
        rows = sample(truth, count, rng)
        points.append(pixels.reshape(-1, pixels.shape[-1])[rows])
        classes.append(truth.ravel()[rows])
        groups.append(np.full(len(rows), number))
    return np.concatenate(points), np.concatenate(classes), np.concatenate(groups)


@cache
def _read(features: Path, stem: str, name: str) -> np.ndarray:
    return np.load(features / f"{stem}.{name}.npy", mmap_mode="r")


def _score(truth: np.ndarray, pred: np.ndarray) -> tuple[float, float]:
    return aji(truth, pred), panoptic_quality(truth, pred)[2]


def _read_runs(table: Path) -> set[Run]:
    if not table.exists():
        return set()
    names = [field.name for field in fields(Run)]
    return {Run(*row) for row in pd.read_csv(table)[names].itertuples(index=False)}


def _append(table: Path, rows: list[dict]) -> None:
    new = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    run(main, Settings, __doc__)
