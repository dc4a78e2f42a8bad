"""COCO instance segmentation: one JSON for many images.

Polygons and boxes are continuous: the box [0, 0, 1, 1] is the first pixel. A run-length mask goes down the
columns (pycocotools.mask).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
from pycocotools import mask as coco_mask

from nuclei.errors import InputError
from nuclei.io.files import read_json
from nuclei.outlines.polygons import cover, outlines
from nuclei.outlines.shapes import (
    NUCLEUS,
    Annotation,
    Shape,
    field,
    image_name,
    polygon,
    together,
    write_compact,
)

_TO_SPLIT = "give each nucleus an annotation of its own"


def write(
    path: Path,
    images: Mapping[str, tuple[tuple[int, int], Sequence[shapely.Geometry]]],
    scores: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Write the nuclei of some images; InputError where the file cannot be written.

    A nucleus is written as polygons, which tools can edit, or where it has holes as a run-length mask.

    Args:
        path: the file, written atomically.
        images: for the file name of each image its size (H, W) in px and its nuclei, Polygons or
            MultiPolygons.
        scores: for some of the names, how sure a network was of each nucleus, 0..1.
    """
    scores = scores or {}
    records: list[dict] = []
    annotations: list[dict] = []
    for image_id, (name, (size, nuclei)) in enumerate(images.items(), 1):
        records.append({"id": image_id, "file_name": name, "height": size[0], "width": size[1]})
        sure = [{"score": score} for score in scores[name]] if name in scores else [{}] * len(nuclei)
        for nucleus, score in zip(nuclei, sure, strict=True):
            left, top, right, bottom = nucleus.bounds
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": 1,
                "segmentation": _segmentation(nucleus, size),
                "area": nucleus.area,
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
                **score,
            }
            annotations.append(annotation)
    categories = [{"id": 1, "name": NUCLEUS, "supercategory": ""}]
    write_compact(path, {"images": records, "annotations": annotations, "categories": categories})


def _segmentation(nucleus: shapely.Geometry, size: tuple[int, int]) -> list | dict:
    parts = shapely.get_parts(nucleus)
    if not any(part.interiors for part in parts):
        return [np.ravel(part.exterior.coords[:-1]).tolist() for part in parts]
    pixels = np.zeros(size, np.uint8, order="F")
    window, inside = cover(nucleus, size)
    pixels[window][inside] = 1
    runs = coco_mask.encode(pixels)
    return {"size": list(size), "counts": runs["counts"].decode()}


def read(path: Path) -> dict[str, Annotation]:
    """Read the annotations of every image, by its name without suffix.

    Polygons of one annotation are parts of one nucleus. `iscrowd` is passed over, since CVAT sets it for
    whatever was drawn with its brush.

    Raises:
        InputError: broken JSON, two images or annotations of one id, two images of one name, an annotation
            without outline or of an unknown image or category.
    """
    content = read_json(path)
    images = _by_id(content, "images", path)
    categories = _by_id(content, "categories", path)
    shapes: dict[str, list[Shape]] = {key: [] for key in images}
    for key, record in _by_id(content, "annotations", path).items():
        where = f"{path}: annotation {key}"
        image, category = (_id(record, name, where) for name in ("image_id", "category_id"))
        if image not in images or category not in categories:
            raise InputError(f"{where} belongs to no image or category of the file; export it again")
        kind = str(categories[category].get("name", ""))
        shapes[image].append(Shape(_outline(record, where, _size(images[image], path)), where, kind))
    names = {key: image_name(field(image, "file_name", str, str(path))) for key, image in images.items()}
    for name, count in Counter(names.values()).items():
        if count > 1:
            raise InputError(f"{path} has {count} images named {name}; keep one of them")
    return {
        names[key]: Annotation(f"{path}: {names[key]}", shapes[key], _size(images[key], path), _TO_SPLIT)
        for key in images
    }


def _size(image: dict, path: Path) -> tuple[int, int]:
    where = f"{path}: image {image['id']}"
    height, width = (field(image, name, (int, float), where) for name in ("height", "width"))
    if min(height, width) < 1 or height % 1 or width % 1:
        raise InputError(f"{where} is {width} x {height} px; export the file again")
    return int(height), int(width)


def _by_id(content: dict, name: str, path: Path) -> dict:
    """The records of a list of the file by their id."""
    records = {}
    for number, record in enumerate(field(content, name, list, str(path)), 1):
        key = _id(record, "id", f"{path}: number {number} of {name}")
        if key in records:
            raise InputError(f"{path} has two {name} with the id {key}; give each its own")
        records[key] = record
    return records


def _id(record: dict, name: str, where: str) -> str:
    """An id as text: tools write the same one as 7, "7" or 7.0."""
    value = field(record, name, (int, str, float), where)
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _outline(record: dict, where: str, size: tuple[int, int]) -> shapely.Geometry:
    segmentation = record.get("segmentation")
    if isinstance(segmentation, list) and segmentation:
        flat = [np.asarray(ring, object) for ring in segmentation]
        if any(ring.ndim != 1 or len(ring) % 2 or len(ring) == 2 for ring in flat):
            raise InputError(f"{where} has an outline that is no list of x, y, x, y, ...; draw it again")
        return together(polygon([ring.reshape(-1, 2).tolist()], where) for ring in flat)
    if isinstance(segmentation, dict):
        return together(outlines(_decode(segmentation, where, size)))
    raise InputError(f"{where} has no outline, only a box or nothing; outline that nucleus or delete it")


def _decode(runs: dict, where: str, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool from a run-length mask, its counts a list or compressed to text.

    pycocotools would decode it too, but trusts the runs: it writes beyond its memory where they are too long.
    """
    if runs.get("size") != list(size):
        raise InputError(f"{where} has a mask of another size than its image; export the file again")
    counts = runs.get("counts")
    counts = _unpack(counts) if isinstance(counts, str) else counts
    if (
        not isinstance(counts, list)
        or not all(isinstance(count, int) and count >= 0 for count in counts)
        or sum(counts) != size[0] * size[1]
    ):
        raise InputError(f"{where} has a run-length mask that does not fill its image; export the file again")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")


def _unpack(text: str) -> list[int]:
    """Runs from their compressed text.

    Five bits a character, the lowest first, with a sixth that says that more follow; signed; from the
    fourth run on the difference to the last run but one (rleFrString of pycocotools' maskApi.c).
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    return counts
