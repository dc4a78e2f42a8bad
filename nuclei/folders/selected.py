"""selected.csv in the folder of patches: which patches are to be annotated.

A person may edit it. The record beside it, `selected.json`, holds digests of the rows that the program wrote,
by which it tells them from the edited ones.

pandas is imported where it is used: the --help of scripts need not wait for it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from nuclei.errors import InputError
from nuclei.folders.patches import list_patches, spelt
from nuclei.folders.runs import Run, set_aside
from nuclei.folders.tables import parse, read_table
from nuclei.io.files import atomic_file, digest

if TYPE_CHECKING:
    import pandas as pd

SELECTION = "selected.csv"
SELECTION_RECORD = "selected.json"

log = logging.getLogger(__name__)


def put_selection(
    data: Path, out: Path, table: pd.DataFrame, number: int, depends_on: dict, replace: bool = False
) -> Path:
    """`write_selection`, unless somebody edited what it would replace: then write `<out>/selected.csv`.

    Args:
        data, table, number, depends_on: as for `write_selection`.
        out: see there.
        replace: replace the edited one, which is kept in `<data>/replaced/`.

    Returns:
        The table that was written.
    """
    path, other = Path(data) / SELECTION, Path(out) / SELECTION
    content = _selection_text(data, table, number)
    if replace or not is_edited(data, number) or path.read_bytes() == content:
        kept = write_selection(data, table, number, depends_on)
        if kept is not None:
            log.info("the selection that was there before is now in %s", kept)
        other.unlink(missing_ok=True)
        return path
    with atomic_file(other) as temporary:
        temporary.write_bytes(content)
    log.warning(
        "%s was edited by hand and stays; the new selection is in %s (--replace puts it in its place)",
        path,
        other,
    )
    return other


def write_selection(
    data: Path, table: pd.DataFrame, number: int = 1, depends_on: dict | None = None
) -> Path | None:
    """Write the rows of a round into `<data>/selected.csv`, in the place of that round and later ones.

    Args:
        data: the folder of patches.
        table: one row a selected patch; its first columns are `patch` and, from round 2 on, `round`.
        number: of the round. Rows and columns of earlier ones stay as they are.
        depends_on: the settings of the selection, for the record.

    Returns:
        Where the table that was there before is kept; None where no row of it was replaced.

    Raises:
        InputError: as for `earlier_rounds`, or the folder cannot be written.
    """
    path = Path(data) / SELECTION
    content = _selection_text(data, table, number)
    before = path.read_bytes() if path.exists() else None
    known, new = _known(data), selected_rows(content, number)
    record = Run(Path(data), "selection", depends_on or {}, (SELECTION,), SELECTION_RECORD)
    kept = None
    if content != before:
        # Said before it is done: a kill in between leaves no rows that seem to be somebody else's.
        record.finish(selected=sorted(known | new))
        if before is not None and _rows(before, number) != set():
            kept = set_aside([path], copy=True) / SELECTION
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
    record.finish(selected=sorted(known & selected_rows(content) | new))
    return kept


def _selection_text(data: Path, table: pd.DataFrame, number: int = 1) -> bytes:
    """What `write_selection` writes."""
    import pandas as pd

    earlier = earlier_rounds(data, number)
    whole = pd.concat([earlier, table.astype(object)]) if len(earlier) else table
    return whole.to_csv(index=False, lineterminator="\n").encode()


def earlier_rounds(data: Path, number: int) -> pd.DataFrame:
    """The rows of selected.csv that rounds before `number` chose; none for the first round.

    All cells are text, but for the `round`.

    Raises:
        InputError: `number` is 2 or more and there is no such table, or one whose rounds are not numbers.
    """
    import pandas as pd

    if number == 1:
        return pd.DataFrame(columns=["patch", "round"])
    table = _with_rounds(_read_selection(data), Path(data) / SELECTION)
    return table[table["round"] < number]


def is_edited(data: Path, number: int = 1) -> bool:
    """Whether somebody else wrote or edited rows of this round or of a later one in `<data>/selected.csv`."""
    path = Path(data) / SELECTION
    if not path.exists():
        return False
    rows = _rows(path.read_bytes(), number)
    return rows is None or not rows <= _known(data)


def _rows(content: bytes, number: int) -> set[str] | None:
    """`selected_rows`; None where it is no table."""
    try:
        return selected_rows(content, number)
    except InputError:
        return None


def selected_rows(content: bytes, number: int = 1) -> set[str]:
    """A digest of the rows of each round from `number` on, in what a selected.csv holds; or InputError."""
    table = _with_rounds(parse(content, Path(SELECTION)), Path(SELECTION))
    rounds = table[table["round"] >= number].groupby("round")
    # A column that a person added for other rows changes nothing in these.
    texts = (rows.dropna(axis=1, how="all").to_csv(index=False, lineterminator="\n") for _, rows in rounds)
    return {digest([text.encode()]) for text in texts}


def _known(data: Path) -> set[str]:
    """The `selected_rows` that the program wrote."""
    return set(Run(Path(data), "selection", {}, (SELECTION,), SELECTION_RECORD).facts.get("selected", ()))


def _with_rounds(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with its column `round` as integers; InputError where they are none."""
    import pandas as pd

    if "round" not in table:
        table.insert(1, "round", 1)
    try:
        # A row that somebody added by hand may have none.
        table["round"] = pd.to_numeric(table["round"]).fillna(1).astype(int)
    except ValueError as error:
        raise InputError(f"{path} has rounds that are not numbers; mend the table") from error
    return table


def read_selection(data: Path) -> list[str]:
    """Names of the selected patches, in the order of `<data>/selected.csv`.

    Raises:
        InputError: no such table, no column `patch` in it, an empty one, or one that names an unknown patch.
    """
    path = Path(data) / SELECTION
    names = _read_selection(data)["patch"].tolist()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        log.warning("%s names %s more than once; it counts once", path, ", ".join(map(repr, twice)))
        names = list(dict.fromkeys(names))
    if not names:
        raise InputError(f"{path} selects no patch; run consis_based.py again")
    known = set(list_patches(data))  # a name is never taken for a path: p0/, ../other/p0
    for name in names:
        if name not in known:
            raise InputError(
                f"{path} names the patch {name!r}, which is not in {data}/; mend the table: names of folders "
                f"in {data}/, one a row, comma separated"
            )
    return names


def _read_selection(data: Path) -> pd.DataFrame:
    """`<data>/selected.csv` with all its columns, as text."""
    path = Path(data) / SELECTION
    if not path.exists():
        raise InputError(
            f"{path} does not exist; run consis_based.py first, or write it with a column `patch`"
        )
    table, known = read_table(path, dtype=str), [there.name for there in Path(data).iterdir()]
    table["patch"] = [spelt(name, known) for name in table["patch"]]
    return table
