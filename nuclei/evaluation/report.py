"""What a scored folder leaves: tables, a plot of all images, and each image with its errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.evaluation.metrics import match
from nuclei.io.files import write_json, write_text
from nuclei.io.images import IMAGE_SUFFIXES, pair_by_stem, read_image, read_labels, write_image
from nuclei.pictures import dots, legend, outline

SCORES = "scores.csv"
PLOTTED = {"aji": "AJI", "pq": "PQ", "dice": "Dice"}
MATCHED, MISSED, INVENTED = (0, 255, 0), (255, 255, 0), (0, 255, 255)  # RGB: green, yellow, cyan


def check_is_ours(out: Path) -> None:
    """InputError where `out` holds a scores.csv of another program, which would be lost."""
    path = out / SCORES
    if not path.exists():
        return
    with path.open("rb") as file:
        if not file.readline().startswith(b"image,nuclei,predicted,"):
            raise InputError(f"{path} is not of this program; move it away, or write elsewhere with --out")


def write_scores(out: Path, scores: pd.DataFrame, mean: pd.Series, sd: pd.Series, settings: dict) -> None:
    """Write scores.csv (one row per image) and scores.json (mean, sd, the rows, the settings)."""
    write_text(out / SCORES, scores.to_csv(index=False, lineterminator="\n"))
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
            f"missed {_count(t) - len(true_ids)}": MISSED,
            f"invented {_count(p) - len(pred_ids)}": INVENTED,
        }
        write_image(out / f"{pred_path.stem}.png", legend(image, counts))


def _count(labels: np.ndarray) -> int:
    return len(np.unique(labels[labels > 0]))
