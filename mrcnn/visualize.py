"""Pictures of images, instances, matches and weights under the names that Matterport's users know.

A function draws on the axis given, or on that of a new figure, and returns it. It shows a figure that it made
where Matterport's does (`display_*`), and leaves that to the caller elsewhere. Boxes are (y1, x1, y2, x2) px,
masks (H, W, N); colours are RGB in 0..1.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from mrcnn.compat.drawing import (
    Stroke,
    add_box,
    add_caption,
    add_outline,
    apply_mask,
    frame,
    open_axis,
    random_colors,
)
from mrcnn.compat.plots import (
    display_images,
    display_table,
    display_top_masks,
    display_weight_stats,
    plot_overlaps,
    plot_precision_recall,
)
from mrcnn.compat.scores import compute_matches
from mrcnn.data.mask_arrays import extract_bboxes, unmold_mask

__all__ = [
    "apply_mask",
    "display_differences",
    "display_images",
    "display_instances",
    "display_table",
    "display_top_masks",
    "display_weight_stats",
    "draw_box",
    "draw_boxes",
    "draw_rois",
    "plot_overlaps",
    "plot_precision_recall",
    "random_colors",
]


def display_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,
    title: str = "",
    figsize: tuple[float, float] = (16, 16),
    ax: Axes | None = None,
    show_mask: bool = True,
    show_bbox: bool = True,
    colors: Sequence | None = None,
    captions: Sequence[str] | None = None,
) -> Axes:
    """Outline instances on an image, with their boxes, a tint and captions.

    The class is not written on each where there is but one beside the background, which leaves room for
    hundreds of nuclei. Lines and letters shrink with the nuclei.

    Args:
        image: (H, W, 3) in 0..255.
        boxes: (N, 4); rows of zeros are padding.
        masks: (H, W, N).
        class_ids: (N,), indices of `class_names`.
        class_names: the background first.
        scores: (N,), written on each.
        title: above the image.
        figsize: inches, of a new figure.
        ax: where to draw; without it a figure is made and shown.
        show_mask: tint the instances; their outlines are always drawn.
        show_bbox: draw the boxes.
        colors: one for each; random where not given.
        captions: one for each, in place of class and score.

    Raises:
        ValueError: not as many boxes as masks and class ids.
    """
    if not len(boxes) == masks.shape[-1] == len(class_ids):
        raise ValueError(f"{len(boxes)} boxes, {masks.shape[-1]} masks and {len(class_ids)} class ids")
    if not len(boxes):
        print("no instances to display")
    colors = random_colors(len(boxes)) if colors is None else colors
    captions = _captions(class_ids, class_names, scores) if captions is None else captions
    own, ax = ax is None, open_axis(ax, figsize)
    frame(ax, image.shape, 10, title)
    stroke = Stroke.fitting(ax, boxes, captions)
    picture = np.clip(image, 0, 255).astype(np.uint8)
    for number, inner in enumerate(extract_bboxes(masks)):
        if not np.any(boxes[number]):
            continue
        y1, x1, y2, x2 = inner
        color = colors[number][:3]
        if show_mask:
            apply_mask(picture[y1:y2, x1:x2], masks[y1:y2, x1:x2, number], color)
        if show_bbox:
            add_box(ax, boxes[number], color, stroke, "--", alpha=0.7)
        add_outline(ax, masks[..., number], inner, color, stroke)
        if captions[number]:
            add_caption(ax, boxes[number], captions[number], stroke)
    ax.imshow(picture)
    if own:
        plt.show()
    return ax


def _captions(class_ids, class_names: Sequence[str], scores) -> list[str]:
    names = ["" if len(class_names) <= 2 else class_names[class_id] for class_id in class_ids]
    if scores is None:
        return names
    return [f"{name} {score:.2f}".strip() for name, score in zip(names, scores, strict=True)]


def display_differences(
    image: np.ndarray,
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    ax: Axes | None = None,
    show_mask: bool = True,
    show_box: bool = True,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.5,
) -> Axes:
    """Show the truth in green and the predictions in red on one image.

    A prediction is captioned with its score and its overlap with the instance that it matches, or else
    with the one that it overlaps most.

    Args:
        image: (H, W, 3) in 0..255.
        gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask, iou_threshold,
            score_threshold: as for `mrcnn.utils.compute_matches`.
        class_names, title, ax, show_mask, show_box: as for `display_instances`.
    """
    gt, pred = np.any(gt_box, axis=1), np.any(pred_box, axis=1)  # without padding
    # As compute_matches ranks them, so that its answer fits what is drawn.
    order = np.flatnonzero(pred)[np.argsort(-np.asarray(pred_score)[pred], kind="stable")]
    truth = gt_box[gt], np.asarray(gt_class_id)[gt], gt_mask[..., gt]
    found = pred_box[order], np.asarray(pred_class_id)[order], pred_mask[..., order]
    scores = np.asarray(pred_score)[order]
    _, pred_match, overlaps = compute_matches(
        *truth, found[0], found[1], scores, found[2], iou_threshold, score_threshold
    )
    best = overlaps.max(axis=1, initial=0)
    iou = [overlaps[i, match] if match > -1 else best[i] for i, match in enumerate(pred_match)]
    captions = [f"{score:.2f} / {value:.2f}" for score, value in zip(scores, iou, strict=True)]
    return display_instances(
        image,
        np.concatenate([truth[0], found[0]]),
        np.concatenate([truth[2], found[2]], axis=-1),
        np.concatenate([truth[1], found[1]]),
        class_names,
        title=title or "truth green, predictions red, with score / IoU",
        ax=ax,
        show_mask=show_mask,
        show_bbox=show_box,
        colors=[(0, 1, 0)] * len(truth[0]) + [(1, 0, 0)] * len(order),
        captions=[""] * len(truth[0]) + captions,
    )


def draw_rois(
    image: np.ndarray,
    rois: np.ndarray,
    refined_rois: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """Show some proposals, dashed, with their refined boxes and masks; background ones are grey.

    Args:
        image: (H, W, 3) in 0..255.
        rois: (N, 4).
        refined_rois: (N, 4).
        mask: (N, h, w) in 0..1, each filling its proposal.
        class_ids: (N,), 0 for the background.
        class_names: the background first.
        limit: how many to draw, at random (Python's `random`).
        ax: where to draw; a new figure's axis where not given.
    """
    chosen = random.sample(range(len(rois)), min(limit, len(rois)))
    ax = open_axis(ax, (12, 12))
    frame(ax, image.shape, 20, f"{len(chosen)} random ROIs out of {len(rois)}")
    stroke = Stroke.fitting(ax, rois[chosen], class_names)
    picture = np.clip(image, 0, 255).astype(np.uint8)
    for number, color in zip(chosen, random_colors(len(chosen)), strict=True):
        class_id = class_ids[number]
        add_box(ax, rois[number], color if class_id else "gray", stroke, "--", alpha=0.7)
        if class_id:
            add_box(ax, refined_rois[number], color, stroke)
            # From corner to corner, to see how the box was moved.
            _join(ax, rois[number], refined_rois[number], color, stroke)
            add_caption(ax, refined_rois[number], class_names[class_id], stroke)
            apply_mask(picture, unmold_mask(mask[number], rois[number], image.shape), color)
    ax.imshow(picture)
    positive = int(np.count_nonzero(np.asarray(class_ids) > 0))
    print(f"positive ROIs: {positive}\nnegative ROIs: {len(rois) - positive}")
    print(f"positive ratio: {positive / max(len(rois), 1):.2f}")
    return ax


def _join(ax: Axes, box, refined, color, stroke: Stroke) -> None:
    """A line between the upper left corners of a box and of what it became."""
    columns, rows = (box[1] - 0.5, refined[1] - 0.5), (box[0] - 0.5, refined[0] - 0.5)
    ax.plot(columns, rows, color=color, linewidth=stroke.line)


def draw_box(image: np.ndarray, box: np.ndarray, color) -> np.ndarray:
    """Draw a box of whole pixels, 2 px wide, into an image (H, W, 3); changes the image and returns it."""
    y1, x1, y2, x2 = box
    image[y1 : y1 + 2, x1:x2] = color
    image[y2 : y2 + 2, x1:x2] = color
    image[y1:y2, x1 : x1 + 2] = color
    image[y1:y2, x2 : x2 + 2] = color
    return image


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray | None = None,
    refined_boxes: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    captions: Sequence[str] | None = None,
    visibilities: Sequence[int] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw boxes, dotted, and what they were refined to, with masks and captions.

    Args:
        image: (H, W, 3) in 0..255.
        boxes: (N, 4); rows of zeros are padding.
        refined_boxes: (N, 4).
        masks: (H, W, N).
        captions: one for each; an empty one or None writes nothing.
        visibilities: 0 grey and faint, 1 in colour, 2 in colour and solid; 1 where not given.
        title: above the image.
        ax: where to draw; a new figure's axis where not given.

    Raises:
        ValueError: neither `boxes` nor `refined_boxes`.
    """
    shown = refined_boxes if boxes is None else boxes
    if shown is None:
        raise ValueError("draw_boxes needs boxes, refined_boxes or both")
    ax = open_axis(ax, (12, 12))
    frame(ax, image.shape, image.shape[0] // 10, title)
    stroke = Stroke.fitting(ax, shown, [text or "" for text in captions or []])
    picture = np.clip(image, 0, 255).astype(np.uint8)
    for number, color in enumerate(random_colors(len(shown))):
        if not np.any(shown[number]):
            continue
        color, style, alpha = _visible(color, 1 if visibilities is None else visibilities[number])
        if boxes is not None:
            add_box(ax, boxes[number], color, stroke, style, alpha)
        if refined_boxes is not None:
            add_box(ax, refined_boxes[number], color, stroke)
        if boxes is not None and refined_boxes is not None:
            _join(ax, boxes[number], refined_boxes[number], color, stroke)
        if captions is not None and captions[number]:
            place = shown if refined_boxes is None else refined_boxes
            add_caption(ax, place[number], captions[number], stroke)
        if masks is not None:
            inner = extract_bboxes(masks[..., number : number + 1])[0]
            apply_mask(picture, masks[..., number], color)
            add_outline(ax, masks[..., number], inner, color, stroke)
    ax.imshow(picture)
    return ax


def _visible(color, visibility: int):
    """Colour, line style and opacity of a box."""
    return (("gray", ":", 0.5), (color, ":", 1.0), (color, "-", 1.0))[visibility]
