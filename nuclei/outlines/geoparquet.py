"""Nuclei of a slide as tables on disk: a record per block, and all together as GeoParquet.

GeoParquet (geoparquet.org, version 1.1) is Parquet whose metadata say which column holds outlines, as WKB:
GeoPandas, DuckDB, QGIS and R read it, and columns by themselves. Nothing is held in memory but one block.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely

from nuclei.io.files import atomic_file
from nuclei.outlines.measurements import SCORE, X, Y, neighbours, unit

# They are slow to import: scripts check their settings without them.
if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

GEOMETRY = "geometry"
ROWS = 20_000  # nuclei of a row group, about


def write_record(
    path: Path, polygons: np.ndarray, scores: np.ndarray, points: np.ndarray, table: pd.DataFrame
) -> None:
    """Write the nuclei of a block, atomically; InputError where that fails.

    Args:
        path: the file.
        polygons: (N,) outlines, px of the slide at the resolution of the network.
        scores: (N,) of the network, 0..1.
        points: (N, 2) x and y of the centroids, px.
        table: N rows of measurements.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict = {GEOMETRY: pa.array(shapely.to_wkb(polygons), pa.binary())}
    columns |= {"x": points[:, 0], "y": points[:, 1], SCORE: np.asarray(scores, np.float32)}
    columns |= {name: table[name].to_numpy() for name in table}
    with atomic_file(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def read_outlines(path: Path) -> np.ndarray:
    """The outlines of a record, px at the resolution of the network."""
    import pyarrow.parquet as pq

    return shapely.from_wkb(pq.read_table(path, columns=[GEOMETRY])[GEOMETRY].to_numpy())


def read_points(records: Sequence[Path]) -> np.ndarray:
    """(N, 2) float64 x and y of the centroids of all nuclei of the records, px."""
    import pyarrow.parquet as pq

    tables = (pq.read_table(path, columns=["x", "y"]) for path in records)
    parts = [np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1) for table in tables]
    return np.concatenate(parts) if parts else np.zeros((0, 2))


def merge(path: Path, records: Sequence[Path], scale: tuple[float, float], mpp: float | None) -> int:
    """Put the nuclei of all records into one GeoParquet file, and measure how close they lie.

    Args:
        path: the file, written atomically.
        records: in the order of the file; of none, there is one column only.
        scale: full-resolution px per px of the records, along x and y: outlines are in full-resolution px.
        mpp: um per px of the records; None: centroids and distances are in px of the records.

    Returns:
        the number of nuclei.

    Raises:
        InputError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    points = read_points(records) * (1.0 if mpp is None else mpp)
    near = neighbours(points, mpp)
    with atomic_file(path) as temporary:
        if not records:
            pq.write_table(pa.table({GEOMETRY: pa.array([], pa.binary())}, metadata=_metadata()), temporary)
            return 0
        first, writer, waiting = 0, None, []
        for number, record in enumerate(records):
            table = pq.read_table(record)
            rows = slice(first, first + len(table))
            waiting.append(_final(table, points[rows], near[rows], scale, mpp))
            first = rows.stop
            if writer is None:
                writer = pq.ParquetWriter(temporary, waiting[0].schema.with_metadata(_metadata()))
            if sum(map(len, waiting)) >= ROWS or number == len(records) - 1:
                writer.write_table(pa.concat_tables(waiting).replace_schema_metadata(_metadata()))
                waiting = []
        assert writer is not None
        writer.close()
    return len(points)


def _final(
    table: pa.Table, points: np.ndarray, near: pd.DataFrame, scale: tuple[float, float], mpp: float | None
) -> pa.Table:
    """The rows of a record as they are in the end."""
    import pyarrow as pa

    polygons = shapely.from_wkb(table[GEOMETRY].to_numpy())
    if tuple(scale) != (1, 1):
        polygons = shapely.transform(polygons, lambda corners: corners * scale)
    columns: dict = {GEOMETRY: pa.array(shapely.to_wkb(polygons), pa.binary())}
    columns |= {f"{X} {unit(mpp)}": points[:, 0], f"{Y} {unit(mpp)}": points[:, 1]}
    columns |= {name: table[name] for name in table.column_names if name not in (GEOMETRY, "x", "y")}
    columns |= {name: near[name].to_numpy() for name in near}
    return pa.table(columns)


def _metadata() -> dict[str, str]:
    column: dict = {"encoding": "WKB", "geometry_types": [], "crs": None}  # px, so no place on earth
    return {
        "geo": json.dumps({"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}})
    }


def batches(path: Path) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """The outlines of a file that `merge` wrote and their other columns, some thousands at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(4096):
            columns = {name: batch[name].to_numpy() for name in batch.schema.names if name != GEOMETRY}
            yield shapely.from_wkb(batch[GEOMETRY].to_numpy(zero_copy_only=False)), columns
