import numpy as np
import pytest
import shapely
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from nuclei.errors import InputError
from nuclei.outlines import coco
from nuclei.outlines.polygons import outlines, paint
from tests.nuclei.outlines.annotation_files import SQUARE_PIXELS, pixels, write_json
from tests.nuclei.outlines.test_polygons import hard_labels


def test_coco_ids_may_be_of_any_type(tmp_path):
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": 9.0, "width": 9}],
        "categories": [{"id": "1", "name": "nucleus"}],
        "annotations": [
            {"id": 1.0, "image_id": "7", "category_id": 1, "segmentation": [[2, 1, 4, 1, 4, 3, 2, 3]]}
        ],
    }
    annotation = coco.read(write_json(tmp_path / "coco.json", content))["a"]
    assert pixels(annotation) == [SQUARE_PIXELS]


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
        (
            {"segmentation": [[0, 0], [2, 0], [2, 2]]},
            {},
            "annotation 0 has an outline that is no list of x, y, x",
        ),
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
        ({}, {"images": [TWICE[0] | {"height": 7.5, "id": 1}]}, "image 1 is 8 x 7.5 px"),
    ],
)
def test_bad_coco_is_refused_by_name(tmp_path, annotation, more, words):
    path = coco_file(tmp_path / "coco.json", {"segmentation": [[0, 0, 2, 0, 2, 2]]} | annotation, **more)
    with pytest.raises(InputError, match=r"coco\.json.*" + words):
        coco.read(path)
