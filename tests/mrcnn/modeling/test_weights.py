"""Weight files of Keras 2, written by hand as Keras 2 does, and ours; nothing is ever silently wrong."""

from __future__ import annotations

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from mrcnn.modeling import weights
from nuclei.errors import InputError
from tests.mrcnn.modeling.keras2_files import (
    NAMES,
    assert_equal,
    build,
    expected_of,
    keras2,
    values_of,
    write_keras2,
)

HEADS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]  # what users' scripts exclude


@pytest.fixture
def net():
    return build()


def assert_refused(path, model, pattern: str, error: type = InputError, **arguments) -> str:
    """Reading raises, in one line, and leaves the model as it was."""
    before = values_of(model)
    with pytest.raises(error, match=pattern) as caught:
        weights.read(path, model, **arguments)
    assert_equal(values_of(model), before)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_layers_are_found_inside_models_and_layers(net):
    found = weights.layers(net)
    assert tuple(found) == NAMES
    assert isinstance(found["bn_conv1"], layers.BatchNormalization)
    assert sum(layer.count_params() for layer in found.values()) == net.count_params()


def test_two_layers_of_one_name_are_an_error():
    entry = keras.Input((3,))
    inner = keras.Model(entry, layers.Dense(2, name="same")(entry))
    model = keras.Model(entry, layers.Dense(2, name="same")(inner(entry)))
    with pytest.raises(ValueError, match="called same"):
        weights.layers(model)


def test_a_layer_used_twice_is_one_layer():
    entry = keras.Input((3,))
    dense = layers.Dense(3, name="dense")
    inner = keras.Model(entry, dense(entry))
    assert list(weights.layers(keras.Model(entry, dense(inner(entry))))) == ["dense"]


@pytest.mark.parametrize(
    ("made", "written"),
    [
        ({}, {}),
        ({"inside": "rpn_model/"}, {}),
        ({"number": "_1"}, {}),
        ({}, {"under": "model_weights"}),
        ({}, {"text": str}),
    ],
    ids=["weights", "path", "second network", "whole model", "text"],
)
def test_matterports_files_are_read(net, tmp_path, made, written):
    path = tmp_path / "mask_rcnn_coco.h5"
    groups = keras2(**made)
    write_keras2(path, groups, **written)
    report = weights.read(str(path), net)
    assert set(report.loaded) == set(NAMES)
    assert str(report) == "loaded 10 layers"
    assert_equal(values_of(net), {name: expected_of(groups)[name] for name in NAMES})


def test_names_of_keras_1_are_read(net, tmp_path):
    rng = np.random.default_rng(0)
    kernel, bias, *norm = (rng.uniform(1, 2, shape) for shape in ((3, 3, 3, 4), 4, 4, 4, 4, 4))
    keys = ("gamma", "beta", "running_mean", "running_std")
    path = tmp_path / "resnet50_notop.h5"
    groups = {
        "conv1": {"conv1_W:0": kernel, "conv1_b:0": bias},
        "bn_conv1": {f"bn_conv1_{key}:0": value for key, value in zip(keys, norm, strict=True)},
    }
    write_keras2(path, groups)
    report = weights.read(path, net, by_name=True)
    assert report.loaded == ("conv1", "bn_conv1")
    found = values_of(net)
    np.testing.assert_array_equal(found["conv1"][0], kernel.astype(np.float32))
    for one, other in zip(found["bn_conv1"], norm, strict=True):
        np.testing.assert_array_equal(one, other.astype(np.float32))


def test_statistics_in_another_order_are_not_mixed_up(net, tmp_path):
    groups = keras2()
    groups["bn_conv1"] = dict(reversed(groups["bn_conv1"].items()))
    write_keras2(tmp_path / "a.h5", groups)
    assert_refused(tmp_path / "a.h5", net, r"bn_conv1 has moving_variance \(4,\), moving_mean")


def test_what_is_written_is_read_again(net, tmp_path):
    path = tmp_path / "logs" / "mask_rcnn.h5"
    weights.write(path, net)
    assert [file.name for file in path.parent.iterdir()] == ["mask_rcnn.h5"]
    other = build()
    report = weights.read(path, other)
    assert report.loaded == NAMES
    assert_equal(values_of(other), values_of(net))


def test_written_files_have_the_form_of_keras_2(net, tmp_path):
    weights.write(tmp_path / "a.h5", net)
    with h5py.File(tmp_path / "a.h5") as file:
        groups = [name.decode() for name in file.attrs["layer_names"]]
        assert groups == [*NAMES[:2], "rpn_model", *NAMES[5:]]
        assert file.attrs["keras_version"].startswith(b"2.") and file.attrs["backend"] == b"tensorflow"
        assert list(file["bn_conv1"].attrs["weight_names"]) == [
            b"bn_conv1/gamma:0",
            b"bn_conv1/beta:0",
            b"bn_conv1/moving_mean:0",
            b"bn_conv1/moving_variance:0",
        ]
        assert list(file["rpn_model"].attrs["weight_names"]) == [
            b"rpn_conv_shared/kernel:0",
            b"rpn_conv_shared/bias:0",
            b"rpn_class_raw/kernel:0",
            b"rpn_class_raw/bias:0",
            b"rpn_bbox_pred/kernel:0",
            b"rpn_bbox_pred/bias:0",
        ]
        kernel = file["rpn_model"]["rpn_conv_shared/kernel:0"]
        assert kernel.shape == (3, 3, 4, 5) and kernel.dtype == np.float32


def test_a_frozen_layer_is_written_in_the_same_order(net, tmp_path):
    for layer in weights.layers(net).values():
        layer.trainable = False
    weights.write(tmp_path / "a.h5", net)
    other = build()
    weights.read(tmp_path / "a.h5", other)
    assert_equal(values_of(other), values_of(net))


def test_a_model_of_other_classes_takes_all_but_the_excluded_heads(net, tmp_path):
    path = tmp_path / "coco.h5"
    groups = keras2(classes=81)
    write_keras2(path, groups)
    before = values_of(net)
    report = weights.read(path, net, by_name=True, exclude=HEADS)
    heads = ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")
    assert report.skipped == report.left == heads
    assert str(report) == (
        "loaded 7 layers; 3 of the file not used (mrcnn_class_logits, mrcnn_bbox_fc, mrcnn_mask); "
        "3 left as they were (mrcnn_class_logits, mrcnn_bbox_fc, mrcnn_mask)"
    )
    expected = {name: (before if name in heads else expected_of(groups))[name] for name in NAMES}
    assert_equal(values_of(net), expected)


@pytest.mark.parametrize("name", ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"])
def test_another_number_of_classes_is_named(net, tmp_path, name):
    path = tmp_path / "coco.h5"
    write_keras2(path, keras2(classes=81))
    others = [head for head in HEADS if head != name]
    message = assert_refused(path, net, "NUM_CLASSES differs: file has 81, model 2", exclude=others)
    assert f"layer {name} has kernel (" in message
    assert message.endswith(f"exclude={sorted(HEADS)}")
    assert "81" in message and str(path) in message


def test_another_shape_names_the_layer_both_shapes_and_a_way_out(net, tmp_path):
    groups = keras2()
    groups["conv1"]["conv1/kernel:0"] = np.zeros((7, 7, 3, 4))
    write_keras2(tmp_path / "a.h5", groups)
    message = assert_refused(tmp_path / "a.h5", net, r"layer conv1 has kernel \(7, 7, 3, 4\), bias \(4,\)")
    assert "kernel (3, 3, 3, 4), bias (4,) in the model" in message
    assert message.endswith("exclude=['conv1']") and "NUM_CLASSES" not in message


def test_many_other_shapes_are_another_network(net, tmp_path):
    groups = keras2()
    for stored in groups.values():
        stored.update({key: np.concatenate([value, value]) for key, value in stored.items()})
    write_keras2(tmp_path / "a.h5", groups)
    message = assert_refused(tmp_path / "a.h5", net, "10 layers differ: is it of another network")
    assert "exclude" not in message


def test_a_missing_bias_is_an_error(net, tmp_path):
    groups = keras2()
    del groups["conv1"]["conv1/bias:0"]
    write_keras2(tmp_path / "a.h5", groups)
    assert_refused(
        tmp_path / "a.h5", net, r"conv1 has kernel \(3, 3, 3, 4\) in the file and kernel .*, bias \(4,\)"
    )


def test_every_layer_must_be_there_unless_by_name(net, tmp_path):
    groups = keras2()
    del groups["mrcnn_mask"]
    groups["more"] = {"more/kernel:0": np.zeros(3)}
    write_keras2(tmp_path / "a.h5", groups)
    assert_refused(tmp_path / "a.h5", net, r"lacks 1 layers of the model \(mrcnn_mask\); by_name=True")
    report = weights.read(tmp_path / "a.h5", net, by_name=True)
    assert report.left == ("mrcnn_mask",) and report.skipped == ("more",)


def test_nothing_in_common_shows_names_of_both_sides(net, tmp_path):
    write_keras2(tmp_path / "a.h5", {f"block{n}": {f"block{n}/kernel:0": np.zeros(3)} for n in range(9)})
    message = assert_refused(tmp_path / "a.h5", net, "none of its 9 layers", by_name=True)
    assert "block0, block1, block2" in message and "block8" not in message
    assert "10 of the model (conv1, bn_conv1" in message


def test_a_nested_model_can_be_excluded(net, tmp_path):
    write_keras2(tmp_path / "a.h5", keras2())
    report = weights.read(tmp_path / "a.h5", net, exclude=["rpn_model"])
    assert report.left == ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")


def test_an_excluded_name_that_nobody_knows_is_an_error(net, tmp_path):
    write_keras2(tmp_path / "a.h5", keras2())
    assert_refused(tmp_path / "a.h5", net, "mrcnn_clas_logits", ValueError, exclude=["mrcnn_clas_logits"])


def test_a_layer_twice_in_a_file_is_an_error(net, tmp_path):
    groups = keras2()
    groups["rpn_class_raw"] = {key: value for key, value in groups["rpn_model"].items() if "class_raw" in key}
    write_keras2(tmp_path / "a.h5", groups)
    assert_refused(tmp_path / "a.h5", net, "^[^(]*a.h5 holds layer rpn_class_raw twice")


def test_files_that_are_no_weights_are_named(net, tmp_path):
    assert_refused(tmp_path / "none.h5", net, "none.h5 does not exist")
    assert_refused(tmp_path, net, "is a folder")
    (tmp_path / "page.h5").write_text("<html>not found</html>")
    assert_refused(tmp_path / "page.h5", net, "page.h5 cannot be read as weights")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.zeros(3)
    assert_refused(tmp_path / "other.h5", net, "^[^(]*other.h5 holds no weights of a Keras model")
    net.save_weights(tmp_path / "own.weights.h5")
    assert_refused(tmp_path / "own.weights.h5", net, "Keras 3's own format")


def test_a_broken_file_is_named_or_read_but_never_anything_else(net, tmp_path):
    weights.write(tmp_path / "a.h5", net)
    whole = (tmp_path / "a.h5").read_bytes()
    broken = tmp_path / "broken.h5"
    for share in (0.0, 0.01, 0.3, 0.6, 0.999):
        broken.write_bytes(whole[: int(share * len(whole))])
        assert_refused(broken, net, "broken.h5 cannot be read as weights")
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = np.frombuffer(whole, np.uint8).copy()
        place = rng.integers(len(whole) - 64)
        damaged[place : place + 64] = rng.integers(256, size=64)
        broken.write_bytes(damaged.tobytes())
        try:
            weights.read(broken, net)
        except InputError as error:
            assert "\n" not in str(error)


def test_a_place_that_cannot_be_written_is_named(net, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write"):
        weights.write(tmp_path / "file" / "a.h5", net)
