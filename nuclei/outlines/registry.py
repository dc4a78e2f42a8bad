"""Which format an annotation file has, and reading and writing any of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nuclei.errors import InputError
from nuclei.io.files import packed_json, read_json
from nuclei.io.ids import check_ids
from nuclei.io.images import read_labels, write_labels
from nuclei.io.tiff import TIFF_SUFFIXES
from nuclei.outlines import coco, geojson, imagej, labelme
from nuclei.outlines.polygons import outlines
from nuclei.outlines.shapes import Annotation, Format, Shape


def detect(path: Path) -> Format | None:
    """The format of a file, by its suffix and for JSON by its content; None for other files.

    Raises:
        InputError: JSON that is broken or of none of the formats.
    """
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return "label_tiff"
    packed = suffix == ".zip" and packed_json(path)  # as QuPath's "compress data" makes it
    if suffix in (".zip", ".roi") and not packed:
        return "imagej"
    if suffix == ".gz":
        suffix = Path(path.stem).suffix.lower()
    if suffix not in (".json", ".geojson") and not packed:
        return None
    content = read_json(path)
    keys = content.keys() if isinstance(content, dict) else set()
    if {"images", "annotations"} <= keys:  # first: some COCO files have a type too
        return "coco"
    if isinstance(content, list) and content and isinstance(content[0], dict) and "image_id" in content[0]:
        raise InputError(
            f"{path} is a list of COCO results; export the annotations together with their images"
        )
    if isinstance(content, list) or "type" in keys:
        return "geojson"
    if "shapes" in keys:
        return "labelme"
    raise InputError(f"{path} is neither GeoJSON, COCO nor LabelMe; export it again or take it out")


def read(path: Path, form: Format) -> dict[str, Annotation]:
    """What a file holds, by the name of the image: the file's without suffix, or in COCO what the file says.

    Raises:
        InputError: the file is broken or holds something that cannot be a nucleus.
    """
    if form == "coco":
        return coco.read(path)
    readers = {"geojson": geojson.read, "labelme": labelme.read, "imagej": imagej.read}
    stem = Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem
    return {stem: readers.get(form, read_label_tiff)(path)}


def read_label_tiff(path: Path) -> Annotation:
    """Read a label image; pixels of one id are one nucleus, wherever they lie.

    Raises:
        InputError: no label image, or a binary one.
    """
    labels = read_labels(path)
    ids = np.unique(labels[labels > 0])
    check_ids(labels, path)
    shapes = [
        Shape(outline, f"{path}: id {label}") for outline, label in zip(outlines(labels), ids, strict=True)
    ]
    return Annotation(str(path), shapes, labels.shape, "give each nucleus its own id")


def write(path: Path, form: Format, labels: np.ndarray, image: str) -> None:
    """Write the label image (H, W) of one image in a format with one file an image.

    Args:
        path: the file, written atomically.
        form: any but coco (see `nuclei.outlines.coco.write`).
        labels: (H, W) integers, 0 = background.
        image: file name of the image.
    """
    if form == "label_tiff":
        write_labels(path, labels)
    elif form == "geojson":
        geojson.write(path, outlines(labels), image)
    elif form == "labelme":
        labelme.write(path, outlines(labels), image, labels.shape)
    elif form == "imagej":
        imagej.write(path, outlines(labels), image)
    else:
        raise ValueError(f"{form} holds many images")
