"""What a run leaves behind: its results, and beside them the record of what made them.

Editing a setting and running again simply works, because every step asks its `Run` first:

    absent      nothing is there: make it
    begun       a run with these settings was interrupted: go on
    finished    it is there already: nothing to do
    stale       what is there was made with other settings: keep it under a dated name, make it anew

The record is a small JSON file: the kind of result, all that it depends on, and whether it is complete. It is
written when work begins and again, last of all, when it ends.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Literal

from nuclei.errors import InputError
from nuclei.folders.changes import differences
from nuclei.io import files

State = Literal["absent", "begun", "finished", "stale"]
# The version of each kind of result. Raise it in the commit after which the same settings give another
# result: what an older version made is then stale, like what other settings made.
VERSIONS = {
    "demo": 2,  # the generated tissue and the patches of the demo
    "crops": 1,  # stage 1: the patches cut from images
    "selection": 1,  # those to annotate
    "quarters": 1,  # and the quarters of all, by cluster
    "gan": 4,  # stage 2: a trained CSinGAN
    "pairs": 4,  # and what is drawn from it
    "training": 3,  # stage 3: a trained Mask R-CNN
    "labelling": 2,  # and its pseudo labels
    "segmentation": 4,  # segment.py
    "slide": 3,  # and one slide of it
    "benchmark": 1,
}
RECORD = "settings.json"
REPLACED = "replaced"  # beside results: <date>/<name>, what other settings made before

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """The results of one step.

    Attributes:
        folder: where they lie.
        kind: which kind of result they are, one of `VERSIONS`.
        depends_on: all that they depend on, by name (JSON-like; paths are compared as text).
        items: names of the results in a folder that is shared with others; None: the whole folder is theirs.
        record: file name of the record.
        cache: names in the folder that stay when the settings change, since they depend on none.
    """

    folder: Path
    kind: str
    depends_on: dict
    items: tuple[str, ...] | None = None
    record: str = RECORD
    cache: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """Whether the results are absent, begun, finished or stale; InputError for a broken record."""
        record = self._read()
        if record is None:
            return "absent"
        if self._differences(record):
            return "stale"
        return "finished" if record["finished"] else "begun"

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.state == "finished"

    @property
    def changes(self) -> str:
        """What differs from the settings of the results that are there, "name old -> new, ..."; or ""."""
        record = self._read()
        return self._differences(record) if record else ""

    @property
    def facts(self) -> dict:
        """What `finish` was told of the results that are there, whatever settings made them."""
        return (self._read() or {}).get("facts", {})

    @property
    def written(self) -> tuple[str, ...]:
        """The names of the results that are there, of a run with `items`."""
        return tuple((self._read() or {}).get("items") or ())

    def begin(self) -> Path | None:
        """Make ready for work, which may be killed and begun again.

        Stale results are set aside.

        Returns:
            where they now lie; None where there were none.

        Raises:
            InputError: files that no run has made are in the way, or the folder cannot be written.
        """
        self.check()
        aside = self.set_aside() if self.state == "stale" else None
        if self.state == "absent" or self.is_finished:
            self._write(finished=False)
        return aside

    def finish(self, **facts: object) -> None:
        """Record that the results are complete, with facts about them (JSON-like) for `facts`."""
        self._write(finished=True, facts=facts)

    def check(self) -> None:
        """InputError where files of others would be emptied or overwritten, or the record is broken."""
        if self.items is not None:
            written = self.written
            foreign = [name for name in self.items if self._exists(name) and name not in written]
            if foreign:
                what = f"{self.folder}/{', '.join(foreign)} {'were' if foreign[1:] else 'was'} not written"
                raise InputError(
                    f"{what} by this program; move it away, or name another folder for the results"
                )
        elif self.state == "absent" and self._entries():
            raise InputError(
                f"{self.folder}/ holds files that were not made here; empty it or name another folder"
            )

    def set_aside(self) -> Path | None:
        """Move the results that are there to a dated name; returns it, or None where nothing was there."""
        if not self._results():
            self.discard()
            return None
        changes = self.changes or "made anew"
        with files.writing(self.folder):
            if self.items is None and not self.cache and not self.folder.is_symlink():
                aside = set_aside([self.folder]) / self.folder.name
            else:
                self._mark_begun()  # killed in between, the rest is never taken for the whole
                moved = [self.folder / name for name in self._results()]
                aside = set_aside([*moved, self._path])
        log.info("%s: %s; the old results are now in %s", self._title, changes, aside)
        return aside

    def discard(self) -> None:
        """Remove the results that are there, which nobody needs any more: the steps between two rounds."""
        if self._read() is None:
            return
        self._mark_begun()
        for name in self._results():
            remove(self.folder / name)
        with files.writing(self._path):
            self._path.unlink()

    @property
    def _path(self) -> Path:
        return self.folder / self.record

    @property
    def _title(self) -> str:
        return f"{self.folder}/" if self.items is None else f"{self.folder}/{Path(self.record).stem}"

    def _exists(self, name: str) -> bool:
        return os.path.lexists(self.folder / name)

    def _entries(self) -> list[str]:
        """Names in a folder of our own, without record, cache, what was replaced, and remains of a kill."""
        if not self.folder.is_dir():
            return []
        ours = {self.record, REPLACED, *self.cache}
        there = [path for path in self.folder.iterdir() if not files.is_hidden(path)]
        return sorted(path.name for path in there if path.name not in ours)

    def _results(self) -> list[str]:
        """Names of the results that are there."""
        if self.items is None:
            return self._entries()
        return [name for name in self.written if self._exists(name)]

    def _read(self) -> dict | None:
        if not self._path.exists():
            return None
        record = files.read_json(self._path)
        if not is_record(record):
            raise InputError(f"{self._path} is no record of a run; move it away, or name another folder")
        return record

    def _write(self, finished: bool, facts: dict | None = None) -> None:
        files.write_json(
            self._path,
            {
                "kind": self.kind,
                "version": VERSIONS[self.kind],
                "finished": finished,
                "depends_on": self.depends_on,
                # Names of earlier runs stay until the end, so that it is known whose they are.
                "items": self._names(finished),
                "facts": facts or {},
            },
        )

    def _names(self, finished: bool) -> list[str] | None:
        if self.items is None:
            return None
        return sorted({*self.items, *(() if finished else self.written)})

    def _mark_begun(self) -> None:
        files.write_json(self._path, {**(self._read() or {}), "finished": False})

    def _differences(self, record: dict) -> str:
        before = {**record["depends_on"], "kind": record["kind"], "version": record["version"]}
        now = {**self.depends_on, "kind": self.kind, "version": VERSIONS[self.kind]}
        return differences(before, now)


def set_aside(paths: Iterable[Path], beside: Path | None = None, copy: bool = False) -> Path:
    """Move files and folders, which are replaced, to `<beside>/replaced/<date>/`.

    All that one program replaces bears the same date.

    Args:
        paths: of different names.
        beside: the folder; by default the parent of the first.
        copy: copy them, which are files; what comes in their place then replaces them at once.

    Returns:
        the dated folder.
    """
    paths = list(paths)
    replaced = (beside or paths[0].parent) / REPLACED
    aside, number = replaced / _date(), 1
    while any(os.path.lexists(aside / path.name) for path in paths):
        number += 1
        aside = replaced / f"{_date()}_{number}"
    with files.writing(aside):
        aside.mkdir(parents=True, exist_ok=True)
        for path in paths:
            (shutil.copyfile if copy else files.replace)(path, aside / path.name)
    return aside


def remove(path: Path) -> None:
    """Remove a file or a folder, which is gone at once: a kill never leaves a part of it."""
    with files.writing(path):
        temporary = files.temporary_beside(path)
        files.replace(path, temporary)
        if temporary.is_dir() and not temporary.is_symlink():
            files.remove_tree(temporary)
        else:
            temporary.unlink()


@cache
def _date() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")


def is_record(value: object) -> bool:
    """Whether what a JSON file holds is the record of a run."""
    if not isinstance(value, dict) or not isinstance(value.get("depends_on"), dict):
        return False
    items = value.get("items")
    names = items is None or isinstance(items, list) and all(map(_is_name, items))
    return names and {"kind", "version", "finished"} <= value.keys()


def _is_name(value: object) -> bool:
    """A record names what is moved or removed: nothing beyond its folder."""
    return isinstance(value, str) and value not in ("", ".", "..") and Path(value).name == value
