import base64
import gzip
import json
import uuid
import warnings
import zipfile

import cv2
import numpy as np
import pytest
import roifile
import shapely
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from nuclei import tissue
from nuclei.errors import InputError
from nuclei.io.images import write_labels
from nuclei.outlines import checks, coco, geojson, imagej, labelme, registry
from nuclei.outlines.checks import to_labels
from nuclei.outlines.polygons import outlines, paint
from nuclei.outlines.registry import detect, read, write
from nuclei.outlines.shapes import SUFFIXES
from tests.nuclei.outlines.test_polygons import hard_labels, random_labels

FORMATS = [*SUFFIXES, "coco"]
SQUARE = shapely.box(2, 1, 4, 3)  # the four pixels in rows 1 and 2, columns 2 and 3
SQUARE_PIXELS = [[1, 2], [1, 3], [2, 2], [2, 3]]


def write_any(folder, form, labels):
    """Write an annotation of the image a.png."""
    path = folder / f"a{SUFFIXES.get(form, '.json')}"
    if form == "coco":
        coco.write(path, {"a.png": (labels.shape, outlines(labels))})
    else:
        write(path, form, labels, "a.png")
    return path


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def pixels(annotation, size=(8, 8)):
    """Row and column of the pixels of each object."""
    painted = [paint([shape.outline], size)[0] for shape in annotation.shapes]
    return [np.argwhere(labels).tolist() for labels in painted]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "labels",
    [
        hard_labels(),
        random_labels(0, 4),
        random_labels(1, 700),
        np.zeros((5, 7), np.int32),
        tissue.generate("glandular", 128, seed=5)[1],
    ],
    ids=["hard", "noise", "700 nuclei", "none", "tissue"],
)
def test_a_round_trip_gives_the_same_labels(tmp_path, monkeypatch, form, labels):
    # Noise looks like a map of classes.
    monkeypatch.setattr(registry, "check_ids", lambda *_: None)
    monkeypatch.setattr(checks, "PLACES", 1_000)
    path = write_any(tmp_path, form, labels)
    assert detect(path) == form
    ((name, annotation),) = read(path, form).items()
    assert name == "a"
    assert annotation.size in (None, labels.shape)
    again, _ = to_labels(annotation, "a", labels.shape)
    np.testing.assert_array_equal(again, labels)


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


RING = [[2, 1], [4, 1], [4, 3], [2, 3], [2, 1]]


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


def test_coco_ids_may_be_of_any_type(tmp_path):
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": 9, "width": 9}],
        "categories": [{"id": "1", "name": "nucleus"}],
        "annotations": [
            {"id": 1.0, "image_id": "7", "category_id": 1, "segmentation": [[2, 1, 4, 1, 4, 3, 2, 3]]}
        ],
    }
    annotation = coco.read(write_json(tmp_path / "coco.json", content))["a"]
    assert pixels(annotation) == [SQUARE_PIXELS]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([feature([1, 2], "Point")], "feature 1 is a Point"),
        ([feature([RING]), feature([[0, 0], [5, 5]], "LineString")], "feature 2 is a LineString"),
        ([{"type": "Feature", "geometry": {"type": "GeometryCollection"}}], "is a GeometryCollection"),
        ([{"type": "Feature", "geometry": None}], "feature 1 has no valid 'geometry'"),
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


def test_labelme_is_what_labelme_writes(tmp_path):
    ring = shapely.box(0, 0, 3, 3) - shapely.box(1, 1, 2, 2)
    labelme.write(tmp_path / "a.json", [SQUARE, ring], "a.png", (8, 9))
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["imagePath"], content["imageHeight"], content["imageWidth"]) == ("a.png", 8, 9)
    square, hole = content["shapes"]
    assert (square["label"], square["shape_type"]) == ("nucleus", "polygon")
    assert sorted(map(tuple, square["points"])) == [(2, 1), (2, 3), (4, 1), (4, 3)]
    assert (hole["shape_type"], hole["points"]) == ("mask", [[0, 0], [2, 2]])  # its first and last pixel
    png = cv2.imdecode(np.frombuffer(base64.b64decode(hole["mask"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert (png > 0).tolist() == [[True] * 3, [True, False, True], [True] * 3]


def labelme_file(path, *shapes, **more):
    content = {"imagePath": "..\\images\\a.png", "imageHeight": 8, "imageWidth": 8, "shapes": list(shapes)}
    return write_json(path, content | more)


def test_labelme_shapes_and_groups(tmp_path):
    shapes = [
        {"label": "Nucleus", "points": [[2, 1], [4, 3]], "shape_type": "rectangle"},
        {"label": "Nucleus", "points": [[2, 1], [4, 1], [4, 3], [2, 3]], "shape_type": "rectangle"},
        {"label": "Nucleus", "points": RING[:-1], "group_id": 7, "shape_type": "polygon"},
        {"label": "Nucleus", "points": [[6.5, 6.5], [6.5, 7]], "group_id": 7, "shape_type": "circle"},
    ]
    annotation = labelme.read(labelme_file(tmp_path / "a.json", *shapes))
    assert pixels(annotation) == [SQUARE_PIXELS, SQUARE_PIXELS, [*SQUARE_PIXELS, [6, 6]]]
    assert annotation.size == (8, 8)
    assert {shape.image for shape in annotation.shapes} == {"a"}


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"label": "n", "points": [[0, 0], [1, 1]], "shape_type": "line"}, "shape 1 is a line"),
        ({"label": "n", "points": [[0, 0]], "shape_type": "point"}, "shape 1 is a point"),
        ({"label": "n", "points": [[0, 0], [1, 1]], "shape_type": "mask", "mask": "?"}, "not a PNG"),
        ({"label": "n", "points": [[0, 0], [1, 1]], "shape_type": "mask", "mask": "ö"}, "not a PNG"),
        ({"label": "n", "points": [[0, 0], [1, 1]], "shape_type": "mask"}, "no valid 'mask'"),
        ({"points": RING}, "no valid 'label'"),
        ({"label": "n"}, "no valid 'points'"),
        ("n", "no valid 'points'"),
    ],
)
def test_bad_labelme_is_refused_by_name(tmp_path, shape, words):
    with pytest.raises(InputError, match=r"a\.json.*" + words):
        labelme.read(labelme_file(tmp_path / "a.json", shape))


def test_labelme_may_lack_the_size(tmp_path):
    assert labelme.read(labelme_file(tmp_path / "a.json", imageWidth=None)).size is None


def test_imagej_rois_have_integer_corners(tmp_path):
    two = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(1, 1, 2, 2)])
    imagej.write(tmp_path / "a.zip", [SQUARE, two], "a.png")
    simple, composite = roifile.roiread(tmp_path / "a.zip")
    assert simple.roitype == roifile.ROI_TYPE.TRACED
    assert sorted(simple.coordinates().tolist()) == [[2, 1], [2, 3], [4, 1], [4, 3]]
    assert (simple.left, simple.top, simple.name) == (2, 1, "0001")
    assert composite.composite
    assert (composite.left, composite.top, composite.right, composite.bottom) == (0, 0, 2, 2)
    assert len(composite.coordinates(multi=True)) == 2
    annotation = imagej.read(tmp_path / "a.zip")
    assert pixels(annotation) == [SQUARE_PIXELS, [[0, 0], [1, 1]]]
    assert [shape.image for shape in annotation.shapes] == ["a", "a"]


def roi(kind, **attributes):
    made = roifile.ImagejRoi()
    made.roitype, made.name = kind, "0007"
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def test_imagej_selections_that_are_areas(tmp_path):
    box = {"left": 2, "top": 1, "right": 4, "bottom": 3}
    subpixel = roifile.ImagejRoi.frompoints(np.array([[2, 1], [4, 1], [4.2, 3], [2, 3.3]]))
    rois = [roi(roifile.ROI_TYPE.RECT, **box), roi(roifile.ROI_TYPE.OVAL, **box), subpixel]
    roifile.roiwrite(tmp_path / "a.zip", rois, name=["1", "2", "3"])
    assert pixels(imagej.read(tmp_path / "a.zip")) == [SQUARE_PIXELS] * 3
    rois[0].tofile(tmp_path / "a.roi")  # what ImageJ saves where there is only one
    assert detect(tmp_path / "a.roi") == "imagej"
    assert pixels(read(tmp_path / "a.roi", "imagej")["a"]) == [SQUARE_PIXELS]


def test_imagej_rois_may_share_a_name(tmp_path):
    box = {"left": 2, "top": 1, "right": 4, "bottom": 3}
    other = {"left": 5, "top": 5, "right": 8, "bottom": 8}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the second name
        for place in (box, other):
            archive.writestr("nucleus.roi", roi(roifile.ROI_TYPE.RECT, **place).tobytes())
        archive.writestr("__MACOSX/._nucleus.roi", b"of macOS")
    assert [len(each) for each in pixels(imagej.read(tmp_path / "a.zip"))] == [4, 9]


@pytest.mark.parametrize("suffix", [".geojson.gz", ".zip"])
def test_what_qupath_compresses_is_read(tmp_path, suffix):
    geojson.write(tmp_path / "a.geojson", [SQUARE], "a.png")
    content, path = (tmp_path / "a.geojson").read_bytes(), tmp_path / f"a{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.geojson", content)
    else:
        path.write_bytes(gzip.compress(content))
    assert detect(path) == "geojson"
    assert pixels(read(path, "geojson")["a"]) == [SQUARE_PIXELS]


@pytest.mark.parametrize("name", ["a.geojson.gz", "a.zip"])
def test_what_is_compressed_and_broken_is_refused_by_name(tmp_path, name):
    path = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.geojson", "{}")
            archive.writestr("b.geojson", "{}")
    else:
        path.write_bytes(gzip.compress(b"{}")[:-6])
    with pytest.raises(InputError, match=f"{name} cannot be read as JSON"):
        detect(path)


def test_an_ellipse_of_imagej_does_not_cross_itself(tmp_path):
    roi(roifile.ROI_TYPE.OVAL, left=2, top=3, right=12, bottom=13).tofile(tmp_path / "a.roi")
    (shape,) = imagej.read(tmp_path / "a.roi").shapes
    assert shape.outline.is_valid
    assert 70 < shape.outline.area < 25 * np.pi


def test_bad_imagej_rois_are_refused_by_name(tmp_path):
    line = roi(roifile.ROI_TYPE.LINE, x2=5.0, y2=5.0)
    roifile.roiwrite(tmp_path / "a.zip", [line])
    with pytest.raises(InputError, match=r"a\.zip: ROI 0007 is a line"):
        imagej.read(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("readme.txt", "no ROI")
    (tmp_path / "c.zip").write_bytes(b"no zip")
    for name in ("b.zip", "c.zip"):
        with pytest.raises(InputError, match=f"{name} cannot be read as ImageJ ROIs"):
            imagej.read(tmp_path / name)


def test_coco_is_what_pycocotools_reads(tmp_path):
    labels = hard_labels()
    images = {"a.png": (labels.shape, outlines(labels)), "b.png": ((4, 4), [shapely.box(0, 0, 1, 1)])}
    coco.write(tmp_path / "coco.json", images)
    theirs = COCO(tmp_path / "coco.json")
    annotations = theirs.loadAnns(theirs.getAnnIds(imgIds=1))
    for label, annotation in enumerate(annotations, 1):
        rows, columns = np.nonzero(labels == label)
        assert annotation["area"] == len(rows)
        left, top = columns.min(), rows.min()
        assert annotation["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
        np.testing.assert_array_equal(theirs.annToMask(annotation), labels == label)
    (pixel,) = theirs.loadAnns(theirs.getAnnIds(imgIds=2))
    assert pixel["bbox"] == [0, 0, 1, 1]
    assert list(coco.read(tmp_path / "coco.json")) == ["a", "b"]


def coco_file(path, *annotations, **more):
    content = {
        "images": [{"id": 1, "file_name": "images/a.png", "width": 8, "height": 8}],
        "categories": [{"id": 5, "name": "Nucleus"}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 5} | a for n, a in enumerate(annotations)],
    }
    return write_json(path, content | more)


def test_coco_polygons_and_masks_of_other_tools(tmp_path):
    mask = np.zeros((8, 8), np.uint8, order="F")
    mask[1:3, 2:4] = 1
    packed = coco_mask.encode(mask)["counts"].decode()
    segmentations = [
        [[2, 1, 4, 1, 4, 3, 2, 3]],
        {"size": [8, 8], "counts": [17, 2, 6, 2, 37]},
        {"size": [8, 8], "counts": packed},
    ]
    annotations = [{"segmentation": value, "iscrowd": 1} for value in segmentations]
    ((name, annotation),) = coco.read(coco_file(tmp_path / "coco.json", *annotations)).items()
    assert (name, annotation.size) == ("a", (8, 8))
    assert pixels(annotation) == [SQUARE_PIXELS] * 3
    assert {shape.kind for shape in annotation.shapes} == {"Nucleus"}


def test_coco_masks_of_many_runs_are_unpacked(tmp_path):
    masks = np.random.default_rng(0).random((3, 40, 50)) < np.array([0.01, 0.5, 0.97])[:, None, None]
    images = [{"id": 1, "file_name": "a.png", "width": 50, "height": 40}]
    segmentations = [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    annotations = [{"segmentation": runs | {"counts": runs["counts"].decode()}} for runs in segmentations]
    annotation = coco.read(coco_file(tmp_path / "coco.json", *annotations, images=images))["a"]
    for shape, mask in zip(annotation.shapes, masks, strict=True):
        np.testing.assert_array_equal(paint([shape.outline], (40, 50))[0] > 0, mask)


TWICE = [{"id": n, "file_name": f"{n}/a.png", "width": 8, "height": 8} for n in (1, 2)]


@pytest.mark.parametrize(
    ("annotation", "more", "words"),
    [
        ({"segmentation": [], "bbox": [0, 0, 2, 2]}, {}, "annotation 0 has no outline"),
        ({"segmentation": [[0, 0, 1]]}, {}, "annotation 0 has an outline"),
        ({"segmentation": {"size": [9, 8], "counts": []}}, {}, "another size"),
        # pycocotools would write beyond its memory for these.
        ({"segmentation": {"size": [8, 8], "counts": "zzzz"}}, {}, "does not fill its image"),
        ({"segmentation": {"size": [8, 8], "counts": [65]}}, {}, "does not fill its image"),
        ({"segmentation": {"size": [8, 8], "counts": [-1, 65]}}, {}, "does not fill its image"),
        ({"segmentation": {"size": [8, 8], "counts": None}}, {}, "does not fill its image"),
        ({"image_id": 2}, {}, "annotation 0 belongs to no image"),
        ({"category_id": 2}, {}, "annotation 0 belongs to no image or category"),
        ({"image_id": []}, {}, "annotation 0 has no valid 'image_id'"),
        ({}, {"images": TWICE}, "2 images named a"),
        ({}, {"images": TWICE[:1] * 2}, "two images with the id 1"),
        ({}, {"categories": 3}, "no valid 'categories'"),
        ({}, {"images": [TWICE[0] | {"height": 0, "id": 1}]}, "image 1 is 8 x 0 px"),
    ],
)
def test_bad_coco_is_refused_by_name(tmp_path, annotation, more, words):
    path = coco_file(tmp_path / "coco.json", {"segmentation": [[0, 0, 2, 0, 2, 2]]} | annotation, **more)
    with pytest.raises(InputError, match=r"coco\.json.*" + words):
        coco.read(path)


def test_a_label_tiff_keeps_parts_of_one_id_together(tmp_path):
    labels = np.zeros((8, 8), np.int32)
    labels[0, 0] = labels[7, 7] = 70_000
    labels[4, 4] = 9
    write_labels(tmp_path / "a.tif", labels)
    annotation = read(tmp_path / "a.tif", "label_tiff")["a"]
    assert pixels(annotation) == [[[4, 4]], [[0, 0], [7, 7]]]
    assert annotation.shapes[1].where.endswith("a.tif: id 70000")


def test_a_mask_is_not_taken_for_labels(tmp_path):
    labels = np.zeros((8, 8), np.int32)
    labels[::3, ::3] = 255
    write_labels(tmp_path / "a.tif", labels)
    with pytest.raises(InputError, match="one id in 9 separate places"):
        read(tmp_path / "a.tif", "label_tiff")


def test_the_format_is_found_by_suffix_and_content(tmp_path):
    assert detect(tmp_path / "a.png") is None
    assert detect(write_json(tmp_path / "a.json", [])) == "geojson"  # QuPath once saved it as .json
    assert detect(write_json(tmp_path / "a.json", {"shapes": []})) == "labelme"
    coco_content = {"images": [], "annotations": []}
    for more in ({}, {"type": "instances"}):
        assert detect(write_json(tmp_path / "a.json", coco_content | more)) == "coco"
    with pytest.raises(InputError, match="neither GeoJSON, COCO nor LabelMe"):
        detect(write_json(tmp_path / "a.json", {"regions": []}))
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json cannot be read as JSON"):
        detect(tmp_path / "a.json")
    write_json(tmp_path / "a.png.geojson", [])
    assert list(read(tmp_path / "a.png.geojson", "geojson")) == ["a.png"]
    results = [{"image_id": 1, "category_id": 1, "segmentation": {}, "score": 0.5}]
    with pytest.raises(InputError, match=r"a\.json is a list of COCO results; export the annotations"):
        detect(write_json(tmp_path / "a.json", results))
