"""From what somebody drew to a label image: what is mended, and said, and what is refused."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import shapely

from nuclei.errors import InputError
from nuclei.io.files import as_read
from nuclei.io.ids import PLACES, SHARE, SMALL, count_places, find_background
from nuclei.outlines.polygons import mend, paint
from nuclei.outlines.shapes import NUCLEUS, Annotation, Shape

OVERHANG = 10  # px; an outline that leaves the image by more was drawn on another image
QUARTER = 5  # so many nuclei, all of them in a quarter of the image, are told
SAME = 0.9  # intersection over union from which on two outlines are one nucleus, drawn twice

log = logging.getLogger(__name__)


def to_labels(
    annotation: Annotation, name: str, size: tuple[int, int], classes: Collection[str] = (NUCLEUS,)
) -> tuple[np.ndarray, list[str]]:
    """The nuclei of an annotation as a label image, numbered in its order.

    An outline that crosses itself is mended, what leaves the image a little is cut off, a nucleus drawn
    twice is taken once, and where two overlap the smaller one lies on top. A nucleus of two parts stays
    one nucleus; holes stay (see `nuclei.outlines.polygons.fill_holes`). Classes that end in `*` mark
    regions in QuPath, and such objects are left out.

    Args:
        annotation: as read from a file.
        name: of the image, without suffix.
        size: (H, W) of the image, px.
        classes: those that are nuclei, in upper or lower case; objects without a class are nuclei too.

    Returns:
        labels (H, W) int32, ids 1..N, and what was mended or left out, each a phrase such as
        "2 outlines that cross themselves mended".

    Raises:
        InputError: the annotation is of another image, has an outline outside of this one or around all
            of it, holds several nuclei in one object, or has other classes.
    """
    notes: list[str] = []
    _check_image(annotation, name, size)
    shapes = _of_classes(annotation, classes, notes)
    _check_unit([shape.outline for shape in shapes], annotation.where, size)
    shapes = _mend(shapes, size, notes)
    shapes = _once(shapes, notes)
    labels, contested = paint([shape.outline for shape in shapes], size)
    _note(notes, contested, "pixel", "of two nuclei given to the smaller one")
    _check_single(labels, shapes, annotation.to_split)
    ids, compact = np.unique(np.append(0, labels), return_inverse=True)
    labels = compact[1:].reshape(size).astype(np.int32)
    _note(notes, len(shapes) - len(ids) + 1, "nucleus", "without a pixel of its own left out")
    _note(notes, (count_places(labels) > 1).sum(), "nucleus", "of several parts kept as one each")
    _note(notes, (np.bincount(labels.ravel())[1:] < SMALL).sum(), "nucleus", f"below {SMALL} px kept")
    return labels, notes


def _note(notes: list[str], count: int, thing: str, what: str) -> None:
    if count:
        things = "nuclei" if thing == "nucleus" else f"{thing}s"
        notes.append(f"{count} {thing if count == 1 else things} {what}")


def _check_image(annotation: Annotation, name: str, size: tuple[int, int]) -> None:
    if annotation.size is not None and tuple(annotation.size) != tuple(size):
        height, width = annotation.size
        raise InputError(
            f"{annotation.where} is of an image of {width} x {height} px, but {name} is "
            f"{size[1]} x {size[0]} px; annotate the image as it was exported"
        )
    for shape in annotation.shapes:
        if as_read(shape.image) not in ("", as_read(name)):
            raise InputError(
                f"{shape.where} was drawn on {shape.image}, not on {name}; name the file after its image"
            )


def _of_classes(annotation: Annotation, classes: Collection[str], notes: list[str]) -> list[Shape]:
    known = {as_read(kind).casefold() for kind in ("", *classes)}
    kinds = Counter(as_read(shape.kind) for shape in annotation.shapes)
    others = {kind: count for kind, count in kinds.items() if kind.casefold() not in known}
    regions = [kind for kind in others if kind.endswith("*")]
    unknown = [f"{kind} ({count})" for kind, count in others.items() if kind not in regions]
    if unknown:
        raise InputError(
            f"{annotation.where} has objects of the classes {', '.join(unknown)}; name those that are nuclei "
            "with --classes and delete the others"
        )
    _note(notes, sum(others.values()), "object", f"of {', '.join(regions)} left out")
    return [shape for shape in annotation.shapes if as_read(shape.kind) not in regions]


def _check_unit(outlines: list[shapely.Geometry], where: str, size: tuple[int, int]) -> None:
    """Tell coordinates in another unit than px: those are shares of the image, or all near its origin."""
    right, bottom = shapely.total_bounds(outlines)[2:] if outlines else (np.inf, np.inf)
    if len(outlines) > 1 and max(right, bottom) <= 1:
        raise InputError(f"{where} has coordinates from 0 to 1 alone, shares of the image; export them in px")
    if len(outlines) >= QUARTER and right <= size[1] / 2 and bottom <= size[0] / 2:
        log.warning(
            "%s: all %d nuclei lie in the upper left quarter of the image, as where coordinates are in um; "
            "px are expected",
            where, len(outlines),
        )  # fmt: skip


def _mend(shapes: list[Shape], size: tuple[int, int], notes: list[str]) -> list[Shape]:
    """The shapes with valid outlines that enclose something, all of them in the image."""
    for shape in shapes:
        _check_place(shape, size)
    kept = [replace(shape, outline=mend(shape.outline)) for shape in shapes]
    crossing = sum(
        not shape.outline.is_valid and not mended.outline.is_empty
        for shape, mended in zip(shapes, kept, strict=True)
    )
    kept = [shape for shape in kept if shape.outline.area > 0]
    for shape in kept:
        if shape.outline.area > SHARE * size[0] * size[1]:
            raise InputError(f"{shape.where} covers nearly the whole image; delete that object")
    _note(notes, crossing, "outline", "crossing or touching itself mended")
    _note(notes, len(shapes) - len(kept), "outline", "around nothing left out")
    _note(notes, sum(_overhang(shape, size) >= 0.5 for shape in kept), "nucleus", "cut off at the border")
    return kept


def _overhang(shape: Shape, size: tuple[int, int]) -> float:
    """How far, px, a shape reaches beyond the image."""
    left, top, right, bottom = shape.outline.bounds
    return max(-left, -top, right - size[1], bottom - size[0])


def _check_place(shape: Shape, size: tuple[int, int]) -> None:
    height, width = size
    outside = not shape.outline.is_empty and not shapely.box(0, 0, width, height).intersects(
        shapely.box(*shape.outline.bounds)
    )
    if outside or _overhang(shape, size) > OVERHANG:
        left, top, right, bottom = shape.outline.bounds
        raise InputError(
            f"{shape.where} lies at x {left:g} to {right:g}, y {top:g} to {bottom:g}, outside of the image "
            f"of {width} x {height} px; this looks like an annotation of another image"
        )


def _check_single(labels: np.ndarray, shapes: list[Shape], to_split: str) -> None:
    """InputError for an object of several nuclei, such as one a class, or for what lies between nuclei.

    `labels` has the shapes as 1..N.
    """
    places = count_places(labels, SMALL)
    several = np.flatnonzero(places >= PLACES)
    if several.size:
        shape, count = shapes[several[0]], places[several[0]]
        raise InputError(
            f"{shape.where} is one object in {count} separate places, so it holds several nuclei; {to_split}"
        )
    background = find_background(labels)
    if background:
        raise InputError(
            f"{shapes[background - 1].where} reaches around nearly the whole image, as the background does; "
            "delete that object"
        )


def _once(shapes: list[Shape], notes: list[str]) -> list[Shape]:
    """The shapes without those that repeat an earlier one."""
    outlines = np.array([shape.outline for shape in shapes], object)
    earlier, later = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    earlier, later = earlier[earlier < later], later[earlier < later]
    common = shapely.area(shapely.intersection(outlines[earlier], outlines[later]))
    either = shapely.area(outlines[earlier]) + shapely.area(outlines[later]) - common
    repeated = set(later[common > SAME * either].tolist())
    _note(notes, len(repeated), "nucleus", "drawn twice taken once")
    return [shape for index, shape in enumerate(shapes) if index not in repeated]
