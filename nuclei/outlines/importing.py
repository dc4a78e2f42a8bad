"""Read annotations back into the patches: all files are checked before the first mask is written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.folders.patches import is_annotated, list_patches, read_masks, read_patch, spelt, write_masks
from nuclei.io.files import is_hidden, read_json
from nuclei.io.images import write_labels
from nuclei.outlines import geojson
from nuclei.outlines.checks import to_labels
from nuclei.outlines.exporting import EXPORTED, FROM, OVERLAYS, fingerprint
from nuclei.outlines.polygons import fill_holes, renumber
from nuclei.outlines.registry import detect, read
from nuclei.outlines.shapes import NUCLEUS, Annotation, Format, image_name

REPLACED = "replaced"  # in the folder of annotations: masks that others took the place of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """What an import did: names of patches, and nuclei."""

    new: list[str]
    same: list[str]
    nuclei: int


def import_annotations(
    folder: Path,
    data: Path,
    *,
    formats: Sequence[Format] = (),
    classes: Sequence[str] = (),
    fill: bool = True,
    take_empty: bool = False,
    replace: bool = False,
) -> Imported:
    """Write the annotations in a folder as masks of the patches that they are of.

    Args:
        folder: of annotation files, named `<patch>.*`.
        data: the folder of patches.
        formats: read these only; none for all.
        classes: further classes that are nuclei, beside nucleus and no class.
        fill: whether holes are filled.
        take_empty: whether a file without a nucleus is an annotation of a patch without nuclei.
        replace: whether other masks are replaced, which are kept in `replaced/`.

    Raises:
        InputError: something cannot be read or is not clear, or would replace other masks; nothing is
            written then.
    """
    found = _find(folder, data, formats)
    labels, notes = {}, []
    for name, (path, annotation) in found.items():
        labels[name], mended = _check(annotation, data / name, (NUCLEUS, *classes), fill)
        notes += [f"{path} ({name}): {', '.join(mended)}"] if mended else []
    new, same, empty, other = _sort(data, labels, take_empty)
    if other and not replace:
        raise InputError(
            f"{data}/ has other annotations of {_with_files(other, found)}; --replace puts these in "
            f"their place and keeps the old ones in {folder / REPLACED}/"
        )
    for note in notes:
        log.info(note)
    if empty:
        log.warning(
            "left out %d patches without a nucleus: %s; annotate them, or pass --empty where they have none",
            len(empty), ", ".join(empty),
        )  # fmt: skip
    _say_untouched(folder / EXPORTED, labels, new)
    for name in tqdm(new, desc="importing", unit="patch", disable=not new):
        _keep_replaced(data / name, folder / REPLACED)
        write_masks(data / name, labels[name])
    return Imported(new, same, sum(int(labels[name].max()) for name in new))


def import_patch(path: Path, patch: Path, replaced: Path) -> tuple[int, list[str]]:
    """Write the annotation in one GeoJSON file as the masks of its patch, even where it holds no nucleus.

    Args:
        path: the file.
        patch: the patch's folder.
        replaced: where other masks are kept that these take the place of.

    Returns:
        the number of nuclei, and what was mended, as `nuclei.outlines.checks.to_labels` says it.

    Raises:
        InputError: the file cannot be read or is not clear; nothing is written then.
    """
    labels, notes = _check(geojson.read(path), patch, (NUCLEUS,), fill=True)
    if not _is_in(patch, labels):
        _keep_replaced(patch, replaced)
        write_masks(patch, labels)
    return int(labels.max()), notes


def _find(folder: Path, data: Path, formats: Sequence[Format]) -> dict[str, tuple[Path, Annotation]]:
    """The annotation of each patch, and its file.

    Raises:
        InputError: no or broken files, files of unknown patches, or several of one patch.
    """
    if folder.is_file():
        raise InputError(f"{folder} is a file; name the folder that it is in: {folder.parent}")
    if not folder.is_dir():
        raise InputError(f"{folder}/ does not exist; run python annotations.py export, or name the folder")
    found: dict[str, tuple[Path, Annotation]] = {}
    known, left_out = list_patches(data), []
    for path in sorted(folder.iterdir()):
        if is_hidden(path):
            continue
        form = detect(path) if path.is_file() else None
        if form is None and not _is_ours(path, known):
            left_out.append(path.name)
        if form is None or (formats and form not in formats):
            continue
        for stem, annotation in read(path, form).items():
            # QuPath offers to save the objects of a.png as a.png.geojson; but a patch may be called a.png.
            name = spelt(stem if spelt(stem, known) in known else image_name(stem), known)
            if name not in known:
                raise InputError(
                    f"{path} is of {name}, which is no patch of {data}/; mend its name, or take it out"
                )
            if name in found:
                raise InputError(
                    f"{found[name][0]} and {path} are both of {name}; keep one, or name its --format"
                )
            found[name] = path, annotation
    if left_out and not formats:
        log.warning("%s/: left out %s, of no format that is read", folder, ", ".join(left_out))
    if not found:
        wanted = f"{' or '.join(formats)} " if formats else ""
        files = "<patch>.geojson, .json, .zip (ImageJ) or .tif (ids, not colours)"
        raise InputError(f"{folder}/ holds no {wanted}annotation; save one there as {files}")
    return found


def _is_ours(path: Path, known: Sequence[str]) -> bool:
    """Whether an export or an import has written it beside the annotations."""
    if path.is_dir():
        return path.name in (OVERLAYS, REPLACED)
    return path.suffix == ".png" and spelt(path.stem, known) in known


def _check(
    annotation: Annotation, patch: Path, classes: tuple[str, ...], fill: bool
) -> tuple[np.ndarray, list[str]]:
    """The labels of one patch, (H, W) int32 with ids 1..N, and what was mended."""
    labels, notes = to_labels(annotation, patch.name, read_patch(patch).shape[:2], classes)
    if fill and not _is_in(patch, labels):  # what data/ holds already is left as it is
        labels, count = fill_holes(labels)
        notes += [f"holes of {count} {'nucleus' if count == 1 else 'nuclei'} filled"] if count else []
    return labels, notes


def _is_in(patch: Path, labels: np.ndarray) -> bool:
    """Whether a patch is annotated with the same nuclei."""
    return is_annotated(patch) and np.array_equal(renumber(labels), renumber(read_masks(patch)))


def _sort(data: Path, labels: dict[str, np.ndarray], take_empty: bool) -> tuple[list[str], ...]:
    """The names of the patches to write, of those annotated alike, and of those without a nucleus.

    The fourth list is those of the first that have another annotation already.
    """
    new, same, empty, other = [], [], [], []
    for name in labels:
        patch = data / name
        if _is_in(patch, labels[name]):
            same.append(name)
        elif not take_empty and not labels[name].any():
            empty.append(name)
        else:
            new.append(name)
            other += [name] if is_annotated(patch) else []
    return new, same, empty, other


def _with_files(names: list[str], found: dict[str, tuple[Path, Annotation]]) -> str:
    return ", ".join(f"{name} ({found[name][0]})" for name in names)


def _keep_replaced(patch: Path, folder: Path) -> None:
    """Keep the masks that are about to be replaced, as a label image that no later one overwrites."""
    if is_annotated(patch):
        before = read_masks(patch)
        write_labels(folder / f"{patch.name}_{fingerprint(before)}.tif", before)


def _say_untouched(record: Path, labels: dict[str, np.ndarray], names: list[str]) -> None:
    """Warn of suggestions of a program that nobody corrected; `record` says what they were."""
    exported = read_json(record) if record.exists() else {}
    untouched = [
        f"{name} ({FROM[start]})"
        for name in names
        for start, drawn in exported.get(name, {}).items()
        if start in ("baseline", "model", "start") and drawn == fingerprint(labels[name])
    ]
    if untouched:
        log.warning(
            "nobody changed what a program drew in %s; look at these before you train", ", ".join(untouched)
        )
