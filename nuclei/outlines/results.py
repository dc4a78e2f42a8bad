"""The folder of `segment.py`: label images with the scores of their nuclei; GeoJSON and COCO made from them.

    <image>.tif             the label image: ids 1..N, 0 = background
    scores/<image>.json     name of the image, a fingerprint of its pixels, and the scores of the ids 1..N
    <image>.geojson         for QuPath
    coco.json               all images of the folder

The label image is written last, so an image that has one is finished.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.folders import runs
from nuclei.io.files import digest, read_json, write_json, writing
from nuclei.io.images import read_labels, write_labels
from nuclei.outlines import coco, geojson
from nuclei.outlines.polygons import outlines
from nuclei.outlines.registry import COCO_FILE, SUFFIXES
from nuclei.outlines.shapes import field

SCORES = "scores"

log = logging.getLogger(__name__)


def fingerprint(image: np.ndarray) -> str:
    """Twelve hexadecimal digits that change with the size or any pixel of an image (H, W, 3) uint8."""
    return digest((str(image.shape).encode(), image.tobytes()))


def write(
    folder: Path, image: str, pixels: str, labels: np.ndarray, scores: Sequence[float] | np.ndarray
) -> None:
    """Write the nuclei of one image and remove the exports that lack them; InputError where that fails.

    Args:
        folder: made where it is missing.
        image: file name of the image, with its suffix.
        pixels: its `fingerprint`.
        labels: (H, W) integers, ids 1..N, 0 = background.
        scores: (N,) of the ids 1..N, 0..1.
    """
    name = Path(image).stem
    for stale in (_geojson_file(folder, name), folder / COCO_FILE):
        with writing(stale):
            stale.unlink(missing_ok=True)
    record = {
        "image": image,
        "pixels": pixels,
        "scores": np.round(np.asarray(scores, np.float64), 6).tolist(),
    }
    write_json(_scores_file(folder, name), record)
    write_labels(_labels_file(folder, name), labels)


def is_written(folder: Path, name: str, pixels: str) -> bool:
    """Whether the folder holds the finished result of the image `name` (without suffix) with these pixels.

    Raises:
        InputError: files of that name that were not made here would be overwritten.
    """
    labels, record = _labels_file(folder, name), _scores_file(folder, name)
    if not record.exists():
        for path in (labels, _geojson_file(folder, name)):
            if path.exists():
                raise InputError(f"{path} was not made by segment.py; move it, or name another --out")
    return labels.exists() and field(read_json(record), "pixels", str, str(record)) == pixels


def set_aside(folder: Path, name: str) -> None:
    """Keep the result of another image called `name` (without suffix), if any, under a dated name."""
    files = [_labels_file(folder, name), _geojson_file(folder, name), _scores_file(folder, name)]
    if files[0].exists():
        aside = runs.set_aside([path for path in files if path.exists()], folder)
        log.info("%s: another image of that name; its old result is now in %s", name, aside)


def read(folder: Path, name: str) -> tuple[str, np.ndarray, list[float]]:
    """The result of the image `name` (without suffix).

    Returns:
        File name of the image, its labels (H, W) int32, and a score for every id, in the order of the ids.

    Raises:
        InputError: a file is missing or broken, or the label image has ids without a score.
    """
    path = _scores_file(folder, name)
    record, labels = read_json(path), read_labels(_labels_file(folder, name))
    image, scores = (field(record, key, kind, str(path)) for key, kind in (("image", str), ("scores", list)))
    ids = np.unique(labels[labels > 0])
    if ids.size and ids[-1] > len(scores):
        raise InputError(
            f"{_labels_file(folder, name)} has the id {ids[-1]}, but {path} holds {len(scores)} scores; "
            f"delete the two and {_geojson_file(folder, name)} to segment that image again"
        )
    return image, labels, [scores[label - 1] for label in ids]


def read_scores(labels_file: Path, labels: np.ndarray) -> list[float] | None:
    """The scores of the ids of a label image, in their order; None where `segment.py` gave them none.

    That is so where it has not made the label image, or somebody added nuclei to it.
    """
    folder, name = labels_file.parent, labels_file.stem
    if labels_file != _labels_file(folder, name) or not _scores_file(folder, name).exists():
        return None
    path = _scores_file(folder, name)
    scores, ids = field(read_json(path), "scores", list, str(path)), np.unique(labels[labels > 0])
    return [scores[label - 1] for label in ids] if ids.max(initial=0) <= len(scores) else None


def write_geojson(folder: Path, name: str) -> None:
    """Write the nuclei of the image `name` (without suffix) as QuPath's detections, the score a measurement.

    A file that is there already stays. InputError as in `read`, or where the file cannot be written.
    """
    path = _geojson_file(folder, name)
    if path.exists():
        return
    image, labels, scores = read(folder, name)
    geojson.write(path, outlines(labels), image, "detection", scores)


def write_coco(folder: Path) -> None:
    """Write the results of all images of the folder as one COCO file; every annotation has its `score`.

    A file that is there already stays. InputError as in `read`, or where the file cannot be written.
    """
    if (folder / COCO_FILE).exists():
        return
    images, scores = {}, {}
    names = sorted(path.stem for path in (folder / SCORES).glob("*.json"))
    names = [name for name in names if _labels_file(folder, name).exists()]
    for name in tqdm(names, desc=COCO_FILE, unit="image", disable=None):
        image, labels, scores_of_image = read(folder, name)
        images[image], scores[image] = (labels.shape, outlines(labels)), scores_of_image
    coco.write(folder / COCO_FILE, images, scores)


def _labels_file(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIXES['label_tiff']}"


def _scores_file(folder: Path, name: str) -> Path:
    return folder / SCORES / f"{name}.json"


def _geojson_file(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIXES['geojson']}"
