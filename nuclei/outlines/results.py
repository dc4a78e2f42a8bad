"""The folder of `segment.py`: label images with the scores of their nuclei, and what is made from them.

    <image>.tif             the label image: ids 1..N, 0 = background
    scores/<image>.json     name of the image, a fingerprint of its pixels, and of each nucleus its score
                            and a checksum of its pixels, by which the score finds it when ids were changed
    <image>.geojson         for QuPath
    coco.json               all images of the folder
    nuclei.csv              measurements of all nuclei of the folder, from
    measurements/<um per px>/<image>.csv

The label image is written last, so an image that has one is finished.
"""

from __future__ import annotations

import csv
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.folders import runs
from nuclei.io.files import atomic_file, digest, read_json, write_json, writing
from nuclei.io.images import read_image, read_labels, write_labels
from nuclei.outlines import coco, geojson, measurements
from nuclei.outlines.polygons import outlines
from nuclei.outlines.shapes import COCO_FILE, SUFFIXES, field

SCORES, MEASUREMENTS = "scores", "measurements"
TABLE = "nuclei.csv"

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
    exports = (_geojson_file(folder, name), folder / COCO_FILE, folder / TABLE)
    for stale in (*exports, *_measured(folder, name)):
        with writing(stale):
            stale.unlink(missing_ok=True)
    record = {
        "image": image,
        "pixels": pixels,
        "scores": np.round(np.asarray(scores, np.float64), 6).tolist(),
        "nuclei": _checksums(labels),
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
        return False
    try:
        is_ours = field(read_json(record), "pixels", str, str(record)) == pixels
        if is_ours and labels.exists():
            read_labels(labels)
            return True
    except InputError as error:
        log.warning("%s; it is made again", str(error).partition("; ")[0])
    return False


def set_aside(folder: Path, name: str) -> None:
    """Keep the result of another image called `name` (without suffix), if any, under a dated name."""
    files = [_labels_file(folder, name), _geojson_file(folder, name), _scores_file(folder, name)]
    if files[0].exists():
        measured = _measured(folder, name)
        aside = runs.set_aside([path for path in files if path.exists()] + measured[:1], folder)
        for path in measured[1:]:  # the same at another resolution
            runs.remove(path)
        log.info("%s: its old result, of another image of that name or damaged, is now in %s", name, aside)


def read(folder: Path, name: str) -> tuple[str, np.ndarray, list[float] | None]:
    """The result of the image `name` (without suffix).

    Returns:
        File name of the image, its labels (H, W) int32, and their scores as in `read_scores`.

    Raises:
        InputError: a file is missing or broken.
    """
    path = _scores_file(folder, name)
    labels_file = _labels_file(folder, name)
    image, labels = field(read_json(path), "image", str, str(path)), read_labels(labels_file)
    return image, labels, read_scores(labels_file, labels)


def read_scores(labels_file: Path, labels: np.ndarray) -> list[float] | None:
    """The scores of the ids of a label image, in their order.

    None where `segment.py` has not made the label image, or, with a warning, where somebody changed a nucleus
    or added one. Nuclei that were renumbered or deleted since change nothing for the others.
    """
    folder, name = labels_file.parent, labels_file.stem
    path = _scores_file(folder, name)
    if labels_file != _labels_file(folder, name) or not path.exists():
        return None
    record = read_json(path)
    if isinstance(record, dict) and "nuclei" not in record:
        log.warning("%s is of an earlier version: its scores are left out; segment that image again", path)
        return None
    scores, nuclei = (field(record, key, list, str(path)) for key in ("scores", "nuclei"))
    known = all(isinstance(score, (int, float)) for score in scores)
    if not known or not all(isinstance(one, int) for one in nuclei) or len(nuclei) != len(scores):
        raise InputError(f"{path} is damaged; delete it, or segment that image again")
    score_of = dict(zip(nuclei, scores, strict=True))
    found = _checksums(labels)
    changed = sum(checksum not in score_of for checksum in found)
    if changed:
        log.warning(
            "%s: %d nuclei changed or added by hand have no score; the image counts as one without scores",
            labels_file, changed,
        )  # fmt: skip
        return None
    return [score_of[checksum] for checksum in found]


def _checksums(labels: np.ndarray) -> list[int]:
    """A number for each id, in their order, that changes with any pixel of the nucleus, not with its id."""
    pixels = np.flatnonzero(labels)
    ids = labels.ravel()[pixels]
    pixels = pixels[np.argsort(ids, kind="stable")].astype("<i8")
    counts = np.unique(ids, return_counts=True)[1]
    return [
        zlib.crc32(nucleus.tobytes()) for nucleus in np.split(pixels, np.cumsum(counts)[:-1]) if len(nucleus)
    ]


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
    """Write the results of all images of the folder as one COCO file; an annotation has its `score`.

    A file that is there already stays. InputError as in `read`, or where the file cannot be written.
    """
    if (folder / COCO_FILE).exists():
        return
    images: dict[str, tuple] = {}
    scores: dict[str, list[float]] = {}
    names = sorted(path.stem for path in (folder / SCORES).glob("*.json"))
    names = [name for name in names if _labels_file(folder, name).exists()]
    for name in tqdm(names, desc=COCO_FILE, unit="image", disable=None):
        image, labels, scores_of_image = read(folder, name)
        images[image] = labels.shape, outlines(labels)
        if scores_of_image is not None:
            scores[image] = scores_of_image
    coco.write(folder / COCO_FILE, images, scores)


def write_measurements(folder: Path, image: Path, mpp: float | None) -> None:
    """Measure the nuclei of an image that was segmented; what is there already stays.

    Args:
        folder: of the results.
        image: the image file, which is read again.
        mpp: um/px; None: lengths are in px.

    Raises:
        InputError: as in `read`, or the image is broken, or the file cannot be written.
    """
    path = _measurements(folder, mpp) / f"{image.stem}.csv"
    if path.exists():
        return
    name, labels, scores = read(folder, image.stem)
    table = measurements.table(
        read_image(image), labels, None if scores is None else np.asarray(scores, np.float32), mpp
    )
    table.insert(0, "image", name)
    with atomic_file(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.5g", lineterminator="\n")


def write_table(folder: Path, mpp: float | None) -> None:
    """Put the measurements of all images of the folder into TABLE; InputError where that fails."""
    paths = sorted(_measurements(folder, mpp).glob("*.csv"))
    headers = [path.open(encoding="utf-8").readline().rstrip("\n").split(",") for path in paths]
    columns = max(headers, key=len, default=["image"])  # without scores where somebody edited the nuclei
    with atomic_file(folder / TABLE) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        for path in paths:
            with path.open(encoding="utf-8", newline="") as file:
                writer.writerows(csv.DictReader(file))


def _measurements(folder: Path, mpp: float | None) -> Path:
    return folder / MEASUREMENTS / ("px" if mpp is None else f"{mpp:g}")


def _measured(folder: Path, name: str) -> list[Path]:
    """The measurements of an image (name without suffix), at whatever resolution."""
    return [path for path in (folder / MEASUREMENTS).glob("*/*.csv") if path.stem == name]


def _labels_file(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIXES['label_tiff']}"


def _scores_file(folder: Path, name: str) -> Path:
    return folder / SCORES / f"{name}.json"


def _geojson_file(folder: Path, name: str) -> Path:
    return folder / f"{name}{SUFFIXES['geojson']}"
