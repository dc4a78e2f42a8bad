"""The folder layout that the stages hand over through; no other file knows it.

A patch is a folder, the same everywhere:

    <patch>/images/<patch>.png     RGB, uint8
    <patch>/masks/<k>.png          one binary mask (0/255) per nucleus; the folder is there once annotated
    <patch>/whole/<patch>.png      their union (0/255)
    <patch>/undecided/<k>.png      in pseudo labels only: nuclei that the network was not sure of
    <patch>/scores.json            in pseudo labels only: how sure it was of each mask
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nuclei.errors import InputError
from nuclei.io.files import as_read, atomic_folder, check_names, digest, is_hidden, read_json
from nuclei.io.ids import is_background, is_one_nucleus
from nuclei.io.images import IMAGE_SUFFIXES, decode, encode_png, is_grey, read_image

PATCH = 256  # px, the side of a patch unless a script is told otherwise
SCORES = "scores.json"
_IMAGES, _MASKS, _WHOLE, _UNDECIDED = "images", "masks", "whole", "undecided"
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)\d)(\.|$)", re.IGNORECASE)  # no file on Windows
_HOW_TO_FILL = (
    f"put patches there as <patch>/{_IMAGES}/<patch>.png, or have images cut: consis_based.py --images FOLDER"
)


def list_patches(folder: Path) -> list[str]:
    """Names of the patches in `folder`, sorted.

    Raises:
        InputError: the folder is missing or holds no patch, or the name of one is not UTF-8.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}/ does not exist; {_HOW_TO_FILL}")
    names = sorted(path.name for path in folder.iterdir() if is_patch(path))
    if not names:
        raise InputError(f"{folder}/ holds no patch; {_HOW_TO_FILL}")
    check_names(folder / name for name in names)
    return names


def spelt(name: str, known: Sequence[str]) -> str:
    """`name` as one of the `known` patches spells it (see `as_read`); itself where there is none."""
    return name if name in known else next((n for n in known if as_read(n) == as_read(name)), name)


def is_patch(path: Path) -> bool:
    """Whether `path` is a finished patch folder."""
    return (path / _IMAGES).is_dir() and not is_hidden(path)


def image_path(patch: Path) -> Path:
    """Where the image of the patch folder `patch` lies: `<patch>.png`, or the only one of another name."""
    named = Path(patch) / _IMAGES / f"{Path(patch).name}.png"
    if named.exists():
        return named
    others = [
        path
        for path in named.parent.glob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path)
    ]
    return others[0] if len(others) == 1 else named


def read_patch(patch: Path) -> np.ndarray:
    """The image of a patch folder, (H, W, 3) uint8 RGB; InputError where it is missing, broken or grey."""
    path = image_path(patch)
    return checked(read_image(path), path)


def checked(image: np.ndarray, path: Path) -> np.ndarray:
    """The image of a patch, (H, W, 3) uint8 RGB; InputError where it is grey: no stage can use it."""
    if is_grey(image):
        raise InputError(f"{path} is grey; give the image in the colours of its stain (RGB), or take it out")
    return image


def is_annotated(patch: Path) -> bool:
    """Whether a patch folder has masks; an annotated patch may hold no nucleus at all."""
    return (Path(patch) / _MASKS).is_dir()


def read_masks(patch: Path) -> np.ndarray:
    """The masks of an annotated patch as one label image, (H, W) int32: 0 background, 1..N nuclei.

    Raises:
        InputError: no annotation yet, a broken or empty mask, one of several nuclei or of another size
            than the image, or two masks that overlap.
    """
    patch = Path(patch)
    if not is_annotated(patch):
        raise InputError(
            f"{patch} has no annotation yet; put one mask per nucleus into {patch / _MASKS}/<k>.png"
        )
    return _read_mask_folder(patch / _MASKS, read_patch(patch).shape[:2])


def read_undecided(patch: Path) -> np.ndarray:
    """What a network was not sure of in a patch that it labelled, (H, W) int32; all 0 in other patches."""
    return _read_mask_folder(Path(patch) / _UNDECIDED, read_patch(patch).shape[:2])


def count_masks(patch: Path) -> int:
    """How many nuclei `read_masks` would give, without reading them; 0 without annotation."""
    return len(_mask_files(Path(patch) / _MASKS))


def count_undecided(patch: Path) -> int:
    """How many nuclei `read_undecided` would give, without reading them."""
    return len(_mask_files(Path(patch) / _UNDECIDED))


def fingerprint(folder: Path, names: Sequence[str]) -> str:
    """Twelve hexadecimal digits that change with the names, the images or the masks of these patches."""

    def parts() -> Iterator[bytes]:
        for name in names:
            patch = Path(folder) / name
            for path in (image_path(patch), *sorted(_mask_files(patch / _MASKS))):
                content = path.read_bytes()
                yield f"{name} {path.name} {len(content)} ".encode() + content

    return digest(parts())


def _mask_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.suffix.lower() == ".png" and not is_hidden(path)]


def _read_mask_folder(folder: Path, shape: tuple[int, int]) -> np.ndarray:
    masks = _mask_files(folder)
    foreign = [path for path in folder.glob("*") if path not in masks and not is_hidden(path)]
    if foreign:
        raise InputError(f"{min(foreign)} is no mask; save it as <k>.png, or move it away")
    labels = np.zeros(shape, np.int32)
    owners: list[Path] = []
    for path in sorted(masks, key=_by_number):
        mask = _read_mask(path, shape)
        overlapped = labels[mask]
        if overlapped.any():
            other = owners[overlapped[overlapped > 0][0] - 1]
            raise InputError(f"{path} overlaps {other.name}; give each pixel to one nucleus only")
        owners.append(path)
        labels[mask] = len(owners)
    return labels


def _by_number(path: Path) -> tuple:
    """Sort 2.png before 10.png; names without a number come last."""
    return (0, int(path.stem), "") if path.stem.isdigit() else (1, 0, path.stem)


def _read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    mask = decode(path.read_bytes()) if path.is_file() else None
    if mask is None:
        raise InputError(f"{path} is not a readable PNG; draw that mask again or delete it")
    if mask.ndim == 3:
        if mask.shape[2] == 4 and (mask[..., 3] < mask[..., 3].max()).any():
            raise InputError(f"{path} is transparent in places; save it as black and white")
        mask = mask[..., :3].max(axis=2)
    if mask.shape != shape:
        height, width = shape
        raise InputError(
            f"{path} is {mask.shape[1]} x {mask.shape[0]} px but its image is {width} x {height} px; "
            "export the mask at the size of the image"
        )
    if not mask.any():
        raise InputError(f"{path} is empty; delete it or draw its nucleus")
    if len(np.unique(mask)) > 2:
        raise InputError(
            f"{path} holds several values; a mask is one nucleus, 255 on it and 0 elsewhere "
            "(annotations.py import takes label images)"
        )
    nucleus = mask > 0
    if path.parent.name == _MASKS and is_background(nucleus):  # an undecided region may be large
        raise InputError(
            f"{path} reaches around nearly the whole image, as the background does; a mask is 255 on its "
            "nucleus and 0 elsewhere: invert it"
        )
    if not is_one_nucleus(nucleus):
        raise InputError(
            f"{path} shows several nuclei; give each its own mask (annotations.py import takes label images)"
        )
    return nucleus


def write_patch(
    folder: Path,
    name: str,
    image: np.ndarray,
    labels: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    undecided: np.ndarray | None = None,
) -> None:
    """Write a patch folder, complete or not at all; an old one of that name is replaced.

    Args:
        folder: where patches live.
        name: the patch's name.
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integer label image, 0 background; None for a patch without annotation.
        scores: (N,), how sure a network was of each label, in the order of the ids; kept beside the masks.
        undecided: (H, W) integer label image of what may be a nucleus or not.

    Raises:
        InputError: the folder cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> image, labels = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), int)
    >>> labels[0, :2], labels[2:, 3] = 7, 9
    >>> with TemporaryDirectory() as data:
    ...     write_patch(data, "p0", image, labels)
    ...     print(list_patches(data), sorted(path.name for path in Path(data, "p0", "masks").iterdir()))
    ...     read_masks(Path(data, "p0"))
    ['p0'] ['0.png', '1.png']
    array([[1, 1, 0, 0],
           [0, 0, 0, 0],
           [0, 0, 0, 2],
           [0, 0, 0, 2]], dtype=int32)
    """
    with atomic_folder(Path(folder) / name) as patch:
        (patch / _IMAGES).mkdir()
        (patch / _IMAGES / f"{name}.png").write_bytes(encode_png(image))
        if labels is not None:
            _write_masks(patch / _MASKS, labels)
            _write_whole(patch / _WHOLE, name, labels)
        if scores is not None:
            content = json.dumps([round(float(score), 4) for score in scores])
            (patch / SCORES).write_text(content, encoding="utf-8")
        if undecided is not None:
            _write_masks(patch / _UNDECIDED, undecided)


def write_masks(patch: Path, labels: np.ndarray) -> None:
    """Annotate the patch folder `patch` with a label image, (H, W) integer; old masks are replaced.

    Everything else in the folder stays. InputError where the masks cannot be written.
    """
    patch = Path(patch)
    with atomic_folder(patch / _WHOLE) as whole:
        _write_whole(whole, patch.name, labels)
    with atomic_folder(patch / _MASKS) as masks:
        _write_masks(masks, labels)


def read_scores(patch: Path) -> list[float]:
    """How sure a network was of each mask of a patch that it labelled, in the order of the masks."""
    return read_json(Path(patch) / SCORES)


def _write_whole(folder: Path, name: str, labels: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.png").write_bytes(encode_png((labels > 0).astype(np.uint8) * 255))


def _write_masks(folder: Path, labels: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    for number, label in enumerate(np.unique(labels[labels > 0])):
        (folder / f"{number}.png").write_bytes(encode_png((labels == label).astype(np.uint8) * 255))


def starts(length: int, size: int, stride: int) -> list[int]:
    """First pixels of windows of `size` px, `stride` px apart, that cover `length` px.

    The last window is moved back so that it ends at the border.
    """
    if length <= size:
        return [0]
    return [*range(0, length - size, stride), length - size]


def source_stem(source: str) -> str:
    """What the names of the patches of the image file `source`, and of its pictures, begin with.

    Every system takes it as the beginning of a name: what Windows, which is the strictest, forbids becomes
    "_", and names that it reserves for devices get one in front.
    """
    stem = re.sub(r"[^\w.-]", "_", Path(source).stem)
    return f"_{stem}" if _DEVICE.match(stem) else stem


def overview_name(source: str, content: str) -> str:
    """The file name of a small picture of an image file; `content` tells it from another one of that name."""
    return f"{source_stem(source)}-{content}.png"


def stem_of_overview(path: Path) -> str:
    """The `source_stem` of the image that a file named by `overview_name` shows."""
    return Path(path).stem.rsplit("-", 2)[0]  # a content has one dash
