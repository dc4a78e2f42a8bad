"""Write patches as images with a first annotation beside them, to be corrected in a tool."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.folders.patches import is_annotated, read_masks, read_patch
from nuclei.io.files import digest, read_json, write_json
from nuclei.io.images import read_image, write_image
from nuclei.io.locks import alone
from nuclei.outlines import coco
from nuclei.outlines.polygons import fill_holes, outlines, renumber
from nuclei.outlines.registry import write
from nuclei.outlines.shapes import COCO_FILE, SUFFIXES, Format
from nuclei.pictures import overlay

EXPORTED = (
    ".exported.json"  # hidden, as no patch is; which patch was drawn by what, to tell what nobody has touched
)
OVERLAYS = "overlays"
MASKS = "masks"  # what an annotated patch starts from
FROM = {
    "baseline": "the baseline",
    "model": "the model",
    "start": "the start weights",
    "none": "nothing",
    MASKS: "the masks they have",
}

log = logging.getLogger(__name__)


def export_patches(
    data: Path,
    names: Sequence[str],
    out: Path,
    formats: Sequence[Format],
    start: str,
    draw: Callable[[np.ndarray], np.ndarray],
) -> int:
    """Write each patch as `<out>/<patch>.png`, and its first annotation beside it.

    A file that is there already stays, since somebody may have worked on it.

    Args:
        data: the folder of patches.
        names: which of them.
        out: the folder to write.
        formats: of the annotations.
        start: what `draw` is: "baseline", "model", "start" (the start weights) or "none".
        draw: from an image, (H, W, 3) uint8 RGB, to its first labels, (H, W) int32; annotated patches start
            from their masks instead.

    Returns:
        how many patches were exported.

    Raises:
        InputError: a broken patch, another image where one would be written, or `out` cannot be written.
    """
    # Everything is read once before anything is written.
    starts = {name: MASKS if is_annotated(data / name) else start for name in names}
    for name in names:
        read_masks(data / name) if starts[name] == MASKS else read_patch(data / name)

    files = _files(out, formats, names)
    kept = [path for path in files if path.exists()]
    todo = {path: files[path] for path in files if path not in kept}
    exported = [name for name in names if any(name in owners for _, owners in todo.values())]
    for name in exported:
        check_picture(out / f"{name}.png", read_patch(data / name))
    with alone(out):
        labels = dict(_first_labels(data, out, exported, starts, draw))
        for path, (form, owners) in todo.items():
            _write(path, form, {name: labels[name] for name in owners})
    if kept:
        log.warning(
            "kept as they are, since somebody may have worked on them: %s; move them away or name another "
            "--out to export these again",
            ", ".join(path.name for path in kept),
        )
    for origin, count in Counter(starts[name] for name in exported).items():
        log.info("%d patches start from %s", count, FROM[origin])
    return len(exported)


def _files(
    out: Path, formats: Sequence[Format], names: Sequence[str]
) -> dict[Path, tuple[Format, Sequence[str]]]:
    """The annotation files to write, their format, and the patches in each."""
    files: dict[Path, tuple[Format, Sequence[str]]] = {}
    for form in formats:
        if form == "coco":
            files[out / COCO_FILE] = form, names
        else:
            files |= {out / f"{name}{SUFFIXES[form]}": (form, [name]) for name in names}
    if len(files) < sum(1 if form == "coco" else len(names) for form in formats):
        raise InputError(
            f"a patch is called {COCO_FILE.removesuffix('.json')}: export LabelMe and COCO apart"
        )
    return files


def _write(path: Path, form: Format, labels: dict[str, np.ndarray]) -> None:
    if form == "coco":
        coco.write(path, {f"{name}.png": (image.shape, outlines(image)) for name, image in labels.items()})
    else:
        ((name, image),) = labels.items()
        write(path, form, image, f"{name}.png")


def _first_labels(
    data: Path, out: Path, names: list[str], starts: dict[str, str], draw: Callable
) -> Iterator[tuple[str, np.ndarray]]:
    """The annotation that each patch starts from, (H, W) int32; its picture and origin are written here."""
    record = out / EXPORTED
    exported = read_json(record) if record.exists() else {}
    for name in tqdm(names, desc="exporting", unit="patch", disable=not names):
        image = read_patch(data / name)
        # Holes are filled in what a program has drawn; what a person has drawn is exported as it is.
        labels = read_masks(data / name) if starts[name] == MASKS else fill_holes(draw(image))[0]
        write_image(out / f"{name}.png", image)
        write_image(out / OVERLAYS / f"{name}.png", overlay(image, labels))
        exported.setdefault(name, {})[starts[name]] = fingerprint(labels)
        write_json(record, exported)
        yield name, labels


def check_picture(path: Path, image: np.ndarray) -> None:
    """InputError where `path` is there and shows another image than (H, W, 3) uint8: it is somebody's own."""
    if path.exists() and not np.array_equal(read_image(path), image):
        raise InputError(
            f"{path} is another image than the patch of that name; move it away, or name another folder"
        )


def fingerprint(labels: np.ndarray) -> str:
    """Twelve hexadecimal digits that change with the nuclei of a label image, not with their ids."""
    return digest([renumber(labels).tobytes()])
