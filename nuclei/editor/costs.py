"""What annotating each patch cost, time and clicks: a table that a person may report from."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field, fields
from pathlib import Path

from nuclei.errors import InputError
from nuclei.io.files import write_text

NOT_BEGUN, IN_WORK, DONE = "not begun", "in work", "done"
ACTIONS = ("add", "drop", "propose", "move", "grow", "split", "merge", "show_from", "undo", "redo")
LONGEST = 600.0  # s between two actions that still count as work


@dataclass
class Cost:
    """A row of the table."""

    patch: str
    state: str = NOT_BEGUN
    nuclei: int = 0
    seconds: float = 0.0  # of work; a pause without a move of the mouse does not count
    clicks: int = 0
    actions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ACTIONS, 0))


class Costs:
    """The table of all patches, on disk after every change."""

    def __init__(self, path: Path) -> None:
        """Read what earlier sessions left.

        Raises:
            InputError: it is no such table.
        """
        self.path = path
        self.rows: dict[str, Cost] = {}
        if path.exists():
            self._read()

    def of(self, patch: str) -> Cost | None:
        """The row of a patch; None where nobody has worked on it here."""
        return self.rows.get(patch)

    def add(self, patch: str, action: str | None, seconds: object, clicks: object) -> None:
        """Count an action and the time and clicks since the last one, as the page says; nonsense is 0."""
        row = self.rows.setdefault(patch, Cost(patch))
        if action in row.actions:
            row.actions[action] += 1
        row.seconds = round(row.seconds + min(_number(seconds), LONGEST), 1)
        row.clicks += int(min(_number(clicks), 1000))

    def set(self, patch: str, state: str, nuclei: int) -> None:
        """Keep the state of a patch and write the table; InputError where that fails."""
        row = self.rows.setdefault(patch, Cost(patch))
        row.state, row.nuclei = state, nuclei
        self.write()

    def write(self) -> None:
        """Write the table, atomically."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_COLUMNS, *ACTIONS])
        for row in self.rows.values():
            counts = [row.actions[name] for name in ACTIONS]
            writer.writerow([row.patch, row.state, row.nuclei, row.seconds, row.clicks, *counts])
        write_text(self.path, text.getvalue())

    def _read(self) -> None:
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                for row in csv.DictReader(file):
                    counts = {name: int(row.get(name) or 0) for name in ACTIONS}
                    self.rows[row["patch"]] = Cost(
                        row["patch"],
                        row["state"] if row["state"] in (NOT_BEGUN, IN_WORK, DONE) else IN_WORK,
                        int(row["nuclei"]),
                        float(row["seconds"]),
                        int(row["clicks"]),
                        counts,
                    )
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise InputError(
                f"{self.path} is no table of annotation costs; move it away, or name another with --costs"
            ) from error


_COLUMNS = [each.name for each in fields(Cost) if each.name != "actions"]


def _number(value: object) -> float:
    good = isinstance(value, (int, float)) and math.isfinite(value) and value > 0
    return float(value) if good else 0.0  # type: ignore[arg-type]
