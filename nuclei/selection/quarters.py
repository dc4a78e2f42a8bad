"""The quarters of patches: kept once by the content of their patch, laid out by cluster as often as wanted.

<crops>/.quarters/<ab>/<key>_<k>.png      quarter k of the patch with that key, which begins with ab
<crops>/<cluster>/<n>/                    the quarters of a cluster's patches, in the layout of patches
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.folders.patches import image_path
from nuclei.io.files import atomic_folder, is_hidden, remove_tree
from nuclei.io.images import write_image

KEPT = ".quarters"


def quarters(image: np.ndarray) -> np.ndarray:
    """The four quarters of an image, row by row: (H, W, C) -> (4, H/2, W/2, C), a view where possible.

    Raises:
        InputError: the height or width is odd.
    """
    height, width, channels = image.shape
    if height % 2 or width % 2:
        raise InputError(f"a patch of {width} x {height} px has no equal quarters; cut patches of even size")
    split = image.reshape(2, height // 2, 2, width // 2, channels)
    return split.swapaxes(1, 2).reshape(4, height // 2, width // 2, channels)


def check_crops(crops: Path) -> None:
    """Raise InputError where `crops` holds folders of somebody else, which `place_quarters` might remove."""
    crops = Path(crops)
    if not crops.is_dir() or (crops / KEPT).exists():
        return
    if any(path.is_dir() and not is_hidden(path) for path in crops.iterdir()):
        raise InputError(
            f"{crops}/ holds folders that were not made here; empty it or name another folder (--crops)"
        )


def write_quarters(crops: Path, key: str, image: np.ndarray) -> None:
    """Keep the quarters of a patch at hand for `place_quarters`; `key` names the patch's content."""
    for number, quarter in enumerate(quarters(image)):
        write_image(_path(crops, key, number), quarter)


def has_quarters(crops: Path, key: str) -> bool:
    """Whether all four quarters of that patch are kept."""
    return all(_path(crops, key, number).exists() for number in range(4))


def _path(crops: Path, key: str, number: int) -> Path:
    # Folders of some hundred files each: one of a million is slow on some file systems.
    return Path(crops) / KEPT / key[:2] / f"{key}_{number}.png"


def place_quarters(crops: Path, clusters: Sequence[Sequence[str]], pool: Collection[str]) -> None:
    """Lay out the quarters of each cluster's patches as `<crops>/<cluster>/<n>`, n counting quarters.

    They are hard links to what `write_quarters` wrote, so another clustering costs next to nothing; where the
    file system has none (FAT, some network drives) they are copies, and a warning says so. Further clusters
    of an earlier one, and quarters of patches that are not in the `pool` any more, are removed.
    """
    crops, copied = Path(crops), 0
    for cluster, keys in enumerate(tqdm(clusters, desc="placing quarters", unit="cluster")):
        with atomic_folder(crops / str(cluster)) as folder:
            pieces = (_path(crops, key, number) for key in keys for number in range(4))
            for number, piece in enumerate(pieces):
                target = image_path(folder / str(number))
                target.parent.mkdir(parents=True)
                copied += not _link(piece, target)
    if copied:
        message = (
            "the file system of %s/ has no hard links: %d quarters were copied and take their space twice"
        )
        logging.getLogger(__name__).warning(message, crops, copied)
    for path in crops.iterdir():
        if path.is_dir() and path.name.isdigit() and int(path.name) >= len(clusters):
            remove_tree(path)
    for path in (crops / KEPT).glob("*/*.png"):
        if path.stem.rsplit("_", 1)[0] not in pool:
            path.unlink()


def _link(path: Path, target: Path) -> bool:
    """Make `target` a hard link to `path`, or a copy where that is refused; whether it is a link."""
    try:
        target.hardlink_to(path)
    except (OSError, NotImplementedError):
        shutil.copyfile(path, target)
        return False
    return True
