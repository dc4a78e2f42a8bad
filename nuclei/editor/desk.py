"""The selected patches on a desk: opened, corrected, saved after every change, imported when done."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nuclei.editor.candidates import Candidate
from nuclei.editor.costs import DONE, IN_WORK, NOT_BEGUN, Costs
from nuclei.editor.edits import Editing
from nuclei.editor.store import Store
from nuclei.editor.view import concerns, described
from nuclei.errors import InputError
from nuclei.folders import patches


class NotReadyError(InputError):
    """The first outlines of a patch are not drawn yet."""


class Desk:
    """What the page shows and changes. All methods may be called from several threads.

    A patch is named by its position in `names`, so that no name ever becomes a path.
    """

    def __init__(self, data: Path, names: Sequence[str], folder: Path, start: str, costs: Path) -> None:
        """Open nothing yet.

        Args:
            data: the folder of patches.
            names: those to annotate.
            folder: of the annotations.
            start: what draws the first outlines: model, baseline or none.
            costs: the table of time and clicks.

        Raises:
            InputError: the folder holds annotations in another format, or the table is broken.
        """
        self.names = list(names)
        self.data = data
        self.store = Store(data, folder, start)
        self.store.check()
        self.costs = Costs(costs)
        self.lock = threading.RLock()
        self._open: dict[int, Editing] = {}
        self._stamps: dict[int, int] = {}

    def patches(self) -> list[dict]:
        """Name, state and number of outlines of each patch."""
        with self.lock:
            return [
                {"name": name, "state": self.state(index), "nuclei": self._count(index)}
                for index, name in enumerate(self.names)
            ]

    def state(self, index: int) -> str:
        """Whether a patch is not begun, in work or done."""
        name = self.names[index]
        row = self.costs.of(name)
        if row is not None and row.state != NOT_BEGUN:
            return row.state
        if self.store.has(name) and not self.store.is_exported(name):
            return IN_WORK  # by another program
        return DONE if patches.is_annotated(self.data / name) else NOT_BEGUN

    def _count(self, index: int) -> int:
        name = self.names[index]
        if index in self._open:
            return len(self._open[index].state.nuclei)
        if self.store.has(name):
            return self.store.count(name)
        return patches.count_masks(self.data / name)

    def needs_candidates(self, index: int) -> bool:
        """Whether nothing has been proposed for this patch yet."""
        return not self.store.has_candidates(self.names[index])

    def image(self, index: int) -> np.ndarray:
        """The image of a patch, (H, W, 3) uint8 RGB."""
        return patches.read_patch(self.data / self.names[index])

    def offer(self, index: int, candidates: Sequence[Candidate]) -> None:
        """Keep what a program proposes for a patch; a patch that nobody began starts from it."""
        with self.lock:
            self.store.write_candidates(self.names[index], candidates)
            editing = self._open.get(index)
            if editing is None:
                self.open(index)
                if not self.costs.of(self.names[index]):
                    self._open.pop(index, None)  # 500 patches need not stay in memory
            elif not editing.candidates:
                editing.candidates = list(candidates)

    def open(self, index: int) -> Editing:
        """The outlines of a patch, as they are on disk; read anew where another program changed them."""
        name = self.names[index]
        with self.lock:
            editing = self._open.get(index)
            stamp = self.store.stamp(name)
            if editing is None or stamp != self._stamps.get(index):
                editing = self.store.read(name)
                if editing is not None:
                    self._open[index] = editing
                    self._stamps[index] = self.store.stamp(name)
            if editing is None:
                raise NotReadyError("the first outlines of this patch are being drawn")
            return editing

    def view(self, index: int) -> dict:
        """All that the page shows of a patch."""
        with self.lock:
            return described(self.open(index), None) | {
                "name": self.names[index],
                "state": self.state(index),
                "size": self.open(index).size[::-1],
            }

    def handles(self, index: int, key: int) -> list[list[float]]:
        """The corners of an outline, by which it is moved."""
        with self.lock:
            return np.round(self.open(index).handles(key), 2).tolist()

    def act(self, index: int, request: dict) -> dict:
        """Do what the page asks for, save it, and say what changed.

        Raises:
            InputError: that cannot be done; nothing has changed then.
        """
        with self.lock:
            editing = self.open(index)
            before = editing.state
            known = request.get("version") == editing.version
            action = request.get("do")
            if not isinstance(action, str) or action not in _ACTIONS:
                raise InputError("unknown action")
            _ACTIONS[action](editing, request)
            name = self.names[index]
            self.costs.add(name, action, request.get("seconds"), request.get("clicks"))
            self.save(index)
            return described(editing, before if known else None) | {"state": self.state(index)}

    def save(self, index: int) -> None:
        """Write the outlines of a patch and what they cost."""
        name, editing = self.names[index], self._open[index]
        self.store.write(name, editing)
        self._stamps[index] = self.store.stamp(name)
        self.costs.set(name, IN_WORK, len(editing.state.nuclei))

    def done(self, index: int, request: dict) -> dict:
        """Check a patch as `annotations.py import` does and write its masks.

        Returns:
            what was mended ("notes"), and places to look at ("concerns": key and text); where it was refused
            "refused" with the reason, and nothing was written.
        """
        with self.lock:
            name, editing = self.names[index], self.open(index)
            self.costs.add(name, None, request.get("seconds"), request.get("clicks"))
            if not editing.state.nuclei and request.get("empty") is not True:
                return {"refused": "There is no outline. If the patch has no nucleus, press Done again.",
                        "concerns": [], "notes": [], "state": self.state(index)}  # fmt: skip
            self.store.write(name, editing)
            self._stamps[index] = self.store.stamp(name)
            places = concerns(editing)
            try:
                count, notes = self.store.import_masks(name)
            except InputError as error:
                places = _place(str(error), editing) or places
                return {"refused": str(error), "concerns": places, "notes": [], "state": self.state(index)}
            self.costs.set(name, DONE, count)
            return {"notes": notes, "concerns": places, "state": DONE, "nuclei": count}


def _place(message: str, editing: Editing) -> list[dict]:
    """Where a message of the checks belongs, by the number of the feature that it names."""
    found = re.search(r"feature (\d+)", message)
    position = int(found.group(1)) - 1 if found else -1
    if not 0 <= position < len(editing.state.nuclei):
        return []
    return [{"key": editing.state.nuclei[position].key, "text": message}]


def _key(request: dict, name: str = "key") -> int:
    value = request.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError("this outline is not there any more")
    return value


def _float(request: dict, name: str) -> float:
    value = request.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not np.isfinite(value):
        raise InputError("this point is outside of the image")
    return float(value)


def _list(request: dict, name: str) -> list:
    value = request.get(name)
    if not isinstance(value, list) or len(value) > 20_000:
        raise InputError("this is no outline; draw it again")
    return value


_ACTIONS = {
    "add": lambda editing, r: editing.add(_list(r, "points")),
    "drop": lambda editing, r: editing.drop(_key(r)),
    "propose": lambda editing, r: editing.propose(_float(r, "x"), _float(r, "y")),
    "move": lambda editing, r: editing.move(_key(r), _key(r, "corner"), _float(r, "x"), _float(r, "y")),
    "grow": lambda editing, r: editing.grow(_key(r), 1.0 if r.get("outwards") is True else -1.0),
    "split": lambda editing, r: editing.split(_key(r), _list(r, "line")),
    "merge": lambda editing, r: editing.merge([_key({"key": key}) for key in _list(r, "keys")]),
    "show_from": lambda editing, r: editing.show_from(_float(r, "score")),
    "undo": lambda editing, _: editing.undo(),
    "redo": lambda editing, _: editing.redo(),
}
