"""The two tables of the folder of patches: which patches were selected, and where each was cropped from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nuclei.errors import InputError
from nuclei.folders.patches import list_patches
from nuclei.io.files import atomic_file, digest, write_text

SELECTION = "selected.csv"
SOURCES = "sources.csv"


def read_sources(data: Path) -> pd.DataFrame | None:
    """Where each patch was cropped from (`nuclei.slides.cropping`); None where they were not cropped here."""
    path = Path(data) / SOURCES
    return _read_table(path, "source", "x", "y") if path.exists() else None


def write_sources(data: Path, table: pd.DataFrame) -> None:
    """Write `<data>/sources.csv`, one row a cropped patch, for `read_sources`."""
    write_text(Path(data) / SOURCES, table.to_csv(index=False, lineterminator="\n"))


def write_selection(data: Path, table: pd.DataFrame) -> Path | None:
    """Write `<data>/selected.csv`, one row a selected patch; its first column is `patch`.

    Returns:
        Where the table that was there before now lies, since a person may have edited it; None where
        there was none or it said the same.
    """
    path = Path(data) / SELECTION
    content = table.to_csv(index=False, lineterminator="\n")
    before = None
    if path.exists() and path.read_bytes() != content.encode():
        before = path.with_name(f"before_{digest([path.read_bytes()])}_{SELECTION}")
        with atomic_file(before) as temporary:
            shutil.copyfile(path, temporary)
    write_text(path, content)
    return before


def read_selection(data: Path) -> list[str]:
    """Names of the selected patches, in the order of `<data>/selected.csv`.

    Raises:
        InputError: as for `read_selection_table`, or the table is empty or names an unknown patch.
    """
    path = Path(data) / SELECTION
    names = read_selection_table(data)["patch"].tolist()
    if not names:
        raise InputError(f"{path} selects no patch; run consis_based.py again")
    known = set(list_patches(data))  # a name is never taken for a path: p0/, ../other/p0
    for name in names:
        if name not in known:
            raise InputError(
                f"{path} names the patch {name}, which is not in {data}/; mend the table: names of folders "
                f"in {data}/, one a row, comma separated"
            )
    return names


def read_selection_table(data: Path) -> pd.DataFrame:
    """`<data>/selected.csv` with all its columns; InputError where it is missing or has no column `patch`."""
    path = Path(data) / SELECTION
    if not path.exists():
        raise InputError(
            f"{path} does not exist; run consis_based.py first, or write it with a column `patch`"
        )
    return _read_table(path)


def _read_table(path: Path, *columns: str) -> pd.DataFrame:
    try:
        # The first row alone tells another separator, whatever pandas makes of the others.
        _check_columns(path, pd.read_csv(path, nrows=0).columns, ("patch", *columns))
        # A patch may be called "007" or "NA": the one is no number, the other not missing.
        table = pd.read_csv(path, dtype={"patch": str}, keep_default_na=False, na_values=[""])
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    return table.dropna(subset="patch", ignore_index=True)  # spreadsheets leave empty rows


def _check_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if not missing:
        return
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in found[0]:
            raise InputError(
                f"{path} has no column {', '.join(missing)}; its columns are separated by {name}: save it "
                "with commas"
            )
    raise InputError(f"{path} has no column {', '.join(missing)}; mend the table or delete it")
