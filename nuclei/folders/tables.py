"""Tables that a person may write or edit: CSV with a column `patch`.

pandas is imported where it is used: the --help of scripts need not wait for it.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nuclei.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def read_table(path: Path, *columns: str, dtype: object = None) -> pd.DataFrame:
    """A table on disk; see `parse`. InputError where it cannot be read."""
    try:
        return parse(path.read_bytes(), path, columns, dtype or {"patch": str})
    except OSError as error:
        raise InputError(f"{path} cannot be read as a table: {error}") from error


def parse(content: bytes, path: Path, columns: Sequence[str] = (), dtype: object = str) -> pd.DataFrame:
    """A table as a person or a spreadsheet writes it, without rows that name no patch.

    Args:
        content: of the file.
        path: of the file, for messages.
        columns: which it must have besides `patch`.
        dtype: of its cells, as for `pandas.read_csv`.

    Raises:
        InputError: it is no CSV in UTF-8 with commas, or a column is missing.
    """
    import pandas as pd

    try:
        content = content.removeprefix(codecs.BOM_UTF8)
        if content[:4] == b"sep=":  # a hint for Excel
            content = content.partition(b"\n")[2]
        # The first row alone tells another separator, whatever pandas makes of the others.
        names = _column_names(pd.read_csv(io.BytesIO(content), nrows=0).columns)
        _check_columns(path, names, ("patch", *columns))
        # A patch may be called "007" or "NA": the one is no number, the other not missing.
        table = pd.read_csv(
            io.BytesIO(content), header=0, names=names, dtype=dtype, keep_default_na=False, na_values=[""]
        )
        if not isinstance(table.index, pd.RangeIndex):  # pandas would take the first cells for names of rows
            raise ValueError("its rows have more cells than its first row")
        table["patch"] = table["patch"].str.strip().replace("", None)
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8; save it as CSV UTF-8") from error
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path} is empty; mend the table or delete it") from error
    except ValueError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise InputError(f"{path} cannot be read as a table: {reason}; mend it or delete it") from error
    return table.dropna(subset="patch", ignore_index=True)  # spreadsheets leave empty rows


def _column_names(found: Sequence[str]) -> list[str]:
    """The names of columns as a person reads them: without blanks, and Patch is patch."""
    names = [name.strip() for name in found]
    return ["patch" if name.lower() == "patch" and "patch" not in names else name for name in names]


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
