"""Score label images against the truth: Dice, AJI, AJI+, DQ, SQ, PQ and AP50 for each image, and the mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from tqdm import tqdm

from nuclei import cli
from nuclei.errors import InputError
from nuclei.evaluation.folder import evaluate
from nuclei.evaluation.metrics import NAMES, match
from nuclei.io.files import check_can_hold_files, write_json, write_text
from nuclei.io.images import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    list_images,
    pair_by_stem,
    read_image,
    read_labels,
    write_image,
)
from nuclei.pictures import dots, legend, outline

# In folders of their own: a PNG beside the predictions is one of them, and overlays/ is that of segment.py.
PLOT, COMPARED = Path("plots", "scores.png"), "compared"
PLOTTED = {"aji": "AJI", "pq": "PQ", "dice": "Dice"}
MATCHED, MISSED, INVENTED = (0, 255, 0), (255, 255, 0), (0, 255, 255)  # RGB: green, yellow, cyan


@dataclasses.dataclass(frozen=True)
class Settings:
    pred: tyro.conf.Positional[Path]  # folder of predicted label images (TIFF or PNG, 0 = background)
    truth: tyro.conf.Positional[Path]  # folder of true label images of the same file names
    out: Path | None = None  # folder for scores.csv, .json, plots/ and compared/; None = the first folder
    images: Path | None = None  # folder of the images; given, an overlay of each is written as well


def main(settings: Settings) -> None:
    """Score the folder, print the table, write it; the settings are read here only."""
    out = settings.out or settings.pred
    # What is bad shows before anything slow, and before anything is written.
    check_can_hold_files(out)
    files = find_images(settings.pred, settings.truth, settings.images) if settings.images else []
    scores = evaluate(settings.pred, settings.truth)
    # Population sd, so that a single image has one too (0).
    mean, sd = scores[list(NAMES)].mean(), scores[list(NAMES)].std(ddof=0)
    write_scores(out, scores, mean, sd, dataclasses.asdict(settings))
    print(scores.to_string(index=False, float_format="{:.4f}".format))
    print(f"mean of {len(scores)} images: " + ", ".join(f"{name} {mean[name]:.4f}" for name in NAMES))
    unscored = len(list_images(settings.truth, LABEL_SUFFIXES)) - len(scores)
    if unscored:
        print(f"{unscored} images of {settings.truth} have no prediction and were not scored")
    plot_scores(out / PLOT, scores)
    print(f"wrote {out / 'scores.csv'}, {out / 'scores.json'} and the plot {out / PLOT}")
    if settings.images:
        write_overlays(files, out / COMPARED)
        print(f"wrote {out / COMPARED}/ (matched: thin green; missed: yellow; invented: cyan)")
    else:
        print("next: --images FOLDER draws what was matched, missed and invented on the images")
        if (out / COMPARED).exists():
            print(f"{out / COMPARED}/ is of an earlier run")


def write_scores(out: Path, scores: pd.DataFrame, mean: pd.Series, sd: pd.Series, settings: dict) -> None:
    """Write scores.csv (one row per image) and scores.json (mean, sd, the rows, the settings)."""
    write_text(out / "scores.csv", scores.to_csv(index=False, lineterminator="\n"))
    rows = scores.to_dict(orient="records")
    summary = {"mean": mean.to_dict(), "sd": sd.to_dict(), "images": rows, "settings": settings}
    write_json(out / "scores.json", summary)


def plot_scores(path: Path, scores: pd.DataFrame) -> None:
    """Write a PNG with the AJI, PQ and Dice of each image, the image of lowest AJI first, and their means."""
    table = scores.sort_values("aji", kind="stable").set_index("image")[list(PLOTTED)]
    names = {name: f"{title}, mean {table[name].mean():.3f}" for name, title in PLOTTED.items()}
    dots(path, table.rename(columns=names), f"score of each of {len(table)} images; dashed: the mean")


def find_images(pred: Path, truth: Path, images: Path) -> list[tuple[Path, Path, Path]]:
    """The files of each prediction, its truth and its image; InputError for a missing or bad image."""
    truths, pictures = pair_by_stem(pred, truth), pair_by_stem(pred, images, IMAGE_SUFFIXES)
    files = [(*pair, image) for pair, (_, image) in zip(truths, pictures, strict=True)]
    for _, truth_path, image_path in tqdm(files, "images", disable=None):
        if read_image(image_path).shape[:2] != read_labels(truth_path).shape:
            raise InputError(f"{image_path} and {truth_path} have different sizes")
    return files


def write_overlays(files: list[tuple[Path, Path, Path]], out: Path) -> None:
    """Write one PNG per image: predictions outlined as matched or invented, true nuclei that were missed.

    Args:
        files: as `find_images` returns them.
        out: the folder; each PNG has the name of the prediction.
    """
    for pred_path, truth_path, image_path in tqdm(files, "compared", disable=None):
        image, p, t = read_image(image_path), read_labels(pred_path), read_labels(truth_path)
        true_ids, pred_ids = match(t, p).T
        # Errors stand out on pale tissue too, and for those who do not tell green from yellow.
        found = np.isin(p, pred_ids)
        image = outline(image, np.where(np.isin(t, true_ids), 0, t), MISSED, thick=True)
        image = outline(image, np.where(found, 0, p), INVENTED, thick=True)
        image = outline(image, np.where(found, p, 0), MATCHED)
        counts = {
            f"matched {len(pred_ids)} (IoU > 0.5)": MATCHED,
            f"missed {count_nuclei(t) - len(true_ids)}": MISSED,
            f"invented {count_nuclei(p) - len(pred_ids)}": INVENTED,
        }
        write_image(out / f"{pred_path.stem}.png", legend(image, counts))


def count_nuclei(labels: np.ndarray) -> int:
    return len(np.unique(labels[labels > 0]))


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
