"""The report on stage 1: which patches were chosen, and what they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from nuclei.folders import patches
from nuclei.folders.selected import SELECTION, read_selection
from nuclei.folders.sources import read_sources
from nuclei.io.images import read_image
from nuclei.report.embedded import picture, thumb, zoomable
from nuclei.report.page import Section, duration, figure, grid, heading, table
from nuclei.report.places import Places, settings_of
from nuclei.report.plots import Point, scatter

MAP_TABLE, MAP, SHEET = "map.csv", "map.png", "contact_sheet.png"
THUMBS = 500  # points of the map with a picture, chosen ones first: 2 kB each
SHOWN = 24  # annotated patches with their outlines


def pool(places: Places) -> Section:
    """The patches that there are to choose from."""
    section = Section("patches", "Patches", look="These are the patches that everything else is chosen from.")
    if not places.data.is_dir():
        return section
    names = [path.name for path in sorted(places.data.iterdir()) if patches.is_patch(path)]
    sources = read_sources(places.data) if names else None
    if names:
        images = "" if sources is None else f", from {sources['source'].nunique()} images"
        section.count = f"{len(names)}{images}"
        shown = [names[i] for i in np.linspace(0, len(names) - 1, min(8, len(names))).astype(int)]
        section.parts.append(
            grid([picture(_image(places, name), name, f"The patch {name}") for name in shown])
        )
    return section


def _image(places: Places, name: str) -> np.ndarray:
    return patches.read_patch(places.data / name)


def chosen(places: Places) -> Section:
    """The patches that were chosen, on a map of the features."""
    section = Section(
        "chosen",
        "Chosen",
        look="Each cluster should be one kind of tissue, and its chosen patch (large mark) a typical one.",
        settings=settings_of(places.selection),
    )
    if not (places.data / SELECTION).exists():
        return section
    names = read_selection(places.data)
    section.count = f"{len(names)} patches"
    if (places.selection / MAP_TABLE).exists():
        section.parts.append(_map(places, names))
    elif (places.selection / MAP).exists():
        alt = "Map of the patches by their features, a colour a cluster, a star for each chosen patch"
        section.parts.append(picture(read_image(places.selection / MAP), "Patches by their features", alt))
    if (places.selection / SHEET).exists():
        alt = f"Contact sheet: {len(names)} chosen patches, each beside patches of its cluster"
        caption = "Each chosen patch (framed) and patches that it stands for"
        section.parts.append(picture(read_image(places.selection / SHEET), caption, alt))
    missing = [name for name in names if not patches.is_annotated(places.data / name)]
    if missing and len(missing) < len(names):
        section.warnings.append(f"clusters without an annotated patch: {', '.join(missing)} not annotated")
    return section


def _map(places: Places, names: list[str]) -> str:
    table = pd.read_csv(places.selection / MAP_TABLE, dtype={"patch": str}, keep_default_na=False)
    there = [patches.is_patch(places.data / name) for name in table["patch"]]
    table = table[there]
    is_chosen = table["patch"].isin(names)
    others = table.index[~is_chosen]
    shown = {*table.index[is_chosen], *others[:: max(1, len(others) // THUMBS)]}
    points = [
        Point(
            float(row.x), float(row.y), row.patch,
            int(row.cluster) if str(row.cluster) != "" else None, bool(is_chosen[row.Index]),
            thumb(_image(places, row.patch)) if row.Index in shown else "",
        )
        for row in table.itertuples()
    ]  # fmt: skip
    if not points:
        return ""
    plot = scatter(points, "first principal component of the features", "second")
    return figure(
        plot,
        "Point at a patch to see it. Colour and shape are the cluster; large and numbered: chosen.",
    )


def annotated(places: Places) -> Section:
    """The annotated patches with their outlines, and what annotating them cost."""
    section = Section(
        "annotated", "Annotated", look="Is every nucleus outlined, and every outline a nucleus?"
    )
    if not places.data.is_dir():
        return section
    names = [path.name for path in sorted(places.data.iterdir()) if patches.is_patch(path)]
    names = [name for name in names if patches.is_annotated(places.data / name)]
    if not names:
        return section
    figures: list[str] = []
    total = 0
    for name in names:
        labels = patches.read_masks(places.data / name)
        total += int(labels.max())
        if not labels.any():
            section.warnings.append(f"{name} is annotated without a nucleus")
        if len(figures) < SHOWN:
            count = f"{labels.max()} nuclei"
            alt = f"The annotated patch {name} with the outlines of {count}"
            layers = {"outlines": labels}
            figures.append(zoomable(_image(places, name), layers, f"{name}: {count}", alt))
    section.count = f"{len(names)} patches, {total} nuclei"
    section.parts += [heading("Outlines of the annotation"), grid(figures), *_costs(section, places.costs)]
    return section


def _costs(section: Section, path: Path) -> list[str]:
    """The time and clicks of each patch, where they were annotated in the browser."""
    if not path.exists():
        return []
    costs = pd.read_csv(path, dtype={"patch": str}, keep_default_na=False)
    if not {"patch", "state", "nuclei", "seconds", "clicks"} <= set(costs):
        return []
    section.seconds = float(costs["seconds"].sum())
    rows = [
        (row.patch, row.state, row.nuclei, duration(row.seconds), row.clicks) for row in costs.itertuples()
    ]
    return [heading("What it cost"), table(("patch", "state", "outlines", "time", "clicks"), rows)]
