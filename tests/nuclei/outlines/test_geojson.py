import json
import uuid

import pytest
import shapely

from nuclei.errors import InputError
from nuclei.outlines import geojson
from tests.nuclei.outlines.annotation_files import RING, SQUARE, SQUARE_PIXELS, pixels, write_json


def test_geojson_is_what_qupath_writes(tmp_path):
    geojson.write(tmp_path / "a.geojson", [SQUARE], "folder/a.png")
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert uuid.UUID(feature["id"])
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["classification"]["name"] == "nucleus"
    # The corners of the pixels; the ring ends where it starts.
    assert sorted(set(map(tuple, feature["geometry"]["coordinates"][0]))) == [(2, 1), (2, 3), (4, 1), (4, 3)]
    assert shapely.geometry.shape(feature["geometry"]).equals(SQUARE)
    annotation = geojson.read(tmp_path / "a.geojson")
    assert pixels(annotation) == [SQUARE_PIXELS]
    assert annotation.shapes[0].image == "a"


def feature(coordinates, kind="Polygon", **more):
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {},
    } | more


def test_geojson_of_several_qupath_versions(tmp_path):
    old = {"classification": {"name": "Nucleus", "colorRGB": -65536}, "isLocked": False, "measurements": []}
    new = {"objectType": "annotation", "classification": {"names": ["Nucleus", "Positive"]}}
    wide = [[[0, 0], [6, 0], [6, 6], [0, 6], [0, 0]]]
    for content, kinds in (
        ([feature([RING], id="PathAnnotationObject", properties=old)], ["Nucleus"]),
        (feature([RING], properties=new), ["Nucleus: Positive"]),
        (feature([RING], properties={"classification": {"names": 5}}), [""]),
        ({"type": "FeatureCollection", "features": [feature([RING]), feature([RING])]}, ["", ""]),
        ([feature([[RING]], "MultiPolygon", properties=None)], [""]),
        # A cell is its nucleus here, not its outline.
        (
            feature(wide, nucleusGeometry=feature([RING])["geometry"], properties={"objectType": "cell"}),
            [""],
        ),
    ):
        annotation = geojson.read(write_json(tmp_path / "a.geojson", content))
        assert [shape.kind for shape in annotation.shapes] == kinds
        assert pixels(annotation) == [SQUARE_PIXELS] * len(kinds)


def test_a_core_of_a_microarray_is_a_region(tmp_path):
    core = feature([RING], properties={"objectType": "tmaCore", "isMissing": False})
    (shape,) = geojson.read(write_json(tmp_path / "a.geojson", [core])).shapes
    assert shape.kind == "TMA core*"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([feature([1, 2], "Point")], "feature 1 is a Point"),
        ([feature([RING]), feature([[0, 0], [5, 5]], "LineString")], "feature 2 is a LineString"),
        ([{"type": "Feature", "geometry": {"type": "GeometryCollection"}}], "is a GeometryCollection"),
        (
            [{"type": "Feature", "geometry": None}],
            "feature 1 has no outline; outline that nucleus or delete the object",
        ),
        ([feature([RING], properties={"objectType": "cell"})], "feature 1 is a cell without a nucleus"),
        ([feature([[[0, 0], [1, None], [1, 1]]])], "feature 1 has coordinates"),
        ([feature([[[0, 0], [1, float("nan")], [1, 1]]])], "feature 1 has coordinates"),
        ([feature([[[0, 0], [1e999, 1], [1, 1]]])], "feature 1 has coordinates"),
        ([feature(None)], "feature 1 has no coordinates"),
        ([feature([["a", "b", "c"]])], "feature 1 has coordinates"),
        ([3], "feature 1 has no valid 'geometry'"),
        ({"type": "Topology"}, "is a Topology"),
        ({"type": "FeatureCollection"}, "no valid 'features'"),
    ],
)
def test_bad_geojson_is_refused_by_name(tmp_path, content, words):
    with pytest.raises(InputError, match=r"a\.geojson.*" + words):
        geojson.read(write_json(tmp_path / "a.geojson", content))
