"""Features on disk: memory-mapped, keyed by what they were made from, complete after a kill at any moment.

    <folder>/<model>.patches     float32 (R, D), one row a patch, in the order in which they came
    <folder>/<model>.quarters    float32 (R, 4, D), of its quarters
    <folder>/<model>.keys        R keys of 16 bytes: a digest of the patch's size and image file
    <folder>/<model>.lock        locked by the process that has the store open

A row counts once its key is written, which happens last. Any patch with that content, whatever its name and
folder, finds its row again. One process at a time has a store open: the rows of two would be mixed up.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from nuclei.errors import InputError
from nuclei.io.files import writing
from nuclei.io.locks import locked

LENGTHS = {"efficientnet_lite0": 1280, "resnet50": 2048}  # values of a feature, by model
KEY_BYTES = 16


def content_key(content: bytes, size: int) -> bytes:
    """The key of a patch of `size` px whose image file has this content."""
    return blake2b(content, digest_size=KEY_BYTES, salt=size.to_bytes(4, "little")).digest()


class FeatureStore:
    """The features of patches and of their quarters that one model gave so far; a context manager."""

    def __init__(self, folder: Path, model: str) -> None:
        """Open the store of `model`, one of `LENGTHS`; an empty one where there is none.

        What a killed run had half-written is cut off.

        Raises:
            InputError: the folder cannot be written, or the store is open elsewhere.
        """
        self.folder, self.model = Path(folder), model
        self.length = length = LENGTHS[model]
        self._keys_path, self._patches_path, self._quarters_path = (
            self.folder / f"{model}.{part}" for part in ("keys", "patches", "quarters")
        )
        self._lock = contextlib.ExitStack()
        if not self._lock.enter_context(locked(self.folder / f"{model}.lock", wait=False)):
            raise InputError(
                f"another run uses the features in {self.folder}/; wait for it or name another --out"
            )
        sizes = {
            self._keys_path: KEY_BYTES,
            self._patches_path: 4 * length,
            self._quarters_path: 16 * length,
        }
        with writing(self._keys_path):
            for path in sizes:
                path.touch()
            complete = min(path.stat().st_size // size for path, size in sizes.items())
            for path, size in sizes.items():
                if path.stat().st_size > complete * size:
                    os.truncate(path, complete * size)
            keys = self._keys_path.read_bytes()
        self._rows = {
            keys[start : start + KEY_BYTES]: row for row, start in enumerate(range(0, len(keys), KEY_BYTES))
        }

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def append(self, keys: Sequence[bytes], patches: np.ndarray, quarters: np.ndarray) -> None:
        """Add the features of patches that are not there yet: (B, D), and (B, 4, D) of their quarters.

        InputError where the disk is full; what was there before stays.
        """
        if len(set(keys)) != len(keys) or any(key in self for key in keys):
            raise ValueError("each patch has one row")
        if patches.shape != (len(keys), self.length) or quarters.shape != (len(keys), 4, self.length):
            raise ValueError(f"{len(keys)} keys do not fit features {patches.shape}, {quarters.shape}")
        for path, content in (
            (self._patches_path, np.ascontiguousarray(patches, np.float32).tobytes()),
            (self._quarters_path, np.ascontiguousarray(quarters, np.float32).tobytes()),
            (self._keys_path, b"".join(keys)),
        ):
            with writing(path), path.open("ab") as file:
                file.write(content)
        for key in keys:
            self._rows[key] = len(self._rows)

    def rows(self, keys: Sequence[bytes]) -> np.ndarray:
        """(N,) int64, where the features of these patches are; KeyError for one that is not there."""
        return np.array([self._rows[key] for key in keys], np.int64)

    @property
    def patches(self) -> np.ndarray:
        """(R, D) float32, memory-mapped, read only."""
        return self._map(self._patches_path, (len(self), self.length))

    @property
    def quarters(self) -> np.ndarray:
        """(R, 4, D) float32, memory-mapped, read only."""
        return self._map(self._quarters_path, (len(self), 4, self.length))

    @staticmethod
    def _map(path: Path, shape: tuple[int, ...]) -> np.ndarray:
        return np.memmap(path, np.float32, "r", shape=shape) if shape[0] else np.empty(shape, np.float32)
