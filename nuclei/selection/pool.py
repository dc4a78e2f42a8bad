"""The pool that stage 1 chooses from: features of all patches of a folder, taken in one streaming pass.

Each patch is read and decoded once, in threads that run ahead of the network; its quarters are written by the
way. What is finished stays when the run is interrupted.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from nuclei.errors import InputError
from nuclei.folders.patches import checked, image_path
from nuclei.io.files import atomic_file
from nuclei.io.images import read_image
from nuclei.io.parallel import map_ahead
from nuclei.selection.feature_store import FeatureStore, content_key
from nuclei.selection.quarters import has_quarters, quarters, write_quarters

BLANK = 3.0  # grey levels: empty glass, whose colours vary by the noise of the scanner

log = logging.getLogger(__name__)


class Extractor(Protocol):
    """See `nuclei.selection.features.Extractor`."""

    @property
    def batch(self) -> int: ...

    def __call__(self, images: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Stamp:
    """A patch's image file when it was last read; as long as size and time stay, so does the key."""

    size: int  # bytes
    time: int  # of the last change, ns
    key: bytes


@dataclass(frozen=True)
class Loaded:
    name: str
    stamp: Stamp
    image: np.ndarray | None  # (H, W, 3) uint8; None where its features are in the store


def read_features(
    data: Path,
    names: list[str],
    size: int,
    store: FeatureStore,
    load_extractor: Callable[[], Extractor],
    crops: Path | None = None,
) -> list[bytes]:
    """Bring the features of the patches `names` of `data`, and of their quarters, into the store.

    Args:
        data: the folder of patches.
        names: which of them.
        size: px, the side that all of them must have.
        store: what is in it already is not computed anew.
        load_extractor: gives the network; called only when it is needed.
        crops: where the quarters are kept (see nuclei.selection.quarters); None to write none.

    Returns:
        The keys of the patches, in the order of the names.

    Raises:
        InputError: a missing or broken image, one of another size, or a full disk. The features that were
            computed by then stay.
    """
    stamps_path = stamps_file(store, size)
    stamps = read_stamps(stamps_path)

    def look_at(name: str) -> Loaded:
        return load(image_path(data / name), name, size, stamps.get(name), store, crops)

    extractor = cache(load_extractor)
    with tqdm(total=len(names), desc="features", unit="patch") as progress:
        try:
            batch = {}
            for loaded in map_ahead(look_at, names, ahead=64):
                stamps[loaded.name] = loaded.stamp
                if loaded.image is None or loaded.stamp.key in batch or loaded.stamp.key in store:
                    progress.update()
                    continue
                batch[loaded.stamp.key] = loaded.image
                if len(batch) == extractor().batch:
                    _append(store, batch, extractor())
                    progress.update(len(batch))
                    batch = {}
            if batch:
                _append(store, batch, extractor())
                progress.update(len(batch))
        finally:
            write_stamps(stamps_path, stamps)
    return [stamps[name].key for name in names]


def load(
    path: Path,
    name: str,
    size: int,
    before: Stamp | None,
    store: Container[bytes],
    crops: Path | None,
) -> Loaded:
    """One patch: its stamp, its quarters written, and its image where its features are not in `store`.

    InputError as in `read_features`.
    """
    try:
        status = path.stat()
        if (
            before is not None
            and (before.size, before.time) == (status.st_size, status.st_mtime_ns)
            and before.key in store
            and (crops is None or has_quarters(crops, before.key.hex()))
        ):
            return Loaded(name, before, None)
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; put the image of that patch there") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    stamp = Stamp(status.st_size, status.st_mtime_ns, content_key(content, size))
    if crops is not None and has_quarters(crops, stamp.key.hex()):
        crops = None  # they are there
    if stamp.key in store and crops is None:
        return Loaded(name, stamp, None)

    image = checked(read_image(path, content), path)
    height, width = image.shape[:2]
    if (height, width) != (size, size):
        raise InputError(
            f"the patch {path.parents[1]} is {width} x {height} px, not {size} x {size} px; "
            f"if all are of that size, pass --patch {width}; otherwise let --images cut them"
        )
    if image.std(axis=(0, 1)).max() < BLANK:
        log.warning("%s shows nothing and may be chosen all the same; take its folder out", path)
    if crops is not None:
        write_quarters(crops, stamp.key.hex(), image)
    return Loaded(name, stamp, None if stamp.key in store else image)


def _append(store: FeatureStore, batch: dict[bytes, np.ndarray], extractor: Extractor) -> None:
    store.append(list(batch), *take(np.stack(list(batch.values())), extractor))


def take(images: np.ndarray, extractor: Extractor) -> tuple[np.ndarray, np.ndarray]:
    """Features (B, D) of patches (B, H, W, 3) uint8, and (B, 4, D) of their quarters."""
    pieces = extractor(np.concatenate([quarters(image) for image in images]))
    return extractor(images), pieces.reshape(len(images), 4, -1)


def stamps_file(store: FeatureStore, size: int) -> Path:
    """Where the stamps of patches of `size` px are."""
    return store.folder / f"stamps_{size}.csv"


def read_stamps(path: Path) -> dict[str, Stamp]:
    """What `write_stamps` wrote; empty where it is missing or broken: then the images are read again."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {name: Stamp(int(a), int(b), bytes.fromhex(key)) for name, a, b, key in csv.reader(file)}
    except (OSError, ValueError):
        return {}


def write_stamps(path: Path, stamps: dict[str, Stamp]) -> None:
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows((name, s.size, s.time, s.key.hex()) for name, s in stamps.items())
