"""The synthetic pairs of a patch, and beside them a record, since several runs may share their folder.

<folder>/<name>/          each pair, as a patch
<folder>/<patch>.json     what they were made with, their names and, once they are complete, their fingerprint
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nuclei.errors import InputError
from nuclei.folders.patches import fingerprint, image_path, write_patch
from nuclei.io.files import differences, read_json, write_json, writing

ANNOTATION = "annotation"  # in what pairs are made with: the fingerprint of their patch in the folder of data


@dataclass(frozen=True)
class Pairs:
    """The synthetic pairs that a run is to leave behind for one patch.

    Attributes:
        folder: where they lie.
        patch: whose pairs these are.
        names: their own names.
        made_with: all that they depend on, next to their names (JSON-like).
    """

    folder: Path
    patch: str
    names: Sequence[str]
    made_with: dict

    def are_complete(self) -> bool:
        """Whether all are there and no others, made with the same and unchanged since."""
        if not all(image_path(self.folder / name).exists() for name in self.names):
            return False
        return not differences(self._read(), self._record(self.names) | self._fingerprint())

    def check(self) -> str:
        """Look at what the pairs would replace.

        Returns:
            How the pairs that are there were made otherwise, "name old -> new, ..."; "" where they were not.

        Raises:
            InputError: something else than a synthetic pair of the patch is there under one of the names, or
                than their record under its name.
        """
        before = self._read()
        ours = [name for name in _names(before) if (self.folder / name).exists()]
        foreign = [name for name in self.names if (self.folder / name).exists() and name not in ours]
        if foreign:
            raise InputError(
                f"{self.folder}/ holds {', '.join(foreign)} already, not written as pairs of {self.patch} "
                f"({self._path} would name them); delete them, or name another folder with --synthetic"
            )
        return differences(before["made_with"], self.made_with) if ours else ""

    def write(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """Write the pairs in place of those of the patch that are there; they count once `finish` was called.

        Args:
            pairs: image (H, W, 3) uint8 RGB and layout (H, W) int32 of each, in the order of the names.

        Raises:
            InputError: the folder cannot be written.
        """
        before = _names(self._read())
        # All names come first: after a kill, they tell which of the folders that are there are pairs.
        write_json(self._path, self._record(sorted({*before, *self.names})))
        for name, (image, layout) in zip(self.names, pairs, strict=True):
            write_patch(self.folder, name, image, layout)
        for name in set(before) - set(self.names):
            if (self.folder / name).is_dir():
                with writing(self.folder / name):
                    shutil.rmtree(self.folder / name)

    def finish(self) -> None:
        """Record that all is written."""
        write_json(self._path, self._record(self.names) | self._fingerprint())

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.patch}.json"

    def _read(self) -> dict:
        """The record that an earlier run has left; empty where there is none, InputError for another file."""
        if not self._path.exists():
            return {}
        record = read_json(self._path)
        if not _is_record(record):
            raise InputError(
                f"{self._path} is no record of synthetic pairs; move it away, or name another folder with "
                "--synthetic"
            )
        _check_record(self._path, record)
        return record

    def _record(self, names: Sequence[str]) -> dict:
        return {"made_with": self.made_with, "names": list(names)}

    def _fingerprint(self) -> dict:
        return {"fingerprint": fingerprint(self.folder, self.names)}


def check_folder(folder: Path, data: Path, annotated: Collection[str]) -> None:
    """Look whether the pairs in `folder` may be learnt beside the `annotated` patches in `data`.

    Raises:
        InputError: a run that wrote pairs has not come to its end, its record is broken, or a patch was
            annotated anew since.
        OSError: an annotated patch has no image, or one that is no file; check the patches first.
    """
    for path in sorted(folder.glob("*.json")):
        record, patch = read_json(path), path.stem
        if not _is_record(record):
            continue
        _check_record(path, record)
        if "fingerprint" not in record:
            raise InputError(
                f"the synthetic pairs of {patch} in {folder}/ are not complete; run main_train.py again"
            )
        made_from = record["made_with"].get(ANNOTATION)
        if made_from and patch in annotated and made_from != fingerprint(data, [patch]):
            raise InputError(
                f"{data / patch}/ has changed since the synthetic pairs of {patch} in {folder}/ were made; "
                "run main_train.py again"
            )


def _is_record(value: object) -> bool:
    return isinstance(value, dict) and {"made_with", "names"} <= value.keys()


def _check_record(path: Path, record: dict) -> None:
    """InputError where the values of a record, which names folders to remove, are of other kinds."""
    made_with, names = record["made_with"], record["names"]
    if isinstance(made_with, dict) and isinstance(names, list) and all(map(_is_name, names)):
        return
    raise InputError(
        f"{path} is a broken record of synthetic pairs; delete it and the pairs of {path.stem} beside it, "
        "then run main_train.py again"
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value not in ("", "..") and Path(value).name == value


def _names(record: dict) -> list[str]:
    return record.get("names", [])
