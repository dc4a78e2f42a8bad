"""Annotate the selected patches with the tool of your choice: export, correct there, import."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro
from tqdm import tqdm

from mrcnn import backend
from mrcnn.config import check_takes_tiles, find_model
from nuclei import label_free
from nuclei.cli import run
from nuclei.errors import InputError
from nuclei.folders.patches import is_annotated, is_patch, read_masks, read_patch, write_masks
from nuclei.folders.tables import SELECTION, read_selection
from nuclei.io.files import digest, is_unfinished, read_json, write_json
from nuclei.io.images import write_image, write_labels
from nuclei.outlines import coco
from nuclei.outlines.checks import to_labels
from nuclei.outlines.polygons import fill_holes, outlines, renumber
from nuclei.outlines.registry import COCO_FILE, SUFFIXES, Format, detect, read, write
from nuclei.outlines.shapes import NUCLEUS, Annotation
from nuclei.pictures import overlay

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


@dataclass(frozen=True)
class Export:
    """Write the selected patches as images with a first annotation beside them, to be corrected."""

    data: Path = Path("data")  # the patches; selected.csv there says which
    out: Path = Path("annotations")  # <patch>.png and the annotation go here; pictures to overlays/
    format: tuple[Format, ...] = ("geojson",)  # one or more; geojson is what QuPath reads
    start: Literal["baseline", "model", "none"] = "baseline"  # draws what nobody has annotated yet
    model: Path = Path("runs/mrcnn/model")  # the folder of a trained model, for --start model


@dataclass(frozen=True)
class Import:
    """Read annotations back into data/<patch>/masks/; checks all files before it writes the first mask."""

    annotations: tyro.conf.Positional[Path] = Path("annotations")  # the folder of the files, named <patch>.*
    data: Path = Path("data")  # the patches
    format: tuple[Format, ...] = ()  # read these only; any without it
    classes: tuple[str, ...] = ()  # further classes that are nuclei, beside nucleus and no class
    fill_holes: bool = True  # a nucleus has no hole
    empty: bool = False  # take files without any nucleus as patches without nuclei, not as not yet annotated
    replace: bool = False  # put annotations in the place of other ones, which are kept in replaced/


Command = (
    Annotated[Export, tyro.conf.subcommand("export")] | Annotated[Import, tyro.conf.subcommand("import")]
)
EXPORTED = "exported.json"  # which patch was drawn by what, to tell what nobody has touched
OVERLAYS = "overlays"
REPLACED = "replaced"
MASKS = "masks"  # what an annotated patch starts from
FROM = {"baseline": "the baseline", "model": "the model", "none": "nothing", MASKS: "the masks they have"}


def main(settings: Export | Import) -> None:
    if isinstance(settings, Export):
        export_patches(settings)
    else:
        import_annotations(settings)


def export_patches(settings: Export) -> None:
    names = read_selection(settings.data)
    if not settings.format:
        raise InputError(f"--format names no format; name one or more of {', '.join(SUFFIXES)}, coco")
    if settings.start == "model":
        check_takes_tiles(settings.model, find_model(settings.model)[1])
        backend.check()
    # Everything is read once before anything is written.
    starts = {name: MASKS if is_annotated(settings.data / name) else settings.start for name in names}
    for name in names:
        read_masks(settings.data / name) if starts[name] == MASKS else read_patch(settings.data / name)

    files = _files(settings.out, settings.format, names)
    kept = [path for path in files if path.exists()]
    todo = {path: files[path] for path in files if path not in kept}
    exported = [name for name in names if any(name in owners for _, owners in todo.values())]
    draw = _drawer(settings.start, settings.model)
    labels = dict(_first_labels(settings.data, settings.out, exported, starts, draw))
    for path, (form, owners) in todo.items():
        _write(path, form, {name: labels[name] for name in owners})
    if kept:
        print(
            f"kept as they are, since somebody may have worked on them: {', '.join(p.name for p in kept)}; "
            "move them away or name another --out to export these again",
            file=sys.stderr,
        )
    for start, count in Counter(starts[name] for name in exported).items():
        print(f"{count} patches start from {FROM[start]}")
    print(
        f"wrote {len(exported)} patches to {settings.out}/ as {', '.join(settings.format)}\n"
        f"next: look at {settings.out / OVERLAYS}/, correct the outlines in a tool, save them under the same "
        f"names, then python annotations.py import {settings.out}"
    )


def _files(out: Path, formats: tuple[Format, ...], names: list[str]) -> dict[Path, tuple[Format, list[str]]]:
    """The annotation files to write, their format, and the patches in each."""
    files: dict[Path, tuple[Format, list[str]]] = {}
    for form in formats:
        if form == "coco":
            files[out / COCO_FILE] = form, names
        else:
            files |= {out / f"{name}{SUFFIXES[form]}": (form, [name]) for name in names}
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
        exported.setdefault(name, {})[starts[name]] = _fingerprint(labels)
        write_json(record, exported)
        yield name, labels


def _drawer(start: str, model_folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The function from an image, (H, W, 3) uint8 RGB, to its first labels, (H, W) int32."""
    if start == "baseline":
        return label_free.segment
    if start == "none":
        return lambda image: np.zeros(image.shape[:2], np.int32)

    @functools.cache  # loaded at the first patch that needs it
    def network() -> MaskRCNN:
        # Imported here: TensorFlow takes seconds, which --help and the other starts need not wait for.
        from mrcnn import model

        return model.load(model_folder)

    def draw(image: np.ndarray) -> np.ndarray:
        from mrcnn.inference import tiling

        return tiling.segment(network(), image)[0]

    return draw


def _fingerprint(labels: np.ndarray) -> str:
    return digest([renumber(labels).tobytes()])


def import_annotations(settings: Import) -> None:
    selected = read_selection(settings.data) if (settings.data / SELECTION).exists() else []
    found = _find(settings.annotations, settings.data, settings.format)
    labels, notes = {}, []
    for name, (path, annotation) in found.items():
        patch, classes = settings.data / name, (NUCLEUS, *settings.classes)
        labels[name], mended = _check(annotation, patch, classes, settings.fill_holes)
        notes += [f"{path} ({name}): {', '.join(mended)}"] if mended else []
    new, same, empty, other = _sort(settings.data, labels, settings.empty)
    if other and not settings.replace:
        raise InputError(
            f"{settings.data}/ has other annotations of {_with_files(other, found)}; --replace puts these in "
            f"their place and keeps the old ones in {settings.annotations / REPLACED}/"
        )
    for note in notes:
        print(note, file=sys.stderr)
    if empty:
        print(
            f"left out {len(empty)} patches without a nucleus: {', '.join(empty)}; annotate them, or pass "
            "--empty where they have none",
            file=sys.stderr,
        )
    _say_untouched(settings.annotations / EXPORTED, labels, new)
    for name in tqdm(new, desc="importing", unit="patch", disable=not new):
        _keep_replaced(settings.data / name, settings.annotations / REPLACED)
        write_masks(settings.data / name, labels[name])
    nuclei = sum(int(labels[name].max()) for name in new)
    already = f"; {len(same)} others had theirs already" if same else ""
    print(f"imported {nuclei} nuclei of {len(new)} patches into {settings.data}/{already}")
    missing = [name for name in selected if not is_annotated(settings.data / name)]
    if missing:
        print(f"next: annotate {', '.join(missing)}, which are selected too, then python main_train.py")
    else:
        print("next: python main_train.py")


def _find(folder: Path, data: Path, formats: tuple[Format, ...]) -> dict[str, tuple[Path, Annotation]]:
    """The annotation of each patch, and its file.

    Raises:
        InputError: no or broken files, files of unknown patches, or several of one patch.
    """
    if folder.is_file():
        raise InputError(f"{folder} is a file; name the folder that it is in: {folder.parent}")
    if not folder.is_dir():
        raise InputError(f"{folder}/ does not exist; run python annotations.py export, or name the folder")
    found: dict[str, tuple[Path, Annotation]] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file() or is_unfinished(path) or path.name == EXPORTED:
            continue
        form = detect(path)
        if form is None or (formats and form not in formats):
            continue
        for name, annotation in read(path, form).items():
            if not is_patch(data / name):
                raise InputError(f"{path} is of {name}, which is no patch of {data}/; mend its name")
            if name in found:
                raise InputError(
                    f"{found[name][0]} and {path} are both of {name}; keep one, or name its --format"
                )
            found[name] = path, annotation
    if not found:
        wanted = f"{' or '.join(formats)} " if formats else ""
        raise InputError(f"{folder}/ holds no {wanted}annotation; save one there as <patch>.geojson, say")
    return found


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
        write_labels(folder / f"{patch.name}_{_fingerprint(before)}.tif", before)


def _say_untouched(record: Path, labels: dict[str, np.ndarray], names: list[str]) -> None:
    """Warn of suggestions of a program that nobody corrected; `record` says what they were."""
    exported = read_json(record) if record.exists() else {}
    untouched = [
        f"{name} ({start})"
        for name in names
        for start, drawn in exported.get(name, {}).items()
        if start in ("baseline", "model") and drawn == _fingerprint(labels[name])
    ]
    if untouched:
        print(
            f"nobody changed what a program drew in {', '.join(untouched)}; look at these before you train",
            file=sys.stderr,
        )


if __name__ == "__main__":
    run(main, Command, __doc__)
