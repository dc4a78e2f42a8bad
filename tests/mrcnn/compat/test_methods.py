"""What Matterport's scripts call on a model is there, or says what to use instead."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.model import MaskRCNN
from tests.tiny_datasets import Tiny


class Square(Tiny):
    IMAGE_RESIZE_MODE = "square"
    NUM_CLASSES = 3


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return MaskRCNN("inference", Square(), tmp_path_factory.mktemp("methods"))


def test_layers_with_weights(network):
    layers = network.get_trainable_layers()
    assert {"fpn_c5p5", "mrcnn_mask"} <= {layer.name for layer in layers}
    assert network.find_trainable_layer(layers[0]) is layers[0]


def test_anchors_are_normalised(network):
    anchors = network.get_anchors((128, 128, 3))
    # Three ratios on cells 4, 8, 16, 32 and 64 px wide.
    assert anchors.shape == (3 * sum((128 // stride) ** 2 for stride in (4, 8, 16, 32, 64)), 4)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres.min() >= 0 and centres.max() <= 1


def test_images_are_molded_and_detections_unmolded(network):
    image = np.full((40, 64, 3), 200, np.uint8)
    inputs, metas, windows = network.mold_inputs([image, image])
    assert inputs.shape == (2, 128, 128, 3) and inputs.dtype == np.float32
    np.testing.assert_allclose(inputs[0, 50, 50], 200 - np.array(Square.MEAN_PIXEL), rtol=1e-5)
    assert metas.shape == (2, Square().IMAGE_META_SIZE)
    assert windows.tolist() == [[24, 0, 104, 128]] * 2  # enlarged twice and centred

    # A box from row 10 to 20, column 5 to 25 of the image, seen at twice the size; then an empty place.
    box = utils.norm_boxes(np.array([24 + 20, 10, 24 + 40, 50]), (128, 128))
    detections = np.zeros((3, 6), np.float32)
    detections[0] = *box, 2, 0.9
    detections[2] = *box, 1, 0.8  # beyond the first empty place
    masks = np.zeros((3, 28, 28, 3), np.float32)
    masks[0, ..., 2] = 1
    rois, class_ids, scores, full = network.unmold_detections(
        detections, masks, image.shape, inputs[0].shape, windows[0]
    )
    assert np.abs(rois - [[10, 5, 20, 25]]).max() <= 1  # normalised boxes leave out the last pixel
    assert class_ids.tolist() == [2] and scores.tolist() == pytest.approx([0.9])
    y1, x1, y2, x2 = rois[0]
    assert full.shape == (40, 64, 1) and full[y1:y2, x1:x2].all() and full.sum() == (y2 - y1) * (x2 - x1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda network: network.run_graph, r"'run_graph'; use keras_model\(images\)"),
        (lambda network: network.ancestor, "use keras_model.get_layer"),
        (lambda network: network.detect_molded, "use detect"),
        (lambda network: network.nothing, "MaskRCNN has no attribute 'nothing'$"),
        (lambda network: modellib.data_generator, "use mrcnn.data.loader.Batches"),
        (lambda network: utils.mold_mask, "use minimize_mask"),
    ],
)
def test_what_is_absent_says_what_to_use_instead(network, call, words):
    with pytest.raises(AttributeError, match=words):
        call(network)
