"""Plots and overlays of the experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.label_efficiency.plan import NO_LABEL, PEERS, ROWS, TOOLS, in_order, title
from nuclei.experiment import Tissue
from nuclei.io.files import atomic_file
from nuclei.io.images import list_images, read_image, read_labels, write_image
from nuclei.pictures import caption, montage, outline

SHOWN = ("annotated_only", "whole_method", "full_supervision")  # on the overlays


def draw_rows(path: Path, first: pd.DataFrame) -> None:
    """A dot for every image, mean over the runs, in every row; the bar is their mean."""
    rows = in_order(first["row"].unique())
    figure = Figure(figsize=(8, 0.6 * len(rows) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="AJI of a test image")
    for place, row in enumerate(reversed(rows)):
        values = first[first["row"] == row].groupby("image")["aji"].mean()
        axes.plot(values, np.full(len(values), place), "o", alpha=0.4, markersize=5, color="tab:blue")
        axes.plot(values.mean(), place, "|", markersize=24, markeredgewidth=3, color="black")
    axes.set_yticks(range(len(rows)), [title(row) for row in reversed(rows)])
    axes.grid(axis="x", alpha=0.3)
    _save(path, figure)


def draw_budgets(path: Path, figures: dict, budget: int) -> None:
    """AJI against the number of annotated patches, with every run as a dot; peers had `budget` patches.

    A peer that scores below all others is named in the legend alone: the differences above are what matters.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="annotated patches", ylabel="mean AJI of the test images")
    for row, of_row in figures["budgets"].items():
        budgets = sorted(of_row, key=int)
        (line,) = axes.plot(
            [int(one) for one in budgets], [of_row[one]["aji"] for one in budgets], label=ROWS[row]
        )
        for one in budgets:
            runs = of_row[one]["aji_runs"]
            axes.plot([int(one)] * len(runs), runs, "o", color=line.get_color(), markersize=4)
    lines = {"full_supervision": "--", "self_trained": (0, (8, 3)), "start_weights": "-.", "label_free": ":"}
    for row, style in lines.items():
        if row in figures:
            axes.axhline(figures[row]["aji"], linestyle=style, color="grey", label=ROWS[row])
    bottom = axes.get_ylim()[0]
    places = {int(one) for of_row in figures["budgets"].values() for one in of_row}
    for row, marker in zip(TOOLS, "sx^v" * 3, strict=True):
        if row in figures:
            score, label = figures[row]["aji"], f"{title(row)} ({figures[row]['aji']:.2f})"
            color = "black" if row in PEERS else "lightgrey" if row in NO_LABEL else "grey"
            place = 0 if row in NO_LABEL else budget
            axes.plot(place, score, marker, color=color, linestyle="", label=label)
            places.add(place)
    axes.set_ylim(bottom=bottom)
    axes.set_xticks(sorted(places))
    figure.legend(loc="outside right center", fontsize="small")
    axes.grid(alpha=0.3)
    _save(path, figure)


def draw_overlays(out: Path, where: Tissue, first: pd.DataFrame) -> None:
    """The test images on which the whole method is best and worst: the truth, and what the rows found."""
    shown = first[first["row"].isin(SHOWN) & (first["seed"] == 0)]
    here = [each for each in shown["folder"] if (out / "runs" / each).is_dir()]  # others were made elsewhere
    shown = shown[shown["folder"].isin(here)]
    ours = shown[shown["row"] == "whole_method"].set_index("image")["aji"]
    if ours.empty:
        return
    runs = shown.drop_duplicates("row").set_index("row")["folder"]
    folders = {ROWS[row]: out / "runs" / runs[row] / "segmented" for row in SHOWN if row in runs}
    paths = {path.stem: path for path in list_images(where.test_images)}
    for name, stem in (("best", ours.idxmax()), ("worst", ours.idxmin())):
        image = read_image(paths[stem])
        tiles = [
            caption(outline(image, read_labels(folder / f"{stem}.tif")), text)
            for text, folder in {"truth": where.test_labels, **folders}.items()
        ]
        write_image(out / f"{name}.png", montage(tiles, columns=2))


def _save(path: Path, figure: Figure) -> None:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
