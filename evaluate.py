"""Score label images against the truth: Dice, AJI, AJI+, DQ, SQ, PQ and AP50 for each image, and the mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from nuclei import cli
from nuclei.io.files import check_can_hold_files
from nuclei.io.images import LABEL_SUFFIXES, list_images

# In folders of their own: a PNG beside the predictions is one of them, and overlays/ is that of segment.py.
PLOT, COMPARED = Path("plots", "scores.png"), "compared"


@dataclasses.dataclass(frozen=True)
class Settings:
    pred: Annotated[
        tyro.conf.Positional[Path], tyro.conf.arg(metavar="PRED")
    ]  # folder of predicted label images (TIFF or PNG, 0 = background)
    truth: Annotated[
        tyro.conf.Positional[Path], tyro.conf.arg(metavar="TRUTH")
    ]  # folder of true label images of the same file names
    out: Path | None = None  # folder for scores.csv, .json, plots/ and compared/; None = the first folder
    images: Path | None = None  # folder of the images; given, an overlay of each is written as well


def main(settings: Settings) -> None:
    """Score the folder, print the table, write it; the settings are read here only."""
    # Imported here: --help need not wait.
    from nuclei.evaluation.folder import evaluate
    from nuclei.evaluation.metrics import NAMES
    from nuclei.evaluation.report import (
        check_is_ours,
        find_images,
        plot_scores,
        write_overlays,
        write_scores,
    )

    out = settings.out or settings.pred
    # What is bad shows before anything slow, and before anything is written.
    check_can_hold_files(out)
    check_is_ours(out)
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


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
