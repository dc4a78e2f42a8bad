"""A folder of annotated images: which of them may be learnt and looked at, and which are scored only.

images/         PNG, JPEG, TIFF
labels/         <image>.tif, 0 = background, 1..N = nuclei
splits.json     lists of file stems: those of lists with "train" in their name are for training, those of
                lists with "test" in it are scored
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nuclei.errors import InputError
from nuclei.experiment import Tissue, tissue_folders
from nuclei.folders.runs import Run
from nuclei.io.files import digest, read_json
from nuclei.io.images import by_stem, list_images, read_image, read_labels

SPLITS = "splits.json"
Pair = tuple[np.ndarray, np.ndarray]  # image (H, W, 3) uint8 and labels (H, W) int32


def read_splits(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The stems of the training images, sorted, and the lists of test images by name.

    Raises:
        InputError: there is no list of either kind, or an image or a list is of both.
    """
    path = folder / SPLITS
    splits = read_json(path)
    splits = splits.items() if isinstance(splits, dict) else ()
    lists = {name: stems for name, stems in splits if _are_stems(stems)}
    train, test = ({name: lists[name] for name in lists if part in name} for part in ("train", "test"))
    if not train or not test or train.keys() & test.keys():
        raise InputError(f"{path} needs lists of file stems named ...train... and others named ...test...")
    known, scored = ({stem for stems in kind.values() for stem in stems} for kind in (train, test))
    if known & scored:
        raise InputError(f"{path} has {', '.join(sorted(known & scored))} for training and for testing")
    return sorted(known), test


def _are_stems(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def find_files(folder: Path, stems: Sequence[str]) -> list[tuple[Path, Path]]:
    """Image and labels of each stem; InputError where one is missing, or two images share a stem."""
    images = by_stem(list_images(folder / "images"))
    pairs = []
    for stem in stems:
        label = folder / "labels" / f"{stem}.tif"
        if stem not in images or not label.exists():
            raise InputError(f"{folder / SPLITS} names {stem}, which has no image or no {label}")
        pairs.append((images[stem], label))
    return pairs


def read_training(folder: Path, count: int, stems: Sequence[str] = ()) -> dict[str, Pair]:
    """Training images and their labels, by file stem.

    Args:
        folder: of annotated images.
        count: how many, spread evenly over the list, if no `stems` are named; at most what there is.
        stems: which.

    Raises:
        InputError: as in `read_splits` and `find_files`, or one that is named is no training image.
    """
    known, _ = read_splits(folder)
    unknown = sorted(set(stems) - set(known))
    if unknown:
        raise InputError(f"{unknown[0]} is no training image of {folder}; name others with --stems")
    count = min(count, len(known))
    stems = stems or [known[i] for i in np.linspace(0, len(known) - 1, count).round().astype(int)]
    files = zip(stems, find_files(folder, stems), strict=True)
    return {stem: (read_image(image), read_labels(label)) for stem, (image, label) in files}


def sort_images(folder: Path, out: Path, split: tuple[Sequence[str], Sequence[str]] | None = None) -> Tissue:
    """Copies of images and labels by split, since a stage works on whole folders.

    Args:
        folder: of annotated images.
        out: where the copies go.
        split: the stems to train with and those to score; those of the folder's list unless told otherwise.

    Raises:
        InputError: as in `read_splits` and `find_files`, or `out` holds other images, or sorted otherwise.
    """
    if split is None:
        train, groups = read_splits(folder)
        split = train, sorted({stem for stems in groups.values() for stem in stems})
    where = tissue_folders(out)
    files: dict[Path, Path] = {}
    for stems, images, labels in (
        (split[0], where.train_images, where.train_labels),
        (split[1], where.test_images, where.test_labels),
    ):
        for image, label in find_files(folder, stems):
            files |= {images / image.name: image, labels / label.name: label}
    run = Run(out, "benchmark", {"images": _fingerprint(files)})
    if run.state == "stale":
        raise InputError(
            f"{out}/ holds other images than {folder}/, or split otherwise; choose another --out"
        )
    if not run.is_finished:
        run.begin()
        for target, source in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        run.finish()
    return where


def _fingerprint(files: dict[Path, Path]) -> str:
    """Changes with the contents, the names and the split of the files: target -> source."""

    def parts() -> Iterator[bytes]:
        for target, source in files.items():
            content = source.read_bytes()
            yield f"{target.parent.name}/{target.name} {len(content)} ".encode() + content

    return digest(parts())
