import json

import numpy as np
import pytest

from mrcnn.config import Config, NucleusConfig, check_takes_tiles, find_model, fingerprint
from nuclei.errors import InputError


class Users(Config):
    """As a user of Matterport's writes it."""

    NAME = "cells"
    GPU_COUNT = 2
    IMAGES_PER_GPU = 3
    NUM_CLASSES = 1 + 2
    MEAN_PIXEL = np.array([43.5, 39.5, 48.25])


def test_sizes_follow_from_the_attributes():
    config = Users()
    assert config.BATCH_SIZE == 6
    assert config.IMAGE_SHAPE == (1024, 1024, 3)
    assert config.IMAGE_META_SIZE == 12 + 3
    config.IMAGE_RESIZE_MODE, config.IMAGE_MIN_DIM = "crop", 512
    assert config.IMAGE_SHAPE == (512, 512, 3)


def test_every_attribute_can_be_stored_and_is_displayed(capsys):
    def backbone(image, stage5, train_bn):
        raise NotImplementedError

    config = Users()
    config.BACKBONE = backbone
    stored = json.loads(json.dumps(config.to_dict()))
    assert stored["MEAN_PIXEL"] == [43.5, 39.5, 48.25]
    assert stored["BACKBONE"] == "backbone"
    assert stored["BATCH_SIZE"] == 6
    config.display()
    shown = capsys.readouterr().out
    assert shown.startswith("\nConfigurations:\n")
    lines = dict(line.split(maxsplit=1) for line in shown.splitlines()[2:] if line)
    assert lines["NAME"] == "cells" and lines["IMAGES_PER_GPU"] == "3"
    assert set(lines) == {name for name in dir(Config) if name.isupper()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NUM_CLASSES": 1}, "NUM_CLASSES is 1; it counts the background"),
        ({"IMAGE_RESIZE_MODE": "fill"}, "IMAGE_RESIZE_MODE is 'fill'; known: none, square, pad64, crop"),
        ({"IMAGE_MAX_DIM": 1000}, "images of 1000 px cannot be halved six times"),
        ({"MASK_SHAPE": (56, 56)}, "MASK_SHAPE is .56, 56.; it must be twice MASK_POOL_SIZE, which is 14"),
        ({"USE_RPN_ROIS": False}, "USE_RPN_ROIS = False is not supported"),
        ({"RPN_ANCHOR_SCALES": (8, 16)}, "2 RPN_ANCHOR_SCALES for 5 BACKBONE_STRIDES"),
    ],
)
def test_contradictions_are_named(changes, message):
    config = Users()
    config.check()
    for name, value in changes.items():
        setattr(config, name, value)
    with pytest.raises(ValueError, match=message):
        config.check()


def test_images_of_any_size_are_for_the_network_to_check():
    config = Users()
    config.IMAGE_RESIZE_MODE, config.IMAGE_MAX_DIM = "none", 1000
    config.check()


def test_our_own_configuration_is_sound():
    NucleusConfig().check()


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputError, match=rf"{tmp_path} holds no trained model .*run pseudo_label.py first"):
        find_model(tmp_path)
    (tmp_path / "mask_rcnn.h5").write_bytes(b"")
    (tmp_path / "config.json").write_text('{"IMAGE_SHAPE": [256, 256, 3]}')
    assert find_model(tmp_path) == (tmp_path / "mask_rcnn.h5", {"IMAGE_SHAPE": [256, 256, 3]})


@pytest.mark.parametrize("config", ["{}", "[]", '{"IMAGE_SHAPE": 5}', '{"IMAGE_SHAPE": [null]}'])
def test_a_configuration_of_something_else_is_named(tmp_path, config):
    (tmp_path / "mask_rcnn.h5").touch()
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match="config.json describes no network; run pseudo_label.py again"):
        find_model(tmp_path)


def test_the_fingerprint_is_of_the_weights_and_the_configuration(tmp_path):
    def write(weights, side):
        (tmp_path / "mask_rcnn.h5").write_bytes(weights)
        (tmp_path / "config.json").write_text(f'{{"IMAGE_SHAPE": [{side}, {side}, 3]}}')
        return fingerprint(tmp_path)

    found = [write(b"a", 256), write(b"a", 512), write(b"b", 256), write(b"a", 256)]
    assert found[0] == found[3] and len(set(found)) == 3


@pytest.mark.parametrize(
    ("mode", "scale", "taken"),
    [("crop", 0, True), ("crop", 1.0, True), ("crop", 2.0, False), ("square", 0, False), ("none", 0, False)],
)
def test_a_model_of_resized_images_does_not_take_tiles(tmp_path, mode, scale, taken):
    attributes = {"IMAGE_RESIZE_MODE": mode, "IMAGE_MIN_SCALE": scale}
    if taken:
        check_takes_tiles(tmp_path, attributes)
    else:
        with pytest.raises(InputError, match=f"{tmp_path} learnt from resized images .*'{mode}'"):
            check_takes_tiles(tmp_path, attributes)
