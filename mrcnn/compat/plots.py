"""Panels, curves, matrices and tables: what `mrcnn.visualize` shows beside the instances on their image."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mrcnn.compat.drawing import open_axis
from mrcnn.data.mask_arrays import label_image

_READABLE = 40  # rows or columns of a matrix whose cells have room for numbers


def display_images(
    images, titles=None, cols: int = 4, cmap=None, norm=None, interpolation: str | None = None
) -> Figure:
    """Show images side by side, `cols` in a row.

    Args:
        images: each (H, W, 3) in 0..255, or (H, W) of any range.
        titles: one for each image.
        cmap, norm, interpolation: as for matplotlib's imshow.
    """
    titles = [""] * len(images) if titles is None else titles
    rows = max(-(-len(images) // cols), 1)
    figure, axes = plt.subplots(
        rows, cols, figsize=(14, 14 * rows / cols), squeeze=False, layout="constrained"
    )
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        colour = np.ndim(image) == 3
        picture = np.clip(image, 0, 255).astype(np.uint8) if colour else image
        ax.imshow(picture, cmap=cmap, norm=norm, interpolation=interpolation)
        ax.set_title(title)
    plt.show()
    return figure


def display_top_masks(
    image: np.ndarray, mask: np.ndarray, class_ids: np.ndarray, class_names: Sequence[str], limit: int = 4
) -> Figure:
    """Show an image and, class by class, the instances of the `limit` classes that cover most of it.

    Args:
        image: (H, W, 3) in 0..255.
        mask: (H, W, N).
        class_ids: (N,).
        class_names: the background first.
        limit: how many classes.
    """
    labels, _ = label_image(mask)
    class_ids = np.asarray(class_ids, np.intp)
    areas = np.bincount(np.append(0, class_ids)[labels].ravel(), minlength=len(class_names))
    areas[0] = 0
    top = [class_id for class_id in np.argsort(-areas, kind="stable")[:limit] if areas[class_id] > 0]
    # Neighbours often follow each other: shades at random tell them apart, all far from the background's.
    count = len(class_ids)
    shades = np.random.default_rng(0).permutation(count) + count
    panels = [np.append(0, np.where(class_ids == class_id, shades, 0))[labels] for class_id in top]
    titles = [f"H x W = {image.shape[0]} x {image.shape[1]}", *(class_names[class_id] for class_id in top)]
    return display_images([image, *panels], titles, cols=len(titles), cmap="Blues_r")


def plot_precision_recall(
    AP: float, precisions: np.ndarray, recalls: np.ndarray, ax: Axes | None = None
) -> Axes:
    """Plot what `mrcnn.utils.compute_ap` returns: precision against recall.

    Args:
        AP: average precision, for the title.
        precisions: (K,).
        recalls: (K,).
        ax: where to draw; a new figure's axis where not given.
    """
    ax = open_axis(ax, (6, 5))
    ax.set(title=f"Precision-recall curve, AP@50 = {AP:.3f}", xlabel="recall", ylabel="precision")
    ax.set(xlim=(0, 1.1), ylim=(0, 1.1))
    ax.plot(recalls, precisions)
    ax.grid(alpha=0.3)
    return ax


def plot_overlaps(
    gt_class_ids: np.ndarray,
    pred_class_ids: np.ndarray,
    pred_scores: np.ndarray,
    overlaps: np.ndarray,
    class_names: Sequence[str],
    threshold: float = 0.5,
    ax: Axes | None = None,
) -> Axes:
    """Plot the overlaps of predictions, in rows, with the truth, in columns.

    Up to 40 of them are named, and each cell says its overlap and whether it is a match; beyond that only
    the matches (green) and the overlaps of different classes (red) are marked.

    Args:
        gt_class_ids: (N,); zeros are padding.
        pred_class_ids: (M,); zeros are padding.
        pred_scores: (M,).
        overlaps: (M, N) in 0..1, in the order of the ids.
        class_names: the background first.
        threshold: overlap above which two objects are the same.
        ax: where to draw; a new figure's axis where not given.
    """
    gt_class_ids, pred_class_ids = (
        np.asarray(ids)[np.asarray(ids) != 0] for ids in (gt_class_ids, pred_class_ids)
    )
    ax = open_axis(ax, (12, 10))
    ax.imshow(overlaps, interpolation="nearest", cmap="Blues", vmin=0, vmax=1)
    ax.set(xlabel="ground truth", ylabel="predictions")
    same = pred_class_ids[:, None] == gt_class_ids
    if max(overlaps.shape) <= _READABLE:
        names = [class_names[int(class_id)] for class_id in gt_class_ids]
        ranked = zip(pred_class_ids, pred_scores, strict=False)
        ax.set_xticks(range(len(names)), names, rotation=90)
        ax.set_yticks(
            range(len(pred_class_ids)), [f"{class_names[int(c)]} ({score:.2f})" for c, score in ranked]
        )
        _write_cells(ax, overlaps, same, threshold)
    else:
        size = max(360 / max(overlaps.shape), 3)  # points: half a cell of a figure of 10 inches
        for cells, color in ((same, "limegreen"), (~same, "red")):
            rows, columns = np.nonzero(cells & (overlaps > threshold))
            ax.scatter(columns, rows, s=size**2, facecolors="none", edgecolors=color, linewidths=1)
    return ax


def _write_cells(ax: Axes, overlaps: np.ndarray, same: np.ndarray, threshold: float) -> None:
    place = {"size": min(9.0, 160 / max(overlaps.shape)), "ha": "center", "va": "center"}
    for row, column in zip(*np.nonzero(overlaps > 0), strict=True):
        value = overlaps[row, column]
        verdict = ("match" if same[row, column] else "wrong") if value > threshold else ""
        color = "white" if value > 0.5 else "black"
        ax.text(column, row, f"{value:.2f}\n{verdict}".strip(), color=color, **place)


def display_table(table: Sequence[Sequence]) -> None:
    """Print rows of cells in aligned columns."""
    rows = [[str(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def display_weight_stats(model) -> None:
    """Print shape, smallest and largest value and standard deviation of every weight.

    A weight other than a bias whose values are all the same is marked as dead, one with a value beyond
    1000 as overflowing.

    Args:
        model: a `mrcnn.model.MaskRCNN`, or a Keras model.
    """
    table = [["WEIGHT NAME", "SHAPE", "MIN", "MAX", "STD"]]
    for weight in getattr(model, "keras_model", model).weights:
        values = np.asarray(weight.numpy(), np.float64)
        name = weight.path
        if values.min() == values.max() and weight.name != "bias":
            name += " *** dead?"
        if np.abs(values).max() > 1000:
            name += " *** overflow?"
        numbers = [f"{value:+10.4f}" for value in (values.min(), values.max(), values.std())]
        table.append([name, str(tuple(values.shape)), *numbers])
    display_table(table)
