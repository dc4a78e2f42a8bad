"""Images with other channels than RGB, as from a fluorescence microscope."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.augment import turn, zoom
from mrcnn.data.examples import load_example
from mrcnn.model import MaskRCNN
from nuclei.errors import InputError
from tests.tiny_datasets import Labelled, Tiny, squares
from tests.tiny_network import eagerly


class Channels(Tiny):
    STEPS_PER_EPOCH = 1
    IMAGES_PER_GPU = 1

    def __init__(self, count):
        self.IMAGE_CHANNEL_COUNT = count
        self.MEAN_PIXEL = (127.0,) * count


class Stack(Labelled):
    def __init__(self, labels, count):
        super().__init__(labels)
        self.count = count

    def load_image(self, image_id):
        return np.where(self.labels[..., None] > 0, 0, np.full(self.count, 200)).astype(np.uint8)

    def image_reference(self, image_id):
        return None


@pytest.mark.parametrize("count", [1, 5])
def test_it_trains_and_detects(tmp_path, count):
    config, dataset = Channels(count), Stack(squares(4), count)
    with eagerly():
        network = MaskRCNN("training", config, tmp_path)
        losses = network.train(dataset, None, 1e-3, 1, augmentation=turn)
        assert np.isfinite(losses["loss"]).all()
        (found,) = network.detect([dataset.load_image(0)])
    assert found["masks"].shape[:2] == (128, 128)
    with pytest.raises(ValueError, match=rf"an image is \(height, width, {count}\)"):
        network.detect([np.zeros((128, 128, 3), np.uint8)])


@pytest.mark.parametrize("count", [1, 5])
def test_all_channels_go_along_when_an_image_is_resized(count):
    class Square(Channels):
        IMAGE_RESIZE_MODE = "square"

    rng = np.random.default_rng(0)
    example = load_example(Stack(squares(4, 64), count), Square(count), 0, zoom, rng)
    assert example.image.shape == (128, 128, count)
    assert (example.image == example.image[..., :1]).all()


def test_the_first_convolution_of_weights_for_rgb_is_left_out_and_named(tmp_path):
    rgb = MaskRCNN("inference", Tiny(), tmp_path)
    rgb.keras_model.save_weights(tmp_path / "rgb.h5")
    network = MaskRCNN("training", Channels(5), tmp_path)
    report = network.load_weights(tmp_path / "rgb.h5", by_name=True)
    assert report.left == report.skipped == ("c1_stem",)
    with pytest.raises(InputError, match="layer c1_stem has"):
        network.load_weights(tmp_path / "rgb.h5")
    report = network.load_weights(network.get_imagenet_weights(), by_name=True)
    assert "c1_stem" in report.left and len(report.loaded) == 47


def test_what_does_not_fit_is_told():
    config = Channels(5)
    with pytest.raises(ValueError, match=r"slide\.png: the image is \(128, 128, 3\) uint8; with IMAGE_CH"):
        load_example(Stack(squares(4), 3), config, 0, None, np.random.default_rng(0))
    config.MEAN_PIXEL = (127.0,) * 3
    with pytest.raises(ValueError, match="MEAN_PIXEL has 3 values; give one for each of the 5 channels"):
        config.check()
