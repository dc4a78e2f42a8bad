"""A network that has learnt two images by heart finds what they show, in images of any size."""

import gc
from pathlib import Path

import cv2
import numpy as np
import pytest

from mrcnn import model
from mrcnn.inference import detection
from mrcnn.model import MaskRCNN
from mrcnn.modeling.network import Detector
from nuclei.evaluation import metrics
from tests.tiny_network import (
    CENTRES,
    RADIUS,
    SIDE,
    assert_found,
    backbone,
    config,
    discs,
    eagerly,
    knows_discs,
    learn_discs,
)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network that has learnt discs, as an earlier `learn_discs` left it."""
    return knows_discs(tmp_path_factory.mktemp("model"))


@pytest.fixture
def change(network, monkeypatch):
    """Sets attributes of the configuration otherwise, for one test."""

    def change(**attributes):
        for name, value in attributes.items():
            monkeypatch.setattr(network.config, name, value)

    return change


@pytest.mark.slow
def test_it_overfits_two_images(tmp_path):
    network, losses = learn_discs(tmp_path)
    for name, values in losses.items():
        assert values[-1] < 0.8 * values[0], name
    for centres in CENTRES:
        image, truth = discs(centres)
        (found,) = network.detect([image])
        labels = (found["masks"] * np.arange(1, len(found["scores"]) + 1)).max(axis=2)
        assert metrics.aji(truth, labels) > 0.85


def test_answers_are_in_matterports_form(network):
    (found,) = network.detect([discs(CENTRES[0])[0]], verbose=0)
    assert {name: (values.shape, values.dtype.name) for name, values in found.items()} == {
        "rois": ((4, 4), "int32"),
        "class_ids": ((4,), "int32"),
        "scores": ((4,), "float32"),
        "masks": ((SIDE, SIDE, 4), "bool"),
    }
    assert found["class_ids"].tolist() == [1] * 4
    assert (np.diff(found["scores"]) <= 0).all()


def test_a_saved_model_finds_the_same(network, tmp_path):
    network.save(tmp_path)
    again = model.load(tmp_path, BACKBONE=backbone)
    image = discs(CENTRES[0])[0]
    with eagerly():
        (found,), (expected,) = again.detect([image]), network.detect([image])
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_an_image_of_half_the_size_is_enlarged_to_a_square(network, change):
    change(IMAGE_RESIZE_MODE="square")
    small = cv2.resize(discs(CENTRES[0])[0], (64, 64), interpolation=cv2.INTER_AREA)
    (found,) = network.detect([small])
    assert_found(found, np.array(CENTRES[0]) / 2, (64, 64), RADIUS / 2)


def test_an_oblong_image_is_padded_to_a_square(network, change):
    change(IMAGE_RESIZE_MODE="square", IMAGE_MIN_DIM=64)
    image = discs(CENTRES[0])[0][14:120]  # of 106 px: 11 px above and below
    (found,) = network.detect([image])
    assert_found(found, np.array(CENTRES[0]) - (14, 0), (106, 128))


def test_sides_are_padded_to_multiples_of_64(network, change):
    change(IMAGE_RESIZE_MODE="pad64", IMAGE_MIN_DIM=64)
    image = discs(CENTRES[0])[0][14:120, 16:116]
    (found,) = network.detect([image])
    assert_found(found, np.array(CENTRES[0]) - (14, 16), (106, 100))


def test_a_smallest_scale_enlarges_before_padding(network, change):
    change(IMAGE_RESIZE_MODE="pad64", IMAGE_MIN_DIM=0, IMAGE_MIN_SCALE=2.0)
    small = cv2.resize(discs(CENTRES[1])[0], (64, 64), interpolation=cv2.INTER_AREA)
    (found,) = network.detect([small[:, 5:]])
    assert_found(found, np.array(CENTRES[1]) / 2 - (0, 5), (64, 59), RADIUS / 2)


LARGE = [(30, 30), (80, 40), (64, 96), (140, 64), (128, 128), (60, 170), (165, 165), (100, 96)]


def test_a_larger_image_goes_through_in_tiles_and_each_object_comes_out_once(network):
    shape = (192, 200)  # tiles from 0 and 64, and from 0, 64 and 72 px on
    (found,) = network.detect([discs(LARGE, shape)[0]])
    assert_found(found, LARGE, shape)
    assert found["masks"].sum(axis=2).max() == 1
    assert (np.diff(found["scores"]) <= 0).all()


def test_tiles_of_an_image_that_is_enlarged(network, change):
    change(IMAGE_MIN_SCALE=2.0)
    small = cv2.resize(discs(LARGE, (192, 200))[0], (100, 96), interpolation=cv2.INTER_AREA)
    (found,) = network.detect([small])
    assert_found(found, np.array(LARGE) / 2, (96, 100), RADIUS / 2)


def test_images_of_different_sizes_come_back_in_their_order(network, change, capsys):
    # What it has learnt by heart it knows for certain; of a part it may see another disc with half a heart.
    change(IMAGE_RESIZE_MODE="pad64", IMAGE_MIN_DIM=64, DETECTION_MIN_CONFIDENCE=0.7)
    image, other = (discs(centres)[0] for centres in CENTRES)
    found = network.detect([image, other, image[14:120], other[:45], other], verbose=1)
    assert [len(one["scores"]) for one in found] == [4, 3, 4, 1, 3]
    assert [one["masks"].shape[:2] for one in found] == [
        (128, 128),
        (128, 128),
        (106, 128),
        (45, 128),
        (128, 128),
    ]
    assert_found(found[4], CENTRES[1], (128, 128))
    assert "5/5" in capsys.readouterr().err


def test_images_without_objects_give_empty_answers(network):
    found = network.detect([discs([])[0], np.zeros((40, 30, 3), np.uint8)])
    assert [one["masks"].shape for one in found] == [(SIDE, SIDE, 0), (40, 30, 0)]
    assert network.detect([]) == []


def test_images_that_the_network_cannot_take_are_refused(network, change):
    with pytest.raises(ValueError, match=r"an image is \(height, width, 3\), not \(64, 64\)"):
        network.detect([np.zeros((64, 64), np.uint8)])
    change(IMAGE_RESIZE_MODE="none")
    with pytest.raises(ValueError, match="100 x 128 px cannot be halved six times"):
        network.detect([np.zeros((100, 128, 3), np.uint8)])


def test_padding_and_place_are_known():
    image = np.full((40, 64, 3), 9, np.uint8)
    molded = detection.mold(image, config(IMAGE_RESIZE_MODE="square", IMAGE_MIN_DIM=0))
    assert (molded.window, molded.scale) == ((44, 32, 84, 96), 1)
    assert molded.image.shape == (128, 128, 3)
    assert (molded.image == 9).all()  # padding has the median colour
    molded = detection.mold(image, config(IMAGE_RESIZE_MODE="pad64", IMAGE_MIN_DIM=0, IMAGE_MIN_SCALE=2.0))
    assert molded.image.shape == (128, 128, 3)
    assert (molded.window, molded.scale) == ((24, 0, 104, 128), 2)


@pytest.mark.slow
def test_networks_compiled_for_many_sizes_are_given_up(tmp_path):
    with eagerly():
        network = MaskRCNN("inference", config(IMAGE_RESIZE_MODE="none"), tmp_path)
        for number in range(10):
            network.detect([np.zeros((64, 64 * (1 + number), 3), np.uint8)])
    gc.collect()
    kept = [one for one in gc.get_objects() if type(one) is Detector and one.network is network.keras_model]
    assert len(kept) == 8


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_memory_is_steady(network, change, count):
    change(IMAGE_RESIZE_MODE="square")
    image = discs(CENTRES[0])[0]
    for _ in range(40):
        network.detect([image])
    gc.collect()
    before = resident_bytes()
    for _ in range(count):
        network.detect([image])
    gc.collect()
    assert resident_bytes() - before < 8e6
