"""Tables of very many nuclei, as a large slide has them: records -> GeoParquet -> GeoJSON, and read back.

`python -m benchmarks.slides.million COUNT FOLDER` writes; one JSON line with seconds and the peak of memory.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import shapely

from nuclei import tissue
from nuclei.outlines import geojson, geoparquet, measurements
from nuclei.outlines.polygons import outlines

SIDE = 1024  # px of a block


def main(count: int, folder: Path) -> None:
    image, labels = tissue.generate("lymphoid", SIDE, 0)
    polygons = np.array(outlines(labels), object)
    table = measurements.measure(image, labels, 0.25, polygons.tolist())
    blocks = -(-count // len(polygons))
    across = int(np.ceil(np.sqrt(blocks)))
    records = []
    for number in range(blocks):
        some = slice(0, min(len(polygons), count - number * len(polygons)))
        corner = np.array([number % across, number // across]) * SIDE
        moved = shapely.transform(polygons[some], lambda xy, by=corner: xy + by)
        points = shapely.get_coordinates(shapely.centroid(moved))
        records.append(folder / "records" / f"{number}.parquet")
        geoparquet.write_record(records[-1], moved, np.ones(len(moved)), points, table[some])
    before, began, cpu = _peak(), time.monotonic(), time.process_time()
    geoparquet.merge(folder / "s.parquet", records, (1.0, 1.0), 0.25)
    merged = time.monotonic()
    geojson.write_stream(folder / "s.geojson", geoparquet.batches(folder / "s.parquet"), "s")
    figures = {
        "nuclei": count,
        "parquet_s": merged - began,
        "geojson_s": time.monotonic() - merged,
        "rise_mb": _peak() - before,
        "processor_s": time.process_time() - cpu,
        "geojson_mb": (folder / "s.geojson").stat().st_size / 2**20,
        "read_back": read_back(folder / "s.geojson"),
    }
    print(json.dumps({name: round(value, 1) for name, value in figures.items()}))


def read_back(path: Path) -> int:
    """How many valid nuclei the file has, by the libraries json and shapely alone, line by line."""
    count = 0
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.startswith('{"type":"Feature",'):
                feature = json.loads(line.rstrip().rstrip(","))
                count += shapely.geometry.shape(feature["geometry"]).is_valid
    return count


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
