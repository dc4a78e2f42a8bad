import numpy as np
import pytest
from keras import ops

from mrcnn import model, utils
from mrcnn.config import Config


def test_log_prints_a_line_and_what_an_array_holds(capsys):
    model.log("Processing 1 images")
    model.log("image", np.array([[0, 255], [7, 3]], np.uint8))
    model.log("mask", np.array([True]))
    model.log("rois", np.zeros((0, 4), np.float32))
    plain, *arrays = capsys.readouterr().out.splitlines()
    assert plain == "Processing 1 images"
    assert [line.split() for line in arrays] == [
        ["image", "shape:", "(2,", "2)", "min:", "0.00000", "max:", "255.00000", "uint8"],
        ["mask", "shape:", "(1,)", "min:", "1.00000", "max:", "1.00000", "bool"],
        ["rois", "shape:", "(0,", "4)", "min:", "max:", "float32"],
    ]
    assert {line.index("shape:") for line in arrays} == {25}


def test_backbone_shapes_make_anchors_of_the_whole_image():
    shapes = model.compute_backbone_shapes(Config(), (1024, 640, 3))
    assert shapes.tolist() == [[256, 160], [128, 80], [64, 40], [32, 20], [16, 10]]
    anchors = utils.generate_pyramid_anchors((32, 64, 128, 256, 512), [1], shapes, [4, 8, 16, 32, 64], 1)
    assert len(anchors) == 256 * 160 + 128 * 80 + 64 * 40 + 32 * 20 + 16 * 10


def test_resize_keeps_or_scales_the_range():
    image = np.array([[0, 255]], np.uint8)
    assert utils.resize(image, (2, 4), order=0, preserve_range=True).tolist() == [[0, 0, 255, 255]] * 2
    assert utils.resize(image, (1, 2)).tolist() == [[0, 1]]
    stripes = np.tile(np.float32([0, 1]), 4)[None]
    # Bilinear without a filter sees two neighbours at each place, however much is left out.
    assert utils.resize(stripes, (1, 2)).tolist() == [[0.5, 0.5]]


def test_a_batch_goes_through_one_by_one():
    x, y = ops.convert_to_tensor([[1.0, 2.0], [3.0, 4.0]]), ops.convert_to_tensor([10.0, 20.0])
    total = utils.batch_slice([x, y], lambda row, factor: ops.sum(row) * factor, 2)
    assert ops.convert_to_numpy(total).tolist() == [30, 140]
    first, last = utils.batch_slice(x, lambda row: (row[0], row[1]), 2, names=["first", "last"])
    assert ops.convert_to_numpy(first).tolist() == [1, 3]
    assert ops.convert_to_numpy(last).tolist() == [2, 4]


@pytest.mark.parametrize(
    "name", ["load_image_gt", "compose_image_meta", "parse_image_meta", "mold_image", "unmold_image", "log"]
)
def test_what_scripts_take_from_the_model_is_there(name):
    assert callable(getattr(model, name))


def test_the_address_of_the_coco_weights_is_known():
    assert utils.COCO_MODEL_URL.endswith("/mask_rcnn_coco.h5")
