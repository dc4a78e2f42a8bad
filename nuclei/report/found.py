"""The report on segment.py: the nuclei that were found, worst images first where there is a truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.io.images import IMAGE_SUFFIXES, read_image
from nuclei.outlines import results
from nuclei.report import measures
from nuclei.report.embedded import zoomable
from nuclei.report.page import Section, figure, grid, heading, table
from nuclei.report.places import Places, settings_of
from nuclei.report.plots import histogram

SHOWN = 12  # images with their outlines
MEASURED = 60  # images, and annotated patches, whose nuclei are measured
ODD = 0.05  # share of implausible nuclei from which an image is named
SCORES = "scores.csv"
MEASURES = {
    "area": "area (px)",
    "eccentricity": "eccentricity (0: round)",
    "haematoxylin": "haematoxylin (OD)",
}


def segmented(places: Places) -> Section:
    """Overlays to zoom into, distributions of the nuclei, and scores where there is a truth."""
    section = Section(
        "segmented",
        "Segmented",
        look="Switch the outlines off and on: which nuclei are missed, merged or split?",
        settings=settings_of(places.segmented),
    )
    names = sorted(path.stem for path in (places.segmented / results.SCORES).glob("*.json"))
    if not names:
        return section
    scores = _scores(places)
    if scores is not None:
        worst = [name for name in scores.sort_values("aji")["image"] if name in names]
        names = worst + [name for name in names if name not in worst]
        section.parts += [heading("Scores, worst first"), _score_table(scores)]
    elif len(names) > MEASURED:
        names = [names[i] for i in np.linspace(0, len(names) - 1, MEASURED).astype(int)]
    sources = _sources(places.images)
    typical, stains, tables = _training(places)
    figures: list[str] = []
    for name in names[:MEASURED]:
        image_name, labels, _ = results.read(places.segmented, name)
        image = _image(sources.get(image_name), labels.shape)
        if image is None:
            image = np.full((*labels.shape, 3), 235, np.uint8)
        else:
            tables.setdefault("found", []).append(measures.nuclei_table(image, labels))
            section.warnings += _doubts(name, image, tables["found"][-1], typical, stains)
        if len(figures) < SHOWN:
            figures.append(_figure(name, image, labels, scores))
    section.count = f"{len(names)} images"
    section.parts += [heading("Outlines"), grid(figures, wide=True), *_distributions(tables)]
    return section


def _scores(places: Places) -> pd.DataFrame | None:
    path = places.scores or places.segmented / SCORES
    table = pd.read_csv(path, dtype={"image": str}, keep_default_na=False) if path.exists() else None
    return table if table is not None and {"image", "aji"} <= set(table) else None


def _score_table(scores: pd.DataFrame) -> str:
    shown = scores.sort_values("aji")
    mean = shown.mean(numeric_only=True)
    rows = [list(row) for row in shown.itertuples(index=False)]
    columns = list(shown.columns)
    whole = {"nuclei", "predicted"}
    rows = [[int(v) if c in whole else v for c, v in zip(columns, row, strict=True)] for row in rows]
    return table(columns, [["mean", *(float(mean[name]) for name in columns[1:])], *rows])


def _sources(places: Sequence[Path]) -> dict[str, Path]:
    """The images that were segmented, by their file names."""
    found = {}
    for place in places:
        for path in place.iterdir() if place.is_dir() else [place]:
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                found[path.name] = path
    return found


def _image(path: Path | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """The image of a result; None where it is no longer there or was replaced by one of another size."""
    if path is None:
        return None
    try:
        image = read_image(path)
    except InputError:
        return None
    return image if image.shape[:2] == shape else None


def _training(places: Places) -> tuple[float | None, list[np.ndarray], dict[str, list[pd.DataFrame]]]:
    """Of the annotated patches: the median area (px), their stains, and the tables of their nuclei."""
    if not places.data.is_dir():
        return None, [], {}
    stains, found = [], []
    paths = [path for path in sorted(places.data.iterdir()) if patches.is_patch(path)]
    for path in [path for path in paths if patches.is_annotated(path)][:MEASURED]:
        image = patches.read_patch(path)
        stains.append(measures.stain(image))
        found.append(measures.nuclei_table(image, patches.read_masks(path)))
    areas = pd.concat(found)["area"] if found else pd.Series(dtype=float)
    return float(areas.median()) if len(areas) else None, stains, {"annotated": found} if found else {}


def _doubts(
    name: str, image: np.ndarray, nuclei: pd.DataFrame, typical: float | None, stains: list[np.ndarray]
) -> list[str]:
    said = []
    if stains and (far := measures.stain_distance(image, stains)) > measures.STAIN_OFF:
        said.append(f"{name} is stained unlike every annotated patch (optical density off by {far:.2f})")
    odd = measures.implausible(nuclei, typical)
    if odd > ODD * len(nuclei) and odd > 1:
        said.append(f"{name} has {odd} implausible nuclei of {len(nuclei)} (tiny, ragged or huge)")
    if not len(nuclei):
        said.append(f"{name} has no nucleus")
    return said


def _figure(name: str, image: np.ndarray, labels: np.ndarray, scores: pd.DataFrame | None) -> str:
    count = len(np.unique(labels[labels > 0]))
    note = ""
    if scores is not None and name in set(scores["image"]):
        row = scores.set_index("image").loc[name]
        note = f"AJI {row['aji']:.3f}, PQ {row['pq']:.3f}, Dice {row['dice']:.3f}"
    alt = f"{name} with the outlines of {count} nuclei found"
    return zoomable(image, {"found": labels}, f"{name}: {count} nuclei", alt, note)


def _distributions(tables: dict[str, list[pd.DataFrame]]) -> list[str]:
    joined = {name: pd.concat(each) for name, each in tables.items()}
    figures = []
    for column, text in MEASURES.items():
        series: dict[str, Sequence[float]] = {name: each[column].to_numpy() for name, each in joined.items()}
        if plot := histogram(series, text):
            figures.append(figure(plot, f"Nuclei by {text}"))
    return [heading("Nuclei found beside those annotated"), grid(figures, wide=True)] if figures else []
