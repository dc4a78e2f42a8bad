"""GeoJSON as QuPath reads and writes it: one Feature an object, in px of the full-resolution image."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import shapely
from shapely.geometry import mapping

from nuclei.errors import InputError
from nuclei.io.files import atomic_file, read_json
from nuclei.outlines.shapes import (
    NUCLEUS,
    Annotation,
    Shape,
    field,
    image_name,
    polygon,
    together,
    write_compact,
)

COLOR = (255, 255, 0)  # RGB of the class in QuPath


def write(
    path: Path,
    nuclei: Sequence[shapely.Geometry],
    image: str,
    object_type: Literal["annotation", "detection"] = "annotation",
    scores: Sequence[float | None] | None = None,
) -> None:
    """Write a FeatureCollection, one Feature a nucleus; InputError where the file cannot be written.

    Args:
        path: the file, written atomically.
        nuclei: Polygons or MultiPolygons, px.
        image: name of the image; kept in the metadata of every object, which QuPath exports again.
        object_type: annotations can be edited in QuPath; detections are drawn fast, in their thousands.
        scores: how sure a network was of each nucleus, 0..1: a measurement of its object. None for no
            network.
    """
    properties = {
        "objectType": object_type,
        "classification": {"name": NUCLEUS, "color": COLOR},
        "metadata": {"image": image_name(image)},
    }
    sure = [None] * len(nuclei) if scores is None else scores
    measured = [{} if one is None else {"measurements": {"score": one}} for one in sure]
    features = [
        {
            "type": "Feature",
            # QuPath wants a UUID; this one stays the same when the file is written again.
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{image}/{number}")),
            "geometry": mapping(nucleus),
            "properties": properties | measurements,
        }
        for number, (nucleus, measurements) in enumerate(zip(nuclei, measured, strict=True), 1)
    ]
    write_compact(path, {"type": "FeatureCollection", "features": features})


def write_stream(path: Path, batches: Iterable[tuple[np.ndarray, dict[str, np.ndarray]]], image: str) -> None:
    """Write detections feature by feature, compressed where the name ends in .gz; memory holds one batch.

    Args:
        path: the file, written atomically; InputError where that fails.
        batches: outlines (N,), px of the full-resolution image, and their measurements, (N,) each by name;
            what is NaN is left out.
        image: name of the image.
    """
    shared = {
        "objectType": "detection",
        "classification": {"name": NUCLEUS, "color": COLOR},
        "metadata": {"image": image_name(image)},
    }
    head = json.dumps(shared, separators=(",", ":"))[:-1] + ',"measurements":'
    number = 0
    with atomic_file(path) as temporary, _opened(temporary, path.suffix == ".gz") as file:
        file.write('{"type":"FeatureCollection","features":[')
        for polygons, columns in batches:
            names = [json.dumps(name, ensure_ascii=False) for name in columns]
            values = [_short(values) for values in columns.values()]
            # Outlines along the edges of pixels have whole numbers.
            shapes = [text.replace(".0,", ",").replace(".0]", "]") for text in shapely.to_geojson(polygons)]
            for shape, *row in zip(shapes, *values, strict=True):
                pairs = [f"{name}:{value}" for name, value in zip(names, row, strict=True) if value != "nan"]
                identity = uuid.uuid5(uuid.NAMESPACE_URL, f"{image}/{number + 1}")
                file.write(
                    f'{"," if number else ""}\n{{"type":"Feature","id":"{identity}","geometry":{shape},'
                    f'"properties":{head}{{{",".join(pairs)}}}}}}}'
                )
                number += 1
        file.write("\n]}\n")


def _opened(path: Path, packed: bool) -> IO[str]:
    if packed:
        return gzip.open(path, "wt", compresslevel=4, encoding="utf-8", newline="\n")
    return path.open("w", encoding="utf-8", newline="\n")


def _short(values: np.ndarray) -> list[str]:
    """Numbers as text with no more digits than were measured."""
    return [f"{value:.5g}" if abs(value) < 1e4 else f"{value:.1f}" for value in values.tolist()]


def read(path: Path) -> Annotation:
    """Read a FeatureCollection, a Feature, or a list of Features, which older versions of QuPath export.

    A QuPath cell is read as its nucleus. InputError where an object is not a polygon.
    """
    content = read_json(path)
    if isinstance(content, dict) and content.get("type") == "Feature":
        content = [content]
    if isinstance(content, dict):
        if content.get("type") != "FeatureCollection":
            raise InputError(f"{path} is a {content.get('type')}; export a FeatureCollection of all objects")
        content = field(content, "features", list, str(path))
    shapes = [_shape(feature, f"{path}: feature {n}") for n, feature in enumerate(content, 1)]
    return Annotation(
        str(path), shapes, to_split="split it in QuPath: Objects > Annotations > Split annotations"
    )


def _shape(feature: Any, where: str) -> Shape:
    if isinstance(feature, dict) and feature.get("geometry", {}) is None:
        raise InputError(f"{where} has no outline; outline that nucleus or delete the object")
    geometry = field(feature, "geometry", dict, where)
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise InputError(f"{where} has no valid 'properties'; export the file again")
    # QuPath 0.2 kept the type of an object in its id.
    kept = properties.get("objectType") or properties.get("object_type") or feature.get("id")
    kind_of_object = str(kept).lower().replace("_", "")
    if kind_of_object in ("cell", "pathcellobject"):
        geometry = feature.get("nucleusGeometry")
        if not isinstance(geometry, dict):
            raise InputError(f"{where} is a cell without a nucleus; outline its nucleus or delete the object")
    form, coordinates = geometry.get("type"), geometry.get("coordinates")
    if form not in ("Polygon", "MultiPolygon"):
        raise InputError(f"{where} is a {form}, not a polygon; outline that nucleus or delete the object")
    if not isinstance(coordinates, list):
        raise InputError(f"{where} has no coordinates; outline that nucleus or delete the object")
    parts = [polygon(rings, where) for rings in ([coordinates] if form == "Polygon" else coordinates)]
    metadata = properties.get("metadata")
    image = metadata.get("image", "") if isinstance(metadata, dict) else ""
    # A core is a region, as classes with a * are.
    is_core = kind_of_object in ("tmacore", "tmacoreobject")
    kind = "TMA core*" if is_core else _class(properties.get("classification"))
    return Shape(together(parts), where, kind, str(image), _score(properties.get("measurements")))


def _score(measurements: object) -> float | None:
    """What `write` was told of a nucleus; QuPath keeps it, old versions as a list of names and values."""
    if isinstance(measurements, list):
        measurements = {one.get("name"): one.get("value") for one in measurements if isinstance(one, dict)}
    value = measurements.get("score") if isinstance(measurements, dict) else None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        return None
    return float(value)


def _class(classification: object) -> str:
    """Its name; newer versions of QuPath write the `names` of a class and of the classes within it."""
    if isinstance(classification, dict):
        names = classification.get("names")
        names = names if isinstance(names, list) else []
        return str(classification.get("name") or ": ".join(map(str, names)))
    return str(classification or "")
