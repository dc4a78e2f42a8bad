"""Score label images against the truth: Dice, AJI, AJI+, DQ, SQ, PQ and AP50 for each image, and the mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from tqdm import tqdm

from nuclei import script
from nuclei.errors import InputError
from nuclei.files import atomic_file, write_json
from nuclei.formats import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    list_images,
    pair_by_stem,
    read_image,
    read_labels,
    write_image,
)
from nuclei.metrics import NAMES, evaluate, match
from nuclei.pictures import outline

MATCHED, MISSED, INVENTED = (0, 255, 0), (255, 255, 0), (0, 255, 255)  # RGB: green, yellow, cyan


@dataclasses.dataclass(frozen=True)
class Settings:
    pred: tyro.conf.Positional[Path]  # folder of predicted label images (TIFF or PNG, 0 = background)
    truth: tyro.conf.Positional[Path]  # folder of true label images of the same file names
    out: Path | None = None  # folder for scores.csv, scores.json and overlays/; None = the first folder
    images: Path | None = None  # folder of the images; given, an overlay of each is written as well


def main(settings: Settings) -> None:
    """Score the folder, print the table, write it; the settings are read here only."""
    out = settings.out or settings.pred
    if settings.images:
        pair_by_stem(settings.pred, settings.images, IMAGE_SUFFIXES)  # a missing image shows at once
    scores = evaluate(settings.pred, settings.truth)
    # Population sd, so that a single image has one too (0).
    mean, sd = scores[list(NAMES)].mean(), scores[list(NAMES)].std(ddof=0)
    write_scores(out, scores, mean, sd, dataclasses.asdict(settings))
    print(scores.to_string(index=False, float_format="{:.4f}".format))
    print(f"mean of {len(scores)} images: " + ", ".join(f"{name} {mean[name]:.4f}" for name in NAMES))
    unscored = len(list_images(settings.truth, LABEL_SUFFIXES)) - len(scores)
    if unscored:
        print(f"{unscored} images of {settings.truth} have no prediction and were not scored")
    print(f"wrote {out / 'scores.csv'} and {out / 'scores.json'}")
    if settings.images:
        write_overlays(settings.pred, settings.truth, settings.images, out / "overlays")
        print(f"wrote {out / 'overlays'}/ (matched green, missed yellow, invented cyan)")


def write_scores(out: Path, scores: pd.DataFrame, mean: pd.Series, sd: pd.Series, settings: dict) -> None:
    """Write scores.csv (one row per image) and scores.json (mean, sd, the rows, the settings)."""
    with atomic_file(out / "scores.csv") as temporary:
        scores.to_csv(temporary, index=False)
    rows = scores.to_dict(orient="records")
    summary = {"mean": mean.to_dict(), "sd": sd.to_dict(), "images": rows, "settings": settings}
    write_json(out / "scores.json", summary)


def write_overlays(pred: Path, truth: Path, images: Path, out: Path) -> None:
    """Write one PNG per image: predictions outlined as matched or invented, true nuclei that were missed."""
    truths = pair_by_stem(pred, truth)
    pictures = pair_by_stem(pred, images, IMAGE_SUFFIXES)
    pairs = zip(truths, pictures, strict=True)
    for (pred_path, truth_path), (_, image_path) in tqdm(pairs, "overlays", len(truths), disable=None):
        image = read_image(image_path)
        p, t = read_labels(pred_path), read_labels(truth_path)
        if image.shape[:2] != t.shape:
            raise InputError(f"{image_path} and {truth_path} have different sizes")
        true_ids, pred_ids = match(t, p).T
        found = np.isin(p, pred_ids)
        image = outline(image, np.where(np.isin(t, true_ids), 0, t), MISSED)
        image = outline(image, np.where(found, 0, p), INVENTED)
        image = outline(image, np.where(found, p, 0), MATCHED)
        write_image(out / f"{pred_path.stem}.png", image)


if __name__ == "__main__":
    script.run(main, Settings, __doc__)
