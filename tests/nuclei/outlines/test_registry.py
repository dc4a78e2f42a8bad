import gzip
import zipfile

import numpy as np
import pytest

from nuclei import tissue
from nuclei.errors import InputError
from nuclei.io.images import write_labels
from nuclei.outlines import checks, coco, geojson, registry
from nuclei.outlines.checks import to_labels
from nuclei.outlines.polygons import outlines
from nuclei.outlines.registry import detect, read, write
from nuclei.outlines.shapes import SUFFIXES
from tests.nuclei.outlines.annotation_files import SQUARE, SQUARE_PIXELS, pixels, write_json
from tests.nuclei.outlines.test_polygons import hard_labels, random_labels

FORMATS = [*SUFFIXES, "coco"]


def write_any(folder, form, labels):
    """Write an annotation of the image a.png."""
    path = folder / f"a{SUFFIXES.get(form, '.json')}"
    if form == "coco":
        coco.write(path, {"a.png": (labels.shape, outlines(labels))})
    else:
        write(path, form, labels, "a.png")
    return path


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
    monkeypatch.setattr(checks, "find_background", lambda _: 0)
    path = write_any(tmp_path, form, labels)
    assert detect(path) == form
    ((name, annotation),) = read(path, form).items()
    assert name == "a"
    assert annotation.size in (None, labels.shape)
    again, _ = to_labels(annotation, "a", labels.shape)
    np.testing.assert_array_equal(again, labels)


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
    with pytest.raises(
        InputError, match=f"{name} (cannot be read as JSON|packs 2 JSON files, not one; unpack it)"
    ):
        detect(path)


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
