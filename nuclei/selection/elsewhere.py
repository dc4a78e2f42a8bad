"""Features that the workers of a cluster take and leave in a shared folder, from where they are kept.

What a worker makes is what `nuclei.selection.pool` would make here, batch by batch, and comes into the store
in the same order.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nuclei import cluster
from nuclei.errors import InputError
from nuclei.folders.patches import image_path
from nuclei.io.files import atomic_file
from nuclei.selection.feature_store import FeatureStore
from nuclei.selection.pool import Stamp, load, read_stamps, stamps_file, take, write_stamps

if TYPE_CHECKING:
    from nuclei.selection.features import Extractor

PARTS = "parts"  # the folder below that of the features
TOGETHER = 64  # patches of a task: whole batches on any device


@dataclass(frozen=True)
class Batch:
    """Some patches of a folder."""

    number: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.names[0]} to {self.names[-1]}"


@functools.lru_cache(1)
def _extractor(model: str, device: str) -> Extractor:
    """The network; once per process."""
    from nuclei.selection.features import Extractor

    return Extractor(model, device)


@dataclass(frozen=True)
class TakeFeatures:
    """Reads patches and leaves their features, and their quarters where `crops` says."""

    data: Path
    size: int  # px
    model: str
    device: str
    crops: Path | None
    parts: Path

    def __call__(self, batch: Batch) -> None:
        network = _extractor(self.model, self.device)
        nothing: frozenset[bytes] = frozenset()
        loaded = [
            load(image_path(self.data / name), name, self.size, None, nothing, self.crops)
            for name in batch.names
        ]
        images = {one.stamp.key: one.image for one in loaded if one.image is not None}
        keys = list(images)
        chunks = [keys[first : first + network.batch] for first in range(0, len(keys), network.batch)]
        taken = [take(np.stack([images[key] for key in chunk]), network) for chunk in chunks]
        patches, quarters = (np.concatenate(each) for each in zip(*taken, strict=True))
        with atomic_file(self.parts / f"{batch.number}.npz") as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                keys=np.array([key.hex() for key in keys]),
                patches=patches,
                quarters=quarters,
                sizes=np.array([one.stamp.size for one in loaded]),
                times=np.array([one.stamp.time for one in loaded]),
                of=np.array([one.stamp.key.hex() for one in loaded]),
            )


def take_features(
    data: Path,
    names: Sequence[str],
    size: int,
    store: FeatureStore,
    device: str,
    crops: Path | None,
    scheduler: str,
) -> None:
    """Bring the features of the patches that are new into the store; then `pool.read_features` finds them.

    Args:
        data, names, size, store, crops: as in `pool.read_features`.
        device: of the workers' networks.
        scheduler: see `nuclei.cluster.workers`.

    Raises:
        InputError: as in `pool.read_features`, or a batch failed.
    """
    path, parts = stamps_file(store, size), (store.folder / PARTS).resolve()
    stamps = read_stamps(path)
    todo = [name for name in names if not _is_known(image_path(data / name), stamps.get(name), store)]
    if not todo:
        return
    shutil.rmtree(parts, ignore_errors=True)  # of a killed run, whose batches were others
    batches = [
        Batch(number, tuple(todo[first : first + TOGETHER]))
        for number, first in enumerate(range(0, len(todo), TOGETHER))
    ]
    task = TakeFeatures(
        data.resolve(), size, store.model, device, None if crops is None else crops.resolve(), parts
    )
    failed, finished, following = "", set[int](), 0
    try:
        with cluster.workers(scheduler) as workers:
            for done in workers.do(task, batches, desc="features", unit="batch"):
                failed = failed or done.error
                finished.add(done.item.number)
                while following in finished:
                    _keep(parts / f"{following}.npz", batches[following], store, stamps)
                    following += 1
    finally:
        write_stamps(path, stamps)
    shutil.rmtree(parts, ignore_errors=True)
    if failed:
        raise InputError(f"some features could not be taken: {failed}; run the same command again")


def _is_known(path: Path, before: Stamp | None, store: FeatureStore) -> bool:
    """Whether the image is the one that was read last time, and its features are in the store."""
    if before is None or before.key not in store or not path.exists():
        return False
    status = path.stat()
    return (before.size, before.time) == (status.st_size, status.st_mtime_ns)


def _keep(part: Path, batch: Batch, store: FeatureStore, stamps: dict[str, Stamp]) -> None:
    """Append what a worker left, if it did, to the store."""
    if not part.exists():
        return
    with np.load(part) as arrays:
        keys = [bytes.fromhex(key) for key in arrays["keys"].tolist()]
        new = [number for number, key in enumerate(keys) if key not in store]
        store.append([keys[number] for number in new], arrays["patches"][new], arrays["quarters"][new])
        seen = zip(arrays["sizes"].tolist(), arrays["times"].tolist(), arrays["of"].tolist(), strict=True)
        for name, (size, time, key) in zip(batch.names, seen, strict=True):
            stamps[name] = Stamp(size, time, bytes.fromhex(key))
    part.unlink()
