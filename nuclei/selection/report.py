"""Pictures of a selection: what each selected patch stands for, and where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from nuclei.folders.patches import overview_name, read_patch, source_stem, stem_of_overview
from nuclei.io.files import atomic_file, write_text
from nuclei.io.images import read_image, write_image
from nuclei.pictures import caption, montage
from nuclei.selection.two_stage import Selected

COLUMNS = 8  # of the contact sheet: the selected patch and seven that it stands for
TILE = 192  # px, a patch on the contact sheet
FRAME = (0, 170, 0)  # RGB, around a selected patch
FONT = cv2.FONT_HERSHEY_SIMPLEX
MAP_POINTS = 5000  # patches on the map; more would only be dots upon dots


def write_contact_sheet(path: Path, data: Path, names: Sequence[str], chosen: Sequence[Selected]) -> None:
    """One row a cluster: the selected patch, framed, then patches that it stands for."""
    rows = []
    for record in chosen:
        others = [member for member in record.members if member != record.index]
        # Evenly spaced, since neighbours in the list often come from one image.
        shown = np.linspace(0, len(others) - 1, min(COLUMNS - 1, len(others))).astype(int)
        tiles = [_tile(data, names[record.index], FRAME)] + [_tile(data, names[others[i]]) for i in shown]
        tiles += [np.full_like(tiles[0], 255)] * (COLUMNS - len(tiles))
        terms = " + ".join(f"{term} {value:.1f}" for term, value in record.terms.items())
        text = (
            f"cluster {record.cluster}: {len(record.members)} patches, selected {names[record.index]}, "
            f"score {record.score:.1f}" + (f" = {terms}" if terms else "")
        )
        rows.append(caption(montage(tiles, COLUMNS), text))
    write_image(path, np.vstack(rows))


def _tile(data: Path, name: str, frame: tuple[int, int, int] | None = None) -> np.ndarray:
    image = cv2.resize(read_patch(data / name), (TILE, TILE), interpolation=cv2.INTER_AREA)
    if frame is not None:
        cv2.rectangle(image, (2, 2), (TILE - 3, TILE - 3), frame, thickness=5)
    # A crop's name tells most at its end, where its place in the image is.
    return caption(image, name if len(name) <= 26 else f"..{name[-24:]}")


def write_map(
    path: Path, features: np.ndarray, rows: np.ndarray, names: Sequence[str], chosen: Sequence[Selected]
) -> None:
    """The patches on the first two principal components of their features, a colour a cluster.

    A table of the same name in `.csv` has the points: patch, x, y, and cluster where nothing known covers it.

    Args:
        path: of the PNG; nothing is written for patches that are all alike.
        features: (R, D), of which `rows` (N,) are the pool; at most `MAP_POINTS` patches are drawn.
        rows: see there.
        names: of the N patches.
        chosen: the selection, by positions in `rows`.
    """
    stars = np.array([record.index for record in chosen])
    every = -(-len(rows) // MAP_POINTS)
    drawn = np.union1d(np.arange(0, len(rows), every), stars)
    points = np.asarray(features[rows[drawn]])
    if len(drawn) < 2 or not np.ptp(points, axis=0).any():
        return
    pca = PCA(2, svd_solver="covariance_eigh" if len(points) > points.shape[1] else "full")
    places = np.full((len(rows), 2), np.nan)
    places[drawn] = pca.fit_transform(points)
    clusters = pd.Series("", range(len(rows)), dtype=object)
    for record in chosen:
        clusters[list(record.members)] = record.cluster
    table = pd.DataFrame({"patch": names, "x": places[:, 0], "y": places[:, 1], "cluster": clusters})
    text = table.iloc[drawn].to_csv(index=False, float_format="%.4f", lineterminator="\n")
    write_text(path.with_suffix(".csv"), text)

    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    share = pca.explained_variance_ratio_
    axes = figure.add_subplot(
        xlabel=f"principal component 1 ({share[0]:.0%} of the variance)",
        ylabel=f"principal component 2 ({share[1]:.0%})",
        title="Patches by cluster; a star is the patch to annotate",
    )
    colours = colormaps["turbo"](np.linspace(0.05, 0.95, len(chosen)))
    rest = np.setdiff1d(drawn, np.concatenate([record.members for record in chosen]))
    # What known patches stand for.
    axes.scatter(places[rest, 0], places[rest, 1], s=10, color="0.8", linewidths=0)
    for record, colour in zip(chosen, colours, strict=True):
        across, up = places[list(record.members)].T
        axes.scatter(across, up, s=14, color=colour, alpha=0.7, linewidths=0)
    for record, colour in zip(chosen, colours, strict=True):  # above all points
        place = places[record.index]
        axes.scatter(place[0], place[1], s=220, marker="*", color=colour, edgecolors="black")
        axes.annotate(str(record.cluster), place, xytext=(7, 7), textcoords="offset points", weight="bold")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def write_source_pictures(
    folder: Path, overviews: Path, selection: pd.DataFrame, sources: pd.DataFrame, size: int
) -> None:
    """Each source image of a selected patch: the selected ones framed, and what no patch covers faded.

    Args:
        folder: where the pictures go; those that an earlier selection left there are removed.
        overviews: small pictures of the sources (`patches.overview_name`); those without are passed over.
        selection: the selected patches: source, x, y, cluster.
        sources: all patches: source, x, y, and width (px) and content of the source; without content, as
            an older version wrote it, there are no pictures.
        size: side of a patch, px, at the resolution of x and y.
    """
    for overview in overviews.glob("*.png"):
        (folder / f"{stem_of_overview(overview)}.png").unlink(missing_ok=True)
    if "content" not in sources:
        return
    for source, selected in selection.groupby("source"):
        patches = sources[sources["source"] == source]
        overview = overviews / overview_name(source, patches["content"].iloc[0])
        if not overview.exists():
            continue
        picture = read_image(overview).copy()
        scale = picture.shape[1] / patches["width"].iloc[0]
        _fade(picture, patches, size, scale)
        for _, patch in selected.iterrows():
            _frame(picture, patch, size, scale)
        write_image(folder / f"{source_stem(source)}.png", picture)


def _fade(picture: np.ndarray, patches: pd.DataFrame, size: int, scale: float) -> None:
    """Fade what no patch covers."""
    covered = np.zeros(picture.shape[:2], bool)
    for x, y in patches[["x", "y"]].itertuples(index=False):
        covered[_span(y, size, scale), _span(x, size, scale)] = True
    picture[~covered] = picture[~covered] // 2 + 127


def _span(start: int, size: int, scale: float) -> slice:
    return slice(round(start * scale), max(round((start + size) * scale), round(start * scale) + 1))


def _frame(picture: np.ndarray, patch: pd.Series, size: int, scale: float) -> None:
    """Frame a selected patch, with the number of its cluster inside, or beside it where it is small."""
    rows, columns = _span(patch["y"], size, scale), _span(patch["x"], size, scale)
    cv2.rectangle(picture, (columns.start, rows.start), (columns.stop - 1, rows.stop - 1), FRAME, thickness=3)
    text = str(patch["cluster"])
    (width, height), _ = cv2.getTextSize(text, FONT, 0.8, 2)
    inside = columns.stop - columns.start > 2 * width
    left = columns.start + 8 if inside else min(columns.stop + 4, picture.shape[1] - width)
    bottom = rows.start + height + 8 if inside else max(rows.stop, height)
    for color, thickness in (((255, 255, 255), 6), (FRAME, 2)):  # a white edge, to be read on any tissue
        cv2.putText(picture, text, (left, bottom), FONT, 0.8, color, thickness, cv2.LINE_AA)
