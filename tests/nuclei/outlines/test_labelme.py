import base64
import json

import cv2
import numpy as np
import pytest
import shapely

from nuclei.errors import InputError
from nuclei.outlines import labelme
from tests.nuclei.outlines.annotation_files import RING, SQUARE, SQUARE_PIXELS, pixels, write_json


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
