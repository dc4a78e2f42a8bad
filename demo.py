"""The whole chain on generated tissue, as a user would run it: from unlabelled images to scored nuclei."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from mrcnn.selftraining.start import start_weights
from nuclei.cli import run
from nuclei.experiment import Tissue, annotate_selected, program, tissue_folders
from nuclei.folders import patches
from nuclei.folders.runs import Run
from nuclei.folders.selected import read_selection
from nuclei.io.files import write_json
from nuclei.io.images import list_images, read_image, read_labels, write_image, write_labels
from nuclei.pictures import caption, montage, outline
from nuclei.report.places import REPORT
from nuclei.report.write import after_stage

# pandas, scikit-image and the like are imported where they are used: --help need not wait.
if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Settings:
    out: Path = Path("runs/demo")  # everything the demo makes lies here
    size: int = 512  # px, the side of a generated image
    images: int = 2  # unlabelled training images of each kind of tissue
    k1: int = 3  # patches to annotate
    samples: int = 8  # synthetic pairs a patch
    effort: float = 0.25  # multiplies the training steps of the GANs
    steps: int = 40  # training steps, with pseudo labels and without
    seed: int = 0  # of the tissue and of every stage


K2 = 4  # clusters of quarters within each cluster of patches
HELD_OUT_SEED = 1_000_000  # held-out tissue comes from other seeds than training tissue
PAGE = "chain.png"  # the whole demo on one page
ROWS_SHOWN = 3  # of that page
ROWS = {
    "label_free": "label-free (Otsu, watershed)",
    "start": "start weights, no label (made from tissue like this)",
    "annotated_only": "annotated patches only",
    "ours": "this method",
}


def main(settings: Settings) -> None:
    began = time.monotonic()
    # What follows from the tissue knows its own settings; other tissue makes all of it stale.
    tissue_of = {name: getattr(settings, name) for name in ("size", "images", "seed")}
    demo = Run(settings.out, "demo", tissue_of)
    demo.begin()
    where = _generate(settings)
    choose_and_multiply(settings, where)
    train_and_segment(settings, where)
    table = score(settings.out, where)
    demo.finish()
    print(
        f"open {settings.out / REPORT} in a browser, then {settings.out / PAGE} and "
        f"{settings.out / 'pictures'}/; all results are in {settings.out}/"
    )
    print(json.dumps(summary(table, time.monotonic() - began)))


def _generate(settings: Settings) -> Tissue:
    """Tissue of every kind, for training and held out, with the truth beside it."""
    from nuclei import tissue

    where = tissue_folders(settings.out / "tissue")
    jobs = [
        (kind, settings.seed + number, where.train_images, where.train_labels)
        for kind in tissue.KINDS
        for number in range(settings.images)
    ]
    held_out = HELD_OUT_SEED + settings.seed
    jobs += [(kind, held_out, where.test_images, where.test_labels) for kind in tissue.KINDS]
    todo = [job for job in jobs if not (job[2] / f"{job[0]}_{job[1]}.png").exists()]
    for kind, seed, images, labels in tqdm(todo, "generating tissue", unit="image", disable=not todo):
        image, truth = tissue.generate(kind, settings.size, seed)
        write_labels(labels / f"{kind}_{seed}.tif", truth)
        write_image(images / f"{kind}_{seed}.png", image)
    return where


def choose_and_multiply(settings: Settings, where: Tissue) -> None:
    """Stages 1 and 2: choose patches, annotate them from the truth, train a GAN on each, draw samples."""
    out, data = settings.out, settings.out / "data"
    program(
        "consis_based.py", data=data, crops=out / "data_30000_cut", images=where.train_images,
        stride=patches.PATCH, k1=settings.k1, k2=K2, seed=settings.seed, out=out / "selection",
    )  # fmt: skip
    annotate_selected(data, where.train_labels)
    program(
        "main_train.py", data=data, synthetic=out / "data_synthetic", out=out / "csingan",
        samples=settings.samples, effort=settings.effort, seed=settings.seed,
    )  # fmt: skip


def train_and_segment(settings: Settings, where: Tissue) -> None:
    """Stage 3 and its rival with equal training steps, each applied to the test images."""
    from mrcnn.segmentation import segment_images
    from nuclei import label_free

    out = settings.out
    shared: dict = {"data": out / "data", "pseudo": out / "data_pseudo", "seed": settings.seed}
    program(
        "pseudo_label.py", **shared, synthetic=out / "data_synthetic", out=out / "mrcnn", rounds=1,
        steps=settings.steps,
    )  # fmt: skip
    program(
        "pseudo_label.py", **shared, synthetic=None, out=out / "mrcnn_annotated_only", rounds=0,
        steps=settings.steps,
    )  # fmt: skip
    program("segment.py", where.test_images, model=out / "mrcnn" / "model", out=out / "segmented" / "ours")
    paths = list_images(where.test_images)
    # Of the rivals only the label images are of use, and TensorFlow is imported once for both.
    segment_images(paths, start_weights(), out / "segmented" / "start")
    segment_images(paths, out / "mrcnn_annotated_only" / "model", out / "segmented" / "annotated_only")
    for path in tqdm(paths, desc="label-free baseline", unit="image"):
        labels = label_free.segment(read_image(path))
        write_labels(out / "segmented" / "label_free" / f"{path.stem}.tif", labels)


def score(out: Path, where: Tissue) -> pd.DataFrame:
    """Score every row on the test images; print the table and write it, with pictures of every test image.

    Returns:
        One line a row of `ROWS`: the mean of each score over images, and `aji_sd`.
    """
    import pandas as pd

    from nuclei.evaluation.folder import evaluate
    from nuclei.evaluation.metrics import NAMES

    lines = {}
    for row in ROWS:
        scores = evaluate(out / "segmented" / row, where.test_labels)
        scores.to_csv(out / f"scores_{row}.csv", index=False)
        lines[row] = {name: scores[name].mean() for name in NAMES}
        lines[row]["aji_sd"] = scores["aji"].std(ddof=0)
    table = pd.DataFrame(lines).T
    write_json(out / "scores.json", table.to_dict("index"))
    print(f"\n{table.rename(index=ROWS).round(3).to_string()}\n")
    _draw(out, where)
    after_stage("segmented", out / "mrcnn", 0, scores=out / "scores_ours.csv")
    return table


def summary(table: pd.DataFrame, seconds: float) -> dict[str, float]:
    """The figures of the last line."""
    figures = {
        "aji": table.loc["ours", "aji"],
        "aji_label_free": table.loc["label_free", "aji"],
        "aji_start": table.loc["start", "aji"],
        "aji_annotated_only": table.loc["annotated_only", "aji"],
        "pq": table.loc["ours", "pq"],
        "seconds": seconds,
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def _draw(out: Path, where: Tissue) -> None:
    """The chain on one page, the pictures of the stages, and the results on each test image side by side."""
    pictures = out / "pictures"
    shutil.rmtree(pictures, ignore_errors=True)  # of an earlier choice of patches
    pictures.mkdir(parents=True)
    names = read_selection(out / "data")
    write_image(out / PAGE, _chain(out, where, names))
    copies = {
        "1_contact_sheet.png": out / "selection" / "contact_sheet.png",
        "3_losses.png": out / "mrcnn" / "train_1" / "losses.png",
        "3_pseudo_labels.png": out / "mrcnn" / "label_1" / "pseudo_labels.png",
    }
    copies |= {f"2_pairs_{name}.png": out / "csingan" / name / "samples.png" for name in names}
    for name, path in copies.items():
        shutil.copy(path, pictures / name)
    for path in list_images(where.test_images):
        image = read_image(path)
        folders = {"truth": where.test_labels} | {ROWS[row]: out / "segmented" / row for row in ROWS}
        tiles = [
            caption(outline(image, read_labels(folder / f"{path.stem}.tif")), text)
            for text, folder in folders.items()
        ]
        write_image(pictures / f"4_held_out_{path.stem}.png", montage(tiles, columns=2))


def _chain(out: Path, where: Tissue, names: Sequence[str]) -> np.ndarray:
    """A row for each of the first chosen patches; columns from unlabelled tissue to nuclei found."""
    data, synthetic, found = out / "data", out / "data_synthetic", out / "segmented" / "ours"
    unlabelled = [name for name in patches.list_patches(data) if not patches.is_annotated(data / name)]
    held_out = list_images(where.test_images)
    tiles = []
    for row, name in enumerate(names[:ROWS_SHOWN]):
        sample = synthetic / f"{name}_0"
        image = held_out[row * len(held_out) // ROWS_SHOWN]
        corner = np.s_[: patches.PATCH, : patches.PATCH]
        tiles += [
            patches.read_patch(data / unlabelled[row * len(unlabelled) // ROWS_SHOWN]),
            outline(patches.read_patch(data / name), patches.read_masks(data / name)),
            outline(patches.read_patch(sample), patches.read_masks(sample)),
            outline(read_image(image)[corner], read_labels(found / f"{image.stem}.tif")[corner]),
        ]
    titles = (
        "unlabelled tissue ...",
        "... 1 chosen and annotated ...",
        "... 2 multiplied ...",
        "... 3 found",
    )
    heads = [np.full((0, patches.PATCH, 3), 255, np.uint8) for _ in titles]
    heads = [caption(head, text) for head, text in zip(heads, titles, strict=True)]
    return np.vstack([montage(heads, len(titles)), montage(tiles, len(titles))])


if __name__ == "__main__":
    run(main, Settings, __doc__)
