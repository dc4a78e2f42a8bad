"""The report on stage 3: how the network learnt, and which pseudo labels it is least sure of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from nuclei.folders import patches
from nuclei.io.images import read_image
from nuclei.report.embedded import picture, zoomable
from nuclei.report.page import Section, figure, grid, heading, table
from nuclei.report.places import Places, settings_of
from nuclei.report.plots import histogram, lines

SHOWN = 8  # patches whose pseudo labels are least sure
DOUBTFUL = 0.5  # share of what was found in a patch that the network was not sure of
TOTAL = "loss"


def pseudo_labels(places: Places) -> Section:
    """What the network labelled itself: kept and ignored, least sure first."""
    section = Section(
        "pseudo",
        "Pseudo labels",
        look="Are the kept outlines nuclei? What is ignored is neither learnt as nucleus nor as background.",
        settings=settings_of(places.pseudo),
    )
    if not places.pseudo.is_dir():
        return section
    rows, scores = [], []
    for path in sorted(places.pseudo.iterdir()):
        if not patches.is_patch(path) or not (path / patches.SCORES).exists():
            continue
        kept = patches.read_scores(path)
        ignored = patches.count_undecided(path)
        scores += kept
        mean = float(np.mean(kept)) if kept else 0.0
        rows.append((path.name, len(kept), ignored, mean, ignored / max(1, ignored + len(kept))))
    if not rows:
        return section
    section.count = f"{len(scores)} nuclei in {len(rows)} patches"
    empty = [row[0] for row in rows if not row[1]]
    if empty:
        section.warnings.append(f"no pseudo label in {_some(empty)}")
    unsure = [row[0] for row in rows if row[1] and row[4] > DOUBTFUL]
    if unsure:
        section.warnings.append(f"more ignored than kept in {_some(unsure)}")
    plot = histogram({"kept": scores}, "score of a pseudo label")
    least = sorted(rows, key=lambda row: (-row[4], row[3]))[:SHOWN]
    section.parts = [
        figure(plot, "How sure the network was of what it kept") if plot else "",
        heading("Least sure"),
        grid([_patch(places.pseudo / row[0], *row[1:3]) for row in least]),
        table(("patch", "kept", "ignored", "mean score", "share ignored"), least),
    ]
    return section


def _some(names: list[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more patches" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _patch(path: Path, kept: int, ignored: int) -> str:
    layers = {"kept": patches.read_masks(path), "ignored": patches.read_undecided(path)}
    text = f"{path.name}: {kept} kept, {ignored} ignored"
    alt = f"The patch {path.name} with its pseudo labels: {kept} kept, {ignored} ignored"
    return zoomable(patches.read_patch(path), layers, text, alt)


def model(places: Places) -> Section:
    """How the network learnt: losses and validation."""
    section = Section(
        "model",
        "Model",
        look="The loss should fall and level off; where patches are held back, their score should rise.",
    )
    if not places.mrcnn.is_dir():
        return section
    steps = sorted(path for path in places.mrcnn.glob("train_*") if path.is_dir())
    for step in steps:
        section.settings = _short(settings_of(step))
        figures = [_losses(step), _validation(step)]
        section.parts += [heading(step.name), grid([each for each in figures if each], wide=True)]
        path = step / "validation_patches.png"
        if path.exists():
            caption = "Patches that were held back: annotated above, found below"
            section.parts.append(picture(read_image(path), caption, caption))
    if (places.mrcnn / "model").is_dir():
        section.count = "trained"
    return section


def _short(settings: dict) -> dict:
    """Without the network's own hundred settings."""
    return {name: value for name, value in settings.items() if name not in ("network", "patches")}


def _table(step: Path, name: str) -> pd.DataFrame | None:
    found = sorted(step.glob(f"logs/*/{name}"))
    return pd.read_csv(found[-1]) if found else None


def _losses(step: Path) -> str:
    values = _table(step, "losses.csv")
    if values is None:
        return ""
    values = values.set_index("epoch")
    first = [TOTAL] if TOTAL in values else []
    plot = lines({name: values[name] for name in [*first, *values.columns.drop(first)]}, "epoch", "loss")
    return figure(plot, f"{step.name}: losses") if plot else ""


def _validation(step: Path) -> str:
    values = _table(step, "validation.csv")
    plot = lines({"AJI": values["aji"]}, "epoch", "AJI of patches held back") if values is not None else ""
    return figure(plot, f"{step.name}: validation") if plot else ""
