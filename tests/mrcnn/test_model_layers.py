"""Which layers are trained, and where their weights come from."""

import numpy as np
import pytest

from mrcnn.config import NucleusConfig
from mrcnn.model import MaskRCNN
from mrcnn.modeling import weights
from nuclei.errors import InputError
from tests.tiny_network import Discs, config, eagerly

PATCHES = Discs([(30, 30), (80, 40), (60, 100)], [(20, 100), (64, 64)])
HEADS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]


@pytest.fixture(scope="module", autouse=True)
def without_compiling():
    with eagerly():
        yield


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A network as it is made, for what does not change it."""
    return MaskRCNN("training", config(), tmp_path_factory.mktemp("fresh"))


def trainable(network):
    return {name for name, layer in weights.layers(network.keras_model).items() if layer.trainable}


@pytest.mark.parametrize(
    ("layers", "backbone"),
    [("heads", ""), ("5+", "5"), ("4+", "45"), ("3+", "345"), ("all", "12345")],
)
def test_layers_are_chosen_by_their_stage(fresh, layers, backbone):
    fresh.train(PATCHES, None, 1e-3, 0, layers)  # no epoch: it is made ready, no more
    chosen = trainable(fresh)
    assert {name for name in chosen if name.startswith("c")} == {f"c{n}_convolution" for n in backbone}
    assert {"fpn_c5p5", "rpn_conv_shared", "mrcnn_mask"} <= chosen


def test_layers_are_chosen_by_a_regular_expression(fresh, capsys):
    fresh.train(PATCHES, None, 1e-3, 0, r"rpn_.*")
    assert trainable(fresh) == {"rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"}
    capsys.readouterr()
    fresh.set_trainable(r"mrcnn_mask|rpn_class", indent=2)
    assert trainable(fresh) == {"mrcnn_mask"}  # the whole name must match
    assert capsys.readouterr().out == "  mrcnn_mask           (Conv2D)\n"
    with pytest.raises(ValueError, match="no layer matches 'some'; some are c1_convolution"):
        fresh.train(PATCHES, None, 1e-3, 1, "some")
    assert trainable(fresh) == {"mrcnn_mask"}


def test_only_the_chosen_layers_change(tmp_path):
    network = MaskRCNN("training", config(), tmp_path)
    before = {name: layer.get_weights() for name, layer in weights.layers(network.keras_model).items()}
    network.train(PATCHES, None, 1e-2, 1, "heads")
    for name, layer in weights.layers(network.keras_model).items():
        same = all((one == other).all() for one, other in zip(layer.get_weights(), before[name], strict=True))
        assert same == name.startswith("c"), name


def test_the_weights_that_come_with_pip_are_loaded_as_matterports_are(tmp_path, capsys):
    network = MaskRCNN("training", NucleusConfig(), tmp_path)
    report = network.load_weights(network.get_imagenet_weights(), by_name=True)
    assert "loaded 48 layers" in capsys.readouterr().out
    assert all(name.startswith("c") for name in report.loaded)
    assert "fpn_c5p5" in report.left and network.epoch == 0
    # Trained kernels, unlike initial ones, come with biases.
    assert all(weights.layers(network.keras_model)[name].bias.numpy().any() for name in report.loaded)


def test_weights_of_other_classes_are_taken_but_for_the_excluded_heads(fresh, tmp_path, capsys):
    other = MaskRCNN("inference", config(NUM_CLASSES=4), tmp_path, seed=1)
    other.keras_model.save_weights(tmp_path / "mask_rcnn_other.h5")
    with pytest.raises(InputError, match="NUM_CLASSES differs: file has 4, model 2; load the others with"):
        fresh.load_weights(tmp_path / "mask_rcnn_other.h5", by_name=True)
    report = fresh.load_weights(tmp_path / "mask_rcnn_other.h5", by_name=True, exclude=HEADS)
    assert set(report.left) == set(HEADS) - {"mrcnn_bbox"}
    assert "3 left as they were" in capsys.readouterr().out
    np.testing.assert_array_equal(
        fresh.keras_model.get_layer("fpn_c5p5").get_weights()[0],
        other.keras_model.get_layer("fpn_c5p5").get_weights()[0],
    )
