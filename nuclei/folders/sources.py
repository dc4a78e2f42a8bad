"""sources.csv in the folder of patches: where each patch was cropped from.

pandas is imported where it is used: the --help of scripts need not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nuclei.errors import InputError
from nuclei.folders.patches import is_patch
from nuclei.folders.tables import read_table
from nuclei.io.files import write_text, writing

if TYPE_CHECKING:
    import pandas as pd

SOURCES = "sources.csv"
SOURCES_BEGUN = "sources_begun.csv"  # what an unfinished run cuts; after a kill, the next run joins it


def read_sources(data: Path) -> pd.DataFrame | None:
    """Where each patch was cropped from (`nuclei.slides.cropping`); None where they were not cropped here.

    What a killed run has cropped is known, too; rows without a patch are passed over.
    """
    import pandas as pd

    paths = [Path(data) / name for name in (SOURCES, SOURCES_BEGUN)]
    tables = [read_table(path, "source", "x", "y") for path in paths if path.exists()]
    if not tables:
        return None
    table = pd.concat(tables).drop_duplicates("patch", keep="last")
    return table[[is_patch(Path(data) / name) for name in table["patch"]]].reset_index(drop=True)


def resolution(data: Path) -> float | None:
    """The um/px at which most of the patches were cropped; None where nobody knows; InputError for 0,25."""
    import pandas as pd

    sources = read_sources(data)
    if sources is None or "mpp" not in sources:
        return None
    known = pd.to_numeric(sources["mpp"], errors="coerce")
    wrong = sources["mpp"][known.isna() & sources["mpp"].notna()]
    if len(wrong):
        raise InputError(
            f"{Path(data) / SOURCES} has {wrong.iloc[0]!r} as mpp; write numbers with a point, as 0.25"
        )
    known = known[known > 0]
    return float(known.mode()[0]) if len(known) else None


def write_sources(data: Path, table: pd.DataFrame, name: str = SOURCES) -> None:
    """Write `<data>/sources.csv`, one row a cropped patch, or none without rows; InputError if that fails."""
    path = Path(data) / name
    if len(table):
        write_text(path, table.to_csv(index=False, lineterminator="\n"))
    else:
        with writing(path):
            path.unlink(missing_ok=True)
